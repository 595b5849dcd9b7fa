/* SPDX-License-Identifier: MIT */

/*
 * balloon/dynmem_record.c and what it rests on, the books and their replay: a restored machine goes
 * on as the recorded one would have, in each state and at each place of a message.
 */

#include "tests/unit/dynmem.h"

#include "balloon/dynmem_area.h"
#include "balloon/dynmem_record.h"

enum {
	RANGES_MAX = 64,
};

static uint8_t *area;
static size_t area_bytes;
static const struct dynmem_positions here = {.in = 11, .out = 22};

/* One that reports nothing for a while. */
static struct dynmem *new_quiet_machine(size_t ranges_per_message)
{
	struct dynmem_config config = machine_config(ranges_per_message, RANGES_MAX);
	struct dynmem *dm;

	config.first_status_ns = S;
	config.can_hot_add = true;
	cr_assert(eq(int, dynmem_new(&config, &dm), 0));
	return dm;
}

/* Begins to record @dm in an area of its own. */
static void record(struct dynmem *dm)
{
	area_bytes = dynmem_record_bytes(RANGES_MAX);
	area = calloc(1, area_bytes);
	cr_assert(ne(ptr, area, NULL));
	dynmem_record_start(dm, area, area_bytes, &here);
}

/* The daemon of @dm dies and is followed by another one. */
static struct dynmem *succeed(struct dynmem *dm)
{
	struct dynmem_config config = machine_config(510, RANGES_MAX);
	struct dynmem_positions recorded;
	struct dynmem *next;

	config.can_hot_add = true;
	dynmem_free(dm);
	cr_assert(eq(int, dynmem_restore(&config, area, area_bytes, START_MS * MS, &next, &recorded),
		     0));
	cr_expect(eq(u32, recorded.in, here.in));
	return next;
}

/* The same, with the channel still open and what was handed out in the ring. */
static struct dynmem *succeed_and_resume(struct dynmem *dm)
{
	dm = succeed(dm);
	dynmem_resume(dm, here.out + 1, START_MS * MS);
	return dm;
}

static void finish(struct dynmem *dm)
{
	dynmem_free(dm);
	free(area);
}

Test(dynmem_record, an_area_without_a_record_says_so)
{
	struct dynmem_config config = machine_config(510, RANGES_MAX);
	struct dynmem_positions recorded;
	struct dynmem *dm;

	area_bytes = dynmem_record_bytes(RANGES_MAX);
	area = calloc(1, area_bytes);
	cr_expect(eq(int, dynmem_restore(&config, area, area_bytes, 0, &dm, &recorded),
		     DYNMEM_RECORD_NONE));
	area[5] = 1;
	cr_expect(eq(int, dynmem_restore(&config, area, area_bytes, 0, &dm, &recorded),
		     DYNMEM_RECORD_BAD));
	cr_expect(eq(int, dynmem_restore(&config, area, area_bytes - 1, 0, &dm, &recorded),
		     DYNMEM_RECORD_BAD));
	free(area);
}

Test(dynmem_record, each_state_is_restored_with_what_belongs_to_it)
{
	for (enum dynmem_state state = 0; state < DYNMEM_N_STATES; state++) {
		struct dynmem *dm = machine_in(state);
		struct dynmem_status before, after;

		record(dm);
		dynmem_get_status(dm, &before);
		dm = succeed(dm);
		dynmem_get_status(dm, &after);
		cr_expect(eq(int, after.state, state));
		cr_expect(eq(u32, after.version, before.version));
		cr_expect(eq(u64, after.ballooned_pages, before.ballooned_pages));
		cr_expect(eq(u64, after.returning_pages, before.returning_pages));
		cr_expect(eq(int, after.operation.kind, before.operation.kind));
		cr_expect(eq(u64, after.operation.asked_pages, before.operation.asked_pages));
		cr_expect(eq(int, memcmp(&after.stats, &before.stats, sizeof(before.stats)), 0));
		finish(dm);
	}
}

Test(dynmem_record, a_message_that_is_not_in_the_ring_is_sent_once_more_and_no_other)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem_message sent;
	struct dynmem *dm = new_quiet_machine(510);

	record(dm);
	start(dm);
	cr_assert(eq(int, request_balloon(dm, 10), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, pages, 1, true, START_MS * MS), 0));
	sent = *expect_action(dm, DYNMEM_ACTION_SEND).message;
	dynmem_commit(dm, &here);

	/* Not there: the same message, byte for byte, however often the daemon dies. */
	dm = succeed(dm);
	dynmem_resume(dm, here.out, START_MS * MS);
	dynmem_commit(dm, &(struct dynmem_positions){here.in, here.out});
	dm = succeed(dm);
	dynmem_resume(dm, here.out, START_MS * MS);
	expect_sent(dm, &sent);
	expect_idle(dm);

	/* There: it is passed over. */
	dynmem_free(dm);
	dm = succeed(NULL);
	dynmem_resume(dm, here.out + 40, START_MS * MS);
	expect_idle(dm);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_READY));
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 10));

	/* The ids go on where they were. */
	cr_assert(eq(int, request_balloon(dm, 0), 0));
	expect_balloon_response(dm, 4, false, NULL, 0);
	finish(dm);
}

Test(dynmem_record, a_message_that_waits_for_room_keeps_its_place)
{
	struct dynmem *dm = new_quiet_machine(510);

	record(dm);
	start(dm);
	cr_assert(eq(int, request_balloon(dm, 0), 0));
	expect_action(dm, DYNMEM_ACTION_SEND);
	dynmem_commit(dm, &here);
	/* It was written meanwhile; something came; nothing was asked for. */
	dynmem_commit(dm, &(struct dynmem_positions){here.in, here.out + 40});
	dm = succeed(dm);
	dynmem_resume(dm, here.out + 40, START_MS * MS);
	expect_idle(dm);
	finish(dm);
}

Test(dynmem_record, the_rest_of_a_balloon_is_taken_by_the_successor)
{
	struct page_range first[] = {{100, 10}}, rest[] = {{200, 20}};
	struct dynmem *dm = new_quiet_machine(510);

	record(dm);
	start(dm);
	cr_assert(eq(int, request_balloon(dm, 30), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, first, 1, false, START_MS * MS), 0));
	dynmem_commit(dm, &here);
	dm = succeed_and_resume(dm);
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_TAKE_PAGES).pages, 20));
	expect_balloon_response(dm, 3, true, first, 1);
	cr_assert(eq(int, dynmem_complete_take(dm, rest, 1, true, START_MS * MS), 0));
	expect_balloon_response(dm, 4, false, rest, 1);
	finish(dm);
}

Test(dynmem_record, a_sequence_that_is_half_received_is_answered_once)
{
	struct page_range pages[] = {{100, 20}}, a[] = {{100, 5}}, b[] = {{105, 5}};
	struct dynmem *dm = new_quiet_machine(510);

	record(dm);
	start(dm);
	balloon(dm, pages, 1);
	cr_assert(eq(int, request_unballoon(dm, true, a, 1), 0));
	dynmem_commit(dm, &here);
	dm = succeed_and_resume(dm);
	expect_idle(dm);
	cr_assert(eq(int, request_unballoon(dm, false, b, 1), 0));
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).ranges[0].count, 10));

	/* While they are returned it dies again: they are returned once more, and then answered. */
	dynmem_commit(dm, &here);
	dm = succeed_and_resume(dm);
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).ranges[0].count, 10));
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 4);
	expect_idle(dm);
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 10));
	finish(dm);
}

Test(dynmem_record, a_hot_add_that_was_under_way_is_asked_for_again_and_says_so)
{
	struct dynmem *dm = new_quiet_machine(510);
	struct dynmem_action action;

	record(dm);
	start(dm);
	cr_assert(eq(int, request_hot_add(dm), 0));
	cr_expect(not(expect_action(dm, DYNMEM_ACTION_HOT_ADD).again));
	dynmem_commit(dm, &here);
	dm = succeed_and_resume(dm);
	action = expect_action(dm, DYNMEM_ACTION_HOT_ADD);
	cr_expect(action.again);
	cr_expect(eq(u64, action.hot_add.range.first, 0x100000));
	finish(dm);
}

Test(dynmem_record, pages_that_were_taken_and_not_recorded_are_put_back)
{
	struct page_range pages[] = {{100, 10}}, held[] = {{100, 10}, {300, 5}};
	struct dynmem *dm = new_quiet_machine(510);
	struct dynmem_action action;
	uint64_t lost_pages;

	record(dm);
	start(dm);
	balloon(dm, pages, 1);
	dynmem_commit(dm, &here);
	dm = succeed(dm);
	cr_assert(eq(int, dynmem_reconcile(dm, held, 2, &lost_pages), 0));
	cr_expect(eq(u64, lost_pages, 0));
	dynmem_resume(dm, here.out + 1, START_MS * MS);
	action = expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	cr_expect(eq(sz, action.n_ranges, 1));
	cr_expect(eq(u64, action.ranges[0].first, 300));
	cr_expect(eq(u64, action.ranges[0].count, 5));
	dynmem_complete_return(dm, START_MS * MS);
	expect_idle(dm);
	finish(dm);
}

Test(dynmem_record, without_a_record_all_that_is_held_is_unreported)
{
	struct page_range held[] = {{100, 10}, {300, 5}};
	struct dynmem *dm = new_quiet_machine(510);
	uint64_t lost_pages;

	record(dm);
	cr_assert(eq(int, dynmem_reconcile(dm, held, 2, &lost_pages), 0));
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 15));
	dynmem_commit(dm, &here);
	dm = succeed(dm);
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 15));
	finish(dm);
}

Test(dynmem_record, pages_that_are_gone_are_counted_and_leave_the_balloon)
{
	struct page_range pages[] = {{100, 10}, {200, 10}}, held[] = {{104, 6}, {200, 5}};
	struct dynmem *dm = new_quiet_machine(510);
	uint64_t lost_pages;

	record(dm);
	start(dm);
	balloon(dm, pages, 2);
	dynmem_commit(dm, &here);
	dm = succeed(dm);
	cr_assert(eq(int, dynmem_reconcile(dm, held, 2, &lost_pages), 0));
	cr_expect(eq(u64, lost_pages, 9));
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 11));
	dynmem_close(dm);
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 11));
	finish(dm);
}

/* A record that is written entry by entry, and anew when the log is full, says the same. */
Test(dynmem_record, the_sets_survive_any_number_of_changes)
{
	struct dynmem *dm = new_quiet_machine(3);
	struct dynmem_status before, after;
	unsigned int seed = 1;

	record(dm);
	start(dm);
	for (int i = 0; i < 3000; i++) {
		struct page_range range = {1000 + rand_r(&seed) % 400, 1 + rand_r(&seed) % 20};

		if (i % 2) {
			cr_assert(ge(int, request_unballoon(dm, false, &range, 1), 0));
		} else if (request_balloon(dm, range.count) == 0) {
			expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
			(void)!dynmem_complete_take(dm, &range, 1, true, START_MS * MS);
		}
		for (struct dynmem_action action; dynmem_next_action(dm, &action) == 0;)
			if (action.type == DYNMEM_ACTION_RETURN_PAGES)
				dynmem_complete_return(dm, START_MS * MS);
		dynmem_commit(dm, &here);
		if (i % 50)
			continue;
		dynmem_get_status(dm, &before);
		dm = succeed_and_resume(dm);
		dynmem_get_status(dm, &after);
		cr_assert(eq(u64, before.ballooned_pages, after.ballooned_pages));
		cr_assert(eq(int, after.state, DYNMEM_STATE_READY));
	}
	cr_expect(gt(u64, stats_of(dm).pages_returned, 1000));
	finish(dm);
}

Test(dynmem_record, a_clock_that_went_back_does_not_silence_the_reports)
{
	struct dynmem_config config = machine_config(510, RANGES_MAX);
	struct dynmem *dm = new_quiet_machine(510);
	struct dynmem_positions recorded;

	record(dm);
	start(dm);
	dynmem_commit(dm, &here);
	dynmem_free(dm);
	cr_assert(eq(int, dynmem_restore(&config, area, area_bytes, 5, &dm, &recorded), 0));
	cr_expect(le(u64, dynmem_deadline_ns(dm), S + 5));
	finish(dm);
}
