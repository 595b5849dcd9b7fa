/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "base/rangeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Takes memory of this machine out of use and knows its page frame numbers, so that the host can
 * have it. Needs root. Not safe for two threads at a time: one worker owns it. A page is 4 KiB.
 */

enum pages_source {
	PAGES_HUGE,  /* 2 MiB pages from the pool of huge pages */
	PAGES_SMALL, /* 4 KiB pages */
	PAGES_N_SOURCES,
};

/* The condition of pages_take(). */
enum {
	PAGES_EXHAUSTED = 1, /* no allowed source has any more */
};

enum {
	PAGES_SLICE = 16384,  /* most pages of one pages_take(): 64 MiB */
	PAGES_PER_HUGE = 512,
};

struct pages_config {
	bool allowed[PAGES_N_SOURCES];
	bool pin; /* false: only lock. The kernel may then move small pages behind our back */
};

struct pages_stats {
	struct {
		uint64_t bytes;            /* out of use */
		uint64_t remembered_pages; /* of these: given back, but part of a larger page */
	} source[PAGES_N_SOURCES];
	uint64_t foreign_pages; /* pages_return() was given, and they were not ours to return */
	bool pinned;            /* page frame numbers cannot change */
};

struct pages;

/*
 * -EOPNOTSUPP if the machine's pages are not 4 KiB; -EPERM without CAP_SYS_ADMIN, which hides page
 * frame numbers; -EACCES without access to /proc/self/pagemap at all.
 */
_must_check_ int pages_new(const struct pages_config *config, struct pages **ret_pages);

/* Puts everything back into use. Only when the host has nothing of it any more. */
struct pages *pages_free(struct pages *pages);
DEFINE_CLEANUP(pages)

/*
 * Takes a slice of at most @want_pages (at least 1) and PAGES_SLICE pages, from the best source
 * that has any, and writes where they are: at most @capacity ranges, in order, as
 * page_ranges_normalize() leaves them. It respects no floor: the caller limits @want_pages to what
 * the machine can spare. It may block for long while memory is made free. Administrator's limits
 * on huge pages are used, never changed. PAGES_EXHAUSTED; -EPERM without CAP_SYS_ADMIN, which
 * hides page frame numbers; other errors if the machine fails. Then nothing was taken.
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

/* A snapshot of the figures. */
void pages_get_stats(const struct pages *pages, struct pages_stats *ret_stats);
