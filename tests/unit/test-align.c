/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/align.c.
 */

#include "memhotplug/align.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define MIB (UINT64_C(1) << 20)

Test(align, block_sizes_have_their_code_or_are_refused)
{
	static const struct {
		uint64_t block_bytes;
		int code; /* -1: refused */
	} rows[] = {
		{1 * MIB, 0},         {2 * MIB, 1},      {128 * MIB, 7},  {2048 * MIB, 11},
		{32768 * MIB, 15},    {65536 * MIB, -1}, {MIB / 2, -1},   {0, -1},
		{128 * MIB + 1, -1},  {3 * MIB, -1},     {UINT64_MAX, -1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t code = 99;
		int r = memhotplug_align_code(rows[i].block_bytes, &code);

		if (rows[i].code < 0) {
			cr_expect(eq(int, r, MEMHOTPLUG_ALIGN_UNFIT));
			cr_expect(eq(u8, code, 99));
		} else {
			cr_expect(eq(int, r, 0));
			cr_expect(eq(int, code, rows[i].code));
		}
	}
}
