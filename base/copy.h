/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "base/extents.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Copies one image, a file or a disk, to a file. It blocks; base/worker.h is the place to call it
 * from.
 */

/* The conditions of copy_file() and copy_verify(). */
enum {
	COPY_EXISTS = 1, /* there is a target already, and it was not to be replaced */
	COPY_CANCELLED,  /* keep_going() said no */
	COPY_NOT_A_FILE, /* the source is neither a regular file nor a disk */
	COPY_NOT_SHARED, /* the blocks cannot be shared, and the data was not to be moved */
	COPY_DIFFERS,    /* what is in the file is not what was written */
};

enum copy_method {
	COPY_REFLINK,  /* the file system shares the blocks: no data was moved */
	COPY_DIRECT,   /* read and written past the page cache */
	COPY_BUFFERED, /* through the page cache, because a file system refused O_DIRECT */
};

/* Check sums of what was moved. */
struct copy_sums {
	struct copy_sum *sums;
	size_t n;
	size_t capacity;
};

struct copy_options {
	bool replace;      /* an existing target */
	bool no_reflink;   /* move the data even if the file system could share it */
	bool only_reflink; /* share the blocks, or fail with COPY_NOT_SHARED */

	/*
	 * An earlier copy, and where the source differs from it: the target begins as a copy of
	 * @base, then these @n_changed parts are read from the source. NULL: all is.
	 */
	const char *base;
	const struct extent *changed;
	size_t n_changed;

	struct copy_sums *sums; /* of every piece read from the source; NULL: none are made */

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
	uint64_t data_bytes; /* moved: without holes, and 0 for a reflink */
};

/*
 * Copies @source to @target, with the same permission bits and the same holes; of a disk, with
 * holes where it has zeros. The target appears under its name only once it is complete and on
 * disk; on any other return than 0 nothing of it is left, unless just the last sync of its folder
 * failed. COPY_EXISTS, COPY_CANCELLED, COPY_NOT_A_FILE; negative errno, with -ENOSPC if the
 * target's file system is full and -EIO if the source became shorter meanwhile.
 */
_must_check_ int copy_file(const char *source, const char *target,
			   const struct copy_options *options, struct copy_result *ret_result);

/* How large a file or a disk is. COPY_NOT_A_FILE; negative errno. */
_must_check_ int copy_size(const char *source, uint64_t *ret_bytes);

/* Frees them. */
void copy_sums_fini(struct copy_sums *sums);

/*
 * Reads back what copy_file() has written to the file @path, past the page cache where that is
 * possible, and compares it with the sums that were made of it before it was written.
 * COPY_DIFFERS, COPY_CANCELLED (see copy_options; the rest of @options is not looked at).
 */
_must_check_ int copy_verify(const char *path, const struct copy_sums *sums,
			     const struct copy_options *options);

/* "reflink", "direct", "buffered". */
const char *copy_method_name(enum copy_method method);
