/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Programs that want to be told of a freeze: who they are, how long each may put it off, and what
 * each has said. It knows no socket. docs/APPLICATIONS.md has the messages.
 */

enum {
	NOTIFY_CLIENTS_MAX = 64,
	NOTIFY_CLIENTS_PER_USER = 8, /* of anybody but root */
	NOTIFY_MESSAGE_MAX = 256,    /* bytes of a message, with room for a NUL */
	NOTIFY_NAME_SIZE = 48,       /* of a name, with its NUL */
	NOTIFY_REASON_SIZE = 128,
};

/* What became of a client in the last freeze. */
enum notify_outcome {
	NOTIFY_NOT_ASKED, /* it came later */
	NOTIFY_ASKED,     /* its answer is awaited */
	NOTIFY_READY,
	NOTIFY_FAILED,    /* it said that it cannot hold */
	NOTIFY_LATE,      /* it said nothing in its time */
	NOTIFY_GONE,      /* it hung up, before or after it was ready */
	NOTIFY_OUTCOMES,
};

enum notify_end {
	NOTIFY_THAW,
	NOTIFY_ABORT,
};

/* One client. What is asked of it is kept until the next freeze, also when it is gone. */
struct notify_client {
	bool connected;
	bool greeted;      /* it has said hello */
	bool required;     /* the freeze fails without it */
	bool in_round;     /* it was asked in the last freeze */
	uint32_t uid;
	char name[NOTIFY_NAME_SIZE];
	uint64_t hold_ns;
	enum notify_outcome outcome;
	uint64_t asked_ns;
	uint64_t answered_ns;
	uint64_t deadline_ns; /* of its answer, or its hello; UINT64_MAX: none */
	unsigned int n_stale; /* answers that came too late */
	char reason[NOTIFY_REASON_SIZE];
	char to_send[NOTIFY_MESSAGE_MAX]; /* "": nothing */
	bool to_close;     /* after that */
};

enum notify_state {
	NOTIFY_IDLE,
	NOTIFY_ASKING,
	NOTIFY_HELD,
};

enum notify_action_type {
	NOTIFY_ACTION_SEND,   /* `text` to `client` */
	NOTIFY_ACTION_CLOSE,  /* hang up on `client`; its place is free then */
	NOTIFY_ACTION_DONE,   /* all have answered, or may not put the freeze off any longer */
	NOTIFY_ACTION_FAILED, /* `client`, which is required, does not hold */
};

struct notify_action {
	enum notify_action_type type;
	size_t client;
	char text[NOTIFY_MESSAGE_MAX];
};

struct notify {
	enum notify_state state;
	uint64_t hold_max_ns;
	unsigned int id;  /* of the last freeze */
	bool done_due;    /* an action that waits */
	bool failed_due;
	size_t failed;    /* which one, for it */
	struct notify_client clients[NOTIFY_CLIENTS_MAX];
};

/* The condition of notify_add(). */
enum {
	NOTIFY_FULL = 1,
};

/* No clients. None may put a freeze off longer than @hold_max_ns. */
void notify_init(struct notify *n, uint64_t hold_max_ns);

/*
 * Somebody has connected, as user @uid. Drain notify_next_action() after this and all below.
 * NOTIFY_FULL: there is no room, or this user has too many.
 */
_must_check_ int notify_add(struct notify *n, uint32_t uid, uint64_t now_ns, size_t *ret_client);

/* It has sent @size bytes. */
void notify_receive(struct notify *n, size_t client, const void *bytes, size_t size,
		    uint64_t now_ns);

/* It has hung up, or cannot be sent to: its place is free, and it is not to be closed any more. */
void notify_gone(struct notify *n, size_t client, uint64_t now_ns);

/* Tells all of a freeze. DONE or FAILED follows, unless notify_back() comes first. Only when IDLE. */
void notify_begin(struct notify *n, uint64_t now_ns);

/* Tells all that were told how it ended; then IDLE. */
void notify_back(struct notify *n, enum notify_end end);

/* Time has passed; it is due at notify_deadline_ns(), UINT64_MAX: never. */
void notify_tick(struct notify *n, uint64_t now_ns);
uint64_t notify_deadline_ns(const struct notify *n);

/* Takes the next action out; false if there is none. */
bool notify_next_action(struct notify *n, struct notify_action *ret_action);

/* How many were asked in the last freeze, and how many of them did not hold to its end. */
size_t notify_count(const struct notify *n);
size_t notify_count_failed(const struct notify *n);

/* As receipts show it. */
const char *notify_outcome_name(enum notify_outcome outcome);
