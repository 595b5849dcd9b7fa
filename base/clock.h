/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdint.h>
#include <time.h>

/*
 * Nanoseconds since some point before the program started, never going back; the now_ns that pure
 * cores are given. It stands still while the machine is suspended. Not for pure cores themselves.
 */
static inline uint64_t clock_monotonic_ns(void)
{
	struct timespec now = {0};

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
