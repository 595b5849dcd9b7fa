/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Where the memory for a balloon request is to come from: whole memory blocks, or single pages.
 * All pages have 4 KiB.
 */

enum {
	SOURCE_SHARE = 16,             /* a sixteenth of the balloon is kept in single pages */
	SOURCE_SHARE_MIN_PAGES = 16384, /* but no less than 64 MiB */
};

struct source_figures {
	uint64_t request_pages;    /* that the host still wants */
	uint64_t may_give_pages;   /* that can be spared of it */
	uint64_t block_pages;      /* 0: this machine has no memory blocks */
	uint64_t held_block_pages; /* of the balloon, in whole blocks */
	uint64_t held_pages;       /* of the balloon, in single pages */
	bool blocks_allowed;       /* by the configuration */
	bool kernel_balloon;       /* the kernel's own balloon driver is bound to a device */
	bool blocks_failed;        /* none was fit, just before */
	bool books_inside;         /* memmap_on_memory: a block may hold the kernel's books about it */
};

struct source_split {
	uint64_t blocks;    /* whole blocks to be tried first */
	uint64_t pages;     /* what remains for single pages, if all blocks are had */
	const char *reason; /* why so, for people */
};

/* Splits what may be given of a request. */
void source_split(const struct source_figures *figures, struct source_split *ret_split);
