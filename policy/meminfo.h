/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "policy/figures.h"

/*
 * The kernel's files about memory, held open: reading them opens nothing and allocates nothing, so
 * it works when memory is short. Not safe for two threads at a time.
 */

/* The condition of meminfo_read(). */
enum {
	MEMINFO_BAD = 1, /* the kernel's text is not what it should be */
};

struct meminfo;

/* Opens the files below @proc, which is "/proc". The file of stalls may be missing. */
_must_check_ int meminfo_new(const char *proc, struct meminfo **ret_meminfo);
struct meminfo *meminfo_free(struct meminfo *meminfo);
DEFINE_CLEANUP(meminfo)

/* Reads all figures anew. MEMINFO_BAD. */
_must_check_ int meminfo_read(struct meminfo *meminfo, struct memory_figures *ret_figures);
