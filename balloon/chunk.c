/* SPDX-License-Identifier: MIT */

/*
 * A slice of memory out of use.
 *
 * The memory belongs to a memfd, never to the mapping alone: the kernel takes down a dying
 * process's mappings long before it closes its descriptors, and a page must not be free while the
 * channel through which the host got it is still open. Each chunk has a place of 64 MiB in the
 * memfd of its source, given by its number, so that a place can be used again after a hole was
 * punched there.
 *
 * Populating is most of the work, because the kernel clears the pages; two threads share it. Pages
 * are made by touching the mapping and without a reservation, so that a pool that runs dry ends the
 * slice early instead of failing it.
 *
 * A chunk is pinned from before its numbers are known, because pinning may move pages, until the
 * host gave its pages back. One pin can cover many units; before it ends, because some of them are
 * to be freed, all others get pins of their own. At no moment is a page without a pin that the host
 * has.
 */

#include "balloon/chunk.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES UINT64_C(4096)

/* An entry of /proc/self/pagemap. Source: Linux Documentation/admin-guide/mm/pagemap.rst. */
#define PAGEMAP_PRESENT  (UINT64_C(1) << 63)
#define PAGEMAP_SWAPPED  (UINT64_C(1) << 62)
#define PAGEMAP_PFN_MASK ((UINT64_C(1) << 55) - 1)

enum {
	ENTRIES_PER_READ = 2048,
	SHARED_WORK_BYTES = 4 << 20, /* less is not worth a second thread */
	STACK_BYTES = 256 * 1024,
};

static_assert(LEDGER_CHUNK_BYTES <= PIN_BYTES_MAX, "one pin covers a chunk");
static_assert(PAGES_SLICE % PAGES_PER_HUGE == 0, "a chunk is whole huge pages");

uint64_t chunk_unit_bytes(const struct chunk *chunk)
{
	return ledger_unit_pages(chunk->ledger->source) * PAGE_BYTES;
}

static uint8_t *unit_address(const struct chunk *chunk, uint32_t unit)
{
	return chunk->address + unit * chunk_unit_bytes(chunk);
}

static uint64_t place_of(uint32_t number)
{
	return number * LEDGER_CHUNK_BYTES;
}

static int punch(const struct chunk_context *context, uint32_t source, uint64_t offset,
		 uint64_t bytes)
{
	if (fallocate(context->memfds[source], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
		      bytes) < 0)
		return negative_errno();
	return 0;
}

int chunk_check_pagemap(int pagemap_fd)
{
	uint64_t entry = 0;

	/* Without the right to see them a process has no frame for its own stack. */
	if (pread(pagemap_fd, &entry, sizeof(entry),
		  (uintptr_t)&entry / PAGE_BYTES * sizeof(entry)) != sizeof(entry))
		return negative_errno();
	return entry & PAGEMAP_PFN_MASK ? 0 : -EPERM;
}

static struct chunk *allocate(const struct chunk_context *context, struct ledger_chunk *ledger,
			      uint32_t number, uint32_t n_units)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk) + n_units * sizeof(chunk->slots[0]));

	if (!chunk)
		return NULL;
	chunk->context = context;
	chunk->ledger = ledger;
	chunk->number = number;
	for (uint32_t unit = 0; unit < n_units; unit++)
		chunk->slots[unit] = CHUNK_SLOT_NONE;
	return chunk;
}

int chunk_new(const struct chunk_context *context, struct ledger_chunk *ledger, uint32_t number,
	      enum pages_source source, uint32_t n_units, struct chunk **ret_chunk)
{
	struct chunk *chunk = allocate(context, ledger, number, n_units);

	if (!chunk)
		return -ENOMEM;
	ledger_begin(ledger, source, n_units);
	*ret_chunk = chunk;
	return 0;
}

/* Ends a pin. If that fails the memory stays pinned too long, which is the harmless way round. */
static void drop_pin(const struct chunk *chunk, uint32_t slot)
{
	int r = pin_release(chunk->context->pin, slot);

	(void)r;
}

/* True if @unit is the first one that its pin covers. */
static bool begins_pin(const struct chunk *chunk, uint32_t unit)
{
	uint32_t slot = chunk->slots[unit];

	return slot != CHUNK_SLOT_NONE && (unit == 0 || chunk->slots[unit - 1] != slot);
}

/* Lets go of the pins and the mapping; what is in the memfd stays there. */
static void let_go(struct chunk *chunk)
{
	for (uint32_t unit = 0; unit < chunk->mapped_units; unit++)
		if (begins_pin(chunk, unit))
			drop_pin(chunk, chunk->slots[unit]);
	if (chunk->address)
		(void)munmap(chunk->address, chunk->mapped_units * chunk_unit_bytes(chunk));
}

void chunk_discard(const struct chunk_context *context, struct ledger_chunk *ledger,
		   uint32_t number)
{
	(void)!punch(context, ledger->source, place_of(number), LEDGER_CHUNK_BYTES);
	ledger_end(ledger);
}

struct chunk *chunk_free(struct chunk *chunk)
{
	if (!chunk)
		return NULL;
	let_go(chunk);
	chunk_discard(chunk->context, chunk->ledger, chunk->number);
	free(chunk);
	return NULL;
}

struct chunk *chunk_forget(struct chunk *chunk)
{
	if (chunk)
		let_go(chunk);
	free(chunk);
	return NULL;
}

/* Reserves addresses; no memory yet. */
static int map_place(struct chunk *chunk)
{
	uint32_t source = chunk->ledger->source, n_units = chunk->ledger->n_units;
	size_t bytes = n_units * chunk_unit_bytes(chunk);
	void *address;

	address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
		       chunk->context->memfds[source], place_of(chunk->number));
	if (address == MAP_FAILED)
		return negative_errno();

	chunk->address = address;
	chunk->mapped_units = n_units;
	if (source == PAGES_SMALL)
		(void)madvise(address, bytes, MADV_NOHUGEPAGE); /* fails if there are none */
	if (madvise(address, bytes, MADV_DONTDUMP) < 0 ||
	    madvise(address, bytes, MADV_DONTFORK) < 0)
		return negative_errno();
	return 0;
}

/* What one thread populates. */
struct portion {
	uint8_t *address;
	size_t unit_bytes;
	uint32_t n_units;
	uint32_t done_units;
};

static void *populate(void *arg)
{
	struct portion *p = arg;

	p->done_units = p->n_units;
	if (madvise(p->address, p->n_units * p->unit_bytes, MADV_POPULATE_WRITE) == 0)
		return NULL;

	/* Not all can be had: as much as there is, from the beginning on. */
	p->done_units = 0;
	while (p->done_units < p->n_units &&
	       madvise(p->address + p->done_units * p->unit_bytes, p->unit_bytes,
		       MADV_POPULATE_WRITE) == 0)
		p->done_units++;
	return NULL;
}

/* Populates two portions side by side, or one after the other if there is no second thread. */
static void populate_both(struct portion *first, struct portion *second)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&thread, &attr, populate, second);
	(void)pthread_attr_destroy(&attr);
	(void)populate(first);
	if (r == 0)
		(void)pthread_join(thread, NULL);
	else if (first->done_units == first->n_units)
		(void)populate(second);
}

/* How many units could be populated, counted from the first. */
static uint32_t populate_units(struct chunk *chunk)
{
	uint32_t n = chunk->mapped_units, half = n / 2;
	struct portion first = {chunk->address, chunk_unit_bytes(chunk), half, 0};
	struct portion second = {unit_address(chunk, half), chunk_unit_bytes(chunk), n - half, 0};
	struct portion all = {chunk->address, chunk_unit_bytes(chunk), n, 0};

	if (n * chunk_unit_bytes(chunk) < SHARED_WORK_BYTES) {
		(void)populate(&all);
		return all.done_units;
	}
	populate_both(&first, &second);
	if (first.done_units == half)
		return half + second.done_units;

	/* There is not enough for both, and what the second got is not what comes next. */
	(void)!punch(chunk->context, chunk->ledger->source,
		     place_of(chunk->number) + half * chunk_unit_bytes(chunk),
		     (n - half) * chunk_unit_bytes(chunk));
	(void)populate(&all);
	return all.done_units;
}

/* Fills a mapped chunk with memory, as far as there is any; gives the rest up. */
static int populate_chunk(struct chunk *chunk)
{
	uint32_t n = chunk->mapped_units, done = populate_units(chunk);
	uint64_t rest = (n - done) * chunk_unit_bytes(chunk);
	int r;

	if (done == 0)
		return CHUNK_EXHAUSTED;
	if (rest > 0) {
		if (munmap(unit_address(chunk, done), rest) < 0)
			return negative_errno();
		chunk->mapped_units = done;
		r = punch(chunk->context, chunk->ledger->source,
			  place_of(chunk->number) + done * chunk_unit_bytes(chunk), rest);
		if (r)
			return r;
		chunk->ledger->n_units = done;
	}
	chunk->live_units = done;
	return 0;
}

static void set_slots(struct chunk *chunk, uint32_t unit, uint32_t end, uint32_t slot)
{
	for (; unit < end; unit++)
		chunk->slots[unit] = slot;
}

/*
 * From here on the units [@unit, @end) stay where they are. CHUNK_EXHAUSTED if they cannot: Linux 6.1
 * does not move huge pages out of zone Movable, where nothing is pinned for long (mm/hugetlb.c,
 * follow_hugetlb_page()).
 */
static int hold(struct chunk *chunk, uint32_t unit, uint32_t end)
{
	size_t bytes = (end - unit) * chunk_unit_bytes(chunk);
	uint32_t slot;
	int r;

	if (!chunk->context->pin)
		return mlock(unit_address(chunk, unit), bytes) < 0 ? negative_errno() : 0;
	r = pin_memory(chunk->context->pin, unit_address(chunk, unit), bytes, &slot);
	if (r == PIN_REFUSED)
		return chunk->ledger->source == PAGES_HUGE ? CHUNK_EXHAUSTED : -ENOMEM;
	if (r == 0)
		set_slots(chunk, unit, end, slot);
	return r;
}

/* The same for units that were held before. */
static int hold_again(struct chunk *chunk, uint32_t unit, uint32_t end)
{
	int r = hold(chunk, unit, end);

	return r == CHUNK_EXHAUSTED ? -ENOMEM : r;
}

/* The frames of the units [@unit, @end), at most ENTRIES_PER_READ of them; 0 for one not there. */
static int read_frames(const struct chunk *chunk, uint32_t unit, uint32_t end, uint64_t *ret_pfns)
{
	uint32_t step = ledger_unit_pages(chunk->ledger->source);
	uint64_t page = (uintptr_t)unit_address(chunk, unit) / PAGE_BYTES;
	uint32_t n = step == 1 ? end - unit : 1;

	/* One entry of a huge page is enough: its pages lie side by side. */
	for (uint32_t done = 0; done < end - unit; done += n, page += step) {
		size_t bytes = n * sizeof(ret_pfns[0]);

		if (pread(chunk->context->pagemap_fd, ret_pfns + done, bytes,
			  page * sizeof(ret_pfns[0])) != (ssize_t)bytes)
			return negative_errno();
	}
	for (uint32_t i = 0; i < end - unit; i++) {
		uint64_t entry = ret_pfns[i];

		if (!(entry & PAGEMAP_PRESENT) || entry & PAGEMAP_SWAPPED) {
			ret_pfns[i] = 0;
			continue;
		}
		ret_pfns[i] = entry & PAGEMAP_PFN_MASK;
		if (ret_pfns[i] == 0)
			return CHUNK_HIDDEN;
	}
	return 0;
}

/* Writes the frames of all units into the ledger. */
static int note_frames(struct chunk *chunk)
{
	uint32_t n_units = chunk->ledger->n_units, end;
	int r;

	for (uint32_t unit = 0; unit < n_units; unit = end) {
		end = n_units - unit < ENTRIES_PER_READ ? n_units : unit + ENTRIES_PER_READ;
		r = read_frames(chunk, unit, end, chunk->ledger->pfns + unit);
		if (r)
			return r;
	}
	for (uint32_t unit = 0; unit < n_units; unit++)
		if (chunk->ledger->pfns[unit] == 0)
			return -EIO;
	return ledger_check(chunk->ledger) ? -EIO : 0;
}

int chunk_fill(struct chunk *chunk)
{
	int r;

	r = map_place(chunk);
	if (r)
		return r;
	r = populate_chunk(chunk);
	if (r)
		return r;
	r = hold(chunk, 0, chunk->ledger->n_units);
	if (r)
		return r;
	r = note_frames(chunk);
	if (r)
		return r;
	atomic_store(&chunk->ledger->state, LEDGER_HELD);
	return 0;
}

/* Compares the units with the ledger; @moved is told of those that are elsewhere. */
static int compare(const struct chunk *chunk, bool *moved, uint64_t *ret_pages,
		   uint64_t *ret_moved_pages)
{
	uint64_t pfns[ENTRIES_PER_READ], step = ledger_unit_pages(chunk->ledger->source);
	uint32_t n_units = chunk->ledger->n_units, end;
	int r;

	*ret_pages = *ret_moved_pages = 0;
	for (uint32_t unit = 0; unit < n_units; unit = end) {
		end = n_units - unit < ENTRIES_PER_READ ? n_units : unit + ENTRIES_PER_READ;
		r = read_frames(chunk, unit, end, pfns);
		if (r)
			return r;
		for (uint32_t i = unit; i < end; i++) {
			bool differs = pfns[i - unit] != chunk->ledger->pfns[i];

			if (chunk->ledger->pfns[i] == 0)
				continue;
			*ret_pages += step;
			*ret_moved_pages += differs ? step : 0;
			if (moved)
				moved[i] = differs;
		}
	}
	return 0;
}

int chunk_verify(const struct chunk *chunk, uint64_t *ret_pages, uint64_t *ret_moved_pages)
{
	return compare(chunk, NULL, ret_pages, ret_moved_pages);
}

/* Gives the memory of units that nothing pins back to the system. */
static int free_units(struct chunk *chunk, uint32_t unit, uint32_t end)
{
	uint64_t unit_bytes = chunk_unit_bytes(chunk);
	int r;

	r = punch(chunk->context, chunk->ledger->source,
		  place_of(chunk->number) + unit * unit_bytes, (end - unit) * unit_bytes);
	if (r)
		return r;
	for (; unit < end; unit++) {
		chunk->ledger->pfns[unit] = 0;
		chunk->live_units--;
	}
	return 0;
}

/* The end of the run of units that begins at @unit and is back, or not, like its first. */
static uint32_t run_end(const struct chunk *chunk, uint32_t unit, uint32_t end)
{
	bool back = ledger_unit_is_back(chunk->ledger, unit);

	while (++unit < end && ledger_unit_is_back(chunk->ledger, unit) == back)
		continue;
	return unit;
}

/*
 * Units [@from, @to) share a pin, and some are to be freed: gives the others pins of their own,
 * then ends the common one. All or nothing.
 */
static int repin(struct chunk *chunk, uint32_t from, uint32_t to)
{
	uint32_t old = chunk->slots[from], end;
	int r;

	for (uint32_t unit = from; unit < to; unit = end) {
		end = run_end(chunk, unit, to);
		if (ledger_unit_is_back(chunk->ledger, unit))
			continue;
		r = hold_again(chunk, unit, end);
		if (r)
			goto out;
	}
	r = pin_release(chunk->context->pin, old);
	if (r)
		goto out;
	for (uint32_t unit = from; unit < to; unit++)
		if (chunk->slots[unit] == old)
			chunk->slots[unit] = CHUNK_SLOT_NONE;
	return 0;
out:
	for (uint32_t unit = from; unit < to; unit++)
		if (begins_pin(chunk, unit) && chunk->slots[unit] != old)
			drop_pin(chunk, chunk->slots[unit]);
	set_slots(chunk, from, to, old);
	return r;
}

/* Frees what is back of the units [@from, @to), which share one pin or have none. */
static int release_segment(struct chunk *chunk, uint32_t from, uint32_t to)
{
	uint32_t end;
	int r;

	if (chunk->slots[from] != CHUNK_SLOT_NONE) {
		r = repin(chunk, from, to);
		if (r)
			return r;
	}
	for (uint32_t unit = from; unit < to; unit = end) {
		end = run_end(chunk, unit, to);
		if (!ledger_unit_is_back(chunk->ledger, unit))
			continue;
		r = free_units(chunk, unit, end);
		if (r)
			return r;
	}
	return 0;
}

int chunk_release(struct chunk *chunk)
{
	uint32_t n_units = chunk->ledger->n_units, end, back;
	int r;

	for (uint32_t unit = 0; unit < n_units; unit = end) {
		end = unit + 1;
		back = ledger_unit_is_back(chunk->ledger, unit);
		while (end < n_units && chunk->slots[end] == chunk->slots[unit])
			back += ledger_unit_is_back(chunk->ledger, end++);
		if (back == 0)
			continue;
		r = release_segment(chunk, unit, end);
		if (r)
			return r;
	}
	chunk->dirty = false;
	return 0;
}

/* The end of the run of units from @unit on that are there, or are not, like the first. */
static uint32_t presence_end(const struct chunk *chunk, uint32_t unit)
{
	bool there = chunk->ledger->pfns[unit] != 0;

	while (++unit < chunk->ledger->n_units && (chunk->ledger->pfns[unit] != 0) == there)
		continue;
	return unit;
}

/* Pins what a predecessor left; a hole must not be touched, for that would fill it. */
static int hold_present(struct chunk *chunk)
{
	uint32_t end;
	int r;

	for (uint32_t unit = 0; unit < chunk->ledger->n_units; unit = end) {
		end = presence_end(chunk, unit);
		if (chunk->ledger->pfns[unit] == 0)
			continue;
		if (madvise(unit_address(chunk, unit), (end - unit) * chunk_unit_bytes(chunk),
			    MADV_POPULATE_READ) < 0)
			return negative_errno();
		r = hold_again(chunk, unit, end);
		if (r)
			return r;
		chunk->live_units += end - unit;
	}
	return 0;
}

/* Gives up the units that have moved: their new frames were never the host's. */
static int drop_moved(struct chunk *chunk, uint64_t *ret_lost_pages)
{
	bool moved[PAGES_SLICE] = {false};
	uint32_t step = ledger_unit_pages(chunk->ledger->source);
	uint64_t pages;
	int r;

	r = compare(chunk, moved, &pages, ret_lost_pages);
	if (r || *ret_lost_pages == 0)
		return r;
	for (uint32_t unit = 0; unit < chunk->ledger->n_units; unit++)
		if (moved[unit])
			(void)ledger_mark(chunk->ledger, unit * step, step);
	return 0;
}

int chunk_adopt(const struct chunk_context *context, struct ledger_chunk *ledger, uint32_t number,
		uint64_t *ret_lost_pages, struct chunk **ret_chunk)
{
	struct chunk *chunk = allocate(context, ledger, number, ledger->n_units);
	int r;

	if (!chunk)
		return -ENOMEM;
	r = map_place(chunk);
	if (r)
		goto out;
	/* What was on its way back is freed now, before it could be touched. */
	for (uint32_t unit = 0; unit < ledger->n_units; unit++) {
		if (!ledger_unit_is_back(ledger, unit))
			continue;
		chunk->live_units++;
		r = free_units(chunk, unit, unit + 1);
		if (r)
			goto out;
	}
	r = hold_present(chunk);
	r = r ? r : drop_moved(chunk, ret_lost_pages);
	r = r ? r : chunk_release(chunk);
	if (r)
		goto out;

	*ret_chunk = steal_ptr(chunk);
out:
	(void)chunk_forget(chunk);
	return r;
}
