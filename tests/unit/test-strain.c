/* SPDX-License-Identifier: MIT */

/*
 * policy/strain.c: what is asked for by what is suffered, on seconds that are made up.
 */

#include "policy/strain.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define MEMORY 400000 /* pages in use */
#define SECOND UINT64_C(1000000)

static struct strain make(uint32_t target_percent)
{
	struct strain_config config;
	struct strain s;

	strain_config_init(&config);
	config.target_percent = target_percent;
	strain_init(&s, &config);
	return s;
}

static void look(struct strain *s, uint64_t passed_us, uint64_t stalled_us, uint64_t refaults)
{
	const struct strain_seen seen = {
		.passed_us = passed_us, .stalled_us = stalled_us, .refaults = refaults,
	};

	strain_observe(s, &seen, MEMORY);
}

static void expect_shares(const struct strain *s, uint64_t refaults, uint64_t stalls,
			  uint64_t target, const char *what)
{
	cr_expect(eq(u64, s->refault_pages, refaults), "%s", what);
	cr_expect(eq(u64, s->stall_pages, stalls), "%s", what);
	cr_expect(eq(u64, s->target_pages, target), "%s", what);
}

/* Each row is one look at a machine that was calm before. */
Test(strain, one_look_asks_for_what_the_formulas_say)
{
	static const struct {
		const char *what;
		uint64_t passed_us, stalled_us, refaults;
		uint64_t refault_pages, stall_pages, target_pages;
	} rows[] = {
		{"calm", SECOND, 0, 0, 0, 0, 0},
		{"at the target", SECOND, 10000, 0, 0, 1000, 0},
		{"a tenth of the time", SECOND, 100000, 0, 0, 10000, 18000},
		{"all of the time", SECOND, SECOND, 0, 0, 100000, 198000},
		{"a burst: 50 ms of 100", 100000, 50000, 0, 0, 50000, 9800},
		{"refaults", SECOND, 0, 1234, 1234, 0, 0},
		{"more refaults than a quarter of the memory", SECOND, 0, 300000, 100000, 0, 0},
		{"no time at all", 0, 0, 500, 0, 0, 0},
		{"an hour of waiting", 3600 * SECOND, 3600 * SECOND, 0, 0, 100000, MEMORY},
		{"any number of refaults", SECOND, 0, UINT64_MAX, 100000, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct strain s = make(1);

		look(&s, rows[i].passed_us, rows[i].stalled_us, rows[i].refaults);
		expect_shares(&s, rows[i].refault_pages, rows[i].stall_pages, rows[i].target_pages,
			      rows[i].what);
	}
}

Test(strain, shares_fall_when_it_is_over_and_come_to_nothing)
{
	struct strain s = make(1);
	uint64_t refaults, stalls, target;

	look(&s, SECOND, 500000, 20000);
	refaults = s.refault_pages;
	stalls = s.stall_pages;
	target = s.target_pages;
	for (int i = 0; i < 1000; i++) {
		look(&s, SECOND, 0, 0);
		cr_expect(le(u64, s.refault_pages, refaults));
		cr_expect(le(u64, s.stall_pages, stalls));
		cr_expect(le(u64, s.target_pages, target));
		if (i == 9)
			cr_expect(lt(u64, s.stall_pages, stalls / 2));
		if (i == 29)
			cr_expect(lt(u64, s.refault_pages, refaults / 2));
	}
	expect_shares(&s, 0, 0, 0, "after a quarter of an hour");
}

/* Memory answers: the more of the share has been assigned, the less is waited. */
Test(strain, the_controller_comes_to_rest_at_its_target)
{
	for (uint32_t target = 1; target <= 20; target += 19) {
		struct strain s = make(target);
		uint64_t stalled_us = 0, lacking = 60000;

		for (int i = 0; i < 3000; i++) {
			stalled_us = s.target_pages < lacking
					     ? (lacking - s.target_pages) * SECOND / lacking
					     : 0;
			look(&s, SECOND, stalled_us, 0);
		}
		cr_expect(ge(u64, stalled_us, target * SECOND / 100 / 2), "target %u", target);
		cr_expect(le(u64, stalled_us, target * SECOND / 100 * 2), "target %u", target);
	}
}

Test(strain, it_does_not_matter_into_how_many_looks_the_time_is_cut)
{
	struct strain one = make(1), many = make(1);

	look(&one, SECOND, 300000, 1000);
	for (int i = 0; i < 10; i++)
		look(&many, SECOND / 10, 30000, 100);
	cr_expect(eq(u64, one.stall_pages, many.stall_pages));
	cr_expect(eq(u64, one.target_pages, many.target_pages));
	cr_expect(ge(u64, many.refault_pages, one.refault_pages * 95 / 100));
}

static struct memory_figures figures(bool has_stalls, uint64_t stalled_us, uint64_t refaults)
{
	return (struct memory_figures){
		.has_stalls = has_stalls, .some = {.total_us = stalled_us}, .refaults = refaults,
	};
}

Test(strain, what_happened_between_two_readings)
{
	static const struct {
		const char *what;
		bool had, has;
		uint64_t us_before, us_now, refaults_before, refaults_now;
		uint64_t stalled_us, refaults;
	} rows[] = {
		{"as it should be", true, true, 100, 300, 7, 9, 200, 2},
		{"nothing", true, true, 300, 300, 9, 9, 0, 0},
		{"backwards", true, true, 300, 100, 9, 7, 0, 0},
		{"no stalls before", false, true, 0, 300, 0, 0, 0, 0},
		{"no stalls now", true, false, 300, 0, 0, 0, 0, 0},
		{"more waiting than time", true, true, 0, UINT64_MAX, 0, 0, SECOND, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_figures before =
			figures(rows[i].had, rows[i].us_before, rows[i].refaults_before);
		struct memory_figures now =
			figures(rows[i].has, rows[i].us_now, rows[i].refaults_now);
		struct strain_seen seen = strain_between(&now, &before, SECOND * 1000);

		cr_expect(eq(u64, seen.passed_us, SECOND), "%s", rows[i].what);
		cr_expect(eq(u64, seen.stalled_us, rows[i].stalled_us), "%s", rows[i].what);
		cr_expect(eq(u64, seen.refaults, rows[i].refaults), "%s", rows[i].what);
	}
}

Test(strain, a_group_at_its_own_limit_asks_the_host_for_nothing)
{
	static const struct {
		uint64_t current_bytes, limit_bytes;
		bool at_limit;
	} rows[] = {
		{100 << 20, UINT64_MAX, false}, {100 << 20, 200 << 20, false},
		{193 << 20, 200 << 20, false},  {194 << 20, 200 << 20, true},
		{200 << 20, 200 << 20, true},   {UINT64_MAX, 0, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct memory_group before = {.has_stalls = true, .limit_bytes = UINT64_MAX};
		const struct memory_group now = {
			.current_bytes = rows[i].current_bytes,
			.limit_bytes = rows[i].limit_bytes,
			.refaults = 500,
			.has_stalls = true,
			.some = {.total_us = 500000},
		};
		struct strain_seen seen = strain_of_group(&now, &before, SECOND * 1000);
		struct strain s = make(1);

		strain_observe(&s, &seen, MEMORY);
		cr_expect(eq(int, seen.at_limit, rows[i].at_limit), "row %zu", i);
		cr_expect(eq(int, s.stall_pages > 0, !rows[i].at_limit), "row %zu", i);
		cr_expect(eq(int, s.target_pages > 0, !rows[i].at_limit), "row %zu", i);
		cr_expect(eq(int, s.refault_pages > 0, !rows[i].at_limit), "row %zu", i);
	}
}
