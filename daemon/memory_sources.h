/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/keeper_client.h"
#include "memhotplug/block_source.h"

#include <jansson.h>

/*
 * Where the host's memory comes from: whole memory blocks where they serve better, single pages of
 * the keeper for the rest. Not safe for two threads at a time: one worker owns it, once the daemon
 * runs.
 */

/* The conditions of these functions. */
enum {
	MEMORY_SOURCES_LOST = 1,  /* the keeper is gone: keeper_client_revive(), and ask again */
	MEMORY_SOURCES_EXHAUSTED, /* take: no allowed source has any more */
};

struct memory_sources_config {
	struct keeper_client *keeper; /* borrowed; NULL: there are no single pages */
	bool memory_blocks;           /* may be taken */
	const char *run_dir;          /* borrowed: the record of taken blocks is here */
};

struct memory_sources_stats {
	struct pages_stats pages;
	bool blocks_allowed;
	const char *blocks_problem; /* why no blocks can be given; NULL: they can */
	struct block_source_stats blocks;
	const char *reason; /* of the last choice between the two; NULL: there was none */
};

struct memory_sources;

/*
 * Knows the blocks that an earlier daemon has taken. A machine without memory blocks is no error:
 * the stats have the problem. Logs. -ENOMEM.
 */
_must_check_ int memory_sources_new(const struct memory_sources_config *config,
				    struct memory_sources **ret_sources);

/* Frees the object; all memory stays as it is. */
struct memory_sources *memory_sources_free(struct memory_sources *sources);
DEFINE_CLEANUP(memory_sources)

/* Brings all blocks online. Only when the host has nothing of them any more. Logs. */
void memory_sources_release_blocks(struct memory_sources *sources);

/*
 * Takes a part of the @want_pages (at least 1) that can be spared: a number of whole blocks, or a
 * slice of pages as pages_take() does. @avoid are the @n_avoid ranges, in order, that the host has:
 * blocks with any of them stay. Writes at most KEEPER_RANGES_MAX ranges, as page_ranges_normalize()
 * leaves them. MEMORY_SOURCES_LOST, MEMORY_SOURCES_EXHAUSTED; negative errno. Then nothing was taken.
 */
_must_check_ int memory_sources_take(struct memory_sources *sources, uint64_t want_pages,
				     const struct page_range *avoid, size_t n_avoid,
				     struct page_range *ranges, size_t *ret_n);

/*
 * The host has given @n ranges back: what pages_return() and block_source_return() say. Pages that
 * are in neither are counted as foreign. MEMORY_SOURCES_LOST; negative errno, -EBUSY if a block
 * does not come online.
 */
_must_check_ int memory_sources_return(struct memory_sources *sources,
				       const struct page_range *ranges, size_t n,
				       uint64_t *ret_pages);

/*
 * Everything that is held and was not given back, in order, in an array that the caller frees.
 * MEMORY_SOURCES_LOST; negative errno.
 */
_must_check_ int memory_sources_list(struct memory_sources *sources, struct page_range **ret_ranges,
				     size_t *ret_n);

/* A memory block has come online somewhere: takes it offline again if it is the host's. Logs. */
void memory_sources_guard(struct memory_sources *sources);

/* A snapshot of the figures; all 0 for NULL. */
void memory_sources_get_stats(const struct memory_sources *sources,
			      struct memory_sources_stats *ret_stats);

/* For status: {"allowed", "problem", "reason", ...} of the blocks. */
json_t *memory_sources_blocks_status(const struct memory_sources_stats *stats);
