/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/rangeset.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What of a hot-add request can be done by whole memory blocks, and in which zone new blocks are to
 * come online. A page is 4 KiB.
 */

/* Why a plan has fewer pages than were asked for. */
enum hotadd_reason {
	HOTADD_WHOLE,      /* it has all of them */
	HOTADD_EMPTY,      /* none were asked for */
	HOTADD_BEYOND,     /* page numbers past what the protocol or this machine can address */
	HOTADD_OUTSIDE,    /* the range is not inside its region */
	HOTADD_UNALIGNED,  /* the range does not begin at a block */
	HOTADD_PARTIAL,    /* its end is not the end of a block */
	HOTADD_REGION_CUT, /* the region ends within a block */
	HOTADD_PRESENT,    /* there is memory already */
	HOTADD_NO_WINDOW,  /* this machine cannot add memory there */
	HOTADD_N_REASONS,
};

struct hotadd_request {
	struct page_range range;  /* backed by the host */
	struct page_range region; /* where blocks may be; count 0: the host named none */
};

struct hotadd_plan {
	uint64_t first_block; /* number of the first block */
	uint64_t n_blocks;    /* whole blocks, one after the other */
	uint64_t pages;       /* in them: what the host is answered if all goes well */
	enum hotadd_reason reason;
};

/*
 * Plans for blocks of @block_pages, a power of two. @present has the pages that are memory
 * already, whatever their state; @windows, where memory can be added, NULL: anywhere. Only blocks
 * that the host backs as a whole are planned, from the first page of the range on, without a hole,
 * so that the number of pages is always a multiple of the alignment.
 * Source: Linux drivers/hv/hv_balloon.c, handle_pg_range(); QEMU hw/hyperv/hv-balloon.c aborts at
 * any other count.
 */
void hotadd_make_plan(const struct hotadd_request *request, uint64_t block_pages,
		      const struct rangeset *present, const struct rangeset *windows,
		      struct hotadd_plan *ret_plan);

/* Words for people. */
const char *hotadd_reason_text(enum hotadd_reason reason);

/* Which zone new blocks are for. */
enum hotadd_policy {
	HOTADD_OFF,     /* they are left as the kernel has them */
	HOTADD_ONLINE,  /* where the kernel would put them */
	HOTADD_KERNEL,
	HOTADD_MOVABLE,
	HOTADD_AUTO,    /* Movable as long as a ratio is kept */
	HOTADD_N_POLICIES,
};

/* The names are those of the configuration. False: there is no policy of that name. */
bool hotadd_policy_parse(const char *name, enum hotadd_policy *ret_policy);
const char *hotadd_policy_name(enum hotadd_policy policy);

/*
 * HOTADD_AUTO: true if a block of @block_pages is to be Movable, so that there are at most
 * @ratio_percent pages of Movable memory for each hundred of the kernel's zones.
 * Source: Linux mm/memory_hotplug.c, auto_movable_can_online_movable().
 */
bool hotadd_is_movable(uint64_t block_pages, uint64_t kernel_pages, uint64_t movable_pages,
		       uint32_t ratio_percent);
