/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdint.h>

/*
 * The memory blocks of this machine, as the kernel lists them.
 */

#define MEMHOTPLUG_BLOCKS_DIR "/sys/devices/system/memory"

/* The condition of memhotplug_blocks_read(). */
enum {
	MEMHOTPLUG_BLOCKS_BAD = 1, /* the size of a block is not a number */
};

struct memhotplug_blocks {
	uint64_t block_bytes;
	uint32_t n_online;
	uint32_t n_offline;
	uint32_t n_other; /* on their way offline, or gone while we looked */
};

/* Reads the block size and counts the blocks below @dir. MEMHOTPLUG_BLOCKS_BAD. */
_must_check_ int memhotplug_blocks_read(const char *dir, struct memhotplug_blocks *ret_blocks);
