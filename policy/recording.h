/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "policy/balancer.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Recordings: what the guests of a host reported, one line for each second and guest. Text, so that
 * it can be looked at, cut and made by others; docs/POLICY.md describes it. Names have no blanks.
 *
 *     hvguest-recording 1
 *     limits NAME STARTUP MINIMUM MAXIMUM BUFFER WEIGHT
 *     status MS NAME ASSIGNED BALLOONED COMMITTED AVAILABLE SWAPPED
 *
 * All amounts are pages of 4 KiB; MS is milliseconds since the first line, and never falls.
 */

enum {
	RECORDING_LINE_MAX = 256, /* bytes of a line, with its end */
};

/* The conditions of recording_add_line(). */
enum {
	RECORDING_MALFORMED = 1, /* not a line of the above */
	RECORDING_VERSION,       /* it begins otherwise: of another version, or no recording */
	RECORDING_UNKNOWN,       /* status of a guest without limits */
	RECORDING_BACKWARDS,     /* earlier than the line before */
	RECORDING_TWICE,         /* limits of a guest that has some */
	RECORDING_FULL,          /* more guests or seconds than are kept */
};

/* A moment of a guest. */
struct recording_point {
	uint64_t ms;
	uint64_t assigned_pages;
	uint64_t ballooned_pages;
	uint64_t committed_pages;
	uint64_t available_pages;
	uint64_t swapped_pages;
};

struct recording_guest {
	char name[BALANCER_NAME_MAX + 1];
	struct balancer_limits limits;
	struct recording_point *points; /* by time */
	size_t n_points;
	size_t capacity;
};

struct recording;

/* Empty. -ENOMEM. */
_must_check_ int recording_new(struct recording **ret_recording);
struct recording *recording_free(struct recording *r);
DEFINE_CLEANUP(recording)

/*
 * Takes the @length bytes of a line, without its end; empty lines and such that begin with # are
 * passed over. Conditions as above; the recording is then as it was. -ENOMEM.
 */
_must_check_ int recording_add_line(struct recording *r, const char *line, size_t length);

/* What a condition says, for people. */
const char *recording_condition_text(int condition);

/* The guests, in the order in which they came; borrowed until the next line. */
size_t recording_n_guests(const struct recording *r);
const struct recording_guest *recording_guest(const struct recording *r, size_t i);

/* The time of the last line. */
uint64_t recording_ms(const struct recording *r);

/* The last point of @guest that is not after @ms; NULL if there is none. */
const struct recording_point *recording_at(const struct recording_guest *guest, uint64_t ms);

/* Writes a line with its end, and returns its length, below RECORDING_LINE_MAX. */
size_t recording_write_head(char line[RECORDING_LINE_MAX]);
size_t recording_write_limits(char line[RECORDING_LINE_MAX], const char *name,
			      const struct balancer_limits *limits);
size_t recording_write_point(char line[RECORDING_LINE_MAX], const char *name,
			     const struct recording_point *point);
