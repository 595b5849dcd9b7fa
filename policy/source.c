/* SPDX-License-Identifier: MIT */

/*
 * Blocks or pages.
 *
 * A whole memory block costs nothing to take when it is free, and leaves the kernel's accounts as
 * the kernel's own driver would. But it comes back only as a whole, while the host returns memory
 * in any pieces. So a request that is not well above the size of a block is served in single
 * pages, and of a large balloon a share is in single pages always: what the host gives back first
 * may then help at once.
 *
 * The kernel's own balloon driver, while it is bound to its device, keeps every page of a block
 * that comes online and that it has not added itself (Linux drivers/hv/hv_balloon.c,
 * hv_online_page()): with it, blocks that were taken would never come back.
 *
 * With memmap_on_memory the kernel keeps its books about a block that was added later in the first
 * pages of that block, and needs them while it is offline (Linux mm/memory_hotplug.c).
 */

#include "policy/source.h"

#include "base/amount.h"

#include <stddef.h>

/* Why no block is to be thought of; NULL: there is no reason. */
static const char *objection(const struct source_figures *f, uint64_t wanted_pages)
{
	if (!f->blocks_allowed)
		return "single pages: memory blocks are switched off (memory_blocks)";
	if (f->block_pages == 0)
		return "single pages: this kernel has no memory blocks";
	if (f->kernel_balloon)
		return "single pages: the kernel's hv_balloon is bound, and would keep blocks that "
		       "come back";
	if (f->books_inside)
		return "single pages: with memmap_on_memory a block that is offline may still be in use";
	if (f->blocks_failed)
		return "single pages: no memory block is free enough";
	if (wanted_pages < 2 * f->block_pages)
		return "single pages: less than two memory blocks are wanted";
	return NULL;
}

/* What of the request has to be in single pages, so that they are the balloon's share. */
static uint64_t share_pages(const struct source_figures *f, uint64_t wanted_pages)
{
	uint64_t share = (f->held_block_pages + f->held_pages + wanted_pages) / SOURCE_SHARE;

	if (share < SOURCE_SHARE_MIN_PAGES)
		share = SOURCE_SHARE_MIN_PAGES;
	return sub_u64(share, f->held_pages);
}

void source_split(const struct source_figures *f, struct source_split *ret_split)
{
	uint64_t wanted_pages = min_u64(f->request_pages, f->may_give_pages);
	struct source_split split = {.reason = objection(f, wanted_pages)};

	if (!split.reason) {
		split.blocks =
			sub_u64(wanted_pages, share_pages(f, wanted_pages)) / f->block_pages;
		split.reason = split.blocks > 0
				       ? "whole memory blocks, and a share in single pages"
				       : "single pages: the share that a large balloon keeps in them";
	}
	split.pages = wanted_pages - split.blocks * f->block_pages;
	*ret_split = split;
}
