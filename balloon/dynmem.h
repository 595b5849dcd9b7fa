/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem_wire.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/rangeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The guest's end of Dynamic Memory. It says what to do next and is told what was done; it does
 * nothing itself. Not safe for two threads at a time.
 *
 *     dynmem_receive(), dynmem_tick(), dynmem_complete_...()    whenever something happened
 *     while (the last message could be sent && dynmem_next_action() == 0)
 *             ...do it...
 *     sleep until dynmem_deadline_ns()
 *
 * Every _now_ns is the same monotonic clock.
 */

/* The conditions of this object. */
enum {
	DYNMEM_IDLE = 1,   /* next_action: nothing to do now */
	DYNMEM_MALFORMED,  /* receive: lengths do not fit; counted and dropped */
	DYNMEM_UNEXPECTED, /* receive: of a kind that has no place here; counted and dropped */
	DYNMEM_BUSY,       /* open: memory work of the last channel is still running */
	DYNMEM_STALE,      /* complete_take: the channel that wanted the pages is gone */
	DYNMEM_UNUSABLE,   /* complete_take: a page the host has already, or beyond 40 bits */
	DYNMEM_FULL,       /* complete_take: more ranges than the configured most */
};

enum dynmem_state {
	DYNMEM_STATE_CLOSED,
	DYNMEM_STATE_VERSION,      /* a version request was made */
	DYNMEM_STATE_CAPABILITIES, /* a capabilities report was made */
	DYNMEM_STATE_READY,
	DYNMEM_STATE_BALLOONING,
	DYNMEM_STATE_UNBALLOONING, /* collecting the messages of a sequence, then giving back */
	DYNMEM_STATE_HOT_ADDING,
	DYNMEM_STATE_FAILED,
	DYNMEM_N_STATES,
};

enum dynmem_action_type {
	DYNMEM_ACTION_SEND,          /* `message`, one packet */
	DYNMEM_ACTION_TAKE_PAGES,    /* take `pages` out of use, by dynmem_complete_take() */
	DYNMEM_ACTION_RETURN_PAGES,  /* put `ranges` back into use; then dynmem_complete_return() */
	DYNMEM_ACTION_HOT_ADD,       /* add the memory of `hot_add`; then dynmem_complete_hot_add() */
	DYNMEM_ACTION_SAMPLE,        /* read the figures of a report; then dynmem_set_figures() */
	DYNMEM_ACTION_CLOSE_CHANNEL, /* for `reason`; then dynmem_close() */
	DYNMEM_ACTION_NOTE,          /* log `note`; each kind comes once per channel */
};

enum dynmem_close_reason {
	DYNMEM_CLOSE_VERSION_REFUSED,
	DYNMEM_CLOSE_VERSION_TIMEOUT,
	DYNMEM_CLOSE_CAPABILITIES_REFUSED,
	DYNMEM_CLOSE_CAPABILITIES_TIMEOUT,
};

enum dynmem_note {
	DYNMEM_NOTE_MALFORMED,
	DYNMEM_NOTE_UNEXPECTED,
	DYNMEM_NOTE_UNKNOWN_TYPE,
	DYNMEM_NOTE_UNKNOWN_INFO,
	DYNMEM_NOTE_CLIPPED,
	DYNMEM_NOTE_FOREIGN,
	DYNMEM_NOTE_OVERLAP,
	DYNMEM_NOTE_UNTRACKED,
	DYNMEM_NOTE_HOT_ADD_RANGE,
	DYNMEM_N_NOTES,
};

struct dynmem_action {
	enum dynmem_action_type type;
	const struct dynmem_message *message; /* SEND; borrowed until the next dynmem_next_action() */
	uint64_t pages;                       /* TAKE_PAGES */
	const struct page_range *ranges;      /* RETURN_PAGES; until dynmem_complete_return() */
	size_t n_ranges;
	struct dynmem_hot_add_request hot_add; /* HOT_ADD; its range is whole alignment units */
	bool again; /* HOT_ADD: all or a part may be there, added for a request like it that was cut off
		     * before its answer; that counts as added */
	enum dynmem_close_reason reason; /* CLOSE_CHANNEL */
	enum dynmem_note note;           /* NOTE */
};

struct dynmem_config {
	struct dynmem_capabilities capabilities;
	bool can_hot_add; /* DYNMEM_ACTION_HOT_ADD will be obeyed; else hot-adds are refused for good */
	uint64_t first_status_ns;  /* from the end of the start-up to the first status report */
	uint64_t status_period_ns; /* at least 1 */
	size_t ranges_per_message; /* 1..DYNMEM_RANGES_MAX */
	size_t ranges_max;         /* most ranges the pages of the balloon may lie in */
};

struct dynmem_stats {
	uint64_t messages_in;
	uint64_t messages_out;
	uint64_t malformed;
	uint64_t unexpected;
	uint64_t unknown;            /* types or infos that nobody has defined */
	uint64_t clipped;            /* messages with fewer ranges than they claim */
	uint64_t foreign_pages;      /* given back to us without being ballooned; ignored */
	uint64_t untracked_pages;    /* given back, but the set cannot be cut up further; kept */
	uint64_t overlaps;           /* requests that came while another one was running */
	uint64_t balloon_requests;
	uint64_t unballoon_requests; /* whole sequences */
	uint64_t hot_add_requests;
	uint64_t hot_add_bad; /* of these: with a range or region that cannot be; refused */
	uint64_t hot_added_pages;
	uint64_t pages_taken;
	uint64_t pages_reused; /* of the balloon of a host that was lost, given to the next one */
	uint64_t pages_returned;
	uint64_t status_reports;
	uint64_t status_dropped; /* due while the one before was still unsent */
	uint64_t entered[DYNMEM_N_STATES];
};

enum dynmem_operation_kind {
	DYNMEM_OPERATION_NONE,
	DYNMEM_OPERATION_BALLOON,
	DYNMEM_OPERATION_UNBALLOON,
	DYNMEM_OPERATION_HOT_ADD,
};

/* The running operation, or the last one. */
struct dynmem_operation {
	enum dynmem_operation_kind kind;
	uint64_t asked_pages;
	uint64_t done_pages;
	uint64_t started_ns;
	uint64_t ended_ns; /* when the memory work was done; 0 while it is not */
};

struct dynmem_status {
	enum dynmem_state state;
	uint32_t version;         /* the agreed one; 0 before */
	bool reports_suppressed;  /* the host asked for no status reports */
	bool has_max_pages;
	uint64_t max_pages;       /* the most the host will ever give, from its info message */
	uint64_t ballooned_pages; /* the host has them */
	uint64_t unreported_pages; /* a host that is gone had them; they are still out of use */
	uint64_t returning_pages; /* the host gave them back; they are not in use yet */
	unsigned int unanswered;  /* handshakes in a row that the host did not answer in time */
	struct dynmem_operation operation;
	struct dynmem_stats stats;
};

struct dynmem;

/* Both capabilities, 128 MiB alignment, first report after 45 s, then one a second. */
void dynmem_config_init(struct dynmem_config *config);

/* A machine in the state CLOSED. -ENOMEM. */
_must_check_ int dynmem_new(const struct dynmem_config *config, struct dynmem **ret_dm);
struct dynmem *dynmem_free(struct dynmem *dm);
DEFINE_CLEANUP(dynmem)

/*
 * The channel is open (the state must be CLOSED): begins to agree on a version. The host has 5 s for
 * that, and 5 s for the capabilities; twice as long after each time that it did not answer in time, up
 * to an hour and a half, until it does or takes the channel away. DYNMEM_BUSY.
 */
_must_check_ int dynmem_open(struct dynmem *dm, uint64_t now_ns);

/*
 * The channel is gone, in any state, and with it the host's knowledge of its pages
 * (docs/PROTOCOL-dynmem.md section 11). They stay out of use: they are unreported, and are what
 * the next balloon request gets first, untouched. What the host gave back before is still
 * returned, and running memory work must still be completed.
 */
void dynmem_close(struct dynmem *dm);

/*
 * Has all unreported pages put back into use, by DYNMEM_ACTION_RETURN_PAGES, in any state. Only
 * when a host that had them has certainly forgotten them. -ENOMEM.
 */
_must_check_ int dynmem_release(struct dynmem *dm);

/* Takes a message of @len bytes. DYNMEM_MALFORMED, DYNMEM_UNEXPECTED; -ENOMEM. */
_must_check_ int dynmem_receive(struct dynmem *dm, const void *msg, size_t len, uint64_t now_ns);

/* Time has passed. Any number of calls, early or late, do no harm. */
void dynmem_tick(struct dynmem *dm, uint64_t now_ns);

/* When to call dynmem_tick() at the latest; UINT64_MAX = there is no need. */
uint64_t dynmem_deadline_ns(const struct dynmem *dm);

/*
 * The machine is suddenly short of memory: the next status report is due now, if the reports have
 * begun. The caller sees to it that this does not happen all the time.
 */
void dynmem_report_soon(struct dynmem *dm, uint64_t now_ns);

/* The figures that DYNMEM_ACTION_SAMPLE asked for. Ignored if none were. */
void dynmem_set_figures(struct dynmem *dm, const struct dynmem_status_report *figures);

/*
 * A slice of the wanted pages is out of use: @n ranges, as page_ranges_normalize() leaves them, in
 * sum no more than wanted. @finished: there will be no more, whether all were had or not. After a
 * condition or error the slice is not the host's: put it back into use.
 * DYNMEM_STALE, DYNMEM_UNUSABLE, DYNMEM_FULL; -ENOMEM. They end nothing: only @finished does.
 */
_must_check_ int dynmem_complete_take(struct dynmem *dm, const struct page_range *ranges, size_t n,
				      bool finished, uint64_t now_ns);

/* The pages of the last DYNMEM_ACTION_RETURN_PAGES are in use again. */
void dynmem_complete_return(struct dynmem *dm, uint64_t now_ns);

/*
 * The memory of the last DYNMEM_ACTION_HOT_ADD: @pages from the start of its range were added, a
 * multiple of the alignment. If none: @for_good, or the host may ask again.
 */
void dynmem_complete_hot_add(struct dynmem *dm, uint64_t pages, bool for_good, uint64_t now_ns);

/* The next thing to do. Call it only after the last message could be sent. DYNMEM_IDLE. */
_must_check_ int dynmem_next_action(struct dynmem *dm, struct dynmem_action *ret_action);

/* The pages that the host has, or will be told that it has; borrowed until @dm changes. */
const struct rangeset *dynmem_ballooned(const struct dynmem *dm);

/* The pages that a host which is gone had, and that are still out of use; borrowed likewise. */
const struct rangeset *dynmem_unreported(const struct dynmem *dm);

/* A snapshot of everything that status shows. */
void dynmem_get_status(const struct dynmem *dm, struct dynmem_status *ret_status);

/* Texts for status and log. */
const char *dynmem_state_name(enum dynmem_state state);
const char *dynmem_close_reason_text(enum dynmem_close_reason reason);

/* True if a host that is asked anew would say the same; else it may only have been slow. */
bool dynmem_close_is_final(enum dynmem_close_reason reason);
const char *dynmem_note_text(enum dynmem_note note);
