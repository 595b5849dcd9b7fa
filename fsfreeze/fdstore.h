/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>

/*
 * The service manager's store of descriptors: what is put there outlives every process of ours.
 */

/* The conditions of fdstore_put(). */
enum {
	FDSTORE_NONE = 1, /* there is no service manager, or it does not listen */
	FDSTORE_LATE,     /* they are on their way to it, but it has not said that it has them */
};

/*
 * Puts copies of the @n descriptors into the store, all under @name, and waits until the manager has
 * them, for a fifth of a second at most. FDSTORE_NONE, FDSTORE_LATE.
 */
_must_check_ int fdstore_put(const char *name, const int *fds, size_t n);

/* Has the store close all that it has under @name. */
void fdstore_remove(const char *name);

/*
 * Takes over what the store gave to this process under @name when it started: at most @max
 * descriptors, close-on-exec, the caller's. Returns how many. What has other names stays open.
 */
size_t fdstore_take(const char *name, int *ret_fds, size_t max);
