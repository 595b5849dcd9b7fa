/* SPDX-License-Identifier: MIT */

/*
 * policy/report.c against the figures that the kernel's own driver was seen to report.
 */

#include "policy/report.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define MIB(x) (UINT64_C(256) * (x)) /* in pages */

Test(report, the_floor_is_the_kernels)
{
	static const struct {
		uint64_t total_pages, floor_pages;
	} rows[] = {
		{0, MIB(8)},
		{MIB(16), MIB(16)},
		{MIB(128) - 2, MIB(72) - 1},
		{MIB(128), MIB(72)},
		{MIB(512), MIB(168)},
		{MIB(2048), MIB(360)},
		{MIB(8192), MIB(744)},
		{MIB(32768), MIB(1512)},
		{MIB(65536), MIB(2536)},
		{MIB(131072), MIB(4584)},
		{199325, 51539}, /* MemTotal 797300 kB */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(u64, report_floor_pages(rows[i].total_pages), rows[i].floor_pages));
}

Test(report, the_floor_never_falls_when_memory_grows)
{
	for (uint64_t pages = 0; pages < MIB(10000); pages += 37)
		cr_assert(le(u64, report_floor_pages(pages), report_floor_pages(pages + 37)));
}

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

	report_compose(&figures, 4700, &none, &report);
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
	} rows[] = {
		{{.huge_pages = 32768}, 4816},
		{{.small_pages = 32768}, 4816 + 4 * 32768},
		{{.huge_pages = 16384, .small_pages = 16384}, 4816 + 4 * 16384},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_figures f = figures;
		struct report report;

		f.committed_kb = rows[i].committed_kb;
		report_compose(&f, 5000, &rows[i].ballooned, &report);
		cr_expect(eq(u64, report.floor_pages, report_floor_pages(199325 - 32768)));
		cr_expect(eq(u64, report.committed_pages - 32768, 1204 + report.floor_pages));
		cr_expect(eq(u32, report.page_file_write_pages, 0));
	}
}

Test(report, figures_that_do_not_fit_together_do_no_harm)
{
	const struct report_ballooned more_than_there_is = {.huge_pages = 1000000};
	struct memory_figures f = {.swapped_out_pages = UINT64_MAX};
	struct report report;

	report_compose(&f, 0, &more_than_there_is, &report);
	cr_expect(eq(u64, report.floor_pages, MIB(8)));
	cr_expect(eq(u64, report.may_give_pages, 0));
	cr_expect(eq(u32, report.page_file_write_pages, UINT32_MAX));
	f.swapped_out_pages = 3;
	report_compose(&f, 4, &more_than_there_is, &report);
	cr_expect(eq(u32, report.page_file_write_pages, 0));
}
