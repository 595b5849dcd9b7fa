/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/freezer_crew.h"
#include "fsfreeze/freezer_proto.h"

#include <stdbool.h>

/*
 * The part of the freezer that may hang: everything up to FROZEN.
 */

struct worker {
	struct freezer_record *record;
	int rcu_fd;
	int work_fd; /* socket: receives the FREEZE messages */
	int done_fd; /* eventfd, written to when one of these becomes true: */
	_Atomic bool failed;   /* a file system could not be frozen; the rest is given up */
	_Atomic bool finished; /* all threads have returned; whoever reads it sets it to false */
	struct crew crew;
	void (*piece)(struct worker *w, size_t i); /* what the crew does, for each number of a round */
	_Atomic uint32_t next; /* the number that the next member takes */
	uint32_t end;          /* of the numbers of this round */
	uint16_t first_on[FREEZER_ENTRIES_MAX]; /* of each set of disks, its first entry */
	_Atomic bool synced[FREEZER_ENTRIES_MAX]; /* some member has taken the entry to write it back */
	size_t n_fds;
	int fds[FREEZER_ENTRIES_MAX];
};

/*
 * Starts the threads, which have a descriptor table of their own, without the command socket, and
 * waits until they are ready. @record, @rcu_fd and @done_fd of @w are set, and @w lives as long as
 * the process. *ret_work_fd is where jobs are sent, as FREEZE messages. Negative errno.
 */
_must_check_ int worker_start(struct worker *w, int *ret_work_fd);
