/* SPDX-License-Identifier: MIT */

/*
 * policy/balancer.c: single decisions as rows, and whole runs against a simulated guest on virtual
 * time. The simulated guest reports as Linux does: committed memory, a floor that depends on what
 * it has, and its balloon on top.
 */

#include "policy/balancer.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

enum {
	MIB = 256, /* pages */
	GIB = 1024 * MIB,
	T0 = 1000, /* seconds; when all of these tests begin */
};

static struct balancer make_balancer(void)
{
	struct balancer_settings settings;
	struct balancer b;

	balancer_settings_init(&settings);
	settings.minimum_pages = 512 * MIB;
	settings.startup_pages = 2 * GIB;
	settings.maximum_pages = 8 * (uint64_t)GIB;
	settings.first_action_ns = 0;
	cr_assert(eq(int, balancer_init(&b, &settings, T0 * SECOND), 0));
	return b;
}

Test(balancer, settings_that_make_no_sense_are_refused)
{
	static const struct {
		uint64_t minimum, startup, maximum;
		uint32_t buffer;
		int result;
	} rows[] = {
		{1, 2, 3, 20, 0},
		{2, 2, 2, 5, 0},
		{1, 1, 1, 2000, 0},
		{1, 2, 3, 4, BALANCER_BAD_BUFFER},
		{1, 2, 3, 2001, BALANCER_BAD_BUFFER},
		{0, 2, 3, 20, BALANCER_BAD_ORDER},
		{3, 2, 3, 20, BALANCER_BAD_ORDER},
		{1, 4, 3, 20, BALANCER_BAD_ORDER},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer b = {.start_ns = 77};
		struct balancer_settings s;

		balancer_settings_init(&s);
		s.minimum_pages = rows[i].minimum;
		s.startup_pages = rows[i].startup;
		s.maximum_pages = rows[i].maximum;
		s.buffer_percent = rows[i].buffer;
		cr_expect(eq(int, balancer_init(&b, &s, 5), rows[i].result), "row %zu", i);
		cr_expect(eq(u64, b.start_ns, rows[i].result ? 77 : 5));
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
		 BALANCER_AT_REST, 83},
		{"the upper edge of the band", 913 * MIB, 0, 1000 * MIB, UINT64_MAX, 1000 * MIB,
		 BALANCER_AT_REST, 91},
		{"above the band", 920 * MIB, 0, 1000 * MIB, UINT64_MAX, 1104 * MIB,
		 BALANCER_GROW, 92},
		{"far above: all at once", 4000 * MIB, 0, 1000 * MIB, UINT64_MAX, 4800 * MIB,
		 BALANCER_GROW, 400},
		{"the lower edge of the band", 754 * MIB, 0, 1000 * MIB, UINT64_MAX, 1000 * MIB,
		 BALANCER_AT_REST, 75},
		{"below the band: a step of 128 MiB", 600 * MIB, 0, 1000 * MIB, UINT64_MAX,
		 872 * MIB, BALANCER_SHRINK, 60},
		{"a large guest: a step of a tenth", 600 * MIB, 0, 6000 * MIB, UINT64_MAX,
		 5400 * MIB, BALANCER_SHRINK, 10},
		{"less than a step to go", 700 * MIB, 0, 960 * MIB, UINT64_MAX, 840 * MIB,
		 BALANCER_SHRINK, 72},
		{"the balloon is no demand", 2000 * MIB, 1000 * MIB, 1200 * MIB, UINT64_MAX,
		 1200 * MIB, BALANCER_AT_REST, 83},
		{"a balloon larger than committed", 100 * MIB, 200 * MIB, 512 * MIB, UINT64_MAX,
		 512 * MIB, BALANCER_AT_MINIMUM, 0},
		{"idle, at its minimum", 10 * MIB, 0, 512 * MIB, UINT64_MAX, 512 * MIB,
		 BALANCER_AT_MINIMUM, 1},
		{"idle, nearly at its minimum", 10 * MIB, 0, 512 * MIB + 255, UINT64_MAX,
		 512 * MIB + 255, BALANCER_AT_MINIMUM, 1},
		{"a step that would go below the minimum", 10 * MIB, 0, 600 * MIB, UINT64_MAX,
		 512 * MIB, BALANCER_SHRINK, 1},
		{"wants more than its maximum", 9 * (uint64_t)GIB, 0, 7 * (uint64_t)GIB, UINT64_MAX,
		 8 * (uint64_t)GIB, BALANCER_GROW, 128},
		{"wants more and has its maximum", 9 * (uint64_t)GIB, 0, 8 * (uint64_t)GIB,
		 UINT64_MAX, 8 * (uint64_t)GIB, BALANCER_AT_MAXIMUM, 112},
		{"wants more and nothing is to be had", 2000 * MIB, 0, 1000 * MIB, 0, 1000 * MIB,
		 BALANCER_AT_MAXIMUM, 200},
		{"wants more than is to be had", 2000 * MIB, 0, 1000 * MIB, 300 * MIB, 1300 * MIB,
		 BALANCER_GROW, 200},
		{"below the minimum, at rest", 350 * MIB, 0, 420 * MIB, UINT64_MAX, 512 * MIB,
		 BALANCER_BELOW_MINIMUM, 83},
		{"above the maximum, at rest", 7168 * MIB, 0, 8600 * MIB, UINT64_MAX, 8192 * MIB,
		 BALANCER_ABOVE_MAXIMUM, 83},
		{"nothing assigned", 100 * MIB, 0, 0, UINT64_MAX, 512 * MIB,
		 BALANCER_BELOW_MINIMUM, 0},
		{"a figure nobody can believe", UINT64_MAX, 0, 1000 * MIB, UINT64_MAX,
		 8 * (uint64_t)GIB, BALANCER_GROW, 9999},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer b = make_balancer();
		struct balancer_decision d;

		balancer_report(&b, rows[i].committed, 0, rows[i].ballooned, (T0 + 1) * SECOND);
		d = balancer_decide(&b, rows[i].assigned, rows[i].growable, (T0 + 2) * SECOND);
		cr_expect(eq(int, (int)d.reason, (int)rows[i].reason), "%s: %s", rows[i].what,
			  balancer_reason_text(d.reason));
		cr_expect(eq(u64, d.target_pages, rows[i].target), "%s", rows[i].what);
		cr_expect(eq(u32, d.pressure_percent, rows[i].pressure), "%s", rows[i].what);
		cr_expect(eq(u32, d.rest_percent, 83));
	}
}

Test(balancer, the_rest_pressure_follows_the_buffer)
{
	static const struct {
		uint32_t buffer, rest;
	} rows[] = {{5, 95}, {20, 83}, {50, 66}, {100, 50}, {2000, 4}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer b = make_balancer();
		struct balancer_settings s = b.settings;
		struct balancer_decision d;

		s.buffer_percent = rows[i].buffer;
		cr_assert(eq(int, balancer_configure(&b, &s), 0));
		balancer_report(&b, 300 * MIB, 0, 0, (T0 + 1) * SECOND);
		d = balancer_decide(&b, 300 * MIB * (100 + rows[i].buffer) / 100, UINT64_MAX,
				    (T0 + 1) * SECOND);
		cr_expect(eq(u32, d.rest_percent, rows[i].rest));
		/* Just right, unless the bounds say otherwise. */
		cr_expect(eq(int, (int)d.reason,
			     rows[i].buffer < 100 ? BALANCER_BELOW_MINIMUM : BALANCER_AT_REST));
	}
}

static enum balancer_reason reason_at(const struct balancer *b, uint64_t assigned, uint64_t second)
{
	return balancer_decide(b, assigned, UINT64_MAX, second * SECOND).reason;
}

Test(balancer, without_a_fresh_report_nothing_is_decided)
{
	struct balancer b = make_balancer();

	cr_expect(eq(int, (int)reason_at(&b, GIB, T0), BALANCER_NO_REPORT));
	balancer_report(&b, 3 * GIB, 0, 0, (T0 + 10) * SECOND);
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 14), BALANCER_GROW));
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 15), BALANCER_NO_REPORT));
}

Test(balancer, a_guest_that_boots_is_left_alone)
{
	struct balancer b = make_balancer();
	struct balancer_settings s = b.settings;

	s.first_action_ns = 50 * SECOND;
	cr_assert(eq(int, balancer_init(&b, &s, T0 * SECOND), 0));
	balancer_report(&b, 3 * GIB, 0, 0, (T0 + 49) * SECOND);
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 49), BALANCER_STARTING));
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 50), BALANCER_GROW));
}

Test(balancer, after_an_operation_it_waits_for_a_report_and_before_shrinking_some_more)
{
	struct balancer b = make_balancer();

	balancer_report(&b, 600 * MIB, 0, 0, (T0 + 1) * SECOND);
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 1), BALANCER_SHRINK));
	balancer_operation_started(&b);
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 1), BALANCER_BUSY));
	balancer_operation_ended(&b, BALANCER_OPERATION_SHRINK, 100, (T0 + 2) * SECOND);
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 2), BALANCER_REPORT_BEFORE));
	balancer_report(&b, 600 * MIB, 0, 100, (T0 + 3) * SECOND);
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 6), BALANCER_SPACING));
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 7), BALANCER_SHRINK));

	/* Growing does not wait. */
	balancer_report(&b, 3 * GIB, 0, 100, (T0 + 3) * SECOND);
	cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 3), BALANCER_GROW));
}

Test(balancer, what_moved_nothing_is_not_tried_again_for_a_while)
{
	static const struct {
		enum balancer_operation operation;
		uint64_t committed;
		enum balancer_reason reason;
	} rows[] = {
		{BALANCER_OPERATION_SHRINK, 600 * MIB, BALANCER_SHRINK},
		{BALANCER_OPERATION_GROW, 3 * GIB, BALANCER_GROW},
	};

	for (size_t i = 0; i < 2; i++) {
		struct balancer b = make_balancer();

		balancer_operation_started(&b);
		balancer_operation_ended(&b, rows[i].operation, 0, T0 * SECOND);
		balancer_report(&b, rows[i].committed, 0, 0, (T0 + 59) * SECOND);
		cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 59), BALANCER_REFUSED));
		cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 60), (int)rows[i].reason));
		/* The other direction is not held. */
		balancer_report(&b, rows[1 - i].committed, 0, 0, (T0 + 59) * SECOND);
		b.smoothed_pages = rows[1 - i].committed;
		cr_expect(eq(int, (int)reason_at(&b, GIB, T0 + 59), (int)rows[1 - i].reason));
	}
}

Test(balancer, rising_demand_is_believed_at_once_and_falling_demand_slowly)
{
	struct balancer b = make_balancer();

	balancer_report(&b, 1000 * MIB, 0, 0, T0 * SECOND);
	balancer_report(&b, 3000 * MIB, 0, 0, (T0 + 1) * SECOND);
	cr_expect(eq(u64, b.smoothed_pages, 3000 * MIB));
	for (uint64_t s = 2; s <= 31; s++)
		balancer_report(&b, 1000 * MIB, 0, 0, (T0 + s) * SECOND);
	/* After one time constant 1/e of the difference is left: 736 MiB. */
	cr_expect(b.smoothed_pages > 1700 * MIB && b.smoothed_pages < 1800 * MIB);
	cr_expect(eq(u64, b.demand_pages, 1000 * MIB));
	for (uint64_t s = 32; s <= 1000; s++)
		balancer_report(&b, 1000 * MIB, 0, 0, (T0 + s) * SECOND);
	cr_expect(eq(u64, b.smoothed_pages, 1000 * MIB));
}

Test(balancer, reports_during_an_operation_are_shown_but_not_believed)
{
	struct balancer b = make_balancer();

	balancer_report(&b, 1000 * MIB, 0, 0, T0 * SECOND);
	balancer_operation_started(&b);
	balancer_report(&b, 1128 * MIB, 7, 0, (T0 + 1) * SECOND);
	cr_expect(eq(u64, b.smoothed_pages, 1000 * MIB));
	cr_expect(eq(u64, b.demand_pages, 1128 * MIB));
	cr_expect(eq(u64, b.available_pages, 7));
}

Test(balancer, an_amount_set_by_hand_needs_no_report_and_stays_within_the_bounds)
{
	static const struct {
		uint64_t manual, assigned, growable, target;
		enum balancer_reason reason;
	} rows[] = {
		{3 * GIB, 2 * GIB, UINT64_MAX, 3 * GIB, BALANCER_MANUAL},
		{3 * GIB, 2 * GIB, 100, 2 * GIB + 100, BALANCER_MANUAL},
		{1 * GIB, 7 * (uint64_t)GIB, UINT64_MAX, 1 * GIB, BALANCER_MANUAL},
		{1 * GIB, 1 * GIB, UINT64_MAX, 1 * GIB, BALANCER_MANUAL_DONE},
		{1, 1 * GIB, UINT64_MAX, 512 * MIB, BALANCER_MANUAL},
		{UINT64_MAX, 8 * (uint64_t)GIB, UINT64_MAX, 8 * (uint64_t)GIB,
		 BALANCER_MANUAL_DONE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct balancer b = make_balancer();
		struct balancer_decision d;

		balancer_set_manual(&b, rows[i].manual);
		d = balancer_decide(&b, rows[i].assigned, rows[i].growable, T0 * SECOND);
		cr_expect(eq(int, (int)d.reason, (int)rows[i].reason), "row %zu", i);
		cr_expect(eq(u64, d.target_pages, rows[i].target), "row %zu", i);
		balancer_set_automatic(&b);
		cr_expect(eq(int, (int)reason_at(&b, GIB, T0), BALANCER_NO_REPORT));
	}
}

Test(balancer, each_reason_has_its_own_text)
{
	for (int i = BALANCER_BUSY; i <= BALANCER_MANUAL_DONE; i++)
		for (int j = BALANCER_BUSY; j < i; j++)
			cr_expect(strcmp(balancer_reason_text((enum balancer_reason)i),
					 balancer_reason_text((enum balancer_reason)j)) != 0);
}

/* A guest, and the host's part of the loop, with one operation at a time. */
struct simulation {
	struct balancer b;
	uint64_t now;        /* seconds */
	uint64_t committed;  /* by its programs */
	uint64_t assigned;
	uint64_t ballooned;
	uint64_t refuses_below; /* the guest does not go below this */
	uint64_t operation_left; /* seconds until the running operation ends */
	uint64_t target;

	int n_grown, n_shrunk;
	int n_turns; /* changes of direction */
	enum balancer_operation last;
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
	*s = (struct simulation){.b = make_balancer(), .now = T0, .committed = committed,
				 .assigned = 2 * GIB};
}

static void finish_operation(struct simulation *s)
{
	enum balancer_operation operation = s->target > s->assigned ? BALANCER_OPERATION_GROW
								    : BALANCER_OPERATION_SHRINK;
	uint64_t end = s->target;

	if (operation == BALANCER_OPERATION_SHRINK && end < s->refuses_below)
		end = s->refuses_below < s->assigned ? s->refuses_below : s->assigned;
	balancer_operation_ended(&s->b, operation,
				 end > s->assigned ? end - s->assigned : s->assigned - end,
				 s->now * SECOND);
	if (end < s->assigned)
		s->ballooned += s->assigned - end;
	else
		s->ballooned -= end - s->assigned < s->ballooned ? end - s->assigned : s->ballooned;
	s->assigned = end;

	s->n_grown += operation == BALANCER_OPERATION_GROW;
	s->n_shrunk += operation == BALANCER_OPERATION_SHRINK;
	s->n_turns += s->last != BALANCER_OPERATION_NONE && s->last != operation;
	s->last = operation;
}

/* One second: maybe an operation ends, the guest reports, maybe an operation starts. */
static void simulation_step(struct simulation *s)
{
	struct balancer_decision d;

	s->now++;
	if (s->operation_left > 0 && --s->operation_left == 0)
		finish_operation(s);

	balancer_report(&s->b, s->committed + guest_floor(s->assigned) + s->ballooned,
			s->assigned - s->committed, s->ballooned, s->now * SECOND + 1);
	d = balancer_decide(&s->b, s->assigned, UINT64_MAX, s->now * SECOND + 2);
	cr_assert(d.target_pages <= s->b.settings.maximum_pages);
	cr_assert(d.target_pages >= s->b.settings.minimum_pages);
	if (d.target_pages != s->assigned) {
		s->target = d.target_pages;
		balancer_operation_started(&s->b);
		s->operation_left = 2;
	}
}

static void simulation_run(struct simulation *s, uint64_t seconds)
{
	for (uint64_t i = 0; i < seconds; i++)
		simulation_step(s);
}

static void expect_at_rest(const struct simulation *s)
{
	struct balancer_decision d = balancer_decide(&s->b, s->assigned, UINT64_MAX,
						     s->now * SECOND + 2);

	cr_expect(eq(int, (int)d.reason, BALANCER_AT_REST), "%s",
		  balancer_reason_text(d.reason));
	cr_expect(d.pressure_percent >= 75 && d.pressure_percent <= 91, "%u", d.pressure_percent);
}

Test(balancer, a_jump_is_followed_within_seconds_and_a_fall_in_minutes_without_swinging)
{
	struct simulation s;
	int operations;

	simulation_init(&s, 1300 * MIB);
	simulation_run(&s, 120);
	expect_at_rest(&s);
	s.n_turns = s.n_grown = s.n_shrunk = 0;
	s.last = BALANCER_OPERATION_NONE;

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
}

Test(balancer, a_guest_that_refuses_is_asked_once_a_minute)
{
	struct simulation s;

	simulation_init(&s, 200 * MIB);
	s.refuses_below = 3 * GIB;
	simulation_run(&s, 600);
	cr_expect(eq(u64, s.assigned, 2 * GIB));
	cr_expect(s.n_shrunk >= 9 && s.n_shrunk <= 10, "%d", s.n_shrunk);
}

Test(balancer, a_guest_that_gives_a_part_is_left_at_its_floor)
{
	struct simulation s;

	simulation_init(&s, 200 * MIB);
	s.refuses_below = 1500 * MIB;
	simulation_run(&s, 600);
	cr_expect(eq(u64, s.assigned, 1500 * MIB));
	cr_expect(eq(int, s.n_grown, 0));
}
