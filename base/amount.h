/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>

/*
 * Amounts that cannot be below zero.
 */

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* @a less @b, or 0 if that would be below it. */
static inline uint64_t sub_u64(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}
