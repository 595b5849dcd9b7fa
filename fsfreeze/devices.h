/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/plan.h"

/*
 * What keeps its data on what, by sysfs.
 */

struct devices_system {
	const char *sysfs;
	const char *dev; /* device nodes */
	const char *root; /* before the paths that the kernel names: of the first namespace; NULL: our own */
};

/*
 * Finds what the file systems of @mounts (in mount order) keep their data on, and what these
 * devices keep theirs on, down to the disks. Opens loop devices for a question, and changes
 * nothing. The links are the caller's. -ENOMEM; what cannot be found out has no link.
 */
_must_check_ int devices_find_links(const struct devices_system *system,
				    const struct freeze_mount *mounts, size_t n_mounts,
				    struct freeze_link **ret_links, size_t *ret_n);
