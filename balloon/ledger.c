/* SPDX-License-Identifier: MIT */

/*
 * The ledger of memory that is out of use.
 *
 * The order of the stores is what makes it hold at any instant at which its writer is killed:
 *
 *     EMPTY -> FILLING    before the first page is taken
 *     FILLING -> HELD     when every frame is known and written, before anybody is told
 *     returned bits       before a page is freed
 *     pfns[unit] = 0      after it was freed, before its number can come back for another page
 *     HELD -> EMPTY       when nothing is left
 *
 * So a successor frees what is FILLING, frees units whose pages are all marked, and holds the rest.
 * It trusts its predecessor's arithmetic no further than ledger_check() has looked.
 */

#include "balloon/ledger.h"

#include <string.h>

static const uint32_t unit_pages[PAGES_N_SOURCES] = {
	[PAGES_HUGE] = PAGES_PER_HUGE,
	[PAGES_SMALL] = 1,
};

uint32_t ledger_unit_pages(uint32_t source)
{
	assert(source < PAGES_N_SOURCES);
	return unit_pages[source];
}

int ledger_check(const struct ledger_chunk *chunk)
{
	uint32_t state = atomic_load(&chunk->state);
	uint32_t step;

	if (state == LEDGER_EMPTY)
		return 0;
	if (state >= LEDGER_N_STATES || chunk->source >= PAGES_N_SOURCES)
		return LEDGER_BAD;
	step = unit_pages[chunk->source];
	if (chunk->n_units == 0 || chunk->n_units > PAGES_SLICE / step)
		return LEDGER_BAD;
	for (uint32_t unit = 0; state == LEDGER_HELD && unit < chunk->n_units; unit++)
		if (chunk->pfns[unit] % step != 0 || chunk->pfns[unit] >> 55)
			return LEDGER_BAD;
	return 0;
}

/* The bits of word @word that lie in [@page, @end). */
static uint64_t mask_of(uint32_t word, uint32_t page, uint32_t end)
{
	uint32_t first = word * LEDGER_BITS;
	uint64_t mask = UINT64_MAX;

	if (page > first)
		mask &= UINT64_MAX << (page - first);
	if (end < first + LEDGER_BITS)
		mask &= UINT64_MAX >> (first + LEDGER_BITS - end);
	return mask;
}

uint64_t ledger_mark(struct ledger_chunk *chunk, uint32_t page, uint32_t n)
{
	uint32_t end = page + n;
	uint64_t marked = 0;

	assert(n > 0 && end <= PAGES_SLICE);
	for (uint32_t word = page / LEDGER_BITS; word * LEDGER_BITS < end; word++) {
		uint64_t mask = mask_of(word, page, end);

		marked += __builtin_popcountll(mask & ~chunk->returned[word]);
		chunk->returned[word] |= mask;
	}
	return marked;
}

uint32_t ledger_marked(const struct ledger_chunk *chunk, uint32_t page, uint32_t n)
{
	uint32_t end = page + n, marked = 0;

	assert(n > 0 && end <= PAGES_SLICE);
	for (uint32_t word = page / LEDGER_BITS; word * LEDGER_BITS < end; word++)
		marked += __builtin_popcountll(mask_of(word, page, end) & chunk->returned[word]);
	return marked;
}

bool ledger_unit_is_back(const struct ledger_chunk *chunk, uint32_t unit)
{
	uint32_t step = unit_pages[chunk->source];

	return chunk->pfns[unit] != 0 && ledger_marked(chunk, unit * step, step) == step;
}

void ledger_begin(struct ledger_chunk *chunk, enum pages_source source, uint32_t n_units)
{
	memset(chunk->returned, 0, sizeof(chunk->returned));
	chunk->source = source;
	chunk->n_units = n_units;
	atomic_store(&chunk->state, LEDGER_FILLING);
}

void ledger_end(struct ledger_chunk *chunk)
{
	atomic_store(&chunk->state, LEDGER_EMPTY);
}
