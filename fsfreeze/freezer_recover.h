/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/freezer_proto.h"
#include "fsfreeze/mounts.h"

/*
 * Taking over the record from a predecessor, and thawing what it left frozen.
 */

/* The conditions of freezer_recover_open(). */
enum {
	FREEZER_RECOVER_BUSY = 1,      /* another process, or its freezer, holds the record */
	FREEZER_RECOVER_NOT_IN_MEMORY, /* the directory is not on a tmpfs */
};

/*
 * Opens, or makes, the record in @run_dir, waits @lock_timeout_ns at most for the lock on it, and
 * maps it. The descriptor, which holds the lock, and the mapping are the caller's.
 * FREEZER_RECOVER_BUSY, FREEZER_RECOVER_NOT_IN_MEMORY.
 */
_must_check_ int freezer_recover_open(const char *run_dir, uint64_t lock_timeout_ns, int *ret_fd,
				      struct freezer_record **ret_record);

/*
 * Thaws all that @record leaves in doubt, by what the service manager has stored for it, or found
 * among the mounts of @whose; turns the knob back (@rcu_fd: of rcu_open()) if the record says so,
 * and begins it anew. *ret_results (to be freed, may be NULL) says what became of each: THAWED, or
 * FROZEN with an error if it could not be reached.
 */
_must_check_ int freezer_recover(struct freezer_record *record, int rcu_fd, enum mounts_of whose,
				 struct freezer_result **ret_results, size_t *ret_n);

/*
 * Both at once, without waiting for the lock, and without keeping anything: the first act of a
 * daemon. Conditions as of freezer_recover_open(); a record that cannot be had now is left to it.
 */
_must_check_ int freezer_recover_now(const char *run_dir, enum mounts_of whose,
				     struct freezer_result **ret_results, size_t *ret_n);
