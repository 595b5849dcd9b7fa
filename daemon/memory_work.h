/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/jobs.h"
#include "daemon/hot_add.h"
#include "daemon/memory_sources.h"
#include "policy/reclaim.h"

/*
 * Work on memory, for the worker thread: one piece at a time, because it can take seconds.
 */

enum work_kind {
	WORK_TAKE,   /* a slice for the host */
	WORK_RETURN, /* what the host has given back */
	WORK_UNDO,   /* a slice that the machine did not accept */
	WORK_REVIVE, /* start another keeper */
	WORK_GUARD,  /* a memory block has come online */
	WORK_VERIFY, /* look at every frame */
	WORK_HOT_ADD, /* add what the host has offered */
};

/* What the worker is given, and what it answers. Not to be touched while it is `running`. */
struct memory_work {
	struct job job;
	bool running;
	enum work_kind kind;
	struct keeper_client *keeper;   /* NULL: there are no pages of a keeper */
	struct memory_sources *sources;
	struct hot_add *hot_add;         /* HOT_ADD */

	uint64_t want_pages;             /* TAKE */
	struct reclaim *reclaim;         /* NULL: nothing is reclaimed in advance */
	uint64_t reclaim_bytes;          /* TAKE: to be made free first */
	struct page_range *avoid;        /* TAKE: what the host has, in order */
	size_t n_avoid;
	const struct page_range *ranges; /* RETURN, UNDO: to be put back */
	size_t n_ranges;

	int result;                      /* 0; negative errno; TAKE: MEMORY_SOURCES_EXHAUSTED */
	uint64_t done_pages;
	uint64_t moved_pages;            /* VERIFY: of done_pages, not where they were */
	struct page_range *held;         /* VERIFY, and if there is another keeper: all that is held, in order */
	size_t n_held;
	size_t n_slice;                  /* TAKE: of slice */
	struct page_range slice[KEEPER_RANGES_MAX]; /* TAKE */
	bool revived;                         /* the keeper had died, and there is another */
	uint64_t lost_pages;                  /* that it could not hold where they were */
	int list_result;                      /* if there are such: of the list of what is held */
	struct memory_sources_stats stats;    /* afterwards */
};

/* @done is called from the event loop after each piece of work. */
void memory_work_init(struct memory_work *work, void (*done)(struct job *job));

/* When no work is running any more. */
void memory_work_fini(struct memory_work *work);

/* A copy of two sets of pages, which share none, for the worker to keep away from. -ENOMEM. */
_must_check_ int memory_work_avoid(struct memory_work *work, const struct rangeset *one,
				   const struct rangeset *other);
