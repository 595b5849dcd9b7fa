/* SPDX-License-Identifier: MIT */

/*
 * host/heartbeat_host.c on virtual time, alone and against the guest's end.
 */

#include "base/bytes.h"
#include "base/cleanup.h"
#include "host/heartbeat_host.h"
#include "services/heartbeat.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

/* What is sent at @now_ns; fails the test if nothing is. */
static struct heartbeat_host_action ask(struct heartbeat_host *h, uint64_t now_ns)
{
	struct heartbeat_host_action action;

	cr_assert(eq(int, heartbeat_host_next_action(h, now_ns, &action), 0));
	cr_assert(eq(int, heartbeat_host_next_action(h, now_ns, &action), HEARTBEAT_HOST_IDLE));
	return action;
}

static void expect_idle(struct heartbeat_host *h, uint64_t now_ns)
{
	struct heartbeat_host_action action;

	cr_expect(eq(int, heartbeat_host_next_action(h, now_ns, &action), HEARTBEAT_HOST_IDLE));
}

static int answer(struct heartbeat_host *h, uint64_t number, size_t len, uint32_t state,
		  uint64_t now_ns)
{
	_cleanup_free_ uint8_t *exact = malloc(len ? len : 1);
	uint8_t message[64] = {0};
	struct bytes_writer out;

	bytes_writer_init(&out, message, sizeof(message));
	bytes_put_u64(&out, number);
	bytes_put_u32(&out, state);
	memcpy(exact, message, len);
	return heartbeat_host_receive(h, exact, len, now_ns);
}

Test(heartbeat_host, asks_at_once_and_then_every_two_seconds)
{
	struct heartbeat_host_action action;
	struct heartbeat_host h;

	heartbeat_host_init(&h);
	expect_idle(&h, 0);
	cr_expect(eq(u64, heartbeat_host_deadline_ns(&h), UINT64_MAX));
	heartbeat_host_start(&h, 10 * SECOND);
	for (uint64_t i = 0; i < 5; i++) {
		uint64_t now = (10 + 2 * i) * SECOND;

		heartbeat_host_tick(&h, now);
		action = ask(&h, now);
		cr_expect(eq(int, action.message[0], (int)i + 1));
		for (size_t b = 1; b < sizeof(action.message); b++)
			cr_expect(eq(int, action.message[b], b / 4 == 3 ? "HVG1"[b % 4] : 0));
		cr_expect(eq(int, answer(&h, i + 2, 40, 1, now + 5), 0));
		cr_expect(eq(u64, heartbeat_host_deadline_ns(&h), now + 2 * SECOND));
		heartbeat_host_tick(&h, now + SECOND);
		expect_idle(&h, now + SECOND);
	}
	cr_expect(eq(u64, h.answered, 5));
	cr_expect(eq(u64, h.answer_time_ns, 5));
	cr_expect(eq(u64, h.last_answer_ns, 18 * SECOND + 5));
	cr_expect(eq(int, (int)h.application, HEARTBEAT_APPLICATION_HEALTHY));
}

Test(heartbeat_host, silence_is_counted_and_one_late_answer_ends_it)
{
	struct heartbeat_host h;

	heartbeat_host_init(&h);
	heartbeat_host_start(&h, 0);
	ask(&h, 0);
	for (uint64_t i = 1; i <= 3; i++) {
		heartbeat_host_tick(&h, 2 * i * SECOND);
		expect_idle(&h, 2 * i * SECOND);
		cr_expect(eq(u64, h.missed_in_a_row, i));
	}
	cr_expect(eq(int, answer(&h, 2, 40, 0, 7 * SECOND), 0));
	cr_expect(eq(u64, h.missed_in_a_row, 0));
	cr_expect(eq(u64, h.missed, 3));
	cr_expect(eq(u64, h.answer_time_ns, 7 * SECOND));
	heartbeat_host_tick(&h, 8 * SECOND);
	ask(&h, 8 * SECOND);
}

Test(heartbeat_host, a_host_that_slept_counts_one_period_and_goes_on)
{
	struct heartbeat_host h;

	heartbeat_host_init(&h);
	heartbeat_host_start(&h, 0);
	ask(&h, 0);
	heartbeat_host_tick(&h, 3601 * SECOND);
	cr_expect(eq(u64, h.missed, 1));
	cr_expect(eq(u64, heartbeat_host_deadline_ns(&h), 3602 * SECOND));
}

Test(heartbeat_host, wrong_answers_are_conditions_and_the_next_period_asks_again)
{
	static const struct {
		uint64_t number;
		size_t len;
		int result;
	} rows[] = {
		{1, 40, HEARTBEAT_HOST_WRONG},
		{3, 40, HEARTBEAT_HOST_WRONG},
		{0, 40, HEARTBEAT_HOST_WRONG},
		{UINT64_C(1) << 32 | 2, 40, HEARTBEAT_HOST_WRONG},
		{2, 7, HEARTBEAT_HOST_MALFORMED},
		{2, 0, HEARTBEAT_HOST_MALFORMED},
		{2, 8, 0},
		{2, 15, 0},
		{2, 16, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct heartbeat_host h;

		heartbeat_host_init(&h);
		heartbeat_host_start(&h, 0);
		ask(&h, 0);
		cr_expect(eq(int, answer(&h, rows[i].number, rows[i].len, 3, 1), rows[i].result),
			  "row %zu", i);
		cr_expect(eq(u64, h.answered, rows[i].result == 0));
		cr_expect(eq(int, (int)h.application,
			     rows[i].len == 16 ? HEARTBEAT_APPLICATION_STOPPED
					       : HEARTBEAT_APPLICATION_UNKNOWN));
		cr_expect(eq(int, answer(&h, 2, 40, 0, 2), HEARTBEAT_HOST_UNEXPECTED));
		heartbeat_host_tick(&h, 2 * SECOND);
		ask(&h, 2 * SECOND);
	}
}

Test(heartbeat_host, a_state_nobody_has_defined_is_unknown)
{
	struct heartbeat_host h;

	heartbeat_host_init(&h);
	heartbeat_host_start(&h, 0);
	ask(&h, 0);
	cr_expect(eq(int, answer(&h, 2, 40, 4, 1), 0));
	cr_expect(eq(int, (int)h.application, HEARTBEAT_APPLICATION_UNKNOWN));
}

Test(heartbeat_host, after_a_stop_nothing_is_asked_or_missed_and_a_start_goes_on)
{
	struct heartbeat_host_action action;
	struct heartbeat_host h;

	heartbeat_host_init(&h);
	heartbeat_host_start(&h, 0);
	ask(&h, 0);
	heartbeat_host_stop(&h);
	heartbeat_host_tick(&h, 100 * SECOND);
	expect_idle(&h, 100 * SECOND);
	cr_expect(eq(u64, h.missed, 0));
	cr_expect(eq(u64, heartbeat_host_deadline_ns(&h), UINT64_MAX));
	cr_expect(eq(int, answer(&h, 2, 40, 0, 0), HEARTBEAT_HOST_UNEXPECTED));
	heartbeat_host_start(&h, 200 * SECOND);
	action = ask(&h, 200 * SECOND);
	cr_expect(eq(int, action.message[0], 2));
}

Test(heartbeat_host, both_ends_agree)
{
	struct heartbeat_host h;
	struct heartbeat guest;

	heartbeat_host_init(&h);
	heartbeat_init(&guest);
	heartbeat_set_application(&guest, HEARTBEAT_APPLICATION_HEALTHY);
	heartbeat_set_hold(&guest, HEARTBEAT_HOLD_FROZEN, 19500);
	heartbeat_set_stall(&guest, 0);
	heartbeat_host_start(&h, 0);
	for (uint64_t now = 0; now < 600 * SECOND; now = heartbeat_host_deadline_ns(&h)) {
		struct heartbeat_host_action action;

		heartbeat_host_tick(&h, now);
		action = ask(&h, now);
		cr_assert(eq(int, heartbeat_answer(&guest, action.message, sizeof(action.message),
						   now), 0));
		cr_assert(eq(int, heartbeat_host_receive(&h, action.message,
							 sizeof(action.message), now), 0));
	}
	cr_expect(eq(u64, h.answered, 300));
	cr_expect(eq(u64, guest.answered, 300));
	cr_expect(eq(int, (int)h.hold, HEARTBEAT_HOLD_FROZEN));
	cr_expect(eq(u32, h.hold_left_ms, 19500));
	cr_expect(eq(u32, h.stall_centipercent, 0));
	cr_expect(eq(u64, h.missed + h.wrong + h.malformed + h.unexpected, 0));
	cr_expect(eq(int, (int)h.application, HEARTBEAT_APPLICATION_HEALTHY));
}

/* A number beyond what a share of time can be is no share; nor is what another guest sends back. */
Test(heartbeat_host, a_stall_that_cannot_be_is_unknown)
{
	static const struct {
		uint32_t magic, value, known;
	} rows[] = {
		{HEARTBEAT_MAGIC, 0, HEARTBEAT_STALL_UNKNOWN},
		{HEARTBEAT_MAGIC, 1, 0},
		{HEARTBEAT_MAGIC, 10001, 10000},
		{HEARTBEAT_MAGIC, 10002, HEARTBEAT_STALL_UNKNOWN},
		{HEARTBEAT_MAGIC, UINT32_MAX, HEARTBEAT_STALL_UNKNOWN},
		{0, 1, HEARTBEAT_STALL_UNKNOWN},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t message[40] = {0};
		struct bytes_writer out;
		struct heartbeat_host h;

		heartbeat_host_init(&h);
		heartbeat_host_start(&h, 0);
		ask(&h, 0);
		bytes_writer_init(&out, message, sizeof(message));
		bytes_put_u64(&out, 2);
		bytes_put_u32(&out, 0);
		bytes_put_u32(&out, rows[i].magic);
		bytes_put_u32(&out, 0);
		bytes_put_u32(&out, UINT32_MAX);
		bytes_put_u32(&out, rows[i].value);
		cr_assert(eq(int, heartbeat_host_receive(&h, message, sizeof(message), 1), 0));
		cr_expect(eq(u32, h.stall_centipercent, rows[i].known), "row %zu", i);
	}
}
