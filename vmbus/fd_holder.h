/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <sys/types.h>

/*
 * Who has a device node open.
 */

/* The condition of fd_holder_find(). */
enum {
	FD_HOLDER_NONE = 1, /* nobody whose descriptors we may see has it open */
};

struct fd_holder {
	pid_t pid;
	char name[16]; /* of the program, as the kernel has it */
	char path[64]; /* the device node */
};

/* A process below @proc ("/proc") that has @path open, ourselves included. FD_HOLDER_NONE. */
_must_check_ int fd_holder_find(const char *proc, const char *path, struct fd_holder *ret_holder);
