/* SPDX-License-Identifier: MIT */

/*
 * balloon/pages.c on the memory of this machine, 256 MiB at most. What is expected is read from
 * /proc independently: which frames this process maps, what the kernel says each of them is, and
 * how much memory there is. Huge pages come from a limit that is raised for the test and put back.
 */

#include "balloon/pages.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum {
	PAGE = 4096,
	PAGES_MIB = 256, /* pages in a MiB */
	TRIES = 20,
	TRY_US = 100 * 1000,

	/* Bits of /proc/kpageflags. Source: Linux include/uapi/linux/kernel-page-flags.h. */
	KPF_BUDDY = 10,
	KPF_SHMEM = 14, /* swap-backed, of a memfd */
	KPF_HUGE = 17,
};

/* The tests look at the memory of the whole machine, so they do not run beside each other. */
__attribute__((constructor)) static void run_one_by_one(void)
{
	setenv("CRITERION_JOBS", "1", 1);
}

static const char overcommit_path[] = "/proc/sys/vm/nr_overcommit_hugepages";

static uint64_t read_number(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t value = 0;

	if (!f)
		return 0;
	cr_assert(eq(int, fscanf(f, "%" SCNu64, &value), 1));
	fclose(f);
	return value;
}

static void write_number(const char *path, uint64_t value)
{
	FILE *f = fopen(path, "we");

	cr_assert(ne(ptr, f, NULL));
	fprintf(f, "%" PRIu64 "\n", value);
	cr_assert(eq(int, fclose(f), 0));
}

/* A field of /proc/meminfo or /proc/self/status, in the unit it has there. */
static uint64_t field(const char *path, const char *name)
{
	FILE *f = fopen(path, "re");
	size_t len = strlen(name);
	char line[256];
	uint64_t value = 0;

	cr_assert(ne(ptr, f, NULL));
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			value = strtoull(line + len + 1, NULL, 10);
	fclose(f);
	return value;
}

/* Kernels before 6.4 end a pin up to a second late; only then is its memory free. */
static bool await_field(const char *path, const char *name, uint64_t value)
{
	for (int i = 0; i < TRIES; i++) {
		if (field(path, name) == value)
			return true;
		usleep(TRY_US);
	}
	return false;
}

/*
 * Huge pages are lent by raising a limit of the whole machine. A child of its own puts it back when
 * the pipe ends, which it does however the test ends. Tests that do this take turns, also with
 * those of another build: the lock belongs to the child as well.
 */
static struct {
	pid_t pid;
	int pipe_fd;
} keeper = {.pipe_fd = -1};

static void keep_limit(int wait_fd, uint64_t before)
{
	char byte;

	while (read(wait_fd, &byte, 1) > 0)
		continue;
	write_number(overcommit_path, before);
	_exit(0);
}

static void lend_huge_pages(uint64_t n)
{
	int turn_fd = open(overcommit_path, O_RDONLY | O_CLOEXEC), ends[2];
	uint64_t before, used;

	if (turn_fd < 0 || flock(turn_fd, LOCK_EX) < 0)
		cr_skip_test("this kernel has no huge pages");
	before = read_number(overcommit_path);
	used = field("/proc/meminfo", "HugePages_Surp");
	cr_assert(eq(int, pipe(ends), 0));
	keeper.pid = fork();
	cr_assert(ge(int, keeper.pid, 0));
	if (keeper.pid == 0) {
		close(ends[1]);
		keep_limit(ends[0], before);
	}
	close(ends[0]);
	close(turn_fd);
	keeper.pipe_fd = ends[1];
	write_number(overcommit_path, (used > before ? used : before) + n);
}

static void take_back_huge_pages(void)
{
	if (keeper.pipe_fd < 0)
		return;
	close(keeper.pipe_fd);
	keeper.pipe_fd = -1;
	cr_assert(eq(int, waitpid(keeper.pid, NULL, 0), keeper.pid));
}

static uint64_t read_entry(int fd, uint64_t index)
{
	uint64_t entry = 0;

	cr_assert(eq(i64, pread(fd, &entry, sizeof(entry), index * sizeof(entry)), sizeof(entry)));
	return entry;
}

static void skip_without_frame_numbers(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd >= 0)
		entry = read_entry(fd, (uintptr_t)&entry / PAGE);
	close(fd);
	if (!(entry & ((UINT64_C(1) << 55) - 1)))
		cr_skip_test("needs CAP_SYS_ADMIN to read page frame numbers");
}

static struct pages_memory memory = {.ledger_fd = -1, .memfds = {-1, -1}};

static struct pages *new_pages(bool huge, bool small, bool pin)
{
	struct pages_config config = {
		.allowed = {[PAGES_HUGE] = huge, [PAGES_SMALL] = small},
		.pin = pin,
	};
	struct pages *pages = NULL;
	struct pages_stats stats;

	skip_without_frame_numbers();
	cr_assert(eq(int, pages_memory_new(&config, &memory), 0));
	cr_assert(eq(int, pages_new(&config, &memory, &pages), 0));
	pages_get_stats(pages, &stats);
	if (pin && !stats.pinned)
		cr_skip_test("this kernel has no io_uring for us");
	return pages;
}

static uint64_t taken_bytes(const struct pages *pages)
{
	struct pages_stats stats;

	pages_get_stats(pages, &stats);
	return stats.source[PAGES_HUGE].bytes + stats.source[PAGES_SMALL].bytes;
}

static uint64_t remembered_pages(const struct pages *pages)
{
	struct pages_stats stats;

	pages_get_stats(pages, &stats);
	return stats.source[PAGES_HUGE].remembered_pages +
	       stats.source[PAGES_SMALL].remembered_pages;
}

static uint64_t spare_huge_pages(void)
{
	return field("/proc/meminfo", "HugePages_Free") - field("/proc/meminfo", "HugePages_Rsvd") +
	       read_number(overcommit_path) - field("/proc/meminfo", "HugePages_Surp");
}

/* What was lent is for everybody: another balloon on this machine may have been faster. */
static void skip_if_huge_pages_went_elsewhere(const struct pages *pages)
{
	struct pages_stats stats;

	pages_get_stats(pages, &stats);
	if (field("/proc/meminfo", "HugePages_Total") * 2 * MIB > stats.source[PAGES_HUGE].bytes)
		cr_skip_test("another process uses huge pages at the same time");
}

/* Takes @want pages in as many slices as it needs, all from @source, into @set. */
static void take(struct pages *pages, uint64_t want, enum pages_source source,
		 struct rangeset *set)
{
	struct page_range *ranges = calloc(PAGES_SLICE, sizeof(*ranges));

	cr_assert(ne(ptr, ranges, NULL));
	while (want > 0) {
		enum pages_source from;
		uint64_t pages_got;
		size_t n;
		int r;

		r = pages_take(pages, want, ranges, PAGES_SLICE, &n, &from);
		if (r == PAGES_EXHAUSTED)
			skip_if_huge_pages_went_elsewhere(pages);
		cr_assert(eq(int, r, 0));
		cr_assert(eq(int, from, source));
		cr_assert(eq(int, rangeset_add(set, ranges, n), 0));
		pages_got = page_ranges_count(ranges, n);
		cr_assert(pages_got > 0 && pages_got <= want);
		want -= pages_got;
	}
	free(ranges);
}

static void give_back(struct pages *pages, struct rangeset *set, struct page_range range)
{
	uint64_t accepted, removed;

	cr_assert(eq(int, pages_return(pages, &range, 1, &accepted), 0));
	cr_assert(eq(u64, accepted, range.count));
	cr_assert(eq(int, rangeset_remove(set, range, &removed), 0));
	cr_assert(eq(u64, removed, range.count));
}

static void give_back_all(struct pages *pages, struct rangeset *set)
{
	uint64_t accepted;

	cr_assert(eq(int, pages_return(pages, set->ranges, set->n_ranges, &accepted), 0));
	cr_assert(eq(u64, accepted, set->pages));
	rangeset_clear(set);
}

static int compare_u64(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

enum {
	MAPPED_MAX = 1 << 17, /* 512 MiB */
};

/* Adds the frames of one mapping of this process. */
static size_t add_mapped(int fd, uint64_t from, uint64_t to, uint64_t *pfns, size_t n)
{
	for (uint64_t page = from / PAGE; page < to / PAGE && n < MAPPED_MAX; page++) {
		uint64_t entry = 0;

		if (pread(fd, &entry, sizeof(entry), page * sizeof(entry)) == sizeof(entry) &&
		    entry >> 63)
			pfns[n++] = entry & ((UINT64_C(1) << 55) - 1);
	}
	return n;
}

/* The frames that this process maps in the mappings that pages.c could have made. */
static size_t mapped_frames(uint64_t *pfns)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t from, to;
	char line[512];
	size_t n = 0;

	cr_assert(f && fd >= 0);
	while (fgets(line, sizeof(line), f)) {
		cr_assert(eq(int, sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to), 2));
		if (strstr(line, "hvguest-balloon"))
			n = add_mapped(fd, from, to, pfns, n);
	}
	fclose(f);
	close(fd);
	qsort(pfns, n, sizeof(*pfns), compare_u64);
	return n;
}

/* Every page of @set is where it was: this process maps that very frame, which is of @kind. */
static void expect_held(const struct rangeset *set, int kind)
{
	uint64_t *pfns = calloc(MAPPED_MAX, sizeof(*pfns));
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	size_t n;

	cr_assert(pfns && fd >= 0);
	n = mapped_frames(pfns);
	for (size_t i = 0; i < set->n_ranges; i++) {
		uint64_t end = set->ranges[i].first + set->ranges[i].count;

		for (uint64_t pfn = set->ranges[i].first; pfn < end; pfn++) {
			uint64_t flags = read_entry(fd, pfn);

			cr_assert(bsearch(&pfn, pfns, n, sizeof(pfn), compare_u64) != NULL,
				  "frame %#" PRIx64 " is not mapped", pfn);
			cr_assert(flags >> kind & 1, "frame %#" PRIx64 " has flags %#" PRIx64, pfn,
				  flags);
			cr_assert(eq(u64, flags >> KPF_BUDDY & 1, 0));
		}
	}
	free(pfns);
	close(fd);
}

/* The kernel took the frame out of the pool again, at latest when its pin really ended. */
static bool await_not_huge(uint64_t pfn)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	bool huge = true;

	cr_assert(ge(int, fd, 0));
	for (int i = 0; i < TRIES && huge; i++) {
		huge = read_entry(fd, pfn) >> KPF_HUGE & 1;
		if (huge)
			usleep(TRY_US);
	}
	close(fd);
	return !huge;
}

static void compact(void)
{
	write_number("/proc/sys/vm/compact_memory", 1);
}

Test(pages, huge_pages_are_real_and_leave_and_come_back, .fini = take_back_huge_pages,
     .timeout = 120)
{
	struct pages *pages = new_pages(true, false, true);
	struct rangeset set;
	uint64_t pfn;

	lend_huge_pages(64);
	rangeset_init(&set, 1 << 20);
	take(pages, 128 * PAGES_MIB, PAGES_HUGE, &set);
	cr_expect(eq(u64, set.pages, 128 * PAGES_MIB));
	cr_expect(eq(u64, taken_bytes(pages), 128 * MIB));
	cr_expect(eq(u64, field("/proc/self/status", "HugetlbPages"), 128 * 1024));
	for (size_t i = 0; i < set.n_ranges; i++) {
		cr_expect(eq(u64, set.ranges[i].first % PAGES_PER_HUGE, 0));
		cr_expect(eq(u64, set.ranges[i].count % PAGES_PER_HUGE, 0));
	}
	expect_held(&set, KPF_HUGE);
	compact();
	expect_held(&set, KPF_HUGE);

	pfn = set.ranges[0].first;
	give_back_all(pages, &set);
	cr_expect(eq(u64, taken_bytes(pages), 0));
	cr_expect(eq(u64, field("/proc/self/status", "HugetlbPages"), 0));
	cr_expect(await_not_huge(pfn));
	pages_free(pages);
	rangeset_fini(&set);
}

Test(pages, a_huge_page_is_freed_when_all_of_it_is_back, .fini = take_back_huge_pages,
     .timeout = 120)
{
	struct pages *pages = new_pages(true, false, true);
	struct rangeset set;
	uint64_t first;

	lend_huge_pages(8);
	rangeset_init(&set, 1 << 20);
	take(pages, 8 * PAGES_PER_HUGE, PAGES_HUGE, &set);
	first = set.ranges[0].first;

	give_back(pages, &set, (struct page_range){first + 1, 511});
	cr_expect(eq(u64, taken_bytes(pages), 16 * MIB));
	cr_expect(eq(u64, remembered_pages(pages), 511));
	cr_expect(eq(u64, field("/proc/self/status", "HugetlbPages"), 16 * 1024));
	expect_held(&set, KPF_HUGE);

	give_back(pages, &set, (struct page_range){first, 1});
	cr_expect(eq(u64, taken_bytes(pages), 14 * MIB));
	cr_expect(eq(u64, remembered_pages(pages), 0));
	cr_expect(eq(u64, field("/proc/self/status", "HugetlbPages"), 14 * 1024));
	cr_expect(await_not_huge(first));
	expect_held(&set, KPF_HUGE);
	compact();
	expect_held(&set, KPF_HUGE);

	give_back_all(pages, &set);
	cr_expect(eq(u64, field("/proc/self/status", "HugetlbPages"), 0));
	pages_free(pages);
	rangeset_fini(&set);
}

Test(pages, a_pool_that_runs_dry_is_followed_by_small_pages, .fini = take_back_huge_pages,
     .timeout = 120)
{
	struct pages *pages = new_pages(true, true, true);
	struct page_range *ranges = calloc(PAGES_SLICE, sizeof(*ranges));
	enum pages_source source;
	struct pages_stats stats;
	size_t n;

	cr_assert(ne(ptr, ranges, NULL));
	lend_huge_pages(3);
	if (spare_huge_pages() != 3)
		cr_skip_test("this machine has huge pages to spare");
	cr_assert(eq(int, pages_take(pages, 5000, ranges, PAGES_SLICE, &n, &source), 0));
	if (page_ranges_count(ranges, n) != 3 * PAGES_PER_HUGE)
		skip_if_huge_pages_went_elsewhere(pages);
	cr_expect(eq(int, source, PAGES_HUGE));
	cr_expect(eq(u64, page_ranges_count(ranges, n), 3 * PAGES_PER_HUGE));
	cr_assert(eq(int, pages_take(pages, 5000, ranges, PAGES_SLICE, &n, &source), 0));
	cr_expect(eq(int, source, PAGES_SMALL));
	cr_expect(eq(u64, page_ranges_count(ranges, n), 5000));
	pages_get_stats(pages, &stats);
	cr_expect(eq(u64, stats.source[PAGES_HUGE].bytes, 6 * MIB));
	cr_expect(eq(u64, stats.source[PAGES_SMALL].bytes, UINT64_C(5000) * PAGE));
	pages_free(pages);
	free(ranges);
}

Test(pages, nothing_allowed_is_exhausted_at_once)
{
	struct pages *pages = new_pages(false, false, true);
	struct page_range range;
	enum pages_source source;
	size_t n;

	cr_expect(eq(int, pages_take(pages, 1, &range, 1, &n, &source), PAGES_EXHAUSTED));
	pages_free(pages);
}

Test(pages, no_more_ranges_are_written_than_there_is_room_for)
{
	struct pages *pages = new_pages(false, true, true);
	struct page_range ranges[3] = {[2] = {77, 77}};
	enum pages_source source;
	size_t n;

	cr_assert(eq(int, pages_take(pages, 1000, ranges, 2, &n, &source), 0));
	cr_expect(eq(u64, page_ranges_count(ranges, n), 2));
	cr_expect(eq(u64, ranges[2].first, 77));
	pages_free(pages);
}

Test(pages, small_pages_stay_in_place_while_their_neighbours_are_freed, .timeout = 120)
{
	struct pages *pages = new_pages(false, true, true);
	uint64_t rss_kb = field("/proc/self/status", "RssShmem");
	struct rangeset set;

	rangeset_init(&set, 1 << 20);
	take(pages, 96 * PAGES_MIB, PAGES_SMALL, &set);
	/* The kernel sums it up from its processors now and then: it is off by some hundred KiB. */
	cr_expect(ge(u64, field("/proc/self/status", "RssShmem"), rss_kb + 95 * 1024));
	cr_expect(ge(u64, field("/proc/self/status", "VmPin"), 96 * 1024));
	expect_held(&set, KPF_SHMEM);

	/* Every second run of frames: their neighbours in memory are other runs. */
	for (size_t i = 0; i < set.n_ranges && i < 200; i++) {
		uint64_t half = (set.ranges[i].count + 1) / 2;

		give_back(pages, &set, (struct page_range){set.ranges[i].first, half});
	}
	cr_expect(eq(u64, taken_bytes(pages), set.pages * PAGE));
	cr_expect(eq(u64, remembered_pages(pages), 0));
	expect_held(&set, KPF_SHMEM);
	compact();
	expect_held(&set, KPF_SHMEM);

	give_back_all(pages, &set);
	cr_expect(eq(u64, taken_bytes(pages), 0));
	cr_expect(le(u64, field("/proc/self/status", "RssShmem"), rss_kb + 8 * 1024));
	cr_expect(await_field("/proc/self/status", "VmPin", 0));
	pages_free(pages);
	rangeset_fini(&set);
}

Test(pages, foreign_pages_and_pages_that_are_back_already_are_refused)
{
	struct pages *pages = new_pages(false, true, true);
	struct page_range foreign[] = {{0, 0}, {0, 0}, {UINT64_MAX - 1, 5}};
	struct pages_stats stats;
	struct rangeset set;
	uint64_t accepted;

	rangeset_init(&set, 1 << 20);
	take(pages, 64, PAGES_SMALL, &set);
	foreign[0] = (struct page_range){set.ranges[0].first - 3, 3};
	foreign[1] = (struct page_range){set.ranges[set.n_ranges - 1].first +
						 set.ranges[set.n_ranges - 1].count, 100};
	cr_assert(eq(int, pages_return(pages, foreign, 3, &accepted), 0));
	cr_expect(eq(u64, accepted, 0));
	cr_expect(eq(u64, taken_bytes(pages), 64 * PAGE));

	cr_assert(eq(int, pages_return(pages, set.ranges, 1, &accepted), 0));
	cr_expect(eq(u64, accepted, set.ranges[0].count));
	cr_assert(eq(int, pages_return(pages, set.ranges, 1, &accepted), 0));
	cr_expect(eq(u64, accepted, 0));
	pages_get_stats(pages, &stats);
	cr_expect(eq(u64, stats.foreign_pages, 3 + 100 + 1 + set.ranges[0].count));
	pages_free(pages);
	rangeset_fini(&set);
}

/* The address sanitizer makes mlock() do nothing. */
static bool locking_works(void)
{
	static char byte;
	bool works;

	cr_assert(eq(int, mlock(&byte, 1), 0));
	works = field("/proc/self/status", "VmLck") > 0;
	cr_assert(eq(int, munlock(&byte, 1), 0));
	return works;
}

Test(pages, without_pins_memory_is_locked_and_the_stats_say_so)
{
	struct pages *pages = new_pages(false, true, false);
	struct pages_stats stats;
	struct rangeset set;

	rangeset_init(&set, 1 << 20);
	pages_get_stats(pages, &stats);
	cr_expect(not(stats.pinned));
	take(pages, 2048, PAGES_SMALL, &set);
	if (locking_works())
		cr_expect(ge(u64, field("/proc/self/status", "VmLck"), 8 * 1024));
	give_back(pages, &set, (struct page_range){set.ranges[0].first, 1});
	cr_expect(eq(u64, taken_bytes(pages), 2047 * PAGE));
	give_back_all(pages, &set);
	cr_expect(eq(u64, field("/proc/self/status", "VmLck"), 0));
	pages_free(pages);
	rangeset_fini(&set);
}

/* Gives CAP_SYS_ADMIN up for good, as a child of the test. */
static void drop_sys_admin(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	cr_assert(eq(int, syscall(SYS_capget, &header, data), 0));
	data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
	data[CAP_TO_INDEX(CAP_SYS_ADMIN)].permitted &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
	cr_assert(eq(int, syscall(SYS_capset, &header, data), 0));
}

Test(pages, hidden_frame_numbers_are_known_before_anything_is_taken)
{
	struct pages_config config = {.allowed = {[PAGES_SMALL] = true}, .pin = true};
	struct pages *pages = NULL;

	skip_without_frame_numbers();
	drop_sys_admin();
	cr_assert(eq(int, pages_memory_new(&config, &memory), 0));
	cr_expect(eq(int, pages_new(&config, &memory, &pages), -EPERM));
	cr_expect(eq(ptr, pages, NULL));
}

enum {
	STEPS = 120,
};

/* A random piece of a random range of @set. */
static struct page_range random_piece(const struct rangeset *set, unsigned int *seed)
{
	struct page_range range = set->ranges[rand_r(seed) % set->n_ranges];
	uint64_t skip = rand_r(seed) % range.count;

	range.first += skip;
	range.count -= skip;
	range.count = 1 + rand_r(seed) % range.count;
	return range;
}

Test(pages, every_held_page_stays_in_place_under_random_takes_and_returns,
     .fini = take_back_huge_pages, .timeout = 240)
{
	struct pages *pages = new_pages(true, true, true);
	unsigned int seed = 20260103;
	struct page_range *ranges = calloc(PAGES_SLICE, sizeof(*ranges));
	struct rangeset sets[PAGES_N_SOURCES];

	cr_assert(ne(ptr, ranges, NULL));
	lend_huge_pages(16);
	rangeset_init(&sets[PAGES_HUGE], 1 << 20);
	rangeset_init(&sets[PAGES_SMALL], 1 << 20);
	for (int step = 0; step < STEPS; step++) {
		uint64_t total = sets[PAGES_HUGE].pages + sets[PAGES_SMALL].pages;
		struct rangeset *set = &sets[rand_r(&seed) % PAGES_N_SOURCES];
		enum pages_source source;
		size_t n;

		if (set->pages > 0 && (total > 64 * PAGES_MIB || rand_r(&seed) % 2)) {
			give_back(pages, set, random_piece(set, &seed));
		} else if (total <= 64 * PAGES_MIB) {
			cr_assert(eq(int, pages_take(pages, 1 + rand_r(&seed) % 3000, ranges,
						     PAGES_SLICE, &n, &source), 0));
			cr_assert(eq(int, rangeset_add(&sets[source], ranges, n), 0));
		}
		cr_assert(eq(u64, taken_bytes(pages) / PAGE - remembered_pages(pages),
			     sets[PAGES_HUGE].pages + sets[PAGES_SMALL].pages));
		if (step % 20 == 19) {
			compact();
			expect_held(&sets[PAGES_HUGE], KPF_HUGE);
			expect_held(&sets[PAGES_SMALL], KPF_SHMEM);
		}
	}
	give_back_all(pages, &sets[PAGES_HUGE]);
	give_back_all(pages, &sets[PAGES_SMALL]);
	cr_expect(eq(u64, taken_bytes(pages), 0));
	pages_free(pages);
	rangeset_fini(&sets[PAGES_HUGE]);
	rangeset_fini(&sets[PAGES_SMALL]);
	free(ranges);
}

/* The whole of the list, as a set. */
static void list_into(const struct pages *pages, struct rangeset *set)
{
	struct page_range *ranges = calloc(1 << 16, sizeof(*ranges));
	uint64_t at = 0;
	size_t n;

	cr_assert(ne(ptr, ranges, NULL));
	rangeset_clear(set);
	while ((n = pages_list(pages, &at, ranges, 700)) > 0) {
		cr_assert(eq(int, page_ranges_normalize(ranges, n, &n), 0));
		cr_assert(eq(int, rangeset_add(set, ranges, n), 0));
	}
	free(ranges);
}

static void expect_verified(const struct pages *pages, uint64_t held_pages)
{
	uint64_t at = 0, seen = 0, moved = 0;
	bool more = true;

	while (more)
		cr_assert(eq(int, pages_verify(pages, &at, &seen, &moved, &more), 0));
	cr_expect(eq(u64, seen, held_pages));
	cr_expect(eq(u64, moved, 0));
}

/* What a process does that is killed: its mappings and pins go, the descriptors stay. */
static void use_and_die(const struct pages_config *config, struct page_range *ret_returned)
{
	struct rangeset set;
	struct pages *pages;

	cr_assert(eq(int, pages_new(config, &memory, &pages), 0));
	rangeset_init(&set, 1 << 20);
	if (config->allowed[PAGES_HUGE])
		take(pages, 8 * PAGES_PER_HUGE, PAGES_HUGE, &set);
	take(pages, 7, PAGES_SMALL, &set);
	take(pages, 16 * PAGES_MIB, config->allowed[PAGES_HUGE] ? PAGES_HUGE : PAGES_SMALL, &set);
	*ret_returned = (struct page_range){set.ranges[0].first, set.ranges[0].count / 2 + 1};
	give_back(pages, &set, *ret_returned);
	_exit(0);
}

static void expect_adopted(bool huge, uint64_t taken_pages)
{
	struct page_range *returned = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pages_config config = {
		.allowed = {[PAGES_HUGE] = huge, [PAGES_SMALL] = true},
		.pin = true,
	};
	struct rangeset held;
	struct pages_stats stats;
	struct pages *pages = new_pages(huge, true, true);
	uint64_t accepted;
	pid_t pid;
	int status;

	pages_free(pages);
	pid = fork();
	if (pid == 0)
		use_and_die(&config, returned);
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(eq(int, status, 0));

	cr_assert(eq(int, pages_new(&config, &memory, &pages), 0));
	rangeset_init(&held, 1 << 20);
	list_into(pages, &held);
	cr_expect(eq(u64, held.pages, taken_pages - returned->count));
	cr_expect(not(rangeset_contains(&held, (struct page_range){returned->first, 1})));
	cr_expect(eq(u64, taken_bytes(pages) / PAGE - remembered_pages(pages), held.pages));
	pages_get_stats(pages, &stats);
	cr_expect(eq(u64, stats.lost_pages, 0));
	expect_verified(pages, taken_bytes(pages) / PAGE);
	compact();
	expect_verified(pages, taken_bytes(pages) / PAGE);

	/* A return that was done before changes nothing. */
	cr_assert(eq(int, pages_return(pages, returned, 1, &accepted), 0));
	cr_expect(eq(u64, accepted, 0));
	give_back_all(pages, &held);
	pages_get_stats(pages, &stats);
	cr_expect(eq(u64, stats.source[PAGES_SMALL].bytes, 0));
	cr_expect(le(u64, stats.source[PAGES_HUGE].bytes, 2 * MIB)); /* one that is not whole */
	pages_free(pages);
	rangeset_fini(&held);
}

Test(pages, small_pages_of_a_dead_process_are_held_on_where_they_are, .timeout = 120)
{
	expect_adopted(false, 16 * PAGES_MIB + 7);
}

Test(pages, huge_pages_of_a_dead_process_are_held_on_where_they_are, .fini = take_back_huge_pages,
     .timeout = 120)
{
	skip_without_frame_numbers();
	lend_huge_pages(16);
	expect_adopted(true, 16 * PAGES_MIB + 8 * PAGES_PER_HUGE + 7);
}

Test(pages, pages_that_moved_meanwhile_are_lost_and_said_to_be)
{
	struct pages *dead = new_pages(false, true, true), *pages;
	struct pages_config config = {.allowed = {[PAGES_SMALL] = true}, .pin = true};
	struct pages_stats stats;
	struct ledger_chunk *chunk;
	struct rangeset set;

	rangeset_init(&set, 1 << 20);
	take(dead, 100, PAGES_SMALL, &set);
	chunk = mmap(NULL, sizeof(*chunk), PROT_READ | PROT_WRITE, MAP_SHARED, memory.ledger_fd, 0);
	cr_assert(ne(ptr, chunk, MAP_FAILED));
	chunk->pfns[3] ^= 1;
	chunk->pfns[50] ^= 2;

	/* The first one is not ended: to the second it is dead. */
	cr_assert(eq(int, pages_new(&config, &memory, &pages), 0));
	pages_get_stats(pages, &stats);
	cr_expect(eq(u64, stats.lost_pages, 2));
	cr_expect(eq(u64, stats.source[PAGES_SMALL].bytes, 98 * PAGE));
	expect_verified(pages, 98);
	pages_free(pages);
	pages_free(dead);
	rangeset_fini(&set);
}

Test(pages, a_ledger_that_contradicts_itself_is_refused)
{
	struct pages *pages = new_pages(false, true, true);
	struct pages_config config = {.allowed = {[PAGES_SMALL] = true}, .pin = true};
	struct ledger_chunk *chunk;

	chunk = mmap(NULL, sizeof(*chunk), PROT_READ | PROT_WRITE, MAP_SHARED, memory.ledger_fd, 0);
	cr_assert(ne(ptr, chunk, MAP_FAILED));
	chunk->n_units = PAGES_SLICE + 1;
	chunk->source = PAGES_SMALL;
	atomic_store(&chunk->state, LEDGER_HELD);
	pages_free(pages);
	cr_expect(eq(int, pages_new(&config, &memory, &pages), -EINVAL));
}

Test(pages, the_share_of_the_overcommit_limit_comes_and_goes_with_the_pages,
     .fini = take_back_huge_pages, .timeout = 120)
{
	struct overcommit_share share = {0};
	struct pages_config config = {
		.allowed = {[PAGES_HUGE] = true},
		.pin = true,
		.share = &share,
		.overcommit_dir = OVERCOMMIT_DIR,
	};
	struct pages *pages = new_pages(true, false, true);
	struct rangeset set;
	uint64_t before;

	lend_huge_pages(0); /* for the lock, and for the case that this test fails */
	before = read_number(overcommit_path);
	if (spare_huge_pages() != 0)
		cr_skip_test("this machine has huge pages to spare");
	pages_set_config(pages, &config);
	rangeset_init(&set, 1 << 20);
	take(pages, 16 * PAGES_PER_HUGE, PAGES_HUGE, &set);
	cr_expect(eq(u64, share.share, 16));
	cr_expect(eq(u64, read_number(overcommit_path), before + 16));
	give_back(pages, &set, (struct page_range){set.ranges[0].first, PAGES_PER_HUGE});
	cr_expect(eq(u64, read_number(overcommit_path), before + 15));
	pages_free(pages);
	cr_expect(eq(u64, share.share, 0));
	cr_expect(eq(u64, read_number(overcommit_path), before));
	rangeset_fini(&set);
}
