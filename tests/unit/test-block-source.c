/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/block_source.c on a tree that stands for the kernel's, with 128 MiB blocks and flags
 * of their pages.
 */

#include "tests/unit/tree.h"

#include "memhotplug/block_source.h"

#include <fcntl.h>
#include <stdint.h>

enum {
	BLOCK_PAGES = 32768,
	N_BLOCKS = 12,
};

#define BUDDY (UINT64_C(1) << 10)
#define LRU   (UINT64_C(1) << 5)
#define SLAB  (UINT64_C(1) << 7)

/* Every page of a block has the same flags; block 0 is nobody's to take. */
static void set_flags(unsigned block, uint64_t flags)
{
	static uint64_t page_flags[BLOCK_PAGES];
	int fd = open(tree_path("kpageflags"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	for (size_t i = 0; i < BLOCK_PAGES; i++)
		page_flags[i] = flags;
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, pwrite(fd, page_flags, sizeof(page_flags),
				 (off_t)block * (off_t)sizeof(page_flags)), sizeof(page_flags)));
	close(fd);
}

static void set_block(unsigned block, const char *zone, uint64_t flags)
{
	char path[64];

	snprintf(path, sizeof(path), "sys/memory%u/state", block);
	tree_file(path, "online\n");
	snprintf(path, sizeof(path), "sys/memory%u/valid_zones", block);
	tree_file(path, zone);
	set_flags(block, flags);
}

static const char *state_of(unsigned block)
{
	char path[64];

	snprintf(path, sizeof(path), "sys/memory%u/state", block);
	return tree_text(path);
}

static struct block_source *open_source(size_t want_recovered)
{
	static char dir[PATH_MAX], flags[PATH_MAX], record[PATH_MAX];
	const struct block_source_config config = {
		.dir = dir, .kpageflags = flags, .record = record, .limit_ns = 1000000000,
	};
	struct block_source *source;
	size_t recovered;

	strcpy(dir, tree_path("sys"));
	strcpy(flags, tree_path("kpageflags"));
	strcpy(record, tree_path("blocks"));
	cr_assert(eq(int, block_source_new(&config, &source, &recovered), 0));
	cr_expect(eq(sz, recovered, want_recovered));
	return source;
}

/* Blocks 1..3 DMA32, 4..8 Normal, 9..11 Movable; all free. */
static void init(void)
{
	tree_init();
	tree_file("sys/block_size_bytes", "8000000\n");
	set_block(0, "none\n", BUDDY);
	for (unsigned i = 1; i < N_BLOCKS; i++)
		set_block(i, i < 4 ? "DMA32\n" : i < 9 ? "Normal\n" : "Movable\n", BUDDY);
}

TestSuite(block_source, .init = init, .fini = tree_fini);

static struct block_source_stats stats_of(const struct block_source *source)
{
	struct block_source_stats stats;

	block_source_get_stats(source, &stats);
	return stats;
}

/* Takes; the blocks as a set of bits. */
static unsigned take(struct block_source *source, size_t n_blocks)
{
	struct page_range ranges[N_BLOCKS];
	unsigned taken = 0;
	size_t n = 0;
	int r = block_source_take(source, n_blocks, NULL, 0, ranges, N_BLOCKS, &n);

	cr_expect(r == 0 || r == BLOCK_SOURCE_NONE);
	for (size_t i = 0; r == 0 && i < n; i++) {
		cr_expect(eq(u64, ranges[i].first % BLOCK_PAGES, 0));
		cr_expect(eq(u64, ranges[i].count % BLOCK_PAGES, 0));
		for (uint64_t p = ranges[i].first; p < ranges[i].first + ranges[i].count;
		     p += BLOCK_PAGES)
			taken |= 1u << p / BLOCK_PAGES;
	}
	return taken;
}

static int give(struct block_source *source, uint64_t first, uint64_t count, uint64_t want_pages)
{
	uint64_t pages;
	int r = block_source_return(source, (struct page_range){first, count}, &pages);

	cr_expect(eq(u64, pages, want_pages));
	return r;
}

Test(block_source, movable_blocks_are_taken_first_and_the_last_of_a_zone_never)
{
	struct block_source *source = open_source(0);

	cr_expect(eq(u32, take(source, 2), 1u << 11 | 1u << 10));
	expect_text(state_of(11), "offline");
	expect_text(state_of(9), "online\n");
	cr_expect(eq(u32, take(source, 2), 1u << 9 | 1u << 8));
	cr_expect(eq(u32, take(source, N_BLOCKS), 1u << 7 | 1u << 6 | 1u << 3));
	cr_expect(eq(u32, take(source, 1), 0));
	cr_expect(eq(u64, stats_of(source).blocks, 7));
	cr_expect(eq(u64, stats_of(source).taken, 7));
	cr_expect(eq(u64, block_source_host(source)->pages, 7 * BLOCK_PAGES));
	block_source_free(source);
}

Test(block_source, a_block_comes_back_whole_and_to_its_zone)
{
	struct block_source *source = open_source(0);
	struct page_range part;

	cr_assert(eq(u32, take(source, 4), 1u << 11 | 1u << 10 | 1u << 9 | 1u << 8));
	cr_expect(eq(int, give(source, 11 * BLOCK_PAGES, BLOCK_PAGES - 1, BLOCK_PAGES - 1), 0));
	cr_expect(eq(u64, stats_of(source).remembered_pages, BLOCK_PAGES - 1));
	expect_text(state_of(11), "offline");
	/* Twice the same is once; and the rest, with pages that were never here. */
	cr_expect(eq(int, give(source, 11 * BLOCK_PAGES, BLOCK_PAGES - 1, 0), 0));
	cr_expect(eq(int, give(source, 12 * BLOCK_PAGES - 1, UINT64_MAX, 1), 0));
	expect_text(state_of(11), "online_movable");
	cr_expect(eq(int, give(source, 8 * BLOCK_PAGES, BLOCK_PAGES + 5, BLOCK_PAGES + 5), 0));
	expect_text(state_of(8), "online");
	cr_expect(eq(u64, stats_of(source).remembered_pages, 5));
	cr_expect(eq(u64, stats_of(source).blocks, 2));
	cr_expect(eq(u64, stats_of(source).returned, 2));
	cr_assert(block_source_overlap(source, (struct page_range){0, UINT64_MAX}, &part));
	cr_expect(eq(u64, part.first, 9 * BLOCK_PAGES));
	cr_expect(eq(u64, part.count, 2 * BLOCK_PAGES));
	block_source_free(source);
}

Test(block_source, a_killed_daemon_s_blocks_are_known_to_the_next_one)
{
	struct block_source *source = open_source(0);

	cr_assert(eq(u32, take(source, 3), 1u << 11 | 1u << 10 | 1u << 9));
	cr_expect(eq(int, give(source, 9 * BLOCK_PAGES, 100, 100), 0));
	block_source_free(source);
	/* Somebody has brought one of them online meanwhile. */
	tree_file("sys/memory10/state", "online\n");
	source = open_source(2);
	cr_expect(eq(u64, block_source_host(source)->pages, 2 * BLOCK_PAGES));
	cr_expect(eq(int, give(source, 0, UINT64_MAX, 2 * BLOCK_PAGES), 0));
	expect_text(state_of(11), "online_movable");
	expect_text(state_of(9), "online_movable");
	block_source_free(source);
	block_source_free(open_source(0));
}

Test(block_source, a_block_named_before_the_attempt_is_not_taken_for_one_that_is_offline)
{
	struct block_source *source = open_source(0);

	cr_assert(eq(u32, take(source, 1), 1u << 11));
	block_source_free(source);
	/* As if it had been killed between the record and the write. */
	tree_file("sys/memory11/state", "online\n");
	block_source_free(open_source(0));
}

Test(block_source, what_is_in_use_is_passed_over_or_comes_last)
{
	struct block_source *source;

	set_block(11, "Movable\n", LRU);
	set_block(10, "Movable\n", SLAB);
	for (unsigned i = 4; i < 8; i++)
		set_block(i, "Normal\n", LRU);
	source = open_source(0);
	cr_expect(eq(u32, take(source, 4), 1u << 9 | 1u << 8 | 1u << 3));
	block_source_free(source);
}

Test(block_source, blocks_with_pages_of_our_own_are_left_alone)
{
	static const struct page_range avoid[] = {
		{3, 1}, {9 * BLOCK_PAGES + 7, 1}, {11 * BLOCK_PAGES - 1, 2}, {99 * BLOCK_PAGES, 1},
	};
	struct block_source *source = open_source(0);
	struct page_range ranges[2];
	size_t n;

	cr_assert(eq(int, block_source_take(source, 2, avoid, 4, ranges, 2, &n), 0));
	cr_assert(eq(sz, n, 1));
	cr_expect(eq(u64, ranges[0].first, 7 * BLOCK_PAGES));
	cr_expect(eq(u64, ranges[0].count, 2 * BLOCK_PAGES));
	block_source_free(source);
}

/* Goes on as somebody who may write to the states of all blocks but @locked, and to the record. */
static void lock_block(unsigned locked)
{
	char path[64];

	cr_assert(eq(int, chmod(tree, 0777), 0));
	for (unsigned i = 0; i < N_BLOCKS; i++) {
		snprintf(path, sizeof(path), "sys/memory%u/state", i);
		cr_assert(eq(int, chmod(tree_path(path), i == locked ? 0444 : 0666), 0));
	}
	cr_assert(eq(int, chmod(tree_path("kpageflags"), 0444), 0));
	if (geteuid() == 0)
		cr_assert(eq(int, seteuid(65534), 0));
}

Test(block_source, a_block_that_fails_is_forgotten_and_left_alone)
{
	struct block_source *source = open_source(0);
	struct block_source_stats stats;
	bool was_root = geteuid() == 0;

	lock_block(11);
	cr_expect(eq(u32, take(source, 1), 0));
	stats = stats_of(source);
	cr_expect(eq(u64, stats.refused, 1));
	cr_expect(eq(u64, stats.last_failure_block, 11));
	expect_text(stats.last_failure, blocks_condition_text(BLOCKS_DENIED));
	cr_expect(eq(u32, take(source, 2), 1u << 10 | 1u << 9));
	stats = stats_of(source);
	cr_expect(eq(u64, stats.blocks, 2));
	cr_expect(eq(u64, stats.refused, 1));
	block_source_free(source);
	block_source_free(open_source(2));
	if (was_root)
		cr_assert(eq(int, seteuid(0), 0));
}

Test(block_source, a_block_that_cannot_be_brought_back_is_tried_again)
{
	struct block_source *source = open_source(0);
	bool was_root = geteuid() == 0;

	cr_assert(eq(u32, take(source, 2), 1u << 11 | 1u << 10));
	lock_block(11);
	cr_expect(eq(int, give(source, 0, UINT64_MAX, 2 * BLOCK_PAGES), BLOCK_SOURCE_STUCK));
	cr_expect(eq(u64, stats_of(source).blocks, 1));
	expect_text(state_of(10), "online_movable");
	expect_text(state_of(11), "offline");
	if (was_root)
		cr_assert(eq(int, seteuid(0), 0));
	cr_assert(eq(int, chmod(tree_path("sys/memory11/state"), 0666), 0));
	cr_expect(eq(int, give(source, 0, 0, 0), 0));
	expect_text(state_of(11), "online_movable");
	cr_expect(eq(u64, stats_of(source).blocks, 0));
	block_source_free(source);
}

Test(block_source, a_block_that_somebody_brings_online_is_taken_offline_again)
{
	struct block_source *source = open_source(0);
	bool was_root = geteuid() == 0;

	cr_assert(eq(u32, take(source, 1), 1u << 11));
	cr_expect(eq(int, block_source_guard(source), 0));
	cr_expect(eq(u64, stats_of(source).came_online, 0));
	tree_file("sys/memory11/state", "online\n");
	cr_expect(eq(int, block_source_guard(source), 0));
	expect_text(state_of(11), "offline");
	expect_text(state_of(9), "online\n");
	cr_expect(eq(u64, stats_of(source).came_online, 1));
	tree_file("sys/memory11/state", "online\n");
	lock_block(11);
	cr_expect(eq(int, block_source_guard(source), BLOCK_SOURCE_STUCK));
	if (was_root)
		cr_assert(eq(int, seteuid(0), 0));
	block_source_free(source);
}

Test(block_source, a_record_that_cannot_be_trusted_is_an_error)
{
	static char dir[PATH_MAX], record[PATH_MAX];
	const struct block_source_config config = {
		.dir = dir, .kpageflags = "/dev/null", .record = record, .limit_ns = 1,
	};
	struct block_source *source;
	size_t recovered;

	strcpy(dir, tree_path("sys"));
	strcpy(record, tree_path("blocks"));
	tree_file("blocks", "something else\n");
	cr_expect(eq(int, block_source_new(&config, &source, &recovered), -ENOTRECOVERABLE));
	tree_remove("sys/block_size_bytes");
	cr_expect(eq(int, block_source_new(&config, &source, &recovered), -ENOENT));
}
