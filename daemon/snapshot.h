/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "daemon/config.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * A snapshot: holding this machine still, from somebody's wish to the receipt. One at a time.
 */

struct snapshot;

/* How a freeze ended. */
enum snapshot_end {
	SNAPSHOT_END_FAILED,   /* it did not come to be frozen; nothing is */
	SNAPSHOT_END_ASKED,    /* by snapshot_thaw(), before it was frozen or after */
	SNAPSHOT_END_DEADLINE, /* of itself, because nobody asked in time */
	SNAPSHOT_END_FREEZER,  /* the freezer ended it: killed, stopped, or a signal */
};

/* What became of it. */
struct snapshot_outcome {
	enum snapshot_end end;
	bool whole;         /* all that was frozen stood still until now */
	bool consistent;    /* and that was all there should have been, as long as was asked for */
	const char *result; /* the receipt's */
};

/* Somebody who has the machine held still. All calls come from the event loop. */
struct snapshot_user {
	const char *name; /* as the receipt names it */
	/* Everything that was planned is frozen. */
	void (*on_frozen)(void *self);
	/* Once for each accepted freeze; @outcome is borrowed for the call. */
	void (*on_thawed)(void *self, const struct snapshot_outcome *outcome);
	/* After that, when all hooks are back and the receipt is there. May be NULL. */
	void (*on_over)(void *self);
};

/* The conditions of snapshot_new() and snapshot_freeze(). */
enum {
	SNAPSHOT_OTHER_DAEMON = 1, /* another hvguestd has the run directory */
	SNAPSHOT_IN_USE,           /* the last one is not over */
};

struct receipts;

/*
 * Before anything else it thaws what a predecessor left frozen; then the freezer stands ready. A
 * machine on which nothing can be frozen is no error: its status says why. @config must
 * outlive it. SNAPSHOT_OTHER_DAEMON, -ENOMEM, other negative errno.
 */
_must_check_ int snapshot_new(struct event_base *base, const struct config *config,
			      struct snapshot **ret_snapshot);

/* Thaws, if anything is frozen, and ends the freezer; users are not called any more. */
struct snapshot *snapshot_free(struct snapshot *s);
DEFINE_CLEANUP(snapshot)

/* @receipts get what there is to keep from now on; they must outlive it. */
void snapshot_keep_receipts(struct snapshot *s, struct receipts *receipts);

/*
 * @on_change is called whenever snapshot_is_free_for() or snapshot_is_holding() may have changed, and
 * must not begin or end anything then; up to four may watch. / @self is not called any more.
 */
void snapshot_watch(struct snapshot *s, void (*on_change)(void *self), void *self);
void snapshot_unwatch(struct snapshot *s, const void *self);

/*
 * Begins on behalf of @user, whose calls get @self; they may come before this returns. What was
 * frozen is thawed @timeout_ns after the first of it at the latest. If the last one is over but
 * for its hooks, it begins when they are back. SNAPSHOT_IN_USE.
 */
_must_check_ int snapshot_freeze(struct snapshot *s, const struct snapshot_user *user, void *self,
				 uint64_t timeout_ns);

/*
 * The daemon ends: as snapshot_thaw(), and runs the event loop until all hooks are back, for a
 * minute at most.
 */
void snapshot_stop(struct snapshot *s);

/*
 * Asks for the thaw of what @self began by snapshot_freeze(). @why becomes the receipt's result, as a
 * static text; with @wanted it is the end that a snapshot is made for. Nothing happens if it has
 * ended already.
 */
void snapshot_thaw(struct snapshot *s, const void *self, const char *why, bool wanted);

/*
 * Puts @note, a static word, into the receipt of what @self began by snapshot_freeze() and which goes on;
 * each word once, and the first eight. Neither allocates nor opens anything.
 */
void snapshot_note(struct snapshot *s, const void *self, const char *note);

/* The machine goes down: thaws what anybody has frozen; @why as for snapshot_thaw(). */
void snapshot_abort(struct snapshot *s, const char *why);

/* Whether @self can begin: nothing stands in the way, and nobody else has the machine held. */
bool snapshot_is_free_for(const struct snapshot *s, const void *self);

/* Whether anything is frozen or about to be: nothing else may act on this machine on our behalf. */
bool snapshot_is_holding(const struct snapshot *s);

/* What goes on, in short. */
enum snapshot_hold {
	SNAPSHOT_HOLD_NONE,
	SNAPSHOT_HOLD_PREPARING, /* hooks and programs are being told */
	SNAPSHOT_HOLD_FROZEN,    /* something is frozen, or about to be */
	SNAPSHOT_HOLD_THAWING,
};

/* And how long it is until all is thawed of itself; UINT64_MAX: there is no such end. */
enum snapshot_hold snapshot_hold(const struct snapshot *s, uint64_t *ret_left_ns);

/* Adds the snapshot's part of the status to the object @status. */
void snapshot_add_status(const struct snapshot *s, json_t *status);

/*
 * What would be frozen now, in which order, and why not the rest, and which hooks would be called;
 * touches nothing.
 */
json_t *snapshot_plan(const struct snapshot *s);
