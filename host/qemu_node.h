/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A disk image as QEMU knows it: a node of its block graph.
 */

enum {
	QEMU_NODE_NAME_SIZE = 64,
	QEMU_BITMAP_NAME_SIZE = 64,
	QEMU_BITMAPS_MAX = 8, /* of ours; more are left alone */
};

#define QEMU_BITMAP_PREFIX "hvguest-" /* what a bitmap of ours is called, before a tag */

struct qemu_node {
	char name[QEMU_NODE_NAME_SIZE];
	bool is_qcow2; /* else raw */
	uint64_t size_bytes; /* of the disk that the VM sees */
	/* What has been written since earlier backups: those of our bitmaps that can be relied on. */
	char bitmaps[QEMU_BITMAPS_MAX][QEMU_BITMAP_NAME_SIZE];
	bool is_usable[QEMU_BITMAPS_MAX];
	size_t n_bitmaps;
};

/*
 * The node for the image at @path in @nodes, the answer to query-named-block-nodes. NULL, or why there is
 * none that can be copied.
 */
const char *qemu_node_find(const json_t *nodes, const char *path, struct qemu_node *ret_node);

/* Whether it has a bitmap of this tag that can be relied on. */
bool qemu_node_has_bitmap(const struct qemu_node *node, const char *tag);
