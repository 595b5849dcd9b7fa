/* SPDX-License-Identifier: MIT */

/*
 * A VM's memory, by what QEMU says of it.
 *
 * hv-balloon passes on what the guest reports by Hyper-V's protocol, so its figures are a balancer's
 * as they are. A guest of virtio-balloon knows nothing of that; it has statistics, and the report is
 * made of them here. What it needs is what it has in use, which is all that is not available, and a
 * floor: its driver gives whatever it is told to, until the kernel kills for want of memory, so what a
 * guest of hvguest keeps by itself has to be kept for it. The floor is the one that Linux's Hyper-V
 * driver has (policy/floor).
 *
 * Statistics that a guest does not have are "unknown", and those of a guest whose driver does not
 * answer stay as they were; only last-update tells.
 *
 * Sources: QEMU qapi/machine.json (query-balloon, HV_BALLOON_STATUS_REPORT), hw/virtio/virtio-balloon.c
 * (balloon_stats_get_all()), docs/interop/virtio-balloon-stats.rst.
 */

#include "host/qemu_figures.h"

#include "host/qmp_wire.h"
#include "policy/floor.h"

#include <string.h>

enum {
	PAGE_BYTES = 4096,
};

static const struct {
	const char *type; /* of a member: "child<TYPE>" */
	enum qemu_balloon balloon;
} types[] = {
	{"child<hv-balloon>", QEMU_BALLOON_HV},
	{"child<virtio-balloon-pci>", QEMU_BALLOON_VIRTIO},
	{"child<virtio-balloon-pci-transitional>", QEMU_BALLOON_VIRTIO},
	{"child<virtio-balloon-pci-non-transitional>", QEMU_BALLOON_VIRTIO},
	{"child<virtio-balloon-device>", QEMU_BALLOON_VIRTIO},
	{"child<virtio-balloon-ccw>", QEMU_BALLOON_VIRTIO},
};

int qemu_find_balloon(const json_t *list, enum qemu_balloon *ret_balloon, const char **ret_name)
{
	const json_t *member;
	size_t i;

	json_array_foreach(list, i, member) {
		const char *type = json_string_value(json_object_get(member, "type"));
		const char *name = json_string_value(json_object_get(member, "name"));

		for (size_t t = 0; type && name && t < sizeof(types) / sizeof(types[0]); t++) {
			if (strcmp(type, types[t].type) != 0)
				continue;
			*ret_balloon = types[t].balloon;
			*ret_name = name;
			return 0;
		}
	}
	return QEMU_FIGURES_BAD;
}

const char *qemu_balloon_name(enum qemu_balloon balloon)
{
	static const char *const names[] = {
		[QEMU_BALLOON_NONE] = "none",
		[QEMU_BALLOON_VIRTIO] = "virtio-balloon",
		[QEMU_BALLOON_HV] = "hv-balloon",
	};

	return names[balloon];
}

int qemu_pages(const json_t *value, const char *key, uint64_t *ret_pages)
{
	uint64_t bytes;

	if (!qmp_number(json_object_get(value, key), &bytes) || bytes < PAGE_BYTES)
		return QEMU_FIGURES_BAD;
	*ret_pages = bytes / PAGE_BYTES;
	return 0;
}

int qemu_hv_report(const json_t *data, struct qemu_report *ret_report)
{
	uint64_t committed, available;

	if (!qmp_number(json_object_get(data, "committed"), &committed) ||
	    !qmp_number(json_object_get(data, "available"), &available))
		return QEMU_FIGURES_BAD;
	*ret_report = (struct qemu_report){
		.committed_pages = committed / PAGE_BYTES,
		.available_pages = available / PAGE_BYTES,
	};
	return 0;
}

int qemu_virtio_report(const json_t *stats, uint64_t ballooned_pages, struct qemu_report *ret_report)
{
	static const struct floor_rule kernel = {.kind = FLOOR_KERNEL};
	const json_t *list = json_object_get(stats, "stats");
	uint64_t total, available, swapped_out, updated, floor;
	struct memory_figures figures = {0};

	if (!qmp_number(json_object_get(stats, "last-update"), &updated) || updated == 0 ||
	    !qmp_number(json_object_get(list, "stat-total-memory"), &total) || total == 0)
		return QEMU_FIGURES_BAD;
	/* Linux before 4.6 does not say what is available; what is free is less, and on the safe side. */
	if (!qmp_number(json_object_get(list, "stat-available-memory"), &available) &&
	    !qmp_number(json_object_get(list, "stat-free-memory"), &available))
		return QEMU_FIGURES_BAD;
	if (available > total)
		return QEMU_FIGURES_BAD;
	if (!qmp_number(json_object_get(list, "stat-swap-out"), &swapped_out))
		swapped_out = 0;

	floor = floor_pages(&kernel, &figures, total / PAGE_BYTES);
	*ret_report = (struct qemu_report){
		.committed_pages = (total - available) / PAGE_BYTES + floor + ballooned_pages,
		.available_pages = available / PAGE_BYTES,
		.floor_pages = floor,
		.swapped_out_pages = swapped_out / PAGE_BYTES,
		.updated = updated,
	};
	return 0;
}
