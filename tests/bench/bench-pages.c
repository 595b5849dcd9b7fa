/* SPDX-License-Identifier: MIT */

/*
 * bench-pages KEEPER: how fast memory is taken out of use with every page frame number known, and
 * given back, for each source of it, as hvguestd does it: pages through the keeper, in slices, and
 * whole memory blocks.
 *
 *   inflate_SOURCE_gib_s, deflate_SOURCE_gib_s    SOURCE is blocks, huge or small
 *   inflate_SOURCE_vs_4k_ratio      beside a process that touches as many 4 KiB pages, locks them
 *                                   and reads their frame numbers, which is the plainest balloon
 *   inflate_huge_vs_fault_loop_ratio   beside a loop that only touches MAP_HUGETLB pages: neither
 *                                   pinned, nor are their numbers known
 *   memset_gib_s                    writing to as much memory that is there already, and
 *   inflate_SOURCE_vs_memset_ratio  beside that: a source that zeroes pages cannot be above 1
 *   inflate_SOURCE_Nmib_ms, memset_Nmib_ms   the time for so much. The speeds above are those of
 *                                   the most that was tried and that there was
 *   inflate_blocks_first_gib_s      of the first time: what is in the blocks has to move away
 *
 * Pages are taken twice in a row and the second time is measured; see measure_way().
 *
 * The kernel has no pool of huge pages here: they are made when they are touched, which includes
 * zeroing them. What is changed on the machine is put back: by this process, and if it is killed by a
 * child that waits for its end. Nobody else may change the machine's memory meanwhile, so the lock
 * that the tests use is held.
 */

#include "balloon/keeper_client.h"
#include "balloon/overcommit.h"
#include "base/clock.h"
#include "memhotplug/block_source.h"
#include "tests/bench/bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE_BYTES UINT64_C(4096)
#define HUGE_BYTES (UINT64_C(2) << 20)
#define GIB        (UINT64_C(1) << 30)
#define LOCK_PATH  "/proc/sys/vm/nr_overcommit_hugepages"

struct taken {
	struct page_range *ranges;
	size_t n;
	uint64_t pages;
};

static char work_dir[] = "/dev/shm/hvguest-bench.XXXXXX";
static char block_record[sizeof(work_dir) + 16];
static uint64_t want_bytes;

/* False: not all of it could be had. What was had is in @taken. */
typedef bool take_fn(struct taken *taken);
typedef void give_fn(struct taken *taken);

/* Pages of the keeper. */

static struct keeper_client *huge_keeper, *small_keeper;

static struct keeper_client *start_keeper(const char *helper, enum pages_source source)
{
	struct keeper_client_config config = {.helper = helper, .area_bytes = PAGE_BYTES};
	struct keeper_client_report report;
	struct keeper_client *keeper;
	char dir[sizeof(work_dir) + 16];
	int r;

	snprintf(dir, sizeof(dir), "%s/%s", work_dir, source == PAGES_HUGE ? "huge" : "small");
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		bench_die(dir, errno);
	config.run_dir = dir;
	config.allowed[source] = true;
	config.overcommit = source == PAGES_HUGE;
	r = keeper_client_new(&config, &report, &keeper);
	if (r)
		bench_die("the keeper", r < 0 ? r : ENOEXEC);
	return keeper;
}

static void end_keeper(struct keeper_client *keeper)
{
	keeper_client_release(keeper);
	keeper_client_free(keeper);
}

static bool take_kept(struct keeper_client *keeper, struct taken *taken)
{
	while (taken->pages < want_bytes / PAGE_BYTES) {
		enum pages_source source;
		size_t n;
		int r = keeper_client_take(keeper, want_bytes / PAGE_BYTES - taken->pages,
					   taken->ranges + taken->n, &n, &source);

		if (r == KEEPER_CLIENT_EXHAUSTED)
			return false;
		if (r)
			bench_die("taking pages", r < 0 ? r : EPIPE);
		for (size_t i = 0; i < n; i++)
			taken->pages += taken->ranges[taken->n + i].count;
		taken->n += n;
	}
	return true;
}

static void give_kept(struct keeper_client *keeper, struct taken *taken)
{
	uint64_t pages = 0;

	if (taken->n > 0 &&
	    (keeper_client_return(keeper, taken->ranges, taken->n, &pages) || pages != taken->pages))
		bench_die("giving pages back", EPROTO);
}

static bool take_huge(struct taken *taken)
{
	return take_kept(huge_keeper, taken);
}

static void give_huge(struct taken *taken)
{
	give_kept(huge_keeper, taken);
}

static bool take_small(struct taken *taken)
{
	return take_kept(small_keeper, taken);
}

static void give_small(struct taken *taken)
{
	give_kept(small_keeper, taken);
}

/* Whole memory blocks. */

static struct block_source *block_source;
static uint64_t block_bytes;

/* False: this machine has no blocks to give. */
static bool open_blocks(void)
{
	const struct block_source_config config = {
		.dir = BLOCKS_DIR,
		.kpageflags = "/proc/kpageflags",
		.record = block_record,
		.limit_ns = UINT64_C(2000000000),
	};
	struct block_source_stats stats;
	size_t recovered;

	if (block_source_new(&config, &block_source, &recovered))
		return false;
	block_source_get_stats(block_source, &stats);
	block_bytes = stats.block_pages * PAGE_BYTES;
	return true;
}

static bool take_blocks(struct taken *taken)
{
	uint64_t want_pages = want_bytes / PAGE_BYTES, block_pages = block_bytes / PAGE_BYTES;

	while (taken->pages < want_pages) {
		size_t n, left = (want_pages - taken->pages + block_pages - 1) / block_pages;
		int r = block_source_take(block_source, left, taken->ranges, taken->n,
					  taken->ranges + taken->n, left, &n);

		if (r == BLOCK_SOURCE_NONE)
			return false;
		if (r)
			bench_die("taking memory blocks", r);
		for (size_t i = 0; i < n; i++)
			taken->pages += taken->ranges[taken->n + i].count;
		taken->n += n;
		if (page_ranges_normalize(taken->ranges, taken->n, &taken->n))
			bench_die("a memory block was given twice", EPROTO);
	}
	return true;
}

static void give_blocks(struct taken *taken)
{
	for (size_t i = 0; i < taken->n; i++) {
		uint64_t pages;

		if (block_source_return(block_source, taken->ranges[i], &pages) ||
		    pages != taken->ranges[i].count)
			bench_die("a memory block does not come online", EBUSY);
	}
}

/* The plain ways. */

static uint8_t *plain;

static bool map_plain(int flags)
{
	plain = mmap(NULL, want_bytes, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (plain == MAP_FAILED)
		plain = NULL;
	return plain;
}

static void touch(uint64_t step)
{
	for (uint64_t i = 0; i < want_bytes; i += step)
		*(volatile uint8_t *)(plain + i) = 1;
}

static void unmap_plain(struct taken *taken)
{
	(void)taken;
	if (plain)
		munmap(plain, want_bytes);
	plain = NULL;
}

static bool take_4k(struct taken *taken)
{
	static uint64_t entries[1 << 16];
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t at;

	if (fd < 0 || !map_plain(MAP_NORESERVE) || madvise(plain, want_bytes, MADV_NOHUGEPAGE) < 0)
		bench_die("4 KiB pages", errno);
	touch(PAGE_BYTES);
	if (mlock(plain, want_bytes) < 0)
		bench_die("mlock", errno);
	at = (off_t)((uintptr_t)plain / PAGE_BYTES * sizeof(entries[0]));
	while (taken->pages < want_bytes / PAGE_BYTES) {
		ssize_t n = pread(fd, entries, sizeof(entries), at);

		if (n <= 0)
			bench_die("/proc/self/pagemap", errno);
		at += n;
		taken->pages += (uint64_t)n / sizeof(entries[0]);
	}
	(void)close(fd);
	return true;
}

static bool take_fault_loop(struct taken *taken)
{
	(void)taken;
	/* A fault that finds no page would be SIGBUS: they are promised before. */
	if (!map_plain(MAP_HUGETLB))
		return false;
	touch(HUGE_BYTES);
	return true;
}

/* What is measured. */

enum way {
	BLOCKS,
	HUGE,
	SMALL,
	PLAIN_4K,
	FAULT_LOOP,
	WAYS,
};

static const struct {
	const char *name;
	take_fn *take;
	give_fn *give;
} ways[] = {
	[BLOCKS] = {"blocks", take_blocks, give_blocks},
	[HUGE] = {"huge", take_huge, give_huge},
	[SMALL] = {"small", take_small, give_small},
	[PLAIN_4K] = {"4k", take_4k, unmap_plain},
	[FAULT_LOOP] = {"fault_loop", take_fault_loop, unmap_plain},
};

static struct bench_series first;
static const char *missing[WAYS];

/* So much at a time; the most by the mode. */
static struct size {
	uint64_t mib;
	struct bench_series inflate[WAYS], deflate[WAYS], written; /* GiB/s */
} sizes[] = {
	{.mib = 128},
	{.mib = 512},
	{.mib = 1024},
	{.mib = 4096},
};

enum {
	SIZES = sizeof(sizes) / sizeof(sizes[0]),
};

static double gib_per_s(uint64_t begin_ns, uint64_t end_ns)
{
	return (double)want_bytes / (double)GIB / ((double)(end_ns - begin_ns) / 1e9);
}

/* Takes and gives back, once; each series may be NULL. */
static void measure_once(enum way way, struct taken *taken, struct bench_series *in,
			 struct bench_series *out)
{
	uint64_t begin_ns, taken_ns, end_ns;
	bool ok;

	taken->n = taken->pages = 0;
	begin_ns = clock_monotonic_ns();
	ok = ways[way].take(taken);
	taken_ns = clock_monotonic_ns();
	ways[way].give(taken);
	end_ns = clock_monotonic_ns();
	if (!ok) {
		missing[way] = "the machine did not have as much of it";
		return;
	}
	if (in)
		bench_add(in, gib_per_s(begin_ns, taken_ns));
	if (out)
		bench_add(out, gib_per_s(taken_ns, end_ns));
}

/*
 * Twice, of which the second time counts: memory that has been free for a while may have to come
 * from the hypervisor first, which takes longer than everything else, and is another's to measure.
 */
static void measure_way(enum way way, struct taken *taken, struct size *size)
{
	static struct overcommit_share share;

	/* What the fault loop needs; the keeper has a share of its own. */
	if (way == FAULT_LOOP)
		(void)!overcommit_raise(OVERCOMMIT_DIR, &share, want_bytes / HUGE_BYTES);
	if (way != BLOCKS)
		measure_once(way, taken, NULL, NULL);
	if (!missing[way])
		measure_once(way, taken, &size->inflate[way], &size->deflate[way]);
	if (way == FAULT_LOOP)
		(void)!overcommit_lower(OVERCOMMIT_DIR, &share, 0);
}

/* The second time, too: the first one is the kernel's zeroing. */
static void measure_memset(struct size *size)
{
	uint64_t begin_ns;

	if (!map_plain(MAP_NORESERVE) || madvise(plain, want_bytes, MADV_HUGEPAGE) < 0)
		bench_die("memory", errno);
	memset(plain, 1, want_bytes);
	begin_ns = clock_monotonic_ns();
	memset(plain, 2, want_bytes);
	bench_add(&size->written, gib_per_s(begin_ns, clock_monotonic_ns()));
	unmap_plain(NULL);
}

static void measure_size(struct size *size, struct taken *taken)
{
	want_bytes = size->mib << 20;
	for (uint64_t round = bench_choose(7, 3, 1); round > 0; round--) {
		for (int way = 0; way < WAYS; way++)
			if (!missing[way])
				measure_way((enum way)way, taken, size);
		measure_memset(size);
	}
}

/* NULL: there was never enough of it. */
static const struct size *largest_of(enum way way)
{
	const struct size *largest = NULL;

	for (size_t i = 0; i < SIZES; i++)
		if (sizes[i].inflate[way].n > 0)
			largest = &sizes[i];
	return largest;
}

static void print_way(enum way way)
{
	const struct size *size = largest_of(way);
	char name[64];

	if (!size) {
		snprintf(name, sizeof(name), "*flate_%s*", ways[way].name);
		bench_skip(name, missing[way]);
		return;
	}
	snprintf(name, sizeof(name), "inflate_%s_gib_s", ways[way].name);
	bench_print(name, &size->inflate[way], "GiB/s", BENCH_LARGER);
	snprintf(name, sizeof(name), "deflate_%s_gib_s", ways[way].name);
	bench_print(name, &size->deflate[way], "GiB/s", BENCH_LARGER);
	if (way >= PLAIN_4K)
		return;
	snprintf(name, sizeof(name), "inflate_%s_vs_4k", ways[way].name);
	bench_print_ratio(name, &size->inflate[way], &size->inflate[PLAIN_4K], BENCH_LARGER);
	snprintf(name, sizeof(name), "inflate_%s_vs_memset", ways[way].name);
	bench_print_ratio(name, &size->inflate[way], &size->written, BENCH_LARGER);
	snprintf(name, sizeof(name), "inflate_%s_vs_fault_loop", ways[way].name);
	if (way == HUGE)
		bench_print_ratio(name, &size->inflate[way], &size->inflate[FAULT_LOOP],
				  BENCH_LARGER);
}

/* The same as the time that it takes. */
static void print_ms(const char *what, uint64_t mib, const struct bench_series *speed)
{
	struct bench_series ms = *speed;
	char name[64];

	for (size_t i = 0; i < ms.n; i++)
		ms.samples[i] = (double)mib / 1024 / speed->samples[i] * 1e3;
	snprintf(name, sizeof(name), "%s_%" PRIu64 "mib_ms", what, mib);
	bench_print(name, &ms, "ms", BENCH_SMALLER);
}

static void print_all(void)
{
	char what[32];

	bench_print("inflate_blocks_first_gib_s", &first, "GiB/s", BENCH_LARGER);
	for (int way = 0; way < WAYS; way++)
		print_way((enum way)way);
	bench_print("memset_gib_s", &largest_of(PLAIN_4K)->written, "GiB/s", BENCH_LARGER);
	for (size_t i = 0; i < SIZES; i++) {
		for (int way = 0; way < WAYS; way++) {
			snprintf(what, sizeof(what), "inflate_%s", ways[way].name);
			print_ms(what, sizes[i].mib, &sizes[i].inflate[way]);
		}
		print_ms("memset", sizes[i].mib, &sizes[i].written);
	}
}

static uint64_t available_bytes(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			break;
	if (file)
		(void)fclose(file);
	return kib * 1024;
}

static void remove_work_dir(void)
{
	char command[sizeof(work_dir) + 16];

	snprintf(command, sizeof(command), "rm -rf %s", work_dir);
	(void)!system(command);
}

/* If this process dies, brings its memory blocks online, and ends its keepers in order. */
static void start_watchdog(const char *keeper)
{
	const struct page_range everything = {0, UINT64_MAX};
	uint64_t pages;
	int fds[2];
	char byte;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		bench_die("pipe", errno);
	pid = fork();
	if (pid < 0)
		bench_die("fork", errno);
	if (pid > 0) {
		(void)close(fds[0]);
		return;
	}
	(void)close(fds[1]);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)!read(fds[0], &byte, 1);
	if (access(block_record, F_OK) == 0 && open_blocks())
		(void)!block_source_return(block_source, everything, &pages);
	if (access(work_dir, F_OK) == 0) {
		end_keeper(start_keeper(keeper, PAGES_HUGE));
		end_keeper(start_keeper(keeper, PAGES_SMALL));
		remove_work_dir();
	}
	_exit(0);
}

static void measure(const char *keeper)
{
	uint64_t largest_bytes = want_bytes;
	struct taken taken = {0};

	taken.ranges = calloc(want_bytes / PAGE_BYTES + KEEPER_RANGES_MAX,
			      sizeof(taken.ranges[0]));
	if (!taken.ranges)
		bench_die("ranges", ENOMEM);
	huge_keeper = start_keeper(keeper, PAGES_HUGE);
	small_keeper = start_keeper(keeper, PAGES_SMALL);
	if (open_blocks())
		measure_once(BLOCKS, &taken, &first, NULL);
	else
		missing[BLOCKS] = "this machine has no memory blocks";
	if (first.n == 0)
		bench_skip("inflate_blocks_first_gib_s", missing[BLOCKS]);
	/* There may be less. */
	if (block_source)
		missing[BLOCKS] = NULL;
	for (size_t i = 0; i < SIZES; i++)
		if (sizes[i].mib << 20 <= largest_bytes)
			measure_size(&sizes[i], &taken);
	print_all();
	block_source = block_source_free(block_source);
	end_keeper(huge_keeper);
	end_keeper(small_keeper);
	free(taken.ranges);
}

int main(int argc, char **argv)
{
	int lock_fd;

	if (argc != 2) {
		fputs("usage: bench-pages KEEPER\n", stderr);
		return 2;
	}
	if (geteuid() != 0) {
		bench_skip("*flate_*", "needs root");
		bench_skip("memset_*", "needs root");
		return 0;
	}
	lock_fd = open(LOCK_PATH, O_RDONLY | O_CLOEXEC);
	if (lock_fd >= 0 && flock(lock_fd, LOCK_EX) < 0)
		bench_die(LOCK_PATH, errno);
	want_bytes = bench_choose(4 * GIB, GIB / 2, GIB / 8);
	if (available_bytes() < 2 * want_bytes + GIB) {
		bench_skip("*flate_*", "needs more available memory");
		bench_skip("memset_*", "needs more available memory");
		return 0;
	}
	if (!mkdtemp(work_dir))
		bench_die(work_dir, errno);
	snprintf(block_record, sizeof(block_record), "%s/blocks", work_dir);
	start_watchdog(argv[1]);
	measure(argv[1]);
	remove_work_dir();
	return 0;
}
