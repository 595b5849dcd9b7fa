/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "vmbus/discover.h"
#include "vmbus/fd_holder.h"

/*
 * Takes a VMBus device from the driver it has and binds it to uio_hv_generic, and gives it back.
 * docs/PROTOCOL-vmbus.md section 11. These functions wait for the kernel: not for an event loop.
 */

struct takeover;

/* Where things are; the strings are borrowed for the duration of a call. */
struct takeover_config {
	const char *sysfs;    /* VMBUS_SYSFS */
	const char *dev;      /* "/dev" */
	const char *proc;     /* "/proc" */
	const char *run_dir;  /* for the lock, which also remembers the driver that a device had */
	const char *modprobe; /* the program that loads modules */
	uint64_t wait_ns;     /* for the kernel to make the device node's attributes */
	uint64_t retry_ns;    /* for the caller: between two looks for what is not there yet */
	bool is_open_here;    /* the node is open, by us and whoever keeps it for us: that is no obstacle */
};

/* The places of a real machine. */
void takeover_config_init(struct takeover_config *config, const char *run_dir);

/* The conditions of takeover. */
enum {
	TAKEOVER_NO_MODULE = 1, /* uio_hv_generic is not there and cannot be loaded */
	TAKEOVER_TOO_OLD,       /* the kernel's uio_hv_generic refuses the device */
	TAKEOVER_BUSY,          /* a process has the device: *ret_holder */
	TAKEOVER_LOCKED,        /* another hvguestd has it */
	TAKEOVER_GONE,          /* the host has taken the device away */
	TAKEOVER_NO_UIO,        /* bound, but there is no usable /dev/uioN */
};

/* What is wrong and what helps, in one line, for each condition. */
const char *takeover_text(int condition);

/*
 * Takes @device, as it was discovered. If anything fails on the way it is back with its driver.
 * A device that a killed predecessor had taken is taken from there; one that somebody else has
 * bound to uio_hv_generic is used, and later left, as it is.
 * All conditions; *ret_holder is written for TAKEOVER_BUSY; negative errno.
 */
_must_check_ int takeover_new(const struct takeover_config *config,
			      const struct vmbus_device *device, struct fd_holder *ret_holder,
			      struct takeover **ret_takeover);

/*
 * Gives the device back to the driver it had. Its node must not be open any more: if it is, by
 * whomever, TAKEOVER_BUSY and *ret_holder, and nothing was done. TAKEOVER_GONE, negative errno.
 */
_must_check_ int takeover_give_back(struct takeover *t, struct fd_holder *ret_holder);

/* Forgets about the device, as it is, and lets go of the lock. */
struct takeover *takeover_free(struct takeover *t);
DEFINE_CLEANUP(takeover)

/* True while the device is there and bound to uio_hv_generic as it was taken. */
bool takeover_is_bound(const struct takeover *t);

/* The device node; borrowed as long as the takeover exists. */
const char *takeover_node(const struct takeover *t);

/* Bytes of the map with both rings. */
size_t takeover_map_bytes(const struct takeover *t);

/* Bytes of memory that the kernel spends on buffers which no service here uses. */
uint64_t takeover_extra_bytes(const struct takeover *t);
