/* SPDX-License-Identifier: MIT */

/*
 * The hot-add alignment of the capabilities report.
 *
 * Linux adds and removes memory in whole blocks, and a host has to know their size to offer memory
 * that fits. The report has four bits for it: a code c means 2^c MiB. A block size that cannot be
 * said in them is refused instead of being rounded, because memory at a rounded address would not
 * be addable.
 */

#include "memhotplug/align.h"

enum {
	CODE_MAX = 15,
};

#define MIB (UINT64_C(1) << 20)

int memhotplug_align_code(uint64_t block_bytes, uint8_t *ret_code)
{
	for (uint8_t code = 0; code <= CODE_MAX; code++) {
		if (block_bytes == MIB << code) {
			*ret_code = code;
			return 0;
		}
	}
	return MEMHOTPLUG_ALIGN_UNFIT;
}
