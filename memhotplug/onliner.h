/* SPDX-License-Identifier: MIT */
#pragma once

#include "memhotplug/blocks.h"
#include "memhotplug/hotadd.h"

/*
 * Brings a block that was just added online, by policy, and says what stood in the way.
 */

struct onliner_config {
	const char *dir;      /* BLOCKS_DIR */
	const char *zoneinfo; /* "/proc/zoneinfo" */
	enum hotadd_policy policy;
	uint32_t ratio_percent; /* HOTADD_AUTO: Movable pages for each hundred of the kernel's zones */
};

enum onliner_outcome {
	ONLINER_ONLINED,   /* by us */
	ONLINER_BY_KERNEL, /* it was online already: by the kernel, or by udev */
	ONLINER_LEFT,      /* by policy it stays as it is */
	ONLINER_GONE,      /* there is no such block any more */
	ONLINER_FAILED,
	ONLINER_N_OUTCOMES,
};

struct onliner_result {
	enum onliner_outcome outcome;
	enum block_zone zone; /* where it is now, if it is online */
	char text[200];       /* what went wrong, or otherwise than policy has it; empty: nothing */
};

/* Deals with block @number. It may take as long as the kernel's lock on memory hotplug is held. */
void onliner_bring(const struct onliner_config *config, uint64_t number,
		   struct onliner_result *ret_result);

/* What the kernel does with new blocks by itself: "offline", "online" and so on; "" if unknown. */
void onliner_read_auto(const char *dir, char *ret_word, size_t size);

/* "onlined", "by_kernel" and so on. */
const char *onliner_outcome_name(enum onliner_outcome outcome);
