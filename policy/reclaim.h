/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdint.h>

/*
 * Makes memory free that nobody has used for long, before it is needed. Not safe for two threads at
 * a time.
 */

/* The conditions of this object. */
enum {
	RECLAIM_UNAVAILABLE = 1, /* new: this kernel, or its cgroup set-up, has no memory.reclaim */
	RECLAIM_LITTLE,          /* ask: less could be freed without effort */
};

struct reclaim;

/* Opens @path, which is RECLAIM_PATH. RECLAIM_UNAVAILABLE, -EACCES. */
#define RECLAIM_PATH "/sys/fs/cgroup/memory.reclaim"
_must_check_ int reclaim_new(const char *path, struct reclaim **ret_reclaim);
struct reclaim *reclaim_free(struct reclaim *reclaim);
DEFINE_CLEANUP(reclaim)

/*
 * Asks the kernel to free @bytes of page cache and other memory that is used least. It blocks
 * meanwhile. RECLAIM_LITTLE.
 */
_must_check_ int reclaim_ask(struct reclaim *reclaim, uint64_t bytes);
