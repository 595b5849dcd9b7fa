/* SPDX-License-Identifier: MIT */

/*
 * balloon/dynmem_books.c and balloon/dynmem_replay.c: every page in one set, and logs that
 * contradict themselves.
 */

#include "balloon/dynmem_books.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

enum {
	RANGES_MAX = 8,
	ENTRIES_MAX = 8,
};

static void take(struct dynmem_books *b, uint64_t first, uint64_t count)
{
	struct page_range range = {first, count};

	cr_assert(eq(int, dynmem_books_take(b, &range, 1), 0));
}

Test(dynmem_books, a_second_host_that_is_lost_joins_what_the_first_one_left)
{
	struct dynmem_books b;
	uint64_t reused_pages;

	dynmem_books_init(&b, RANGES_MAX);
	take(&b, 100, 10);
	take(&b, 200, 10);
	dynmem_books_lose_host(&b);
	cr_assert(eq(int, dynmem_books_reuse(&b, 4, &reused_pages), 0));
	cr_expect(eq(u64, reused_pages, 4));
	cr_expect(rangeset_contains(&b.ballooned, (struct page_range){206, 4}));
	take(&b, 300, 5);
	dynmem_books_lose_host(&b);
	cr_expect(eq(u64, b.ballooned.pages, 0));
	cr_expect(eq(u64, b.untold.pages, 0));
	cr_expect(eq(u64, b.unreported.pages, 25));
	cr_expect(eq(sz, b.unreported.n_ranges, 3));
	dynmem_books_fini(&b);
}

Test(dynmem_books, both_sets_of_a_host_have_the_limit_together)
{
	struct dynmem_books b;
	struct page_range more = {1000, 1};

	dynmem_books_init(&b, RANGES_MAX);
	for (int i = 0; i < RANGES_MAX / 2; i++)
		take(&b, 10 * i, 1);
	dynmem_books_lose_host(&b);
	for (int i = 0; i < RANGES_MAX / 2; i++)
		take(&b, 500 + 10 * i, 1);
	cr_expect(eq(int, dynmem_books_take(&b, &more, 1), DYNMEM_BOOKS_FULL));
	dynmem_books_lose_host(&b); /* must not fail */
	cr_expect(eq(sz, b.unreported.n_ranges, RANGES_MAX));
	dynmem_books_fini(&b);
}

Test(dynmem_books, a_page_is_in_flight_until_its_message_has_gone_out)
{
	struct page_range ranges[2];
	struct dynmem_books b;

	dynmem_books_init(&b, RANGES_MAX);
	take(&b, 100, 10);
	take(&b, 200, 10);
	cr_expect(eq(sz, dynmem_books_tell(&b, ranges, 1), 1));
	cr_expect(eq(u64, b.in_flight_pages, 10));
	cr_expect(eq(u64, b.untold.pages, 20));
	dynmem_books_told(&b);
	cr_expect(eq(u64, b.untold.pages, 10));
	cr_expect(eq(sz, dynmem_books_tell(&b, ranges, 2), 1));
	cr_expect(eq(u64, ranges[0].first, 200));
	dynmem_books_told(&b);
	cr_expect(eq(sz, dynmem_books_tell(&b, ranges, 2), 0));
	dynmem_books_fini(&b);
}

Test(dynmem_books, what_is_released_joins_what_waits_to_be_returned)
{
	struct dynmem_books b;

	dynmem_books_init(&b, RANGES_MAX);
	take(&b, 100, 10);
	dynmem_books_lose_host(&b);
	cr_assert(eq(int, dynmem_books_release(&b), 0));
	take(&b, 200, 10);
	dynmem_books_lose_host(&b);
	cr_assert(eq(int, dynmem_books_release(&b), 0));
	cr_expect(eq(u64, b.collected.pages, 20));
	cr_expect(dynmem_books_begin_return(&b));
	cr_expect(eq(u64, b.returning.pages, 20));
	cr_expect(dynmem_books_know(&b, (struct page_range){105, 1}));
	dynmem_books_end_return(&b);
	cr_expect(not(dynmem_books_know(&b, (struct page_range){105, 1})));
	cr_expect(not(dynmem_books_begin_return(&b)));
	dynmem_books_fini(&b);
}

#define E(kind, first, count) \
	{{first, (count) | (uint64_t)DYNMEM_ENTRY_##kind << DYNMEM_ENTRY_KIND_SHIFT}}

/* Logs, and what comes of them. */
static const struct {
	const char *what;
	size_t n;
	struct dynmem_entry entries[ENTRIES_MAX];
	uint64_t untold_pages;
	int result;
	uint64_t ballooned, unreported, collected;
} rows[] = {
	{"nothing", 0, {}, 0, 0, 0, 0, 0},
	{"taken", 2, {E(TAKE, 100, 10), E(TAKE, 200, 10)}, 10, 0, 20, 0, 0},
	{"given back", 3, {E(TAKE, 100, 10), E(GIVE_BACK, 105, 2), E(GIVE_BACK, 107, 3)}, 0, 0, 5, 0, 5},
	{"returning is collected again", 3,
	 {E(TAKE, 100, 10), E(GIVE_BACK, 100, 10), E(BEGIN_RETURN, 0, 0)}, 0, 0, 0, 0, 10},
	{"returned", 4,
	 {E(TAKE, 100, 10), E(GIVE_BACK, 100, 4), E(BEGIN_RETURN, 0, 0), E(END_RETURN, 0, 0)},
	 0, 0, 6, 0, 0},
	{"lost and reused", 3, {E(TAKE, 100, 10), E(LOSE_HOST, 0, 0), E(REUSE, 108, 2)}, 2, 0, 2, 8, 0},
	{"released", 3, {E(TAKE, 100, 10), E(LOSE_HOST, 0, 0), E(RELEASE, 0, 0)}, 0, 0, 0, 0, 10},
	{"written anew", 4,
	 {E(BALLOONED, 100, 10), E(UNREPORTED, 200, 5), E(COLLECTED, 300, 3), E(UNTOLD, 104, 6)},
	 6, 0, 10, 5, 3},

	{"taken twice", 2, {E(TAKE, 100, 10), E(TAKE, 109, 2)}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"given back without having it", 2, {E(TAKE, 100, 10), E(GIVE_BACK, 109, 2)}, 0,
	 DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"reused without having it", 1, {E(REUSE, 100, 1)}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"in two sets", 2, {E(BALLOONED, 100, 10), E(UNREPORTED, 100, 1)}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"two returns at once", 5,
	 {E(COLLECTED, 100, 1), E(BEGIN_RETURN, 0, 0), E(COLLECTED, 200, 1), E(BEGIN_RETURN, 0, 0)},
	 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"untold more than there is", 1, {E(TAKE, 100, 10)}, 11, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"untold and not the host's", 2, {E(BALLOONED, 100, 10), E(UNTOLD, 105, 6)}, 6,
	 DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"untold twice", 3, {E(BALLOONED, 100, 10), E(UNTOLD, 100, 5), E(UNTOLD, 104, 5)}, 10,
	 DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"no pages", 1, {E(TAKE, 100, 0)}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"beyond 40 bits", 1, {E(TAKE, DYNMEM_PFN_MAX, 2)}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"a range where none belongs", 1, {E(LOSE_HOST, 100, 1)}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"no such kind", 1, {E(KINDS, 100, 1)}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
	{"no kind at all", 1, {{{100, 1}}}, 0, DYNMEM_BOOKS_BAD, 0, 0, 0},
};

Test(dynmem_books, a_log_is_done_again_and_one_that_contradicts_itself_is_bad)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t bytes = dynmem_area_bytes(ENTRIES_MAX);
		void *memory = calloc(1, bytes);
		struct dynmem_books b;

		cr_assert(ne(ptr, memory, NULL));
		dynmem_books_init(&b, RANGES_MAX);
		dynmem_area_init(&b.area, memory, bytes);
		for (size_t j = 0; j < rows[i].n; j++)
			dynmem_area_append(&b.area, rows[i].entries[j]);
		cr_expect(eq(int, dynmem_books_replay(&b, rows[i].untold_pages), rows[i].result), "%s",
			  rows[i].what);
		if (rows[i].result == 0) {
			cr_expect(eq(u64, b.ballooned.pages, rows[i].ballooned), "%s", rows[i].what);
			cr_expect(eq(u64, b.unreported.pages, rows[i].unreported), "%s", rows[i].what);
			cr_expect(eq(u64, b.collected.pages, rows[i].collected), "%s", rows[i].what);
			cr_expect(eq(u64, b.untold.pages, rows[i].untold_pages), "%s", rows[i].what);
		}
		dynmem_books_fini(&b);
		free(memory);
	}
}
