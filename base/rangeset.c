/* SPDX-License-Identifier: MIT */

/*
 * Sets of page numbers.
 *
 * The balloon has to know page for page what the host has, so that a range is never given twice
 * and a foreign one never taken back. Memory comes and goes in long runs, so a sorted array of
 * runs is small, is searched by bisection, and is cheap to walk. Invariants, at every return:
 * ranges are sorted, none is empty, no two overlap or touch, and `pages` is their sum.
 *
 * Adding merges a whole sorted batch in one pass, because a balloon made of scattered 4 KiB pages
 * arrives as thousands of runs at a time. The number of ranges is bounded: the other side decides
 * how finely it cuts the set up, and must not decide how much memory we spend on it.
 */

#include "base/rangeset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint64_t range_end(struct page_range r)
{
	return r.first + r.count;
}

void rangeset_init(struct rangeset *set, size_t limit)
{
	*set = (struct rangeset){.limit = limit};
}

void rangeset_fini(struct rangeset *set)
{
	free(set->ranges);
	rangeset_init(set, set->limit);
}

void rangeset_clear(struct rangeset *set)
{
	set->n_ranges = 0;
	set->pages = 0;
}

/* Index of the first range that ends behind @page, or n_ranges. */
static size_t find(const struct rangeset *set, uint64_t page)
{
	size_t low = 0, high = set->n_ranges;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (range_end(set->ranges[middle]) <= page)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int rangeset_reserve(struct rangeset *set, size_t n)
{
	size_t capacity = set->capacity;
	struct page_range *ranges;

	if (n <= capacity)
		return 0;

	while (capacity < n)
		capacity = capacity ? 2 * capacity : 16;
	ranges = reallocarray(set->ranges, capacity, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;

	set->ranges = ranges;
	set->capacity = capacity;
	return 0;
}

/* Checks that @add has nothing in common with the set, and counts the ranges of the union. */
static int count_union(const struct rangeset *set, const struct page_range *add, size_t n,
		       size_t *ret_union)
{
	size_t i = n > 0 ? find(set, add[0].first) : 0;
	size_t joints = 0;

	/* The range before may touch the first addition without reaching into it. */
	if (i > 0 && n > 0 && range_end(set->ranges[i - 1]) == add[0].first)
		joints++;
	for (size_t j = 0; j < n; j++) {
		assert(add[j].count > 0);
		assert(j == 0 || range_end(add[j - 1]) < add[j].first);

		while (i < set->n_ranges && range_end(set->ranges[i]) <= add[j].first) {
			if (range_end(set->ranges[i]) == add[j].first)
				joints++;
			i++;
		}
		if (i < set->n_ranges) {
			if (set->ranges[i].first < range_end(add[j]))
				return RANGESET_OVERLAP;
			if (set->ranges[i].first == range_end(add[j]))
				joints++;
		}
	}

	*ret_union = set->n_ranges + n - joints;
	return 0;
}

int rangeset_add(struct rangeset *set, const struct page_range *ranges, size_t n)
{
	size_t in_set = set->n_ranges, in_add = n, to = set->n_ranges + n, n_union, kept;
	int r;

	r = count_union(set, ranges, n, &n_union);
	if (r)
		return r;
	if (n_union > set->limit)
		return RANGESET_FULL;
	r = rangeset_reserve(set, set->n_ranges + n);
	if (r)
		return r;

	/* Merge from the back, so that nothing is overwritten before it has been moved. */
	while (in_add > 0) {
		if (in_set > 0 && set->ranges[in_set - 1].first > ranges[in_add - 1].first)
			set->ranges[--to] = set->ranges[--in_set];
		else
			set->ranges[--to] = ranges[--in_add];
	}

	kept = 0;
	for (size_t i = 0; i < set->n_ranges + n; i++) {
		if (kept > 0 && range_end(set->ranges[kept - 1]) == set->ranges[i].first)
			set->ranges[kept - 1].count += set->ranges[i].count;
		else
			set->ranges[kept++] = set->ranges[i];
	}
	assert(kept == n_union);

	set->n_ranges = kept;
	set->pages += page_ranges_count(ranges, n);
	return 0;
}

/* Removes a piece from the middle of range @i, which becomes two. */
static int split(struct rangeset *set, size_t i, struct page_range hole)
{
	struct page_range whole = set->ranges[i];
	int r;

	if (set->n_ranges >= set->limit)
		return RANGESET_FULL;
	r = rangeset_reserve(set, set->n_ranges + 1);
	if (r)
		return r;

	memmove(&set->ranges[i + 1], &set->ranges[i], (set->n_ranges - i) * sizeof(whole));
	set->ranges[i].count = hole.first - whole.first;
	set->ranges[i + 1].first = range_end(hole);
	set->ranges[i + 1].count = range_end(whole) - range_end(hole);
	set->n_ranges++;
	set->pages -= hole.count;
	return 0;
}

int rangeset_remove(struct rangeset *set, struct page_range range, uint64_t *ret_removed)
{
	size_t from = find(set, range.first), gone, i;
	uint64_t before = set->pages, end;
	int r;

	if (range.count == 0 || from == set->n_ranges) {
		*ret_removed = 0;
		return 0;
	}
	end = range.count > UINT64_MAX - range.first ? UINT64_MAX : range_end(range);

	if (set->ranges[from].first < range.first && end < range_end(set->ranges[from])) {
		r = split(set, from, range);
		if (r)
			return r;
		*ret_removed = range.count;
		return 0;
	}

	i = from;
	if (set->ranges[i].first < range.first) {
		set->pages -= range_end(set->ranges[i]) - range.first;
		set->ranges[i].count = range.first - set->ranges[i].first;
		i++;
	}

	gone = i;
	while (i < set->n_ranges && range_end(set->ranges[i]) <= end)
		set->pages -= set->ranges[i++].count;
	if (i < set->n_ranges && set->ranges[i].first < end) {
		set->pages -= end - set->ranges[i].first;
		set->ranges[i].count = range_end(set->ranges[i]) - end;
		set->ranges[i].first = end;
	}
	memmove(&set->ranges[gone], &set->ranges[i], (set->n_ranges - i) * sizeof(range));
	set->n_ranges -= i - gone;

	*ret_removed = before - set->pages;
	return 0;
}

bool rangeset_overlap(const struct rangeset *set, struct page_range range,
		      struct page_range *ret_part)
{
	size_t i = find(set, range.first);
	uint64_t first, end;

	if (range.count == 0 || i == set->n_ranges)
		return false;

	end = range.count > UINT64_MAX - range.first ? UINT64_MAX : range_end(range);
	first = set->ranges[i].first > range.first ? set->ranges[i].first : range.first;
	if (range_end(set->ranges[i]) < end)
		end = range_end(set->ranges[i]);
	if (first >= end)
		return false;

	*ret_part = (struct page_range){.first = first, .count = end - first};
	return true;
}

bool rangeset_contains(const struct rangeset *set, struct page_range range)
{
	struct page_range part;

	if (range.count == 0)
		return true;
	return rangeset_overlap(set, range, &part) && part.first == range.first &&
	       part.count == range.count;
}

/* Writes what is in @a and not in @b to @ranges, which has room, and returns how many there are. */
static size_t subtract(const struct rangeset *a, const struct rangeset *b,
		       struct page_range *ranges)
{
	struct page_range rest, part;
	size_t n = 0;

	for (size_t i = 0; i < a->n_ranges; i++) {
		rest = a->ranges[i];
		while (rangeset_overlap(b, rest, &part)) {
			if (part.first > rest.first)
				ranges[n++] = (struct page_range){rest.first,
								  part.first - rest.first};
			rest.count -= range_end(part) - rest.first;
			rest.first = range_end(part);
		}
		if (rest.count > 0)
			ranges[n++] = rest;
	}
	return n;
}

int rangeset_add_difference(struct rangeset *set, const struct rangeset *a,
			    const struct rangeset *b)
{
	/* Each range of @b cuts at most one range of @a in two. */
	struct page_range *ranges = calloc(a->n_ranges + b->n_ranges + 1, sizeof(*ranges));
	int r;

	if (!ranges)
		return -ENOMEM;
	r = rangeset_add(set, ranges, subtract(a, b, ranges));
	free(ranges);
	return r;
}

bool rangeset_intersects(const struct rangeset *a, const struct rangeset *b)
{
	const struct rangeset *few = a->n_ranges < b->n_ranges ? a : b, *many = few == a ? b : a;
	struct page_range part;

	for (size_t i = 0; i < few->n_ranges; i++)
		if (rangeset_overlap(many, few->ranges[i], &part))
			return true;
	return false;
}

static int compare_first(const void *a, const void *b)
{
	const struct page_range *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

int page_ranges_normalize(struct page_range *ranges, size_t n, size_t *ret_n)
{
	size_t kept = 0;

	if (n > 1)
		qsort(ranges, n, sizeof(*ranges), compare_first);
	for (size_t i = 0; i < n; i++) {
		if (ranges[i].count == 0)
			continue;
		if (ranges[i].count > UINT64_MAX - ranges[i].first)
			return RANGESET_OVERFLOW;
		if (kept > 0 && range_end(ranges[kept - 1]) > ranges[i].first)
			return RANGESET_OVERLAP;
		if (kept > 0 && range_end(ranges[kept - 1]) == ranges[i].first)
			ranges[kept - 1].count += ranges[i].count;
		else
			ranges[kept++] = ranges[i];
	}

	*ret_n = kept;
	return 0;
}

uint64_t page_ranges_count(const struct page_range *ranges, size_t n)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < n; i++)
		pages += ranges[i].count;
	return pages;
}
