/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What keeps its data on what, and the order of freezing that follows from it.
 */

enum freeze_node_kind {
	FREEZE_NODE_FS,    /* a file system; device: of its superblock */
	FREEZE_NODE_BLOCK, /* a block device */
};

struct freeze_node {
	enum freeze_node_kind kind;
	uint64_t device;
};

/* The data of @upper is kept on @lower. */
struct freeze_link {
	struct freeze_node upper;
	struct freeze_node lower;
};

/* What the links say of one file system. */
struct freeze_rank {
	unsigned int level; /* greater than that of every file system whose data is kept on it */
	bool in_cycle;      /* its data is kept on itself, by way of others or not */
	unsigned int disks; /* the same for those that links connect, whichever way they lead */
};

/*
 * Ranks the @n file systems with these superblock devices. Links may be in any order, name each
 * other in any way, and be there twice. -ENOMEM.
 */
_must_check_ int freeze_graph_rank(const struct freeze_link *links, size_t n_links,
				   const uint64_t *superblocks, size_t n,
				   struct freeze_rank *ret_ranks);
