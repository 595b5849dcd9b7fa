/* SPDX-License-Identifier: MIT */

/*
 * host/timesync_host.c on virtual time: when it tells a guest the time, and which.
 */

#include "base/bytes.h"
#include "host/timesync_host.h"
#include "services/timesync.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define SECOND INT64_C(1000000000)
#define NOW    (INT64_C(1800000000) * SECOND)

static struct timesync_host_clock clock_at(uint64_t now_ns)
{
	return (struct timesync_host_clock){
		.now_ns = now_ns, .real_ns = NOW + (int64_t)now_ns, .reference = now_ns / 100 + 777};
}

/* What is sent at @now_ns, as a guest with a clock that is right understands it. */
static struct timesync_action tell(struct timesync_host *h, uint64_t now_ns, uint16_t major)
{
	const struct timesync_host_clock clock = clock_at(now_ns);
	const struct timesync_reading reading = {.real_ns = clock.real_ns,
						 .raw_ns = now_ns,
						 .has_reference = true,
						 .reference = clock.reference};
	struct timesync_host_action action;
	struct timesync_action understood;
	struct timesync guest;

	timesync_init(&guest, TIMESYNC_MODE_STEP);
	cr_assert(eq(int, timesync_host_next_action(h, major, &clock, &action), 0));
	cr_assert(eq(int, timesync_receive(&guest, action.message, action.size, major, &reading,
					   &understood), 0));
	cr_assert(eq(int, timesync_host_next_action(h, major, &clock, &action), TIMESYNC_HOST_IDLE));
	return understood;
}

Test(timesync_host, the_first_message_asks_for_a_step_and_samples_follow_every_five_seconds)
{
	static const uint16_t majors[] = {1, 3, 4};

	for (size_t v = 0; v < 3; v++) {
		struct timesync_host h;
		uint64_t now = 3 * SECOND;

		timesync_host_init(&h);
		cr_expect(eq(u64, timesync_host_deadline_ns(&h), UINT64_MAX));
		timesync_host_start(&h, now);
		for (int i = 0; i < 4; i++) {
			struct timesync_action action = tell(&h, now, majors[v]);

			cr_expect(eq(int, action.asked, i == 0));
			cr_expect(eq(i64, action.offset_ns, 0));
			cr_expect(eq(u64, timesync_host_deadline_ns(&h), UINT64_MAX));
			timesync_host_receive(&h, 0, now + 100);
			cr_expect(eq(u64, timesync_host_deadline_ns(&h), now + 100 + 5 * SECOND));
			now = timesync_host_deadline_ns(&h);
			timesync_host_tick(&h, now);
		}
		cr_expect(eq(u64, h.sent, 4));
		cr_expect(eq(u64, h.syncs, 1));
		cr_expect(eq(u64, h.answered, 4));
	}
}

Test(timesync_host, a_guest_that_does_not_answer_is_told_nothing_more)
{
	struct timesync_host_action action;
	struct timesync_host h;

	timesync_host_init(&h);
	timesync_host_start(&h, 0);
	(void)tell(&h, 0, 4);
	timesync_host_tick(&h, 100 * SECOND);
	timesync_host_send(&h, TIMESYNC_FLAG_SYNC);
	cr_expect(eq(int, timesync_host_next_action(&h, 4, &(struct timesync_host_clock){0}, &action),
		     TIMESYNC_HOST_IDLE));
	timesync_host_receive(&h, 0x80004005, 100 * SECOND);
	cr_expect(tell(&h, 100 * SECOND, 4).asked, "what was asked for meanwhile goes out then");
	cr_expect(eq(u64, h.refused, 1));
	timesync_host_receive(&h, 0, 101 * SECOND);
	timesync_host_receive(&h, 0, 101 * SECOND);
	cr_expect(eq(u64, h.unexpected, 1));
	timesync_host_stop(&h);
	timesync_host_send(&h, TIMESYNC_FLAG_SYNC);
	cr_expect(eq(int, timesync_host_next_action(&h, 4, &(struct timesync_host_clock){0}, &action),
		     TIMESYNC_HOST_IDLE));
}

Test(timesync_host, a_wrong_host_is_wrong_as_it_was_told_to)
{
	const struct timesync_skew skew = {.offset_ns = -7200 * SECOND,
					   .drift_ppb = 500000, /* half a millisecond a second */
					   .age_ns = 3 * SECOND,
					   .leap = TIMESYNC_LEAP_INSERT,
					   .stratum = 4};
	struct timesync_action action;
	struct timesync_host h;

	timesync_host_init(&h);
	timesync_host_start(&h, 10 * SECOND);
	timesync_host_skew(&h, &skew, 10 * SECOND);
	action = tell(&h, 10 * SECOND, 4);
	cr_expect(eq(i64, action.offset_ns, -7200 * SECOND));
	cr_expect(eq(u64, action.age_ns, 3 * SECOND));
	cr_expect(eq(int, (int)action.leap, TIMESYNC_LEAP_INSERT));
	cr_expect(eq(int, action.stratum, 4));
	timesync_host_receive(&h, 0, 10 * SECOND);
	timesync_host_every(&h, SECOND, 10 * SECOND);
	cr_expect(eq(u64, timesync_host_deadline_ns(&h), 11 * SECOND));
	timesync_host_tick(&h, 110 * SECOND);
	cr_expect(eq(i64, tell(&h, 110 * SECOND, 4).offset_ns, -7200 * SECOND + SECOND / 20));
}
