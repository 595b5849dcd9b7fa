/* SPDX-License-Identifier: MIT */

/*
 * The figures of a status report.
 *
 * The kernel's driver lowers MemTotal page by page as it balloons. Pages that are taken in user
 * space stay in it, so the memory in use, from which the floor is computed, is MemTotal less these;
 * whole blocks that are offline have left it. And the kernel adds all ballooned pages to
 * Committed_AS; small pages are anonymous memory of this process and are in it already, so only
 * huge ones and blocks are added here. A host subtracts the whole
 * balloon from the report again: a page that is counted twice, or not at all, makes it give or
 * take another one.
 *
 * An emergency is a machine in need although it has given all that it was asked for: less than
 * half of the floor is available, or tasks have waited for memory most of the time. The protocol has
 * no message for that. But the host compares the committed memory with what it has assigned, so
 * committing more than there is makes it give; that is what is done, by what the floor lacks or a
 * tenth of the memory, and it is said in status.
 */

#include "policy/report.h"

enum {
	KB_PER_PAGE = 4,
	NEED_FULL_PERCENT = 50,
};

static uint64_t subtract(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void report_compose(const struct memory_figures *figures, uint64_t swapped_out_before,
		    const struct report_ballooned *ballooned, const struct floor_rule *rule,
		    struct report *ret_report)
{
	uint64_t in_use_pages = subtract(figures->total_kb / KB_PER_PAGE,
					 ballooned->huge_pages + ballooned->small_pages);
	uint64_t floor = floor_pages(rule, figures, in_use_pages);
	uint64_t available_pages = figures->available_kb / KB_PER_PAGE;
	uint64_t written_pages = subtract(figures->swapped_out_pages, swapped_out_before);

	*ret_report = (struct report){
		.available_pages = available_pages,
		.committed_pages = figures->committed_kb / KB_PER_PAGE + ballooned->huge_pages +
				   ballooned->block_pages + floor,
		.page_file_pages = figures->swap_total_kb / KB_PER_PAGE,
		.free_pages = figures->free_kb / KB_PER_PAGE,
		.page_file_write_pages = written_pages < UINT32_MAX ? written_pages : UINT32_MAX,
		.floor_pages = floor,
		.may_give_pages = subtract(available_pages, floor),
	};
}

/* The share of the time since @before in which all tasks waited for memory, in percent. */
static uint64_t full_percent(const struct memory_figures *now, const struct memory_figures *before,
			     uint64_t passed_ns)
{
	uint64_t passed_us = passed_ns / 1000;

	if (!now->has_stalls || !before->has_stalls || passed_us == 0)
		return 0;
	return subtract(now->full.total_us, before->full.total_us) * 100 / passed_us;
}

enum report_need report_see_need(struct report *report, const struct memory_figures *now,
				 const struct memory_figures *before, uint64_t passed_ns)
{
	uint64_t lacking_pages = subtract(report->floor_pages, report->available_pages);
	uint64_t tenth_pages = now->total_kb / KB_PER_PAGE / 10;
	enum report_need need = REPORT_NEED_NONE;

	if (report->available_pages < report->floor_pages / 2)
		need = REPORT_NEED_AVAILABLE;
	else if (full_percent(now, before, passed_ns) >= NEED_FULL_PERCENT)
		need = REPORT_NEED_STALLED;
	if (need == REPORT_NEED_NONE)
		return need;

	report->need_pages = lacking_pages > tenth_pages ? lacking_pages : tenth_pages;
	report->committed_pages += report->need_pages;
	return need;
}

const char *report_need_text(enum report_need need)
{
	static const char *const texts[] = {
		[REPORT_NEED_NONE] = "none",
		[REPORT_NEED_AVAILABLE] = "less than half of the floor is available",
		[REPORT_NEED_STALLED] = "all tasks wait for memory most of the time",
	};

	return texts[need];
}
