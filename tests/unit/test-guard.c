/* SPDX-License-Identifier: MIT */

/*
 * policy/guard.c: machines that have plenty, that stall, and that only seem to.
 */

#include "policy/guard.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define MS UINT64_C(1000000)

static struct guard guard;
static struct memory_figures figures;
static uint64_t now_ns;

static void set_up(void)
{
	struct guard_config config;

	guard_config_init(&config);
	guard_init(&guard, &config);
	figures = (struct memory_figures){.has_stalls = true, .some.total_us = 5000000, .oom_kills = 3};
	now_ns = 1000 * 1000 * MS;
	guard_begin(&guard);
}

TestSuite(guard, .init = set_up);

/* Time passes, and tasks wait for @stalled_ms of it. */
static void pass(uint64_t ms, uint64_t stalled_ms)
{
	now_ns += ms * MS;
	figures.some.total_us += stalled_ms * 1000;
}

static struct guard_decision ask(uint64_t may_give, uint64_t want)
{
	return guard_ask(&guard, &figures, may_give, want, now_ns);
}

static void expect(enum guard_verdict verdict, enum guard_reason reason)
{
	struct guard_decision d = ask(1000, 100);

	cr_expect(eq(int, d.verdict, verdict));
	cr_expect(eq(int, d.reason, reason));
}

Test(guard, no_more_than_is_available_above_the_floor)
{
	struct guard_decision d = ask(1000, 1000);

	cr_expect(eq(int, d.verdict, GUARD_GO));
	cr_expect(eq(int, d.reason, GUARD_PLENTY));
	cr_expect(eq(u64, d.pages, 1000));
	d = ask(999, 1000);
	cr_expect(eq(int, d.verdict, GUARD_GO));
	cr_expect(eq(int, d.reason, GUARD_FLOOR));
	cr_expect(eq(u64, d.pages, 999));
	d = ask(0, 1000);
	cr_expect(eq(int, d.verdict, GUARD_STOP));
	cr_expect(eq(int, d.reason, GUARD_FLOOR));
	cr_expect(eq(u64, guard.stops[GUARD_FLOOR], 1));
}

Test(guard, stalls_of_our_own_making_do_not_end_a_request)
{
	expect(GUARD_GO, GUARD_PLENTY);
	for (int i = 0; i < 5; i++) {
		pass(500, 480); /* the slice itself had to wait */
		expect(GUARD_WAIT, GUARD_STALLED);
		pass(100, 1); /* and now that nothing is taken, nobody does */
		expect(GUARD_GO, GUARD_PLENTY);
	}
}

Test(guard, stalls_that_go_on_without_us_end_a_request)
{
	expect(GUARD_GO, GUARD_PLENTY);
	pass(500, 480);
	expect(GUARD_WAIT, GUARD_STALLED);
	pass(100, 30);
	expect(GUARD_STOP, GUARD_STALLED);
	cr_expect(eq(u32, guard.seen_percent, 30));
	cr_expect(eq(u64, guard.stops[GUARD_STALLED], 1));
}

Test(guard, a_look_takes_its_time)
{
	struct guard_decision d;
	uint64_t began_ns;

	expect(GUARD_GO, GUARD_PLENTY);
	pass(500, 480);
	began_ns = now_ns;
	for (int i = 0; i < 10; i++) {
		d = ask(1000, 100);
		cr_assert(eq(int, d.verdict, GUARD_WAIT));
		cr_expect(eq(u64, d.until_ns, began_ns + 100 * MS));
		pass(10, 0);
	}
	expect(GUARD_GO, GUARD_PLENTY);
}

Test(guard, a_machine_that_stalled_is_left_alone_for_a_minute)
{
	expect(GUARD_GO, GUARD_PLENTY);
	pass(500, 480);
	expect(GUARD_WAIT, GUARD_STALLED);
	pass(100, 100);
	expect(GUARD_STOP, GUARD_STALLED);
	guard_begin(&guard);
	pass(59000, 0);
	expect(GUARD_STOP, GUARD_RECOVERS);
	guard_begin(&guard);
	pass(1000, 0);
	expect(GUARD_GO, GUARD_PLENTY);
}

Test(guard, a_request_to_a_machine_that_stalls_gets_nothing)
{
	figures.some.avg10_centipercent = 1001;
	expect(GUARD_WAIT, GUARD_STALLED);
	pass(100, 90);
	expect(GUARD_STOP, GUARD_STALLED);
}

Test(guard, stalls_that_are_over_are_forgiven)
{
	figures.some.avg10_centipercent = 9900;
	expect(GUARD_WAIT, GUARD_STALLED);
	pass(100, 0);
	expect(GUARD_GO, GUARD_PLENTY);
}

Test(guard, pages_that_had_to_be_read_again_raise_a_doubt)
{
	expect(GUARD_GO, GUARD_PLENTY);
	figures.refaults += 256;
	pass(50, 0);
	expect(GUARD_GO, GUARD_PLENTY);
	figures.refaults += 257;
	pass(50, 0);
	expect(GUARD_WAIT, GUARD_STALLED);
}

Test(guard, a_task_killed_for_memory_ends_a_request)
{
	expect(GUARD_GO, GUARD_PLENTY);
	figures.oom_kills++;
	expect(GUARD_STOP, GUARD_OOM);
	guard_begin(&guard);
	expect(GUARD_STOP, GUARD_RECOVERS);
	pass(60000, 0);
	expect(GUARD_GO, GUARD_PLENTY);
}

Test(guard, a_task_killed_before_the_request_does_not)
{
	figures.oom_kills = 400;
	expect(GUARD_GO, GUARD_PLENTY);
}

Test(guard, without_stall_figures_only_the_floor_counts)
{
	figures.has_stalls = false;
	figures.some.avg10_centipercent = 9900;
	expect(GUARD_GO, GUARD_PLENTY);
	pass(500, 480);
	expect(GUARD_GO, GUARD_PLENTY);
}

Test(guard, a_limit_of_zero_looks_at_no_stalls)
{
	guard.config.stall_percent = 0;
	figures.some.avg10_centipercent = 9900;
	expect(GUARD_GO, GUARD_PLENTY);
	pass(500, 480);
	expect(GUARD_GO, GUARD_PLENTY);
}

Test(guard, every_reason_has_a_name_and_a_text)
{
	for (int reason = 0; reason < GUARD_N_REASONS; reason++) {
		cr_expect(strlen(guard_reason_name(reason)) > 0);
		cr_expect(strlen(guard_reason_text(reason)) > 0);
	}
}
