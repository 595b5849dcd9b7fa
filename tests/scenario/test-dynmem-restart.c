/* SPDX-License-Identifier: MIT */

/*
 * Dynamic memory, both ends, with a daemon that is killed: at each instant of a conversation, one
 * after the other, and at random ones while much else goes wrong. The host must not notice.
 */

#include "tests/scenario/dynmem-world.h"

enum {
	ROUNDS = 12,
	STEPS = 700,
	STRANGE_STEPS = 50,
	STRANGE_PAGES = N_PAGES / 4, /* what two dead daemons had taken is not there for the third */
	ENOUGH_INSTANTS = 40,
};

static const struct faults deadly = {.kill = 20};
static const struct faults rough = {
	.stall = 20, .late = 100, .partial = 100, .malformed = 30, .strange = 30, .close = 4,
	.release = 4, .wrong = 30, .kill = 8,
};

static struct world the_world;

/* Some of everything: start, balloon in several messages, a part back, all back, memory added. */
static void converse(struct world *w)
{
	world_come_to_rest(w);
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 1500);
	cr_assert(eq(u64, world_host_status(w).operation.done_pages, 1500));
	world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, 700);
	cr_assert(eq(u64, world_host_status(w).ballooned_pages, 800));
	world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
	cr_assert(eq(u64, world_guest_status(w).ballooned_pages, 0));
	cr_assert(eq(u64, world_guest_status(w).unreported_pages, 0));
	world_request_and_rest(w, DYNMEM_HOST_HOT_ADD, 3 * UNIT_PAGES);
	cr_assert(eq(u64, w->added_pages, 3 * UNIT_PAGES));
}

static void expect_no_trouble(const struct world *w)
{
	struct dynmem_stats guest = world_guest_status(w).stats;
	struct dynmem_host_stats host = world_host_status(w).stats;

	cr_expect(eq(u64, host.malformed, 0));
	cr_expect(eq(u64, host.unexpected, 0));
	cr_expect(eq(u64, host.violations, 0));
	cr_expect(eq(u64, guest.malformed, 0));
	cr_expect(eq(u64, guest.unexpected, 0));
	cr_expect(eq(u64, guest.foreign_pages, 0));
	cr_expect(eq(u64, guest.overlaps, 0));
}

Test(dynmem_restart, killed_at_any_instant_the_daemon_goes_on_and_the_host_sees_nothing,
     .timeout = 300)
{
	struct world *w = &the_world;
	uint64_t instant = 0;
	bool died;

	do {
		world_init(w, world_first_seed(), &world_calm);
		w->kill_at = ++instant;
		converse(w);
		expect_no_trouble(w);
		cr_expect(eq(u64, w->closes, 0));
		died = w->deaths > 0;
		world_fini(w);
	} while (died);
	cr_expect(gt(u64, instant, ENOUGH_INSTANTS));
}

/*
 * A daemon that dies at @instant of taking pages, and its successor at instant @again of its own (0: it
 * does not), while the world puts strange messages into the rings.
 */
static bool die_among_strangers(struct world *w, uint64_t instant, uint64_t again)
{
	world_init(w, world_first_seed() + instant, &world_calm);
	world_come_to_rest(w);
	cr_assert(eq(int, dynmem_host_request(w->host, DYNMEM_HOST_BALLOON, STRANGE_PAGES, w->now_ns), 0));
	world_step(w); /* the request is on its way */
	w->kill_at = w->instants + instant;
	for (int i = 0; i < STRANGE_STEPS; i++) {
		w->faults.strange = w->dead ? 1000 : 0;
		if (w->dead && w->deaths == 1)
			w->kill_at = w->instants + again;
		world_step(w);
	}
	world_come_to_rest(w);
	cr_expect(eq(u64, world_host_status(w).ballooned_pages, STRANGE_PAGES));
	cr_expect(eq(u64, world_guest_status(w).ballooned_pages, STRANGE_PAGES));
	world_fini(w);
	return w->deaths > 0;
}

/*
 * Whether the last message went out is told by the ring's write index, which nobody but the daemon
 * moves: not even a world that otherwise puts strange messages into both rings.
 */
Test(dynmem_restart, what_was_recorded_is_sent_whatever_goes_on_while_the_daemon_is_dead,
     .timeout = 300)
{
	uint64_t instant = 0;
	bool died;

	do {
		instant++;
		for (uint64_t again = 0; again < 4; again++)
			died = die_among_strangers(&the_world, instant, again);
	} while (died && instant < ENOUGH_INSTANTS);
}

/* A report that was due while nobody lived is sent by the next daemon at once. */
Test(dynmem_restart, dead_for_long_it_reports_as_soon_as_it_lives)
{
	struct world *w = &the_world;
	struct dynmem_host_status host;

	world_init(w, world_first_seed(), &world_calm);
	world_come_to_rest(w);
	w->kill_at = w->instants + 1;
	w->dead_until_ns = w->now_ns + 10 * S;
	while (w->alive_ns == 0)
		world_step(w);
	for (int i = 0; i < 3; i++)
		world_step(w);
	host = world_host_status(w);
	cr_expect(ge(u64, host.report_ns, w->alive_ns));
	cr_expect(le(u64, host.report_ns, w->alive_ns + S));
	expect_no_trouble(w);
	world_fini(w);
}

Test(dynmem_restart, killed_again_and_again_it_loses_nothing_and_answers_once, .timeout = 300)
{
	uint64_t deaths = 0, operations = 0;
	struct world *w = &the_world;

	for (unsigned int round = 0; round < WORLD_ONCE_FAILED + ROUNDS; round++) {
		world_init(w, world_seed(round), &deadly);
		for (int i = 0; i < STEPS; i++) {
			world_want_something(w);
			world_step(w);
		}
		world_come_to_rest(w);
		expect_no_trouble(w);
		cr_expect(eq(u64, w->closes, 0));
		deaths += w->deaths;
		operations += w->operations;
		world_fini(w);
	}
	cr_expect(gt(u64, deaths, 10 * ROUNDS));
	cr_expect(gt(u64, operations, 2 * ROUNDS));
}

Test(dynmem_restart, whatever_else_goes_wrong_no_page_is_lost_or_in_use_twice, .timeout = 300)
{
	uint64_t deaths = 0, closes = 0;
	struct world *w = &the_world;

	for (unsigned int round = 0; round < WORLD_ONCE_FAILED + ROUNDS; round++) {
		world_init(w, world_seed(round), &rough);
		for (int i = 0; i < STEPS; i++) {
			world_want_something(w);
			world_step(w);
		}
		world_come_to_rest(w);
		if (world_host_status(w).ballooned_pages > 0)
			world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
		cr_assert(eq(u64, world_guest_status(w).ballooned_pages, 0));
		deaths += w->deaths;
		closes += w->closes;
		world_fini(w);
	}
	cr_expect(gt(u64, deaths, ROUNDS));
	cr_expect(gt(u64, closes, 0));
}
