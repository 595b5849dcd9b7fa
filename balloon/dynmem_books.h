/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem_area.h"
#include "balloon/dynmem_wire.h"
#include "base/error.h"
#include "base/rangeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The books of the guest's machine: which pages are out of use, and whose they are. Inside of
 * dynmem; the users of the machine see the sets by dynmem_ballooned() and the like.
 */

/* The conditions of the books. */
enum {
	DYNMEM_BOOKS_OVERLAP = 1, /* take: a page that is out of use already, or beyond 40 bits */
	DYNMEM_BOOKS_FULL,        /* take: more ranges than the limit */
	DYNMEM_BOOKS_BAD,         /* replay: the entries contradict each other */
};

/* What an entry says was done. The numbers are part of the record's format. */
enum dynmem_entry_kind {
	DYNMEM_ENTRY_TAKE = 1,     /* in use -> ballooned, untold */
	DYNMEM_ENTRY_GIVE_BACK,    /* ballooned -> collected */
	DYNMEM_ENTRY_BEGIN_RETURN, /* all collected -> returning; no range */
	DYNMEM_ENTRY_END_RETURN,   /* all returning -> in use; no range */
	DYNMEM_ENTRY_LOSE_HOST,    /* all ballooned -> unreported; no range */
	DYNMEM_ENTRY_REUSE,        /* unreported -> ballooned, untold */
	DYNMEM_ENTRY_RELEASE,      /* all unreported -> collected; no range */

	/* The sets as they are, in a log that was begun anew. */
	DYNMEM_ENTRY_BALLOONED,
	DYNMEM_ENTRY_UNTOLD,
	DYNMEM_ENTRY_UNREPORTED,
	DYNMEM_ENTRY_COLLECTED,
	DYNMEM_ENTRY_RETURNING,
	DYNMEM_ENTRY_KINDS,
};

/* An entry's first word is the first page; the second is the count, with the kind on top. */
#define DYNMEM_ENTRY_KIND_SHIFT 56

/* Ranges that are the host's and that it has not been told of, in the order in which it will be. */
struct dynmem_untold {
	struct page_range *ranges;
	size_t first; /* those before are told */
	size_t n;
	size_t capacity;
	uint64_t pages;
};

struct dynmem_books {
	size_t ranges_max;
	struct rangeset ballooned;  /* the host has it, or will be told so */
	struct rangeset unreported; /* the host that had it is gone, and it is still out of use */
	struct rangeset collected;  /* ours again, still out of use, and nobody was told */
	struct rangeset returning;  /* somebody is putting it back into use */
	struct dynmem_untold untold;     /* part of `ballooned` */
	uint64_t in_flight_pages;        /* of the first untold: in a message that was handed out */
	bool recording;
	struct dynmem_area area; /* if recording */
};

/* What a return by the host came to. */
struct dynmem_given_back {
	uint64_t asked_pages;
	uint64_t collected_pages;
	uint64_t foreign_pages;   /* the host did not have them, or had not been told yet */
	uint64_t untracked_pages; /* the set would be cut up too much; they stay the host's */
};

/* Empty books for sets of up to @ranges_max ranges. */
void dynmem_books_init(struct dynmem_books *books, size_t ranges_max);
void dynmem_books_fini(struct dynmem_books *books);

/*
 * @n ranges, as page_ranges_normalize() leaves them, were taken out of use and are the host's, who
 * has to be told. All or nothing. DYNMEM_BOOKS_OVERLAP, DYNMEM_BOOKS_FULL, -ENOMEM.
 */
_must_check_ int dynmem_books_take(struct dynmem_books *books, const struct page_range *ranges,
				   size_t n);

/* True if any page of @range is out of use. */
bool dynmem_books_know(const struct dynmem_books *books, struct page_range range);

/* The next @most ranges, or fewer, to be told to the host; they are in flight from here on. */
size_t dynmem_books_tell(struct dynmem_books *books, struct page_range *ranges, size_t most);

/* What was in flight has gone out. */
void dynmem_books_told(struct dynmem_books *books);

/* The host gives @ranges back. Writes what that came to. -ENOMEM; what is done then stays done. */
_must_check_ int dynmem_books_give_back(struct dynmem_books *books,
					const struct dynmem_ranges *ranges,
					struct dynmem_given_back *ret_given_back);

/* Hands what is collected to somebody who puts it back into use. False if there is nothing. */
bool dynmem_books_begin_return(struct dynmem_books *books);
void dynmem_books_end_return(struct dynmem_books *books);

/* The host is gone: what it had, or was to have, is unreported. */
void dynmem_books_lose_host(struct dynmem_books *books);

/* Up to @pages of what is unreported are the host's now, who has to be told. -ENOMEM. */
_must_check_ int dynmem_books_reuse(struct dynmem_books *books, uint64_t pages,
				    uint64_t *ret_reused_pages);

/* What is unreported is collected, to be put back into use. -ENOMEM. */
_must_check_ int dynmem_books_release(struct dynmem_books *books);

/*
 * Brings the books in line with @held, all pages that are out of use in fact. Held pages that the
 * books do not know become unreported or collected; others leave the books, and those that the
 * host has of them are counted. Nothing is returning. -ENOMEM.
 */
_must_check_ int dynmem_books_reconcile(struct dynmem_books *books, const struct rangeset *held,
					bool unknown_is_unreported, uint64_t *ret_lost_pages);

/* How many entries a log has to hold for sets of up to @ranges_max ranges. */
size_t dynmem_books_entries(size_t ranges_max);

/* Makes the log of the area complete, before a commit. */
void dynmem_books_record(struct dynmem_books *books);

/*
 * Fills empty books from the entries of their area; @untold_pages of what they tell was not told.
 * DYNMEM_BOOKS_BAD, -ENOMEM.
 */
_must_check_ int dynmem_books_replay(struct dynmem_books *books, uint64_t untold_pages);
