/* SPDX-License-Identifier: MIT */

/*
 * balloon/dynmem.c: the conversation by example, and what a host gets that does not keep to it.
 */

#include "tests/unit/dynmem.h"

Test(dynmem, the_start_agrees_on_the_newest_version_first)
{
	struct dynmem *dm = new_machine(510, 64);
	struct dynmem_capabilities capabilities = {
		.balloon = true, .hot_add = true, .hot_add_alignment = 7,
	};
	struct dynmem_status status;
	struct dynmem_message m;

	cr_expect(eq(u64, dynmem_deadline_ns(dm), UINT64_MAX));
	expect_idle(dm);
	cr_assert(eq(int, dynmem_open(dm, START_MS * MS), 0));
	cr_expect(eq(u64, dynmem_deadline_ns(dm), START_MS * MS + 5 * S));
	expect_version_request(dm, 1, DYNMEM_VERSION_2_0, false);
	expect_idle(dm);
	answer_version(dm, true, START_MS * MS);

	dynmem_encode_capabilities(&m, 2, &capabilities);
	expect_sent(dm, &m);
	expect_idle(dm);
	answer_capabilities(dm, true, false, START_MS * MS);
	dynmem_get_status(dm, &status);
	cr_expect(eq(int, status.state, DYNMEM_STATE_READY));
	cr_expect(eq(u32, status.version, DYNMEM_VERSION_2_0));
	dynmem_free(dm);
}

Test(dynmem, refused_versions_are_followed_by_older_ones_and_then_by_closing)
{
	struct dynmem *dm = new_machine(510, 64);

	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	expect_version_request(dm, 1, DYNMEM_VERSION_2_0, false);
	answer_version(dm, false, 0);
	expect_version_request(dm, 2, DYNMEM_VERSION_1_0, false);
	answer_version(dm, false, 0);
	expect_version_request(dm, 3, DYNMEM_VERSION_0_3, true);
	answer_version(dm, false, 0);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_FAILED));
	cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_CLOSE_CHANNEL).reason,
		     DYNMEM_CLOSE_VERSION_REFUSED));
	expect_idle(dm);
	dynmem_close(dm);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_CLOSED));
	dynmem_free(dm);
}

Test(dynmem, one_budget_of_five_seconds_spans_all_version_requests)
{
	struct dynmem *dm = new_machine(510, 64);

	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	expect_version_request(dm, 1, DYNMEM_VERSION_2_0, false);
	answer_version(dm, false, 4 * S);
	expect_version_request(dm, 2, DYNMEM_VERSION_1_0, false);
	dynmem_tick(dm, 5 * S - 1);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_VERSION));
	dynmem_tick(dm, 5 * S);
	cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_CLOSE_CHANNEL).reason,
		     DYNMEM_CLOSE_VERSION_TIMEOUT));
	dynmem_free(dm);
}

Test(dynmem, the_capabilities_have_five_seconds_of_their_own)
{
	struct dynmem *dm = new_machine(510, 64);

	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_version(dm, true, 4 * S);
	expect_action(dm, DYNMEM_ACTION_SEND);
	dynmem_tick(dm, 9 * S - 1);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_CAPABILITIES));
	dynmem_tick(dm, 9 * S);
	cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_CLOSE_CHANNEL).reason,
		     DYNMEM_CLOSE_CAPABILITIES_TIMEOUT));

	dynmem_close(dm);
	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_version(dm, true, 0);
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_capabilities(dm, false, false, 0);
	cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_CLOSE_CHANNEL).reason,
		     DYNMEM_CLOSE_CAPABILITIES_REFUSED));
	dynmem_free(dm);
}

/* One handshake without an answer: how long the host has, in s. */
static uint64_t patience_s(struct dynmem *dm, uint64_t now_ns)
{
	uint64_t budget_ns;

	cr_assert(eq(int, dynmem_open(dm, now_ns), 0));
	expect_action(dm, DYNMEM_ACTION_SEND);
	budget_ns = dynmem_deadline_ns(dm) - now_ns;
	dynmem_tick(dm, now_ns + budget_ns - 1);
	expect_idle(dm);
	dynmem_tick(dm, now_ns + budget_ns);
	cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_CLOSE_CHANNEL).reason,
		     DYNMEM_CLOSE_VERSION_TIMEOUT));
	dynmem_close(dm);
	return budget_ns / S;
}

static unsigned int unanswered(const struct dynmem *dm)
{
	struct dynmem_status status;

	dynmem_get_status(dm, &status);
	return status.unanswered;
}

Test(dynmem, a_host_that_does_not_answer_has_twice_as_long_the_next_time)
{
	struct dynmem *dm = new_machine(510, 64);
	uint64_t s = 5;

	for (unsigned int i = 0; i < 13; i++, s *= i <= 10 ? 2 : 1) {
		cr_expect(eq(u32, unanswered(dm), i));
		cr_expect(eq(u64, patience_s(dm, i * 100000 * S), s));
	}

	/* It answers late, which is early enough; the capabilities have as long. */
	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_version(dm, true, 5000 * S);
	cr_expect(eq(u64, dynmem_deadline_ns(dm), (5000 + 5120) * S));
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_capabilities(dm, true, false, 10000 * S);
	cr_expect(eq(u32, unanswered(dm), 0));
	dynmem_close(dm);
	cr_expect(eq(u64, patience_s(dm, 0), 5), "the next host is asked as the first one was");
	dynmem_free(dm);
}

Test(dynmem, patience_ends_with_the_host_and_with_a_refusal)
{
	struct dynmem *dm = new_machine(510, 64);

	(void)patience_s(dm, 0);
	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	dynmem_close(dm); /* rescinded */
	cr_expect(eq(u32, unanswered(dm), 0));
	(void)patience_s(dm, 0);
	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	for (int i = 0; i < 3; i++) {
		expect_action(dm, DYNMEM_ACTION_SEND);
		answer_version(dm, false, 0);
	}
	cr_assert(eq(int, state_of(dm), DYNMEM_STATE_FAILED));
	cr_expect(eq(u32, unanswered(dm), 0));
	cr_expect(dynmem_close_is_final(expect_action(dm, DYNMEM_ACTION_CLOSE_CHANNEL).reason));
	dynmem_free(dm);
}

Test(dynmem, an_answer_to_a_request_that_was_not_sent_yet_is_unexpected)
{
	struct dynmem_version_response yes = {.accepted = true};
	struct dynmem *dm = new_machine(510, 64);
	struct dynmem_message m;

	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	dynmem_encode_version_response(&m, 1, &yes);
	cr_expect(eq(int, receive(dm, &m, 0), DYNMEM_UNEXPECTED));
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_VERSION));
	dynmem_free(dm);
}

Test(dynmem, a_status_report_is_sampled_and_sent_once_a_second)
{
	struct dynmem_status_report figures = {.available_pages = 167377,
					       .committed_pages = 151046};
	struct dynmem *dm = new_machine(510, 64);
	uint64_t now_ns = START_MS * MS;
	struct dynmem_message m;

	start(dm);
	for (uint32_t id = 3; id < 13; id++) {
		cr_assert(eq(u64, dynmem_deadline_ns(dm), now_ns));
		dynmem_tick(dm, now_ns);
		expect_action(dm, DYNMEM_ACTION_SAMPLE);
		expect_idle(dm);
		dynmem_set_figures(dm, &figures);
		dynmem_encode_status_report(&m, id, &figures);
		expect_sent(dm, &m);
		dynmem_tick(dm, now_ns + S - 1);
		expect_idle(dm);
		now_ns += S;
	}
	dynmem_free(dm);
}

Test(dynmem, a_report_can_be_wanted_at_once_but_not_before_the_first)
{
	struct dynmem *dm = new_machine(510, 64);
	uint64_t first_ns = START_MS * MS;

	start(dm);
	dynmem_report_soon(dm, first_ns - 2 * S);
	cr_expect(eq(u64, dynmem_deadline_ns(dm), first_ns));
	dynmem_tick(dm, first_ns);
	expect_action(dm, DYNMEM_ACTION_SAMPLE);
	dynmem_set_figures(dm, &(struct dynmem_status_report){.available_pages = 1});
	expect_action(dm, DYNMEM_ACTION_SEND);

	dynmem_report_soon(dm, first_ns + S / 3);
	cr_expect(eq(u64, dynmem_deadline_ns(dm), first_ns + S / 3));
	dynmem_tick(dm, first_ns + S / 3);
	expect_action(dm, DYNMEM_ACTION_SAMPLE);
	cr_expect(eq(u64, dynmem_deadline_ns(dm), first_ns + S / 3 + S));
	dynmem_free(dm);
}

Test(dynmem, a_report_that_cannot_be_sent_makes_the_next_ones_drop)
{
	struct dynmem_status_report figures = {.available_pages = 1};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	dynmem_tick(dm, START_MS * MS);
	expect_action(dm, DYNMEM_ACTION_SAMPLE);
	for (int i = 1; i <= 5; i++)
		dynmem_tick(dm, START_MS * MS + i * S);
	dynmem_set_figures(dm, &figures);
	expect_action(dm, DYNMEM_ACTION_SEND);
	expect_idle(dm);
	cr_expect(eq(u64, stats_of(dm).status_reports, 1));
	cr_expect(eq(u64, stats_of(dm).status_dropped, 5));

	/* A long sleep is not made up for. */
	dynmem_tick(dm, START_MS * MS + 100 * S);
	cr_expect(eq(u64, dynmem_deadline_ns(dm), START_MS * MS + 101 * S));
	dynmem_free(dm);
}

Test(dynmem, a_host_that_wants_no_reports_gets_none)
{
	struct dynmem *dm = new_machine(510, 64);

	cr_assert(eq(int, dynmem_open(dm, 0), 0));
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_version(dm, true, 0);
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_capabilities(dm, true, true, 0);
	cr_expect(eq(u64, dynmem_deadline_ns(dm), UINT64_MAX));
	dynmem_tick(dm, 100 * S);
	expect_idle(dm);
	dynmem_free(dm);
}

Test(dynmem, each_slice_is_answered_at_once_and_the_last_one_without_more)
{
	struct page_range first[] = {{0x6800, 512}, {0x6e00, 512}}, second[] = {{0x7400, 512}};
	struct dynmem *dm = new_machine(510, 64);
	struct dynmem_status status;

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 1536), 0));
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_TAKE_PAGES).pages, 1536));
	expect_idle(dm);
	cr_assert(eq(int, dynmem_complete_take(dm, first, 2, false, START_MS * MS), 0));
	expect_balloon_response(dm, 3, true, first, 2);
	expect_idle(dm);
	cr_assert(eq(int, dynmem_complete_take(dm, second, 1, true, START_MS * MS + S), 0));
	expect_balloon_response(dm, 4, false, second, 1);
	expect_idle(dm);

	dynmem_get_status(dm, &status);
	cr_expect(eq(int, status.state, DYNMEM_STATE_READY));
	cr_expect(eq(u64, status.ballooned_pages, 1536));
	cr_expect(eq(u64, status.operation.asked_pages, 1536));
	cr_expect(eq(u64, status.operation.done_pages, 1536));
	cr_expect(eq(u64, status.operation.ended_ns - status.operation.started_ns, S));
	dynmem_free(dm);
}

Test(dynmem, fewer_pages_than_asked_for_end_with_a_message_without_ranges)
{
	struct page_range some[] = {{0x6800, 512}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 1024), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, some, 1, true, START_MS * MS), 0));
	expect_balloon_response(dm, 3, true, some, 1);
	expect_balloon_response(dm, 4, false, NULL, 0);
	expect_idle(dm);

	cr_assert(eq(int, request_balloon(dm, 1024), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, NULL, 0, true, START_MS * MS), 0));
	expect_balloon_response(dm, 5, false, NULL, 0);
	expect_idle(dm);
	dynmem_free(dm);
}

Test(dynmem, a_request_for_no_pages_is_answered_without_taking_any)
{
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 0), 0));
	expect_balloon_response(dm, 3, false, NULL, 0);
	expect_idle(dm);
	dynmem_free(dm);
}

Test(dynmem, ranges_beyond_one_message_or_one_word_go_into_several)
{
	struct page_range many[] = {{10, 1}, {20, 1}, {30, 1}, {40, 1}, {50, 1}};
	struct page_range large[] = {{0x1000000, DYNMEM_RANGE_PAGES_MAX + UINT64_C(7)}};
	struct page_range cut[] = {{0x1000000, DYNMEM_RANGE_PAGES_MAX}, {0x1ffffff, 7}};
	struct dynmem *dm = new_machine(2, 64);

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 5), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, many, 5, true, START_MS * MS), 0));
	expect_balloon_response(dm, 3, true, many, 2);
	expect_balloon_response(dm, 4, true, many + 2, 2);
	expect_balloon_response(dm, 5, false, many + 4, 1);

	cr_assert(eq(int, request_balloon(dm, large[0].count), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, large, 1, true, START_MS * MS), 0));
	expect_balloon_response(dm, 6, false, cut, 2);
	dynmem_free(dm);
}

Test(dynmem, a_page_is_never_given_twice)
{
	struct page_range first[] = {{100, 10}}, again[] = {{105, 10}};
	struct page_range beyond[] = {{DYNMEM_PFN_MAX, 2}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	balloon(dm, first, 1);
	cr_assert(eq(int, request_balloon(dm, 100), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_expect(eq(int, dynmem_complete_take(dm, again, 1, false, START_MS * MS),
		     DYNMEM_UNUSABLE));
	cr_expect(eq(int, dynmem_complete_take(dm, beyond, 1, true, START_MS * MS),
		     DYNMEM_UNUSABLE));
	expect_balloon_response(dm, 4, false, NULL, 0);
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 10));
	dynmem_free(dm);
}

Test(dynmem, a_slice_in_too_many_pieces_is_refused_and_ends_nothing)
{
	struct page_range pieces[] = {{10, 1}, {20, 1}, {30, 1}}, whole[] = {{50, 3}};
	struct dynmem *dm = new_machine(510, 2);

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 3), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_expect(eq(int, dynmem_complete_take(dm, pieces, 3, false, START_MS * MS), DYNMEM_FULL));
	expect_idle(dm);
	cr_assert(eq(int, dynmem_complete_take(dm, whole, 1, true, START_MS * MS), 0));
	expect_balloon_response(dm, 3, false, whole, 1);
	dynmem_free(dm);
}

Test(dynmem, a_sequence_of_unballoon_requests_is_returned_and_answered_once)
{
	struct page_range pages[] = {{100, 100}}, first[] = {{150, 50}}, second[] = {{100, 20}};
	struct dynmem *dm = new_machine(510, 64);
	struct dynmem_action action;

	start(dm);
	balloon(dm, pages, 1);
	cr_assert(eq(int, request_unballoon(dm, true, first, 1), 0));
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_UNBALLOONING));
	expect_idle(dm);
	cr_assert(eq(int, request_unballoon(dm, false, second, 1), 0));
	action = expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	cr_assert(eq(sz, action.n_ranges, 2));
	cr_expect(eq(u64, action.ranges[0].first, 100));
	cr_expect(eq(u64, action.ranges[1].count, 50));
	expect_idle(dm);
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 4);
	expect_idle(dm);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_READY));
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 30));
	dynmem_free(dm);
}

Test(dynmem, pages_the_host_never_had_are_not_returned)
{
	struct page_range pages[] = {{100, 10}, {120, 10}};
	struct page_range wild[] = {{0, 110}, {105, 30}, {DYNMEM_PFN_MAX, 9000}};
	struct dynmem *dm = new_machine(510, 64);
	struct dynmem_action action;

	start(dm);
	balloon(dm, pages, 2);
	cr_assert(eq(int, request_unballoon(dm, false, wild, 2), 0));
	action = expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	cr_expect(eq(u64, page_ranges_count(action.ranges, action.n_ranges), 20));
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 4);
	cr_expect(eq(u64, stats_of(dm).foreign_pages, 100 + 20));

	/* Nothing at all to return: answered without troubling anybody. */
	cr_assert(eq(int, request_unballoon(dm, false, wild, 1), 0));
	expect_unballoon_response(dm, 5);
	expect_idle(dm);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_READY));
	dynmem_free(dm);
}

Test(dynmem, a_count_beyond_the_message_is_cut_down_and_answered)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem *dm = new_machine(510, 64);
	struct dynmem_message m;

	start(dm);
	balloon(dm, pages, 1);
	dynmem_encode_unballoon_request(&m, 1, false, pages, 1);
	memset(&m.bytes[12], 0xff, 4);
	cr_assert(eq(int, receive(dm, &m, START_MS * MS), 0));
	cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_NOTE).note, DYNMEM_NOTE_CLIPPED));
	expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 4);
	cr_expect(eq(u64, stats_of(dm).clipped, 1));
	dynmem_free(dm);
}

Test(dynmem, a_balloon_that_is_cut_into_too_many_pieces_stays_whole)
{
	struct page_range pages[] = {{100, 100}}, holes[] = {{110, 1}, {120, 1}, {130, 1}};
	struct dynmem *dm = new_machine(510, 3);

	start(dm);
	balloon(dm, pages, 1);
	cr_assert(eq(int, request_unballoon(dm, false, holes, 3), 0));
	expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 4);
	cr_expect(eq(u64, stats_of(dm).untracked_pages, 1));
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 98));
	dynmem_free(dm);
}

/* Trimmed at both ends, each run leaves two pieces on the way back and one in the balloon. */
Test(dynmem, pages_that_come_back_in_too_many_pieces_stay_with_the_host)
{
	struct page_range pages[] = {{100, 10}, {200, 10}};
	struct page_range ends[] = {{100, 1}, {109, 1}, {200, 1}, {209, 1}};
	struct dynmem *dm = new_machine(510, 3);

	start(dm);
	balloon(dm, pages, 2);
	cr_assert(eq(int, request_unballoon(dm, true, ends, 2), 0));
	cr_assert(eq(int, request_unballoon(dm, false, ends + 2, 2), 0));
	cr_expect(eq(u64, stats_of(dm).untracked_pages, 2));
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 18));
	cr_expect(eq(sz, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).n_ranges, 2));
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 4);
	dynmem_free(dm);
}

/* One range of the request covers more runs than a batch holds. */
Test(dynmem, one_range_may_return_very_many_runs)
{
	static struct page_range pages[3 * DYNMEM_RANGES_MAX];
	struct page_range all = {0, 100000};
	struct dynmem *dm = new_machine(510, 4096);
	struct dynmem_action action;

	for (uint64_t i = 0; i < 3 * DYNMEM_RANGES_MAX; i++)
		pages[i] = (struct page_range){10 + 3 * i, 2};
	start(dm);
	balloon(dm, pages, 3 * DYNMEM_RANGES_MAX);
	cr_assert(eq(int, request_unballoon(dm, false, &all, 1), 0));
	action = expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	cr_assert(eq(sz, action.n_ranges, 3 * DYNMEM_RANGES_MAX));
	cr_expect(eq(int, memcmp(action.ranges, pages, sizeof(pages)), 0));
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 0));
	cr_expect(eq(u64, stats_of(dm).foreign_pages, 100000 - 6 * DYNMEM_RANGES_MAX));
	dynmem_free(dm);
}

Test(dynmem, requests_during_a_balloon_are_refused_and_never_start_a_second_one)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 10), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_expect(eq(int, request_balloon(dm, 5), DYNMEM_UNEXPECTED));
	cr_expect(eq(int, request_hot_add(dm), DYNMEM_UNEXPECTED));
	expect_hot_add_response(dm, 3, DYNMEM_HOT_ADD_LATER);
	expect_idle(dm);
	cr_assert(eq(int, dynmem_complete_take(dm, pages, 1, true, START_MS * MS), 0));
	expect_balloon_response(dm, 4, false, pages, 1);
	expect_balloon_response(dm, 5, false, NULL, 0);
	expect_idle(dm);
	cr_expect(eq(u64, stats_of(dm).overlaps, 2));
	dynmem_free(dm);
}

Test(dynmem, pages_that_come_back_during_a_balloon_are_returned_after_it)
{
	struct page_range pages[] = {{100, 10}}, more[] = {{200, 10}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	balloon(dm, pages, 1);
	cr_assert(eq(int, request_balloon(dm, 10), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, request_unballoon(dm, false, pages, 1), 0));
	expect_idle(dm);

	/* What the host gave back must not be offered to it again before it was in use. */
	cr_expect(eq(int, dynmem_complete_take(dm, pages, 1, false, START_MS * MS),
		     DYNMEM_UNUSABLE));
	cr_assert(eq(int, dynmem_complete_take(dm, more, 1, true, START_MS * MS), 0));
	expect_balloon_response(dm, 4, false, more, 1);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_UNBALLOONING));
	expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 5);
	cr_expect(eq(int, state_of(dm), DYNMEM_STATE_READY));
	dynmem_free(dm);
}

Test(dynmem, requests_during_an_unballoon_wait_or_are_refused)
{
	struct page_range pages[] = {{100, 20}}, low[] = {{100, 10}}, high[] = {{110, 10}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	balloon(dm, pages, 1);
	cr_assert(eq(int, request_unballoon(dm, false, low, 1), 0));
	expect_action(dm, DYNMEM_ACTION_RETURN_PAGES);
	cr_expect(eq(int, request_balloon(dm, 5), DYNMEM_UNEXPECTED));
	cr_expect(eq(int, request_unballoon(dm, false, high, 1), 0));
	expect_idle(dm);
	dynmem_complete_return(dm, START_MS * MS);
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).ranges[0].first, 110));
	dynmem_complete_return(dm, START_MS * MS);
	expect_unballoon_response(dm, 4);
	expect_unballoon_response(dm, 5);
	expect_balloon_response(dm, 6, false, NULL, 0);
	expect_idle(dm);
	cr_expect(eq(u64, stats_of(dm).pages_returned, 20));
	dynmem_free(dm);
}

Test(dynmem, hot_add_is_refused_for_good_and_info_is_remembered)
{
	struct dynmem *dm = new_machine(510, 64);
	struct dynmem_status status;
	struct dynmem_message m;

	start(dm);
	cr_assert(eq(int, request_hot_add(dm), 0));
	expect_hot_add_response(dm, 3, DYNMEM_HOT_ADD_DONE);
	dynmem_encode_info_max_pages(&m, 0, 0x100000);
	cr_assert(eq(int, receive(dm, &m, START_MS * MS), 0));
	expect_idle(dm);
	dynmem_get_status(dm, &status);
	cr_expect(status.has_max_pages);
	cr_expect(eq(u64, status.max_pages, 0x100000));
	dynmem_free(dm);
}

Test(dynmem, unknown_types_are_counted_and_noted_once)
{
	uint8_t msg[16] = {13, 0, 16};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	for (int i = 0; i < 5; i++)
		cr_expect(eq(int, dynmem_receive(dm, msg, sizeof(msg), 0), DYNMEM_UNEXPECTED));
	cr_expect(eq(int, expect_action(dm, DYNMEM_ACTION_NOTE).note, DYNMEM_NOTE_UNKNOWN_TYPE));
	cr_expect(eq(int, dynmem_receive(dm, msg, sizeof(msg), 0), DYNMEM_UNEXPECTED));
	expect_idle(dm);
	cr_expect(eq(u64, stats_of(dm).unknown, 6));
	dynmem_free(dm);
}

Test(dynmem, a_channel_that_closes_during_a_balloon_leaves_the_late_slices_to_the_caller)
{
	struct page_range first[] = {{100, 10}}, late[] = {{200, 10}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	cr_assert(eq(int, request_balloon(dm, 30), 0));
	expect_action(dm, DYNMEM_ACTION_TAKE_PAGES);
	cr_assert(eq(int, dynmem_complete_take(dm, first, 1, false, START_MS * MS), 0));
	dynmem_close(dm);
	expect_idle(dm);
	cr_expect(eq(int, dynmem_open(dm, START_MS * MS), DYNMEM_BUSY));
	cr_expect(eq(int, dynmem_complete_take(dm, late, 1, true, START_MS * MS), DYNMEM_STALE));
	cr_expect(eq(u64, dynmem_ballooned(dm)->pages, 0));
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 10));
	cr_assert(eq(int, dynmem_open(dm, START_MS * MS), 0));
	expect_version_request(dm, 3, DYNMEM_VERSION_2_0, false);
	dynmem_free(dm);
}

Test(dynmem, what_the_host_gave_back_is_returned_even_after_a_close)
{
	struct page_range pages[] = {{100, 20}}, back[] = {{100, 5}};
	struct dynmem *dm = new_machine(510, 64);

	start(dm);
	balloon(dm, pages, 1);
	cr_assert(eq(int, request_unballoon(dm, true, back, 1), 0));
	dynmem_close(dm);
	cr_expect(eq(int, dynmem_open(dm, START_MS * MS), DYNMEM_BUSY));
	cr_expect(eq(u64, expect_action(dm, DYNMEM_ACTION_RETURN_PAGES).ranges[0].count, 5));
	cr_expect(eq(int, dynmem_open(dm, START_MS * MS), DYNMEM_BUSY));
	dynmem_complete_return(dm, START_MS * MS);
	expect_idle(dm);
	cr_expect(eq(u64, dynmem_unreported(dm)->pages, 15));
	cr_expect(eq(int, dynmem_open(dm, START_MS * MS), 0));
	dynmem_free(dm);
}
