/* SPDX-License-Identifier: MIT */

/*
 * Water-filling.
 *
 * The sum of what all get rises with the level, so the level is found by halving. It is a whole
 * number of 1/2^14 pages for each unit of weight. As no weight is above 10 000 < 2^14, one step of
 * the level gives nobody more than a page: at the last level that fits, what is left is given out
 * page by page to those whom the next level would give one, and it comes out even.
 *
 * With lows and highs up to 2^34 pages the level is at most 2^48, and level * weight below 2^62.
 */

#include "policy/waterfill.h"

enum {
	LEVEL_SHIFT = 14,
};

static uint64_t weight_of(const struct waterfill_share *s)
{
	return s->weight > 0 ? s->weight : 1;
}

static uint64_t at_level(const struct waterfill_share *s, uint64_t level)
{
	uint64_t pages = level * weight_of(s) >> LEVEL_SHIFT;

	if (pages < s->low)
		return s->low;
	return pages < s->high ? pages : s->high;
}

static uint64_t sum_at_level(const struct waterfill_share *shares, size_t n, uint64_t level)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += at_level(&shares[i], level);
	return sum;
}

/* A level at which each has its high. */
static uint64_t full_level(const struct waterfill_share *shares, size_t n)
{
	uint64_t level = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t full = ((shares[i].high << LEVEL_SHIFT) / weight_of(&shares[i])) + 1;

		if (full > level)
			level = full;
	}
	return level;
}

void waterfill(struct waterfill_share *shares, size_t n, uint64_t amount)
{
	uint64_t low = 0, high = full_level(shares, n), left;

	if (sum_at_level(shares, n, high) <= amount)
		low = high;
	/* low fits, or nothing does; high does not */
	while (low + 1 < high) {
		uint64_t middle = low + (high - low) / 2;

		if (sum_at_level(shares, n, middle) <= amount)
			low = middle;
		else
			high = middle;
	}

	left = sum_at_level(shares, n, low);
	left = left < amount ? amount - left : 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t more = at_level(&shares[i], low + 1) - at_level(&shares[i], low);

		shares[i].pages = at_level(&shares[i], low);
		if (more <= left) {
			shares[i].pages += more;
			left -= more;
		}
	}
}
