/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "policy/contenders.h"
#include "policy/fleet.h"
#include "policy/recording.h"

#include <stdbool.h>

/*
 * A host with many guests on virtual time, under one of the policies: how long did their tasks wait,
 * how much memory was moved, how fast and how fair was it.
 */

enum simulate_source {
	SIMULATE_FLEET,     /* a fleet that is made up */
	SIMULATE_STEP,      /* half of the guests want little and half want much, and then change places */
	SIMULATE_RECORDING, /* what was recorded of a host */
};

enum {
	SIMULATE_GUESTS_MAX = 4096,
	SIMULATE_WARM_UP_S = 600,  /* of a fleet: not counted */
	SIMULATE_STEP_AT_S = 900,
	SIMULATE_SAMPLES_MAX = 240, /* of the curve in a result */
};

struct simulate_settings {
	enum contender_kind policy;
	enum simulate_source source;
	struct fleet_spec fleet;           /* FLEET */
	const struct recording *recording; /* RECORDING; borrowed */
	size_t n_guests;                   /* FLEET and STEP */
	uint64_t host_pages;
	uint64_t seconds;
};

/* At one moment, for a curve. */
struct simulate_sample {
	uint64_t second;
	uint64_t needed_pages;
	uint64_t assigned_pages;
	uint64_t stalled_us; /* since the last sample, of all guests */
};

struct simulate_result {
	bool fits;              /* false: not even the minima do; nothing was simulated */
	size_t n_guests;
	uint64_t guest_seconds;
	uint64_t stalled_us;
	uint64_t worst_stalled_us; /* of one guest */
	uint64_t moved_pages;
	uint64_t over_seconds;  /* in which the guests had more than the host has */
	uint64_t over_pages_max;
	uint32_t fairness_permille; /* Jain's index of the time in which guests did not wait */
	uint32_t used_permille;     /* of the host's memory, needed by guests and theirs, on average */

	/* Of a step. */
	bool converged;
	uint64_t convergence_s; /* until each guest has what it needs, for good */
	uint32_t turns_max;     /* changes of direction of one guest's target, after the step */

	size_t n_samples;
	struct simulate_sample samples[SIMULATE_SAMPLES_MAX];
};

/* -ENOMEM. */
_must_check_ int simulate(const struct simulate_settings *settings,
			  struct simulate_result *ret_result);

/* The share of all guests' time in which tasks waited, in millionths. */
uint64_t simulate_stall_ppm(const struct simulate_result *result);

/*
 * The largest number of guests of a fleet with which no more than @stall_ppm is waited, and the
 * result with it; 0 if there is none. settings->n_guests does not matter. -ENOMEM.
 */
_must_check_ int simulate_fit(const struct simulate_settings *settings, uint64_t stall_ppm,
			      size_t *ret_n_guests, struct simulate_result *ret_result);
