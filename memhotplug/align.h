/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdint.h>

/* The condition of memhotplug_align_code(). */
enum {
	MEMHOTPLUG_ALIGN_UNFIT = 1, /* not a power of two between 1 MiB and 32 GiB */
};

/*
 * How a host is told where memory that it adds has to begin: the code 0..15 of the capabilities
 * report, for memory blocks of @block_bytes. MEMHOTPLUG_ALIGN_UNFIT.
 * Source: Linux drivers/hv/hv_balloon.c, balloon_connect_vsp().
 */
_must_check_ int memhotplug_align_code(uint64_t block_bytes, uint8_t *ret_code);
