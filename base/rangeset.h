/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Sets of page numbers, kept as sorted, disjoint, never touching ranges.
 */

struct page_range {
	uint64_t first; /* page number */
	uint64_t count; /* pages; a range of 0 pages is empty and ignored */
};

/* The conditions of rangeset_add(), rangeset_remove() and page_ranges_normalize(). */
enum {
	RANGESET_OVERLAP = 1, /* a page is named twice, or is in the set already */
	RANGESET_FULL,        /* the set would need more ranges than its limit */
	RANGESET_OVERFLOW,    /* a range reaches past the last page number */
};

struct rangeset {
	struct page_range *ranges;
	size_t n_ranges;
	size_t capacity;
	size_t limit;
	uint64_t pages;
};

/* An empty set that will hold at most @limit ranges; allocates nothing yet. */
void rangeset_init(struct rangeset *set, size_t limit);

/* Frees what the set holds and leaves it empty. */
void rangeset_fini(struct rangeset *set);

/* Forgets every range; keeps the memory. */
void rangeset_clear(struct rangeset *set);

/*
 * Makes sure that @n ranges in total need no further memory, whatever the limit is. Does nothing if
 * there is room already. -ENOMEM.
 */
_must_check_ int rangeset_reserve(struct rangeset *set, size_t n);

/*
 * Adds @n ranges that page_ranges_normalize() has put in order. All or nothing: on any condition
 * or error the set is as it was. Linear in the size of the set plus @n.
 * RANGESET_OVERLAP, RANGESET_FULL, -ENOMEM.
 */
_must_check_ int rangeset_add(struct rangeset *set, const struct page_range *ranges, size_t n);

/*
 * Takes out whatever part of @range is in the set, and writes how many pages that was.
 * RANGESET_FULL (the set would be cut into too many pieces), -ENOMEM; then nothing was removed.
 */
_must_check_ int rangeset_remove(struct rangeset *set, struct page_range range,
				 uint64_t *ret_removed);

/* True if every page of @range is in the set; true for an empty range. */
bool rangeset_contains(const struct rangeset *set, struct page_range range);

/*
 * The part of @range with the lowest page numbers that is in the set and is contiguous.
 * False if nothing of @range is in the set. To walk all parts, call again with what lies behind.
 */
bool rangeset_overlap(const struct rangeset *set, struct page_range range,
		      struct page_range *ret_part);

/*
 * Adds to @set, which should be empty, what is in @a and not in @b. All or nothing.
 * RANGESET_OVERLAP, RANGESET_FULL, -ENOMEM.
 */
_must_check_ int rangeset_add_difference(struct rangeset *set, const struct rangeset *a,
					 const struct rangeset *b);

/* True if the two sets have a page in common. */
bool rangeset_intersects(const struct rangeset *a, const struct rangeset *b);

/*
 * Sorts @ranges by page number, drops empty ones and joins neighbours, in place, and writes how
 * many are left. RANGESET_OVERLAP, RANGESET_OVERFLOW (the array is then in an unspecified order).
 */
_must_check_ int page_ranges_normalize(struct page_range *ranges, size_t n, size_t *ret_n);

/* The number of pages in @n ranges. */
uint64_t page_ranges_count(const struct page_range *ranges, size_t n);
