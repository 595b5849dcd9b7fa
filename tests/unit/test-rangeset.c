/* SPDX-License-Identifier: MIT */

/*
 * base/rangeset.c, by example and against a plain bitmap under random operations.
 */

#include "base/rangeset.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static void check_invariants(const struct rangeset *set)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < set->n_ranges; i++) {
		cr_assert(set->ranges[i].count > 0);
		if (i > 0) {
			const struct page_range *before = &set->ranges[i - 1];

			cr_assert(before->first + before->count < set->ranges[i].first);
		}
		pages += set->ranges[i].count;
	}
	cr_assert(eq(u64, set->pages, pages));
	cr_assert(set->n_ranges <= set->limit);
}

Test(rangeset, ranges_that_touch_become_one)
{
	struct page_range a[] = {{10, 5}, {20, 5}}, b[] = {{15, 5}};
	struct rangeset set;

	rangeset_init(&set, 2);
	cr_assert(eq(int, rangeset_add(&set, a, 2), 0));
	cr_assert(eq(int, rangeset_add(&set, b, 1), 0));
	check_invariants(&set);
	cr_expect(eq(sz, set.n_ranges, 1));
	cr_expect(rangeset_contains(&set, (struct page_range){10, 15}));
	cr_expect(not(rangeset_contains(&set, (struct page_range){10, 16})));
	rangeset_fini(&set);
}

Test(rangeset, a_page_cannot_be_added_twice_and_the_refusal_changes_nothing)
{
	struct page_range a[] = {{100, 10}};
	static struct page_range clashes[][2] = {
		{{1, 1}, {99, 2}}, {{1, 1}, {100, 1}}, {{1, 1}, {105, 1}},
		{{1, 1}, {109, 5}}, {{1, 1}, {50, 100}},
	};
	struct rangeset set;

	rangeset_init(&set, 16);
	cr_assert(eq(int, rangeset_add(&set, a, 1), 0));
	for (size_t i = 0; i < sizeof(clashes) / sizeof(clashes[0]); i++) {
		cr_expect(eq(int, rangeset_add(&set, clashes[i], 2), RANGESET_OVERLAP));
		cr_expect(eq(u64, set.pages, 10));
		check_invariants(&set);
	}
	rangeset_fini(&set);
}

Test(rangeset, the_limit_holds_for_adding_and_for_cutting_up)
{
	struct page_range a[] = {{0, 10}, {20, 10}}, b[] = {{40, 1}};
	struct rangeset set;
	uint64_t removed;

	rangeset_init(&set, 2);
	cr_assert(eq(int, rangeset_add(&set, a, 2), 0));
	cr_expect(eq(int, rangeset_add(&set, b, 1), RANGESET_FULL));
	cr_expect(eq(int, rangeset_remove(&set, (struct page_range){5, 1}, &removed), RANGESET_FULL));
	cr_expect(eq(u64, set.pages, 20));
	cr_expect(eq(int, rangeset_remove(&set, (struct page_range){0, 5}, &removed), 0));
	cr_expect(eq(u64, removed, 5));
	check_invariants(&set);
	rangeset_fini(&set);
}

Test(rangeset, removing_takes_only_what_is_there)
{
	struct page_range a[] = {{10, 10}, {30, 10}, {50, 10}};
	struct rangeset set;
	uint64_t removed;

	rangeset_init(&set, 8);
	cr_assert(eq(int, rangeset_add(&set, a, 3), 0));
	cr_assert(eq(int, rangeset_remove(&set, (struct page_range){15, 40}, &removed), 0));
	cr_expect(eq(u64, removed, 5 + 10 + 5));
	cr_expect(rangeset_contains(&set, (struct page_range){10, 5}));
	cr_expect(rangeset_contains(&set, (struct page_range){55, 5}));
	check_invariants(&set);

	cr_assert(eq(int, rangeset_remove(&set, (struct page_range){0, UINT64_MAX}, &removed), 0));
	cr_expect(eq(u64, removed, 10));
	cr_expect(eq(sz, set.n_ranges, 0));
	cr_assert(eq(int, rangeset_remove(&set, (struct page_range){0, 0}, &removed), 0));
	cr_expect(eq(u64, removed, 0));
	rangeset_fini(&set);
}

Test(rangeset, normalizing_sorts_joins_and_refuses_what_cannot_be)
{
	struct page_range good[] = {{30, 5}, {0, 0}, {10, 20}, {40, 1}};
	struct page_range twice[] = {{30, 5}, {34, 1}};
	struct page_range beyond[] = {{UINT64_MAX, 2}};
	size_t n;

	cr_assert(eq(int, page_ranges_normalize(good, 4, &n), 0));
	cr_expect(eq(sz, n, 2));
	cr_expect(eq(u64, good[0].first, 10));
	cr_expect(eq(u64, good[0].count, 25));
	cr_expect(eq(int, page_ranges_normalize(twice, 2, &n), RANGESET_OVERLAP));
	cr_expect(eq(int, page_ranges_normalize(beyond, 1, &n), RANGESET_OVERFLOW));
	cr_assert(eq(int, page_ranges_normalize(NULL, 0, &n), 0));
	cr_expect(eq(sz, n, 0));
}

enum {
	UNIVERSE = 256,
	STEPS = 20000
};

static bool model_has(const bool *model, struct page_range r)
{
	for (uint64_t p = r.first; p < r.first + r.count; p++)
		if (!model[p])
			return false;
	return true;
}

static struct page_range random_range(unsigned int *seed)
{
	uint64_t first = rand_r(seed) % UNIVERSE, count = 1 + rand_r(seed) % 24;

	if (count > UNIVERSE - first)
		count = UNIVERSE - first;
	return (struct page_range){first, count};
}

Test(rangeset, agrees_with_a_bitmap_under_random_adds_and_removes)
{
	bool model[UNIVERSE] = {0};
	unsigned int seed = 20260101;
	struct rangeset set;

	rangeset_init(&set, UNIVERSE);
	for (int step = 0; step < STEPS; step++) {
		struct page_range batch[3] = {random_range(&seed), random_range(&seed),
					      random_range(&seed)};
		size_t n = 1 + rand_r(&seed) % 3;
		bool clash = false;
		uint64_t removed, expected = 0;

		if (rand_r(&seed) % 2 && page_ranges_normalize(batch, n, &n) == 0) {
			for (size_t i = 0; i < n; i++)
				for (uint64_t p = batch[i].first; p < batch[i].first + batch[i].count; p++)
					clash |= model[p];
			cr_assert(eq(int, rangeset_add(&set, batch, n), clash ? RANGESET_OVERLAP : 0));
			for (size_t i = 0; !clash && i < n; i++)
				memset(&model[batch[i].first], 1, batch[i].count);
		} else {
			for (uint64_t p = batch[0].first; p < batch[0].first + batch[0].count; p++)
				expected += model[p];
			cr_assert(eq(int, rangeset_remove(&set, batch[0], &removed), 0));
			cr_assert(eq(u64, removed, expected));
			memset(&model[batch[0].first], 0, batch[0].count);
		}
		check_invariants(&set);
		batch[0] = random_range(&seed);
		cr_assert(eq(int, rangeset_contains(&set, batch[0]), model_has(model, batch[0])));
	}
	rangeset_fini(&set);
}
