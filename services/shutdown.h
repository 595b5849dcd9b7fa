/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/shutdown_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The guest's end of the shutdown service: what the host wants, and whether it gets it.
 */

/* The conditions of shutdown_receive(); to be answered with failure, the last one with success. */
enum {
	SHUTDOWN_MALFORMED = 1, /* too short */
	SHUTDOWN_UNKNOWN,       /* flags that this version does not have, or that contradict each other */
	SHUTDOWN_IMPOSSIBLE,    /* this machine cannot hibernate */
	SHUTDOWN_REPEATED,      /* the same is under way already: nothing is to be done */
};

enum shutdown_kind {
	SHUTDOWN_POWER_OFF,
	SHUTDOWN_REBOOT,
	SHUTDOWN_HIBERNATE,
	SHUTDOWN_N_KINDS,
};

struct shutdown_request {
	enum shutdown_kind kind;
	bool force;                /* do not ask anybody */
	uint32_t reason;
	uint32_t timeout_seconds;  /* 0: the host does not say */
	char text[SHUTDOWN_TEXT_SIZE + 1]; /* UTF-8 without control characters */
};

struct shutdown {
	bool can_hibernate;
	bool is_running; /* `last` is being carried out */
	bool has_last;
	struct shutdown_request last;
	uint64_t requests; /* accepted */
	uint64_t refused;
	uint64_t malformed;
};

/* Nothing asked. */
void shutdown_init(struct shutdown *shutdown, bool can_hibernate);

/*
 * Takes the request of @len bytes under the agreed service version. Returns 0: answer with success,
 * then do what shutdown->last says; or a condition.
 */
_must_check_ int shutdown_receive(struct shutdown *shutdown, const void *message, size_t len,
				  uint16_t major, uint16_t minor);

/* What was asked did not come to be, or is over (a machine that has woken up). */
void shutdown_ended(struct shutdown *shutdown);

/* "power off", "reboot", "hibernate"; and the text of a condition. */
const char *shutdown_kind_name(enum shutdown_kind kind);
const char *shutdown_condition_text(int r);
