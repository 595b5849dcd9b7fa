/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/blocks.c on a directory that stands for the kernel's, and on the kernel's.
 */

#include "memhotplug/blocks.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree_file {
	const char *dir; /* NULL: in the tree's own directory */
	const char *name;
	const char *text;
};

static const struct tree_file tree[] = {
	{NULL, "block_size_bytes", "8000000\n"},
	{NULL, "memory12x", "not a block\n"},
	{"memory0", "state", "online\n"},
	{"memory1", "state", "offline\n"},
	{"memory33", "state", "online\n"},
	{"memory4", "state", "going-offline\n"},
	{"memory5", "nothing", "\n"},
	{"memory", "state", "online\n"},
	{"power", "state", "online\n"},
};

enum {
	N_FILES = sizeof(tree) / sizeof(tree[0]),
};

static void make_file(const char *root, const struct tree_file *file)
{
	char path[256];
	FILE *f;

	if (file->dir) {
		snprintf(path, sizeof(path), "%s/%s", root, file->dir);
		cr_assert(eq(int, mkdir(path, 0700), 0));
	}
	snprintf(path, sizeof(path), "%s/%s/%s", root, file->dir ? file->dir : ".", file->name);
	f = fopen(path, "we");
	cr_assert(ne(ptr, f, NULL));
	fputs(file->text, f);
	fclose(f);
}

static void remove_tree(const char *root)
{
	char path[256];

	for (size_t i = 0; i < N_FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", root, tree[i].dir ? tree[i].dir : ".",
			 tree[i].name);
		cr_assert(eq(int, unlink(path), 0));
		snprintf(path, sizeof(path), "%s/%s", root, tree[i].dir ? tree[i].dir : "");
		if (tree[i].dir)
			cr_assert(eq(int, rmdir(path), 0));
	}
	cr_assert(eq(int, rmdir(root), 0));
}

Test(blocks, a_tree_of_blocks_is_counted_by_state)
{
	char root[] = "/tmp/test-blocks-XXXXXX";
	struct memhotplug_blocks blocks;

	cr_assert(ne(ptr, mkdtemp(root), NULL));
	cr_expect(lt(int, memhotplug_blocks_read(root, &blocks), 0));
	for (size_t i = 0; i < N_FILES; i++)
		make_file(root, &tree[i]);
	cr_assert(eq(int, memhotplug_blocks_read(root, &blocks), 0));
	cr_expect(eq(u64, blocks.block_bytes, UINT64_C(128) << 20));
	cr_expect(eq(u32, blocks.n_online, 2));
	cr_expect(eq(u32, blocks.n_offline, 1));
	cr_expect(eq(u32, blocks.n_other, 2));
	remove_tree(root);
	cr_expect(lt(int, memhotplug_blocks_read(root, &blocks), 0));
}

Test(blocks, a_block_size_that_is_no_number_is_bad)
{
	static const char *const sizes[] = {"", "\n", "0\n", "8000000q\n", "-1\n",
					    "10000000000000000\n"};
	char root[] = "/tmp/test-blocks-XXXXXX", path[64];

	cr_assert(ne(ptr, mkdtemp(root), NULL));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tree_file file = {NULL, "block_size_bytes", sizes[i]};
		struct memhotplug_blocks blocks;

		make_file(root, &file);
		cr_expect(eq(int, memhotplug_blocks_read(root, &blocks), MEMHOTPLUG_BLOCKS_BAD));
	}
	snprintf(path, sizeof(path), "%s/block_size_bytes", root);
	unlink(path);
	rmdir(root);
}

Test(blocks, this_machine_has_blocks_online)
{
	struct memhotplug_blocks blocks;

	if (access(MEMHOTPLUG_BLOCKS_DIR, R_OK) != 0)
		cr_skip_test("this kernel lists no memory blocks");
	cr_assert(eq(int, memhotplug_blocks_read(MEMHOTPLUG_BLOCKS_DIR, &blocks), 0));
	cr_expect(gt(u32, blocks.n_online, 0));
}
