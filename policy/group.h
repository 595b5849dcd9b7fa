/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "policy/figures.h"

/*
 * The memory of a group of processes (cgroup v2), its files held open as in policy/meminfo.h. Not
 * safe for two threads at a time.
 */

/* The conditions of this object. */
enum {
	GROUP_UNAVAILABLE = 1, /* new: no such folder, or it has no memory controller */
	GROUP_BAD,             /* read: the kernel's text is not what it should be */
};

struct group;

/* Opens the files of the group at @path, an absolute path. GROUP_UNAVAILABLE. */
_must_check_ int group_new(const char *path, struct group **ret_group);
struct group *group_free(struct group *group);
DEFINE_CLEANUP(group)

/* Reads all anew. GROUP_BAD; negative errno, of which -ENODEV says that the group was removed. */
_must_check_ int group_read(struct group *group, struct memory_group *ret_figures);
