/* SPDX-License-Identifier: MIT */

/*
 * policy/source.c: how a request is split.
 */

#include "policy/source.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <string.h>

enum {
	MIB = 256, /* pages */
	GIB = 1024 * MIB,
	BLOCK = 128 * MIB,
};

struct row {
	struct source_figures figures;
	uint64_t blocks;
	uint64_t pages;
	char reason[32]; /* is in the reason given */
};

/* Request, what may be given, block, held in blocks, held in pages. */
#define ROW(request, may_give, block, in_blocks, in_pages) \
	{(request), (may_give), (block), (in_blocks), (in_pages), true, false, false, false}

ParameterizedTestParameters(source, a_request_is_split)
{
	static struct row rows[] = {
		{ROW(GIB, 4 * GIB, BLOCK, 0, 0), 7, 128 * MIB, "whole memory blocks"},
		{ROW(GIB, 4 * GIB, BLOCK, 7 * BLOCK, 128 * MIB), 8, 0, "whole memory blocks"},
		{ROW(4 * GIB, 4 * GIB, BLOCK, 0, 0), 30, 256 * MIB, "whole memory blocks"},
		{ROW(GIB, 600 * MIB, BLOCK, 0, 0), 4, 88 * MIB, "whole memory blocks"},
		{ROW(256 * MIB, GIB, BLOCK, 0, 0), 1, 128 * MIB, "whole memory blocks"},
		{ROW(255 * MIB, GIB, BLOCK, 0, 0), 0, 255 * MIB, "less than two"},
		{ROW(GIB, 255 * MIB, BLOCK, 0, 0), 0, 255 * MIB, "less than two"},
		{ROW(GIB, 0, BLOCK, 0, 0), 0, 0, "less than two"},
		{ROW(0, GIB, BLOCK, 0, 0), 0, 0, "less than two"},
		{ROW(256 * MIB, GIB, BLOCK, 40 * GIB, 0), 0, 256 * MIB, "the share"},
		{ROW(GIB, GIB, 2 * GIB, 0, 0), 0, GIB, "less than two"},
		{ROW(GIB, GIB, 0, 0, 0), 0, GIB, "no memory blocks"},
		{{GIB, GIB, BLOCK, 0, 0, false, false, false, false}, 0, GIB, "memory_blocks"},
		{{GIB, GIB, BLOCK, 0, 0, true, true, false, false}, 0, GIB, "hv_balloon is bound"},
		{{GIB, GIB, BLOCK, 0, 0, true, false, true, false}, 0, GIB, "free enough"},
		{{GIB, GIB, BLOCK, 0, 0, true, false, false, true}, 0, GIB, "memmap_on_memory"},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct row *row, source, a_request_is_split)
{
	struct source_split split;

	source_split(&row->figures, &split);
	cr_expect(eq(u64, split.blocks, row->blocks));
	cr_expect(eq(u64, split.pages, row->pages));
	cr_expect(eq(int, strstr(split.reason, row->reason) != NULL, 1), "'%s'", split.reason);
}

Test(source, whatever_is_asked_the_parts_are_what_may_be_given)
{
	for (uint64_t request = 0; request < 3 * GIB; request += 37 * MIB + 5) {
		for (uint64_t held = 0; held < 64 * (uint64_t)GIB; held += 5 * GIB + 1) {
			struct source_figures f = ROW(request, 2 * GIB, BLOCK, held, held / 20);
			struct source_split split;
			uint64_t wanted = request < 2 * GIB ? request : 2 * GIB;

			source_split(&f, &split);
			cr_assert(eq(u64, split.blocks * BLOCK + split.pages, wanted));
		}
	}
}
