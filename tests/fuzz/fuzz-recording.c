/* SPDX-License-Identifier: MIT */

/*
 * A recording from a file that anybody may have made.
 *
 * Input: the file. Oracles: a line that is refused changes nothing; what was taken makes sense and is
 * read again from what is written of it; a replay of it ends.
 */

#include "tests/fuzz/fuzz.h"

#include "policy/recording.h"
#include "policy/simulate.h"

static size_t points_of(const struct recording *r)
{
	size_t n = 0;

	for (size_t i = 0; i < recording_n_guests(r); i++)
		n += recording_guest(r, i)->n_points;
	return n;
}

static void add(struct recording *r, const uint8_t *line, size_t length)
{
	size_t guests = recording_n_guests(r), points = points_of(r);
	uint64_t ms = recording_ms(r);

	if (recording_add_line(r, (const char *)line, length) > 0)
		fuzz_require(guests == recording_n_guests(r) && points == points_of(r) &&
			     ms == recording_ms(r));
	fuzz_require(recording_ms(r) >= ms);
}

static void read_again(const struct recording *r)
{
	char line[RECORDING_LINE_MAX];
	struct recording *again;

	fuzz_require(recording_new(&again) == 0);
	fuzz_require(recording_add_line(again, line, recording_write_head(line) - 1) == 0);
	for (size_t i = 0; i < recording_n_guests(r); i++) {
		const struct recording_guest *g = recording_guest(r, i);

		fuzz_require(balancer_limits_check(&g->limits) == 0);
		fuzz_require(recording_add_line(again, line,
						recording_write_limits(line, g->name, &g->limits) - 1) == 0);
		if (g->n_points > 0)
			fuzz_require(recording_at(g, g->points[0].ms) != NULL);
	}
	fuzz_require(recording_n_guests(again) == recording_n_guests(r));
	recording_free(again);
}

static void replay(const struct recording *r)
{
	struct simulate_settings s = {
		.source = SIMULATE_RECORDING,
		.recording = r,
		.host_pages = UINT64_C(1) << 24,
		.seconds = 20,
	};
	struct simulate_result result;

	if (recording_n_guests(r) == 0 || recording_n_guests(r) > 8)
		return;
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		s.policy = (enum contender_kind)kind;
		fuzz_require(simulate(&s, &result) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct recording *r;
	size_t start = 0;

	fuzz_require(recording_new(&r) == 0);
	for (size_t i = 0; i <= size; i++) {
		if (i < size && data[i] != '\n')
			continue;
		add(r, data + start, i - start);
		start = i + 1;
	}
	read_again(r);
	replay(r);
	recording_free(r);
	return 0;
}
