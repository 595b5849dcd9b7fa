/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/dynmem_host.h"

/*
 * The inside of the host's machine, shared by dynmem_host.c (what comes in) and dynmem_host_next.c
 * (what goes out). The diagram and the rules are in dynmem_host.c.
 */

struct dynmem_host {
	struct dynmem_host_config config;
	enum dynmem_host_state state;
	struct dynmem_message out;

	/* start-up: one answer at a time is owed to the guest */
	bool answer_due;
	uint32_t answer_id;
	bool accepted; /* the version that is to be answered */
	uint32_t version;
	struct dynmem_capabilities capabilities;

	struct dynmem_status_report report;
	bool has_report;
	uint64_t report_ns;

	/* the operation */
	struct rangeset ballooned;
	struct dynmem_host_operation operation;
	uint32_t trans_id;
	bool request_due;         /* balloon: the request has not been handed out */
	uint64_t give_back_pages; /* unballoon: not handed out yet */
	struct page_range adding; /* hot-add: what was asked for */
	uint64_t added_pages;
	bool no_more_adding;      /* the guest has said so, on this channel */
	uint64_t progress_ns;     /* the guest's last answer, or the start */
	bool stalled;             /* overdue since the last progress */

	/* on purpose */
	enum dynmem_fault fault; /* of the next request */
	struct dynmem_fault_message wrong; /* in the state FAULT */
	unsigned int answers_due; /* last answers that are still to come */
	bool held;                /* the request is late, or lost */
	uint64_t held_until_ns;
	bool twice_due;           /* the last message is to be sent once more */
	uint64_t now_ns;          /* when something happened last */

	bool ready_due; /* to be told by dynmem_host_next_action() */
	bool ended_due;
	bool overdue_due;
	struct dynmem_host_stats stats;
};

/* Changes the state as the table of transitions allows, and counts it. */
void dynmem_host_set_state(struct dynmem_host *host, enum dynmem_host_state state);

/* One of the last answers that are due has come; with all of them the operation ends. */
void dynmem_host_last_answer(struct dynmem_host *host, uint64_t now_ns);
