/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem_wire.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/rangeset.h"
#include "host/dynmem_fault.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The host's end of Dynamic Memory, for one guest. It says what to do next and is told what came;
 * it does nothing itself. Not safe for two threads at a time.
 */

/* The conditions of this object. */
enum {
	DYNMEM_HOST_IDLE = 1,    /* next_action: nothing to do now */
	DYNMEM_HOST_MALFORMED,   /* receive: lengths do not fit; counted and dropped */
	DYNMEM_HOST_UNEXPECTED,  /* receive: of a kind that has no place here; counted and dropped */
	DYNMEM_HOST_VIOLATION,   /* receive: the guest gave what it must not; counted */
	DYNMEM_HOST_NOT_READY,   /* request: the guest is not connected or not set up */
	DYNMEM_HOST_BUSY,        /* request: the last operation has not ended */
	DYNMEM_HOST_UNSUPPORTED, /* request: the guest cannot balloon */
	DYNMEM_HOST_NOTHING,     /* request: no pages asked for, or none there to give back */
};

enum dynmem_host_state {
	DYNMEM_HOST_STATE_CLOSED,
	DYNMEM_HOST_STATE_VERSION,      /* waits for a version that it accepts */
	DYNMEM_HOST_STATE_CAPABILITIES, /* waits for the guest's capabilities */
	DYNMEM_HOST_STATE_READY,
	DYNMEM_HOST_STATE_BALLOONING,   /* waits for pages */
	DYNMEM_HOST_STATE_UNBALLOONING, /* gives pages back, waits for the answer */
	DYNMEM_HOST_STATE_HOT_ADDING,   /* waits for what of the memory was added */
	DYNMEM_HOST_STATE_FAULT,        /* does something wrong, waits for the answer to it */
	DYNMEM_HOST_N_STATES,
};

enum dynmem_host_action_type {
	DYNMEM_HOST_ACTION_SEND,    /* `message`, one packet */
	DYNMEM_HOST_ACTION_READY,   /* the guest is set up: requests may be made */
	DYNMEM_HOST_ACTION_ENDED,   /* the operation ended, well or not: see the status */
	DYNMEM_HOST_ACTION_OVERDUE, /* the operation makes no progress; it is not given up */
};

struct dynmem_host_action {
	enum dynmem_host_action_type type;
	const struct dynmem_message *message; /* SEND; until the next dynmem_host_next_action() */
};

struct dynmem_host_config {
	uint32_t version_min; /* the versions that are accepted */
	uint32_t version_max;
	bool suppress_reports;         /* ask the guest for no status reports */
	uint64_t operation_timeout_ns; /* without progress, until an operation is overdue */
	size_t ranges_per_message;     /* 1..DYNMEM_RANGES_MAX */
	size_t ranges_max;             /* most ranges the pages of one guest may lie in */
	struct page_range window;      /* where memory can be added; empty: nowhere */
	bool with_region;              /* a hot-add names the whole window as its region */
	uint64_t late_ns;              /* how late DYNMEM_FAULT_LATE is */
};

enum dynmem_host_operation_kind {
	DYNMEM_HOST_OPERATION_NONE,
	DYNMEM_HOST_BALLOON,
	DYNMEM_HOST_UNBALLOON,
	DYNMEM_HOST_HOT_ADD,
	DYNMEM_HOST_FAULT,
};

/* The running operation, or the last one. */
struct dynmem_host_operation {
	enum dynmem_host_operation_kind kind;
	uint64_t asked_pages;
	uint64_t done_pages;
	uint64_t started_ns;
	uint64_t ended_ns; /* 0 while it is running */
	bool overdue;      /* it made no progress for too long at least once */
	bool lost;         /* the channel closed before the guest's last answer */
};

struct dynmem_host_stats {
	uint64_t messages_in;
	uint64_t messages_out;
	uint64_t malformed;
	uint64_t unexpected;
	uint64_t status_reports;
	uint64_t violations;      /* answers with pages of the next three kinds, or short ones */
	uint64_t pages_twice;     /* the host had them already; not counted again */
	uint64_t pages_beyond;    /* more than were asked for; taken nevertheless */
	uint64_t faults;          /* done on purpose */
	uint64_t pages_untracked; /* in too many pieces for the set, or no such pages; not counted */
	uint64_t entered[DYNMEM_HOST_N_STATES];
};

struct dynmem_host_status {
	enum dynmem_host_state state;
	uint32_t version; /* the accepted one; 0 before */
	struct dynmem_capabilities capabilities;
	bool has_report;
	struct dynmem_status_report report; /* the last one */
	uint64_t report_ns;                 /* when it came */
	uint64_t ballooned_pages;
	uint64_t added_pages;    /* from the start of the window; a close does not take them away */
	uint64_t growable_pages; /* that could be added */
	bool obeying; /* false: an operation is overdue now */
	struct dynmem_host_operation operation;
	struct dynmem_host_stats stats;
};

struct dynmem_host;

/* Versions 0.3 to 2.0, status reports, 60 s until an operation is overdue. */
void dynmem_host_config_init(struct dynmem_host_config *config);

/* A machine in the state CLOSED. -ENOMEM. */
_must_check_ int dynmem_host_new(const struct dynmem_host_config *config,
				 struct dynmem_host **ret_host);
struct dynmem_host *dynmem_host_free(struct dynmem_host *host);
DEFINE_CLEANUP(dynmem_host)

/* The guest opened the channel; the state must be CLOSED. Waits for its version request. */
void dynmem_host_open(struct dynmem_host *host);

/* The channel is gone, in any state: all of the guest's pages are its own again. */
void dynmem_host_close(struct dynmem_host *host, uint64_t now_ns);

/*
 * Takes a message of @len bytes. DYNMEM_HOST_MALFORMED, DYNMEM_HOST_UNEXPECTED,
 * DYNMEM_HOST_VIOLATION; -ENOMEM.
 */
_must_check_ int dynmem_host_receive(struct dynmem_host *host, const void *msg, size_t len,
				     uint64_t now_ns);

/* Time has passed. */
void dynmem_host_tick(struct dynmem_host *host, uint64_t now_ns);

/* When to call dynmem_host_tick() at the latest; UINT64_MAX = there is no need. */
uint64_t dynmem_host_deadline_ns(const struct dynmem_host *host);

/*
 * Asks the guest for @pages of its memory, or gives it @pages back, the ones with the highest
 * addresses, or adds as many. A balloon is limited to 32 bits of pages, an unballoon to what there
 * is, and a hot-add to the window, to whole units of the guest's alignment, and to 2 GiB; the
 * operation's asked_pages says what came of it. It ends by DYNMEM_HOST_ACTION_ENDED.
 * DYNMEM_HOST_NOT_READY, DYNMEM_HOST_BUSY, DYNMEM_HOST_UNSUPPORTED, DYNMEM_HOST_NOTHING.
 */
_must_check_ int dynmem_host_request(struct dynmem_host *host,
				     enum dynmem_host_operation_kind kind, uint64_t pages,
				     uint64_t now_ns);

/*
 * Has the host do @fault: at once, as an operation that ends by DYNMEM_HOST_ACTION_ENDED; or with
 * the next request. DYNMEM_HOST_NOT_READY, DYNMEM_HOST_BUSY.
 */
_must_check_ int dynmem_host_inject(struct dynmem_host *host, enum dynmem_fault fault,
				    uint64_t now_ns);

/* The next thing to do. Call it only after the last message could be sent. DYNMEM_HOST_IDLE. */
_must_check_ int dynmem_host_next_action(struct dynmem_host *host,
					 struct dynmem_host_action *ret_action);

/* The guest's pages that the host has; borrowed until the next call that changes @host. */
const struct rangeset *dynmem_host_ballooned(const struct dynmem_host *host);

/* A snapshot of everything that status shows. */
void dynmem_host_get_status(const struct dynmem_host *host,
			    struct dynmem_host_status *ret_status);

/* For status: "ready", "ballooning", ... */
const char *dynmem_host_state_name(enum dynmem_host_state state);
