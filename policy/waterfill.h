/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Dividing an amount among many by weight, max-min fair: each gets level * weight, but not less
 * than its low and not more than its high, with one level for all, such that nothing is left over
 * while anybody is below its high.
 */

enum {
	WATERFILL_WEIGHT_MAX = 10000,
};

#define WATERFILL_PAGES_MAX (UINT64_C(1) << 34) /* of low and high */

struct waterfill_share {
	uint64_t low;    /* at most high, which is at most WATERFILL_PAGES_MAX */
	uint64_t high;
	uint32_t weight; /* 0 to WATERFILL_WEIGHT_MAX; 0 is as 1 */
	uint64_t pages;  /* the result */
};

/*
 * Sets pages of all @n shares. If the lows are more than @amount, each gets its low: the caller
 * has promised too much. Ties of a single page go to whoever is first. At most 50 n steps.
 */
void waterfill(struct waterfill_share *shares, size_t n, uint64_t amount);
