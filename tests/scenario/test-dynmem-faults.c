/* SPDX-License-Identifier: MIT */

/*
 * Dynamic memory, both ends, with a host that does wrong: one fault after the other, in calm, and
 * all of them by chance among all else that can happen.
 *
 * The property: for any sequence of requests, faults, closes, kills and successors, the pages that
 * are ballooned in the guest are those that the host has, whenever nothing is under way; at no time
 * has the host a page that is in use; and without a channel every page that is out of use is
 * unreported, or on its way back. The world checks it after each step.
 */

#include "tests/scenario/dynmem-world.h"

enum {
	ROUNDS = 25,
	STEPS = 500,
};

static const struct faults anything = {
	.stall = 20, .late = 100, .partial = 100, .malformed = 30, .strange = 30, .close = 5,
	.release = 5, .wrong = 60, .kill = 5,
};

static struct world the_world;

static struct dynmem_stats guest_stats(const struct world *w)
{
	return world_guest_status(w).stats;
}

/* The host does @fault, and whatever follows from it comes to an end. */
static void do_wrong(struct world *w, enum dynmem_fault fault)
{
	cr_assert(eq(int, dynmem_host_inject(w->host, fault, w->now_ns), 0));
	world_come_to_rest(w);
}

static void start(struct world *w)
{
	world_init(w, world_first_seed(), &world_calm);
	world_come_to_rest(w);
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 1000);
}

/* What each fault is counted as, and what the host has afterwards. */
static const struct {
	enum dynmem_fault fault;
	uint64_t malformed, unexpected, unknown, clipped, foreign_pages, hot_add_bad;
	uint64_t left_pages; /* of 1000, at least: what is given back lies in one range */
} rows[] = {
	{.fault = DYNMEM_FAULT_FOREIGN, .foreign_pages = 1000, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_OVERLAP, .foreign_pages = 1, .left_pages = 992},
	{.fault = DYNMEM_FAULT_EMPTY, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_COUNT, .clipped = 1, .left_pages = 992},
	{.fault = DYNMEM_FAULT_SHORT, .malformed = 1, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_UNKNOWN, .unknown = 1, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_INFO, .unknown = 1, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_ANSWER, .unexpected = 1, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_NOTHING, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_UNALIGNED, .hot_add_bad = 1, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_EXISTING, .hot_add_bad = 1, .left_pages = 1000},
	{.fault = DYNMEM_FAULT_REGION, .hot_add_bad = 1, .left_pages = 1000},
};

Test(dynmem_faults, each_fault_is_counted_for_what_it_is_and_answered_if_it_can_be)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *name = dynmem_fault_name(rows[i].fault);
		struct world *w = &the_world;
		struct dynmem_stats s;

		start(w);
		do_wrong(w, rows[i].fault);
		s = guest_stats(w);
		cr_expect(eq(u64, s.malformed, rows[i].malformed), "%s", name);
		cr_expect(eq(u64, s.unexpected, rows[i].unexpected), "%s", name);
		cr_expect(eq(u64, s.unknown, rows[i].unknown), "%s", name);
		cr_expect(eq(u64, s.clipped, rows[i].clipped), "%s", name);
		cr_expect(ge(u64, s.foreign_pages, rows[i].foreign_pages), "%s", name);
		cr_expect(eq(u64, s.hot_add_bad, rows[i].hot_add_bad), "%s", name);
		cr_expect(ge(u64, world_guest_status(w).ballooned_pages, rows[i].left_pages), "%s",
			  name);
		cr_expect(eq(u64, world_host_status(w).stats.unexpected, 0), "%s", name);
		cr_expect(eq(u64, world_host_status(w).stats.violations, 0), "%s", name);

		/* And life goes on. */
		world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
		cr_expect(eq(u64, world_guest_status(w).ballooned_pages, 0), "%s", name);
		world_fini(w);
	}
}

Test(dynmem_faults, a_request_that_is_late_lost_or_doubled_is_obeyed_once)
{
	static const enum dynmem_host_operation_kind kinds[] = {
		DYNMEM_HOST_BALLOON, DYNMEM_HOST_UNBALLOON, DYNMEM_HOST_HOT_ADD,
	};

	for (enum dynmem_fault fault = DYNMEM_FAULT_LATE; fault <= DYNMEM_FAULT_DUPLICATE; fault++) {
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
			struct world *w = &the_world;

			start(w);
			do_wrong(w, fault);
			world_request_and_rest(w, kinds[i], 2 * UNIT_PAGES);
			cr_expect(eq(u64, world_host_status(w).operation.done_pages, 2 * UNIT_PAGES),
				  "%s, kind %d", dynmem_fault_name(fault), kinds[i]);
			cr_expect(eq(u64, world_host_status(w).stats.violations, 0));
			cr_expect(eq(u64, world_host_status(w).stats.unexpected, 0));
			world_fini(w);
		}
	}
}

Test(dynmem_faults, a_request_behind_another_is_refused_and_never_started_twice)
{
	struct world *w = &the_world;

	start(w);
	do_wrong(w, DYNMEM_FAULT_DUPLICATE);
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 500);
	cr_expect(eq(u64, guest_stats(w).overlaps, 1));
	cr_expect(eq(u64, world_guest_status(w).ballooned_pages, 1500));
	world_fini(w);
}

Test(dynmem_faults, memory_is_added_in_order_until_the_window_is_full)
{
	struct world *w = &the_world;

	start(w);
	world_request_and_rest(w, DYNMEM_HOST_HOT_ADD, 3 * UNIT_PAGES + 17);
	cr_expect(eq(u64, world_host_status(w).added_pages, 3 * UNIT_PAGES));
	world_request_and_rest(w, DYNMEM_HOST_HOT_ADD, UINT64_MAX);
	cr_expect(eq(u64, w->added_pages, WINDOW_PAGES));
	cr_expect(eq(int, dynmem_host_request(w->host, DYNMEM_HOST_HOT_ADD, 1, w->now_ns),
		     DYNMEM_HOST_NOTHING));
	cr_expect(eq(u64, guest_stats(w).hot_added_pages, WINDOW_PAGES));
	world_fini(w);
}

Test(dynmem_faults, what_a_lost_host_had_is_given_to_the_next_one_untouched)
{
	struct world *w = &the_world;
	bool before[N_PAGES];

	start(w);
	memcpy(before, w->out_of_use, sizeof(before));
	world_disconnect(w);
	cr_expect(eq(u64, world_guest_status(w).unreported_pages, 1000));
	world_come_to_rest(w);
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 600);
	cr_expect(eq(u64, world_guest_status(w).unreported_pages, 400));
	cr_expect(eq(u64, guest_stats(w).pages_reused, 600));
	cr_expect(eq(int, memcmp(before, w->out_of_use, sizeof(before)), 0));
	world_request_and_rest(w, DYNMEM_HOST_BALLOON, 500);
	cr_expect(eq(u64, world_guest_status(w).unreported_pages, 0));
	cr_expect(eq(u64, world_host_status(w).ballooned_pages, 1100));
	cr_expect(eq(u64, guest_stats(w).pages_taken, 1100));
	world_fini(w);
}

Test(dynmem_faults, whatever_happens_both_ends_have_the_same_pages, .timeout = 300)
{
	uint64_t wrongs = 0, deaths = 0, closes = 0, operations = 0, added = 0, reused = 0;
	struct world *w = &the_world;

	for (unsigned int round = 0; round < WORLD_ONCE_FAILED + ROUNDS; round++) {
		world_init(w, world_seed(round), &anything);
		for (int i = 0; i < STEPS; i++) {
			world_want_something(w);
			world_step(w);
		}
		world_come_to_rest(w);
		if (world_host_status(w).ballooned_pages > 0)
			world_request_and_rest(w, DYNMEM_HOST_UNBALLOON, UINT64_MAX);
		cr_assert(eq(u64, world_guest_status(w).ballooned_pages, 0));
		wrongs += w->wrongs;
		deaths += w->deaths;
		closes += w->closes;
		operations += w->operations;
		added += w->added_pages;
		reused += guest_stats(w).pages_reused;
		world_fini(w);
	}

	/* The run was as bad as it was meant to be. */
	cr_expect(gt(u64, wrongs, ROUNDS));
	cr_expect(gt(u64, deaths, ROUNDS));
	cr_expect(gt(u64, closes, 0));
	cr_expect(gt(u64, operations, ROUNDS));
	cr_expect(gt(u64, added, 0));
	cr_expect(gt(u64, reused, 0));
}
