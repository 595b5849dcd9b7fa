/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the kernel says about memory, and how to read it from the text of its files.
 */

/* The condition of the parsers. */
enum {
	FIGURES_BAD = 1, /* a figure that must be there is not, or is no number */
};

/* Share of time in which tasks waited for memory. */
struct memory_stall {
	uint32_t avg10_centipercent; /* hundredths of a percent, over 10 s */
	uint64_t total_us;           /* since boot */
};

struct memory_figures {
	uint64_t total_kb;
	uint64_t free_kb;
	uint64_t available_kb;
	uint64_t committed_kb; /* Committed_AS */
	uint64_t active_file_kb; /* page cache that is in use; 0 if the kernel does not say */
	uint64_t swap_total_kb;
	uint64_t swap_free_kb;
	uint64_t swapped_out_pages; /* written to swap since boot, in pages of this machine */
	uint64_t refaults;  /* pages that were evicted too early, since boot; 0 if unknown */
	uint64_t oom_kills; /* since boot; 0 if unknown */
	bool has_stalls; /* the kernel measures the stalls */
	struct memory_stall some; /* at least one task waited */
	struct memory_stall full; /* all tasks waited */
};

/* What a group of processes has, of the unified hierarchy (cgroup v2). */
struct memory_group {
	uint64_t current_bytes; /* charged to the group */
	uint64_t limit_bytes;   /* its memory.max or memory.high; UINT64_MAX: it has none */
	uint64_t refaults;      /* as in struct memory_figures, of the group */
	bool has_stalls;
	struct memory_stall some;
	struct memory_stall full;
};

/*
 * Each reads the @len bytes of one file of /proc, and writes the fields of *ret_figures that the
 * file is about; on FIGURES_BAD none. figures_parse_pressure() also sets has_stalls.
 */
_must_check_ int figures_parse_meminfo(const char *text, size_t len,
				       struct memory_figures *ret_figures);
_must_check_ int figures_parse_vmstat(const char *text, size_t len,
				      struct memory_figures *ret_figures);
_must_check_ int figures_parse_pressure(const char *text, size_t len,
					struct memory_figures *ret_figures);

/*
 * The same for the files of a group: memory.current, memory.max or memory.high (the lower of what is
 * there already and what is read becomes the limit), memory.stat, memory.pressure.
 */
_must_check_ int figures_parse_group_current(const char *text, size_t len,
					     struct memory_group *ret_group);
_must_check_ int figures_parse_group_limit(const char *text, size_t len,
					   struct memory_group *ret_group);
_must_check_ int figures_parse_group_stat(const char *text, size_t len,
					  struct memory_group *ret_group);
_must_check_ int figures_parse_group_pressure(const char *text, size_t len,
					      struct memory_group *ret_group);
