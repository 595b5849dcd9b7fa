/* SPDX-License-Identifier: MIT */

/*
 * vmbus/discover.c on folders that stand for sysfs.
 */

#include "vmbus/discover.h"

#include "tests/unit/tree.h"

#define DYNMEM   "devices/1eccfd72-4b41-45ef-b73a-4a6e44c12924"
#define NETWORK  "devices/0b1ee6a2-7f0e-4a11-9c8f-0123456789ab"
#define ODD      "devices/00000000-7f0e-4a11-9c8f-0123456789ab"

enum {
	MAX = 8,
};

static struct vmbus_device devices[MAX];
static size_t n_devices;

/* A device that uio_hv_generic has, as Linux 6.12 shows it. */
static void make_dynmem(void)
{
	tree_file(DYNMEM "/class_id", "{525074DC-8985-46e2-8057-a307dc18a502}\n");
	tree_file(DYNMEM "/id", "21\n");
	tree_file(DYNMEM "/state", "3\n");
	tree_file(DYNMEM "/driver_override", "uio_hv_generic\n");
	tree_link(DYNMEM "/driver", "../../drivers/uio_hv_generic");
	tree_file(DYNMEM "/in_read_bytes_avail", "80\n");
	tree_file(DYNMEM "/in_write_bytes_avail", "2092976\n");
	tree_file(DYNMEM "/out_read_bytes_avail", "0\n");
	tree_file(DYNMEM "/uio/uio3/maps/map0/size", "0x0000000000400000\n");
	tree_file(DYNMEM "/uio/uio3/maps/map3/size", "0x0000000001f00000\n");
	tree_file(DYNMEM "/uio/uio3/maps/map4/size", "0x0000000001000000\n");
	tree_file(DYNMEM "/channels/21/interrupts", "17\n");
	tree_file(DYNMEM "/channels/21/events", "9\n");
	tree_sized(DYNMEM "/channels/21/ring", 4194304);
}

static void make_network(void)
{
	tree_file(NETWORK "/class_id", "{f8615163-df3e-46c5-913f-f2d2f965ed0e}\n");
	tree_file(NETWORK "/id", "14\n");
	tree_file(NETWORK "/state", "2\n");
	tree_file(NETWORK "/driver_override", "(null)\n");
	tree_file(NETWORK "/monitor_id", "4\n");
	tree_link(NETWORK "/driver", "../../drivers/hv_netvsc");
}

/* What no kernel shows, or only one that takes the device away meanwhile. */
static void make_odd(void)
{
	tree_file(ODD "/class_id", "{525074DC-8985-46e2-8057\n");
	tree_file(ODD "/id", "-3\n");
	tree_file(ODD "/state", "99999999999999999999\n");
	tree_file(ODD "/driver", "not a link\n");
	tree_file(ODD "/uio/uioX/maps/map0/size", "1\n");
	tree_file(ODD "/in_read_bytes_avail", "12 apples\n");
	tree_file("devices/a-name-that-is-longer-than-any-guid-can-be/class_id", "\n");
	tree_file("devices/not-a-folder", "\n");
}

static void discover(void)
{
	cr_assert(eq(int, vmbus_discover(tree, devices, MAX, &n_devices), 0));
}

TestSuite(discover, .init = tree_init, .fini = tree_fini);

Test(discover, a_device_bound_to_uio_is_described_in_full)
{
	const struct vmbus_device *d = devices;

	make_dynmem();
	discover();
	cr_assert(eq(sz, n_devices, 1));
	expect_text(d->instance, "1eccfd72-4b41-45ef-b73a-4a6e44c12924");
	cr_expect(vmbus_guid_equal(&d->class_id, &vmbus_class_dynmem));
	expect_text(d->driver, "uio_hv_generic");
	expect_text(d->driver_override, "uio_hv_generic");
	cr_expect(eq(int, d->uio, 3));
	cr_expect(eq(i64, d->channel_id, 21));
	cr_expect(eq(i64, d->state, 3));
	cr_expect(eq(i64, d->ring_bytes, 2097152));
	cr_expect(eq(i64, d->in_bytes, 80));
	cr_expect(eq(i64, d->out_bytes, 0));
	cr_expect(eq(i64, d->interrupts, 17));
	cr_expect(eq(i64, d->signals, 9));
	cr_expect(eq(i64, d->buffer_bytes, 47 << 20));
	cr_expect(not(d->has_monitor));
}

Test(discover, a_device_whose_channel_is_closed_has_no_numbers)
{
	const struct vmbus_device *d = devices;

	make_network();
	discover();
	cr_assert(eq(sz, n_devices, 1));
	expect_text(vmbus_class_name(&d->class_id), "network");
	expect_text(d->driver, "hv_netvsc");
	expect_text(d->driver_override, "");
	cr_expect(eq(int, d->uio, -1));
	cr_expect(eq(i64, d->ring_bytes, -1));
	cr_expect(eq(i64, d->in_bytes, -1));
	cr_expect(eq(i64, d->interrupts, -1));
	cr_expect(eq(i64, d->signals, -1));
	cr_expect(eq(i64, d->buffer_bytes, -1), "it is not bound to uio_hv_generic");
	cr_expect(d->has_monitor);
	expect_text(vmbus_device_state_name(d->state), "ready");
}

Test(discover, a_kernel_that_keeps_no_buffers_is_told_apart_from_one_that_does_not_say)
{
	make_dynmem();
	tree_remove(DYNMEM "/uio/uio3/maps/map3");
	tree_remove(DYNMEM "/uio/uio3/maps/map4");
	discover();
	cr_expect(eq(i64, devices[0].buffer_bytes, 0));
}

Test(discover, the_ring_size_is_found_in_each_of_the_ways_that_kernels_show_it)
{
	make_dynmem();
	tree_sized(DYNMEM "/channels/21/ring", 40960);
	discover();
	cr_expect(eq(i64, devices[0].ring_bytes, 2097152), "the map");
	tree_remove(DYNMEM "/uio");
	discover();
	cr_expect(eq(i64, devices[0].ring_bytes, 20480), "the ring file");
	tree_remove(DYNMEM "/channels");
	discover();
	cr_expect(eq(i64, devices[0].ring_bytes, 2093056 + sysconf(_SC_PAGESIZE)), "the sum");
}

Test(discover, what_makes_no_sense_is_left_out)
{
	const struct vmbus_device *d = devices;

	make_odd();
	discover();
	cr_assert(eq(sz, n_devices, 1));
	expect_text(vmbus_class_name(&d->class_id), "unknown");
	expect_text(d->driver, "");
	cr_expect(eq(int, d->uio, -1));
	cr_expect(eq(i64, d->channel_id, -1));
	cr_expect(eq(i64, d->state, -1));
	cr_expect(eq(i64, d->in_bytes, -1));
	expect_text(vmbus_device_state_name(d->state), "-");
}

Test(discover, the_list_is_sorted_and_bounded)
{
	make_dynmem();
	make_network();
	make_odd();
	discover();
	cr_assert(eq(sz, n_devices, 3));
	cr_expect(lt(int, strcmp(devices[0].instance, devices[1].instance), 0));
	cr_expect(lt(int, strcmp(devices[1].instance, devices[2].instance), 0));
	cr_assert(eq(int, vmbus_discover(tree, devices, 2, &n_devices), 0));
	cr_expect(eq(sz, n_devices, 2));
}

Test(discover, a_class_is_found_or_not)
{
	struct vmbus_device device;

	cr_expect(eq(int, vmbus_discover(tree, devices, MAX, &n_devices), VMBUS_NO_BUS));
	cr_expect(eq(int, vmbus_discover_class(tree, &vmbus_class_dynmem, &device), VMBUS_NO_BUS));
	make_network();
	make_odd();
	cr_expect(eq(int, vmbus_discover_class(tree, &vmbus_class_dynmem, &device), VMBUS_NO_DEVICE));
	make_dynmem();
	cr_assert(eq(int, vmbus_discover_class(tree, &vmbus_class_dynmem, &device), 0));
	cr_expect(eq(int, device.uio, 3));
}

/* Where udev finds a class_id, it starts hvguestd. */
Test(discover, the_udev_rules_name_each_class_that_hvguestd_serves)
{
	static const struct vmbus_guid *const classes[] = {
		&vmbus_class_dynmem,   &vmbus_class_vss,      &vmbus_class_kvp,     &vmbus_class_fcopy,
		&vmbus_class_shutdown, &vmbus_class_heartbeat, &vmbus_class_timesync,
	};
	const char *srcdir = getenv("srcdir");
	char path[1024], rules[4096], wanted[128], text[VMBUS_GUID_TEXT_SIZE];
	FILE *file;
	size_t n, n_named = 0;

	snprintf(path, sizeof(path), "%s/packaging/udev/60-hvguest.rules", srcdir ? srcdir : ".");
	file = fopen(path, "re");
	cr_assert(ne(ptr, file, NULL), "%s", path);
	n = fread(rules, 1, sizeof(rules) - 1, file);
	fclose(file);
	rules[n] = '\0';
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		vmbus_guid_format(classes[i], text);
		snprintf(wanted, sizeof(wanted), "ATTR{class_id}==\"{%s}\", ", text);
		cr_expect(ne(ptr, strstr(rules, wanted), NULL), "%s", wanted);
	}
	for (const char *at = rules; (at = strstr(at, "ATTR{class_id}")); at++)
		n_named++;
	cr_expect(eq(sz, n_named, sizeof(classes) / sizeof(classes[0])));
}

Test(discover, this_machine_can_be_asked)
{
	int r = vmbus_discover(VMBUS_SYSFS, devices, MAX, &n_devices);

	cr_expect(r == 0 || r == VMBUS_NO_BUS);
}
