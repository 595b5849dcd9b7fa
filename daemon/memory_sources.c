/* SPDX-License-Identifier: MIT */

/*
 * Blocks and pages, joined.
 *
 * policy/source says how a request is split; what it says of blocks is tried first and at once, for
 * they come by the gigabyte; then pages are taken in slices. When no block is fit, blocks are not
 * asked for again for a while. What the host gives back is told apart by page number: a page is in
 * a block of ours or it is not.
 *
 * The record of the blocks is in the run directory: a daemon that begins knows what its predecessor
 * had taken, and what becomes of that is the session's to decide.
 */

#include "daemon/memory_sources.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/journal.h"
#include "memhotplug/kernel_balloon.h"
#include "policy/source.h"

#include <fcntl.h>
#include <string.h>

#define NS_PER_S          UINT64_C(1000000000)
#define BLOCK_LIMIT_NS    NS_PER_S
#define BLOCKS_PAUSE_NS   (10 * NS_PER_S)
#define PAGE_BYTES        UINT64_C(4096)

enum {
	BLOCKS_AT_ONCE = 64, /* taken by one call */
	BATCH = 256,         /* ranges that are handed to the pages together */
};

struct memory_sources {
	struct keeper_client *keeper; /* NULL: there are no single pages */
	struct block_source *blocks; /* NULL: the same */
	bool blocks_allowed;
	const char *blocks_problem;
	uint64_t blocks_pause_until_ns;
	const char *reason;
	char record[256];
};

void memory_sources_release_blocks(struct memory_sources *s)
{
	const struct page_range all = {.first = 0, .count = UINT64_MAX};
	struct block_source_stats stats;
	uint64_t pages;
	int r;

	if (!s->blocks)
		return;
	r = block_source_return(s->blocks, all, &pages);
	block_source_get_stats(s->blocks, &stats);
	if (r || stats.blocks > 0)
		log_error("memory: %llu memory blocks stay offline, memory%llu among them: %s: write "
			  "'online' to its state in " BLOCKS_DIR,
			  (unsigned long long)stats.blocks,
			  (unsigned long long)stats.last_failure_block,
			  stats.last_failure ? stats.last_failure : strerror(-r));
	else if (pages > 0)
		log_notice("memory: %s in whole memory blocks is back in use",
			   size_format(pages * PAGE_BYTES).text);
}

/* Blocks are opened even if they are switched off: a predecessor may have left some. */
static int open_blocks(struct memory_sources *s, const char *run_dir)
{
	const struct block_source_config config = {
		.dir = BLOCKS_DIR,
		.kpageflags = "/proc/kpageflags",
		.record = s->record,
		.limit_ns = BLOCK_LIMIT_NS,
	};
	size_t recovered;
	int r;

	if (snprintf(s->record, sizeof(s->record), "%s/memory-blocks", run_dir) >=
	    (int)sizeof(s->record))
		return -ENAMETOOLONG;
	r = block_source_new(&config, &s->blocks, &recovered);
	if (r == -ENOMEM)
		return r;
	if (r == -ENOTRECOVERABLE) {
		s->blocks_problem = "the record of taken memory blocks is damaged";
		log_error("memory: %s is damaged, so no memory blocks are taken: bring online what is "
			  "offline (lsmem, chmem), and remove the file", s->record);
	} else if (r) {
		s->blocks_problem = "this kernel has no memory blocks";
	} else if (recovered > 0) {
		log_notice("memory: an earlier hvguestd has left %zu memory blocks offline", recovered);
	}
	return 0;
}

int memory_sources_new(const struct memory_sources_config *config,
		       struct memory_sources **ret_sources)
{
	_cleanup_(cleanup_memory_sourcesp) struct memory_sources *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->keeper = config->keeper;
	s->blocks_allowed = config->memory_blocks;
	r = open_blocks(s, config->run_dir);
	if (r)
		return r;
	*ret_sources = steal_ptr(s);
	return 0;
}

struct memory_sources *memory_sources_free(struct memory_sources *s)
{
	if (!s)
		return NULL;
	(void)block_source_free(s->blocks);
	free(s);
	return NULL;
}

/* Whether the kernel may keep its books about a block inside of it: Y or "force". */
static bool keeps_books_inside(void)
{
	_cleanup_close_ int fd = open("/sys/module/memory_hotplug/parameters/memmap_on_memory",
				      O_RDONLY | O_CLOEXEC);
	char first;

	return fd >= 0 && read(fd, &first, 1) == 1 && first != 'N' && first != '0';
}

/* What policy is to know. */
static struct source_figures figures_of(const struct memory_sources *s, uint64_t want_pages)
{
	struct source_figures figures = {
		.request_pages = want_pages,
		.may_give_pages = want_pages,
		.blocks_allowed = s->blocks_allowed,
	};
	struct memory_sources_stats stats;

	memory_sources_get_stats(s, &stats);
	for (int i = 0; i < PAGES_N_SOURCES; i++)
		figures.held_pages += stats.pages.source[i].bytes / PAGE_BYTES;
	if (!s->blocks || !s->blocks_allowed)
		return figures;
	figures.block_pages = stats.blocks.block_pages;
	figures.held_block_pages = stats.blocks.blocks * stats.blocks.block_pages;
	figures.blocks_failed = clock_monotonic_ns() < s->blocks_pause_until_ns;
	figures.books_inside = keeps_books_inside();
	figures.kernel_balloon = kernel_balloon_is_bound(KERNEL_BALLOON_DRIVER_DIR);
	return figures;
}

/* False if policy wants no blocks, or none are to be had. */
static bool take_blocks(struct memory_sources *s, uint64_t want_pages,
			const struct page_range *avoid, size_t n_avoid, struct page_range *ranges,
			size_t *ret_n)
{
	struct source_figures figures = figures_of(s, want_pages);
	struct source_split split;
	uint64_t n_blocks;
	int r;

	source_split(&figures, &split);
	s->reason = split.reason;
	n_blocks = split.blocks < BLOCKS_AT_ONCE ? split.blocks : BLOCKS_AT_ONCE;
	if (n_blocks == 0)
		return false;

	r = block_source_take(s->blocks, n_blocks, avoid, n_avoid, ranges, KEEPER_RANGES_MAX, ret_n);
	if (r == 0 && page_ranges_count(ranges, *ret_n) == n_blocks * figures.block_pages)
		return true;
	s->blocks_pause_until_ns = clock_monotonic_ns() + BLOCKS_PAUSE_NS;
	if (r < 0)
		log_warning("memory: taking memory blocks: %s; taking single pages", strerror(-r));
	return r == 0;
}

/* The keeper's conditions are not ours. */
static int of_keeper(int r)
{
	if (r == KEEPER_CLIENT_EXHAUSTED)
		return MEMORY_SOURCES_EXHAUSTED;
	return r > 0 ? MEMORY_SOURCES_LOST : r;
}

int memory_sources_take(struct memory_sources *s, uint64_t want_pages,
			const struct page_range *avoid, size_t n_avoid, struct page_range *ranges,
			size_t *ret_n)
{
	enum pages_source source;

	if (take_blocks(s, want_pages, avoid, n_avoid, ranges, ret_n))
		return 0;
	if (!s->keeper)
		return MEMORY_SOURCES_EXHAUSTED;
	if (want_pages > PAGES_SLICE)
		want_pages = PAGES_SLICE;
	return of_keeper(keeper_client_take(s->keeper, want_pages, ranges, ret_n, &source));
}

/* Ranges on their way to the pages, and what came of it. */
struct returns {
	struct memory_sources *sources;
	struct page_range batch[BATCH];
	size_t n;
	uint64_t pages;
	int result;
};

static void note_result(struct returns *returns, int r)
{
	if (returns->result == 0)
		returns->result = r;
}

static void flush(struct returns *returns)
{
	uint64_t pages = 0;

	if (returns->n > 0 && returns->sources->keeper)
		note_result(returns, of_keeper(keeper_client_return(returns->sources->keeper,
								    returns->batch, returns->n,
								    &pages)));
	returns->pages += pages;
	returns->n = 0;
}

static void return_to_pages(struct returns *returns, struct page_range range)
{
	if (range.count == 0)
		return;
	if (returns->n == BATCH)
		flush(returns);
	returns->batch[returns->n++] = range;
}

static void return_to_blocks(struct returns *returns, struct page_range range)
{
	uint64_t pages;
	int r = block_source_return(returns->sources->blocks, range, &pages);

	returns->pages += pages;
	if (r == BLOCK_SOURCE_STUCK)
		r = -EBUSY;
	note_result(returns, r);
}

/* Cuts a range at the edges of blocks. */
static void return_range(struct returns *returns, struct page_range range)
{
	const struct block_source *blocks = returns->sources->blocks;
	struct page_range part;

	if (range.count > UINT64_MAX - range.first)
		range.count = UINT64_MAX - range.first;
	while (blocks && range.count > 0 && block_source_overlap(blocks, range, &part)) {
		uint64_t before = part.first - range.first;

		return_to_pages(returns, (struct page_range){range.first, before});
		return_to_blocks(returns, part);
		range.first += before + part.count;
		range.count -= before + part.count;
	}
	return_to_pages(returns, range);
}

int memory_sources_return(struct memory_sources *s, const struct page_range *ranges, size_t n,
			  uint64_t *ret_pages)
{
	struct returns returns = {.sources = s};

	for (size_t i = 0; i < n; i++)
		return_range(&returns, ranges[i]);
	flush(&returns);
	*ret_pages = returns.pages;
	return returns.result;
}

int memory_sources_list(struct memory_sources *s, struct page_range **ret_ranges, size_t *ret_n)
{
	const struct rangeset none = {0}, *host = s->blocks ? block_source_host(s->blocks) : &none;
	_cleanup_free_ struct page_range *ranges = NULL;
	struct page_range *all;
	size_t n = 0;
	int r;

	r = s->keeper ? of_keeper(keeper_client_list(s->keeper, &ranges, &n)) : 0;
	if (r)
		return r;
	all = reallocarray(ranges, n + host->n_ranges + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	ranges = all;
	if (host->n_ranges > 0)
		memcpy(ranges + n, host->ranges, host->n_ranges * sizeof(*ranges));
	if (page_ranges_normalize(ranges, n + host->n_ranges, &n))
		return -EIO; /* a page in a block that is offline: it cannot be */
	*ret_ranges = steal_ptr(ranges);
	*ret_n = n;
	return 0;
}

void memory_sources_guard(struct memory_sources *s)
{
	struct block_source_stats before, after;
	int r;

	if (!s->blocks)
		return;
	block_source_get_stats(s->blocks, &before);
	r = block_source_guard(s->blocks);
	block_source_get_stats(s->blocks, &after);
	if (after.came_online == before.came_online)
		return;
	if (r)
		log_as(EVENT_BLOCK_CAME_ONLINE, NULL,
		       "memory: somebody has brought memory%llu online, which the host has, and it "
		       "does not go offline again (%s): data in it may be lost",
		       (unsigned long long)after.last_failure_block, after.last_failure);
	else
		log_as(EVENT_BLOCK_CAME_ONLINE, NULL,
		       "memory: somebody has brought a memory block online that the host has; it is "
		       "offline again: keep chmem and udev rules off blocks of hvguest");
}

void memory_sources_get_stats(const struct memory_sources *s,
			      struct memory_sources_stats *ret_stats)
{
	*ret_stats = (struct memory_sources_stats){0};
	if (!s)
		return;
	*ret_stats = (struct memory_sources_stats){
		.blocks_allowed = s->blocks_allowed,
		.blocks_problem = s->blocks_problem,
		.reason = s->reason,
	};
	if (s->keeper)
		keeper_client_get_stats(s->keeper, &ret_stats->pages);
	if (s->blocks)
		block_source_get_stats(s->blocks, &ret_stats->blocks);
}

json_t *memory_sources_blocks_status(const struct memory_sources_stats *stats)
{
	const struct block_source_stats *b = &stats->blocks;

	return json_pack("{s:b, s:s*, s:s*, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s*}", "allowed",
			 stats->blocks_allowed, "problem", stats->blocks_problem, "reason",
			 stats->reason, "block_bytes", (json_int_t)(b->block_pages * PAGE_BYTES),
			 "held", (json_int_t)b->blocks, "remembered_bytes",
			 (json_int_t)(b->remembered_pages * PAGE_BYTES), "taken", (json_int_t)b->taken,
			 "returned", (json_int_t)b->returned, "refused", (json_int_t)b->refused,
			 "timed_out", (json_int_t)b->timed_out, "came_online",
			 (json_int_t)b->came_online, "last_failure", b->last_failure);
}
