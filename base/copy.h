/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Copies one image file. It blocks; base/worker.h is the place to call it from.
 */

/* The conditions of copy_file(). */
enum {
	COPY_EXISTS = 1, /* there is a target already, and it was not to be replaced */
	COPY_CANCELLED,  /* keep_going() said no */
	COPY_NOT_A_FILE, /* the source is no regular file */
};

enum copy_method {
	COPY_REFLINK,  /* the file system shares the blocks: no data was moved */
	COPY_DIRECT,   /* read and written past the page cache */
	COPY_BUFFERED, /* through the page cache, because a file system refused O_DIRECT */
};

struct copy_options {
	bool replace;    /* an existing target */
	bool no_reflink; /* move the data even if the file system could share it */

	/*
	 * Told now and then that the first @done_bytes of @total_bytes are read; both count holes.
	 * Returns false to cancel. In the thread of copy_file(). May be NULL.
	 */
	bool (*keep_going)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void *user;
};

struct copy_result {
	enum copy_method method;
	uint64_t size_bytes; /* of the file */
	uint64_t data_bytes; /* read and written; without holes, and 0 for a reflink */
};

/*
 * Copies @source to @target, with the same permission bits and the same holes. The target appears
 * under its name only once it is complete and on disk; on any other return than 0 nothing of it is
 * left, unless just the last sync of its folder failed.
 * COPY_EXISTS, COPY_CANCELLED, COPY_NOT_A_FILE; negative errno, with -ENOSPC if the target's file
 * system is full and -EIO if the source became shorter meanwhile.
 */
_must_check_ int copy_file(const char *source, const char *target,
			   const struct copy_options *options, struct copy_result *ret_result);

/* "reflink", "direct", "buffered". */
const char *copy_method_name(enum copy_method method);
