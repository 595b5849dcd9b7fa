/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_files.h"
#include "services/kvp_store.h"
#include "services/kvp_table.h"

/*
 * What a thread does with the pools: brings memory up to what is in a file, and makes changes in
 * both, several at a time.
 */

enum {
	KVP_LOCK_WAIT_MS = 2000, /* for programs that hold a pool's file */
};

/* Reads the file of @pool if somebody else has changed it. KVP_TABLE_SAME, negative errno. */
_must_check_ int kvp_batch_refresh(struct kvp_files *files, struct kvp_table *table,
				   unsigned int pool, int wait_ms);

/*
 * Makes the @n changes, KVP_BATCH_MAX at most, all of one pool that has a file. results[i] is what
 * kvp_change.done() is to be told of changes[i]. True if readers see anything new.
 */
_must_check_ bool kvp_batch_run(struct kvp_files *files, struct kvp_table *table,
				struct kvp_change *const *changes, size_t n, int *ret_results);
