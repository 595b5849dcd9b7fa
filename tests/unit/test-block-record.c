/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/block_record.c: what was written is read again, and nothing else is taken for it.
 */

#include "tests/unit/tree.h"

#include "memhotplug/block_record.h"

#define MIB128 (UINT64_C(128) << 20)

TestSuite(block_record, .init = tree_init, .fini = tree_fini);

Test(block_record, what_was_written_is_read_again)
{
	static const struct block_mark marks[] = {
		{33, BLOCK_ZONE_NORMAL}, {34, BLOCK_ZONE_MOVABLE}, {7, BLOCK_ZONE_DMA32},
	};
	struct block_mark *got = NULL;
	size_t n;

	cr_assert(eq(int, block_record_write(tree_path("blocks"), MIB128, marks, 3), 0));
	cr_assert(eq(int, block_record_read(tree_path("blocks"), MIB128, &got, &n), 0));
	cr_assert(eq(sz, n, 3));
	for (size_t i = 0; i < n; i++) {
		cr_expect(eq(u64, got[i].number, marks[i].number));
		cr_expect(eq(int, got[i].zone, marks[i].zone));
	}
	free(got);
	cr_expect(ne(int, access(tree_path("blocks.new"), F_OK), 0));

	cr_assert(eq(int, block_record_write(tree_path("blocks"), MIB128, NULL, 0), 0));
	cr_assert(eq(int, block_record_read(tree_path("blocks"), MIB128, &got, &n), 0));
	cr_expect(eq(sz, n, 0));
	free(got);
}

Test(block_record, a_record_that_is_not_there_is_none)
{
	struct block_mark *got;
	size_t n;

	cr_expect(eq(int, block_record_read(tree_path("blocks"), MIB128, &got, &n), BLOCK_RECORD_NONE));
	cr_expect(lt(int, block_record_write(tree_path("no/blocks"), MIB128, NULL, 0), 0));
}

Test(block_record, a_record_of_another_boot_or_size_means_nothing)
{
	struct block_mark *got;
	size_t n;

	tree_file("blocks", "hvguest-blocks 1 8000000 of-yesterday\n33 Normal\n");
	cr_expect(eq(int, block_record_read(tree_path("blocks"), MIB128, &got, &n), BLOCK_RECORD_NONE));
	cr_assert(eq(int, block_record_write(tree_path("blocks"), MIB128, NULL, 0), 0));
	cr_expect(eq(int, block_record_read(tree_path("blocks"), 2 * MIB128, &got, &n),
		     BLOCK_RECORD_BAD));
}

Test(block_record, what_is_not_a_record_is_bad)
{
	static const char *const lines[] = {"33\n", "Normal 33\n", "33 Nowhere\n", "33 Normal x\n", "\n"};
	char text[512], heading[256];
	struct block_mark *got;
	size_t n;

	tree_file("blocks", "");
	cr_expect(eq(int, block_record_read(tree_path("blocks"), MIB128, &got, &n), BLOCK_RECORD_BAD));
	cr_assert(eq(int, block_record_write(tree_path("blocks"), MIB128, NULL, 0), 0));
	strcpy(heading, tree_text("blocks"));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(text, sizeof(text), "%s%s", heading, lines[i]);
		tree_file("blocks", text);
		cr_expect(eq(int, block_record_read(tree_path("blocks"), MIB128, &got, &n),
			     BLOCK_RECORD_BAD), "'%s'", lines[i]);
	}
}
