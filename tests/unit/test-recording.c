/* SPDX-License-Identifier: MIT */

/* policy/recording.c: each line as a row, what was written is read again, and broken lines. */

#include "policy/recording.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

static struct recording *make(void)
{
	struct recording *r;

	cr_assert(eq(int, recording_new(&r), 0));
	return r;
}

static int add(struct recording *r, const char *line)
{
	return recording_add_line(r, line, strlen(line));
}

Test(recording, each_line_is_taken_or_refused_as_a_whole)
{
	static const struct {
		const char *line;
		int result;
	} rows[] = {
		{"hvguest-recording 1", 0},
		{"", 0},
		{"# a remark", 0},
		{"limits a 200 100 300 20 5000", 0},
		{"limits a 200 100 300 20 5000", RECORDING_TWICE},
		{"limits b 200 300 100 20 5000", RECORDING_MALFORMED},
		{"limits b 200 100 300 4 5000", RECORDING_MALFORMED},
		{"limits b 200 100 300 20 10001", RECORDING_MALFORMED},
		{"limits b 200 100 300 4294967316 5000", RECORDING_MALFORMED},
		{"limits b 200 100 17179869185 20 5000", RECORDING_MALFORMED},
		{"limits b 200 100 300 20", RECORDING_MALFORMED},
		{"limits b 200 100 300 20 1 1", RECORDING_MALFORMED},
		{"status 10 a 200 100 150 50 0", 0},
		{"status 10 a 200 100 150 50 0", 0},
		{"status 9 a 200 100 150 50 0", RECORDING_BACKWARDS},
		{"status 11 b 200 100 150 50 0", RECORDING_UNKNOWN},
		{"status 11 a -1 100 150 50 0", RECORDING_MALFORMED},
		{"status 11 a 0x1 100 150 50 0", RECORDING_MALFORMED},
		{"status 11 a 99999999999999999999999 100 150 50 0", RECORDING_MALFORMED},
		{"status 11 a 200 100 150 50", RECORDING_MALFORMED},
		{"status  12  a 1 2 3 4 5 ", 0},
		{"statu 11 a 200 100 150 50 0", RECORDING_MALFORMED},
		{"hvguest-recording 1", RECORDING_MALFORMED},
	};
	struct recording *r = make();

	cr_expect(eq(int, add(r, "limits a 200 100 300 20 5000"), RECORDING_VERSION));
	cr_expect(eq(int, add(r, "hvguest-recording 2"), RECORDING_VERSION));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_expect(eq(int, add(r, rows[i].line), rows[i].result), "%s", rows[i].line);
		cr_expect(strlen(recording_condition_text(rows[i].result)) > 5);
	}
	cr_expect(eq(sz, recording_n_guests(r), 1));
	cr_expect(eq(sz, recording_guest(r, 0)->n_points, 3));
	cr_expect(eq(u64, recording_ms(r), 12));
	recording_free(r);
}

Test(recording, what_was_written_is_read_again)
{
	struct recording *r = make();
	char line[RECORDING_LINE_MAX];
	const struct balancer_limits l = {
		.startup_pages = 2,
		.minimum_pages = 1,
		.maximum_pages = BALANCER_PAGES_MAX,
		.buffer_percent = 2000,
		.weight = 10000,
	};
	const struct recording_point p = {
		.ms = UINT64_C(3155760000),
		.assigned_pages = BALANCER_PAGES_MAX,
		.ballooned_pages = BALANCER_PAGES_MAX - 1,
		.committed_pages = BALANCER_PAGES_MAX - 2,
		.available_pages = BALANCER_PAGES_MAX - 3,
		.swapped_pages = BALANCER_PAGES_MAX - 4,
	};
	static const char name[] = "a-name-of-sixty-three-bytes-0123456789-0123456789-0123456789012";

	cr_assert(eq(sz, strlen(name), BALANCER_NAME_MAX));
	cr_expect(eq(int, recording_add_line(r, line, recording_write_head(line) - 1), 0));
	cr_expect(eq(int, recording_add_line(r, line, recording_write_limits(line, name, &l) - 1), 0));
	cr_expect(eq(int, recording_add_line(r, line, recording_write_point(line, name, &p) - 1), 0));
	cr_assert(eq(sz, recording_n_guests(r), 1));
	cr_expect(memcmp(&recording_guest(r, 0)->limits, &l, sizeof(l)) == 0);
	cr_expect(memcmp(recording_guest(r, 0)->points, &p, sizeof(p)) == 0);
	recording_free(r);
}

Test(recording, the_point_of_a_moment_is_the_last_one_before_it)
{
	static const struct {
		uint64_t ms, assigned; /* 0 = there is none */
	} rows[] = {{0, 0}, {9, 0}, {10, 1}, {19, 1}, {20, 3}, {29, 3}, {30, 4}, {99999, 4}};
	struct recording *r = make();

	cr_assert(eq(int, add(r, "hvguest-recording 1"), 0));
	cr_assert(eq(int, add(r, "limits a 200 100 300 20 5000"), 0));
	cr_expect(recording_at(recording_guest(r, 0), 5) == NULL);
	cr_assert(eq(int, add(r, "status 10 a 1 0 1 1 0"), 0));
	cr_assert(eq(int, add(r, "status 20 a 2 0 1 1 0"), 0));
	cr_assert(eq(int, add(r, "status 20 a 3 0 1 1 0"), 0));
	cr_assert(eq(int, add(r, "status 30 a 4 0 1 1 0"), 0));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct recording_point *p = recording_at(recording_guest(r, 0), rows[i].ms);

		cr_expect(eq(u64, p ? p->assigned_pages : 0, rows[i].assigned), "%lu", rows[i].ms);
	}
	recording_free(r);
}

Test(recording, no_flipped_bit_and_no_cut_breaks_the_reader)
{
	static const char *const lines[] = {
		"hvguest-recording 1",
		"limits a 200 100 300 20 5000",
		"status 10 a 200 100 150 50 0",
	};

	for (size_t k = 0; k < 3; k++) {
		size_t length = strlen(lines[k]);

		for (size_t bit = 0; bit < 8 * length; bit++) {
			struct recording *r = make();
			char *copy = strdup(lines[k]);

			for (size_t before = 0; before < k; before++)
				cr_assert(eq(int, add(r, lines[before]), 0));
			copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
			(void)!recording_add_line(r, copy, length);
			(void)!recording_add_line(r, lines[k], bit / 8);
			cr_expect(eq(int, add(r, lines[k]) < 0, 0));
			free(copy);
			recording_free(r);
		}
	}
}
