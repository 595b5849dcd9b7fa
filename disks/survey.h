/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "disks/growth.h"

#include <sys/types.h>

/*
 * Disks, as the kernel has them now.
 */

/* The condition of disk_survey(). */
enum {
	DISK_SURVEY_NONE = 1, /* there is no such disk */
};

/* The name of the disk ("sda") that @what names: a name, or a path to its node. DISK_SURVEY_NONE. */
_must_check_ int disk_find(const char *what, char ret_name[DISK_NAME_SIZE]);

/* What is on disk @name. DISK_SURVEY_NONE; negative errno: it cannot be read. */
_must_check_ int disk_survey(const char *name, struct disk_layout *ret_layout);

/*
 * The names of all disks: what has a device of its own, without those that are made of
 * others (loop, dm, md) or of memory. At most @max; returns how many.
 */
size_t disk_list(char (*names)[DISK_NAME_SIZE], size_t max);

/* The node and the device number of a part of a disk. False: it is gone. */
bool disk_part_node(const struct disk_layout *layout, const struct disk_part *part,
		    char path[DISK_PATH_SIZE], dev_t *ret_device);
