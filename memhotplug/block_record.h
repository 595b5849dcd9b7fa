/* SPDX-License-Identifier: MIT */
#pragma once

#include "memhotplug/blocks.h"

/*
 * The file that says which memory blocks were taken offline by us, so that they are known after a
 * crash.
 */

enum {
	BLOCK_RECORD_MAX = 4096, /* blocks */
};

/* The conditions of this object. */
enum {
	BLOCK_RECORD_NONE = 1, /* there is no record, or it is of an earlier boot */
	BLOCK_RECORD_BAD,      /* it is not a record, or one of other block sizes */
	BLOCK_RECORD_FULL,     /* more than BLOCK_RECORD_MAX blocks */
};

/* A block that is ours, and the zone that it has to come back to. */
struct block_mark {
	uint64_t number;
	enum block_zone zone;
};

/*
 * Replaces the record at @path in one step: whoever reads it sees the old one or the new one.
 * @path should be on a tmpfs. BLOCK_RECORD_FULL.
 */
_must_check_ int block_record_write(const char *path, uint64_t block_bytes,
				    const struct block_mark *marks, size_t n);

/*
 * Reads the record at @path; *ret_marks is the caller's to free().
 * BLOCK_RECORD_NONE, BLOCK_RECORD_BAD.
 */
_must_check_ int block_record_read(const char *path, uint64_t block_bytes,
				   struct block_mark **ret_marks, size_t *ret_n);
