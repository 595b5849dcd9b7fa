/* SPDX-License-Identifier: MIT */

/*
 * daemon/dynmem_session.c: what is compared. How it goes on is for test-restart.sh.
 */

#include "daemon/dynmem_session.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

static struct rangeset make(const struct page_range *ranges, size_t n)
{
	struct rangeset set;

	rangeset_init(&set, 100000);
	cr_assert(eq(int, rangeset_add(&set, ranges, n), 0));
	return set;
}

Test(dynmem_session, a_page_that_is_not_held_is_missing)
{
	static const struct page_range host[] = {{10, 10}, {100, 1}, {200, 50}};
	static const struct {
		struct page_range held[4];
		size_t n;
		uint64_t missing;
	} rows[] = {
		{{{0}}, 0, 61},
		{{{10, 10}, {100, 1}, {200, 50}}, 3, 0},
		{{{0, 1000}}, 1, 0},
		{{{0, 10}, {20, 80}, {101, 99}, {250, 9}}, 4, 61},
		{{{5, 10}, {18, 83}, {240, 5}}, 3, 3 + 45},
		{{{10, 5}, {16, 4}, {100, 1}, {200, 50}}, 4, 1},
	};
	struct rangeset set = make(host, 3);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(u64, dynmem_session_missing(&set, rows[i].held, rows[i].n),
			     rows[i].missing),
			  "row %zu", i);
	rangeset_fini(&set);
}

Test(dynmem_session, random_sets_agree_with_a_plain_table)
{
	unsigned int seed = 20261129;

	for (int round = 0; round < 200; round++) {
		struct page_range ranges[2][40];
		size_t n[2] = {0, 0};
		bool table[2][600] = {{false}};
		struct rangeset set;
		uint64_t missing = 0;

		for (int side = 0; side < 2; side++) {
			uint64_t at = rand_r(&seed) % 5;

			while (n[side] < 40 && at < 580) {
				uint64_t count = 1 + rand_r(&seed) % 15;

				ranges[side][n[side]++] = (struct page_range){at, count};
				for (uint64_t page = at; page < at + count; page++)
					table[side][page] = true;
				at += count + 1 + rand_r(&seed) % 10;
			}
		}
		for (int page = 0; page < 600; page++)
			missing += table[0][page] && !table[1][page];
		set = make(ranges[0], n[0]);
		cr_assert(eq(u64, dynmem_session_missing(&set, ranges[1], n[1]), missing));
		rangeset_fini(&set);
	}
}

Test(dynmem_session, without_a_session_a_new_machine_is_made)
{
	struct dynmem_session session;
	struct dynmem_status status;
	struct dynmem_config config;

	dynmem_config_init(&config);
	cr_assert(eq(int, dynmem_session_open(&config, NULL, NULL, 0, &session), 0));
	cr_expect(not(session.resumable));
	dynmem_get_status(session.core, &status);
	cr_expect(eq(int, status.state, DYNMEM_STATE_CLOSED));
	(void)dynmem_free(session.core);
}

Test(dynmem_session, what_is_held_and_of_no_record_is_unreported)
{
	const struct page_range held[] = {{512, 1024}, {4096, 512}};
	struct dynmem_session session;
	struct dynmem_status status;
	struct dynmem_config config;

	dynmem_config_init(&config);
	cr_assert(eq(int, dynmem_session_open(&config, NULL, held, 2, &session), 0));
	dynmem_get_status(session.core, &status);
	cr_expect(eq(u64, status.unreported_pages, 1536));
	cr_expect(eq(u64, dynmem_session_missing(dynmem_unreported(session.core), held, 2), 0));
	(void)dynmem_free(session.core);
}
