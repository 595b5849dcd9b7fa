/* SPDX-License-Identifier: MIT */

/*
 * policy/balancer.c and balancer_pass.c: single decisions as rows, the books, the rules between
 * guests, and whole runs against a simulated guest on virtual time. The simulated guest reports as
 * Linux does: committed memory, a floor that depends on what it has, and its balloon on top. What
 * holds for any guests and any order of events is in test-balancer-properties.c.
 */

#include "policy/balancer.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

enum {
	MIB = 256, /* pages */
	GIB = 1024 * MIB,
	T0 = 1000, /* seconds; when all of these tests begin */
};

static struct balancer_settings usual_settings(void)
{
	struct balancer_settings s;

	balancer_settings_init(&s);
	s.first_action_ns = 0;
	s.operation_max_pages = BALANCER_PAGES_MAX;
	return s;
}

static struct balancer *make(const struct balancer_settings *settings)
{
	struct balancer *b;

	cr_assert(eq(int, balancer_new(settings, T0 * SECOND, &b), 0));
	return b;
}

static struct balancer_limits limits_of(uint64_t minimum, uint64_t startup, uint64_t maximum)
{
	struct balancer_limits l;

	balancer_limits_init(&l);
	l.minimum_pages = minimum;
	l.startup_pages = startup;
	l.maximum_pages = maximum;
	return l;
}

static struct balancer_limits usual_limits(void)
{
	return limits_of(512 * MIB, 2 * GIB, 8 * (uint64_t)GIB);
}

/* A guest that runs, and has @assigned. */
static uint32_t join(struct balancer *b, const char *name, const struct balancer_limits *limits,
		     uint64_t assigned)
{
	uint32_t id;

	cr_assert(eq(int, balancer_add_running(b, name, limits, assigned, T0 * SECOND, &id), 0));
	return id;
}

static int report_full(struct balancer *b, uint32_t id, uint64_t committed, uint64_t ballooned,
		       uint64_t growable, uint64_t second)
{
	const struct balancer_report r = {
		.committed_pages = committed,
		.available_pages = second, /* so that no two are the same */
		.ballooned_pages = ballooned,
		.growable_pages = growable,
	};

	return balancer_report(b, id, &r, second * SECOND);
}

static void report(struct balancer *b, uint32_t id, uint64_t committed, uint64_t second)
{
	cr_assert(eq(int, report_full(b, id, committed, 0, UINT64_MAX, second), 0));
}

static const struct balancer_decision *decision(const struct balancer *b, uint32_t id)
{
	return &balancer_get(b, id)->decision;
}

static enum balancer_reason reason_at(struct balancer *b, uint32_t id, uint64_t second)
{
	balancer_pass(b, second * SECOND);
	return decision(b, id)->reason;
}

/* The next order must be this one. */
static void expect_order(struct balancer *b, uint32_t id, enum balancer_kind kind, uint64_t pages)
{
	struct balancer_order o;

	cr_assert(eq(int, balancer_next_order(b, &o), 0));
	cr_expect(eq(u32, o.guest, id));
	cr_expect(eq(int, (int)o.kind, (int)kind));
	cr_expect(eq(u64, o.pages, pages));
}

static void expect_no_order(struct balancer *b)
{
	struct balancer_order o;

	cr_expect(eq(int, balancer_next_order(b, &o), BALANCER_IDLE));
}

/* It did all that it was asked. */
static void obey(struct balancer *b, uint32_t id, uint64_t second)
{
	const struct balancer_guest *g = balancer_get(b, id);

	cr_assert(eq(int, balancer_moved(b, id, g->running, g->asked_pages, second * SECOND), 0));
	cr_assert(eq(int, balancer_ended(b, id, second * SECOND), 0));
}

Test(balancer, limits_that_make_no_sense_are_refused)
{
	static const struct {
		uint64_t minimum, startup, maximum;
		uint32_t buffer, weight;
		int result;
	} rows[] = {
		{1, 2, 3, 20, 5000, 0},
		{2, 2, 2, 5, 0, 0},
		{1, 1, BALANCER_PAGES_MAX, 2000, 10000, 0},
		{1, 2, 3, 4, 5000, BALANCER_BAD_BUFFER},
		{1, 2, 3, 2001, 5000, BALANCER_BAD_BUFFER},
		{0, 2, 3, 20, 5000, BALANCER_BAD_ORDER},
		{3, 2, 3, 20, 5000, BALANCER_BAD_ORDER},
		{1, 4, 3, 20, 5000, BALANCER_BAD_ORDER},
		{1, 2, BALANCER_PAGES_MAX + 1, 20, 5000, BALANCER_BAD_ORDER},
		{1, 2, 3, 20, 10001, BALANCER_BAD_WEIGHT},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = limits_of(rows[i].minimum, rows[i].startup,
						     rows[i].maximum);
		struct balancer *b = make(&s);
		uint32_t id = 77;

		l.buffer_percent = rows[i].buffer;
		l.weight = rows[i].weight;
		cr_expect(eq(int, balancer_add(b, "a", &l, T0 * SECOND, &id), rows[i].result),
			  "row %zu", i);
		cr_expect(eq(u32, id, rows[i].result ? 77 : 0));
		cr_expect(strlen(balancer_condition_text(rows[i].result)) > 5);
		balancer_free(b);
	}
}

Test(balancer, one_report_leads_to_one_decision)
{
	static const struct {
		const char *what;
		uint64_t committed, ballooned, assigned, growable, target;
		enum balancer_reason reason;
		uint32_t pressure;
	} rows[] = {
		{"demand and buffer just fit", 1000 * MIB, 0, 1200 * MIB, UINT64_MAX, 1200 * MIB,
		 BALANCER_WHY_AT_REST, 83},
		{"the upper edge of the band", 913 * MIB, 0, 1000 * MIB, UINT64_MAX, 1000 * MIB,
		 BALANCER_WHY_AT_REST, 91},
		{"above the band", 920 * MIB, 0, 1000 * MIB, UINT64_MAX, 1104 * MIB,
		 BALANCER_WHY_GROW, 92},
		{"far above: all at once", 4000 * MIB, 0, 1000 * MIB, UINT64_MAX, 4800 * MIB,
		 BALANCER_WHY_GROW, 400},
		{"the lower edge of the band", 754 * MIB, 0, 1000 * MIB, UINT64_MAX, 1000 * MIB,
		 BALANCER_WHY_AT_REST, 75},
		{"below the band: a step of 128 MiB", 600 * MIB, 0, 1000 * MIB, UINT64_MAX,
		 872 * MIB, BALANCER_WHY_SHRINK, 60},
		{"a large guest: a step of a tenth", 600 * MIB, 0, 6000 * MIB, UINT64_MAX,
		 5400 * MIB, BALANCER_WHY_SHRINK, 10},
		{"less than a step to go", 700 * MIB, 0, 960 * MIB, UINT64_MAX, 840 * MIB,
		 BALANCER_WHY_SHRINK, 72},
		{"the balloon is no demand", 2000 * MIB, 1000 * MIB, 1200 * MIB, UINT64_MAX,
		 1200 * MIB, BALANCER_WHY_AT_REST, 83},
		{"a balloon larger than committed", 100 * MIB, 200 * MIB, 512 * MIB, UINT64_MAX,
		 512 * MIB, BALANCER_WHY_AT_MINIMUM, 0},
		{"idle, at its minimum", 10 * MIB, 0, 512 * MIB, UINT64_MAX, 512 * MIB,
		 BALANCER_WHY_AT_MINIMUM, 1},
		{"idle, nearly at its minimum", 10 * MIB, 0, 512 * MIB + 255, UINT64_MAX,
		 512 * MIB + 255, BALANCER_WHY_AT_MINIMUM, 1},
		{"a step that would go below the minimum", 10 * MIB, 0, 600 * MIB, UINT64_MAX,
		 512 * MIB, BALANCER_WHY_SHRINK, 1},
		{"wants more than its maximum", 9 * (uint64_t)GIB, 0, 7 * (uint64_t)GIB, UINT64_MAX,
		 8 * (uint64_t)GIB, BALANCER_WHY_GROW, 128},
		{"wants more and has its maximum", 9 * (uint64_t)GIB, 0, 8 * (uint64_t)GIB,
		 UINT64_MAX, 8 * (uint64_t)GIB, BALANCER_WHY_AT_MAXIMUM, 112},
		{"wants more and nothing is to be had", 2000 * MIB, 0, 1000 * MIB, 0, 1000 * MIB,
		 BALANCER_WHY_AT_MAXIMUM, 200},
		{"wants more than is to be had", 2000 * MIB, 0, 1000 * MIB, 300 * MIB, 1300 * MIB,
		 BALANCER_WHY_GROW, 200},
		{"below the minimum, at rest", 350 * MIB, 0, 420 * MIB, UINT64_MAX, 512 * MIB,
		 BALANCER_WHY_BELOW_MINIMUM, 83},
		{"above the maximum, at rest", 7168 * MIB, 0, 8600 * MIB, UINT64_MAX, 8192 * MIB,
		 BALANCER_WHY_ABOVE_MAXIMUM, 83},
		{"nothing assigned", 100 * MIB, 0, 0, UINT64_MAX, 512 * MIB,
		 BALANCER_WHY_BELOW_MINIMUM, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = usual_limits();
		struct balancer *b = make(&s);
		uint32_t id = join(b, "a", &l, rows[i].assigned);
		const struct balancer_decision *d = decision(b, id);

		cr_assert(eq(int, report_full(b, id, rows[i].committed, rows[i].ballooned,
					      rows[i].growable, T0 + 1),
			     0));
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 2), (int)rows[i].reason), "%s: %s",
			  rows[i].what, balancer_reason_text(d->reason));
		cr_expect(eq(u64, d->target_pages, rows[i].target), "%s", rows[i].what);
		cr_expect(eq(u32, d->pressure_percent, rows[i].pressure), "%s", rows[i].what);
		cr_expect(eq(u32, d->rest_percent, 83));
		if (rows[i].target == rows[i].assigned)
			expect_no_order(b);
		else if (rows[i].target > rows[i].assigned)
			expect_order(b, id, BALANCER_GROW, rows[i].target - rows[i].assigned);
		else
			expect_order(b, id, BALANCER_SHRINK, rows[i].assigned - rows[i].target);
		balancer_free(b);
	}
}

Test(balancer, the_rest_pressure_follows_the_buffer)
{
	static const struct {
		uint32_t buffer, rest;
	} rows[] = {{5, 95}, {20, 83}, {50, 66}, {100, 50}, {2000, 4}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = usual_limits();
		struct balancer *b = make(&s);
		uint32_t id;

		l.buffer_percent = rows[i].buffer;
		id = join(b, "a", &l, 300 * MIB * (100 + rows[i].buffer) / 100);
		report(b, id, 300 * MIB, T0 + 1);
		/* Just right, unless the bounds say otherwise. */
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 1),
			     rows[i].buffer < 100 ? BALANCER_WHY_BELOW_MINIMUM
						  : BALANCER_WHY_AT_REST));
		cr_expect(eq(u32, decision(b, id)->rest_percent, rows[i].rest));
		balancer_free(b);
	}
}

Test(balancer, without_a_fresh_report_nothing_is_decided)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);

	cr_expect(eq(int, (int)reason_at(b, id, T0), BALANCER_WHY_NO_REPORT));
	report(b, id, 3 * GIB, T0 + 10);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 15), BALANCER_WHY_NO_REPORT));
	report(b, id, 3 * GIB, T0 + 16);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 20), BALANCER_WHY_GROW));
	balancer_free(b);
}

Test(balancer, a_guest_that_boots_is_left_alone)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b;
	uint32_t id;

	s.first_action_ns = 50 * SECOND;
	b = make(&s);
	id = join(b, "a", &l, GIB);
	report(b, id, 3 * GIB, T0 + 49);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 49), BALANCER_WHY_STARTING));
	cr_expect(eq(u64, decision(b, id)->until_ns, (T0 + 50) * SECOND));
	balancer_guard(b, id, BALANCER_GUARD_BOOTING, (T0 + 50) * SECOND);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 50), BALANCER_WHY_STARTING));
	balancer_guard(b, id, 0, (T0 + 51) * SECOND);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 51), BALANCER_WHY_GROW));
	balancer_free(b);
}

Test(balancer, each_guard_holds)
{
	static const struct {
		unsigned int guards;
		uint64_t committed;
		enum balancer_reason reason;
	} rows[] = {
		{BALANCER_GUARD_BACKUP, 3 * GIB, BALANCER_WHY_BACKUP},
		{BALANCER_GUARD_BACKUP, 600 * MIB, BALANCER_WHY_BACKUP},
		{BALANCER_GUARD_NOT_READY, 3 * GIB, BALANCER_WHY_NOT_READY},
		{BALANCER_GUARD_BOOTING, 600 * MIB, BALANCER_WHY_STARTING},
		{BALANCER_GUARD_STALLING, 600 * MIB, BALANCER_WHY_STALLING},
		{BALANCER_GUARD_STALLING, 3 * GIB, BALANCER_WHY_GROW},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = usual_limits();
		struct balancer *b = make(&s);
		uint32_t id = join(b, "a", &l, GIB);

		report(b, id, rows[i].committed, T0 + 1);
		balancer_guard(b, id, rows[i].guards, (T0 + 1) * SECOND);
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), (int)rows[i].reason), "row %zu", i);
		/* By hand is no way around it. */
		balancer_set_manual(b, id, 600 * MIB);
		if (rows[i].reason != BALANCER_WHY_GROW)
			cr_expect(ne(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_MANUAL),
				  "row %zu", i);
		balancer_free(b);
	}
}

Test(balancer, a_guest_that_swaps_is_not_shrunk_until_it_has_stopped_for_a_while)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);
	const struct balancer_report swapping = {
		.committed_pages = 600 * MIB,
		.available_pages = 1,
		.growable_pages = UINT64_MAX,
		.swapped_pages = 256,
	};

	cr_assert(eq(int, balancer_report(b, id, &swapping, (T0 + 1) * SECOND), 0));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_STALLING));
	report(b, id, 600 * MIB, T0 + 10);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 10), BALANCER_WHY_STALLING));
	report(b, id, 600 * MIB, T0 + 11);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 11), BALANCER_WHY_SHRINK));
	balancer_free(b);
}

Test(balancer, after_an_operation_it_waits_for_a_report_and_before_shrinking_some_more)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);

	report(b, id, 600 * MIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_SHRINK));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_BUSY));
	expect_order(b, id, BALANCER_SHRINK, 128 * MIB);
	obey(b, id, T0 + 2);
	cr_expect(eq(u64, balancer_get(b, id)->assigned_pages, 896 * MIB));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 2), BALANCER_WHY_REPORT_BEFORE));
	report(b, id, 600 * MIB, T0 + 3);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 6), BALANCER_WHY_SPACING));
	cr_expect(eq(u64, decision(b, id)->until_ns, (T0 + 7) * SECOND));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 7), BALANCER_WHY_SHRINK));
	obey(b, id, T0 + 8);

	/* Growing does not wait. */
	report(b, id, 3 * GIB, T0 + 9);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 9), BALANCER_WHY_GROW));
	balancer_free(b);
}

Test(balancer, what_moved_nothing_is_not_tried_again_for_a_while)
{
	static const struct {
		uint64_t committed;
		enum balancer_reason reason;
	} rows[] = {{600 * MIB, BALANCER_WHY_SHRINK}, {3 * GIB, BALANCER_WHY_GROW}};

	for (size_t i = 0; i < 2; i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = usual_limits();
		struct balancer *b = make(&s);
		uint32_t id = join(b, "a", &l, GIB);
		const struct balancer_report more = {
			.committed_pages = rows[i].committed,
			.available_pages = 40 * MIB,
			.growable_pages = UINT64_MAX,
		};

		report(b, id, rows[i].committed, T0 + 1);
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), (int)rows[i].reason));
		cr_expect(eq(int, balancer_ended(b, id, (T0 + 1) * SECOND), 0));
		cr_expect(eq(u64, balancer_get(b, id)->stats.refusals, 1));
		report(b, id, rows[i].committed, T0 + 60);
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 60), BALANCER_WHY_REFUSED));
		cr_assert(eq(int, balancer_report(b, id, &more, (T0 + 61) * SECOND), 0));
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 61), (int)rows[i].reason));
		balancer_free(b);
	}
}

Test(balancer, an_order_that_cannot_be_begun_is_as_if_it_had_not_been)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);
	struct balancer_totals t;

	report(b, id, 3 * GIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_GROW));
	cr_expect(eq(int, balancer_cancelled(b, id, (T0 + 1) * SECOND), 0));
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.charged_pages, GIB));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 2), BALANCER_WHY_GROW));
	cr_expect(eq(u64, balancer_get(b, id)->stats.refusals, 0));
	balancer_free(b);
}

Test(balancer, nor_is_it_held_against_an_operation_that_went_well_before)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);

	balancer_set_manual(b, id, GIB - 16 * MIB);
	report(b, id, 900 * MIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_MANUAL));
	cr_expect(eq(int, balancer_moved(b, id, BALANCER_SHRINK, 16 * MIB, (T0 + 1) * SECOND), 0));
	cr_expect(eq(int, balancer_ended(b, id, (T0 + 1) * SECOND), 0));

	/* The next one cannot be begun now; that puts off no other. */
	balancer_set_manual(b, id, GIB - 32 * MIB);
	report(b, id, 900 * MIB, T0 + 20);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 20), BALANCER_WHY_MANUAL));
	cr_expect(eq(int, balancer_cancelled(b, id, (T0 + 20) * SECOND), 0));
	report(b, id, 900 * MIB, T0 + 22);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 22), BALANCER_WHY_MANUAL));
	balancer_free(b);
}

Test(balancer, what_was_cut_short_by_a_backup_is_asked_for_again_after_it)
{
	static const uint64_t moved[] = {0, 16 * MIB}; /* nothing, or a part */

	for (size_t i = 0; i < 2; i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = usual_limits();
		struct balancer *b = make(&s);
		uint32_t id = join(b, "a", &l, GIB);

		report(b, id, 600 * MIB, T0 + 1);
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_SHRINK));
		(void)balancer_moved(b, id, BALANCER_SHRINK, moved[i], (T0 + 2) * SECOND);
		balancer_guard(b, id, BALANCER_GUARD_BACKUP, (T0 + 2) * SECOND);
		cr_expect(eq(int, balancer_ended(b, id, (T0 + 2) * SECOND), 0));
		report(b, id, 600 * MIB, T0 + 8);
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 8), BALANCER_WHY_BACKUP));
		balancer_guard(b, id, 0, (T0 + 9) * SECOND);
		report(b, id, 600 * MIB, T0 + 10);
		cr_expect(eq(int, (int)reason_at(b, id, T0 + 10), BALANCER_WHY_SHRINK));
		balancer_free(b);
	}
}

Test(balancer, a_target_keeps_the_reason_of_its_order_until_there_is_another)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);

	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_NO_REPORT));
	cr_expect(eq(int, (int)decision(b, id)->target_reason, BALANCER_WHY_NEW));
	report(b, id, 600 * MIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_SHRINK));
	cr_expect(eq(int, (int)decision(b, id)->target_reason, BALANCER_WHY_SHRINK));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_BUSY));
	cr_expect(eq(int, (int)decision(b, id)->target_reason, BALANCER_WHY_SHRINK));
	obey(b, id, T0 + 2);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 2), BALANCER_WHY_REPORT_BEFORE));
	cr_expect(eq(int, (int)decision(b, id)->target_reason, BALANCER_WHY_SHRINK));

	balancer_set_manual(b, id, GIB);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 3), BALANCER_WHY_MANUAL));
	cr_expect(eq(int, (int)decision(b, id)->target_reason, BALANCER_WHY_MANUAL));
	s.paused = true;
	cr_assert(eq(int, balancer_configure(b, &s), 0));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 3), BALANCER_WHY_PAUSED));
	cr_expect(eq(int, (int)decision(b, id)->target_reason, BALANCER_WHY_MANUAL));

	/* It ends before its time: by no order has the guest what it has now. */
	cr_expect(eq(int, balancer_ended(b, id, (T0 + 4) * SECOND), 0));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 4), BALANCER_WHY_PAUSED));
	cr_expect(eq(int, (int)decision(b, id)->target_reason, BALANCER_WHY_NEW));
	balancer_free(b);
}

Test(balancer, an_amount_that_is_set_by_hand_is_asked_for_whatever_was_refused_before)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);

	report(b, id, 600 * MIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_SHRINK));
	cr_expect(eq(int, balancer_ended(b, id, (T0 + 1) * SECOND), 0));
	report(b, id, 600 * MIB, T0 + 7);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 7), BALANCER_WHY_REFUSED));

	balancer_set_manual(b, id, GIB - 64 * MIB);
	report(b, id, 600 * MIB, T0 + 9);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 9), BALANCER_WHY_MANUAL));
	/* If it refuses that too, it is left alone for a while. */
	cr_expect(eq(int, balancer_ended(b, id, (T0 + 9) * SECOND), 0));
	report(b, id, 600 * MIB, T0 + 12);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 12), BALANCER_WHY_REFUSED));
	balancer_free(b);
}

Test(balancer, rising_demand_is_believed_at_once_and_falling_demand_slowly)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, 2 * GIB);
	const struct balancer_guest *g = balancer_get(b, id);

	report(b, id, 1000 * MIB, T0);
	report(b, id, 3000 * MIB, T0 + 1);
	cr_expect(eq(u64, g->smoothed_pages, 3000 * MIB));
	for (uint64_t i = 2; i <= 31; i++)
		report(b, id, 1000 * MIB, T0 + i);
	/* After one time constant 1/e of the difference is left: 736 MiB. */
	cr_expect(g->smoothed_pages > 1700 * MIB && g->smoothed_pages < 1800 * MIB);
	cr_expect(g->recent_pages < 1010 * MIB);
	cr_expect(eq(u64, g->demand_pages, 1000 * MIB));
	for (uint64_t i = 32; i <= 1000; i++)
		report(b, id, 1000 * MIB, T0 + i);
	cr_expect(eq(u64, g->smoothed_pages, 1000 * MIB));
	balancer_free(b);
}

Test(balancer, reports_during_an_operation_are_shown_but_not_believed)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);
	const struct balancer_guest *g = balancer_get(b, id);

	report(b, id, 1000 * MIB, T0);
	cr_expect(eq(int, (int)reason_at(b, id, T0), BALANCER_WHY_GROW));
	report(b, id, 1128 * MIB, T0 + 1);
	cr_expect(eq(u64, g->smoothed_pages, 1000 * MIB));
	cr_expect(eq(u64, g->demand_pages, 1128 * MIB));
	balancer_free(b);
}

Test(balancer, an_amount_set_by_hand_needs_no_report_and_stays_within_the_bounds)
{
	static const struct {
		uint64_t manual, assigned, target;
		enum balancer_reason reason;
	} rows[] = {
		{3 * GIB, 2 * GIB, 3 * GIB, BALANCER_WHY_MANUAL},
		{1 * GIB, 7 * (uint64_t)GIB, 1 * GIB, BALANCER_WHY_MANUAL},
		{1 * GIB, 1 * GIB, 1 * GIB, BALANCER_WHY_MANUAL_DONE},
		{1 * GIB, 1 * GIB + 1, 1 * GIB, BALANCER_WHY_MANUAL},
		{1, 1 * GIB, 512 * MIB, BALANCER_WHY_MANUAL},
		{UINT64_MAX, 8 * (uint64_t)GIB, 8 * (uint64_t)GIB, BALANCER_WHY_MANUAL_DONE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = usual_limits();
		struct balancer *b = make(&s);
		uint32_t id = join(b, "a", &l, rows[i].assigned);

		balancer_set_manual(b, id, rows[i].manual);
		cr_expect(eq(int, (int)reason_at(b, id, T0), (int)rows[i].reason), "row %zu", i);
		cr_expect(eq(u64, decision(b, id)->target_pages, rows[i].target), "row %zu", i);
		if (rows[i].target != rows[i].assigned)
			obey(b, id, T0);
		balancer_set_automatic(b, id);
		cr_expect(eq(int, (int)reason_at(b, id, T0), BALANCER_WHY_NO_REPORT));
		balancer_free(b);
	}
}

Test(balancer, each_reason_has_its_own_text)
{
	for (int i = 0; i < BALANCER_N_WHYS; i++)
		for (int j = 0; j < i; j++)
			cr_expect(strcmp(balancer_reason_text((enum balancer_reason)i),
					 balancer_reason_text((enum balancer_reason)j)) != 0);
}

/* The books. */

Test(balancer, what_is_on_its_way_is_charged_until_it_has_arrived_or_will_not)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer_totals t;
	struct balancer *b;
	uint32_t id;

	s.budget_pages = 2400 * MIB;
	b = make(&s);
	id = join(b, "a", &l, GIB);
	report(b, id, 2000 * MIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_GROW));
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.charged_pages, 2400 * MIB));
	cr_expect(eq(u64, t.assigned_pages, 1024 * MIB));
	cr_expect(eq(int, balancer_moved(b, id, BALANCER_GROW, 376 * MIB, (T0 + 2) * SECOND), 0));
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.charged_pages, 2400 * MIB));
	cr_expect(eq(u64, t.assigned_pages, 1400 * MIB));
	cr_expect(eq(int, balancer_ended(b, id, (T0 + 2) * SECOND), 0));
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.charged_pages, 1400 * MIB));
	cr_expect(eq(u64, t.free_pages, 1000 * MIB));

	/* Answers to nothing are counted, and what they moved is booked. */
	cr_expect(eq(int, balancer_ended(b, id, (T0 + 2) * SECOND), BALANCER_STRAY));
	cr_expect(eq(int, balancer_moved(b, id, BALANCER_SHRINK, 400 * MIB, (T0 + 2) * SECOND),
		     BALANCER_STRAY));
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.charged_pages, 1000 * MIB));
	cr_expect(eq(u64, t.strays, 2));

	balancer_remove(b, id, (T0 + 3) * SECOND);
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.charged_pages, 0));
	cr_expect(eq(u64, t.minimum_pages, 0));
	balancer_free(b);
}

Test(balancer, memory_is_taken_first_and_given_when_it_is_there)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b;
	uint32_t rich, poor;

	s.budget_pages = 4 * GIB + 100 * MIB;
	s.reserve_pages = 100 * MIB;
	b = make(&s);
	rich = join(b, "rich", &l, 3 * GIB);
	poor = join(b, "poor", &l, 1 * GIB);
	report(b, rich, 1000 * MIB, T0 + 1);
	report(b, poor, 1200 * MIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, poor, T0 + 1), BALANCER_WHY_SHORT));
	cr_expect(eq(u64, decision(b, poor)->missing_pages, 416 * MIB));
	cr_expect(eq(int, (int)decision(b, rich)->reason, BALANCER_WHY_TAKEN_FOR_OTHERS));
	expect_order(b, rich, BALANCER_SHRINK, 416 * MIB); /* what is missing and no more */
	expect_no_order(b);

	/* A part of it is there: it goes on at once. */
	cr_expect(eq(int, balancer_moved(b, rich, BALANCER_SHRINK, 200 * MIB, (T0 + 2) * SECOND), 0));
	cr_expect(eq(int, (int)reason_at(b, poor, T0 + 2), BALANCER_WHY_GROW_PART));
	expect_order(b, poor, BALANCER_GROW, 200 * MIB);
	expect_no_order(b);
	balancer_free(b);
}

Test(balancer, those_with_the_highest_pressure_come_first)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b;
	uint32_t a, c, d;

	s.budget_pages = 6 * (uint64_t)GIB;
	b = make(&s);
	a = join(b, "a", &l, 1 * GIB);
	c = join(b, "c", &l, 1 * GIB);
	d = join(b, "d", &l, 4 * GIB - 100 * MIB);
	report(b, a, 1000 * MIB, T0 + 1);
	report(b, c, 1100 * MIB, T0 + 1);
	report(b, d, 1000 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	/* 100 MiB are free, both want more; c starves. */
	expect_order(b, c, BALANCER_GROW, 100 * MIB);
	cr_expect(eq(int, (int)decision(b, a)->reason, BALANCER_WHY_SHORT));
	expect_order(b, d, BALANCER_SHRINK, (4 * GIB - 100 * MIB) / 10); /* more than is missing */
	balancer_free(b);
}

Test(balancer, when_memory_is_short_demands_come_before_buffers)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = limits_of(100 * MIB, 100 * MIB, 8 * (uint64_t)GIB);
	struct balancer *b;
	uint32_t a, c;

	s.budget_pages = 2100 * MIB;
	b = make(&s);
	l.buffer_percent = 100;
	a = join(b, "a", &l, 1000 * MIB);
	c = join(b, "c", &l, 1100 * MIB);
	report(b, a, 500 * MIB, T0 + 1);
	report(b, c, 1500 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	/* 2000 for the demands; of the other 100 each gets half, having the same weight */
	cr_expect(eq(u64, decision(b, a)->goal_pages, 550 * MIB));
	cr_expect(eq(u64, decision(b, c)->goal_pages, 1550 * MIB));
	balancer_free(b);
}

Test(balancer, when_not_all_demands_can_be_met_weights_decide)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = limits_of(100 * MIB, 100 * MIB, 8 * (uint64_t)GIB);
	struct balancer *b;
	uint32_t a, c, d;

	s.budget_pages = 4000 * MIB;
	b = make(&s);
	l.weight = 3000;
	a = join(b, "a", &l, 1000 * MIB);
	l.weight = 1000;
	c = join(b, "c", &l, 1000 * MIB);
	d = join(b, "d", &l, 400 * MIB);
	report(b, a, 7000 * MIB, T0 + 1);
	report(b, c, 7000 * MIB, T0 + 1);
	report(b, d, 400 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	cr_expect(eq(u64, decision(b, d)->goal_pages, 400 * MIB));
	cr_expect(eq(u64, decision(b, a)->goal_pages, 2700 * MIB));
	cr_expect(eq(u64, decision(b, c)->goal_pages, 900 * MIB));
	cr_expect(eq(int, (int)decision(b, c)->reason, BALANCER_WHY_TAKEN_FOR_OTHERS));
	balancer_free(b);
}

Test(balancer, what_nobody_wants_is_given_out_and_taken_again_when_somebody_does)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b;
	uint32_t a, c;

	s.budget_pages = 8 * (uint64_t)GIB;
	b = make(&s);
	a = join(b, "a", &l, 1200 * MIB);
	c = join(b, "c", &l, 1200 * MIB);
	report(b, a, 1000 * MIB, T0 + 1);
	report(b, c, 1000 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	/* 5792 MiB are left; the host keeps a quarter, and both have the same of the rest */
	cr_expect(eq(int, (int)decision(b, a)->reason, BALANCER_WHY_SPARE));
	expect_order(b, a, BALANCER_GROW, 2172 * MIB);
	expect_order(b, c, BALANCER_GROW, 2172 * MIB);
	obey(b, a, T0 + 2);
	obey(b, c, T0 + 2);
	report(b, a, 1000 * MIB, T0 + 10);
	report(b, c, 1000 * MIB, T0 + 10);
	balancer_pass(b, (T0 + 10) * SECOND);
	cr_expect(eq(int, (int)decision(b, a)->reason, BALANCER_WHY_SPARE_KEPT));
	expect_no_order(b);

	/* c wants 6000; what is free comes at once, the rest from a, down to what that wants */
	report(b, a, 1000 * MIB, T0 + 11);
	report(b, c, 5000 * MIB, T0 + 11);
	balancer_pass(b, (T0 + 11) * SECOND);
	cr_expect(eq(int, (int)decision(b, c)->reason, BALANCER_WHY_GROW_PART));
	expect_order(b, c, BALANCER_GROW, 1448 * MIB);
	cr_expect(eq(int, (int)decision(b, a)->reason, BALANCER_WHY_TAKEN_FOR_OTHERS));
	expect_order(b, a, BALANCER_SHRINK, 512 * MIB); /* as much as is tried at once of it */
	balancer_free(b);
}

Test(balancer, a_reservation_is_filled_before_anybody_grows_and_then_taken)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = limits_of(512 * MIB, 1 * GIB, 8 * (uint64_t)GIB);
	uint64_t pages, held;
	struct balancer *b;
	uint32_t a, id;

	s.budget_pages = 4 * GIB;
	b = make(&s);
	a = join(b, "a", &l, 3 * GIB + 512 * MIB);
	cr_expect(eq(int, balancer_add(b, "new", &l, T0 * SECOND, &id), BALANCER_NO_ROOM_NOW));
	cr_expect(eq(int, balancer_reserve(b, "new", GIB, (T0 + 60) * SECOND, T0 * SECOND), 0));
	cr_expect(eq(int, balancer_reserve(b, "new", GIB, (T0 + 60) * SECOND, T0 * SECOND),
		     BALANCER_TWICE));
	cr_expect(eq(int, balancer_reserve(b, "vast", 3 * GIB, (T0 + 60) * SECOND, T0 * SECOND),
		     BALANCER_NO_ROOM));
	report(b, a, 2900 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	expect_order(b, a, BALANCER_SHRINK, 512 * MIB);
	cr_expect(eq(int, balancer_reserved(b, "new", &pages, &held), 0));
	cr_expect(eq(u64, held, 512 * MIB));
	obey(b, a, T0 + 2);
	balancer_pass(b, (T0 + 2) * SECOND);
	cr_expect(eq(int, balancer_reserved(b, "new", &pages, &held), 0));
	cr_expect(eq(u64, held, GIB));
	cr_expect(eq(int, balancer_add(b, "new", &l, (T0 + 3) * SECOND, &id), 0));
	cr_expect(eq(int, balancer_reserved(b, "new", &pages, &held), BALANCER_UNKNOWN));
	cr_expect(eq(int, balancer_add(b, "new", &l, (T0 + 3) * SECOND, &id), BALANCER_TWICE));
	balancer_free(b);
}

Test(balancer, a_reservation_that_nobody_takes_is_given_up)
{
	struct balancer_settings s = usual_settings();
	struct balancer_totals t;
	struct balancer *b;

	s.budget_pages = 4 * GIB;
	b = make(&s);
	cr_expect(eq(int, balancer_reserve(b, "new", GIB, (T0 + 60) * SECOND, T0 * SECOND), 0));
	balancer_pass(b, (T0 + 59) * SECOND);
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.held_pages, GIB));
	balancer_pass(b, (T0 + 60) * SECOND);
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.held_pages, 0));
	cr_expect(eq(sz, t.n_reservations, 0));
	balancer_free(b);
}

Test(balancer, minima_that_do_not_fit_together_are_refused_whoever_brings_them)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = limits_of(2 * GIB, 2 * GIB, 8 * (uint64_t)GIB);
	struct balancer *b;
	uint32_t a, c, id;

	s.budget_pages = 5 * (uint64_t)GIB;
	b = make(&s);
	a = join(b, "a", &l, 2 * GIB);
	c = join(b, "c", &l, 2 * GIB);
	cr_expect(eq(int, balancer_add(b, "d", &l, T0 * SECOND, &id), BALANCER_NO_ROOM));
	l.minimum_pages = 3 * GIB + 1;
	l.startup_pages = 4 * GIB;
	cr_expect(eq(int, balancer_limit(b, a, &l, T0 * SECOND), BALANCER_NO_ROOM));
	cr_expect(eq(u64, balancer_get(b, a)->limits.minimum_pages, 2 * GIB));
	l.minimum_pages = 3 * GIB;
	cr_expect(eq(int, balancer_limit(b, a, &l, T0 * SECOND), 0));
	s.reserve_pages = 1;
	cr_expect(eq(int, balancer_configure(b, &s), BALANCER_BAD_BUDGET));
	balancer_remove(b, c, T0 * SECOND);
	cr_expect(eq(int, balancer_configure(b, &s), 0));
	s.reserve_pages = s.budget_pages + 1;
	cr_expect(eq(int, balancer_configure(b, &s), BALANCER_BAD_BUDGET));
	balancer_free(b);
}

Test(balancer, a_guest_that_has_more_than_the_budget_has_it_taken_and_nobody_is_given_any)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer_totals t;
	struct balancer *b;
	uint32_t a, c;

	s.budget_pages = 4 * GIB;
	b = make(&s);
	a = join(b, "a", &l, 4 * GIB);
	c = join(b, "c", &l, 1 * GIB);
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.over_pages, GIB));
	report(b, a, 1000 * MIB, T0 + 1);
	report(b, c, 1000 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	cr_expect(eq(int, (int)decision(b, c)->reason, BALANCER_WHY_SHORT));
	expect_order(b, a, BALANCER_SHRINK, 512 * MIB); /* as much as is tried at once of it */
	expect_no_order(b);
	balancer_free(b);
}

Test(balancer, one_that_comes_with_more_than_there_is_gives_as_soon_as_it_reports)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b;
	uint32_t id;

	s.budget_pages = 4 * GIB;
	s.first_action_ns = 50 * SECOND;
	b = make(&s);
	id = join(b, "a", &l, 4 * GIB + 256 * MIB);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_STARTING));
	report(b, id, 1000 * MIB, T0 + 2);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 2), BALANCER_WHY_SHRINK));
	(void)balancer_moved(b, id, BALANCER_SHRINK, 256 * MIB, (T0 + 3) * SECOND);
	(void)balancer_ended(b, id, (T0 + 3) * SECOND);
	report(b, id, 1000 * MIB, T0 + 4);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 4), BALANCER_WHY_STARTING));
	balancer_free(b);
}

Test(balancer, a_guest_that_does_not_obey_is_found_and_others_are_asked)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer_totals t;
	struct balancer *b;
	uint32_t stubborn, good, poor;

	s.budget_pages = 6 * (uint64_t)GIB;
	b = make(&s);
	stubborn = join(b, "stubborn", &l, 3 * GIB);
	good = join(b, "good", &l, 2 * GIB);
	poor = join(b, "poor", &l, 1 * GIB);
	report(b, stubborn, 600 * MIB, T0 + 1);
	report(b, good, 1000 * MIB, T0 + 1);
	report(b, poor, 1100 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	expect_order(b, stubborn, BALANCER_SHRINK, 307 * MIB + 51); /* a tenth covers it */
	expect_no_order(b);
	for (uint64_t i = 2; i <= 11; i++) {
		report(b, stubborn, 600 * MIB, T0 + i);
		report(b, good, 1000 * MIB, T0 + i);
		report(b, poor, 1100 * MIB, T0 + i);
	}
	balancer_pass(b, (T0 + 11) * SECOND);
	cr_expect(eq(int, (int)decision(b, stubborn)->reason, BALANCER_WHY_NOT_OBEYING));
	cr_expect(eq(int, (int)decision(b, good)->reason, BALANCER_WHY_TAKEN_FOR_OTHERS));
	balancer_get_totals(b, &t);
	cr_expect(eq(sz, t.n_not_obeying, 1));
	cr_expect(not(balancer_get(b, stubborn)->obeying));

	/* A sign of life is enough. */
	cr_expect(eq(int, balancer_moved(b, stubborn, BALANCER_SHRINK, 1, (T0 + 12) * SECOND), 0));
	cr_expect(eq(int, (int)reason_at(b, stubborn, T0 + 12), BALANCER_WHY_BUSY));
	cr_expect(eq(u64, balancer_get(b, stubborn)->stats.disobeyed, 1));
	balancer_free(b);
}

Test(balancer, no_order_is_larger_than_what_the_guest_moves_in_two_seconds)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b;
	uint32_t slow;

	s.budget_pages = 4 * GIB;
	b = make(&s);
	slow = join(b, "slow", &l, 6 * (uint64_t)GIB);
	report(b, slow, 600 * MIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	expect_order(b, slow, BALANCER_SHRINK, 614 * MIB + 102); /* a tenth; it is not known yet */
	obey(b, slow, T0 + 11);                                   /* 61 MiB/s */
	report(b, slow, 600 * MIB, T0 + 12);
	balancer_pass(b, (T0 + 12) * SECOND);
	expect_order(b, slow, BALANCER_SHRINK, 2 * balancer_get(b, slow)->shrink_pages_per_s);
	cr_expect(eq(u64, balancer_get(b, slow)->shrink_pages_per_s, (614 * MIB + 102) / 10));
	balancer_free(b);
}

/* What bad input gets. */

Test(balancer, reports_that_lie_are_refused_or_clamped_and_the_others_go_on)
{
	static const struct {
		const char *what;
		uint64_t committed, available, ballooned;
		unsigned int lies;
		int result;
		uint64_t demand;
	} rows[] = {
		{"the truth", 1000, 5, 100, 0, 0, 900},
		{"nothing at all", 0, 5, 0, BALANCER_LIE_NOTHING_COMMITTED, BALANCER_LIE, 777},
		{"huge", BALANCER_PAGES_MAX + 1, 5, 0, BALANCER_LIE_IMPOSSIBLE, BALANCER_LIE, 777},
		{"below zero", UINT64_MAX - 5, 5, 0, BALANCER_LIE_IMPOSSIBLE, BALANCER_LIE, 777},
		{"large, but possible", BALANCER_PAGES_MAX, 5, 0, 0, 0, BALANCER_PAGES_MAX},
		{"less than its balloon", 100, 5, 101, BALANCER_LIE_LESS_THAN_BALLOON, 0, 0},
		{"more available than can be", 1000, UINT64_MAX - 1, 0, BALANCER_LIE_AVAILABLE, 0,
		 1000},
		{"no figure of what is available", 1000, UINT64_MAX, 0, 0, 0, 1000},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer_settings s = usual_settings();
		struct balancer_limits l = usual_limits();
		struct balancer *b = make(&s);
		uint32_t id = join(b, "a", &l, GIB), other = join(b, "other", &l, GIB);
		const struct balancer_report r = {
			.committed_pages = rows[i].committed,
			.available_pages = rows[i].available,
			.ballooned_pages = rows[i].ballooned,
			.growable_pages = UINT64_MAX,
		};

		report(b, id, 777, T0);
		cr_expect(eq(int, balancer_report(b, id, &r, (T0 + 4) * SECOND), rows[i].result),
			  "%s", rows[i].what);
		cr_expect(eq(u32, balancer_get(b, id)->lies, rows[i].lies), "%s", rows[i].what);
		cr_expect(eq(u64, balancer_get(b, id)->demand_pages, rows[i].demand), "%s",
			  rows[i].what);
		report(b, other, 2 * GIB, T0 + 5);
		balancer_pass(b, (T0 + 5) * SECOND);
		cr_expect(eq(int, (int)decision(b, other)->reason, BALANCER_WHY_GROW));
		cr_expect(eq(int, decision(b, id)->reason == BALANCER_WHY_NO_REPORT,
			     rows[i].result != 0));
		for (unsigned int bit = 1; bit <= BALANCER_LIE_STANDING_STILL; bit <<= 1)
			cr_expect(strlen(balancer_lie_text((enum balancer_lie)bit)) > 10);
		balancer_free(b);
	}
}

Test(balancer, figures_that_stand_still_for_minutes_are_not_believed)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);
	const struct balancer_report frozen = {
		.committed_pages = 900 * MIB,
		.available_pages = 5,
		.growable_pages = UINT64_MAX,
	};

	for (uint64_t i = 0; i <= 299; i++)
		cr_assert(eq(int, balancer_report(b, id, &frozen, (T0 + i) * SECOND), 0));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 299), BALANCER_WHY_AT_REST));
	cr_assert(eq(int, balancer_report(b, id, &frozen, (T0 + 300) * SECOND), 0));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 300), BALANCER_WHY_FROZEN_FIGURES));
	cr_expect(eq(u32, balancer_get(b, id)->lies, BALANCER_LIE_STANDING_STILL));
	report(b, id, 900 * MIB, T0 + 301);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 301), BALANCER_WHY_AT_REST));
	balancer_free(b);
}

Test(balancer, a_clock_that_jumps_is_counted_and_never_goes_back)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t id = join(b, "a", &l, GIB);
	struct balancer_totals t;

	report(b, id, 2 * GIB, T0 + 10);
	balancer_pass(b, (T0 + 3) * SECOND);
	cr_expect(eq(u64, decision(b, id)->at_ns, (T0 + 10) * SECOND));
	cr_expect(eq(int, (int)decision(b, id)->reason, BALANCER_WHY_GROW));
	obey(b, id, T0 + 4);
	balancer_pass(b, (T0 + 100000) * SECOND);
	cr_expect(eq(int, (int)decision(b, id)->reason, BALANCER_WHY_NO_REPORT));
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.clock_jumps, 4));
	balancer_free(b);
}

Test(balancer, names_are_checked_and_ids_used_again)
{
	static const char long_name[] =
		"a-name-that-is-longer-than-sixty-three-bytes-is-not-the-name-of-a-guest";
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	char name[16];
	uint32_t id;

	cr_expect(eq(int, balancer_add(b, "", &l, T0 * SECOND, &id), BALANCER_BAD_NAME));
	cr_expect(eq(int, balancer_add(b, long_name, &l, T0 * SECOND, &id), BALANCER_BAD_NAME));
	cr_expect(eq(u32, balancer_find(b, "0"), BALANCER_NO_GUEST));
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%d", i);
		cr_assert(eq(int, balancer_add(b, name, &l, T0 * SECOND, &id), 0));
		cr_expect(eq(int, balancer_add(b, name, &l, T0 * SECOND, &id), BALANCER_TWICE));
	}
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%d", i);
		cr_expect(eq(u32, balancer_find(b, name), (uint32_t)i));
	}
	balancer_remove(b, 50, T0 * SECOND);
	cr_expect(eq(u32, balancer_find(b, "50"), BALANCER_NO_GUEST));
	cr_expect(balancer_get(b, 50) == NULL);
	cr_assert(eq(int, balancer_add(b, "again", &l, T0 * SECOND, &id), 0));
	cr_expect(eq(u32, id, 50));
	cr_expect(eq(u32, balancer_ids(b), 100));
	balancer_free(b);
}

Test(balancer, a_dry_run_decides_and_orders_nothing_and_a_pause_decides_nothing)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b;
	uint32_t id;

	s.dry_run = true;
	b = make(&s);
	id = join(b, "a", &l, GIB);
	report(b, id, 2 * GIB, T0 + 1);
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 1), BALANCER_WHY_GROW));
	cr_expect(decision(b, id)->dry_run);
	cr_expect(decision(b, id)->target_pages > 2 * GIB);
	expect_no_order(b);
	s.dry_run = false;
	s.paused = true;
	cr_assert(eq(int, balancer_configure(b, &s), 0));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 2), BALANCER_WHY_PAUSED));
	expect_no_order(b);
	s.paused = false;
	cr_assert(eq(int, balancer_configure(b, &s), 0));
	cr_expect(eq(u64, balancer_deadline_ns(b), 0));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 2), BALANCER_WHY_GROW));
	balancer_free(b);
}

Test(balancer, a_guest_whose_channel_closed_has_all_of_its_memory_again)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer_totals t;
	struct balancer *b;
	uint32_t id;

	s.budget_pages = 4 * GIB;
	b = make(&s);
	id = join(b, "a", &l, GIB);
	report(b, id, 2 * GIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	balancer_set_assigned(b, id, 2 * GIB, (T0 + 2) * SECOND);
	balancer_get_totals(b, &t);
	cr_expect(gt(u64, t.charged_pages, 2 * GIB)); /* what was on its way may still come */
	cr_expect(eq(int, balancer_ended(b, id, (T0 + 2) * SECOND), 0));
	balancer_restarted(b, id, (T0 + 2) * SECOND);
	balancer_get_totals(b, &t);
	cr_expect(eq(u64, t.charged_pages, 2 * GIB));
	cr_expect(eq(int, (int)reason_at(b, id, T0 + 3), BALANCER_WHY_NO_REPORT));
	balancer_free(b);
}

Test(balancer, an_order_that_was_not_fetched_is_dropped_with_its_guest_and_kept_otherwise)
{
	struct balancer_settings s = usual_settings();
	struct balancer_limits l = usual_limits();
	struct balancer *b = make(&s);
	uint32_t a = join(b, "a", &l, GIB), c = join(b, "c", &l, GIB);

	report(b, a, 3 * GIB, T0 + 1);
	report(b, c, 2 * GIB, T0 + 1);
	balancer_pass(b, (T0 + 1) * SECOND);
	balancer_remove(b, a, (T0 + 1) * SECOND);
	balancer_pass(b, (T0 + 1) * SECOND);
	expect_order(b, c, BALANCER_GROW, 2 * GIB * 6 / 5 - GIB);
	expect_no_order(b);
	balancer_free(b);
}

Test(balancer, what_would_have_changed_the_outcome_is_said)
{
	static const struct {
		struct balancer_decision d;
		const char *text;
	} rows[] = {
		{{0}, ""},
		{{.until_ns = 7 * SECOND}, "waiting 2 s more"},
		{{.missing_pages = 256}, "1 MiB more free memory of the host"},
		{{.believed_pages = 1, .grow_above_pages = 512},
		 "a demand above 2 MiB makes it grow"},
		{{.believed_pages = 300, .grow_above_pages = 512, .shrink_below_pages = 256},
		 "a demand above 2 MiB makes it grow; a demand that stays below 1 MiB makes it shrink"},
	};
	char text[200];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		(void)balancer_decision_would(&rows[i].d, 5 * SECOND, text, sizeof(text));
		cr_expect(strcmp(text, rows[i].text) == 0, "%s", text);
		cr_expect(lt(sz, strlen(balancer_decision_would(&rows[i].d, 0, text, 8)), 8));
	}
}

/* A guest, and the host's part of the loop, with one operation at a time. */
struct simulation {
	struct balancer *b;
	uint32_t id;
	uint64_t now;        /* seconds */
	uint64_t committed;  /* by its programs */
	uint64_t assigned;
	uint64_t ballooned;
	uint64_t refuses_below; /* the guest does not go below this */
	uint64_t operation_left; /* seconds until the running operation ends */
	struct balancer_order running;

	uint64_t available_more;

	int n_grown, n_shrunk;
	int n_turns; /* changes of direction */
	enum balancer_kind last;
};

/* Source: Linux drivers/hv/hv_balloon.c, compute_balloon_floor(). */
static uint64_t guest_floor(uint64_t pages)
{
	if (pages < 128 * MIB)
		return 8 * MIB + pages / 2;
	if (pages < 512 * MIB)
		return 40 * MIB + pages / 4;
	if (pages < 2048 * MIB)
		return 104 * MIB + pages / 8;
	if (pages < 8192 * (uint64_t)MIB)
		return 232 * MIB + pages / 16;
	return 488 * MIB + pages / 32;
}

static void simulation_init(struct simulation *s, uint64_t committed)
{
	struct balancer_settings settings = usual_settings();
	struct balancer_limits limits = usual_limits();

	*s = (struct simulation){.b = make(&settings), .now = T0, .committed = committed,
				 .assigned = 2 * GIB};
	s->id = join(s->b, "a", &limits, s->assigned);
}

static void finish_operation(struct simulation *s)
{
	enum balancer_kind kind = s->running.kind;
	uint64_t moved = s->running.pages;

	if (kind == BALANCER_SHRINK && s->assigned - moved < s->refuses_below)
		moved = s->refuses_below < s->assigned ? s->assigned - s->refuses_below : 0;
	cr_assert(eq(int, balancer_moved(s->b, s->id, kind, moved, s->now * SECOND), 0));
	cr_assert(eq(int, balancer_ended(s->b, s->id, s->now * SECOND), 0));
	if (kind == BALANCER_SHRINK)
		s->ballooned += moved;
	else
		s->ballooned -= moved < s->ballooned ? moved : s->ballooned;
	s->assigned += kind == BALANCER_GROW ? moved : -moved;
	cr_assert(eq(u64, s->assigned, balancer_get(s->b, s->id)->assigned_pages));

	s->n_grown += kind == BALANCER_GROW;
	s->n_shrunk += kind == BALANCER_SHRINK;
	s->n_turns += s->last != BALANCER_NONE && s->last != kind;
	s->last = kind;
}

/* One second: maybe an operation ends, the guest reports, maybe an operation starts. */
static void simulation_step(struct simulation *s)
{
	struct balancer_report r;

	s->now++;
	if (s->operation_left > 0 && --s->operation_left == 0)
		finish_operation(s);

	r = (struct balancer_report){
		.committed_pages = s->committed + guest_floor(s->assigned) + s->ballooned,
		.available_pages = 1000 + s->now % 7 + s->available_more,
		.ballooned_pages = s->ballooned,
		.growable_pages = UINT64_MAX,
	};
	cr_assert(eq(int, balancer_report(s->b, s->id, &r, s->now * SECOND), 0));
	balancer_pass(s->b, s->now * SECOND + 2);
	cr_assert(decision(s->b, s->id)->target_pages <= usual_limits().maximum_pages);
	cr_assert(decision(s->b, s->id)->target_pages >= usual_limits().minimum_pages);
	if (balancer_next_order(s->b, &s->running) == 0)
		s->operation_left = 2;
}

static void simulation_run(struct simulation *s, uint64_t seconds)
{
	for (uint64_t i = 0; i < seconds; i++)
		simulation_step(s);
}

static void expect_at_rest(const struct simulation *s)
{
	const struct balancer_decision *d = decision(s->b, s->id);

	cr_expect(eq(int, (int)d->reason, BALANCER_WHY_AT_REST), "%s",
		  balancer_reason_text(d->reason));
	cr_expect(d->pressure_percent >= 75 && d->pressure_percent <= 91, "%u",
		  d->pressure_percent);
}

Test(balancer, a_jump_is_followed_within_seconds_and_a_fall_in_minutes_without_swinging)
{
	struct simulation s;
	int operations;

	simulation_init(&s, 1300 * MIB);
	simulation_run(&s, 120);
	expect_at_rest(&s);
	s.n_turns = s.n_grown = s.n_shrunk = 0;
	s.last = BALANCER_NONE;

	s.committed = 4000 * MIB;
	simulation_run(&s, 10);
	expect_at_rest(&s);
	cr_expect(s.assigned > 4000 * MIB);
	cr_expect(eq(int, s.n_shrunk, 0));

	s.committed = 400 * MIB;
	simulation_run(&s, 20);
	cr_expect(s.assigned > 3000 * MIB);
	simulation_run(&s, 600);
	expect_at_rest(&s);
	cr_expect(eq(int, s.n_turns, 1));

	operations = s.n_grown + s.n_shrunk;
	simulation_run(&s, 3600);
	cr_expect(eq(int, s.n_grown + s.n_shrunk, operations));
	balancer_free(s.b);
}

Test(balancer, noise_inside_the_band_moves_nothing)
{
	struct simulation s;
	unsigned int seed = 20260101;

	simulation_init(&s, 1300 * MIB);
	simulation_run(&s, 120);
	s.n_grown = s.n_shrunk = 0;
	for (int i = 0; i < 3600; i++) {
		s.committed = 1280 * MIB + (uint64_t)(rand_r(&seed) % (40 * MIB));
		simulation_step(&s);
	}
	cr_expect(eq(int, s.n_grown + s.n_shrunk, 0));
	balancer_free(s.b);
}

Test(balancer, a_slow_leak_is_followed_up_to_the_maximum_and_never_beyond)
{
	struct simulation s;

	simulation_init(&s, 1000 * MIB);
	for (int i = 0; i < 8000; i++) {
		s.committed += MIB;
		simulation_step(&s);
	}
	cr_expect(eq(u64, s.assigned, 8 * (uint64_t)GIB));
	cr_expect(eq(int, s.n_turns, s.n_shrunk > 0));
	balancer_free(s.b);
}

/* Asked at once, and 1, 3, 7, 15, 31, 63 minutes after that; then once an hour. */
Test(balancer, a_guest_that_refuses_is_asked_less_and_less_often_and_at_once_when_it_has_more)
{
	static const struct {
		uint64_t seconds; /* at the end of it */
		int asked;
	} rows[] = {{60, 1}, {90, 2}, {210, 3}, {500, 4}, {1000, 5}, {2000, 6}, {3900, 7},
		    {7600, 8}, {11200, 9}};
	struct simulation s;

	simulation_init(&s, 200 * MIB);
	s.refuses_below = 3 * GIB;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		simulation_run(&s, T0 + rows[i].seconds - s.now);
		cr_expect(eq(int, s.n_shrunk, rows[i].asked), "after %" PRIu64 " s", rows[i].seconds);
	}
	cr_expect(eq(u64, s.assigned, 2 * GIB));
	s.available_more = 40 * MIB;
	simulation_run(&s, 65); /* it gave nothing, and that was a minute ago at least */
	cr_expect(eq(int, s.n_shrunk, 10));
	balancer_free(s.b);
}

Test(balancer, a_guest_that_gives_what_it_is_asked_for_begins_anew)
{
	struct simulation s;
	int asked;

	simulation_init(&s, 200 * MIB);
	s.refuses_below = 3 * GIB;
	simulation_run(&s, 1000);
	s.refuses_below = 0;
	while (s.assigned == 2 * GIB && s.now < T0 + 3600)
		simulation_step(&s);
	cr_assert(lt(u64, s.assigned, 2 * GIB));
	s.refuses_below = s.assigned;
	asked = s.n_shrunk;
	simulation_run(&s, 500);
	cr_expect(eq(int, s.n_shrunk - asked, 4)); /* at once, after 1, 3 and 7 minutes */
	balancer_free(s.b);
}

Test(balancer, a_guest_that_gives_a_part_is_left_at_its_floor)
{
	struct simulation s;

	simulation_init(&s, 200 * MIB);
	s.refuses_below = 1500 * MIB;
	simulation_run(&s, 600);
	cr_expect(eq(u64, s.assigned, 1500 * MIB));
	cr_expect(eq(int, s.n_grown, 0));
	balancer_free(s.b);
}
