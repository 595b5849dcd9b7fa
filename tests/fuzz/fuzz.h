/* SPDX-License-Identifier: MIT */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * What the fuzz targets share. Each target is one .c file that defines LLVMFuzzerTestOneInput();
 * it is linked with replay-main.c, or with libFuzzer where configure was given --enable-fuzzing.
 */

/* Runs one input. Returns 0; what must not happen ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline _Noreturn void fuzz_fail(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
	abort();
}

/* Like assert(), in every build: an oracle is no debugging aid. */
#define fuzz_require(condition) \
	do { \
		if (!(condition)) \
			fuzz_fail(__FILE__, __LINE__, #condition); \
	} while (0)

/*
 * A copy of @size bytes in a heap block of exactly that size, so that AddressSanitizer sees any
 * access behind it. The caller frees it.
 */
static inline uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
	uint8_t *copy = calloc(1, size);

	fuzz_require(copy || size == 0);
	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}
