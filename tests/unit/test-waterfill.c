/* SPDX-License-Identifier: MIT */

/*
 * policy/waterfill.c: rows that were computed by hand, and what holds for any shares, over many
 * seeds.
 */

#include "policy/waterfill.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

enum {
	N_MAX = 40,
	ROUNDS = 4000,
};

Test(waterfill, a_few_are_served_as_one_would_by_hand)
{
	static const struct {
		struct waterfill_share shares[3]; /* with the expected result */
		uint64_t amount;
	} rows[] = {
		{{{0, 100, 1, 100}, {0, 100, 1, 100}, {0, 100, 1, 100}}, 300},
		{{{0, 100, 1, 100}, {0, 100, 1, 100}, {0, 100, 1, 100}}, 1000},
		{{{0, 100, 1, 30}, {0, 100, 1, 30}, {0, 100, 1, 30}}, 90},
		{{{0, 10, 1, 10}, {0, 100, 1, 40}, {0, 100, 1, 40}}, 90},
		{{{0, 100, 2, 60}, {0, 100, 1, 30}, {0, 100, 0, 30}}, 120},
		{{{50, 100, 1, 50}, {0, 100, 1, 20}, {0, 100, 1, 20}}, 90},
		{{{50, 100, 1, 50}, {60, 100, 1, 60}, {0, 100, 1, 0}}, 90},
		{{{0, 100, 1, 34}, {0, 100, 1, 33}, {0, 100, 1, 33}}, 100},
		{{{7, 7, 10000, 7}, {0, 0, 10000, 0}, {0, 9, 1, 9}}, 16},
		{{{0, WATERFILL_PAGES_MAX, 1, 1},
		  {0, WATERFILL_PAGES_MAX, 10000, 10000},
		  {0, 0, 5, 0}},
		 10001},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct waterfill_share s[3];

		for (int k = 0; k < 3; k++)
			s[k] = rows[i].shares[k];
		waterfill(s, 3, rows[i].amount);
		for (int k = 0; k < 3; k++)
			cr_expect(eq(u64, s[k].pages, rows[i].shares[k].pages), "row %zu, %d", i, k);
	}
	waterfill(NULL, 0, 5);
}

static uint64_t weight_of(const struct waterfill_share *s)
{
	return s->weight ? s->weight : 1;
}

/*
 * Max-min fair: whoever has more for its weight than another who wants more (by more than a page
 * each) has it only because it is its low.
 */
static void expect_fair(const struct waterfill_share *s, size_t n, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			if (s[i].pages > s[i].low && s[j].pages < s[j].high)
				cr_assert(le(u64, (s[i].pages - 1) * weight_of(&s[j]),
					     (s[j].pages + 1) * weight_of(&s[i])),
					  "seed %u: %zu has %lu, %zu has %lu", seed, i, s[i].pages, j,
					  s[j].pages);
}

Test(waterfill, nothing_is_left_over_and_all_is_fair_whatever_the_shares)
{
	for (unsigned int seed = 1; seed <= ROUNDS; seed++) {
		struct waterfill_share s[N_MAX];
		unsigned int state = seed;
		size_t n = 1 + (size_t)rand_r(&state) % N_MAX;
		uint64_t lows = 0, highs = 0, sum = 0, amount;
		uint64_t scale = UINT64_C(1) << (1 + rand_r(&state) % 33);

		for (size_t i = 0; i < n; i++) {
			uint64_t x = (uint64_t)rand_r(&state) * 16 % scale;
			uint64_t y = (uint64_t)rand_r(&state) * 16 % scale;

			s[i] = (struct waterfill_share){
				.low = rand_r(&state) % 2 ? 0 : (x < y ? x : y),
				.high = x < y ? y : x,
				.weight = (uint32_t)rand_r(&state) % 10001,
			};
			lows += s[i].low;
			highs += s[i].high;
		}
		amount = highs ? (uint64_t)rand_r(&state) * 4 % (highs + highs / 4 + 1) : 3;
		waterfill(s, n, amount);
		for (size_t i = 0; i < n; i++) {
			cr_assert(s[i].pages >= s[i].low && s[i].pages <= s[i].high);
			sum += s[i].pages;
		}
		if (amount <= lows)
			cr_assert(eq(u64, sum, lows), "seed %u", seed);
		else
			cr_assert(eq(u64, sum, amount < highs ? amount : highs), "seed %u", seed);
		expect_fair(s, n, seed);
	}
}
