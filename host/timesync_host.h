/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/timesync_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The host's end of time synchronisation for one guest: tells it the time, and can be told to tell it
 * wrong. Every _now_ns is the same monotonic clock.
 */

/* The condition of timesync_host_next_action(). */
enum {
	TIMESYNC_HOST_IDLE = 1, /* nothing to send now */
};

/* How the time that is told differs from the right one, for tests of guests. */
struct timesync_skew {
	int64_t offset_ns;  /* added to the time: a wrong host, or a guest that was away */
	int64_t drift_ppb;  /* and so much more with each second, from when it was set */
	uint64_t age_ns;    /* the time and the counter are from so long ago */
	uint8_t leap;       /* enum timesync_leap */
	uint8_t stratum;
};

struct timesync_host {
	bool running;
	bool due;     /* a message is to be sent now */
	bool waiting; /* for the answer */
	uint8_t next_flags; /* of the next message */
	uint64_t period_ns;
	uint64_t next_ns;   /* when the next message is due, unless something is waited for */
	struct timesync_skew skew;
	uint64_t skewed_ns; /* when it was set */

	uint64_t sent;
	uint64_t syncs;    /* of them */
	uint64_t answered;
	uint64_t refused;  /* of them: with a failure */
	uint64_t unexpected;
};

/* The host's clocks, read at one moment. */
struct timesync_host_clock {
	uint64_t now_ns;
	int64_t real_ns;    /* UTC since 1970 */
	uint64_t reference; /* the guest's reference counter, 100 ns */
};

/* One message to send. */
struct timesync_host_action {
	uint8_t message[TIMESYNC_MESSAGE_SIZE];
	size_t size;
};

/* Not running, telling the right time every five seconds. */
void timesync_host_init(struct timesync_host *h);

/* Versions are agreed on: the first message, due at once, asks for a step. / The channel is closed. */
void timesync_host_start(struct timesync_host *h, uint64_t now_ns);
void timesync_host_stop(struct timesync_host *h);

/* A message with @flags (enum timesync_flag) goes out at once, or when the last one is answered. */
void timesync_host_send(struct timesync_host *h, uint8_t flags);

/* What is told from now on. / How often: @period_ns > 0. */
void timesync_host_skew(struct timesync_host *h, const struct timesync_skew *skew, uint64_t now_ns);
void timesync_host_every(struct timesync_host *h, uint64_t period_ns, uint64_t now_ns);

/* The guest's answer, by its status; time has passed. */
void timesync_host_receive(struct timesync_host *h, uint32_t status, uint64_t now_ns);
void timesync_host_tick(struct timesync_host *h, uint64_t now_ns);

/* When to call timesync_host_tick() at the latest; UINT64_MAX: there is no need. */
uint64_t timesync_host_deadline_ns(const struct timesync_host *h);

/* The next message for a guest that speaks service version @major. TIMESYNC_HOST_IDLE. */
_must_check_ int timesync_host_next_action(struct timesync_host *h, uint16_t major,
					   const struct timesync_host_clock *clock,
					   struct timesync_host_action *ret_action);
