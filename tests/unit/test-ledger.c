/* SPDX-License-Identifier: MIT */

/*
 * balloon/ledger.c: bits against a plain table, and chunks that somebody else wrote.
 */

#include "balloon/ledger.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

static struct ledger_chunk *new_chunk(enum pages_source source, uint32_t n_units)
{
	struct ledger_chunk *chunk = calloc(1, sizeof(*chunk));

	cr_assert(ne(ptr, chunk, NULL));
	ledger_begin(chunk, source, n_units);
	for (uint32_t unit = 0; unit < n_units; unit++)
		chunk->pfns[unit] = (unit + 1) * ledger_unit_pages(source);
	atomic_store(&chunk->state, LEDGER_HELD);
	return chunk;
}

Test(ledger, marks_are_counted_once_and_lie_where_they_were_made)
{
	struct ledger_chunk *chunk = new_chunk(PAGES_SMALL, PAGES_SLICE);
	bool *table = calloc(PAGES_SLICE, sizeof(*table));
	unsigned int seed = 20261129;

	cr_assert(ne(ptr, table, NULL));
	for (int step = 0; step < 2000; step++) {
		uint32_t page = rand_r(&seed) % PAGES_SLICE;
		uint32_t n = 1 + rand_r(&seed) % (step % 2 ? 200 : 3), fresh = 0, marked = 0;

		n = n < PAGES_SLICE - page ? n : PAGES_SLICE - page;
		for (uint32_t i = page; i < page + n; i++)
			marked += table[i];
		cr_assert(eq(u32, ledger_marked(chunk, page, n), marked));
		for (uint32_t i = page; i < page + n; i++) {
			fresh += !table[i];
			table[i] = true;
		}
		cr_assert(eq(u64, ledger_mark(chunk, page, n), fresh));
		cr_assert(eq(u32, ledger_marked(chunk, page, n), n));
	}
	free(table);
	free(chunk);
}

Test(ledger, a_huge_page_is_back_when_all_its_pages_are_and_not_when_it_is_free)
{
	struct ledger_chunk *chunk = new_chunk(PAGES_HUGE, 32);

	cr_expect(eq(u64, ledger_mark(chunk, 512, 511), 511));
	cr_expect(not(ledger_unit_is_back(chunk, 1)));
	cr_expect(eq(u64, ledger_mark(chunk, 1000, 24), 1));
	cr_expect(ledger_unit_is_back(chunk, 1));
	cr_expect(not(ledger_unit_is_back(chunk, 0)));
	cr_expect(not(ledger_unit_is_back(chunk, 2)));
	chunk->pfns[1] = 0;
	cr_expect(not(ledger_unit_is_back(chunk, 1)));
	free(chunk);
}

Test(ledger, a_chunk_that_contradicts_itself_is_refused)
{
	struct ledger_chunk *chunk = new_chunk(PAGES_HUGE, 32);

	cr_expect(eq(int, ledger_check(chunk), 0));
	chunk->pfns[31] = 0;
	cr_expect(eq(int, ledger_check(chunk), 0), "a page that is free again");
	chunk->pfns[31] = 513;
	cr_expect(eq(int, ledger_check(chunk), LEDGER_BAD), "a huge page that is not aligned");
	chunk->pfns[31] = UINT64_C(1) << 56;
	cr_expect(eq(int, ledger_check(chunk), LEDGER_BAD), "no frame has such a number");
	atomic_store(&chunk->state, LEDGER_FILLING);
	cr_expect(eq(int, ledger_check(chunk), 0), "its frames mean nothing yet");
	chunk->n_units = 33;
	cr_expect(eq(int, ledger_check(chunk), LEDGER_BAD), "more than its place has room for");
	chunk->n_units = 0;
	cr_expect(eq(int, ledger_check(chunk), LEDGER_BAD), "nothing");
	chunk->n_units = 1;
	chunk->source = PAGES_N_SOURCES;
	cr_expect(eq(int, ledger_check(chunk), LEDGER_BAD), "from nowhere");
	chunk->source = PAGES_SMALL;
	atomic_store(&chunk->state, LEDGER_N_STATES);
	cr_expect(eq(int, ledger_check(chunk), LEDGER_BAD), "in no state");
	ledger_end(chunk);
	cr_expect(eq(int, ledger_check(chunk), 0));
	free(chunk);
}
