/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/freezer_crew.h"
#include "fsfreeze/freezer_proto.h"

#include <stdbool.h>

/*
 * The part of the freezer that thaws.
 */

struct thawer {
	struct freezer_record *record;
	const int *fds; /* one per entry of the record */
	int done_fd;    /* eventfd, written to by a thread that thaws later than it was waited for */
	struct crew crew;
	_Atomic uint32_t level;    /* that is being thawed */
	_Atomic uint32_t next;     /* index of the entry that the next member looks at */
	_Atomic uint32_t n_tried;  /* entries of this level that were thawed, or refused */
	_Atomic uint32_t n_inside; /* members that are at work */
	_Atomic bool is_late;      /* nobody waits for them any more */
};

/* Starts the threads. @record, @fds and @done_fd are set, and @t lives as long as the process. */
_must_check_ int thawer_start(struct thawer *t);

/*
 * Ends the freeze for every entry, outermost first. Nothing is frozen after it but what refuses
 * (state FROZEN), and what still hangs in the kernel (state THAWING).
 */
void thawer_run(struct thawer *t);

/* After thawer_run(): does a thread still hang? When it is back, done_fd becomes readable. */
bool thawer_is_busy(const struct thawer *t);

/* How many entries of @record are in @state. */
uint32_t thawer_count(const struct freezer_record *record, enum freezer_entry_state state);
