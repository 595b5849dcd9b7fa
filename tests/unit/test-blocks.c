/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/blocks.c on a tree that stands for the kernel's, and reading only, on the kernel's.
 */

#include "tests/unit/tree.h"

#include "memhotplug/blocks.h"

#include "base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

TestSuite(blocks, .init = tree_init, .fini = tree_fini);

static void fill(void)
{
	static const char *const files[][2] = {
		{"block_size_bytes", "8000000\n"},
		{"memory12x", "not a block\n"},
		{"memory0/state", "online\n"},
		{"memory0/valid_zones", "none\n"},
		{"memory1/state", "offline\n"},
		{"memory1/valid_zones", "Normal Movable\n"},
		{"memory33/state", "online\n"},
		{"memory33/valid_zones", "Movable\n"},
		{"memory4/state", "going-offline\n"},
		{"memory5/nothing", "\n"},
		{"memory6/state", "offline\n"},
		{"memory6/valid_zones", "Movable Normal\n"},
		{"memory7/state", "online\n"},
		{"memory7/valid_zones", "DMA32\n"},
		{"memory8/state", "online\n"},
		{"memory8/valid_zones", "Device\n"},
		{"memory/state", "online\n"},
		{"power/state", "online\n"},
		{"memory123456789012345678/state", "online\n"},
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		tree_file(files[i][0], files[i][1]);
}

Test(blocks, a_tree_of_blocks_is_listed_by_number)
{
	static const struct block want[] = {
		{0, BLOCK_ONLINE, BLOCK_ZONE_NONE},
		{1, BLOCK_OFFLINE, BLOCK_ZONE_NONE},
		{4, BLOCK_UNSETTLED, BLOCK_ZONE_NONE},
		{5, BLOCK_UNSETTLED, BLOCK_ZONE_NONE},
		{6, BLOCK_OFFLINE, BLOCK_ZONE_NONE},
		{7, BLOCK_ONLINE, BLOCK_ZONE_DMA32},
		{8, BLOCK_ONLINE, BLOCK_ZONE_OTHER},
		{33, BLOCK_ONLINE, BLOCK_ZONE_MOVABLE},
	};
	struct blocks blocks;

	cr_expect(lt(int, blocks_read(tree, &blocks), 0));
	fill();
	cr_assert(eq(int, blocks_read(tree, &blocks), 0));
	cr_expect(eq(u64, blocks.block_bytes, UINT64_C(128) << 20));
	cr_assert(eq(sz, blocks.n, sizeof(want) / sizeof(want[0])));
	for (size_t i = 0; i < blocks.n; i++) {
		const struct block *got = &blocks.list[i];

		cr_expect(eq(u64, got->number, want[i].number));
		cr_expect(eq(int, got->state, want[i].state), "memory%lu", got->number);
		cr_expect(eq(int, got->zone, want[i].zone), "memory%lu", got->number);
	}
	cr_expect(eq(sz, blocks_count(&blocks, BLOCK_ONLINE), 4));
	cr_expect(eq(sz, blocks_count(&blocks, BLOCK_OFFLINE), 2));
	cr_expect(eq(u64, blocks_find(&blocks, 33)->number, 33));
	cr_expect(eq(int, blocks_find(&blocks, 34) == NULL, 1));
	blocks_fini(&blocks);
	cr_expect(eq(int, blocks_find(&blocks, 33) == NULL, 1));
}

Test(blocks, the_zones_that_a_block_could_be_in_are_read_when_asked_for)
{
	bool kernel, movable;

	fill();
	cr_assert(block_read_choices(tree, 1, &kernel, &movable));
	cr_expect(kernel && movable);
	cr_assert(block_read_choices(tree, 33, &kernel, &movable));
	cr_expect(movable && !kernel);
	cr_assert(block_read_choices(tree, 0, &kernel, &movable));
	cr_expect(not(kernel || movable));
	cr_expect(not(block_read_choices(tree, 2, &kernel, &movable)));
}

Test(blocks, a_block_size_that_is_no_power_of_two_is_bad)
{
	static const char *const sizes[] = {"", "\n", "0\n", "8000000q\n", "-1\n", "800\n",
					    "8000001\n", "10000000000000000\n"};
	struct blocks blocks;
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		tree_file("block_size_bytes", sizes[i]);
		cr_expect(eq(int, blocks_read(tree, &blocks), BLOCKS_BAD), "'%s'", sizes[i]);
		cr_expect(eq(int, blocks_read_size(tree, &bytes), BLOCKS_BAD), "'%s'", sizes[i]);
	}
	tree_file("block_size_bytes", "80000000\n");
	cr_assert(eq(int, blocks_read_size(tree, &bytes), 0));
	cr_expect(eq(u64, bytes, UINT64_C(2) << 30));
}

Test(blocks, a_block_is_brought_online_with_the_word_for_its_zone)
{
	fill();
	cr_assert(eq(int, block_online(tree, 1, BLOCK_ONLINE_MOVABLE), 0));
	expect_text(tree_text("memory1/state"), "online_movable");
	cr_assert(eq(int, block_online(tree, 1, BLOCK_ONLINE_KERNEL), 0));
	expect_text(tree_text("memory1/state"), "online_kernel");
	cr_assert(eq(int, block_online(tree, 1, BLOCK_ONLINE_DEFAULT), 0));
	expect_text(tree_text("memory1/state"), "online");
	cr_expect(eq(int, block_online(tree, 2, BLOCK_ONLINE_DEFAULT), BLOCKS_GONE));
}

Test(blocks, a_block_is_taken_offline)
{
	struct block block;

	fill();
	cr_assert(eq(int, block_offline(tree, 33, 1000000000), 0));
	expect_text(tree_text("memory33/state"), "offline");
	cr_assert(eq(int, block_read(tree, 33, &block), 0));
	cr_expect(eq(int, block.state, BLOCK_OFFLINE));
	cr_expect(eq(int, block_offline(tree, 34, 1000000000), BLOCKS_GONE));
	cr_expect(eq(int, block_read(tree, 34, &block), BLOCKS_GONE));
}

Test(blocks, an_offlining_that_does_not_end_is_interrupted)
{
	static const char filler[4096];
	uint64_t start = clock_monotonic_ns();
	sigset_t before, after;
	int reader;

	/* A pipe that is full stands for a block that never empties. */
	fill();
	tree_remove("memory33/state");
	cr_assert(eq(int, mkfifo(tree_path("memory33/state"), 0600), 0));
	reader = open(tree_path("memory33/state"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
	cr_assert(ge(int, reader, 0));
	while (write(reader, filler, sizeof(filler)) > 0)
		continue;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	cr_expect(eq(int, block_offline(tree, 33, 100000000), BLOCKS_TIMED_OUT));
	cr_expect(ge(u64, clock_monotonic_ns() - start, 100000000));
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	cr_expect(eq(int, sigismember(&after, SIGRTMAX), sigismember(&before, SIGRTMAX)));
	close(reader);
}

Test(blocks, what_cannot_be_written_is_refused)
{
	fill();
	tree_link("memory33/state", "/dev/full");
	cr_expect(eq(int, block_offline(tree, 33, 1000000000), BLOCKS_REFUSED));
	cr_expect(eq(int, block_online(tree, 33, BLOCK_ONLINE_DEFAULT), BLOCKS_REFUSED));
}

Test(blocks, each_condition_has_words)
{
	for (int condition = 0; condition <= BLOCKS_REFUSED; condition++) {
		cr_assert(eq(int, blocks_condition_text(condition) != NULL, 1));
		cr_expect(ne(int, strcmp(blocks_condition_text(condition), "unknown"), 0));
	}
	expect_text(blocks_condition_text(BLOCKS_REFUSED + 1), "unknown");
	expect_text(blocks_condition_text(-ENOMEM), "Cannot allocate memory");
}

Test(blocks, this_machine_has_blocks_online)
{
	struct blocks blocks;

	if (access(BLOCKS_DIR, R_OK) != 0)
		cr_skip_test("this kernel lists no memory blocks");
	cr_assert(eq(int, blocks_read(BLOCKS_DIR, &blocks), 0));
	cr_expect(gt(sz, blocks_count(&blocks, BLOCK_ONLINE), 0));
	blocks_fini(&blocks);
}
