/* SPDX-License-Identifier: MIT */

/*
 * Memory out of use.
 *
 * It is taken in slices, which become chunks (balloon/chunk.c) of huge pages or of 4 KiB pages. A
 * chunk consists of units, the pieces that can be freed alone: its huge pages, or its small ones.
 * Which memory is held is written in the ledger (balloon/ledger.c), so that a successor who has the
 * descriptors can go on. The index of frames, the mappings and the pins die with the process and
 * are made anew.
 *
 * What the host has must stay where it is and must not be touched. Only pages that the host gave
 * back by number are ever freed: a bit for each page says so, and a huge page waits until all its
 * 512 bits are set. The mappings are never read or written, are left out of core dumps, and are not
 * inherited by children.
 *
 * If there are no long-term pins, memory is locked instead and the stats say so: huge pages then
 * move only if somebody offlines memory; small ones may move at any time.
 *
 * Asking a dry pool of huge pages may cost compaction of the whole machine; so it is not asked
 * again for a while. Where the pool's limit is what keeps us from huge pages, and we are allowed
 * to, the limit is raised by our share, and lowered when the pages are freed.
 */

#include "balloon/pages.h"

#include "balloon/chunk.h"
#include "base/clock.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES  UINT64_C(4096)
#define NS_PER_S    UINT64_C(1000000000)

#define DRY_POOL_PAUSE_NS (10 * NS_PER_S)

enum {
	CHUNKS_PER_VERIFY = 16,
	/* pages_list(): where it is, in one number: source, then position in that index. */
	LIST_SOURCE_SHIFT = 48,
};

struct pages {
	struct pages_config config;
	struct chunk_context context;
	struct ledger *ledger;
	uint64_t huge_dry_until_ns;
	struct chunk *chunks[LEDGER_CHUNKS_MAX]; /* NULL: an empty place */
	uint32_t n_chunks;                       /* no chunk is beyond this place */
	struct frames frames[PAGES_N_SOURCES];   /* numbers in units */
	struct pages_stats stats;
	struct frame batch[PAGES_SLICE]; /* scratch: frames of a new chunk */
};

static void close_memory(struct pages_memory *memory)
{
	memory->ledger_fd = close_fd(memory->ledger_fd);
	for (int source = 0; source < PAGES_N_SOURCES; source++)
		memory->memfds[source] = close_fd(memory->memfds[source]);
}

/* A memfd that takes any chunk; its memory comes with use. */
static int create_memfd(const char *name, unsigned flags, uint64_t bytes, int *ret_fd)
{
	_cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | flags);

	if (fd < 0 || ftruncate(fd, bytes) < 0)
		return negative_errno();
	*ret_fd = steal_fd(fd);
	return 0;
}

int pages_memory_new(const struct pages_config *config, struct pages_memory *ret_memory)
{
	struct pages_memory memory = {.ledger_fd = -1, .memfds = {-1, -1}};
	const uint64_t bytes = LEDGER_CHUNKS_MAX * LEDGER_CHUNK_BYTES;
	int r;

	r = create_memfd("hvguest-ledger", 0, sizeof(struct ledger), &memory.ledger_fd);
	if (r == 0)
		r = create_memfd("hvguest-balloon", 0, bytes, &memory.memfds[PAGES_SMALL]);
	/* A kernel without huge pages is no error. */
	if (r == 0 && config->allowed[PAGES_HUGE])
		(void)!create_memfd("hvguest-balloon", MFD_HUGETLB | MFD_HUGE_2MB, bytes,
				    &memory.memfds[PAGES_HUGE]);
	if (r) {
		close_memory(&memory);
		return r;
	}
	*ret_memory = memory;
	return 0;
}

static void count_held(struct pages *pages, const struct chunk *chunk)
{
	uint32_t source = chunk->ledger->source, step = ledger_unit_pages(source);

	pages->stats.source[source].bytes += chunk->live_units * chunk_unit_bytes(chunk);
	for (uint32_t unit = 0; unit < chunk->ledger->n_units; unit++)
		if (chunk->ledger->pfns[unit] != 0)
			pages->stats.source[source].remembered_pages +=
				ledger_marked(chunk->ledger, unit * step, step);
}

/* Puts the frames of a held chunk into the index. Writes them to pages->batch, too, sorted. */
static int index_frames(struct pages *pages, const struct chunk *chunk, size_t *ret_n)
{
	uint32_t step = ledger_unit_pages(chunk->ledger->source);
	size_t n = 0;
	int r;

	for (uint32_t unit = 0; unit < chunk->ledger->n_units; unit++)
		if (chunk->ledger->pfns[unit] != 0)
			pages->batch[n++] = (struct frame){
				.number = chunk->ledger->pfns[unit] / step,
				.chunk = chunk->number,
				.unit = unit,
			};
	r = frames_add(&pages->frames[chunk->ledger->source], pages->batch, n);
	if (r == FRAMES_KNOWN)
		return -EIO; /* pages that are only locked have moved: which ones cannot be known */
	*ret_n = n;
	return r;
}

static int adopt_chunk(struct pages *pages, uint32_t number)
{
	struct ledger_chunk *ledger = &pages->ledger->chunks[number];
	struct chunk *chunk;
	uint64_t lost_pages;
	size_t n;
	int r;

	r = chunk_adopt(&pages->context, ledger, number, &lost_pages, &chunk);
	if (r)
		return r == CHUNK_HIDDEN ? -EPERM : r;
	pages->stats.lost_pages += lost_pages;
	if (chunk->live_units == 0) {
		(void)chunk_free(chunk);
		return 0;
	}
	r = index_frames(pages, chunk, &n);
	if (r) {
		(void)chunk_forget(chunk); /* the host may have it */
		return r;
	}
	count_held(pages, chunk);
	pages->chunks[number] = chunk;
	pages->n_chunks = number + 1;
	return 0;
}

/* The first place from @i on that has ever been written. To read the others would fill them. */
static uint32_t next_written(int fd, uint32_t i)
{
	off_t at = lseek(fd, (off_t)(i * sizeof(struct ledger_chunk)), SEEK_DATA);

	return at < 0 ? LEDGER_CHUNKS_MAX : (uint32_t)((size_t)at / sizeof(struct ledger_chunk));
}

static int adopt_all(struct pages *pages, int fd)
{
	int r;

	for (uint32_t i = next_written(fd, 0); i < LEDGER_CHUNKS_MAX; i = next_written(fd, i + 1)) {
		struct ledger_chunk *ledger = &pages->ledger->chunks[i];
		uint32_t state = atomic_load(&ledger->state);

		if (state == LEDGER_EMPTY)
			continue;
		if (ledger_check(ledger) || pages->context.memfds[ledger->source] < 0)
			return -EINVAL;
		if (state == LEDGER_FILLING) {
			chunk_discard(&pages->context, ledger, i);
			continue;
		}
		r = adopt_chunk(pages, i);
		if (r)
			return r;
	}
	return 0;
}

static int map_ledger(struct pages *pages, int fd)
{
	void *map;

	if (lseek(fd, 0, SEEK_END) != sizeof(struct ledger))
		return -EINVAL;
	map = mmap(NULL, sizeof(struct ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return negative_errno();
	pages->ledger = map;
	return 0;
}

static int open_pagemap(struct pages *pages)
{
	pages->context.pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pages->context.pagemap_fd < 0)
		return negative_errno();
	return chunk_check_pagemap(pages->context.pagemap_fd);
}

/* Lets go of all that the process has of the memory, which stays in its descriptors. */
static struct pages *forget(struct pages *pages)
{
	if (pages->ledger)
		(void)munmap(pages->ledger, sizeof(struct ledger));
	for (int source = 0; source < PAGES_N_SOURCES; source++)
		frames_fini(&pages->frames[source]);
	pin_free(pages->context.pin);
	close_fd(pages->context.pagemap_fd);
	free(pages);
	return NULL;
}

static void forgetp(struct pages **pages)
{
	if (*pages)
		(void)forget(*pages);
}

int pages_new(const struct pages_config *config, const struct pages_memory *memory,
	      struct pages **ret_pages)
{
	_cleanup_(forgetp) struct pages *pages = NULL;
	int r;

	if (sysconf(_SC_PAGESIZE) != PAGE_BYTES)
		return -EOPNOTSUPP;

	pages = calloc(1, sizeof(*pages));
	if (!pages)
		return -ENOMEM;
	pages->config = *config;
	for (int source = 0; source < PAGES_N_SOURCES; source++) {
		pages->context.memfds[source] = memory->memfds[source];
		frames_init(&pages->frames[source]);
	}
	r = open_pagemap(pages);
	if (r)
		return r;
	if (config->pin) {
		r = pin_new(&pages->context.pin);
		if (r < 0)
			return r;
	}
	pages->stats.pinned = pages->context.pin;
	r = map_ledger(pages, memory->ledger_fd);
	r = r ? r : adopt_all(pages, memory->ledger_fd);
	if (r)
		return r;

	*ret_pages = steal_ptr(pages);
	return 0;
}

/* Takes no more of the machine's number than we have huge pages. */
static void settle_share(struct pages *pages)
{
	uint64_t held = pages->stats.source[PAGES_HUGE].bytes / PAGE_BYTES / PAGES_PER_HUGE;

	if (pages->config.share && pages->config.share->share > held)
		(void)!overcommit_lower(pages->config.overcommit_dir, pages->config.share, held);
}

struct pages *pages_free(struct pages *pages)
{
	if (!pages)
		return NULL;

	for (uint32_t i = 0; i < pages->n_chunks; i++)
		chunk_free(pages->chunks[i]);
	pages->stats.source[PAGES_HUGE].bytes = 0;
	settle_share(pages);
	return forget(pages);
}

/* Finds an empty place. */
static int find_place(const struct pages *pages, uint32_t *ret_number)
{
	uint32_t i = 0;

	while (i < pages->n_chunks && pages->chunks[i])
		i++;
	if (i == LEDGER_CHUNKS_MAX)
		return -ENOSPC;
	*ret_number = i;
	return 0;
}

/* Writes where the pages of the batch are. */
static size_t describe(const struct pages *pages, enum pages_source source,
		       struct page_range *ranges, size_t n)
{
	uint32_t step = ledger_unit_pages(source);
	int r;

	for (size_t i = 0; i < n; i++)
		ranges[i] = (struct page_range){
			.first = pages->batch[i].number * step,
			.count = step,
		};
	r = page_ranges_normalize(ranges, n, &n);
	assert(r == 0);
	return n;
}

/* Takes up to @n_units from @source. PAGES_EXHAUSTED. */
static int take_chunk(struct pages *pages, enum pages_source source, uint32_t n_units,
		      struct page_range *ranges, size_t *ret_n)
{
	_cleanup_(cleanup_chunkp) struct chunk *chunk = NULL;
	uint32_t number;
	size_t n;
	int r;

	r = find_place(pages, &number);
	if (r)
		return r;
	r = chunk_new(&pages->context, &pages->ledger->chunks[number], number, source, n_units,
		      &chunk);
	if (r)
		return r;
	r = chunk_fill(chunk);
	if (r > 0)
		return r == CHUNK_HIDDEN ? -EPERM : PAGES_EXHAUSTED;
	r = r ? r : index_frames(pages, chunk, &n);
	if (r)
		return r;

	*ret_n = describe(pages, source, ranges, n);
	pages->stats.source[source].bytes += n * chunk_unit_bytes(chunk);
	pages->chunks[number] = steal_ptr(chunk);
	if (number == pages->n_chunks)
		pages->n_chunks++;
	return 0;
}

/* PAGES_EXHAUSTED if there is no pool, it has run dry, or fewer pages than a huge one are wanted. */
static int take_huge(struct pages *pages, uint64_t want_pages, struct page_range *ranges,
		     size_t capacity, size_t *ret_n)
{
	uint64_t n_units = want_pages / PAGES_PER_HUGE;
	int r;

	if (n_units > capacity)
		n_units = capacity;
	if (n_units == 0 || !pages->config.allowed[PAGES_HUGE] ||
	    pages->context.memfds[PAGES_HUGE] < 0 ||
	    clock_monotonic_ns() < pages->huge_dry_until_ns)
		return PAGES_EXHAUSTED;

	if (pages->config.share)
		(void)!overcommit_raise(pages->config.overcommit_dir, pages->config.share, n_units);
	r = take_chunk(pages, PAGES_HUGE, n_units, ranges, ret_n);
	if (r == PAGES_EXHAUSTED)
		pages->huge_dry_until_ns = clock_monotonic_ns() + DRY_POOL_PAUSE_NS;
	settle_share(pages);
	return r;
}

static int take_small(struct pages *pages, uint64_t want_pages, struct page_range *ranges,
		      size_t capacity, size_t *ret_n)
{
	if (!pages->config.allowed[PAGES_SMALL])
		return PAGES_EXHAUSTED;
	return take_chunk(pages, PAGES_SMALL, want_pages < capacity ? want_pages : capacity, ranges,
			  ret_n);
}

int pages_take(struct pages *pages, uint64_t want_pages, struct page_range *ranges,
	       size_t capacity, size_t *ret_n, enum pages_source *ret_source)
{
	enum pages_source source = PAGES_HUGE;
	size_t n;
	int r;

	assert(want_pages > 0 && capacity > 0);
	if (want_pages > PAGES_SLICE)
		want_pages = PAGES_SLICE;

	r = take_huge(pages, want_pages, ranges, capacity, &n);
	if (r == PAGES_EXHAUSTED) {
		source = PAGES_SMALL;
		r = take_small(pages, want_pages, ranges, capacity, &n);
	}
	if (r)
		return r;

	*ret_n = n;
	*ret_source = source;
	return 0;
}

/* Remembers what of @range is here. */
static uint64_t mark_range(struct pages *pages, enum pages_source source, struct page_range range)
{
	const struct frames *frames = &pages->frames[source];
	uint32_t step = ledger_unit_pages(source);
	uint64_t end = range.first + range.count, marked = 0;

	for (size_t i = frames_find(frames, range.first / step); i < frames->n; i++) {
		const struct frame *frame = &frames->entries[i];
		struct chunk *chunk = pages->chunks[frame->chunk];
		uint64_t first = frame->number * step, n;
		uint64_t from = range.first > first ? range.first : first;
		uint64_t to = end < first + step ? end : first + step;

		if (first >= end)
			break;
		if (from >= to)
			continue;
		n = ledger_mark(chunk->ledger, frame->unit * step + (from - first), to - from);
		chunk->dirty |= n > 0;
		marked += n;
	}
	pages->stats.source[source].remembered_pages += marked;
	return marked;
}

/* Takes the frames of freed units out of the index. */
static void forget_frames(struct pages *pages, enum pages_source source)
{
	struct frames *frames = &pages->frames[source];
	size_t kept = 0;

	for (size_t i = 0; i < frames->n; i++) {
		struct frame frame = frames->entries[i];

		if (pages->chunks[frame.chunk]->ledger->pfns[frame.unit] != 0)
			frames->entries[kept++] = frame;
	}
	frames->n = kept;
}

/* Frees what is back of a chunk, and counts it. */
static int release_chunk(struct pages *pages, struct chunk *chunk)
{
	uint32_t source = chunk->ledger->source, before = chunk->live_units;
	uint64_t freed_bytes;
	int r;

	r = chunk_release(chunk);
	freed_bytes = (before - chunk->live_units) * chunk_unit_bytes(chunk);
	pages->stats.source[source].bytes -= freed_bytes;
	pages->stats.source[source].remembered_pages -= freed_bytes / PAGE_BYTES;
	return r;
}

static int release_all(struct pages *pages)
{
	bool freed[PAGES_N_SOURCES] = {false};
	int r, result = 0;

	for (uint32_t i = 0; i < pages->n_chunks; i++) {
		struct chunk *chunk = pages->chunks[i];

		if (!chunk || !chunk->dirty)
			continue;
		freed[chunk->ledger->source] = true;
		r = release_chunk(pages, chunk);
		if (r && result == 0)
			result = r;
	}
	for (int source = 0; source < PAGES_N_SOURCES; source++)
		if (freed[source])
			forget_frames(pages, source);
	for (uint32_t i = 0; i < pages->n_chunks; i++)
		if (pages->chunks[i] && pages->chunks[i]->live_units == 0)
			pages->chunks[i] = chunk_free(pages->chunks[i]);
	settle_share(pages);
	return result;
}

int pages_return(struct pages *pages, const struct page_range *ranges, size_t n,
		 uint64_t *ret_pages)
{
	uint64_t accepted = 0, offered = 0;

	for (size_t i = 0; i < n; i++) {
		struct page_range range = ranges[i];

		if (range.count > UINT64_MAX - range.first)
			range.count = UINT64_MAX - range.first;
		offered += range.count;
		for (int source = 0; source < PAGES_N_SOURCES; source++)
			accepted += mark_range(pages, source, range);
	}
	pages->stats.foreign_pages += offered - accepted;
	*ret_pages = accepted;
	return release_all(pages);
}

/* Lists the pages of a unit that were not given back; at most PAGES_PER_HUGE ranges. */
static size_t list_unit(const struct pages *pages, enum pages_source source,
			const struct frame *frame, struct page_range *ranges)
{
	const struct ledger_chunk *ledger = pages->chunks[frame->chunk]->ledger;
	uint32_t step = ledger_unit_pages(source), page = frame->unit * step;
	uint64_t first = frame->number * step;
	size_t n = 0;

	if (ledger_marked(ledger, page, step) == 0) {
		ranges[0] = (struct page_range){first, step};
		return 1;
	}
	for (uint32_t i = 0; i < step; i++) {
		if (ledger_marked(ledger, page + i, 1))
			continue;
		if (n > 0 && ranges[n - 1].first + ranges[n - 1].count == first + i)
			ranges[n - 1].count++;
		else
			ranges[n++] = (struct page_range){first + i, 1};
	}
	return n;
}

/* Joins what was added at @before with the range in front of it, if they touch. */
static size_t join_last(struct page_range *ranges, size_t before, size_t n)
{
	if (before == 0 || n != before + 1 ||
	    ranges[before - 1].first + ranges[before - 1].count != ranges[before].first)
		return n;
	ranges[before - 1].count += ranges[before].count;
	return before;
}

size_t pages_list(const struct pages *pages, uint64_t *at, struct page_range *ranges,
		  size_t capacity)
{
	uint64_t source = *at >> LIST_SOURCE_SHIFT, i = *at & ((UINT64_C(1) << LIST_SOURCE_SHIFT) - 1);
	size_t n = 0, before;

	assert(capacity >= PAGES_PER_HUGE);
	while (source < PAGES_N_SOURCES && capacity - n >= PAGES_PER_HUGE) {
		if (i >= pages->frames[source].n) {
			source++;
			i = 0;
			continue;
		}
		before = n;
		n += list_unit(pages, source, &pages->frames[source].entries[i++], ranges + n);
		n = join_last(ranges, before, n);
	}
	*at = source << LIST_SOURCE_SHIFT | i;
	return n;
}

int pages_verify(const struct pages *pages, uint64_t *at, uint64_t *pages_seen,
		 uint64_t *pages_moved, bool *ret_more)
{
	uint64_t seen, moved;
	int r;

	for (int n = 0; n < CHUNKS_PER_VERIFY && *at < pages->n_chunks; n++, ++*at) {
		if (!pages->chunks[*at])
			continue;
		r = chunk_verify(pages->chunks[*at], &seen, &moved);
		if (r)
			return r == CHUNK_HIDDEN ? -EPERM : r;
		*pages_seen += seen;
		*pages_moved += moved;
	}
	*ret_more = *at < pages->n_chunks;
	return 0;
}

void pages_set_config(struct pages *pages, const struct pages_config *config)
{
	assert(config->pin == pages->config.pin);
	pages->config = *config;
	pages->huge_dry_until_ns = 0;
}

void pages_get_stats(const struct pages *pages, struct pages_stats *ret_stats)
{
	*ret_stats = pages->stats;
	ret_stats->overcommit_pages = pages->config.share ? pages->config.share->share : 0;
}
