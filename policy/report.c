/* SPDX-License-Identifier: MIT */

/*
 * The figures of a status report.
 *
 * The kernel's driver lowers MemTotal page by page as it balloons. A balloon in user space does
 * not, so the memory in use, from which the floor is computed, is MemTotal less the balloon. And
 * the kernel adds all ballooned pages to Committed_AS; small pages are anonymous memory of this
 * process and are in it already, so only the huge ones are added here. A host subtracts the whole
 * balloon from the report again: a page that is counted twice, or not at all, makes it give or
 * take another one.
 *
 * The floor is the kernel's: continuous and piecewise linear, a larger share for a small machine.
 */

#include "policy/report.h"

enum {
	KB_PER_PAGE = 4,
	PAGES_PER_MIB = 256,
};

/* One piece of the floor: below @below_mib it is @base_mib plus the total divided by @divisor. */
struct floor_piece {
	uint64_t below_mib;
	uint64_t base_mib;
	uint64_t divisor;
};

/* Source: Linux drivers/hv/hv_balloon.c, compute_balloon_floor(). */
static const struct floor_piece floor_pieces[] = {
	{128, 8, 2},
	{512, 40, 4},
	{2048, 104, 8},
	{8192, 232, 16},
	{UINT64_MAX, 488, 32},
};

uint64_t report_floor_pages(uint64_t total_pages)
{
	const struct floor_piece *piece = floor_pieces;

	while (total_pages / PAGES_PER_MIB >= piece->below_mib)
		piece++;
	return piece->base_mib * PAGES_PER_MIB + total_pages / piece->divisor;
}

static uint64_t subtract(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void report_compose(const struct memory_figures *figures, uint64_t swapped_out_before,
		    const struct report_ballooned *ballooned, struct report *ret_report)
{
	uint64_t in_use_pages = subtract(figures->total_kb / KB_PER_PAGE,
					 ballooned->huge_pages + ballooned->small_pages);
	uint64_t floor_pages = report_floor_pages(in_use_pages);
	uint64_t available_pages = figures->available_kb / KB_PER_PAGE;
	uint64_t written_pages = subtract(figures->swapped_out_pages, swapped_out_before);

	*ret_report = (struct report){
		.available_pages = available_pages,
		.committed_pages = figures->committed_kb / KB_PER_PAGE + ballooned->huge_pages +
				   floor_pages,
		.page_file_pages = figures->swap_total_kb / KB_PER_PAGE,
		.free_pages = figures->free_kb / KB_PER_PAGE,
		.page_file_write_pages = written_pages < UINT32_MAX ? written_pages : UINT32_MAX,
		.floor_pages = floor_pages,
		.may_give_pages = subtract(available_pages, floor_pages),
	};
}
