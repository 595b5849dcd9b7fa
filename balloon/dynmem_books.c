/* SPDX-License-Identifier: MIT */

/*
 * The books of the guest's machine.
 *
 * Every page that is out of use is in exactly one of four sets:
 *
 *                take                  give back               begin return
 *     (in use) --------> ballooned -------------> collected -------------> returning --> (in use)
 *                          |   ^                      ^                         end return
 *        the host is gone  |   | the next host        | release
 *                          v   | asks for pages       |
 *                        unreported ------------------+
 *
 * Only a page of `ballooned` is ever accepted back from a host, and only if the host can know of
 * it: a page that is untold, or in a message that may still wait for room, is not the host's to
 * give. So a host that guesses cannot make us use a page and then hear that it has it.
 *
 * Losing the host must not fail, for it cannot be refused. If nothing is unreported the two sets
 * just change places; else the memory that the union needs was reserved before `ballooned` grew.
 * Together the two have no more ranges than the limit.
 *
 * While a record is kept each change is one entry of its log, what was done and to which range; the
 * log is written anew, as the sets are, when it is full. Entries that belong together are committed
 * together, by dynmem_commit().
 */

#include "balloon/dynmem_books.h"

#include "base/cleanup.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* ballooned and unreported, untold, and twice as many collected and returning */
	LOG_SETS = 6,
	LOG_SPARE = 4096, /* entries that a log takes after it was begun anew, at least */
};

static const struct page_range no_range;

static void append(struct dynmem_books *b, enum dynmem_entry_kind kind, struct page_range range)
{
	const struct dynmem_entry entry = {
		{range.first, range.count | (uint64_t)kind << DYNMEM_ENTRY_KIND_SHIFT},
	};

	if (b->recording)
		dynmem_area_append(&b->area, entry);
}

static void append_all(struct dynmem_books *b, enum dynmem_entry_kind kind,
		       const struct page_range *ranges, size_t n)
{
	for (size_t i = 0; i < n; i++)
		append(b, kind, ranges[i]);
}

void dynmem_books_init(struct dynmem_books *b, size_t ranges_max)
{
	*b = (struct dynmem_books){.ranges_max = ranges_max};
	rangeset_init(&b->ballooned, ranges_max);
	rangeset_init(&b->unreported, 2 * ranges_max);
	rangeset_init(&b->collected, ranges_max);
	rangeset_init(&b->returning, 2 * ranges_max);
}

void dynmem_books_fini(struct dynmem_books *b)
{
	rangeset_fini(&b->ballooned);
	rangeset_fini(&b->unreported);
	rangeset_fini(&b->collected);
	rangeset_fini(&b->returning);
	free(b->untold.ranges);
}

/* Moves everything from @from to @to, which is empty; the limits stay where they are. */
static void move_all(struct rangeset *from, struct rangeset *to)
{
	struct rangeset set = *from;

	assert(to->pages == 0);
	from->ranges = to->ranges;
	from->capacity = to->capacity;
	from->n_ranges = 0;
	from->pages = 0;
	set.limit = to->limit;
	*to = set;
}

/* Lets `ballooned` grow by @n ranges, as far as the limit allows. -ENOMEM. */
static int prepare_growth(struct dynmem_books *b, size_t n)
{
	size_t others = b->unreported.n_ranges;

	b->ballooned.limit = b->ranges_max > others ? b->ranges_max - others : 0;
	if (others == 0)
		return 0;
	return rangeset_reserve(&b->unreported, others + b->ballooned.n_ranges + n);
}

/* Makes room for @n more untold ranges. DYNMEM_BOOKS_FULL, -ENOMEM. */
static int reserve_untold(struct dynmem_books *b, size_t n)
{
	struct dynmem_untold *u = &b->untold;
	size_t capacity = u->capacity ? u->capacity : DYNMEM_RANGES_MAX;
	struct page_range *ranges;

	if (u->first > 0) {
		u->n -= u->first;
		memmove(u->ranges, u->ranges + u->first, u->n * sizeof(*ranges));
		u->first = 0;
	}
	if (n > b->ranges_max || u->n > b->ranges_max - n)
		return DYNMEM_BOOKS_FULL;
	while (capacity < u->n + n)
		capacity *= 2;
	if (capacity == u->capacity)
		return 0;

	ranges = reallocarray(u->ranges, capacity, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	u->ranges = ranges;
	u->capacity = capacity;
	return 0;
}

/* There is room. */
static void push_untold(struct dynmem_books *b, const struct page_range *ranges, size_t n)
{
	if (n == 0)
		return;
	memcpy(b->untold.ranges + b->untold.n, ranges, n * sizeof(*ranges));
	b->untold.n += n;
	b->untold.pages += page_ranges_count(ranges, n);
}

static void clear_untold(struct dynmem_books *b)
{
	b->untold.first = b->untold.n = 0;
	b->untold.pages = 0;
	b->in_flight_pages = 0;
}

/* Drops the first @pages untold ones. */
static void drop_untold(struct dynmem_books *b, uint64_t pages)
{
	struct dynmem_untold *u = &b->untold;

	assert(pages <= u->pages);
	u->pages -= pages;
	while (pages > 0) {
		struct page_range *range = &u->ranges[u->first];
		uint64_t n = pages < range->count ? pages : range->count;

		range->first += n;
		range->count -= n;
		pages -= n;
		if (range->count == 0)
			u->first++;
	}
	if (u->first == u->n)
		u->first = u->n = 0;
}

bool dynmem_books_know(const struct dynmem_books *b, struct page_range range)
{
	const struct rangeset *sets[] = {
		&b->ballooned, &b->unreported, &b->collected, &b->returning,
	};
	struct page_range part;

	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (rangeset_overlap(sets[i], range, &part))
			return true;
	return false;
}

int dynmem_books_take(struct dynmem_books *b, const struct page_range *ranges, size_t n)
{
	int r;

	for (size_t i = 0; i < n; i++)
		if (!dynmem_range_fits(ranges[i]) || dynmem_books_know(b, ranges[i]))
			return DYNMEM_BOOKS_OVERLAP;
	r = reserve_untold(b, n);
	if (r)
		return r;
	r = prepare_growth(b, n);
	if (r)
		return r;
	r = rangeset_add(&b->ballooned, ranges, n);
	if (r < 0)
		return r;
	if (r > 0)
		return r == RANGESET_FULL ? DYNMEM_BOOKS_FULL : DYNMEM_BOOKS_OVERLAP;

	push_untold(b, ranges, n);
	append_all(b, DYNMEM_ENTRY_TAKE, ranges, n);
	return 0;
}

size_t dynmem_books_tell(struct dynmem_books *b, struct page_range *ranges, size_t most)
{
	struct page_range rest = no_range;
	size_t n = 0, i = b->untold.first;

	assert(b->in_flight_pages == 0);
	while (n < most && (rest.count > 0 || i < b->untold.n)) {
		if (rest.count == 0)
			rest = b->untold.ranges[i++];
		ranges[n] = dynmem_range_cut(&rest);
		b->in_flight_pages += ranges[n++].count;
	}
	return n;
}

void dynmem_books_told(struct dynmem_books *b)
{
	drop_untold(b, b->in_flight_pages);
	b->in_flight_pages = 0;
}

/*
 * Parts on their way from `ballooned` to `collected`. They go in batches, because adding to a large
 * set costs a pass over it, and a balloon of small pages comes back in very many parts.
 */
struct collection {
	struct dynmem_given_back result;
	struct rangeset untold; /* sorted */
	struct page_range parts[DYNMEM_RANGES_MAX]; /* in neither set */
	size_t n;
};

/* Puts the parts into `collected`, or back where they were if that would be too finely cut. */
static int flush_collection(struct dynmem_books *b, struct collection *c)
{
	uint64_t pages = page_ranges_count(c->parts, c->n);
	int r;

	r = page_ranges_normalize(c->parts, c->n, &c->n);
	assert(r == 0); /* each was removed from a set */
	r = rangeset_add(&b->collected, c->parts, c->n);
	if (r == 0) {
		c->result.collected_pages += pages;
		append_all(b, DYNMEM_ENTRY_GIVE_BACK, c->parts, c->n);
	} else if (r == RANGESET_FULL) {
		c->result.untracked_pages += pages;
		r = rangeset_add(&b->ballooned, c->parts, c->n);
	}
	assert(r <= 0);
	c->n = 0;
	return r;
}

/* Collects one contiguous part of `ballooned` that the host knows of. */
static int collect_part(struct dynmem_books *b, struct page_range part, struct collection *c)
{
	uint64_t removed;
	int r;

	if (c->n == DYNMEM_RANGES_MAX) {
		r = flush_collection(b, c);
		if (r)
			return r;
	}
	r = prepare_growth(b, 1 + c->n);
	if (r)
		return r;
	r = rangeset_remove(&b->ballooned, part, &removed);
	if (r < 0)
		return r;
	if (r > 0)
		c->result.untracked_pages += part.count;
	else
		c->parts[c->n++] = part;
	return 0;
}

static void skip_front(struct page_range *range, uint64_t count)
{
	range->first += count;
	range->count -= count;
}

/* The front part of *@range that the host has and knows of; *@range is left with what is behind. */
static bool next_known_part(const struct dynmem_books *b, const struct collection *c,
			    struct page_range *range, struct page_range *ret_part)
{
	struct page_range part, untold;

	while (rangeset_overlap(&b->ballooned, *range, &part)) {
		if (rangeset_overlap(&c->untold, part, &untold)) {
			if (untold.first == part.first) {
				skip_front(range, untold.first + untold.count - range->first);
				continue;
			}
			part.count = untold.first - part.first;
		}
		skip_front(range, part.first + part.count - range->first);
		*ret_part = part;
		return true;
	}
	return false;
}

/* Collects whatever of @range the host has, and counts what it has not. */
static int collect_range(struct dynmem_books *b, struct page_range range, struct collection *c)
{
	uint64_t foreign_pages = range.count;
	struct page_range part;
	int r;

	while (next_known_part(b, c, &range, &part)) {
		r = collect_part(b, part, c);
		if (r)
			return r;
		foreign_pages -= part.count;
	}
	c->result.foreign_pages += foreign_pages;
	return 0;
}

/* Makes a sorted copy of what is untold. */
static int sort_untold(const struct dynmem_books *b, struct rangeset *set)
{
	size_t n = b->untold.n - b->untold.first;
	int r;

	rangeset_init(set, n);
	if (n == 0)
		return 0;
	r = rangeset_reserve(set, n);
	if (r)
		return r;
	memcpy(set->ranges, b->untold.ranges + b->untold.first, n * sizeof(*set->ranges));
	r = page_ranges_normalize(set->ranges, n, &set->n_ranges);
	assert(r == 0); /* each was added to a set */
	set->pages = b->untold.pages;
	return r;
}

int dynmem_books_give_back(struct dynmem_books *b, const struct dynmem_ranges *ranges,
			   struct dynmem_given_back *ret_given_back)
{
	struct collection c = {.n = 0};
	int r, flushed;

	r = sort_untold(b, &c.untold);
	for (uint32_t i = 0; r == 0 && i < ranges->n; i++) {
		struct page_range range = dynmem_range_at(ranges, i);

		c.result.asked_pages += range.count;
		r = collect_range(b, range, &c);
	}
	flushed = flush_collection(b, &c);
	rangeset_fini(&c.untold);
	if (r)
		return r;
	if (flushed)
		return flushed;

	*ret_given_back = c.result;
	return 0;
}

bool dynmem_books_begin_return(struct dynmem_books *b)
{
	if (b->collected.pages == 0)
		return false;
	move_all(&b->collected, &b->returning);
	append(b, DYNMEM_ENTRY_BEGIN_RETURN, no_range);
	return true;
}

void dynmem_books_end_return(struct dynmem_books *b)
{
	rangeset_clear(&b->returning);
	append(b, DYNMEM_ENTRY_END_RETURN, no_range);
}

void dynmem_books_lose_host(struct dynmem_books *b)
{
	int r = 0;

	clear_untold(b);
	if (b->unreported.pages == 0)
		move_all(&b->ballooned, &b->unreported);
	else
		r = rangeset_add(&b->unreported, b->ballooned.ranges, b->ballooned.n_ranges);
	assert(r == 0); /* by prepare_growth() */
	(void)r;
	rangeset_clear(&b->ballooned);
	append(b, DYNMEM_ENTRY_LOSE_HOST, no_range);
}

/* Copies the top @pages of a set, or all of it; returns how many ranges that is. */
static size_t copy_top(const struct rangeset *set, uint64_t pages, struct page_range *ranges)
{
	size_t i = set->n_ranges, n = 0;

	while (i > 0 && pages > 0) {
		struct page_range range = set->ranges[--i];

		if (range.count > pages)
			skip_front(&range, range.count - pages);
		pages -= range.count;
		ranges[n++] = range;
	}
	return n;
}

static void remove_ranges(struct rangeset *set, const struct page_range *ranges, size_t n)
{
	uint64_t removed;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = rangeset_remove(set, ranges[i], &removed);
	assert(r == 0);
}

/* @ranges, from the top down, which are the top of what is unreported, become the host's. */
static int reuse_ranges(struct dynmem_books *b, struct page_range *ranges, size_t n)
{
	int r;

	r = reserve_untold(b, n);
	if (r)
		return r;
	/* To lose them once more must not fail. In sum the two sets have one more range at most. */
	r = rangeset_reserve(&b->unreported, b->unreported.n_ranges + b->ballooned.n_ranges + n);
	if (r)
		return r;
	r = rangeset_reserve(&b->ballooned, b->ballooned.n_ranges + n);
	if (r)
		return r;

	push_untold(b, ranges, n);
	append_all(b, DYNMEM_ENTRY_REUSE, ranges, n);
	remove_ranges(&b->unreported, ranges, n); /* ends only: needs no memory */
	r = page_ranges_normalize(ranges, n, &n);
	assert(r == 0);
	b->ballooned.limit = 2 * b->ranges_max;
	r = rangeset_add(&b->ballooned, ranges, n);
	assert(r == 0); /* it was reserved */
	return r;
}

int dynmem_books_reuse(struct dynmem_books *b, uint64_t pages, uint64_t *ret_reused_pages)
{
	_cleanup_free_ struct page_range *ranges = NULL;
	uint64_t reused_pages;
	size_t n;
	int r;

	ranges = calloc(b->unreported.n_ranges + 1, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	n = copy_top(&b->unreported, pages, ranges);
	reused_pages = page_ranges_count(ranges, n);
	r = reuse_ranges(b, ranges, n);
	if (r < 0)
		return r;

	*ret_reused_pages = r == 0 ? reused_pages : 0;
	return 0;
}

int dynmem_books_release(struct dynmem_books *b)
{
	size_t limit = b->collected.limit;
	int r = 0;

	if (b->collected.pages == 0) {
		move_all(&b->unreported, &b->collected);
	} else {
		b->collected.limit = 2 * b->ranges_max;
		r = rangeset_add(&b->collected, b->unreported.ranges, b->unreported.n_ranges);
		b->collected.limit = limit;
		if (r == 0)
			rangeset_clear(&b->unreported);
	}
	assert(r <= 0);
	if (r == 0)
		append(b, DYNMEM_ENTRY_RELEASE, no_range);
	return r;
}

/* Takes out of @set what is not in @held, and writes how many pages that is. */
static int keep_held(struct rangeset *set, const struct rangeset *held, uint64_t *ret_gone_pages)
{
	struct rangeset gone, kept;
	int r;

	rangeset_init(&gone, SIZE_MAX);
	rangeset_init(&kept, SIZE_MAX);
	r = rangeset_add_difference(&gone, set, held);
	if (r == 0)
		r = rangeset_add_difference(&kept, set, &gone);
	if (r == 0) {
		*ret_gone_pages = gone.pages;
		rangeset_clear(set);
		move_all(&kept, set);
	}
	rangeset_fini(&kept);
	rangeset_fini(&gone);
	return r;
}

/* Adds to @set what is held and in none of the sets. */
static int add_unknown(struct dynmem_books *b, const struct rangeset *held, struct rangeset *set)
{
	const struct rangeset *known[] = {&b->ballooned, &b->unreported, &b->collected};
	struct rangeset unknown, less;
	int r;

	rangeset_init(&unknown, SIZE_MAX);
	r = rangeset_add(&unknown, held->ranges, held->n_ranges);
	for (size_t i = 0; r == 0 && i < sizeof(known) / sizeof(known[0]); i++) {
		rangeset_init(&less, SIZE_MAX);
		r = rangeset_add_difference(&less, &unknown, known[i]);
		rangeset_clear(&unknown);
		move_all(&less, &unknown);
		rangeset_fini(&less);
	}
	if (r == 0)
		r = rangeset_add(set, unknown.ranges, unknown.n_ranges);
	rangeset_fini(&unknown);
	return r;
}

int dynmem_books_reconcile(struct dynmem_books *b, const struct rangeset *held,
			   bool unknown_is_unreported, uint64_t *ret_lost_pages)
{
	uint64_t lost_pages = 0, gone_pages = 0;
	int r;

	assert(b->returning.pages == 0);
	b->area.overflow = true; /* the log is begun anew */
	r = keep_held(&b->ballooned, held, &lost_pages);
	if (r == 0)
		r = keep_held(&b->unreported, held, &gone_pages);
	if (r == 0)
		r = keep_held(&b->collected, held, &gone_pages);
	if (r == 0)
		r = add_unknown(b, held, unknown_is_unreported ? &b->unreported : &b->collected);
	if (r)
		return -ENOMEM; /* too many ranges is the same: there is no room for them */

	if (lost_pages > 0)
		clear_untold(b);
	*ret_lost_pages = lost_pages;
	return 0;
}

size_t dynmem_books_entries(size_t ranges_max)
{
	return LOG_SETS * ranges_max + LOG_SPARE;
}

static void append_set(struct dynmem_books *b, enum dynmem_entry_kind kind, const struct rangeset *set)
{
	append_all(b, kind, set->ranges, set->n_ranges);
}

void dynmem_books_record(struct dynmem_books *b)
{
	if (!b->area.overflow)
		return;
	dynmem_area_restart(&b->area);
	append_set(b, DYNMEM_ENTRY_BALLOONED, &b->ballooned);
	append_set(b, DYNMEM_ENTRY_UNREPORTED, &b->unreported);
	append_set(b, DYNMEM_ENTRY_COLLECTED, &b->collected);
	append_set(b, DYNMEM_ENTRY_RETURNING, &b->returning);
	for (size_t i = b->untold.first; i < b->untold.n; i++)
		append(b, DYNMEM_ENTRY_UNTOLD, b->untold.ranges[i]);
}
