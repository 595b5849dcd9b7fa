/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "fsfreeze/plan.h"

/*
 * The mount table of this process, and opening what it lists.
 */

/* The conditions of mounts_open() and mounts_open_entry(). */
enum {
	MOUNTS_VANISHED = 1, /* the path does not lead to that mount (any more) */
};

struct mounts {
	struct freeze_mount *entries; /* in mount order */
	size_t n_entries;
	struct freeze_link *links;
	size_t n_links;
	struct libmnt_table *table; /* owns the strings, but for labels */
};

/* Reads /proc/self/mountinfo, and from sysfs what keeps its data on what. */
_must_check_ int mounts_new(struct mounts **ret_mounts);

/*
 * Asks each file system that has a disk for its label; those that have none, or cannot be asked,
 * are left without. -ENOMEM.
 */
_must_check_ int mounts_read_labels(struct mounts *mounts);

/* The same for freeze_plan_new(); borrowed. */
struct freeze_table mounts_table(const struct mounts *mounts);

/* Takes NULL; returns NULL. */
struct mounts *mounts_free(struct mounts *mounts);
DEFINE_CLEANUP(mounts)

/*
 * Opens the directory or file on which @mount sits, for reading only and without setting off an
 * automount, and proves that the descriptor is on that mount. MOUNTS_VANISHED.
 */
_must_check_ int mounts_open(const struct freeze_mount *mount, int *ret_fd);

/*
 * Opens a file system of a plan: by its chosen mount, else by any other mount of it.
 * MOUNTS_VANISHED.
 */
_must_check_ int mounts_open_entry(const struct freeze_plan_entry *entry, int *ret_fd);
