/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Where two files differ, told by the blocks that they share and without reading them.
 */

/* The condition of extents_changed(). */
enum {
	EXTENTS_UNKNOWN = 1, /* the file system does not tell where the blocks of a file are */
};

/* A part of a file, in bytes. */
struct extent {
	uint64_t offset;
	uint64_t len;
};

/*
 * The parts of @after_fd, a file of @size bytes, that may differ from @before_fd: in order, apart
 * from each other, none empty. Both are snapshots of one file, made by sharing its blocks, and
 * neither was written to since; then what is not listed is the same. *ret_extents is the caller's
 * to free(), NULL if there are none. EXTENTS_UNKNOWN, -ENOMEM and other errors.
 */
_must_check_ int extents_changed(int before_fd, int after_fd, uint64_t size,
				 struct extent **ret_extents, size_t *ret_n);
