/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "fsfreeze/plan.h"

/*
 * The mount table, and opening what it lists.
 */

/* The conditions of this object. */
enum {
	MOUNTS_VANISHED = 1, /* open: the path does not lead to that mount (any more) */
	MOUNTS_HIDDEN,       /* new: this process may not look at the mounts of process 1 */
};

/* Whose mounts. */
enum mounts_of {
	MOUNTS_OF_SELF, /* of this process's mount namespace, and of no other */
	MOUNTS_OF_INIT, /* of process 1's, and what is mounted in other namespaces only */
};

/* A mount namespace. */
struct mounts_namespace {
	uint64_t id;
	char root[32]; /* goes before its paths */
	struct libmnt_table *table; /* owns the strings of its mounts, but for labels */
};

struct mounts {
	struct freeze_mount *entries; /* in mount order, one namespace after the other */
	uint32_t *spaces;             /* for each of the entries: index of its namespace */
	size_t n_entries;
	struct freeze_link *links;
	size_t n_links;
	struct mounts_namespace *namespaces;
	size_t n_namespaces;
};

/*
 * Reads mountinfo, and from sysfs what keeps its data on what. MOUNTS_HIDDEN: it takes the rights to
 * trace process 1 (CAP_SYS_PTRACE, and each capability that it has).
 */
_must_check_ int mounts_new(enum mounts_of whose, struct mounts **ret_mounts);

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
 * Opens the directory or file on which @mount, one of @mounts, sits, for reading only and without
 * setting off an automount, and proves that the descriptor is on that mount. MOUNTS_VANISHED.
 */
_must_check_ int mounts_open(const struct mounts *mounts, const struct freeze_mount *mount,
			     int *ret_fd);

/*
 * Whether a path leads to any mount of a file system of a plan that was made of @mounts. One that was
 * unmounted meanwhile is not reached either; one of which that cannot be told is.
 */
bool mounts_reach(const struct mounts *mounts, const struct freeze_plan_entry *entry);

/*
 * Opens a file system of a plan that was made of @mounts: by its chosen mount, else by any other
 * mount of it. MOUNTS_VANISHED.
 */
_must_check_ int mounts_open_entry(const struct mounts *mounts,
				   const struct freeze_plan_entry *entry, int *ret_fd);
