/* SPDX-License-Identifier: MIT */

/*
 * Memory blocks against faulted pages: memory is taken out of use and every page frame number is
 * known, in either way, one right after the other.
 *
 * blocks: choosing blocks that are free, naming them in the record, taking them offline. The
 * pages of these blocks are neither touched nor zeroed. peer: 4 KiB pages of anonymous memory,
 * touched, locked, and looked up in pagemap, as a balloon in user space has to without blocks; they
 * are zeroed by the kernel. The fault loop comes first in each round, so that what it has freed is
 * there to be found. Rates, because there may be fewer free blocks than pages.
 *
 * Everything is brought back by the parent process, also when the child is killed.
 */

#include "tests/bench/bench.h"

#include "base/clock.h"
#include "memhotplug/block_source.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE_BYTES UINT64_C(4096)

enum {
	BLOCKS_MAX = 64,
};

static char record[] = "/dev/shm/hvguest-bench-XXXXXX";

static struct block_source *open_source(void)
{
	const struct block_source_config config = {
		.dir = BLOCKS_DIR,
		.kpageflags = "/proc/kpageflags",
		.record = record,
		.limit_ns = UINT64_C(2000000000),
	};
	struct block_source *source;
	size_t recovered;
	int r = block_source_new(&config, &source, &recovered);

	if (r)
		bench_die("memory blocks", -r);
	return source;
}

static uint64_t give_back(struct block_source *source)
{
	const struct page_range all = {0, UINT64_MAX};
	uint64_t pages;

	if (block_source_return(source, all, &pages))
		fprintf(stderr, "some memory blocks stay offline: see %s\n", record);
	return pages;
}

/* The way of a balloon without blocks; GB/s. */
static double fault_pages(size_t bytes)
{
	size_t n = bytes / PAGE_BYTES;
	uint64_t *entries = malloc(n * sizeof(*entries)), start;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	double seconds;
	char *memory;

	if (!entries || pagemap < 0)
		bench_die("pagemap", errno);
	memset(entries, 1, n * sizeof(*entries));
	start = clock_monotonic_ns();
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		bench_die("mmap", errno);
	(void)madvise(memory, bytes, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < bytes; at += PAGE_BYTES)
		memory[at] = 1;
	if (mlock(memory, bytes) < 0)
		bench_die("mlock", errno);
	if (pread(pagemap, entries, n * sizeof(*entries),
		  (off_t)((uintptr_t)memory / PAGE_BYTES * sizeof(*entries))) < 0)
		bench_die("pagemap", errno);
	seconds = (double)(clock_monotonic_ns() - start) / 1e9;
	munmap(memory, bytes);
	close(pagemap);
	free(entries);
	return (double)bytes / 1e9 / seconds;
}

/* One round of blocks: GB/s of taking and of giving back; false if none is free. */
static bool take_blocks(struct block_source *source, size_t n_blocks, double *ret_take,
			double *ret_give)
{
	struct page_range ranges[BLOCKS_MAX];
	uint64_t start = clock_monotonic_ns();
	double taking, giving, gb;
	size_t n;

	if (block_source_take(source, n_blocks, NULL, 0, ranges, BLOCKS_MAX, &n))
		return false;
	taking = (double)(clock_monotonic_ns() - start) / 1e9;
	start = clock_monotonic_ns();
	gb = (double)(give_back(source) * PAGE_BYTES) / 1e9;
	giving = (double)(clock_monotonic_ns() - start) / 1e9;
	*ret_take = gb / taking;
	*ret_give = gb / giving;
	return true;
}

static void measure(void)
{
	struct block_source *source = open_source();
	struct block_source_stats stats;
	struct bench_series ours = {0}, theirs = {0}, giving = {0};
	size_t bytes = bench_choose(UINT64_C(4) << 30, UINT64_C(1) << 30, UINT64_C(256) << 20);
	size_t rounds = bench_choose(7, 3, 1), n_blocks;
	double take, give;

	block_source_get_stats(source, &stats);
	n_blocks = bytes / (stats.block_pages * PAGE_BYTES);
	if (n_blocks > BLOCKS_MAX)
		n_blocks = BLOCKS_MAX;
	for (size_t round = 0; n_blocks > 0 && round < rounds; round++) {
		double faulted = fault_pages(bytes);

		if (!take_blocks(source, n_blocks, &take, &give))
			break;
		bench_add(&ours, take);
		bench_add(&giving, give);
		bench_add(&theirs, faulted);
	}
	if (ours.n == 0) {
		bench_skip("inflate_blocks", "no memory block is free enough, or blocks are too large");
	} else {
		bench_print_pair("inflate_blocks", "inflate_4k", &ours, &theirs, "GB/s", BENCH_LARGER);
		bench_print("deflate_blocks", &giving, "GB/s", BENCH_LARGER);
	}
	block_source_free(source);
}

int main(void)
{
	int lock = open("/proc/sys/vm/nr_overcommit_hugepages", O_RDONLY | O_CLOEXEC), status;
	struct block_source *source;
	uint64_t block_bytes;
	pid_t child;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (geteuid() != 0 || blocks_read_size(BLOCKS_DIR, &block_bytes)) {
		bench_skip("inflate_blocks", "needs root and memory blocks");
		return 0;
	}
	/* Tests that measure this machine's memory take turns. */
	if (lock >= 0)
		(void)flock(lock, LOCK_EX);
	close(mkstemp(record));
	unlink(record);
	child = fork();
	if (child == 0) {
		measure();
		return 0;
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		bench_die("fork", errno);
	source = open_source();
	(void)give_back(source);
	block_source_free(source);
	unlink(record);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
