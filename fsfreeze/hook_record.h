/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/hook_list.h"

#include <sys/types.h>

/*
 * The record of hooks that have run FREEZE and have not been called back: a file in the run
 * directory, for the daemon that comes after one that was killed.
 */

/* A process of a hook, to be told from another one with the same number. */
struct hook_trace {
	pid_t pid; /* 0: none */
	uint64_t start_time; /* hook_process_start_time() */
};

/*
 * Writes down, in place of what was there, the hooks of @list that @items says have begun and have
 * not been called back; @running is the process of the one that runs FREEZE now. Without any such hook
 * the file is removed. Negative errno: the record is as it was.
 */
_must_check_ int hook_record_write(const char *run_dir, const struct hook_list *list,
				   const struct hook_item *items, const struct hook_trace *running);

/*
 * Reads a predecessor's record into the empty @list, whose hooks have nothing but ABORT; no record
 * is an empty one, and so is one that cannot be understood (this file says what one looks like).
 * Negative errno.
 */
_must_check_ int hook_record_read(const char *run_dir, struct hook_list *list,
				  struct hook_trace *ret_running);
