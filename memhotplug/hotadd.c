/* SPDX-License-Identifier: MIT */

/*
 * The hot-add plan.
 *
 * The host backs a range of pages, somewhere in a region that it sets apart. A driver in the kernel
 * can register a block of which the host backs only a part, and hold the other pages back; from
 * outside the kernel that cannot be done, and a page that is used without being backed brings the
 * guest down. So a block counts only if every page of it is backed, lies in the region, and is not
 * memory yet. There are then no gaps to remember: what is added is whole blocks, and what a later
 * request names again is present.
 *
 * The answer is one number, counted from the first page of the range. So the plan ends at the first
 * block that is not fit, and if that is the first one there is no plan.
 */

#include "memhotplug/hotadd.h"

#include "base/amount.h"

#include <assert.h>
#include <string.h>

/* A range on the wire has 40 bits of page number. Source: Linux drivers/hv/hv_balloon.c. */
#define PAGES_MAX (UINT64_C(1) << 40)

static bool is_beyond(struct page_range range)
{
	return range.first >= PAGES_MAX || range.count > PAGES_MAX - range.first;
}

static bool is_inside(struct page_range inner, struct page_range outer)
{
	return inner.first >= outer.first &&
	       inner.first + inner.count <= outer.first + outer.count;
}

/* HOTADD_WHOLE if there may be a plan at all. */
static enum hotadd_reason check_request(const struct hotadd_request *request, uint64_t block_pages)
{
	const struct page_range *range = &request->range, *region = &request->region;

	if (range->count == 0)
		return HOTADD_EMPTY;
	if (is_beyond(*range) || is_beyond(*region))
		return HOTADD_BEYOND;
	if (region->count > 0 && !is_inside(*range, *region))
		return HOTADD_OUTSIDE;
	if (range->first % block_pages != 0)
		return HOTADD_UNALIGNED;
	return HOTADD_WHOLE;
}

/* Why this one block cannot be added; HOTADD_WHOLE: it can. */
static enum hotadd_reason check_block(const struct hotadd_request *request, struct page_range block,
				      const struct rangeset *present,
				      const struct rangeset *windows)
{
	struct page_range part;

	if (!is_inside(block, request->range)) {
		bool cut = request->region.count > 0 && !is_inside(block, request->region);

		return cut ? HOTADD_REGION_CUT : HOTADD_PARTIAL;
	}
	if (rangeset_overlap(present, block, &part))
		return HOTADD_PRESENT;
	if (windows && !rangeset_contains(windows, block))
		return HOTADD_NO_WINDOW;
	return HOTADD_WHOLE;
}

/* How many blocks from the first on are free of @set; or, with @inside, lie within it. */
static uint64_t run_blocks(const struct rangeset *set, struct page_range range,
			   uint64_t block_pages, bool inside)
{
	struct page_range part;
	uint64_t end = range.first + range.count;

	if (!rangeset_overlap(set, range, &part))
		return inside ? 0 : range.count / block_pages;
	if (!inside)
		return (part.first - range.first) / block_pages;
	if (part.first != range.first)
		return 0;
	return (min_u64(part.first + part.count, end) - range.first) / block_pages;
}

void hotadd_make_plan(const struct hotadd_request *request, uint64_t block_pages,
		      const struct rangeset *present, const struct rangeset *windows,
		      struct hotadd_plan *ret_plan)
{
	struct hotadd_plan plan = {.reason = check_request(request, block_pages)};
	struct page_range next;

	assert(block_pages > 0 && (block_pages & (block_pages - 1)) == 0);
	if (plan.reason == HOTADD_WHOLE) {
		plan.first_block = request->range.first / block_pages;
		plan.n_blocks = run_blocks(present, request->range, block_pages, false);
		if (windows)
			plan.n_blocks = min_u64(plan.n_blocks, run_blocks(windows, request->range,
								      block_pages, true));
		plan.pages = plan.n_blocks * block_pages;
	}
	if (plan.reason == HOTADD_WHOLE && plan.pages < request->range.count) {
		next = (struct page_range){request->range.first + plan.pages, block_pages};
		plan.reason = check_block(request, next, present, windows);
	}
	*ret_plan = plan;
}

const char *hotadd_reason_text(enum hotadd_reason reason)
{
	static const char *const texts[HOTADD_N_REASONS] = {
		[HOTADD_WHOLE] = "all of it",
		[HOTADD_EMPTY] = "the host names no pages",
		[HOTADD_BEYOND] = "the addresses are beyond what there can be",
		[HOTADD_OUTSIDE] = "the memory is outside of the region that the host names for it",
		[HOTADD_UNALIGNED] = ("the memory does not begin at a memory block: the host has "
				      "not kept to the alignment that it was told"),
		[HOTADD_PARTIAL] = "what is left does not fill a memory block",
		[HOTADD_REGION_CUT] = "the region ends within a memory block",
		[HOTADD_PRESENT] = "there is memory at that address already",
		[HOTADD_NO_WINDOW] = "memory cannot be added at that address: boot with memmap= for it",
	};

	return texts[reason];
}

static const char *const policy_names[HOTADD_N_POLICIES] = {
	[HOTADD_OFF] = "off",
	[HOTADD_ONLINE] = "online",
	[HOTADD_KERNEL] = "online_kernel",
	[HOTADD_MOVABLE] = "online_movable",
	[HOTADD_AUTO] = "auto",
};

bool hotadd_policy_parse(const char *name, enum hotadd_policy *ret_policy)
{
	for (int policy = 0; policy < HOTADD_N_POLICIES; policy++) {
		if (strcmp(name, policy_names[policy]) == 0) {
			*ret_policy = policy;
			return true;
		}
	}
	return false;
}

const char *hotadd_policy_name(enum hotadd_policy policy)
{
	return policy_names[policy];
}

bool hotadd_is_movable(uint64_t block_pages, uint64_t kernel_pages, uint64_t movable_pages,
		       uint32_t ratio_percent)
{
	/* Pages are below 2^52 and the ratio is a few hundred: no overflow. */
	return movable_pages + block_pages <= kernel_pages * ratio_percent / 100;
}
