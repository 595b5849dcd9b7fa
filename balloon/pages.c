/* SPDX-License-Identifier: MIT */

/*
 * Memory out of use.
 *
 * A slice of memory is a chunk: one mapping of up to 64 MiB, of huge pages of one memfd or of
 * 4 KiB anonymous pages. It is populated, pinned, and only then asked for its page frame numbers,
 * because pinning may move it. A chunk consists of units, the pieces that can be freed alone: its
 * huge pages, or its small ones.
 *
 * What the host has must stay where it is and must not be touched. So a chunk is pinned from
 * before its numbers are known until the host gave its pages back. One pin can cover many units;
 * before it ends, because some of them are to be freed, all others get pins of their own. At no
 * moment is a page without a pin that the host has. Only pages that the host gave back by number
 * are ever freed: a bit for each page says so, and a huge page waits until all its 512 bits are
 * set. The mappings are never read or written here, are left out of core dumps, and are not
 * inherited by children.
 *
 * If there are no long-term pins, memory is locked instead and the stats say so: huge pages then
 * move only if somebody offlines memory; small ones may move at any time.
 *
 * Huge pages are populated one by one and without a reservation, so that a pool that runs dry ends
 * the slice early instead of failing it. Asking a dry pool may cost compaction of the whole
 * machine; so it is not asked again for a while.
 */

#include "balloon/pages.h"

#include "balloon/frames.h"
#include "balloon/pin.h"
#include "base/clock.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES  UINT64_C(4096)
#define NS_PER_S    UINT64_C(1000000000)

/* An entry of /proc/self/pagemap. Source: Linux Documentation/admin-guide/mm/pagemap.rst. */
#define PAGEMAP_PRESENT  (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED  (UINT64_C(1) << 62)
#define PAGEMAP_PFN_MASK ((UINT64_C(1) << 55) - 1)

#define DRY_POOL_PAUSE_NS (10 * NS_PER_S)

/* A unit's slot when it has no pin: it is free, or it is only locked, or about to be freed. */
#define SLOT_FREED  UINT32_MAX
#define SLOT_LOCKED (UINT32_MAX - 1)

enum {
	BITS_PER_WORD = 64,
};

static_assert(PAGES_SLICE * PAGE_BYTES <= PIN_BYTES_MAX, "one pin covers a chunk");
static_assert(PAGES_SLICE % PAGES_PER_HUGE == 0, "a chunk is whole huge pages");

static const uint32_t unit_pages[PAGES_N_SOURCES] = {
	[PAGES_HUGE] = PAGES_PER_HUGE,
	[PAGES_SMALL] = 1,
};

struct chunk {
	enum pages_source source;
	uint8_t *address;    /* NULL before it is mapped */
	uint64_t offset;     /* huge: bytes into the memfd */
	uint32_t n_units;    /* as mapped */
	uint32_t live_units; /* not freed */
	bool dirty;          /* pages were given back and may have made units free */
	uint64_t returned[PAGES_SLICE / BITS_PER_WORD]; /* bit per page: the host gave it back */
	uint32_t slots[];    /* per unit: its pin, or SLOT_*; equal ones are one pin */
};

struct pages {
	struct pages_config config;
	struct pin *pin; /* NULL: lock only */
	int pagemap_fd;
	int huge_fd; /* memfd; -1: there are no huge pages */
	uint64_t huge_bytes; /* size of the memfd; it only grows, freed parts are holes */
	uint64_t huge_dry_until_ns;
	struct chunk **chunks; /* NULL entries are unused numbers */
	size_t n_chunks;
	struct frames frames[PAGES_N_SOURCES]; /* numbers in units */
	struct pages_stats stats;
	uint64_t entries[PAGES_SLICE];   /* scratch: pagemap */
	struct frame batch[PAGES_SLICE]; /* scratch: frames of a new chunk */
};

static uint64_t unit_bytes(const struct chunk *chunk)
{
	return unit_pages[chunk->source] * PAGE_BYTES;
}

static uint8_t *unit_address(const struct chunk *chunk, uint32_t unit)
{
	return chunk->address + unit * unit_bytes(chunk);
}

/* -EPERM if the kernel shows this process no page frame numbers: then it has none for its stack. */
static int check_pagemap(int pagemap_fd)
{
	uint64_t entry = 0;

	if (pread(pagemap_fd, &entry, sizeof(entry),
		  (uintptr_t)&entry / PAGE_BYTES * sizeof(entry)) != sizeof(entry))
		return negative_errno();
	return entry & PAGEMAP_PFN_MASK ? 0 : -EPERM;
}

int pages_new(const struct pages_config *config, struct pages **ret_pages)
{
	_cleanup_(cleanup_pagesp) struct pages *pages = NULL;
	int r;

	if (sysconf(_SC_PAGESIZE) != PAGE_BYTES)
		return -EOPNOTSUPP;

	pages = calloc(1, sizeof(*pages));
	if (!pages)
		return -ENOMEM;
	pages->config = *config;
	pages->huge_fd = -1;
	for (int source = 0; source < PAGES_N_SOURCES; source++)
		frames_init(&pages->frames[source]);

	pages->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pages->pagemap_fd < 0)
		return negative_errno();
	r = check_pagemap(pages->pagemap_fd);
	if (r < 0)
		return r;
	if (config->allowed[PAGES_HUGE])
		pages->huge_fd = memfd_create("hvguest-balloon",
					      MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (config->pin) {
		r = pin_new(&pages->pin);
		if (r < 0)
			return r;
	}
	pages->stats.pinned = pages->pin;

	*ret_pages = steal_ptr(pages);
	return 0;
}

/* Ends a pin. If that fails the memory stays pinned too long, which is the harmless way round. */
static void drop_pin(struct pages *pages, uint32_t slot)
{
	int r = pin_release(pages->pin, slot);

	(void)r;
}

/* True if @unit is the first one that its pin covers. */
static bool begins_pin(const struct chunk *chunk, uint32_t unit)
{
	uint32_t slot = chunk->slots[unit];

	return slot < SLOT_LOCKED && (unit == 0 || chunk->slots[unit - 1] != slot);
}

static struct chunk *chunk_free(struct pages *pages, struct chunk *chunk)
{
	if (!chunk)
		return NULL;

	for (uint32_t unit = 0; unit < chunk->n_units; unit++)
		if (begins_pin(chunk, unit))
			drop_pin(pages, chunk->slots[unit]);
	if (chunk->address)
		munmap(chunk->address, chunk->n_units * unit_bytes(chunk));
	if (chunk->address && chunk->source == PAGES_HUGE)
		(void)fallocate(pages->huge_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				chunk->offset, chunk->n_units * unit_bytes(chunk));
	free(chunk);
	return NULL;
}

struct pages *pages_free(struct pages *pages)
{
	if (!pages)
		return NULL;

	for (size_t i = 0; i < pages->n_chunks; i++)
		chunk_free(pages, pages->chunks[i]);
	free(pages->chunks);
	for (int source = 0; source < PAGES_N_SOURCES; source++)
		frames_fini(&pages->frames[source]);
	pin_free(pages->pin);
	close_fd(pages->huge_fd);
	close_fd(pages->pagemap_fd);
	free(pages);
	return NULL;
}

static int chunk_new(enum pages_source source, uint32_t n_units, struct chunk **ret_chunk)
{
	struct chunk *chunk;

	chunk = calloc(1, sizeof(*chunk) + n_units * sizeof(chunk->slots[0]));
	if (!chunk)
		return -ENOMEM;

	chunk->source = source;
	chunk->n_units = n_units;
	for (uint32_t unit = 0; unit < n_units; unit++)
		chunk->slots[unit] = SLOT_LOCKED;
	*ret_chunk = chunk;
	return 0;
}

/* Reserves addresses; no memory yet. */
static int chunk_map(struct pages *pages, struct chunk *chunk)
{
	size_t bytes = chunk->n_units * unit_bytes(chunk);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1; /* counted in Committed_AS */
	void *address;

	if (chunk->source == PAGES_HUGE) {
		if (ftruncate(pages->huge_fd, pages->huge_bytes + bytes) < 0)
			return negative_errno();
		chunk->offset = pages->huge_bytes;
		pages->huge_bytes += bytes;
		flags = MAP_SHARED | MAP_NORESERVE;
		fd = pages->huge_fd;
	}
	address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, chunk->offset);
	if (address == MAP_FAILED)
		return negative_errno();

	chunk->address = address;
	if (chunk->source == PAGES_SMALL)
		(void)madvise(address, bytes, MADV_NOHUGEPAGE); /* fails if there are none */
	if (madvise(address, bytes, MADV_DONTDUMP) < 0 ||
	    madvise(address, bytes, MADV_DONTFORK) < 0)
		return negative_errno();
	return 0;
}

/* Fills a mapped chunk with memory, as far as there is any; unmaps the rest. PAGES_EXHAUSTED. */
static int chunk_populate(struct chunk *chunk)
{
	uint32_t step = chunk->source == PAGES_HUGE ? 1 : chunk->n_units;
	uint32_t done = 0;

	while (done < chunk->n_units && madvise(unit_address(chunk, done), step * unit_bytes(chunk),
						MADV_POPULATE_WRITE) == 0)
		done += step;
	if (done == 0)
		return PAGES_EXHAUSTED;

	if (done < chunk->n_units) {
		if (munmap(unit_address(chunk, done),
			   (chunk->n_units - done) * unit_bytes(chunk)) < 0)
			return negative_errno();
		chunk->n_units = done;
	}
	chunk->live_units = done;
	return 0;
}

/* From here on the pages stay where they are. */
static int chunk_hold(struct pages *pages, struct chunk *chunk)
{
	size_t bytes = chunk->n_units * unit_bytes(chunk);
	uint32_t slot;
	int r;

	if (!pages->pin) {
		if (mlock(chunk->address, bytes) < 0)
			return negative_errno();
		return 0;
	}

	r = pin_memory(pages->pin, chunk->address, bytes, &slot);
	if (r)
		return r;
	for (uint32_t unit = 0; unit < chunk->n_units; unit++)
		chunk->slots[unit] = slot;
	return 0;
}

/* Writes one frame per unit of a held chunk to pages->batch. -EPERM: the kernel hides them. */
static int chunk_read_frames(struct pages *pages, const struct chunk *chunk, uint32_t number)
{
	uint32_t step = unit_pages[chunk->source];
	size_t bytes = chunk->n_units * step * sizeof(pages->entries[0]);
	ssize_t n;

	n = pread(pages->pagemap_fd, pages->entries, bytes,
		  (uintptr_t)chunk->address / PAGE_BYTES * sizeof(pages->entries[0]));
	if (n < 0)
		return negative_errno();
	if ((size_t)n != bytes)
		return -EIO;

	for (uint32_t unit = 0; unit < chunk->n_units; unit++) {
		uint64_t entry = pages->entries[unit * step];
		uint64_t pfn = entry & PAGEMAP_PFN_MASK;

		if (!(entry & PAGEMAP_PRESENT) || entry & PAGEMAP_SWAPPED)
			return -EIO;
		if (pfn == 0)
			return -EPERM;
		if (pfn % step != 0)
			return -EIO;
		pages->batch[unit] = (struct frame){
			.number = pfn / step,
			.chunk = number,
			.unit = unit,
		};
	}
	return 0;
}

/* Finds an unused number for a chunk. */
static int reserve_number(struct pages *pages, uint32_t *ret_number)
{
	struct chunk **chunks;
	size_t i = 0;

	while (i < pages->n_chunks && pages->chunks[i])
		i++;
	if (i == pages->n_chunks) {
		chunks = reallocarray(pages->chunks, i + 1, sizeof(struct chunk *));
		if (!chunks)
			return -ENOMEM;
		chunks[i] = NULL;
		pages->chunks = chunks;
		pages->n_chunks++;
	}
	*ret_number = i;
	return 0;
}

/* Makes a chunk whose frames are known and in pages->batch, but not yet in the index. */
static int chunk_fill(struct pages *pages, struct chunk *chunk, uint32_t number)
{
	int r;

	r = chunk_map(pages, chunk);
	if (r)
		return r;
	r = chunk_populate(chunk);
	if (r)
		return r;
	r = chunk_hold(pages, chunk);
	if (r)
		return r;
	return chunk_read_frames(pages, chunk, number);
}

/* Takes up to @n_units from @source. PAGES_EXHAUSTED. */
static int take_chunk(struct pages *pages, enum pages_source source, uint32_t n_units,
		      struct page_range *ranges, size_t *ret_n)
{
	uint32_t number, step = unit_pages[source];
	struct chunk *chunk = NULL;
	int r;

	r = reserve_number(pages, &number);
	if (r)
		return r;
	r = chunk_new(source, n_units, &chunk);
	if (r)
		return r;
	r = chunk_fill(pages, chunk, number);
	if (r)
		goto out;
	r = frames_add(&pages->frames[source], pages->batch, chunk->n_units);
	if (r == FRAMES_KNOWN)
		r = -EIO; /* pages that are only locked have moved: which ones cannot be known */
	if (r)
		goto out;

	for (uint32_t i = 0; i < chunk->n_units; i++)
		ranges[i] = (struct page_range){
			.first = pages->batch[i].number * step,
			.count = step,
		};
	r = page_ranges_normalize(ranges, chunk->n_units, ret_n);
	assert(r == 0);
	pages->stats.source[source].bytes += chunk->n_units * unit_bytes(chunk);
	pages->chunks[number] = steal_ptr(chunk);
out:
	chunk_free(pages, chunk);
	return r;
}

/* PAGES_EXHAUSTED if there is no pool, it has run dry, or fewer pages than a huge one are wanted. */
static int take_huge(struct pages *pages, uint64_t want_pages, struct page_range *ranges,
		     size_t capacity, size_t *ret_n)
{
	uint64_t n_units = want_pages / PAGES_PER_HUGE;
	int r;

	if (n_units > capacity)
		n_units = capacity;
	if (n_units == 0 || pages->huge_fd < 0 || clock_monotonic_ns() < pages->huge_dry_until_ns)
		return PAGES_EXHAUSTED;

	r = take_chunk(pages, PAGES_HUGE, n_units, ranges, ret_n);
	if (r == PAGES_EXHAUSTED)
		pages->huge_dry_until_ns = clock_monotonic_ns() + DRY_POOL_PAUSE_NS;
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

static bool test_returned(const struct chunk *chunk, uint32_t page)
{
	return chunk->returned[page / BITS_PER_WORD] >> page % BITS_PER_WORD & 1;
}

/* Remembers that @n pages from @page on are back; the number of those that were not before. */
static uint64_t chunk_mark(struct chunk *chunk, uint32_t page, uint32_t n)
{
	uint64_t marked = 0;

	for (uint32_t i = page; i < page + n; i++) {
		if (test_returned(chunk, i))
			continue;
		chunk->returned[i / BITS_PER_WORD] |= UINT64_C(1) << i % BITS_PER_WORD;
		marked++;
	}
	chunk->dirty |= marked > 0;
	return marked;
}

/* Remembers what of @range is here. */
static uint64_t mark_range(struct pages *pages, enum pages_source source, struct page_range range)
{
	const struct frames *frames = &pages->frames[source];
	uint32_t step = unit_pages[source];
	uint64_t end = range.first + range.count, marked = 0;

	for (size_t i = frames_find(frames, range.first / step); i < frames->n; i++) {
		const struct frame *frame = &frames->entries[i];
		uint64_t first = frame->number * step;
		uint64_t from = range.first > first ? range.first : first;
		uint64_t to = end < first + step ? end : first + step;

		if (first >= end)
			break;
		marked += chunk_mark(pages->chunks[frame->chunk],
				     frame->unit * step + (from - first), to - from);
	}
	pages->stats.source[source].remembered_pages += marked;
	return marked;
}

/* True if the unit is not free and all its pages are back. */
static bool unit_is_back(const struct chunk *chunk, uint32_t unit)
{
	uint32_t step = unit_pages[chunk->source];

	if (chunk->slots[unit] == SLOT_FREED)
		return false;
	for (uint32_t page = unit * step; page < (unit + 1) * step; page++)
		if (!test_returned(chunk, page))
			return false;
	return true;
}

/* The end of the run of units that begins at @unit and is back, or not, like its first. */
static uint32_t run_end(const struct chunk *chunk, uint32_t unit, uint32_t end)
{
	bool back = unit_is_back(chunk, unit);

	while (++unit < end && unit_is_back(chunk, unit) == back)
		continue;
	return unit;
}

static void set_slots(struct chunk *chunk, uint32_t unit, uint32_t end, uint32_t slot)
{
	for (; unit < end; unit++)
		chunk->slots[unit] = slot;
}

/*
 * Units [@from, @to) share a pin, and some are to be freed: gives the others pins of their own,
 * then ends the common one. All or nothing.
 */
static int repin(struct pages *pages, struct chunk *chunk, uint32_t from, uint32_t to)
{
	uint32_t old = chunk->slots[from], slot, end;
	int r;

	for (uint32_t unit = from; unit < to; unit = end) {
		end = run_end(chunk, unit, to);
		if (unit_is_back(chunk, unit))
			continue;
		r = pin_memory(pages->pin, unit_address(chunk, unit),
			       (end - unit) * unit_bytes(chunk), &slot);
		if (r)
			goto out;
		set_slots(chunk, unit, end, slot);
	}
	r = pin_release(pages->pin, old);
	if (r)
		goto out;
	for (uint32_t unit = from; unit < to; unit++)
		if (chunk->slots[unit] == old)
			chunk->slots[unit] = SLOT_LOCKED;
	return 0;
out:
	for (uint32_t unit = from; unit < to; unit++)
		if (begins_pin(chunk, unit) && chunk->slots[unit] != old)
			drop_pin(pages, chunk->slots[unit]);
	set_slots(chunk, from, to, old);
	return r;
}

/* Gives the memory of units that nothing pins back to the system. */
static int free_units(struct pages *pages, struct chunk *chunk, uint32_t unit, uint32_t end)
{
	uint64_t bytes = (end - unit) * unit_bytes(chunk);
	int r;

	if (chunk->source == PAGES_HUGE) {
		r = fallocate(pages->huge_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      chunk->offset + unit * unit_bytes(chunk), bytes);
	} else {
		r = munlock(unit_address(chunk, unit), bytes);
		if (r == 0)
			r = madvise(unit_address(chunk, unit), bytes, MADV_DONTNEED);
	}
	if (r < 0)
		return negative_errno();

	set_slots(chunk, unit, end, SLOT_FREED);
	chunk->live_units -= end - unit;
	pages->stats.source[chunk->source].bytes -= bytes;
	pages->stats.source[chunk->source].remembered_pages -= bytes / PAGE_BYTES;
	return 0;
}

/* Frees what is back of the units [@from, @to), which share one pin or are all locked. */
static int release_segment(struct pages *pages, struct chunk *chunk, uint32_t from, uint32_t to)
{
	uint32_t end;
	int r;

	if (chunk->slots[from] != SLOT_LOCKED) {
		r = repin(pages, chunk, from, to);
		if (r)
			return r;
	}
	for (uint32_t unit = from; unit < to; unit = end) {
		end = run_end(chunk, unit, to);
		if (!unit_is_back(chunk, unit))
			continue;
		r = free_units(pages, chunk, unit, end);
		if (r)
			return r;
	}
	return 0;
}

/* Frees all units of a chunk that are back. It stays dirty if it has to be tried again. */
static int release_chunk(struct pages *pages, struct chunk *chunk)
{
	uint32_t end, back;
	int r;

	for (uint32_t unit = 0; unit < chunk->n_units; unit = end) {
		end = unit + 1;
		back = unit_is_back(chunk, unit);
		while (end < chunk->n_units && chunk->slots[end] == chunk->slots[unit])
			back += unit_is_back(chunk, end++);
		if (back == 0)
			continue;
		r = release_segment(pages, chunk, unit, end);
		if (r)
			return r;
	}
	chunk->dirty = false;
	return 0;
}

/* Takes the frames of freed units out of the index. */
static void forget_frames(struct pages *pages, enum pages_source source)
{
	struct frames *frames = &pages->frames[source];
	size_t kept = 0;

	for (size_t i = 0; i < frames->n; i++) {
		struct frame frame = frames->entries[i];

		if (pages->chunks[frame.chunk]->slots[frame.unit] != SLOT_FREED)
			frames->entries[kept++] = frame;
	}
	frames->n = kept;
}

static int release_all(struct pages *pages)
{
	int r, result = 0;

	for (size_t i = 0; i < pages->n_chunks; i++) {
		if (!pages->chunks[i] || !pages->chunks[i]->dirty)
			continue;
		r = release_chunk(pages, pages->chunks[i]);
		if (r && result == 0)
			result = r;
	}
	for (int source = 0; source < PAGES_N_SOURCES; source++)
		forget_frames(pages, source);
	for (size_t i = 0; i < pages->n_chunks; i++)
		if (pages->chunks[i] && pages->chunks[i]->live_units == 0)
			pages->chunks[i] = chunk_free(pages, pages->chunks[i]);
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

void pages_get_stats(const struct pages *pages, struct pages_stats *ret_stats)
{
	*ret_stats = pages->stats;
}
