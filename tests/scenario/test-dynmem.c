/* SPDX-License-Identifier: MIT */

/*
 * Dynamic memory, both ends, with a daemon that lives: what a calm host sees, what happens when
 * much goes wrong, and which versions are agreed on. HVGUEST_SEED=n repeats a run.
 */

#include "tests/scenario/dynmem-world.h"

enum {
	ROUNDS = 20,
	STEPS = 3000,
};

static const struct faults rough = {
	.stall = 20, .late = 100, .partial = 100, .malformed = 30, .strange = 30, .close = 4,
	.release = 4,
};

static struct world the_world;

/* Has the host ask until it is done, whatever becomes of the channel. */
static void insist(struct world *w, enum dynmem_host_operation_kind kind, uint64_t pages)
{
	uint64_t done_pages = 0;
	int r;

	do {
		r = dynmem_host_request(w->host, kind, pages - done_pages, w->now_ns);
		if (r == DYNMEM_HOST_NOTHING)
			return; /* it had no pages any more */
		cr_assert(eq(int, r, 0));
		world_come_to_rest(w);
		if (kind == DYNMEM_HOST_HOT_ADD || !world_host_status(w).operation.lost)
			done_pages += world_host_status(w).operation.done_pages;
	} while (world_host_status(w).operation.lost);
}

Test(dynmem_scenario, a_calm_host_gets_what_it_asks_for_and_gives_it_back)
{
	struct world *w = &the_world;

	world_init(w, world_first_seed(), &world_calm);
	world_come_to_rest(w);
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 3000);
	cr_expect(eq(u64, world_host_status(w).operation.done_pages, 3000));
	world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, 1000);
	cr_expect(eq(u64, world_host_status(w).ballooned_pages, 2000));

	/* More than there is: all there is, and no more. */
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 2 * N_PAGES);
	cr_expect(eq(u64, world_host_status(w).ballooned_pages, N_PAGES));
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 1);
	cr_expect(eq(u64, world_host_status(w).operation.done_pages, 0));
	world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
	cr_expect(eq(u64, world_guest_status(w).ballooned_pages, 0));
	cr_expect(eq(u64, w->operations, 5));
	world_fini(w);
}

Test(dynmem_scenario, calm_operations_leave_no_trace_of_trouble, .timeout = 120)
{
	struct world *w = &the_world;

	world_init(w, world_first_seed(), &world_calm);
	for (int i = 0; i < STEPS; i++) {
		world_want_something(w);
		world_step(w);
	}
	world_come_to_rest(w);
	cr_expect(gt(u64, w->operations, 10));
	cr_expect(eq(u64, world_guest_status(w).stats.malformed, 0));
	cr_expect(eq(u64, world_guest_status(w).stats.unexpected, 0));
	cr_expect(eq(u64, world_guest_status(w).stats.foreign_pages, 0));
	cr_expect(eq(u64, world_guest_status(w).stats.overlaps, 0));
	cr_expect(eq(u64, world_host_status(w).stats.malformed, 0));
	cr_expect(eq(u64, world_host_status(w).stats.unexpected, 0));
	world_fini(w);
}

Test(dynmem_scenario, whatever_goes_wrong_no_page_is_lost_or_in_use_twice, .timeout = 300)
{
	uint64_t operations = 0, closes = 0, malformed = 0, foreign = 0, full = 0;
	struct world *w = &the_world;

	for (unsigned int round = 0; round < WORLD_ONCE_FAILED + ROUNDS; round++) {
		world_init(w, world_seed(round), &rough);
		for (int i = 0; i < STEPS / 4; i++) {
			world_want_something(w);
			world_step(w);
		}
		world_come_to_rest(w);
		if (world_host_status(w).ballooned_pages > 0)
			world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
		cr_assert(eq(u64, world_guest_status(w).ballooned_pages, 0));
		cr_assert(eq(u64, world_guest_status(w).returning_pages, 0));
		cr_assert(eq(u64, world_guest_status(w).stats.untracked_pages, 0));
		operations += w->operations;
		closes += w->closes;
		malformed += world_guest_status(w).stats.malformed + world_host_status(w).stats.malformed;
		foreign += world_guest_status(w).stats.foreign_pages;
		full += w->guest_end.channel.stats.full;
		world_fini(w);
	}

	/* The run was as rough as it was meant to be. */
	cr_expect(gt(u64, operations, ROUNDS));
	cr_expect(gt(u64, closes, 0));
	cr_expect(gt(u64, malformed, 0));
	cr_expect(gt(u64, foreign, 0));
	cr_expect(gt(u64, full, 0));
}

/* Neither end has anything to say about it, so the world has to wait for the memory itself. */
Test(dynmem_scenario, what_is_released_is_in_use_again_when_all_has_come_to_rest)
{
	struct world *w = &the_world;

	world_init(w, world_first_seed(), &world_calm);
	world_come_to_rest(w);
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 1000);
	world_disconnect(w);
	world_come_to_rest(w);
	cr_expect(eq(u64, world_guest_status(w).unreported_pages, 1000));
	cr_assert(eq(int, dynmem_release(w->guest), 0));
	world_come_to_rest(w);
	cr_expect(eq(u64, world_guest_status(w).unreported_pages, 0));
	cr_expect(eq(u64, world_guest_status(w).returning_pages, 0));
	world_fini(w);
}

/* A stranger's report long before the guest was ready says nothing of when its own are due. */
Test(dynmem_scenario, reports_are_due_from_when_the_guest_is_ready_whatever_came_before)
{
	const struct dynmem_status_report report = {.committed_pages = 1};
	struct world *w = &the_world;
	struct dynmem_message m;

	world_init(w, world_first_seed(), &world_calm);
	dynmem_encode_status_report(&m, 0, &report);
	cr_assert(eq(int, dynmem_host_receive(w->host, m.bytes, m.size, w->now_ns), 0));
	w->guest_end.stalled_until_ns = w->now_ns + 3 * S;
	while (w->ready_ns == 0)
		world_step(w);
	cr_expect(ge(u64, w->now_ns - world_host_status(w).report_ns, 3 * S));
	world_step(w);
	world_fini(w);
}

/* Longer than the first budget: it is asked a few times, and served when there is time enough. */
Test(dynmem_scenario, a_host_that_takes_half_a_minute_for_each_answer_is_waited_for)
{
	struct world *w = &the_world;
	uint64_t closes = UINT64_MAX;

	world_init(w, world_first_seed(), &world_calm);
	while (world_guest_status(w).state != DYNMEM_STATE_READY) {
		if (w->closes != closes) /* each channel is noticed half a minute after it was opened */
			w->host_end.stalled_until_ns = w->now_ns + 30 * S;
		closes = w->closes;
		world_step(w);
		cr_assert(le(u64, w->closes, 3));
	}
	cr_expect(eq(u64, w->closes, 3), "5, 10 and 20 s were too short, 40 s were not");
	w->ready_ns = 0; /* this host is slow with all it reads */
	world_come_to_rest(w);
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 1000);
	cr_expect(eq(u64, world_host_status(w).ballooned_pages, 1000));
	world_fini(w);
}

/* Some of everything, with a channel that goes away at step @at; true if there was such a step. */
static bool converse_without(uint64_t at, uint64_t away_ns)
{
	struct world *w = &the_world;
	bool was_there;

	world_init(w, world_first_seed(), &world_calm);
	w->close_at = at;
	w->away_ns = away_ns;
	world_come_to_rest(w);
	insist(w, DYNMEM_HOST_BALLOON, 1500);
	insist(w, DYNMEM_HOST_UNBALLOON, 700);
	insist(w, DYNMEM_HOST_BALLOON, 300);
	insist(w, DYNMEM_HOST_HOT_ADD, 3 * UNIT_PAGES);
	insist(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
	was_there = w->steps >= at;
	cr_expect(eq(u64, w->closes, was_there));
	cr_expect(eq(u64, world_host_status(w).ballooned_pages, 0));
	cr_expect(eq(u64, world_guest_status(w).ballooned_pages, 0));
	cr_expect(eq(u64, world_host_status(w).added_pages, 3 * UNIT_PAGES));
	cr_expect(eq(u64, w->added_pages, 3 * UNIT_PAGES));
	cr_expect(eq(u64, world_host_status(w).stats.unexpected, 0));
	cr_expect(eq(u64, world_guest_status(w).stats.unexpected, 0));

	/* What the lost host had can be used again. */
	cr_assert(eq(int, dynmem_release(w->guest), 0));
	world_come_to_rest(w);
	for (size_t i = 0; i < N_PAGES; i++)
		cr_assert(not(w->out_of_use[i]));
	world_fini(w);
	return was_there;
}

Test(dynmem_scenario, taken_away_at_each_step_and_offered_again_it_goes_on, .timeout = 300)
{
	static const uint64_t away_ns[] = {0, 30 * S};

	for (size_t i = 0; i < 2; i++) {
		uint64_t at = 1;

		while (converse_without(at, away_ns[i]))
			at++;
		cr_expect(gt(u64, at, 10));
	}
}

/* A host that accepts only old versions is asked for one after the other. */
Test(dynmem_scenario, an_old_host_and_a_new_guest_agree)
{
	static const struct {
		uint32_t min, max, agreed;
	} rows[] = {
		{DYNMEM_VERSION_0_3, DYNMEM_VERSION_2_0, DYNMEM_VERSION_2_0},
		{DYNMEM_VERSION_0_3, DYNMEM_VERSION_1_0, DYNMEM_VERSION_1_0},
		{DYNMEM_VERSION_0_3, DYNMEM_VERSION_0_3, DYNMEM_VERSION_0_3},
		{0x30000, 0x30000, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dynmem_host_config config;
		struct world *w = &the_world;

		world_init(w, world_first_seed(), &world_calm);
		dynmem_host_free(w->host);
		dynmem_host_config_init(&config);
		config.version_min = rows[i].min;
		config.version_max = rows[i].max;
		cr_assert(eq(int, dynmem_host_new(&config, &w->host), 0));
		dynmem_host_open(w->host);
		for (int j = 0; j < 100 && w->closes == 0; j++)
			world_step(w);
		if (rows[i].agreed) {
			world_come_to_rest(w);
			cr_expect(eq(u32, world_guest_status(w).version, rows[i].agreed));
			cr_expect(eq(u32, world_host_status(w).version, rows[i].agreed));
		} else {
			cr_expect(eq(u64, w->closes, 1));
		}
		world_fini(w);
	}
}
