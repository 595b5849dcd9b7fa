/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Our share of the number of 2 MiB pages that the kernel may make beyond its pool. The number is
 * one for the whole machine: it is raised by what is needed and lowered by the same, never set.
 */

#define OVERCOMMIT_DIR "/sys/kernel/mm/hugepages/hugepages-2048kB"

/*
 * The share, in a record that outlives the process. While `changing`, the number on the machine is
 * `from` and the share `share`, or the number is `to` and the share `next`.
 */
struct overcommit_share {
	uint64_t share; /* huge pages */
	uint64_t next;
	uint64_t from;
	uint64_t to;
	uint32_t changing;
	uint32_t reserved;
};

/* The condition of these functions. */
enum {
	OVERCOMMIT_NONE = 1, /* this kernel has no 2 MiB pages, or the number cannot be changed */
};

/*
 * Raises the number in @dir (OVERCOMMIT_DIR) so that @n huge pages can be had, as far as the number
 * is what stands in the way; our share is then at least so much larger. OVERCOMMIT_NONE.
 */
_must_check_ int overcommit_raise(const char *dir, struct overcommit_share *share, uint64_t n);

/* Lowers the number so that our share is @n at most. OVERCOMMIT_NONE. */
_must_check_ int overcommit_lower(const char *dir, struct overcommit_share *share, uint64_t n);
