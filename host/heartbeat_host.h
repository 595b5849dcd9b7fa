/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/heartbeat_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The host's end of the heartbeat service for one guest: asks every two seconds, and says how the
 * guest is. Every _now_ns is the same monotonic clock.
 */

/* The conditions of this object. */
enum {
	HEARTBEAT_HOST_IDLE = 1,   /* next_action: nothing to send now */
	HEARTBEAT_HOST_MALFORMED,  /* receive: too short to hold a number */
	HEARTBEAT_HOST_WRONG,      /* receive: not the number that was asked for plus one */
	HEARTBEAT_HOST_UNEXPECTED, /* receive: nothing was asked */
};

struct heartbeat_host {
	bool running;
	bool due;          /* a request is to be sent now */
	bool waiting;      /* for the answer to `number` */
	uint64_t number;   /* of the last request */
	uint64_t next_ns;  /* end of the present period */
	uint64_t asked_ns; /* when the last request was sent */

	/* What is known; each value stays when the service stops. */
	enum heartbeat_application application; /* as the last good answer says */
	enum heartbeat_hold hold;  /* the same of a backup */
	uint32_t hold_left_ms;     /* UINT32_MAX: nothing is frozen */
	uint32_t stall_centipercent; /* the same of waiting for memory; HEARTBEAT_STALL_UNKNOWN */
	uint64_t last_answer_ns;  /* meaningless while answered is 0 */
	uint64_t answer_time_ns;  /* from the last answered request to its answer */
	uint64_t missed_in_a_row; /* periods that ended without an answer, since the last one */
	uint64_t asked;
	uint64_t answered;
	uint64_t missed;
	uint64_t malformed;
	uint64_t wrong;
	uint64_t unexpected;
};

/* One packet to send. */
struct heartbeat_host_action {
	uint8_t message[HEARTBEAT_MESSAGE_SIZE];
};

/* Not running; nothing known. */
void heartbeat_host_init(struct heartbeat_host *h);

/* The channel is open and versions are agreed on: the first request is due at once. */
void heartbeat_host_start(struct heartbeat_host *h, uint64_t now_ns);

/* The channel is gone. An answer that was waited for is not counted as missed. */
void heartbeat_host_stop(struct heartbeat_host *h);

/*
 * Takes an answer of @len bytes.
 * HEARTBEAT_HOST_MALFORMED, HEARTBEAT_HOST_WRONG, HEARTBEAT_HOST_UNEXPECTED: counted; the first two
 * end the waiting, so that the next period asks again.
 */
_must_check_ int heartbeat_host_receive(struct heartbeat_host *h, const void *message, size_t len,
					uint64_t now_ns);

/* Time has passed. Any number of calls, early or late, do no harm. */
void heartbeat_host_tick(struct heartbeat_host *h, uint64_t now_ns);

/* When to call heartbeat_host_tick() at the latest; UINT64_MAX = there is no need. */
uint64_t heartbeat_host_deadline_ns(const struct heartbeat_host *h);

/* The request to send now, each once. HEARTBEAT_HOST_IDLE. */
_must_check_ int heartbeat_host_next_action(struct heartbeat_host *h, uint64_t now_ns,
					    struct heartbeat_host_action *ret_action);
