/* SPDX-License-Identifier: MIT */

/*
 * Memory blocks for the host.
 *
 * A block that is offline is nobody's: the kernel neither reads nor writes it, and it stays so when
 * this process dies. That makes it the best memory to give: no page is touched, a block is one
 * range, and its page numbers follow from its own. What it costs is that it comes back as a whole.
 *
 * `marks` are the blocks that are ours, in the order in which they were taken; `held` is their
 * pages; `host` is the part of these that the host has. A block goes online when nothing of it is
 * in `host`. The record on disk always names at least what is offline because of us: it is written
 * before an attempt and again after it.
 *
 * A block is chosen by looking at a page in each of its 2 MiB (survey.h). Free blocks are taken as
 * they are found, so that a machine with plenty of free memory is not searched through. A block
 * that has failed is left alone for some minutes: each attempt costs a page of kernel log.
 *
 * Of a block that seems to be free a page or two may be in use after all, by the page cache of a
 * device for instance, which the kernel tries to move for ever. So such a block gets little time,
 * and the next one a chance.
 */

#include "memhotplug/block_source.h"

#include "base/clock.h"
#include "memhotplug/block_record.h"
#include "memhotplug/survey.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#define PAGE_BYTES      UINT64_C(4096)
#define FAILED_PAUSE_NS (300 * UINT64_C(1000000000))

/* A block that is free goes offline within a millisecond, or within some when it is the first. */
#define FREE_LIMIT_NS UINT64_C(100000000)

enum {
	FAILURES_MAX = 4, /* in one take */
	FAILED_MAX = 256, /* blocks that are left alone for a while */
};

struct failed_block {
	uint64_t number;
	uint64_t until_ns;
};

struct block_source {
	struct block_source_config config;
	uint64_t block_pages;
	struct block_mark *marks;
	size_t n_marks;
	struct rangeset held;
	struct rangeset host;
	struct failed_block failed[FAILED_MAX]; /* a ring: the oldest is replaced */
	size_t next_failed;
	struct block_source_stats stats;
};

static struct page_range block_range(const struct block_source *s, uint64_t number)
{
	return (struct page_range){.first = number * s->block_pages, .count = s->block_pages};
}

static int write_record(const struct block_source *s)
{
	return block_record_write(s->config.record, s->block_pages * PAGE_BYTES, s->marks, s->n_marks);
}

static int add_range(struct rangeset *set, struct page_range range)
{
	return rangeset_add(set, &range, 1);
}

static void remove_range(struct rangeset *set, struct page_range range)
{
	uint64_t removed;
	int r = rangeset_remove(set, range, &removed);

	assert(r == 0); /* whole blocks, and sets with room for each page of them */
	(void)r;
}

static void forget_mark(struct block_source *s, size_t i)
{
	s->marks[i] = s->marks[--s->n_marks];
}

static void note_failure(struct block_source *s, uint64_t number, int condition)
{
	s->stats.last_failure = blocks_condition_text(condition);
	s->stats.last_failure_block = number;
}

/* Takes over what the record names: blocks that are still offline. */
static int recover(struct block_source *s, const struct block_mark *marks, size_t n)
{
	struct block block;
	int r;

	for (size_t i = 0; i < n; i++) {
		if (block_read(s->config.dir, marks[i].number, &block) ||
		    block.state == BLOCK_ONLINE)
			continue;
		r = add_range(&s->held, block_range(s, marks[i].number));
		if (r == RANGESET_OVERLAP)
			continue; /* named twice */
		if (r == 0)
			r = add_range(&s->host, block_range(s, marks[i].number));
		if (r)
			return r < 0 ? r : -ENOMEM;
		s->marks[s->n_marks++] = marks[i];
	}
	return write_record(s);
}

static int load_record(struct block_source *s)
{
	_cleanup_free_ struct block_mark *marks = NULL;
	size_t n = 0;
	int r;

	r = block_record_read(s->config.record, s->block_pages * PAGE_BYTES, &marks, &n);
	if (r == BLOCK_RECORD_NONE)
		return 0;
	if (r)
		return r < 0 ? r : -ENOTRECOVERABLE;
	r = recover(s, marks, n);
	return r > 0 ? -ENOTRECOVERABLE : r;
}

int block_source_new(const struct block_source_config *config, struct block_source **ret_source,
		     size_t *ret_recovered)
{
	_cleanup_(cleanup_block_sourcep) struct block_source *s = calloc(1, sizeof(*s));
	uint64_t block_bytes;
	int r;

	if (!s)
		return -ENOMEM;
	s->config = *config;
	r = blocks_read_size(config->dir, &block_bytes);
	if (r)
		return r < 0 ? r : -ENOENT;
	s->block_pages = block_bytes / PAGE_BYTES;
	s->stats.block_pages = s->block_pages;
	rangeset_init(&s->held, BLOCK_RECORD_MAX);
	rangeset_init(&s->host, BLOCK_RECORD_MAX * s->block_pages);
	s->marks = calloc(BLOCK_RECORD_MAX, sizeof(*s->marks));
	if (!s->marks)
		return -ENOMEM;
	r = load_record(s);
	if (r)
		return r;

	*ret_recovered = s->n_marks;
	*ret_source = steal_ptr(s);
	return 0;
}

struct block_source *block_source_free(struct block_source *s)
{
	if (!s)
		return NULL;
	rangeset_fini(&s->held);
	rangeset_fini(&s->host);
	free(s->marks);
	free(s);
	return NULL;
}

static bool has_failed(const struct block_source *s, uint64_t number, uint64_t now_ns)
{
	for (size_t i = 0; i < FAILED_MAX; i++)
		if (s->failed[i].until_ns > now_ns && s->failed[i].number == number)
			return true;
	return false;
}

/* Looks into a block. False if it is not fit, or cannot be looked into. */
static bool survey_block(const struct block_source *s, int flags_fd, uint64_t number,
			 uint32_t *ret_used)
{
	uint64_t first = number * s->block_pages, flags;
	struct survey survey;
	bool more = true;

	survey_init(&survey, s->block_pages);
	while (more) {
		off_t at = (off_t)((first + survey_next_page(&survey)) * sizeof(flags));

		if (pread(flags_fd, &flags, sizeof(flags), at) != sizeof(flags))
			return false;
		more = survey_take(&survey, flags);
	}
	*ret_used = survey.used;
	return survey_is_fit(&survey);
}

static bool is_avoided(struct page_range block, const struct page_range *avoid, size_t n)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (avoid[middle].first + avoid[middle].count <= block.first)
			low = middle + 1;
		else
			high = middle;
	}
	return low < n && avoid[low].first < block.first + block.count;
}

/* What is to be known while blocks are chosen. */
struct search {
	const struct blocks *blocks;
	const struct page_range *avoid;
	size_t n_avoid;
	uint64_t spare[BLOCK_N_ZONES]; /* blocks that may still be taken */
	struct survey_candidate *candidates;
	size_t n_candidates;
	int flags_fd;
};

/* Adds the blocks of a zone that are worth an attempt, until @n_wanted free ones are found. */
static void search_zone(const struct block_source *s, struct search *search, enum block_zone zone,
			size_t n_wanted, size_t *n_free)
{
	uint64_t now_ns = clock_monotonic_ns(), left = search->spare[zone];

	for (size_t i = search->blocks->n; i-- > 0 && *n_free < n_wanted && left > 0;) {
		const struct block *block = &search->blocks->list[i];
		uint32_t used;

		if (block->state != BLOCK_ONLINE || block->zone != zone ||
		    has_failed(s, block->number, now_ns) ||
		    is_avoided(block_range(s, block->number), search->avoid, search->n_avoid) ||
		    !survey_block(s, search->flags_fd, block->number, &used))
			continue;
		search->candidates[search->n_candidates++] = (struct survey_candidate){
			.number = block->number,
			.zone = zone,
			.used = used,
		};
		if (used == 0) {
			(*n_free)++;
			left--;
		}
	}
}

static void search_all(const struct block_source *s, struct search *search, size_t n_wanted)
{
	static const enum block_zone zones[] = {
		BLOCK_ZONE_MOVABLE, BLOCK_ZONE_NORMAL, BLOCK_ZONE_DMA32,
	};
	size_t n_free = 0;

	survey_spare(search->blocks, search->spare);
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		search_zone(s, search, zones[i], n_wanted, &n_free);
	survey_order(search->candidates, search->n_candidates);
}

/*
 * The number of candidates from @from on that are named in the record as about to be taken: all of
 * them free, or all in use.
 */
static size_t mark_batch(struct block_source *s, struct search *search, size_t from, size_t n_most)
{
	size_t n = 0;

	while (n < n_most && from + n < search->n_candidates && s->n_marks < BLOCK_RECORD_MAX) {
		const struct survey_candidate *c = &search->candidates[from + n];

		if ((c->used > 0) != (search->candidates[from].used > 0))
			break;
		s->marks[s->n_marks++] = (struct block_mark){.number = c->number, .zone = c->zone};
		n++;
	}
	return n;
}

/* The block is offline: enters it into the sets. */
static int keep_block(struct block_source *s, uint64_t number)
{
	int r;

	r = add_range(&s->held, block_range(s, number));
	if (r)
		return -ENOMEM;
	if (add_range(&s->host, block_range(s, number)) == 0)
		return 0;
	remove_range(&s->held, block_range(s, number));
	return -ENOMEM;
}

static int take_block(struct block_source *s, const struct block_mark *mark, uint64_t limit_ns)
{
	int r, back;

	r = block_offline(s->config.dir, mark->number, limit_ns);
	if (r)
		return r;
	r = keep_block(s, mark->number);
	if (r == 0)
		return 0;
	back = block_online(s->config.dir, mark->number,
			    mark->zone == BLOCK_ZONE_MOVABLE ? BLOCK_ONLINE_MOVABLE
							     : BLOCK_ONLINE_DEFAULT);
	return back ? back : r;
}

static void leave_alone(struct block_source *s, uint64_t number, int condition)
{
	s->failed[s->next_failed++ % FAILED_MAX] = (struct failed_block){
		.number = number,
		.until_ns = clock_monotonic_ns() + FAILED_PAUSE_NS,
	};
	if (condition == BLOCKS_TIMED_OUT)
		s->stats.timed_out++;
	else
		s->stats.refused++;
	note_failure(s, number, condition);
}

/*
 * Tries the marks from @first on, which are in the record. Those that fail are forgotten. False if
 * it is better to stop.
 */
static bool take_batch(struct block_source *s, size_t first, uint64_t limit_ns,
		       unsigned *failures, struct page_range *ranges, size_t *n)
{
	bool go_on = true;
	size_t i = first;

	while (i < s->n_marks) {
		int r = go_on ? take_block(s, &s->marks[i], limit_ns) : BLOCKS_REFUSED;

		if (r == 0) {
			ranges[(*n)++] = block_range(s, s->marks[i++].number);
			s->stats.taken++;
			continue;
		}
		if (go_on)
			leave_alone(s, s->marks[i].number, r);
		go_on = go_on && r > 0 && ++*failures < FAILURES_MAX;
		forget_mark(s, i);
	}
	return go_on;
}

/* Takes blocks in the order of the candidates. */
static int take_candidates(struct block_source *s, struct search *search, size_t n_blocks,
			   struct page_range *ranges, size_t *ret_n)
{
	size_t tried = 0, n = 0, batch, first;
	unsigned failures = 0;
	uint64_t limit_ns;
	bool go_on = true;
	int r = 0;

	while (go_on && n < n_blocks) {
		first = s->n_marks;
		batch = mark_batch(s, search, tried, n_blocks - n);
		if (batch == 0)
			break;
		r = write_record(s);
		if (r) {
			s->n_marks = first;
			break;
		}
		limit_ns = s->config.limit_ns;
		if (search->candidates[tried].used == 0 && limit_ns > FREE_LIMIT_NS)
			limit_ns = FREE_LIMIT_NS;
		go_on = take_batch(s, first, limit_ns, &failures, ranges, &n);
		tried += batch;
	}
	if (write_record(s) && r == 0)
		note_failure(s, 0, -EIO); /* it names too much, which does no harm */
	if (n == 0)
		return r < 0 ? r : BLOCK_SOURCE_NONE;
	r = page_ranges_normalize(ranges, n, ret_n);
	assert(r == 0);
	return 0;
}

int block_source_take(struct block_source *s, size_t n_blocks, const struct page_range *avoid,
		      size_t n_avoid, struct page_range *ranges, size_t capacity, size_t *ret_n)
{
	_cleanup_close_ int flags_fd = open(s->config.kpageflags, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ struct survey_candidate *candidates = NULL;
	struct blocks blocks;
	struct search search;
	int r;

	assert(n_blocks > 0 && capacity >= n_blocks);
	if (flags_fd < 0)
		return negative_errno();
	r = blocks_read(s->config.dir, &blocks);
	if (r)
		return r < 0 ? r : -EINVAL;
	candidates = calloc(blocks.n + 1, sizeof(*candidates));
	if (candidates) {
		search = (struct search){
			.blocks = &blocks,
			.avoid = avoid,
			.n_avoid = n_avoid,
			.candidates = candidates,
			.flags_fd = flags_fd,
		};
		search_all(s, &search, n_blocks);
		r = take_candidates(s, &search, n_blocks, ranges, ret_n);
	} else {
		r = -ENOMEM;
	}
	blocks_fini(&blocks);
	return r;
}

/* Brings a block online that is wholly ours again. It may be online already, by somebody else. */
static int bring_back(struct block_source *s, size_t i)
{
	const struct block_mark mark = s->marks[i];
	enum block_online how = mark.zone == BLOCK_ZONE_MOVABLE ? BLOCK_ONLINE_MOVABLE
							       : BLOCK_ONLINE_DEFAULT;
	int r = block_online(s->config.dir, mark.number, how);

	if (r && r != BLOCKS_ALREADY && r != BLOCKS_GONE) {
		note_failure(s, mark.number, r);
		return BLOCK_SOURCE_STUCK;
	}
	remove_range(&s->held, block_range(s, mark.number));
	forget_mark(s, i);
	s->stats.returned++;
	return 0;
}

static int bring_back_all(struct block_source *s)
{
	struct page_range part;
	size_t before = s->n_marks, i = 0;
	int r, result = 0;

	while (i < s->n_marks) {
		if (rangeset_overlap(&s->host, block_range(s, s->marks[i].number), &part)) {
			i++;
			continue;
		}
		r = bring_back(s, i);
		if (r) {
			result = r;
			i++;
		}
	}
	if (s->n_marks != before && write_record(s))
		note_failure(s, 0, -EIO); /* it names too much, which does no harm */
	return result;
}

int block_source_return(struct block_source *s, struct page_range range, uint64_t *ret_pages)
{
	int r;

	*ret_pages = 0;
	if (range.count > UINT64_MAX - range.first)
		range.count = UINT64_MAX - range.first;
	r = rangeset_remove(&s->host, range, ret_pages);
	if (r)
		return r < 0 ? r : -ENOMEM;
	return bring_back_all(s);
}

bool block_source_overlap(const struct block_source *s, struct page_range range,
			  struct page_range *ret_part)
{
	return rangeset_overlap(&s->held, range, ret_part);
}

const struct rangeset *block_source_host(const struct block_source *s)
{
	return &s->host;
}

int block_source_guard(struct block_source *s)
{
	int r, result = 0;

	for (size_t i = 0; i < s->n_marks; i++) {
		uint64_t number = s->marks[i].number;
		struct block now;

		if (block_read(s->config.dir, number, &now) || now.state != BLOCK_ONLINE)
			continue;
		s->stats.came_online++;
		r = block_offline(s->config.dir, number, s->config.limit_ns);
		if (r && r != BLOCKS_ALREADY) {
			note_failure(s, number, r);
			result = BLOCK_SOURCE_STUCK;
		}
	}
	return result;
}

void block_source_get_stats(const struct block_source *s, struct block_source_stats *ret_stats)
{
	*ret_stats = s->stats;
	ret_stats->blocks = s->n_marks;
	ret_stats->remembered_pages = s->held.pages - s->host.pages;
}
