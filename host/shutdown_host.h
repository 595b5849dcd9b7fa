/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/shutdown_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The host's end of the shutdown service for one guest: asks, and knows what became of it. Every
 * _now_ns is the same monotonic clock.
 */

/* The conditions of shutdown_host_ask(). */
enum {
	SHUTDOWN_HOST_RUNNING = 1, /* the last request is not answered yet */
	SHUTDOWN_HOST_UNKNOWN,     /* the agreed version has no such request */
};

enum shutdown_host_state {
	SHUTDOWN_HOST_IDLE, /* nothing was ever asked */
	SHUTDOWN_HOST_ASKED,
	SHUTDOWN_HOST_ACCEPTED,
	SHUTDOWN_HOST_REFUSED,
	SHUTDOWN_HOST_SILENT, /* no answer in time */
	SHUTDOWN_HOST_LOST,   /* the channel closed before the answer */
};

struct shutdown_host {
	enum shutdown_host_state state;
	uint32_t flags; /* of the last request */
	uint64_t asked_ns;
};

/* Nothing asked. */
void shutdown_host_init(struct shutdown_host *h);

/*
 * Writes the request with @flags (enum shutdown_flag) and @text (cut to what fits; borrowed for the
 * call) for a guest that speaks version @major.@minor. SHUTDOWN_HOST_RUNNING, SHUTDOWN_HOST_UNKNOWN.
 */
_must_check_ int shutdown_host_ask(struct shutdown_host *h, uint32_t flags, const char *text,
				   uint16_t major, uint16_t minor, uint64_t now_ns,
				   uint8_t ret_message[SHUTDOWN_MESSAGE_SIZE]);

/* The guest's answer, by its status; the channel is gone; time has passed. */
void shutdown_host_receive(struct shutdown_host *h, uint32_t status);
void shutdown_host_close(struct shutdown_host *h);
void shutdown_host_tick(struct shutdown_host *h, uint64_t now_ns);

/* When to call shutdown_host_tick() at the latest; UINT64_MAX = there is no need. */
uint64_t shutdown_host_deadline_ns(const struct shutdown_host *h);

/* "idle", "asked", "accepted", "refused", "silent", "lost". */
const char *shutdown_host_state_name(enum shutdown_host_state state);
