/* SPDX-License-Identifier: MIT */

/*
 * policy/report.c against the figures that the kernel's own driver was seen to report.
 */

#include "policy/report.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define MIB(x) (UINT64_C(256) * (x)) /* in pages */

static const struct floor_rule kernel = {.kind = FLOOR_KERNEL};

static const struct memory_figures figures = {
	.total_kb = 797300,
	.free_kb = 655012,
	.available_kb = 669508,
	.committed_kb = 4816,
	.swap_total_kb = 1048572,
	.swap_free_kb = 1040380,
	.swapped_out_pages = 5000,
};

Test(report, without_a_balloon_committed_is_the_address_space_and_the_floor)
{
	const struct report_ballooned none = {0};
	struct report report;

	report_compose(&figures, 4700, &none, &kernel, &report);
	cr_expect(eq(u64, report.available_pages, 669508 / 4));
	cr_expect(eq(u64, report.committed_pages, 1204 + 51539));
	cr_expect(eq(u64, report.page_file_pages, 1048572 / 4));
	cr_expect(eq(u64, report.free_pages, 655012 / 4));
	cr_expect(eq(u32, report.page_file_write_pages, 300));
	cr_expect(eq(u32, report.fault_pages, 0));
	cr_expect(eq(u64, report.floor_pages, 51539));
	cr_expect(eq(u64, report.may_give_pages, 669508 / 4 - 51539));
}

/* 128 MiB leave: what a host sees, less what it took, must be what it would see in a VM without. */
Test(report, the_balloon_is_counted_once_whatever_it_is_made_of)
{
	static const struct {
		struct report_ballooned ballooned;
		uint64_t committed_kb;
		uint64_t total_kb; /* less than before */
	} rows[] = {
		{{.huge_pages = 32768}, 4816, 0},
		{{.small_pages = 32768}, 4816 + 4 * 32768, 0},
		{{.huge_pages = 16384, .small_pages = 16384}, 4816 + 4 * 16384, 0},
		{{.block_pages = 32768}, 4816, 4 * 32768},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_figures f = figures;
		struct report report;

		f.committed_kb = rows[i].committed_kb;
		f.total_kb -= rows[i].total_kb;
		report_compose(&f, 5000, &rows[i].ballooned, &kernel, &report);
		cr_expect(eq(u64, report.floor_pages, floor_pages(&kernel, &f, 199325 - 32768)));
		cr_expect(eq(u64, report.committed_pages - 32768, 1204 + report.floor_pages));
		cr_expect(eq(u32, report.page_file_write_pages, 0));
	}
}

Test(report, figures_that_do_not_fit_together_do_no_harm)
{
	const struct report_ballooned more_than_there_is = {.huge_pages = 1000000};
	struct memory_figures f = {.swapped_out_pages = UINT64_MAX};
	struct report report;

	report_compose(&f, 0, &more_than_there_is, &kernel, &report);
	cr_expect(eq(u64, report.floor_pages, MIB(8)));
	cr_expect(eq(u64, report.may_give_pages, 0));
	cr_expect(eq(u32, report.page_file_write_pages, UINT32_MAX));
	f.swapped_out_pages = 3;
	report_compose(&f, 4, &more_than_there_is, &kernel, &report);
	cr_expect(eq(u32, report.page_file_write_pages, 0));
}

/* Of 199325 pages the kernel keeps 51539; half of that are 25769. */
Test(report, a_machine_in_need_commits_more_than_it_has)
{
	static const struct {
		const char *what;
		uint64_t available_pages, full_us;
		enum report_need need;
		uint64_t need_pages;
	} rows[] = {
		{"at the floor", 51539, 0, REPORT_NEED_NONE, 0},
		{"half of the floor", 25769, 0, REPORT_NEED_NONE, 0},
		{"less than that", 25768, 0, REPORT_NEED_AVAILABLE, 51539 - 25768},
		{"nothing", 0, 0, REPORT_NEED_AVAILABLE, 51539},
		{"stalled for less than half of the time", 100000, 499000, REPORT_NEED_NONE, 0},
		{"stalled for half of it", 100000, 500000, REPORT_NEED_STALLED, 19932},
		{"stalled, near the floor", 30000, 900000, REPORT_NEED_STALLED, 51539 - 30000},
	};
	const struct report_ballooned none = {0};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_figures before = figures, now = figures;
		struct report report;

		before.has_stalls = now.has_stalls = true;
		before.full.total_us = 7000000;
		now.full.total_us = 7000000 + rows[i].full_us;
		now.available_kb = rows[i].available_pages * 4;
		report_compose(&now, 5000, &none, &kernel, &report);
		cr_expect(eq(int, report_see_need(&report, &now, &before, 1000000000), rows[i].need),
			  "%s", rows[i].what);
		cr_expect(eq(u64, report.need_pages, rows[i].need_pages), "%s", rows[i].what);
		cr_expect(eq(u64, report.committed_pages, 1204 + 51539 + rows[i].need_pages));
	}
}

Test(report, without_stall_figures_only_the_available_memory_counts)
{
	struct memory_figures before = figures, now = figures;
	const struct report_ballooned none = {0};
	struct report report;

	now.full.total_us = 1000000;
	report_compose(&now, 5000, &none, &kernel, &report);
	cr_expect(eq(int, report_see_need(&report, &now, &before, 1000000000), REPORT_NEED_NONE));
	before.has_stalls = now.has_stalls = true;
	cr_expect(eq(int, report_see_need(&report, &now, &before, 0), REPORT_NEED_NONE));
}
