/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem.h"
#include "balloon/dynmem_books.h"

/*
 * The inside of the guest's machine, shared by dynmem.c (its life), dynmem_receive.c (what comes
 * in), dynmem_next.c (what goes out) and dynmem_record.c (what outlives it). The diagram and the
 * rules are in dynmem.c.
 */

/* How far the caller is with taking pages. */
enum dynmem_take {
	DYNMEM_TAKE_NONE,
	DYNMEM_TAKE_DUE,     /* to be handed out by dynmem_next_action() */
	DYNMEM_TAKE_RUNNING, /* handed out, not finished */
};

enum dynmem_hot_add_stage {
	DYNMEM_HOT_ADD_STAGE_NONE,
	DYNMEM_HOT_ADD_STAGE_DUE,     /* to be handed out by dynmem_next_action() */
	DYNMEM_HOT_ADD_STAGE_RUNNING, /* handed out, not complete */
	DYNMEM_HOT_ADD_STAGE_COMPLETE, /* to be answered */
};

enum dynmem_report_stage {
	DYNMEM_REPORT_NONE,
	DYNMEM_REPORT_DUE,
	DYNMEM_REPORT_SAMPLING, /* the figures were asked for */
	DYNMEM_REPORT_COMPLETE, /* to be sent */
};

enum {
	DYNMEM_N_VERSIONS = 3,
};

/* In the order in which they are tried. */
extern const uint32_t dynmem_versions[DYNMEM_N_VERSIONS];

struct dynmem {
	struct dynmem_config config;
	enum dynmem_state state;
	uint32_t last_trans_id;
	struct dynmem_message out;
	bool out_pending; /* handed out; that it was sent is known when the next action is asked for */
	bool out_again;   /* to be handed out once more, after dynmem_resume() */
	bool out_placed;  /* a commit has recorded where in the ring it begins: */
	uint32_t out_position;

	/* start-up */
	size_t attempt; /* index in dynmem_versions[] */
	uint32_t version;
	bool hello_due; /* the message that begins this state has not been taken */
	uint64_t deadline_ns;
	unsigned int unanswered; /* handshakes in a row that ended by a timeout */
	enum dynmem_close_reason reason;
	bool close_due;

	/* status reports */
	enum dynmem_report_stage report;
	uint64_t next_report_ns;
	bool reports_suppressed;
	struct dynmem_status_report figures;

	/* memory */
	struct dynmem_books books;
	enum dynmem_take take;
	uint64_t take_wanted; /* pages */
	uint64_t take_done;   /* pages */
	bool return_running;  /* the pages of `books.returning` were handed out */
	bool sequence_open; /* the last unballoon request said "more" */
	enum dynmem_hot_add_stage hot_add;
	struct dynmem_hot_add_request hot_add_request;
	bool hot_add_again;
	struct page_range hot_add_unsure; /* whether a host that is gone got the answer about it */
	uint64_t hot_add_pages; /* COMPLETE: what came of it */
	bool hot_add_for_good;

	/* how many of each are owed to the host */
	uint64_t unballoon_responses;
	uint64_t balloon_refusals;
	uint64_t hot_add_refusals;
	uint64_t hot_add_postponements;

	uint32_t notes_due;   /* bit per enum dynmem_note */
	uint32_t notes_given;
	bool has_max_pages;
	uint64_t max_pages;
	struct dynmem_operation operation;
	struct dynmem_stats stats;
};

/* Changes the state as the table of transitions allows, and counts it. */
void dynmem_set_state(struct dynmem *dm, enum dynmem_state state);

/* Has @note logged, unless it was on this channel. */
void dynmem_add_note(struct dynmem *dm, enum dynmem_note note);

/* How long the host has to answer, in this handshake. */
uint64_t dynmem_start_budget_ns(const struct dynmem *dm);

/* Gives the channel up. */
void dynmem_fail(struct dynmem *dm, enum dynmem_close_reason reason);
