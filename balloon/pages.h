/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/ledger.h"
#include "balloon/overcommit.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/rangeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Takes memory of this machine out of use and knows its page frame numbers, so that the host can
 * have it. Needs root. Not safe for two threads at a time. A page is 4 KiB.
 *
 * It is the keeper that holds memory in this way (balloon/keeper.c); the daemon asks it to, by
 * balloon/keeper_client.h.
 */

/* The condition of pages_take(). */
enum {
	PAGES_EXHAUSTED = 1, /* no allowed source has any more */
};

/* What holds the memory, whoever maps it: descriptors that may outlive the process. */
struct pages_memory {
	int ledger_fd; /* memfd, struct ledger */
	int memfds[PAGES_N_SOURCES]; /* -1: this machine has no such pages */
};

struct pages_config {
	bool allowed[PAGES_N_SOURCES];
	bool pin; /* false: only lock. The kernel may then move small pages behind our back */
	/* Our share of what the kernel may make beyond its pool of huge pages; NULL: only the pool. */
	struct overcommit_share *share;
	const char *overcommit_dir; /* OVERCOMMIT_DIR */
};

struct pages_stats {
	struct {
		uint64_t bytes;            /* out of use */
		uint64_t remembered_pages; /* of these: given back, but part of a larger page */
	} source[PAGES_N_SOURCES];
	uint64_t foreign_pages; /* pages_return() was given, and they were not ours to return */
	uint64_t lost_pages;    /* had moved when they were adopted: the host has what is in use */
	uint64_t overcommit_pages; /* huge pages, our share */
	bool pinned;            /* page frame numbers cannot change */
};

struct pages;

/* The memory of nothing: descriptors that pages_new() may be given. Negative errno. */
_must_check_ int pages_memory_new(const struct pages_config *config,
				  struct pages_memory *ret_memory);

/*
 * Goes on with what @memory holds, which may be nothing; the descriptors are borrowed, and nobody
 * else may work with them. -EOPNOTSUPP if the machine's pages are not 4 KiB; -EPERM without
 * CAP_SYS_ADMIN, which hides page frame numbers; -EACCES without access to /proc/self/pagemap.
 */
_must_check_ int pages_new(const struct pages_config *config, const struct pages_memory *memory,
			   struct pages **ret_pages);

/* What holds from now on; config->pin must be what it was. */
void pages_set_config(struct pages *pages, const struct pages_config *config);

/* Puts everything back into use. Only when the host has nothing of it any more. */
struct pages *pages_free(struct pages *pages);
DEFINE_CLEANUP(pages)

/*
 * Takes a slice of at most @want_pages (at least 1) and PAGES_SLICE pages, from the best source
 * that has any, and writes where they are: at most @capacity ranges, in order, as
 * page_ranges_normalize() leaves them. It respects no floor: the caller limits @want_pages to what
 * the machine can spare. It may block for long while memory is made free. PAGES_EXHAUSTED; -EPERM
 * without CAP_SYS_ADMIN, which hides page frame numbers; other errors if the machine fails. Then
 * nothing was taken.
 */
_must_check_ int pages_take(struct pages *pages, uint64_t want_pages, struct page_range *ranges,
			    size_t capacity, size_t *ret_n, enum pages_source *ret_source);

/*
 * The host has given @n ranges back, in any order. Pages that are not here, or were given back
 * before, are counted as foreign and otherwise ignored. A huge page is freed when all of it is
 * back. Always writes how many pages were accepted. An error means that some pages could not be
 * freed; they are remembered, and tried again at the next call.
 */
_must_check_ int pages_return(struct pages *pages, const struct page_range *ranges, size_t n,
			      uint64_t *ret_pages);

/*
 * Lists what is held and was not given back, in no order: at most @capacity (at least
 * PAGES_PER_HUGE) ranges, from *@at on, which begins with 0 and is moved. None: that was all.
 * Nothing may be taken or returned in between.
 */
size_t pages_list(const struct pages *pages, uint64_t *at, struct page_range *ranges,
		  size_t capacity);

/*
 * Reads the frames of a part of the pages anew, from *@at on, which begins with 0 and is moved;
 * adds how many were looked at, and how many are not where they were. False: that was all.
 */
_must_check_ int pages_verify(const struct pages *pages, uint64_t *at, uint64_t *pages_seen,
			      uint64_t *pages_moved, bool *ret_more);

/* A snapshot of the figures. */
void pages_get_stats(const struct pages *pages, struct pages_stats *ret_stats);
