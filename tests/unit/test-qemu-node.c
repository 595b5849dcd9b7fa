/* SPDX-License-Identifier: MIT */

/* Which node of QEMU's is the disk, by answers of query-named-block-nodes. */

#include "host/qemu_node.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define NODE(name, driver, file) \
	"{\"node-name\":\"" name "\",\"drv\":\"" driver "\",\"file\":\"" file \
	"\",\"image\":{\"virtual-size\":1048576}}"

static const char *find(const char *nodes, struct qemu_node *ret_node)
{
	json_t *json = json_loads(nodes, JSON_DECODE_INT_AS_REAL, NULL);
	const char *why;

	cr_assert(json != NULL);
	why = qemu_node_find(json, "/images/disk", ret_node);
	json_decref(json);
	return why;
}

Test(qemu_node, the_disk_is_what_the_vm_sees_and_not_the_file_below)
{
	static const struct {
		const char *nodes;
		const char *name; /* NULL: there is none to copy */
		bool is_qcow2;
	} rows[] = {
		{"[" NODE("file", "file", "/images/disk") "," NODE("top", "raw", "/images/disk") "]", "top",
		 false},
		{"[" NODE("top", "qcow2", "/images/disk") "," NODE("file", "file", "/images/disk") "]",
		 "top", true},
		{"[" NODE("file", "file", "/images/disk") "]", "file", false},
		{"[" NODE("slow", "throttle", "/images/disk") "," NODE("top", "raw", "/images/disk") "]",
		 "top", false},
		{"[" NODE("disk", "host_device", "/images/disk") "]", "disk", false},
		{"[" NODE("top", "vmdk", "/images/disk") "," NODE("file", "file", "/images/disk") "]", NULL,
		 false},
		{"[" NODE("top", "raw", "/images/other") "]", NULL, false},
		{"[{\"node-name\":\"top\",\"drv\":\"raw\",\"file\":\"/images/disk\"}]", NULL, false},
		{"[{}, 1, \"x\", null]", NULL, false},
		{"{}", NULL, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct qemu_node node;
		const char *why = find(rows[i].nodes, &node);

		cr_expect(eq(int, why == NULL, rows[i].name != NULL), "row %zu: %s", i, why ? why : "");
		if (why)
			continue;
		cr_expect(eq(int, strcmp(node.name, rows[i].name), 0), "row %zu: %s", i, node.name);
		cr_expect(eq(int, node.is_qcow2, rows[i].is_qcow2), "row %zu", i);
		cr_expect(eq(u64, node.size_bytes, 1048576), "row %zu", i);
	}
}

Test(qemu_node, of_its_bitmaps_ours_count_and_only_if_they_have_seen_all)
{
	static const char nodes[] =
		"[{\"node-name\":\"top\",\"drv\":\"raw\",\"file\":\"/images/disk\","
		"\"image\":{\"virtual-size\":1},\"dirty-bitmaps\":["
		"{\"name\":\"hvguest-good\",\"recording\":true,\"busy\":false,\"persistent\":true},"
		"{\"name\":\"hvguest-off\",\"recording\":false,\"busy\":false},"
		"{\"name\":\"hvguest-busy\",\"recording\":true,\"busy\":true},"
		"{\"name\":\"hvguest-lost\",\"recording\":true,\"busy\":false,\"inconsistent\":true},"
		"{\"name\":\"theirs\",\"recording\":true,\"busy\":false},{\"recording\":true}]}]";
	struct qemu_node node;

	cr_assert(find(nodes, &node) == NULL);
	cr_expect(eq(sz, node.n_bitmaps, 4));
	cr_expect(qemu_node_has_bitmap(&node, "good"));
	cr_expect(not(qemu_node_has_bitmap(&node, "off")));
	cr_expect(not(qemu_node_has_bitmap(&node, "busy")));
	cr_expect(not(qemu_node_has_bitmap(&node, "lost")));
	cr_expect(not(qemu_node_has_bitmap(&node, "theirs")));
	cr_expect(not(qemu_node_has_bitmap(&node, "")));
}

Test(qemu_node, more_bitmaps_than_there_is_room_for_are_left_alone)
{
	json_t *bitmaps = json_array(), *nodes;
	struct qemu_node node;

	for (int i = 0; i < 2 * QEMU_BITMAPS_MAX; i++)
		json_array_append_new(bitmaps, json_pack("{s:s, s:b}", "name", "hvguest-x", "recording", 1));
	nodes = json_pack("[{s:s, s:s, s:s, s:{s:f}, s:o}]", "node-name", "top", "drv", "raw", "file",
			  "/images/disk", "image", "virtual-size", 1.0, "dirty-bitmaps", bitmaps);
	cr_assert(qemu_node_find(nodes, "/images/disk", &node) == NULL);
	cr_expect(eq(sz, node.n_bitmaps, QEMU_BITMAPS_MAX));
	json_decref(nodes);
}
