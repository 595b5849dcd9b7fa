/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "disks/growth.h"

/*
 * The partition table of a disk.
 */

/* The condition of table_extend(). */
enum {
	TABLE_REFUSED = 1, /* it cannot be extended so, or has changed meanwhile */
};

/*
 * Looks at the table on the disk that is open as @fd, of which @layout has size, sector size and the
 * kernel's partitions. Fills in table (@kind is what libblkid calls it; NULL: none), problem,
 * usable_end_bytes, and table_bytes and is_nested of each partition. Negative errno: it cannot be read.
 */
_must_check_ int table_read(int fd, const char *kind, struct disk_layout *layout);

/*
 * Makes partition @number @size_bytes long, in the table only. At any instant the table on the disk is
 * the old one or the new one, whatever ends this process. @ret_why, DISK_REASON_SIZE bytes, is set with
 * TABLE_REFUSED. @path is the disk's node.
 */
_must_check_ int table_extend(const char *path, const struct disk_layout *layout, unsigned number,
			      uint64_t size_bytes, char *ret_why);
