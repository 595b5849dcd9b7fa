/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdint.h>

/*
 * How the machine's memory is divided between what the kernel can use for itself and what it can
 * not.
 */

/* The condition of zones_read(). */
enum {
	ZONES_BAD = 1, /* it is not what the kernel writes */
};

/* In pages of 4 KiB, whether in use or not. */
struct zones {
	uint64_t kernel_pages;  /* in all zones but Movable */
	uint64_t movable_pages;
};

/* Reads @path, which is "/proc/zoneinfo". ZONES_BAD; negative errno. */
_must_check_ int zones_read(const char *path, struct zones *ret_zones);
