/* SPDX-License-Identifier: MIT */

/*
 * policy/report.c against the figures that the kernel's own driver was seen to report.
 */

#include "policy/report.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define MIB(x) (UINT64_C(256) * (x)) /* in pages */

static const struct floor_rule kernel = {.kind = FLOOR_KERNEL};
static const struct report_basis compat = {.rule = REPORT_COMPAT, .floor = {.kind = FLOOR_KERNEL}};
static const struct strain calm;

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

	report_compose(&compat, &figures, 4700, &none, &calm, &report);
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
		report_compose(&compat, &f, 5000, &rows[i].ballooned, &calm, &report);
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

	report_compose(&compat, &f, 0, &more_than_there_is, &calm, &report);
	cr_expect(eq(u64, report.floor_pages, MIB(8)));
	cr_expect(eq(u64, report.may_give_pages, 0));
	cr_expect(eq(u32, report.page_file_write_pages, UINT32_MAX));
	f.swapped_out_pages = 3;
	report_compose(&compat, &f, 4, &more_than_there_is, &calm, &report);
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
		report_compose(&compat, &now, 5000, &none, &calm, &report);
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
	report_compose(&compat, &now, 5000, &none, &calm, &report);
	cr_expect(eq(int, report_see_need(&report, &now, &before, 1000000000), REPORT_NEED_NONE));
	before.has_stalls = now.has_stalls = true;
	cr_expect(eq(int, report_see_need(&report, &now, &before, 0), REPORT_NEED_NONE));
}

static const struct strain strained = {
	.refault_pages = 700, .stall_pages = 1100, .target_pages = 13000,
};

/* Every rule's sum is done again by hand; the balloon is in it once, whatever it is made of. */
Test(report, each_rule_is_the_sum_of_its_terms)
{
	const struct report_ballooned ballooned = {
		.huge_pages = 16384, .small_pages = 8192, .block_pages = 32768,
	};
	const uint64_t in_use = 797300 / 4 - 16384 - 8192, available = 669508 / 4;
	const uint64_t floor = floor_pages(&kernel, &figures, in_use);
	const uint64_t used = in_use - available, all = 16384 + 8192 + 32768;
	const struct {
		enum report_rule rule;
		uint64_t committed_pages;
	} rows[] = {
		{REPORT_COMPAT, 1204 + 16384 + 32768 + floor},
		{REPORT_WORKINGSET, used + all + floor + 700 + 1100},
		{REPORT_PSI, used + all + floor + 13000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct report_basis basis = {.rule = rows[i].rule, .floor = kernel};
		uint64_t sum = 0;
		struct report report;

		report_compose(&basis, &figures, 5000, &ballooned, &strained, &report);
		cr_expect(eq(u64, report.committed_pages, rows[i].committed_pages), "row %zu", i);
		for (int term = 0; term < REPORT_N_TERMS; term++)
			sum += report.terms[term];
		cr_expect(eq(u64, sum, report.committed_pages), "row %zu", i);
		for (size_t other = 0; other < REPORT_N_RULES; other++)
			cr_expect(eq(u64, report.by_rule[rows[other].rule],
				     rows[other].committed_pages));
	}
}

Test(report, whatever_is_suffered_the_kernels_rule_does_not_change)
{
	const struct report_ballooned none = {0};
	struct report report;

	report_compose(&compat, &figures, 5000, &none, &strained, &report);
	cr_expect(eq(u64, report.committed_pages, 1204 + 51539));
}

Test(report, more_available_than_there_is_means_that_nothing_is_used)
{
	const struct report_ballooned most = {.huge_pages = 190000};
	const struct report_basis basis = {.rule = REPORT_WORKINGSET, .floor = kernel};
	struct report report;

	report_compose(&basis, &figures, 5000, &most, &calm, &report);
	cr_expect(eq(u64, report.terms[REPORT_TERM_USED], 0));
	cr_expect(eq(u64, report.committed_pages, 190000 + report.floor_pages));
}

Test(report, a_need_is_a_term_of_every_rule)
{
	const struct report_ballooned none = {0};

	for (int rule = 0; rule < REPORT_N_RULES; rule++) {
		struct report_basis basis = {.rule = rule, .floor = kernel};
		struct memory_figures f = figures;
		struct report report;

		f.available_kb = 0;
		report_compose(&basis, &f, 5000, &none, &calm, &report);
		cr_expect(eq(int, report_see_need(&report, &f, &f, 1000000000),
			     REPORT_NEED_AVAILABLE));
		cr_expect(eq(u64, report.terms[REPORT_TERM_NEED], report.need_pages));
		cr_expect(eq(u64, report.committed_pages, report.by_rule[rule] + report.need_pages));
	}
}

Test(report, rules_are_known_by_their_names)
{
	enum report_rule rule;

	for (int i = 0; i < REPORT_N_RULES; i++) {
		cr_expect(eq(int, report_rule_parse(report_rule_name(i), &rule), 0));
		cr_expect(eq(int, rule, i));
	}
	cr_expect(eq(int, report_rule_parse("", &rule), REPORT_NO_RULE));
	cr_expect(eq(int, report_rule_parse("comp", &rule), REPORT_NO_RULE));
}
