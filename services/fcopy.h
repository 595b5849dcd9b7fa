/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/fcopy_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The guest's end of file copy: one file at a time from the host. It sees service messages only;
 * docs/PROTOCOL-fcopy.md. Every now_ns is the same monotonic clock.
 */

enum fcopy_state {
	FCOPY_IDLE,
	FCOPY_STARTING,   /* OPEN was given out */
	FCOPY_OPEN,       /* the host's next request is awaited */
	FCOPY_WRITING,    /* DATA was given out and not taken yet */
	FCOPY_FINISHING,  /* FINISH was given out */
	FCOPY_DISCARDING, /* DISCARD was given out */
	FCOPY_STATES,
};

/* How an operation on the file ended, and with it the copy. */
enum fcopy_result {
	FCOPY_OK,
	FCOPY_EXISTS,    /* there is a file of this name, and it is not to be replaced */
	FCOPY_DISK_FULL,
	FCOPY_REFUSED,   /* it may not be there */
	FCOPY_FAILED,
	FCOPY_CANCELLED, /* by the host */
	FCOPY_LOST,      /* the channel, or the host started over */
	FCOPY_STOPPED,   /* the daemon ends */
	FCOPY_SILENT,    /* the host said nothing for too long */
	FCOPY_HELD,      /* file systems were frozen for too long */
	FCOPY_BROKEN,    /* the host did not send what it announced */
	FCOPY_RESULTS,
};

enum fcopy_note {
	FCOPY_NOTE_MALFORMED,    /* too short, a name that is no text, a fragment too large */
	FCOPY_NOTE_UNKNOWN,      /* unknown operation */
	FCOPY_NOTE_NOT_STARTED,  /* data, or an end, of a file that is not open */
	FCOPY_NOTE_OUT_OF_ORDER, /* a fragment that does not begin where the last one ended */
	FCOPY_NOTE_BEYOND,       /* data behind the announced end */
	FCOPY_NOTE_SHORT,        /* an end before all data was there */
	FCOPY_NOTE_RESTARTED,    /* another file before the end of the last */
	FCOPY_NOTE_OVERTAKEN,    /* a request came before the last one was answered */
	FCOPY_NOTES,
};

enum fcopy_action_type {
	FCOPY_ACTION_OPEN,    /* begin the file of fcopy.start, then fcopy_opened() */
	FCOPY_ACTION_DATA,    /* append fcopy.data, then fcopy_taken() */
	FCOPY_ACTION_FINISH,  /* put the file in its place, for good, then fcopy_finished() */
	FCOPY_ACTION_DISCARD, /* leave nothing of it, then fcopy_discarded() */
	FCOPY_ACTION_ANSWER,  /* answer the open request with status */
	FCOPY_ACTION_NOTE,    /* to be logged */
};

struct fcopy_action {
	enum fcopy_action_type type;
	enum fcopy_result result; /* DISCARD: why */
	enum fcopy_note note;
	uint32_t status;
};

struct fcopy_stats {
	uint64_t requests;
	uint64_t started;  /* OPEN actions */
	uint64_t finished; /* files that are in their place */
	uint64_t bytes;    /* of these */
	uint64_t discarded;
	uint64_t refused;  /* START: nothing was begun */
	uint64_t stray_completions; /* nothing was awaited: ignored */
	uint64_t notes[FCOPY_NOTES];
	uint64_t entered[FCOPY_STATES];
};

enum {
	FCOPY_ACTIONS_MAX = 8, /* waiting at once; drained after each call, it is never more than 3 */
};

struct fcopy {
	enum fcopy_state state;
	enum fcopy_encoding encoding;
	bool held;         /* nothing may be written now */
	bool answer_due;
	bool waits;        /* the request waits for the end of the hold, or of a DISCARD */
	const uint8_t *message; /* of the request, borrowed until its answer */
	size_t size;
	uint64_t deadline_ns;
	enum fcopy_result result; /* of the last copy */
	struct fcopy_start start;
	uint64_t position;  /* bytes that were taken */
	struct fcopy_fragment data; /* of the DATA action; its bytes are the request's */
	size_t n_actions;
	size_t next_action;
	struct fcopy_action actions[FCOPY_ACTIONS_MAX];
	struct fcopy_stats stats;
};

/* Idle. @encoding is that of all messages. */
void fcopy_init(struct fcopy *f, enum fcopy_encoding encoding);

/*
 * Takes a request of @size bytes at @message, which is borrowed until its answer, or until the next
 * call of this or of fcopy_abort(). Exactly one ANSWER follows, unless the request is void before.
 * Drain fcopy_next_action() after this and all below.
 */
void fcopy_receive(struct fcopy *f, const void *message, size_t size, uint64_t now_ns);

/*
 * The file of OPEN is open; the bytes of DATA are taken, the pointer is not needed any more; what
 * was FINISHed is in its place; what was DISCARDed is gone. With another @result than FCOPY_OK
 * nothing of the file is left (after fcopy_opened()), or DISCARD follows.
 */
void fcopy_opened(struct fcopy *f, enum fcopy_result result, uint64_t now_ns);
void fcopy_taken(struct fcopy *f, uint64_t now_ns);
void fcopy_finished(struct fcopy *f, enum fcopy_result result, uint64_t now_ns);
void fcopy_discarded(struct fcopy *f, uint64_t now_ns);

/* Data that was taken could not be written. */
void fcopy_failed(struct fcopy *f, enum fcopy_result result, uint64_t now_ns);

/* File systems are (about to be) frozen, or are not any more: requests wait meanwhile. */
void fcopy_hold(struct fcopy *f, bool hold, uint64_t now_ns);

/*
 * The request is void and the copy is given up: FCOPY_LOST, FCOPY_STOPPED. No answer is given to
 * what was asked before.
 */
void fcopy_abort(struct fcopy *f, enum fcopy_result why, uint64_t now_ns);

/* Time has passed; and when to call this at the latest, UINT64_MAX: there is no need. */
void fcopy_tick(struct fcopy *f, uint64_t now_ns);
uint64_t fcopy_deadline_ns(const struct fcopy *f);

/* Takes the next action out; false if there is none. */
bool fcopy_next_action(struct fcopy *f, struct fcopy_action *ret_action);

/* Whether a file is being copied, be it that nothing but its end is left. */
bool fcopy_is_active(const struct fcopy *f);

/* Names for status and log; and what a host is answered. */
const char *fcopy_state_name(enum fcopy_state state);
const char *fcopy_result_name(enum fcopy_result result);
const char *fcopy_note_name(enum fcopy_note note);
uint32_t fcopy_status(enum fcopy_result result);
