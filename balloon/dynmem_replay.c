/* SPDX-License-Identifier: MIT */

/*
 * The books from the entries of their log.
 *
 * Each entry is done again to empty books, and checked as if a stranger had written it: a page is
 * taken only if it is in no set, and moved only out of the set that it is said to be in. Entries of
 * one kind are done in batches, because adding to a large set costs a pass over it.
 *
 * What was being returned when the record was made is collected again: whether it is back in use by
 * now cannot be known, and to return it once more does no harm.
 */

#include "balloon/dynmem_books.h"

#include "base/cleanup.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MASK ((UINT64_C(1) << DYNMEM_ENTRY_KIND_SHIFT) - 1)

struct batch {
	enum dynmem_entry_kind kind;
	struct page_range *ranges;
	size_t n;
};

static bool has_range(enum dynmem_entry_kind kind)
{
	switch (kind) {
	case DYNMEM_ENTRY_TAKE:
	case DYNMEM_ENTRY_GIVE_BACK:
	case DYNMEM_ENTRY_REUSE:
	case DYNMEM_ENTRY_BALLOONED:
	case DYNMEM_ENTRY_UNTOLD:
	case DYNMEM_ENTRY_UNREPORTED:
	case DYNMEM_ENTRY_COLLECTED:
	case DYNMEM_ENTRY_RETURNING:
		return true;
	case DYNMEM_ENTRY_BEGIN_RETURN:
	case DYNMEM_ENTRY_END_RETURN:
	case DYNMEM_ENTRY_LOSE_HOST:
	case DYNMEM_ENTRY_RELEASE:
	case DYNMEM_ENTRY_KINDS:
		break;
	}
	return false;
}

static int decode(struct dynmem_entry entry, enum dynmem_entry_kind *ret_kind,
		  struct page_range *ret_range)
{
	uint64_t kind = entry.words[1] >> DYNMEM_ENTRY_KIND_SHIFT;
	struct page_range range = {entry.words[0], entry.words[1] & COUNT_MASK};

	if (kind == 0 || kind >= DYNMEM_ENTRY_KINDS)
		return DYNMEM_BOOKS_BAD;
	if (has_range(kind) ? range.count == 0 || !dynmem_range_fits(range)
			    : range.first != 0 || range.count != 0)
		return DYNMEM_BOOKS_BAD;
	*ret_kind = kind;
	*ret_range = range;
	return 0;
}

/* From a condition of a set to one of the books. */
static int judge(int r)
{
	return r > 0 ? DYNMEM_BOOKS_BAD : r;
}

/* Puts the batch in order and adds it to @set. */
static int add(struct rangeset *set, struct batch *batch)
{
	int r;

	r = page_ranges_normalize(batch->ranges, batch->n, &batch->n);
	if (r == 0)
		r = rangeset_add(set, batch->ranges, batch->n);
	return judge(r);
}

/* Takes the batch, as it is, out of @set. */
static int remove_from(struct rangeset *set, const struct batch *batch)
{
	uint64_t removed;
	int r = 0;

	for (size_t i = 0; r == 0 && i < batch->n; i++) {
		r = rangeset_remove(set, batch->ranges[i], &removed);
		if (r == 0 && removed != batch->ranges[i].count)
			r = DYNMEM_BOOKS_BAD;
	}
	return judge(r);
}

static int move(struct rangeset *from, struct rangeset *to, struct batch *batch)
{
	int r;

	r = remove_from(from, batch);
	if (r == 0)
		r = add(to, batch);
	return r;
}

/* Appends the batch, as it is, to what is untold. */
static int push(struct dynmem_untold *untold, const struct batch *batch)
{
	struct page_range *ranges;

	if (batch->n > untold->capacity - untold->n) {
		size_t capacity = 2 * untold->capacity + batch->n;

		ranges = reallocarray(untold->ranges, capacity, sizeof(*ranges));
		if (!ranges)
			return -ENOMEM;
		untold->ranges = ranges;
		untold->capacity = capacity;
	}
	memcpy(untold->ranges + untold->n, batch->ranges, batch->n * sizeof(*ranges));
	untold->n += batch->n;
	untold->pages += page_ranges_count(batch->ranges, batch->n);
	return 0;
}

/* Adds all of @from to @to, and empties it. */
static int unite(struct rangeset *from, struct rangeset *to)
{
	int r = rangeset_add(to, from->ranges, from->n_ranges);

	if (r == 0)
		rangeset_clear(from);
	return judge(r);
}

static int begin_return(struct dynmem_books *b)
{
	if (b->returning.pages > 0)
		return DYNMEM_BOOKS_BAD;
	return unite(&b->collected, &b->returning);
}

static int lose_host(struct dynmem_books *b)
{
	b->untold.n = 0;
	b->untold.pages = 0;
	return unite(&b->ballooned, &b->unreported);
}

static int apply(struct dynmem_books *b, struct batch *batch)
{
	int r = 0;

	switch (batch->kind) {
	case DYNMEM_ENTRY_TAKE:
		r = push(&b->untold, batch);
		return r ? r : add(&b->ballooned, batch);
	case DYNMEM_ENTRY_REUSE:
		r = push(&b->untold, batch);
		return r ? r : move(&b->unreported, &b->ballooned, batch);
	case DYNMEM_ENTRY_GIVE_BACK:
		return move(&b->ballooned, &b->collected, batch);
	case DYNMEM_ENTRY_BEGIN_RETURN:
		return begin_return(b);
	case DYNMEM_ENTRY_END_RETURN:
		rangeset_clear(&b->returning);
		return 0;
	case DYNMEM_ENTRY_LOSE_HOST:
		return lose_host(b);
	case DYNMEM_ENTRY_RELEASE:
		return unite(&b->unreported, &b->collected);
	case DYNMEM_ENTRY_BALLOONED:
		return add(&b->ballooned, batch);
	case DYNMEM_ENTRY_UNTOLD:
		return push(&b->untold, batch);
	case DYNMEM_ENTRY_UNREPORTED:
		return add(&b->unreported, batch);
	case DYNMEM_ENTRY_COLLECTED:
		return add(&b->collected, batch);
	case DYNMEM_ENTRY_RETURNING:
		return add(&b->returning, batch);
	case DYNMEM_ENTRY_KINDS:
		break;
	}
	return 0;
}

/* Does all entries of the log again. */
static int apply_all(struct dynmem_books *b)
{
	_cleanup_free_ struct page_range *ranges = calloc(b->area.n + 1, sizeof(*ranges));
	struct batch batch = {.ranges = ranges};
	enum dynmem_entry_kind kind;
	struct page_range range;
	int r = 0;

	if (!ranges)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < b->area.n; i++) {
		r = decode(dynmem_area_entry(&b->area, i), &kind, &range);
		if (r)
			return r;
		if (batch.n > 0 && (kind != batch.kind || !has_range(kind))) {
			r = apply(b, &batch);
			batch.n = 0;
		}
		batch.kind = kind;
		ranges[batch.n++] = range;
	}
	if (r == 0 && batch.n > 0)
		r = apply(b, &batch);
	return r;
}

/* Leaves the last @pages of what is untold. */
static int keep_untold(struct dynmem_untold *untold, uint64_t pages)
{
	if (pages > untold->pages)
		return DYNMEM_BOOKS_BAD;
	while (untold->pages > pages) {
		struct page_range *range = &untold->ranges[untold->first];
		uint64_t told = untold->pages - pages;

		if (told > range->count)
			told = range->count;
		range->first += told;
		range->count -= told;
		untold->pages -= told;
		if (range->count == 0)
			untold->first++;
	}
	if (pages == 0)
		untold->first = untold->n = 0;
	return 0;
}

/* What is untold is the host's, and nothing of it is there twice. */
static int check_untold(const struct dynmem_books *b)
{
	size_t n = b->untold.n - b->untold.first;
	_cleanup_free_ struct page_range *copy = calloc(n + 1, sizeof(*copy));
	int r;

	if (!copy)
		return -ENOMEM;
	if (n > b->ranges_max)
		return DYNMEM_BOOKS_BAD;
	if (n > 0)
		memcpy(copy, b->untold.ranges + b->untold.first, n * sizeof(*copy));
	r = page_ranges_normalize(copy, n, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (!rangeset_contains(&b->ballooned, copy[i]))
			r = DYNMEM_BOOKS_BAD;
	return judge(r);
}

/* What must be true of the sets, whatever the log said. */
static bool are_sound(const struct dynmem_books *b)
{
	const struct rangeset *sets[] = {
		&b->ballooned, &b->unreported, &b->collected, &b->returning,
	};
	const size_t n_sets = sizeof(sets) / sizeof(sets[0]);

	for (size_t i = 0; i < n_sets; i++)
		for (size_t j = i + 1; j < n_sets; j++)
			if (rangeset_intersects(sets[i], sets[j]))
				return false;
	return b->ballooned.n_ranges + b->unreported.n_ranges <= 2 * b->ranges_max &&
	       b->collected.n_ranges + b->returning.n_ranges <= 2 * b->ranges_max;
}

int dynmem_books_replay(struct dynmem_books *b, uint64_t untold_pages)
{
	size_t limit = b->collected.limit;
	int r;

	assert(!b->recording);
	b->ballooned.limit = b->collected.limit = 2 * b->ranges_max;
	r = apply_all(b);
	if (r == 0)
		r = keep_untold(&b->untold, untold_pages);
	if (r == 0)
		r = check_untold(b);
	if (r == 0 && !are_sound(b))
		r = DYNMEM_BOOKS_BAD;
	if (r == 0)
		r = unite(&b->returning, &b->collected);
	b->collected.limit = limit;
	if (r)
		return r;
	b->area.overflow = true; /* the log is begun anew, without what was being returned */
	return 0;
}
