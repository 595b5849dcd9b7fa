/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/heartbeat_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The guest's end of the heartbeat service.
 */

/* The condition of heartbeat_answer(). */
enum {
	HEARTBEAT_MALFORMED = 1, /* too short to hold a number: counted, the message is as it was */
};

struct heartbeat {
	enum heartbeat_application application; /* what the next answers say */
	enum heartbeat_hold hold;               /* the same, to a host that wants to know */
	uint32_t hold_left_ms;                  /* UINT32_MAX: nothing is frozen */
	uint32_t stall_centipercent;            /* the same; HEARTBEAT_STALL_UNKNOWN */
	uint64_t answered;
	uint64_t malformed;
	uint64_t last_ns; /* when the last request was answered; meaningless while answered is 0 */
};

/* Nothing answered, application state unknown. */
void heartbeat_init(struct heartbeat *heartbeat);

/* What the answers say from now on about the health of what runs in this guest. */
void heartbeat_set_application(struct heartbeat *heartbeat, enum heartbeat_application state);

/* The same about a backup: @left_ms until what is frozen thaws by itself, or UINT32_MAX. */
void heartbeat_set_hold(struct heartbeat *heartbeat, enum heartbeat_hold hold, uint32_t left_ms);

/*
 * The same about memory: the share of the last ten seconds in which tasks waited for it, in hundredths
 * of a percent, 0 to 10000; HEARTBEAT_STALL_UNKNOWN: the kernel does not measure it.
 */
void heartbeat_set_stall(struct heartbeat *heartbeat, uint32_t centipercent);

/*
 * Turns the request of @len bytes at @message into its answer, in place; nothing behind @len is
 * touched. HEARTBEAT_MALFORMED. Source: Linux drivers/hv/hv_util.c, heartbeat_onchannelcallback().
 */
_must_check_ int heartbeat_answer(struct heartbeat *heartbeat, uint8_t *message, size_t len,
				  uint64_t now_ns);

/* "unknown", "healthy", "critical", "stopped"; "invalid" for a number without a name. */
const char *heartbeat_application_name(enum heartbeat_application state);

/* "none", "preparing", "frozen", "thawing"; "invalid" for a number without a name. */
const char *heartbeat_hold_name(enum heartbeat_hold hold);
