/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "disks/growth.h"

#include <sys/types.h>

/*
 * File systems that are in use: how large they are, and making them larger.
 */

/*
 * Finds where the file system on @device (node @path, of type @part->content) is mounted, for writing if
 * it is anywhere; fills in mount, is_read_only and content_bytes. What cannot be found out stays as
 * "not mounted" or "size not known".
 */
void content_find(struct disk_part *part, const char *path, dev_t device);

/* NULL, or why this process may not make this file system larger: a static clause. */
const char *content_forbidden(const struct disk_part *part);

/*
 * Makes the file system as large as the device (node @path), which has @size_bytes. It is used
 * meanwhile. Negative errno, as the file system gave it.
 */
_must_check_ int content_grow(const struct disk_part *part, const char *path, dev_t device,
			      uint64_t size_bytes);
