/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The guest's side of a live backup: what to freeze and thaw when, and what to tell the host.
 * It sees service messages only; docs/PROTOCOL-vss.md.
 */

enum vss_state {
	VSS_IDLE,
	VSS_FREEZING, /* FREEZE was given out, its completion is awaited */
	VSS_FROZEN,
	VSS_THAWING,  /* THAW was given out, its completion is awaited */
	VSS_STATES,
};

/* Why a freeze is ended. */
enum vss_reason {
	VSS_REASON_HOST,        /* the host asked for it */
	VSS_REASON_NEGOTIATE,   /* the host starts over */
	VSS_REASON_OVERTAKEN,   /* the host asked for something else before it had the answer */
	VSS_REASON_CHANNEL,     /* rescinded, closed or lost */
	VSS_REASON_DAEMON_STOP,
	VSS_REASON_DEADLINE,    /* the host took too long */
	VSS_REASON_FREEZER,     /* the freezer ended it: killed, stopped, or a signal */
	VSS_REASONS,
};

enum vss_note {
	VSS_NOTE_TRUNCATED,   /* too short for its operation */
	VSS_NOTE_UNKNOWN,     /* unknown operation */
	VSS_NOTE_OVERTAKEN,   /* a request came before the last one was answered */
	VSS_NOTE_ENDED_EARLY, /* a freeze ended before the host asked for the thaw */
	VSS_NOTE_FREEZE_TWICE, /* FREEZE while frozen */
	VSS_NOTE_THAW_ALONE,   /* THAW of no freeze */
	VSS_NOTES,
};

enum vss_action_type {
	VSS_ACTION_FREEZE, /* freeze, then vss_complete_freeze() */
	VSS_ACTION_THAW,   /* thaw, then vss_complete_thaw(); see reason */
	VSS_ACTION_ANSWER, /* vss_apply_answer(), then answer the open request with status */
	VSS_ACTION_NOTE,   /* to be logged: see note and reason */
};

struct vss_action {
	enum vss_action_type type;
	enum vss_reason reason;
	enum vss_note note;
	uint8_t operation; /* ANSWER, NOTE: of the message it is about */
	uint32_t status;   /* ANSWER: IC_S_OK or IC_E_FAIL */
	bool set_flags;    /* ANSWER: write `flags` into the body */
	uint32_t flags;
};

struct vss_stats {
	uint64_t requests;
	uint64_t freezes;     /* FREEZE actions */
	uint64_t thaws;       /* THAW actions */
	uint64_t ended_early; /* freezes that ended without the host's wish */
	uint64_t answered_ok;
	uint64_t answered_fail;
	uint64_t answers_lost;
	uint64_t stray_completions; /* nothing was awaited: ignored */
	uint64_t notes[VSS_NOTES];
	uint64_t entered[VSS_STATES];
};

enum {
	VSS_ACTIONS_MAX = 8, /* waiting at once; drained after each call, it is never more than 4 */
};

struct vss {
	enum vss_state state;
	uint64_t since_ns; /* when it was entered */
	bool available;
	bool answer_due;   /* the request of FREEZING or THAWING waits for its answer */
	uint8_t operation; /* of the last request */
	bool ended_early;  /* and the host has not been told yet */
	bool believed;     /* the host was told of a freeze, and of no end */
	bool end_told;     /* the last answer told it how that has ended */
	enum vss_reason thaw_reason;
	size_t n_actions;
	size_t next_action;
	struct vss_action actions[VSS_ACTIONS_MAX];
	struct vss_stats stats;
};

/* Idle, and available. */
void vss_init(struct vss *v);

/*
 * Says whether a freeze can be done at all; true after vss_init(). While it cannot, HOT_BACKUP and
 * FREEZE are answered with failure, so that the host takes its backup without our help.
 */
void vss_set_available(struct vss *v, bool available);

/*
 * Takes a request of @size bytes at @msg; exactly one ANSWER follows, now or after a completion,
 * unless the request is overtaken or aborted. Drain vss_next_action() after this and all below.
 */
void vss_receive(struct vss *v, const void *msg, size_t size, uint64_t now_ns);

/* The FREEZE is done; if not @ok, nothing is frozen. */
void vss_complete_freeze(struct vss *v, bool ok, uint64_t now_ns);

/* The THAW is done; not @ok: something is still frozen, or was not frozen to the end. */
void vss_complete_thaw(struct vss *v, bool ok, uint64_t now_ns);

/*
 * Everything was thawed without a THAW action, or before it had effect: the deadline passed, the
 * freezer is gone. This is then the completion of whatever was awaited.
 */
void vss_thawed_early(struct vss *v, enum vss_reason reason, uint64_t now_ns);

/*
 * The transaction is void: a new negotiation, the channel is gone, the daemon stops. Thaws if
 * anything is or will be frozen; no request is answered any more.
 */
void vss_abort(struct vss *v, enum vss_reason reason, uint64_t now_ns);

/*
 * The last ANSWER did not reach the host. If it was about the end of a freeze, the host still has
 * to learn of that, and what it learns is failure: it may have gone on as if nothing had happened.
 */
void vss_answer_lost(struct vss *v);

/*
 * A predecessor had a freeze that the host was not told the end of: the next THAW is answered with
 * failure, unless a FREEZE comes first. Only when IDLE.
 */
void vss_assume_lost(struct vss *v);

/* Whether the host believes, or may believe, that the guest is frozen. */
bool vss_owes_end(const struct vss *v);

/* Takes the next action out; false if there is none. */
bool vss_next_action(struct vss *v, struct vss_action *ret_action);

/* Writes the answer's fields of @action into the request's own @size bytes at @msg. */
void vss_apply_answer(const struct vss_action *action, void *msg, size_t size);

/* Names for status and log. */
const char *vss_state_name(enum vss_state state);
const char *vss_reason_name(enum vss_reason reason);
const char *vss_note_name(enum vss_note note);
