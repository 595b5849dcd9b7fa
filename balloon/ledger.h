/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The ledger: which memory is out of use, in shared memory, so that whoever holds it and the two
 * memfds can go on where a dead process stopped. It has a place for each chunk, a slice of one
 * memfd; the number of the place is the position in the memfd.
 */

enum pages_source {
	PAGES_HUGE,  /* 2 MiB pages of the pool, or beyond it as far as the kernel is allowed */
	PAGES_SMALL, /* 4 KiB pages */
	PAGES_N_SOURCES,
};

enum {
	PAGES_SLICE = 16384, /* most pages of one chunk: 64 MiB */
	PAGES_PER_HUGE = 512,
	LEDGER_CHUNKS_MAX = 32768,
	LEDGER_BITS = 64,
};

#define LEDGER_CHUNK_BYTES (UINT64_C(4096) * PAGES_SLICE)

enum ledger_state {
	LEDGER_EMPTY,   /* there is no memory at this place */
	LEDGER_FILLING, /* there may be some, and nobody was told of it */
	LEDGER_HELD,    /* `pfns` says which */
	LEDGER_N_STATES,
};

/* Who writes `state` wrote the rest before. Untouched memory reads as an empty chunk. */
struct ledger_chunk {
	_Atomic uint32_t state;  /* enum ledger_state */
	uint32_t source;         /* enum pages_source */
	uint32_t n_units;        /* huge pages, or small ones */
	uint32_t reserved[13];
	uint64_t returned[PAGES_SLICE / LEDGER_BITS]; /* bit per page: the host gave it back */
	uint64_t pfns[PAGES_SLICE];                   /* per unit, the first frame; 0 = free again */
	uint64_t padding[248];
};
static_assert(sizeof(struct ledger_chunk) % 4096 == 0, "a chunk of huge pages touches one page");

struct ledger {
	struct ledger_chunk chunks[LEDGER_CHUNKS_MAX];
};

/* The condition of ledger_check(). */
enum {
	LEDGER_BAD = 1, /* a chunk contradicts itself */
};

/* Checks the chunk that somebody else may have written. LEDGER_BAD. */
_must_check_ int ledger_check(const struct ledger_chunk *chunk);

/* Pages of a unit of @source. */
uint32_t ledger_unit_pages(uint32_t source);

/* Marks pages [@page, @page + @n) as given back; the number of those that were not before. */
uint64_t ledger_mark(struct ledger_chunk *chunk, uint32_t page, uint32_t n);

/* The number of pages in [@page, @page + @n) that are marked. */
uint32_t ledger_marked(const struct ledger_chunk *chunk, uint32_t page, uint32_t n);

/* True if the unit is not free and all its pages are marked. */
bool ledger_unit_is_back(const struct ledger_chunk *chunk, uint32_t unit);

/* Begins a chunk of up to @n_units at an empty place, and says that its place is empty again. */
void ledger_begin(struct ledger_chunk *chunk, enum pages_source source, uint32_t n_units);
void ledger_end(struct ledger_chunk *chunk);
