/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/timesync_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The guest's end of time synchronisation: from what the host says of its time to what is to be done
 * with the guest's clock. docs/PROTOCOL-timesync.md.
 */

/* The conditions of timesync_receive(): nothing is to be done, and the host is answered with failure. */
enum {
	TIMESYNC_MALFORMED = 1, /* too short */
	TIMESYNC_NO_TIME,       /* a time before 2000 or after 2199: no clock that is set has it */
};

/* What a guest lets its host do. */
enum timesync_mode {
	TIMESYNC_MODE_OFF,      /* nothing: messages are counted and answered */
	TIMESYNC_MODE_SAMPLE,   /* samples are handed on */
	TIMESYNC_MODE_STEP,     /* and the clock is set when the host asks for it */
	TIMESYNC_MODE_CATCH_UP, /* and when a sample shows that it is 5 s behind, or more */
	TIMESYNC_N_MODES,
};

/* The guest's clocks, read at one moment. */
struct timesync_reading {
	int64_t real_ns;    /* CLOCK_REALTIME: UTC since 1970 */
	uint64_t raw_ns;    /* CLOCK_MONOTONIC_RAW */
	bool has_reference; /* the VM's reference counter can be read */
	uint64_t reference; /* it, in 100 ns; same origin as the host's */
	bool is_kept;       /* the kernel holds the clock for synchronized: somebody keeps it */
};

enum timesync_act {
	TIMESYNC_ACT_NOTHING,
	TIMESYNC_ACT_SAMPLE, /* hand the offset to whoever keeps the clock */
	TIMESYNC_ACT_STEP,   /* add the offset to the clock */
};

/* Why it is not more than that. */
enum timesync_why {
	TIMESYNC_WHY_NONE,           /* it is what the host wanted */
	TIMESYNC_WHY_OFF,            /* nothing is wanted from the host */
	TIMESYNC_WHY_NOT_STEPPED,    /* the host wanted a step, and only samples are wanted */
	TIMESYNC_WHY_CLOSE,          /* ... and the clock is as right as can be told */
	TIMESYNC_WHY_KEPT,           /* ... and somebody keeps the clock, which is right to 5 s */
	TIMESYNC_WHY_STALE,          /* the message was too long on its way */
	TIMESYNC_WHY_UNSYNCHRONIZED, /* the host says that its own clock is not in step with anything */
	TIMESYNC_WHY_PROBE,          /* the host wants nothing */
	TIMESYNC_N_WHYS,
};

/* What one message means. */
struct timesync_action {
	enum timesync_act act;
	enum timesync_why why;
	int64_t offset_ns;       /* host's time minus the guest's, at the time of the reading */
	uint64_t age_ns;         /* how long before the reading the host took its time */
	bool exact;              /* that was measured, not estimated */
	enum timesync_leap leap; /* TIMESYNC_LEAP_NONE before 4.0 */
	uint8_t stratum;         /* 0: not said */
	bool asked;              /* the host wanted a step */
	bool caught_up;          /* the step is our own idea */
};

enum {
	TIMESYNC_WINDOW = 16, /* messages that the delay is estimated from */
};

struct timesync {
	enum timesync_mode mode;

	/* Raw clock minus reference counter when the last messages came, in 100 ns. */
	int64_t spans[TIMESYNC_WINDOW];
	size_t n_spans; /* that were ever entered since the last reset */

	bool has_last;
	struct timesync_action last;
	uint64_t last_raw_ns; /* when it came */

	uint64_t messages;  /* good ones */
	uint64_t samples;   /* that were to be handed on */
	uint64_t steps;     /* that were to be made */
	uint64_t skipped;   /* of which less was made than the host wanted */
	uint64_t stale;
	uint64_t malformed; /* and without a time */
};

/* Nothing received. */
void timesync_init(struct timesync *t, enum timesync_mode mode);

/*
 * The host has negotiated, or the machine may have moved: what was learned of delays is void, because
 * it compares two clocks that may have changed.
 */
void timesync_reset(struct timesync *t);

/*
 * Takes a message of @len bytes under the agreed service version; @reading was taken when it came.
 * *ret_action is to be done after the answer. TIMESYNC_MALFORMED, TIMESYNC_NO_TIME.
 */
_must_check_ int timesync_receive(struct timesync *t, const void *message, size_t len, uint16_t major,
				  const struct timesync_reading *reading,
				  struct timesync_action *ret_action);

/* "off", "sample", "step", "catch-up"; "nothing", "sample", "step"; and why, as a clause. */
const char *timesync_mode_name(enum timesync_mode mode);
const char *timesync_act_name(enum timesync_act act);
const char *timesync_why_text(enum timesync_why why);
