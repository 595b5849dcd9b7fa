/* SPDX-License-Identifier: MIT */

/*
 * Time synchronisation between the guest's and the host's real machines, over real framing, on virtual
 * time. Models are the guest's clock, which drifts, is suspended and restored; what keeps it between
 * steps, which takes the samples and slews as chronyd does; and the way of the messages, which takes
 * some time, and sometimes long because the guest does not run.
 *
 * What must hold, whatever was done: the guest's clock is set back only when the host has asked for
 * it; and when nothing has been done to it for a minute it is right. The seed is printed; HVGUEST_SEED
 * repeats a run.
 */

#include "host/timesync_host.h"
#include "services/timesync.h"
#include "vmbus/ic.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS     INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define START  (INT64_C(1800000000) * SECOND)
#define TICK   (2 * MS)

enum {
	ROUNDS = 200,
	SETTLED_S = 60,  /* after this long without a fault all is well */
	STEP_SIZE = 512, /* bytes of a packet */
};

/* What a run has, besides the host and the guest. */
struct setup {
	enum timesync_mode mode;
	uint16_t major;      /* service version */
	bool reads_counter;  /* the guest can read its reference counter */
	bool has_keeper;     /* somebody takes the samples */
	int64_t drift_ppm;   /* of the guest's clock */
	int64_t tolerance_ns; /* to which the clock is right in the end */
};

struct world {
	struct setup setup;
	unsigned seed;
	int64_t now;           /* true time, and the host's monotonic clock, from 0 */
	int64_t clock_ns;      /* the guest's wall clock */
	int64_t raw_ns;        /* its raw clock */
	int64_t counter_ns;    /* its reference counter, in ns */
	int64_t paused_until;  /* its process does not run: messages wait */
	int64_t slew_ns;       /* what the keeper has still to work off */
	int64_t last_sample;

	struct timesync_host host;
	struct ic_host host_ic;
	struct timesync guest;
	struct ic_guest guest_ic;

	uint8_t packet[STEP_SIZE]; /* under way to the guest */
	size_t packet_size;
	int64_t arrives;

	uint64_t set_back, set_back_unasked;
};

static int64_t error_of(const struct world *w)
{
	return w->clock_ns - (START + w->now + w->host.skew.offset_ns);
}

static int64_t roll(struct world *w, int64_t most)
{
	return (int64_t)((double)rand_r(&w->seed) / ((double)RAND_MAX + 1) * (double)most);
}

/* A packet of the host's begins its way. */
static void post(struct world *w, const uint8_t *packet, size_t size)
{
	cr_assert(size <= sizeof(w->packet));
	memcpy(w->packet, packet, size);
	w->packet_size = size;
	w->arrives = w->now + MS / 10 + roll(w, 4) * roll(w, 10) * MS;
}

static void negotiate(struct world *w)
{
	uint8_t packet[STEP_SIZE];
	size_t size;

	timesync_host_stop(&w->host);
	cr_assert(eq(int, ic_host_negotiate(&w->host_ic, packet, sizeof(packet), &size), 0));
	post(w, packet, size);
}

static void host_goes_on(struct world *w)
{
	const struct timesync_host_clock clock = {.now_ns = (uint64_t)w->now,
						  .real_ns = START + w->now,
						  .reference = (uint64_t)w->counter_ns / 100};
	struct timesync_host_action action;
	uint8_t packet[STEP_SIZE];
	size_t size;

	timesync_host_tick(&w->host, (uint64_t)w->now);
	if (timesync_host_next_action(&w->host, w->host_ic.version.major, &clock, &action))
		return;
	cr_assert(eq(int, ic_host_request(&w->host_ic, action.message, action.size, packet, sizeof(packet),
					  &size), 0));
	post(w, packet, size);
}

static void act(struct world *w, const struct timesync_action *action)
{
	if (action->act == TIMESYNC_ACT_STEP) {
		w->clock_ns += action->offset_ns;
		w->slew_ns = 0;
		w->set_back += action->offset_ns < 0;
		w->set_back_unasked += action->offset_ns < 0 && !action->asked;
	} else if (action->act == TIMESYNC_ACT_SAMPLE && w->setup.has_keeper) {
		w->slew_ns = action->offset_ns;
		w->last_sample = w->now;
	}
}

/* What the guest does with the packet that has arrived; true if it answers. */
static bool guest_receives(struct world *w, struct timesync_action *ret_action)
{
	const struct timesync_reading reading = {
		.real_ns = w->clock_ns,
		.raw_ns = (uint64_t)w->raw_ns,
		.has_reference = w->setup.reads_counter,
		.reference = (uint64_t)w->counter_ns / 100,
		.is_kept = w->setup.has_keeper && w->last_sample > 0,
	};
	uint64_t negotiations = w->guest_ic.stats.negotiations;
	uint8_t *data;
	size_t size;
	int r;

	switch (ic_guest_receive(&w->guest_ic, w->packet, w->packet_size, 1)) {
	case 0:
		data = ic_guest_data(&w->guest_ic, &size);
		r = timesync_receive(&w->guest, data, size, w->guest_ic.version.major, &reading, ret_action);
		ic_guest_answer(&w->guest_ic, r ? IC_E_FAIL : IC_S_OK);
		return true;
	case IC_ANSWER:
		if (w->guest_ic.stats.negotiations != negotiations)
			timesync_reset(&w->guest);
		return true;
	}
	return false;
}

static void deliver(struct world *w)
{
	struct timesync_action action = {.act = TIMESYNC_ACT_NOTHING};
	struct ic_response response;

	w->arrives = INT64_MAX;
	cr_assert(guest_receives(w, &action));
	switch (ic_host_receive(&w->host_ic, w->guest_ic.buf, w->guest_ic.size, &response)) {
	case 0:
		timesync_host_receive(&w->host, response.status, (uint64_t)w->now);
		break;
	case IC_NEGOTIATED:
		timesync_host_start(&w->host, (uint64_t)w->now);
		break;
	default:
		cr_assert(false, "the host does not understand the guest");
	}
	act(w, &action);
}

/* @ns of true time; the guest's clocks go on, unless it is suspended. */
static void pass(struct world *w, int64_t ns, bool suspended)
{
	int64_t slewed = w->slew_ns / 256;

	w->now += ns;
	if (suspended)
		return;
	w->clock_ns += ns + ns * w->setup.drift_ppm / 1000000 + slewed;
	w->raw_ns += ns;
	w->counter_ns += ns;
	w->slew_ns -= slewed;
}

static void run(struct world *w, int64_t seconds)
{
	for (int64_t end = w->now + seconds * SECOND; w->now < end; pass(w, TICK, false)) {
		host_goes_on(w);
		if (w->now >= w->arrives && w->now >= w->paused_until)
			deliver(w);
	}
}

static void begin(struct world *w, const struct setup *setup, unsigned seed, int64_t wrong_by_ns)
{
	static const struct ic_version old[] = {{3, 0}, {1, 0}}, oldest[] = {{1, 0}};
	static struct ic_service service;

	service = ic_service_timesync;
	if (setup->major < 4) {
		service.versions = setup->major == 3 ? old : oldest;
		service.n_versions = setup->major == 3 ? 2 : 1;
	}
	*w = (struct world){.setup = *setup, .seed = seed, .arrives = INT64_MAX};
	w->clock_ns = START + wrong_by_ns;
	w->raw_ns = 5000 * SECOND;
	w->counter_ns = 77 * SECOND;
	timesync_host_init(&w->host);
	ic_host_init(&w->host_ic, &service);
	timesync_init(&w->guest, setup->mode);
	ic_guest_init(&w->guest_ic, &ic_service_timesync);
	negotiate(w);
}

static const struct setup setups[] = {
	{TIMESYNC_MODE_STEP, 4, true, true, 40, 5 * MS},
	{TIMESYNC_MODE_STEP, 4, false, true, -40, 45 * MS},
	{TIMESYNC_MODE_STEP, 3, true, true, 100, 45 * MS},
	{TIMESYNC_MODE_STEP, 1, false, true, 0, 45 * MS},
	{TIMESYNC_MODE_CATCH_UP, 4, true, true, -200, 5 * MS},
	{TIMESYNC_MODE_CATCH_UP, 3, false, true, 20, 45 * MS},
	{TIMESYNC_MODE_SAMPLE, 4, false, true, 20, 45 * MS},
};

enum {
	N_SETUPS = sizeof(setups) / sizeof(setups[0]),
};

static void expect_right(const struct world *w, const char *when)
{
	int64_t error = error_of(w);

	cr_assert(error < w->setup.tolerance_ns && error > -w->setup.tolerance_ns,
		  "%s the clock is %lld us off (mode %s, version %d)", when, (long long)(error / 1000),
		  timesync_mode_name(w->setup.mode), w->setup.major);
}

Test(timesync, a_guest_that_starts_with_a_wrong_clock_is_right_after_the_first_message)
{
	static const int64_t wrong[] = {-86400 * SECOND, 7200 * SECOND, -3 * SECOND};

	for (size_t i = 0; i < N_SETUPS; i++) {
		struct world w;

		begin(&w, &setups[i], 1, wrong[i % 3]);
		run(&w, setups[i].mode == TIMESYNC_MODE_SAMPLE ? SETTLED_S : 2);
		expect_right(&w, "at the start");
		run(&w, 600);
		expect_right(&w, "ten minutes later");
		cr_expect(eq(u64, w.guest.steps, setups[i].mode != TIMESYNC_MODE_SAMPLE));
	}
}

Test(timesync, a_suspended_guest_is_right_again_when_the_host_asks_and_not_set_back_later)
{
	for (size_t i = 0; i < N_SETUPS; i++) {
		struct world w;

		if (setups[i].mode == TIMESYNC_MODE_SAMPLE)
			continue;
		begin(&w, &setups[i], 2, 0);
		run(&w, 100);
		cr_expect(eq(u64, w.guest.steps, 0));
		pass(&w, 3 * 3600 * SECOND, true);
		negotiate(&w);
		run(&w, 2);
		expect_right(&w, "after the resume");
		cr_expect(eq(u64, w.guest.steps, 1));
		run(&w, 300);
		expect_right(&w, "five minutes later");
		cr_expect(eq(u64, w.guest.steps, 1));
		cr_expect(eq(u64, w.set_back, 0));
	}
}

Test(timesync, a_resume_that_the_host_forgets_to_tell_is_caught_up_only_where_that_is_wanted)
{
	for (size_t i = 0; i < N_SETUPS; i++) {
		struct setup setup = setups[i];
		struct world w;

		setup.has_keeper = false;
		setup.drift_ppm = 0;
		begin(&w, &setup, 3, 0);
		run(&w, 20);
		pass(&w, 3600 * SECOND, true);
		run(&w, 30);
		if (setup.mode == TIMESYNC_MODE_CATCH_UP)
			expect_right(&w, "after a resume that nobody told of");
		else
			cr_expect(error_of(&w) < -3000 * SECOND);
		cr_expect(eq(u64, w.set_back, 0));
	}
}

Test(timesync, a_step_that_waited_in_the_ring_does_not_cost_the_time_it_waited)
{
	const struct setup setup = {TIMESYNC_MODE_STEP, 4, false, false, 0, 45 * MS};
	struct world w;

	begin(&w, &setup, 4, 0);
	run(&w, 30);
	timesync_host_send(&w.host, TIMESYNC_FLAG_SYNC);
	host_goes_on(&w);
	w.paused_until = w.now + 90 * SECOND;
	run(&w, 100);
	expect_right(&w, "after a minute and a half in the ring");
}

/* One thing that happens to a world. */
static void disturb(struct world *w)
{
	struct timesync_skew skew = w->host.skew;

	switch (roll(w, 6)) {
	case 0: /* saved and restored */
		pass(w, roll(w, 100000) * SECOND, true);
		negotiate(w);
		break;
	case 1: /* moved to a host with another counter */
		w->counter_ns = roll(w, 1000000) * SECOND;
		w->host.waiting = false;
		negotiate(w);
		break;
	case 2: /* the guest's process is stopped for a while */
		w->paused_until = w->now + roll(w, 30) * SECOND;
		break;
	case 3: /* the host's clock is set, and the guest's after it */
		skew.offset_ns += roll(w, 2000) * SECOND - 1000 * SECOND;
		timesync_host_skew(&w->host, &skew, (uint64_t)w->now);
		timesync_host_send(&w->host, TIMESYNC_FLAG_SYNC);
		break;
	case 4: /* somebody sets the guest's clock a little wrong */
		w->clock_ns += roll(w, 2000) * MS - SECOND;
		break;
	case 5: /* the host asks for a step, for no reason */
		timesync_host_send(&w->host, TIMESYNC_FLAG_SYNC);
		break;
	}
	run(w, roll(w, 30));
}

Test(timesync, whatever_happens_the_clock_is_right_in_the_end_and_never_set_back_unasked)
{
	const char *text = getenv("HVGUEST_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);

	printf("# HVGUEST_SEED=%u\n", seed);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct world w;

		begin(&w, &setups[round % (N_SETUPS - 1)], seed + round, 0);
		for (int64_t n = 1 + roll(&w, 8); n > 0; n--)
			disturb(&w);
		run(&w, 30 + SETTLED_S);
		expect_right(&w, "in the end");
		cr_assert(eq(u64, w.set_back_unasked, 0));
		cr_assert(eq(u64, w.guest.malformed + w.host.refused + w.host.unexpected, 0));
	}
}
