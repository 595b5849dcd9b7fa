/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/guid.h"

#include <stddef.h>

/*
 * The VMBus devices of this machine, as the kernel shows them in sysfs.
 * docs/PROTOCOL-vmbus.md section 11.
 */

#define VMBUS_SYSFS      "/sys/bus/vmbus"
#define VMBUS_UIO_DRIVER "uio_hv_generic"

enum {
	VMBUS_DEVICES_MAX = 256,
	VMBUS_DRIVER_SIZE = 64,
};

/* The conditions of discovery. */
enum {
	VMBUS_NO_BUS = 1, /* there is no VMBus: not a guest of Hyper-V, or hv_vmbus is not loaded */
	VMBUS_NO_DEVICE,  /* no device of that class */
};

/* One device. Numbers are -1, and texts empty, where the kernel does not say. */
struct vmbus_device {
	char instance[VMBUS_GUID_TEXT_SIZE]; /* its name in sysfs: the instance GUID */
	struct vmbus_guid class_id;          /* all zero if the kernel does not say */
	char driver[VMBUS_DRIVER_SIZE];      /* that has it; empty: none */
	char driver_override[VMBUS_DRIVER_SIZE];
	int uio;             /* the N of /dev/uioN while uio_hv_generic has it */
	int64_t channel_id;
	int64_t state;       /* Linux include/linux/hyperv.h, enum vmbus_channel_state */
	int64_t ring_bytes;  /* each of the two rings, control page included */
	int64_t in_bytes;    /* that wait in the ring from the host */
	int64_t out_bytes;   /* that wait in the ring to the host */
	int64_t interrupts;  /* from the host */
	int64_t signals;     /* to the host */
	int64_t buffer_bytes; /* of memory that uio_hv_generic keeps for it besides the rings */
	bool has_monitor;    /* the host is not signalled by a hypercall */
};

/*
 * Lists up to @max devices below @sysfs (VMBUS_SYSFS), in the order of their names.
 * VMBUS_NO_BUS, negative errno.
 */
_must_check_ int vmbus_discover(const char *sysfs, struct vmbus_device *ret_devices, size_t max,
				size_t *ret_n);

/* The first device of a class. VMBUS_NO_BUS, VMBUS_NO_DEVICE, negative errno. */
_must_check_ int vmbus_discover_class(const char *sysfs, const struct vmbus_guid *class_id,
				      struct vmbus_device *ret_device);

/*
 * The N of /dev/uioN of the device @instance below @bus_fd (VMBUS_SYSFS, open), which exists as
 * long as uio_hv_generic has the device; else -1.
 */
int vmbus_device_uio(int bus_fd, const char *instance);

/*
 * Bytes of memory that the kernel keeps for device @device_fd (its folder, open), which has
 * /dev/uio@uio, in buffers that are for network cards only; 0 if there are none.
 */
uint64_t vmbus_device_buffers(int device_fd, int uio);

/* "offered", "opening", "ready", "opened"; "-" for anything else. */
const char *vmbus_device_state_name(int64_t state);
