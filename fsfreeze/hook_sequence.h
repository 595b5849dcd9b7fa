/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The order in which hooks are called around a freeze, their time limits, and what became of each.
 * It knows no process: it says what to run and to end, and is told what happened.
 */

enum {
	HOOKS_MAX = 64,
};

enum hook_event {
	HOOK_FREEZE, /* make everything consistent, and hold it so */
	HOOK_THAW,   /* the freeze is over */
	HOOK_ABORT,  /* it is over, and was not what it should have been; or never came */
	HOOK_EVENTS,
};

enum hook_outcome {
	HOOK_NOT_RUN,     /* its turn did not come, or it has nothing to run */
	HOOK_RUNNING,
	HOOK_OK,
	HOOK_FAILED,      /* it ended with another status than 0, or by a signal */
	HOOK_TIMED_OUT,   /* it was ended at its time limit */
	HOOK_CANCELLED,   /* it was ended because the freeze was given up meanwhile */
	HOOK_STUCK,       /* it does not even end by SIGKILL: it was left alone */
	HOOK_NOT_STARTED, /* it was refused, or could not be started */
	HOOK_OUTCOMES,
};

/* One call of a hook. */
struct hook_run {
	enum hook_event event;
	enum hook_outcome outcome;
	int status; /* FAILED: exit status, or 128 and the signal's number */
	uint64_t started_ns;
	uint64_t ended_ns;
};

/* What the caller says of a hook, and what became of it. */
struct hook_item {
	bool optional;         /* its failure does not end the freeze */
	bool can[HOOK_EVENTS]; /* it has something to run */
	uint64_t limit_ns;     /* of each run */
	bool begun;            /* it has run FREEZE, so it gets one THAW or ABORT */
	struct hook_run freeze;
	struct hook_run back;
};

enum hook_sequence_state {
	HOOKS_IDLE,
	HOOKS_FREEZING,  /* FREEZE goes up the list */
	HOOKS_HELD,      /* all have run it */
	HOOKS_RETURNING, /* THAW or ABORT comes down the list */
	HOOKS_STATES,
};

enum hook_action_type {
	HOOK_ACTION_RUN,    /* start `hook` with `event`, then hook_sequence_exited() or _not_started() */
	HOOK_ACTION_TERM,   /* SIGTERM to its process group */
	HOOK_ACTION_KILL,   /* SIGKILL to its process group */
	HOOK_ACTION_LEAVE,  /* forget the process; nothing of it is awaited any more */
	HOOK_ACTION_READY,  /* all have run FREEZE */
	HOOK_ACTION_FAILED, /* `hook` has failed; those that have begun are being called back */
	HOOK_ACTION_BACK,   /* all that had begun have been called back */
};

struct hook_action {
	enum hook_action_type type;
	enum hook_event event; /* RUN */
	size_t hook;
};

enum {
	HOOK_ACTIONS_MAX = 8, /* waiting at once; drained after each call, it is never more than 3 */
};

struct hook_sequence {
	enum hook_sequence_state state;
	enum hook_event event;  /* what is being called */
	uint64_t budget_end_ns; /* no FREEZE runs longer than this */
	uint64_t deadline_ns;   /* of the current run's next step */
	int kills;              /* 0: none sent, 1: SIGTERM, 2: SIGKILL */
	bool cancelled;         /* the current FREEZE is not wanted any more */
	size_t current;         /* the hook that runs, if `running` */
	bool running;
	size_t n_items;
	struct hook_item items[HOOKS_MAX];
	size_t n_actions;
	size_t next_action;
	struct hook_action actions[HOOK_ACTIONS_MAX];
};

/* Idle, without hooks. */
void hook_sequence_init(struct hook_sequence *q);

/*
 * Calls FREEZE on the @n hooks (at most HOOKS_MAX) one after the other, for @budget_ns in all. Only
 * when IDLE. READY or FAILED follows, unless hook_sequence_back() comes first. Drain
 * hook_sequence_next_action() after this and all below.
 */
void hook_sequence_begin(struct hook_sequence *q, const struct hook_item *items, size_t n,
			 uint64_t budget_ns, uint64_t now_ns);

/* Calls ABORT on hooks that a predecessor has begun. Only when IDLE. BACK follows. */
void hook_sequence_recover(struct hook_sequence *q, const struct hook_item *items, size_t n,
			   uint64_t now_ns);

/*
 * Calls those that have begun back, in reverse, with THAW or ABORT; a hook that runs FREEZE at the
 * moment is ended first. BACK follows, at once if none has begun. When IDLE or already on the way
 * back, nothing happens.
 */
void hook_sequence_back(struct hook_sequence *q, enum hook_event event, uint64_t now_ns);

/* The run was not started: nothing of the hook has been executed. */
void hook_sequence_not_started(struct hook_sequence *q, uint64_t now_ns);

/* It has ended; @status as in struct hook_run, 0 is success. */
void hook_sequence_exited(struct hook_sequence *q, int status, uint64_t now_ns);

/* Time has passed. */
void hook_sequence_tick(struct hook_sequence *q, uint64_t now_ns);

/* When hook_sequence_tick() is due; UINT64_MAX: never. */
uint64_t hook_sequence_deadline_ns(const struct hook_sequence *q);

/* Takes the next action out; false if there is none. */
bool hook_sequence_next_action(struct hook_sequence *q, struct hook_action *ret_action);

/* Names, as hooks get them and receipts show them. */
const char *hook_event_name(enum hook_event event);
const char *hook_outcome_name(enum hook_outcome outcome);
