/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The kernel's own driver of dynamic memory, hv_balloon: whether it is at work, and its figures.
 */

#define KERNEL_BALLOON_DRIVER_DIR "/sys/bus/vmbus/drivers/hv_balloon"
#define KERNEL_BALLOON_DEBUGFS    "/sys/kernel/debug/hv-balloon"

/* The conditions of kernel_balloon_read(). */
enum {
	KERNEL_BALLOON_NONE = 1, /* there is no such file, or we may not read it */
	KERNEL_BALLOON_UNKNOWN,  /* it has none of the figures */
};

/* Pages have the page size of the protocol: 4 KiB. */
struct kernel_balloon {
	char version[16];         /* of the protocol; empty: not said */
	char state[32];           /* in the driver's words */
	bool can_balloon;
	bool can_hot_add;
	uint64_t added_pages;     /* by hot-add */
	uint64_t onlined_pages;   /* of these, in use */
	uint64_t ballooned_pages; /* that the host has */
	uint64_t committed_pages; /* as it reports to the host */
	uint64_t max_pages;       /* that the host will ever give; 0: it has not said */
};

/* True if the driver whose folder is @driver_dir has a device. */
bool kernel_balloon_is_bound(const char *driver_dir);

/* Reads the figures at @path. KERNEL_BALLOON_NONE, KERNEL_BALLOON_UNKNOWN; negative errno. */
_must_check_ int kernel_balloon_read(const char *path, struct kernel_balloon *ret_balloon);
