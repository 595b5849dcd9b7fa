/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "memhotplug/hotadd.h"

/*
 * Adding memory at an address, from user space: by the kernel's `probe` file, or as a piece of a
 * window of soft-reserved memory that is handed to the driver kmem. Needs root. Not safe for two
 * threads at a time. A page is 4 KiB.
 */

enum adder_method {
	ADDER_NONE,  /* this machine cannot */
	ADDER_PROBE, /* CONFIG_ARCH_MEMORY_PROBE: anywhere */
	ADDER_DAX,   /* device-dax and kmem: in soft-reserved memory */
	ADDER_N_METHODS,
};

struct adder_config {
	const char *blocks_dir; /* BLOCKS_DIR */
	const char *dax_dir;    /* "/sys/bus/dax" */
	const char *iomem;      /* "/proc/iomem" */
	const char *modprobe;   /* NULL: modules are there or not */
};

struct adder_result {
	uint64_t pages; /* added, from the first page of the range on: a multiple of the block size */
	const char *why; /* it is less than was asked for; NULL: it is not */
	bool may_pass;   /* the same may succeed another time */
};

struct adder;

/* All strings are borrowed. Finds the method; loads modules for it. -ENOMEM, other negative errno. */
_must_check_ int adder_new(const struct adder_config *config, struct adder **ret_adder);
struct adder *adder_free(struct adder *adder);
DEFINE_CLEANUP(adder)

/* What was found; and its name: "none", "probe", "dax". */
enum adder_method adder_method(const struct adder *adder);
const char *adder_method_name(enum adder_method method);

/*
 * Does what it can of @request: makes the plan of memhotplug/hotadd.h and adds its blocks. They are
 * not online yet, unless the kernel does that by itself. @again: blocks at the beginning of the range
 * that are there already were added by an earlier attempt, and count. Always writes a result.
 */
void adder_add(struct adder *adder, const struct hotadd_request *request, bool again,
	       struct adder_result *ret_result);
