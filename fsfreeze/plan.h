/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "fsfreeze/graph.h"
#include "fsfreeze/rules.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What to freeze, in which order, and why not the rest.
 */

enum {
	FREEZE_PLAN_MAX = 512, /* file systems frozen at once: what the freezer's record holds */
};

/* The conditions of freeze_plan_new(). */
enum {
	FREEZE_PLAN_TOO_MANY = 1, /* more than FREEZE_PLAN_MAX file systems to freeze */
	FREEZE_PLAN_BAD_ROOT,     /* an allowed root is not an absolute path */
};

/* One mount, as the mount table shows it. */
struct freeze_mount {
	const char *target; /* absolute path */
	const char *source;
	const char *type;
	const char *label; /* NULL: none, or not asked for */
	uint64_t mount_id;
	uint64_t device;   /* of the superblock: the same for all mounts of one file system */
	bool read_only;    /* the superblock, not only this mount */
	bool is_fs_root;   /* the mount shows the whole file system, not a directory of it */
	bool is_pseudo;    /* the type has no disk */
	bool is_network;   /* the data is kept on another machine */
	bool is_elsewhere; /* in another mount namespace: the path means nothing in this one */
};

/* All mounts, in the order in which they were mounted, and what keeps its data on what. */
struct freeze_table {
	const struct freeze_mount *mounts;
	size_t n_mounts;
	const struct freeze_link *links;
	size_t n_links;
};

/* What the user allows to be frozen. */
struct freeze_rules {
	bool all;
	const char *const *roots; /* else only what is mounted at or below one of these */
	size_t n_roots;
	const struct freeze_rule *include; /* if there are any: only what one of them names */
	size_t n_include;
	const struct freeze_rule *exclude; /* nothing that one of these names */
	size_t n_exclude;
};

enum freeze_verdict {
	FREEZE_VERDICT_FREEZE,
	FREEZE_VERDICT_UNSUPPORTED, /* writable and wanted, but the type cannot be frozen */
	FREEZE_VERDICT_CYCLE,       /* writable and wanted, but its data is kept on itself */
	FREEZE_VERDICT_HIDDEN,      /* writable and wanted, but no path leads to it */
	FREEZE_VERDICT_NETWORK,
	FREEZE_VERDICT_PSEUDO,
	FREEZE_VERDICT_READ_ONLY,
	FREEZE_VERDICT_NOT_ALLOWED,
	FREEZE_VERDICT_EXCLUDED, /* by a rule */
};

/* One file system. */
struct freeze_plan_entry {
	const struct freeze_mount *mount; /* the one to open */
	enum freeze_verdict verdict;
	unsigned int level; /* 0 is frozen first; those of one level at the same time */
	bool in_cycle;      /* its data is kept on itself */
	unsigned int disks; /* the same for those that share disks */
	const char *reason; /* one English clause; static */
	const struct freeze_mount *const *mounts; /* all of its mounts, in mount order */
	size_t n_mounts;
};

struct freeze_plan {
	struct freeze_plan_entry *entries; /* in freeze order: by level */
	size_t n_entries;
	size_t n_freeze;  /* entries with FREEZE_VERDICT_FREEZE */
	size_t n_missing; /* entries that are wanted and cannot be frozen: unsupported, in a cycle, hidden */
	const struct freeze_mount **mounts;
};

/*
 * Plans for the mounts of @table. They and their strings are borrowed for as long as the plan
 * lives; links and @rules are not. FREEZE_PLAN_TOO_MANY, FREEZE_PLAN_BAD_ROOT, -ENOMEM.
 */
_must_check_ int freeze_plan_new(const struct freeze_table *table, const struct freeze_rules *rules,
				 struct freeze_plan **ret_plan);

/*
 * What a table of mounts does not tell: no path leads to the @i-th entry, which was to be frozen. It is
 * missing from now on.
 */
void freeze_plan_hide(struct freeze_plan *plan, size_t i);

/* Takes NULL; returns NULL. */
struct freeze_plan *freeze_plan_free(struct freeze_plan *plan);
DEFINE_CLEANUP(freeze_plan)

/* Whether what has this verdict is wanted and cannot be frozen. */
bool freeze_verdict_is_missing(enum freeze_verdict verdict);

/* The verdict's name for machines: "freeze", "unsupported", "read-only", ... */
const char *freeze_verdict_name(enum freeze_verdict verdict);
