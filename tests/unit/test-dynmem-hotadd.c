/* SPDX-License-Identifier: MIT */

/*
 * balloon/dynmem.c: memory that is added, by example; what cannot be added; and the pages of a host
 * that is gone.
 */

#include "tests/unit/dynmem.h"

enum {
	UNIT_PAGES = 128 * 256, /* 128 MiB, the alignment that the machine announces */
	FIRST_PFN = 0x100000,
};

/* The last unit below 40 bits, and as many pages again behind it: no encoder writes that. */
static int request_beyond(struct dynmem *dm)
{
	struct dynmem_hot_add_request request = {
		.range = {(UINT64_C(1) << 40) - UNIT_PAGES, UNIT_PAGES},
	};
	struct dynmem_message m;

	dynmem_encode_hot_add_request(&m, 0, &request);
	m.bytes[14] *= 2; /* the count, in bits 40 to 63 of the range */
	return receive(dm, &m, START_MS * MS);
}

static int request(struct dynmem *dm, struct page_range range, const struct page_range *region)
{
	struct dynmem_hot_add_request request = {.range = range};
	struct dynmem_message m;

	if (region) {
		request.has_region = true;
		request.region = *region;
	}
	dynmem_encode_hot_add_request(&m, 0, &request);
	return receive(dm, &m, START_MS * MS);
}

static void expect_answer(struct dynmem *dm, uint32_t id, uint32_t pages, uint32_t result)
{
	struct dynmem_hot_add_response response = {.pages = pages, .result = result};
	struct dynmem_message m;

	dynmem_encode_hot_add_response(&m, id, &response);
	expect_sent(dm, &m);
}

/* What was added, what it was answered. */
static const struct {
	uint64_t added;
	bool for_good;
	uint32_t result;
} outcomes[] = {
	{2 * UNIT_PAGES, false, DYNMEM_HOT_ADD_DONE},
	{UNIT_PAGES, false, DYNMEM_HOT_ADD_DONE},
	{0, false, DYNMEM_HOT_ADD_LATER},
	{0, true, DYNMEM_HOT_ADD_DONE},
};

Test(dynmem_hotadd, what_was_added_is_answered_and_a_refusal_is_for_now_or_for_good)
{
	for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
		struct page_range range = {FIRST_PFN, 2 * UNIT_PAGES};
		struct dynmem *dm = new_adder();
		struct dynmem_action action;

		start(dm);
		cr_assert(eq(int, request(dm, range, &range), 0));
		action = expect_action(dm, DYNMEM_ACTION_HOT_ADD);
		cr_expect(eq(u64, action.hot_add.range.first, FIRST_PFN));
		cr_expect(eq(u64, action.hot_add.range.count, 2 * UNIT_PAGES));
		cr_expect(action.hot_add.has_region);
		cr_expect(not(action.again));
		expect_idle(dm);
		dynmem_complete_hot_add(dm, outcomes[i].added, outcomes[i].for_good, START_MS * MS);
		expect_answer(dm, 3, outcomes[i].added, outcomes[i].result);
		cr_expect(eq(int, state_of(dm), DYNMEM_STATE_READY));
		cr_expect(eq(u64, stats_of(dm).hot_added_pages, outcomes[i].added));
		dynmem_free(dm);
	}
}

Test(dynmem_hotadd, the_end_of_a_range_that_is_no_whole_unit_is_left_out)
{
	struct page_range range = {FIRST_PFN, UNIT_PAGES + 77};
	struct dynmem *dm = new_adder();

	start(dm);
	cr_assert(eq(int, request(dm, range, NULL), 0));
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_HOT_ADD).hot_add.range.count, UNIT_PAGES));
	dynmem_complete_hot_add(dm, UNIT_PAGES, false, START_MS * MS);
	expect_answer(dm, 3, UNIT_PAGES, DYNMEM_HOT_ADD_DONE);
	dynmem_free(dm);
}

static const struct {
	const char *what;
	struct page_range range;
	bool has_region;
	struct page_range region;
} bad_rows[] = {
	{"no pages", {FIRST_PFN, 0}, false, {0}},
	{"less than a unit", {FIRST_PFN, UNIT_PAGES - 1}, false, {0}},
	{"not aligned", {FIRST_PFN + 1, UNIT_PAGES}, false, {0}},
	{"before the region", {FIRST_PFN, UNIT_PAGES}, true, {FIRST_PFN + 1, 4 * UNIT_PAGES}},
	{"behind the region", {FIRST_PFN, UNIT_PAGES}, true, {0, FIRST_PFN}},
	{"larger than the region", {FIRST_PFN, 2 * UNIT_PAGES}, true, {FIRST_PFN, UNIT_PAGES}},
	{"across the region's end", {FIRST_PFN, UNIT_PAGES}, true, {FIRST_PFN - 7, UNIT_PAGES}},
	{"an empty region", {FIRST_PFN, UNIT_PAGES}, true, {FIRST_PFN, 0}},
	{"memory of the balloon", {0, UNIT_PAGES}, false, {0}},
};

Test(dynmem_hotadd, a_range_that_cannot_be_is_refused_for_now_counted_and_noted_once)
{
	struct page_range pages[] = {{100, 10}};

	for (size_t i = 0; i < sizeof(bad_rows) / sizeof(bad_rows[0]); i++) {
		struct dynmem *dm = new_adder();
		uint32_t id = 4;

		start(dm);
		balloon(dm, pages, 1); /* uses an id */
		for (int j = 0; j < 2; j++) {
			cr_assert(eq(int, request(dm, bad_rows[i].range,
						  bad_rows[i].has_region ? &bad_rows[i].region : NULL),
				     0), "%s", bad_rows[i].what);
			if (j == 0)
				cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_NOTE).note,
					     DYNMEM_NOTE_HOT_ADD_RANGE), "%s", bad_rows[i].what);
			expect_answer(dm, id++, 0, DYNMEM_HOT_ADD_LATER);
			expect_idle(dm);
		}
		cr_expect(eq(u64, stats_of(dm).hot_add_bad, 2), "%s", bad_rows[i].what);
		cr_expect(eq(int, state_of(dm), DYNMEM_STATE_READY));
		dynmem_free(dm);
	}
}

Test(dynmem_hotadd, a_range_beyond_40_bits_is_refused)
{
	struct dynmem *dm = new_adder();

	start(dm);
	cr_assert(eq(int, request_beyond(dm), 0));
	expect_answer(dm, 3, 0, DYNMEM_HOT_ADD_LATER);
	cr_expect(eq(u64, stats_of(dm).hot_add_bad, 1));
	dynmem_free(dm);
}

Test(dynmem_hotadd, requests_while_memory_is_added_are_refused_or_wait)
{
	struct page_range range = {FIRST_PFN, UNIT_PAGES}, pages[] = {{100, 10}};
	struct dynmem *dm = new_adder();

	start(dm);
	balloon(dm, pages, 1);
	cr_assert(eq(int, request(dm, range, NULL), 0));
	expect_action(dm, DYNMEM_ACTION_HOT_ADD);
	cr_expect(eq(int, request(dm, range, NULL), DYNMEM_UNEXPECTED));
	expect_answer(dm, 4, 0, DYNMEM_HOT_ADD_LATER);
	cr_expect(eq(int, request_balloon(dm, 5), DYNMEM_UNEXPECTED));
	cr_expect(eq(int, request_unballoon(dm, false, pages, 1), 0));
	expect_idle(dm);
	dynmem_complete_hot_add(dm, UNIT_PAGES, false, START_MS * MS);
	expect_answer(dm, 5, UNIT_PAGES, DYNMEM_HOT_ADD_DONE);
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).ranges[0].count, 10));
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 6);
	expect_balloon_response(dm, 7, false, NULL, 0);
	expect_idle(dm);
	dynmem_free(dm);
}

Test(dynmem_hotadd, the_next_host_that_asks_for_what_may_be_there_is_believed)
{
	struct page_range range = {FIRST_PFN, UNIT_PAGES}, next = {FIRST_PFN + UNIT_PAGES, UNIT_PAGES};
	struct dynmem *dm = new_adder();

	start(dm);
	cr_assert(eq(int, request(dm, range, NULL), 0));
	expect_action(dm, DYNMEM_ACTION_HOT_ADD);
	dynmem_close(dm);
	cr_expect(eq(int, dynmem_open(dm, START_MS * MS), DYNMEM_BUSY));
	dynmem_complete_hot_add(dm, UNIT_PAGES, false, START_MS * MS);
	start(dm);
	cr_assert(eq(int, request(dm, range, NULL), 0));
	cr_expect(expect_action(dm, DYNMEM_ACTION_HOT_ADD).again);
	dynmem_complete_hot_add(dm, UNIT_PAGES, false, START_MS * MS);
	expect_action(dm, DYNMEM_ACTION_SEND);
	cr_assert(eq(int, request(dm, next, NULL), 0));
	cr_expect(not(expect_action(dm, DYNMEM_ACTION_HOT_ADD).again));
	dynmem_free(dm);
}

Test(dynmem_unreported, the_next_host_gets_first_what_the_last_one_had)
{
	struct page_range pages[] = {{100, 10}, {200, 10}}, top[] = {{205, 5}}, rest[] = {{300, 5}};
	struct page_range all[] = {{200, 5}, {100, 10}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	balloon(dm, pages, 2);
	dynmem_close(dm);
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 0));
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 20));
	start(dm);

	/* A part of it, without taking anything. */
	cr_assert(eq(int, request_balloon(dm, 5), 0));
	expect_balloon_response(dm, 6, false, top, 1);
	expect_idle(dm);
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 15));

	/* The rest, told at once, and then what is taken anew. */
	cr_assert(eq(int, request_balloon(dm, 20), 0));
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_TAKE_PAGES).pages, 5));
	expect_balloon_response(dm, 7, true, all, 2);
	expect_idle(dm);
	cr_assert(eq(int, dynmem_complete_take(dm, rest, 1, true, START_MS * MS), 0));
	expect_balloon_response(dm, 8, false, rest, 1);
	expect_idle(dm);
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 0));
	cr_expect(eq(u64, stats_of(dm).pages_reused, 20));
	dynmem_free(dm);
}

Test(dynmem_unreported, what_is_released_is_put_back_into_use_with_or_without_a_host)
{
	struct page_range pages[] = {{100, 10}};

	for (int is_open = 0; is_open < 2; is_open++) {
		struct dynmem *dm = new_machine(510, 64);

		start(dm);
		balloon(dm, pages, 1);
		dynmem_close(dm);
		if (is_open)
			start(dm);
		cr_assert(eq(int, dynmem_release(dm), 0));
		cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).ranges[0].count, 10));
		cr_expect(eq(u64, dynmem_unreported(dm)->pages, 0));
		dynmem_complete_return(dm, START_MS * MS);
		expect_idle(dm);
		cr_assert(eq(int, dynmem_release(dm), 0));
		expect_idle(dm);
		dynmem_free(dm);
	}
}

Test(dynmem_unreported, they_are_never_taken_a_second_time_nor_accepted_back)
{
	struct page_range pages[] = {{100, 10}}, other[] = {{200, 10}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	balloon(dm, pages, 1);
	dynmem_close(dm);
	start(dm);
	cr_assert(eq(int, request_unballoon(dm, false, pages, 1), 0));
	cr_expect(eq(u64, stats_of(dm).foreign_pages, 10));
	expect_unballoon_response(dm, 6);
	cr_assert(eq(int, request_balloon(dm, 20), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_expect(eq(int, dynmem_complete_take(dm, pages, 1, false, START_MS * MS), DYNMEM_UNUSABLE));
	cr_expect(eq(int, dynmem_complete_take(dm, other, 1, true, START_MS * MS), 0));
	dynmem_free(dm);
}

/* A host that guesses would otherwise be told later that it has pages that are in use by then. */
Test(dynmem_unreported, a_page_that_the_host_was_not_told_of_is_not_its_to_give_back)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 10), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, pages, 1, true, START_MS * MS), 0));
	cr_assert(eq(int, request_unballoon(dm, true, pages, 1), 0)); /* not told */
	cr_expect(eq(u64, stats_of(dm).foreign_pages, 10));
	expect_action(dm, DYNMEM_ACTION_NOTE);
	expect_balloon_response(dm, 3, false, pages, 1);
	cr_assert(eq(int, request_unballoon(dm, true, pages, 1), 0)); /* it may not be sent yet */
	cr_expect(eq(u64, stats_of(dm).foreign_pages, 20));
	expect_idle(dm);
	cr_assert(eq(int, request_unballoon(dm, false, pages, 1), 0)); /* told */
	cr_expect(eq(u64, stats_of(dm).foreign_pages, 20));
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).ranges[0].count, 10));
	dynmem_free(dm);
}
