/* SPDX-License-Identifier: MIT */

/*
 * Nodes of QEMU's block graph.
 *
 * An image has two nodes at least: one for the file, and above it one that makes a disk of what is
 * in the file. The upper one is what the VM sees, and what is copied; an image that is opened
 * without it has nothing in the file but the disk.
 *
 * A bitmap of a node notes what is written. It is of use if QEMU has kept it all the time: one
 * that was loaded from an image that nobody had closed in order is "inconsistent".
 *
 * Source: QEMU qapi/block-core.json, BlockDeviceInfo, BlockDirtyInfo.
 */

#include "host/qemu_node.h"

#include "host/qmp_wire.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static bool is_same_file(const char *a, const char *b)
{
	struct stat x, y;

	if (!strcmp(a, b))
		return true;
	if (stat(a, &x) < 0 || stat(b, &y) < 0)
		return false;
	return S_ISBLK(x.st_mode) ? S_ISBLK(y.st_mode) && x.st_rdev == y.st_rdev
				  : x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}

static void take_bitmaps(const json_t *json, struct qemu_node *node)
{
	const json_t *bitmap;
	size_t i;

	json_array_foreach(json_object_get(json, "dirty-bitmaps"), i, bitmap) {
		const char *name = text(bitmap, "name");
		size_t n = node->n_bitmaps;

		if (strncmp(name, QEMU_BITMAP_PREFIX, strlen(QEMU_BITMAP_PREFIX)) != 0 ||
		    n == QEMU_BITMAPS_MAX || strlen(name) >= QEMU_BITMAP_NAME_SIZE)
			continue;
		snprintf(node->bitmaps[n], QEMU_BITMAP_NAME_SIZE, "%s", name);
		node->is_usable[n] = json_is_true(json_object_get(bitmap, "recording")) &&
				     !json_is_true(json_object_get(bitmap, "busy")) &&
				     !json_is_true(json_object_get(bitmap, "inconsistent"));
		node->n_bitmaps++;
	}
}

/* Lets pass what is in the image, and does something about it. */
static bool is_filter(const char *driver)
{
	static const char *const filters[] = {"throttle", "copy-on-read", "copy-before-write"};

	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++)
		if (!strcmp(driver, filters[i]))
			return true;
	return false;
}

static const char *take(const json_t *json, struct qemu_node *ret_node)
{
	struct qemu_node node = {.is_qcow2 = !strcmp(text(json, "drv"), "qcow2")};
	const json_t *image = json_object_get(json, "image");

	if (snprintf(node.name, sizeof(node.name), "%s", text(json, "node-name")) >=
		    (int)sizeof(node.name) ||
	    !qmp_number(json_object_get(image, "virtual-size"), &node.size_bytes))
		return "QEMU does not say how large it is";
	take_bitmaps(json, &node);
	*ret_node = node;
	return NULL;
}

const char *qemu_node_find(const json_t *nodes, const char *path, struct qemu_node *ret_node)
{
	const json_t *disk = NULL, *file = NULL, *node;
	size_t i;

	json_array_foreach(nodes, i, node) {
		const char *driver = text(node, "drv");

		if (!is_same_file(path, text(node, "file")))
			continue;
		if (!strcmp(driver, "raw") || !strcmp(driver, "qcow2"))
			disk = node;
		else if (!strcmp(driver, "file") || !strcmp(driver, "host_device"))
			file = node;
		else if (!is_filter(driver))
			return "it is neither a raw nor a qcow2 image, which is all that is copied this way";
	}
	if (!disk && !file)
		return "the VM has no such image open";
	return take(disk ? disk : file, ret_node);
}

bool qemu_node_has_bitmap(const struct qemu_node *node, const char *tag)
{
	for (size_t i = 0; i < node->n_bitmaps; i++)
		if (!strcmp(node->bitmaps[i] + strlen(QEMU_BITMAP_PREFIX), tag))
			return node->is_usable[i];
	return false;
}
