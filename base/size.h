/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdint.h>

/*
 * Amounts of memory and lengths of time, as people write and read them.
 */

/* The conditions of size_parse(). */
enum {
	SIZE_MALFORMED = 1, /* not a number with an optional unit */
	SIZE_OVERFLOW,      /* 2^64 bytes or more */
};

/*
 * Reads "4096", "64K", "512M", "64KiB", "4G", "1T": decimal digits and nothing or a unit, in any
 * case, always a power of 1024. "MB" is refused, because half of its users mean 1000.
 * SIZE_MALFORMED, SIZE_OVERFLOW.
 */
_must_check_ int size_parse(const char *text, uint64_t *ret_bytes);

struct size_text {
	char text[24];
};

/* "0 B", "512 MiB", "1.5 GiB": at most one decimal, cut and not rounded up. */
struct size_text size_format(uint64_t bytes);

/* "0 ns", "750 us", "3.2 ms", "1.5 s", "2 min 5 s", "3 h 10 min": cut and not rounded up. */
struct size_text duration_format(uint64_t ns);
