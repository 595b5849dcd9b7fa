/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "base/rangeset.h"
#include "memhotplug/blocks.h"

#include <stdbool.h>

/*
 * Whole memory blocks as memory for the host: taken offline, their page numbers known without a
 * look at any page, and brought online again when the host has given all of a block back. Needs
 * root. Not safe for two threads at a time: one worker owns it. A page is 4 KiB.
 *
 * What is taken stays taken when this object or its process ends: the record says what it is.
 */

/* The conditions of this object. */
enum {
	BLOCK_SOURCE_NONE = 1, /* take: no block is fit now; the stats say why */
	BLOCK_SOURCE_STUCK,    /* return, guard: a block is not in the state it should be in; the stats
				* say which and why */
};

struct block_source_config {
	const char *dir;         /* BLOCKS_DIR */
	const char *kpageflags;  /* "/proc/kpageflags" */
	const char *record;      /* path of the record, on a tmpfs */
	uint64_t limit_ns;       /* for one block to go offline, at least 1; free ones get less */
};

struct block_source_stats {
	uint64_t block_pages;
	uint64_t blocks;           /* that are ours */
	uint64_t remembered_pages; /* of these: given back, but the rest of the block is not */
	uint64_t taken;            /* blocks, ever */
	uint64_t returned;
	uint64_t refused;          /* attempts that failed at once */
	uint64_t timed_out;
	uint64_t came_online;      /* blocks of ours that somebody else brought online */
	const char *last_failure;  /* of taking or bringing back; NULL: none yet */
	uint64_t last_failure_block;
};

struct block_source;

/*
 * All strings of @config are borrowed. Blocks that the record names and that are still offline are
 * ours again. *ret_recovered is how many. A record that cannot be used is an error:
 * -ENOTRECOVERABLE. Negative errno also where the kernel has no memory blocks (-ENOENT).
 */
_must_check_ int block_source_new(const struct block_source_config *config,
				  struct block_source **ret_source, size_t *ret_recovered);

/* Frees the object; blocks stay as they are, and in the record. */
struct block_source *block_source_free(struct block_source *source);
DEFINE_CLEANUP(block_source)

/*
 * Takes up to @n_blocks (at least 1) blocks offline and writes where they are: at most @capacity
 * ranges (at least @n_blocks), as page_ranges_normalize() leaves them. Blocks that hold any of the
 * @n_avoid ranges at @avoid, in order, are not touched, and the choice is that of
 * memhotplug/survey.h. After a few attempts that failed no other is made. BLOCK_SOURCE_NONE; negative errno, with nothing taken.
 */
_must_check_ int block_source_take(struct block_source *source, size_t n_blocks,
				   const struct page_range *avoid, size_t n_avoid,
				   struct page_range *ranges, size_t capacity, size_t *ret_n);

/*
 * The host has given @range back. What of it is not here, or was given back before, is ignored.
 * Blocks of which nothing is the host's any more are brought online, in the zone that they were
 * in; one that fails is tried again at the next call, of which @range may be empty. Always writes how
 * many pages were accepted. BLOCK_SOURCE_STUCK; -ENOMEM, and then nothing was.
 */
_must_check_ int block_source_return(struct block_source *source, struct page_range range,
				     uint64_t *ret_pages);

/* The part of @range with the lowest numbers that is in a block of ours, whoever has it. */
bool block_source_overlap(const struct block_source *source, struct page_range range,
			  struct page_range *ret_part);

/* What the host has of the blocks; borrowed until the next call that changes @source. */
const struct rangeset *block_source_host(const struct block_source *source);

/*
 * Looks at all blocks of ours: those that somebody has brought online are counted in came_online
 * and taken offline again. To be called when a block has come online. BLOCK_SOURCE_STUCK.
 */
_must_check_ int block_source_guard(struct block_source *source);

/* A snapshot of the figures. */
void block_source_get_stats(const struct block_source *source,
			    struct block_source_stats *ret_stats);
