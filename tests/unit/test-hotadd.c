/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/hotadd.c: tables of requests and plans, and of zones. Numbers are in blocks of 8 pages
 * where a row says B.
 */

#include "memhotplug/hotadd.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

enum {
	B = 8, /* pages of a block */
};

struct row {
	struct hotadd_request request;
	uint64_t first_block;
	uint64_t n_blocks;
	enum hotadd_reason reason;
};

/*
 * Memory is at blocks 0..9, 20..23 and 31; memory can be added at blocks 10..29 and from 31 on.
 */
static void fill(struct rangeset *present, struct rangeset *windows)
{
	static const struct page_range memory[] = {{0, 10 * B}, {20 * B, 4 * B}, {31 * B, B}};
	static const struct page_range addable[] = {{10 * B, 20 * B}, {31 * B, 100 * B}};

	rangeset_init(present, 16);
	rangeset_init(windows, 16);
	cr_assert(eq(int, rangeset_add(present, memory, 3), 0));
	cr_assert(eq(int, rangeset_add(windows, addable, 2), 0));
}

ParameterizedTestParameters(hotadd, a_request_becomes_whole_blocks)
{
	static struct row rows[] = {
		/* whole blocks, without and with a region */
		{{{10 * B, 2 * B}, {0, 0}}, 10, 2, HOTADD_WHOLE},
		{{{12 * B, B}, {10 * B, 8 * B}}, 12, 1, HOTADD_WHOLE},
		{{{10 * B, 10 * B}, {10 * B, 10 * B}}, 10, 10, HOTADD_WHOLE},
		/* a gap before the range is not ours to mind */
		{{{18 * B, 2 * B}, {10 * B, 10 * B}}, 18, 2, HOTADD_WHOLE},
		/* a block that is covered in part */
		{{{10 * B, 2 * B + 1}, {0, 0}}, 10, 2, HOTADD_PARTIAL},
		{{{10 * B, B - 1}, {0, 0}}, 10, 0, HOTADD_PARTIAL},
		{{{10 * B, B - 1}, {10 * B, 2 * B}}, 10, 0, HOTADD_PARTIAL},
		{{{10 * B, 2 * B + 3}, {10 * B, 2 * B + 3}}, 10, 2, HOTADD_REGION_CUT},
		{{{10 * B + 1, 2 * B}, {0, 0}}, 0, 0, HOTADD_UNALIGNED},
		{{{10 * B - 1, 2 * B}, {10 * B - 1, 4 * B}}, 0, 0, HOTADD_UNALIGNED},
		/* the range has to be in its region */
		{{{10 * B, 2 * B}, {11 * B, 2 * B}}, 0, 0, HOTADD_OUTSIDE},
		{{{10 * B, 2 * B}, {10 * B, B}}, 0, 0, HOTADD_OUTSIDE},
		/* memory is there already */
		{{{18 * B, 4 * B}, {0, 0}}, 18, 2, HOTADD_PRESENT},
		{{{9 * B, 4 * B}, {0, 0}}, 9, 0, HOTADD_PRESENT},
		{{{0, 100 * B}, {0, 0}}, 0, 0, HOTADD_PRESENT},
		{{{31 * B, B}, {0, 0}}, 31, 0, HOTADD_PRESENT},
		/* the window ends, or begins later */
		{{{28 * B, 3 * B}, {0, 0}}, 28, 2, HOTADD_NO_WINDOW},
		{{{30 * B, B}, {0, 0}}, 30, 0, HOTADD_NO_WINDOW},
		{{{200 * B, B}, {0, 0}}, 200, 0, HOTADD_NO_WINDOW},
		{{{32 * B, 99 * B}, {0, 0}}, 32, 99, HOTADD_WHOLE},
		{{{32 * B, 100 * B}, {0, 0}}, 32, 99, HOTADD_NO_WINDOW},
		/* nonsense */
		{{{10 * B, 0}, {0, 0}}, 0, 0, HOTADD_EMPTY},
		{{{UINT64_C(1) << 40, B}, {0, 0}}, 0, 0, HOTADD_BEYOND},
		{{{B, UINT64_MAX}, {0, 0}}, 0, 0, HOTADD_BEYOND},
		{{{10 * B, B}, {B, UINT64_MAX}}, 0, 0, HOTADD_BEYOND},
		{{{(UINT64_C(1) << 40) - B, B}, {0, 0}}, (UINT64_C(1) << 40) / B - 1, 0,
		 HOTADD_NO_WINDOW},
	};

	return cr_make_param_array(struct row, rows, sizeof(rows) / sizeof(rows[0]));
}

ParameterizedTest(struct row *row, hotadd, a_request_becomes_whole_blocks)
{
	struct rangeset present, windows;
	struct hotadd_plan plan;

	fill(&present, &windows);
	hotadd_make_plan(&row->request, B, &present, &windows, &plan);
	cr_expect(eq(u64, plan.first_block, row->first_block));
	cr_expect(eq(u64, plan.n_blocks, row->n_blocks));
	cr_expect(eq(u64, plan.pages, row->n_blocks * B));
	cr_expect(eq(int, plan.reason, row->reason), "%s", hotadd_reason_text(plan.reason));
	rangeset_fini(&present);
	rangeset_fini(&windows);
}

Test(hotadd, with_probe_memory_can_be_added_anywhere)
{
	const struct hotadd_request request = {{200 * B, 3 * B + 1}, {0, 0}};
	struct rangeset present, windows;
	struct hotadd_plan plan;

	fill(&present, &windows);
	hotadd_make_plan(&request, B, &present, NULL, &plan);
	cr_expect(eq(u64, plan.n_blocks, 3));
	cr_expect(eq(int, plan.reason, HOTADD_PARTIAL));
	rangeset_fini(&present);
	rangeset_fini(&windows);
}

/* Page by page, what a plan may have. */
static bool page_is_fit(const struct hotadd_request *r, uint64_t page, const struct rangeset *present,
			const struct rangeset *windows)
{
	struct page_range one = {page, 1}, part;

	return page >= r->range.first && page < r->range.first + r->range.count &&
	       !rangeset_overlap(present, one, &part) && rangeset_contains(windows, one) &&
	       (r->region.count == 0 ||
		(page >= r->region.first && page < r->region.first + r->region.count));
}

Test(hotadd, any_plan_has_only_pages_that_are_fit_and_the_block_behind_it_has_one_that_is_not)
{
	struct rangeset present, windows;
	unsigned seed = 4711;

	fill(&present, &windows);
	for (int round = 0; round < 20000; round++) {
		struct hotadd_request r = {
			.range = {rand_r(&seed) % (40 * B), rand_r(&seed) % (20 * B)},
		};
		struct hotadd_plan plan;
		bool next_is_fit = true;

		if (round % 2)
			r.region = (struct page_range){rand_r(&seed) % (30 * B), rand_r(&seed) % (40 * B)};
		if (round % 4 < 2)
			r.range.first -= r.range.first % B;
		hotadd_make_plan(&r, B, &present, &windows, &plan);
		cr_assert(eq(u64, plan.pages % B, 0));
		cr_assert(le(u64, plan.pages, r.range.count));
		for (uint64_t i = 0; i < plan.pages; i++)
			cr_assert(page_is_fit(&r, r.range.first + i, &present, &windows));
		for (uint64_t i = 0; i < B; i++)
			next_is_fit &= page_is_fit(&r, r.range.first + plan.pages + i, &present, &windows);
		cr_assert(eq(int, next_is_fit && plan.reason < HOTADD_OUTSIDE, 0), "round %d", round);
		cr_assert(eq(int, plan.reason == HOTADD_WHOLE, plan.pages == r.range.count &&
								       r.range.count > 0));
	}
	rangeset_fini(&present);
	rangeset_fini(&windows);
}

Test(hotadd, every_reason_has_words_and_every_policy_a_name)
{
	enum hotadd_policy policy;

	for (int reason = 0; reason < HOTADD_N_REASONS; reason++)
		cr_expect(gt(sz, strlen(hotadd_reason_text(reason)), 5));
	for (int i = 0; i < HOTADD_N_POLICIES; i++) {
		cr_assert(hotadd_policy_parse(hotadd_policy_name(i), &policy));
		cr_expect(eq(int, policy, i));
	}
	cr_expect(not(hotadd_policy_parse("movable", &policy)));
	cr_expect(not(hotadd_policy_parse("", &policy)));
}

Test(hotadd, movable_memory_stays_in_its_ratio)
{
	static const struct {
		uint64_t block, kernel, movable;
		uint32_t ratio;
		bool want;
	} rows[] = {
		/* 301 %: three times the kernel's, and a little for rounding */
		{128, 1024, 0, 301, true},      {128, 1024, 2944, 301, true},
		{128, 1024, 2955, 301, false},  {128, 1024, 3072, 301, false},
		{512, 900, 0, 50, false},       {450, 900, 0, 50, true},
		{128, 0, 0, 301, false},        {128, 1024, 0, 0, false},
		{524288, UINT64_C(1) << 40, 0, 100000, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(int, hotadd_is_movable(rows[i].block, rows[i].kernel, rows[i].movable,
						    rows[i].ratio), rows[i].want), "row %zu", i);
}
