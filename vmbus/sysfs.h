/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The small files of sysfs, by paths below an open directory.
 */

/* Reads a file of less than @size bytes as a string, without the newline at its end. */
_must_check_ int sysfs_read_text(int dir_fd, const char *path, char *ret_text, size_t size);

/* Reads a number (@base 10; 16 with or without 0x); -1 if there is none that makes sense. */
int64_t sysfs_read_number(int dir_fd, const char *path, int base);

/* Reads the last part of what a symbolic link points to. Negative errno, -ENAMETOOLONG among them. */
_must_check_ int sysfs_read_link(int dir_fd, const char *path, char *ret_name, size_t size);

/* Writes @text in one go, to a file that is there already. Negative errno: what the kernel said. */
_must_check_ int sysfs_write_text(int dir_fd, const char *path, const char *text);
