/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "policy/balancer.h"

/*
 * What the host shows of its guests, for readers in any thread that nobody waits for and that wait
 * for nobody. The event loop writes it.
 */

struct board;

#define BOARD_UNKNOWN UINT64_MAX

/* A guest's services besides memory; texts are constants. */
struct board_services {
	const char *heartbeat; /* "ok", "lost", "none" */
	const char *backup;    /* the step, or "idle", "none" */
	uint64_t heartbeats_answered;
	uint64_t heartbeats_missed;
	uint64_t stall_centipercent; /* of the last ten seconds tasks waited for memory; or BOARD_UNKNOWN */
};

/* A guest, as it was when it was last put up. */
struct board_guest {
	struct balancer_decision decision; /* the last one */
	uint64_t assigned_pages;
	uint64_t demand_pages;
	uint64_t available_pages; /* UINT64_MAX: it does not say, or has not yet */
	uint64_t ballooned_pages;
	uint64_t minimum_pages, maximum_pages;
	uint64_t report_ns;       /* 0: none yet */
	uint64_t reports, lies, refusals, turns, grown_pages, shrunk_pages;
	uint64_t obeying, manual; /* 0 or 1 */
	struct board_services services;
};

/* The host. */
struct board_host {
	struct balancer_totals totals;
	uint64_t paused, dry_run; /* 0 or 1 */
	uint64_t pass_ns;         /* how long the last pass took */
};

/* Empty. -ENOMEM. */
_must_check_ int board_new(struct board **ret_board);

/* No reader may be in it. */
struct board *board_free(struct board *b);
DEFINE_CLEANUP(board)

/* --- the event loop --- */

/* Puts a guest up. @id is small, and its own until board_remove(). -ENOMEM. */
_must_check_ int board_put(struct board *b, uint32_t id, const char *name,
			   const struct board_guest *guest);
void board_remove(struct board *b, uint32_t id);
void board_put_host(struct board *b, const struct board_host *host);

/* Puts up what there is of backups, as JSON in one line, which is copied. -ENOMEM. */
_must_check_ int board_put_backups(struct board *b, const char *text);

/* --- any thread --- */

/* Calls @visit for each guest that was there all the time, in no order. */
void board_each(const struct board *b,
		void (*visit)(void *user, const char *name, const struct board_guest *guest),
		void *user);

/* The guest of this name; false: there is none. */
bool board_get(const struct board *b, const char *name, struct board_guest *ret_guest);

/* What was put up last, to be freed; "{}" before that, NULL without memory. */
char *board_get_backups(const struct board *b);

/* All zero before the first pass. */
void board_get_host(const struct board *b, struct board_host *ret_host);
