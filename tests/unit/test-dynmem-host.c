/* SPDX-License-Identifier: MIT */

/*
 * host/dynmem_host.c: the conversation by example, guests that do not keep to it, and every state
 * against every event.
 */

#include "host/dynmem_host.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define S UINT64_C(1000000000)

enum {
	UNIT_PAGES = 128 * 256, /* what the guest has memory added in */
	WINDOW_PFN = 0x100000,
	WINDOW_PAGES = 20 * UNIT_PAGES + 5,
};

static struct dynmem_host *new_host(size_t ranges_per_message, size_t ranges_max)
{
	struct dynmem_host_config config;
	struct dynmem_host *host;

	dynmem_host_config_init(&config);
	config.ranges_per_message = ranges_per_message;
	config.ranges_max = ranges_max;
	config.window = (struct page_range){WINDOW_PFN, WINDOW_PAGES};
	cr_assert(eq(int, dynmem_host_new(&config, &host), 0));
	return host;
}

static struct dynmem_host_status status_of(const struct dynmem_host *host)
{
	struct dynmem_host_status status;

	dynmem_host_get_status(host, &status);
	return status;
}

static struct dynmem_host_action expect_action(struct dynmem_host *host,
					       enum dynmem_host_action_type type)
{
	struct dynmem_host_action action;

	cr_assert(eq(int, dynmem_host_next_action(host, &action), 0), "wanted action %d", type);
	cr_assert(eq(int, action.type, type));
	return action;
}

static void expect_idle(struct dynmem_host *host)
{
	struct dynmem_host_action action;

	cr_assert(eq(int, dynmem_host_next_action(host, &action), DYNMEM_HOST_IDLE));
}

static void expect_sent(struct dynmem_host *host, const struct dynmem_message *wanted)
{
	struct dynmem_host_action action = expect_action(host, DYNMEM_HOST_ACTION_SEND);

	cr_assert(eq(sz, action.message->size, wanted->size));
	cr_assert(eq(int, memcmp(action.message->bytes, wanted->bytes, wanted->size), 0));
}

static int receive(struct dynmem_host *host, const struct dynmem_message *m, uint64_t now_ns)
{
	return dynmem_host_receive(host, m->bytes, m->size, now_ns);
}

static int ask_version(struct dynmem_host *host, uint32_t id, uint32_t version)
{
	struct dynmem_version_request request = {.version = version};
	struct dynmem_message m;

	dynmem_encode_version_request(&m, id, &request);
	return receive(host, &m, 0);
}

static void expect_version_response(struct dynmem_host *host, uint32_t id, bool accepted)
{
	struct dynmem_version_response response = {.accepted = accepted};
	struct dynmem_message m;

	dynmem_encode_version_response(&m, id, &response);
	expect_sent(host, &m);
}

static int report_capabilities(struct dynmem_host *host, uint32_t id, bool can_balloon)
{
	struct dynmem_capabilities capabilities = {
		.balloon = can_balloon,
		.hot_add = true,
		.hot_add_alignment = 7,
	};
	struct dynmem_message m;

	dynmem_encode_capabilities(&m, id, &capabilities);
	return receive(host, &m, 0);
}

static void start(struct dynmem_host *host)
{
	dynmem_host_open(host);
	cr_assert(eq(int, ask_version(host, 1, DYNMEM_VERSION_2_0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_assert(eq(int, report_capabilities(host, 2, true), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	expect_action(host, DYNMEM_HOST_ACTION_READY);
}

static int answer_balloon(struct dynmem_host *host, bool more, const struct page_range *ranges,
			  size_t n, uint64_t now_ns)
{
	struct dynmem_message m;

	dynmem_encode_balloon_response(&m, 77, more, ranges, n);
	return receive(host, &m, now_ns);
}

static int answer_unballoon(struct dynmem_host *host, uint64_t now_ns)
{
	struct dynmem_message m;

	dynmem_encode_unballoon_response(&m, 78);
	return receive(host, &m, now_ns);
}

/* Has the guest give exactly these ranges. */
static void balloon(struct dynmem_host *host, const struct page_range *ranges, size_t n)
{
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON,
					      page_ranges_count(ranges, n), 0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_assert(eq(int, answer_balloon(host, false, ranges, n, 0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
}

Test(dynmem_host, versions_up_to_2_0_are_accepted_and_others_may_be_followed_by_another)
{
	static const struct {
		uint32_t version;
		bool accepted;
	} rows[] = {
		{0, false}, {2, false}, {0x20001, false}, {UINT32_MAX, false},
		{DYNMEM_VERSION_0_3, true}, {0x10005, true}, {DYNMEM_VERSION_2_0, true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dynmem_host *host = new_host(510, 64);

		dynmem_host_open(host);
		cr_assert(eq(int, ask_version(host, 5, 0x30000), 0));
		expect_version_response(host, 5, false);
		cr_assert(eq(int, ask_version(host, 6, rows[i].version), 0));
		expect_version_response(host, 6, rows[i].accepted);
		expect_idle(host);
		cr_expect(eq(u32, status_of(host).version, rows[i].accepted ? rows[i].version : 0));
		dynmem_host_free(host);
	}
}

Test(dynmem_host, the_start_ends_with_accepted_capabilities)
{
	struct dynmem_capabilities_response response = {.accepted = true};
	struct dynmem_host *host = new_host(510, 64);
	struct dynmem_message m;

	dynmem_host_open(host);
	cr_assert(eq(int, ask_version(host, 1, DYNMEM_VERSION_2_0), 0));
	expect_version_response(host, 1, true);
	cr_assert(eq(int, report_capabilities(host, 2, true), 0));
	dynmem_encode_capabilities_response(&m, 2, &response);
	expect_sent(host, &m);
	expect_action(host, DYNMEM_HOST_ACTION_READY);
	expect_idle(host);
	cr_expect(status_of(host).capabilities.balloon);
	dynmem_host_free(host);
}

Test(dynmem_host, the_last_status_report_is_kept_with_its_time)
{
	struct dynmem_status_report report = {.available_pages = 5, .committed_pages = 6};
	struct dynmem_host *host = new_host(510, 64);
	struct dynmem_message m;

	start(host);
	cr_expect(not(status_of(host).has_report));
	dynmem_encode_status_report(&m, 3, &report);
	cr_assert(eq(int, receive(host, &m, 9 * S), 0));
	report.committed_pages = 7;
	dynmem_encode_status_report(&m, 4, &report);
	cr_assert(eq(int, receive(host, &m, 10 * S), 0));
	cr_expect(eq(u64, status_of(host).report.committed_pages, 7));
	cr_expect(eq(u64, status_of(host).report_ns, 10 * S));
	cr_expect(eq(u64, status_of(host).stats.status_reports, 2));
	dynmem_host_free(host);
}

Test(dynmem_host, a_balloon_ends_with_the_answer_that_says_no_more)
{
	struct page_range first[] = {{0x6800, 512}, {0x6a00, 512}}, second[] = {{0x100, 256}};
	struct dynmem_host *host = new_host(510, 64);
	struct dynmem_host_operation operation;
	struct dynmem_message m;

	start(host);
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 2048, 5 * S), 0));
	dynmem_encode_balloon_request(&m, 0, 2048);
	expect_sent(host, &m);
	expect_idle(host);
	cr_assert(eq(int, answer_balloon(host, true, first, 2, 6 * S), 0));
	cr_assert(eq(int, answer_balloon(host, true, second, 1, 7 * S), 0));
	expect_idle(host);
	cr_expect(eq(u64, status_of(host).ballooned_pages, 1280));
	cr_assert(eq(int, answer_balloon(host, false, NULL, 0, 8 * S), 0));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	expect_idle(host);
	operation = status_of(host).operation;
	cr_expect(eq(u64, operation.asked_pages, 2048));
	cr_expect(eq(u64, operation.done_pages, 1280));
	cr_expect(eq(u64, operation.ended_ns - operation.started_ns, 3 * S));
	cr_expect(eq(sz, dynmem_host_ballooned(host)->n_ranges, 2));

	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 1, 9 * S), 0));
	dynmem_encode_balloon_request(&m, 1, 1);
	expect_sent(host, &m);
	dynmem_host_free(host);
}

Test(dynmem_host, pages_go_back_from_the_top_under_one_id)
{
	struct page_range pages[] = {{100, 10}, {200, 10}, {300, 10}, {400, 10}};
	struct page_range top[] = {{400, 10}, {300, 10}}, rest[] = {{205, 5}};
	struct dynmem_host *host = new_host(2, 64);
	struct dynmem_message m;

	start(host);
	balloon(host, pages, 4);
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_UNBALLOON, 25, S), 0));
	dynmem_encode_unballoon_request(&m, 1, true, top, 2);
	expect_sent(host, &m);
	cr_expect(eq(int, answer_unballoon(host, S), DYNMEM_HOST_UNEXPECTED));
	dynmem_encode_unballoon_request(&m, 1, false, rest, 1);
	expect_sent(host, &m);
	expect_idle(host);
	cr_assert(eq(int, answer_unballoon(host, 2 * S), 0));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	cr_expect(eq(u64, status_of(host).operation.done_pages, 25));
	cr_expect(eq(u64, status_of(host).ballooned_pages, 15));

	/* More than there is means all there is. */
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_UNBALLOON, 1000, S), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_expect(eq(u64, status_of(host).operation.asked_pages, 15));
	cr_assert(eq(int, answer_unballoon(host, 2 * S), 0));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_UNBALLOON, 1, S),
		     DYNMEM_HOST_NOTHING));
	dynmem_host_free(host);
}

Test(dynmem_host, a_run_beyond_24_bits_goes_back_in_several_ranges)
{
	struct page_range pages[] = {{0x1000000, DYNMEM_RANGE_PAGES_MAX},
				     {0x1ffffff, DYNMEM_RANGE_PAGES_MAX}};
	struct page_range cut[] = {{0x1ffffff, DYNMEM_RANGE_PAGES_MAX},
				   {0x1000000, DYNMEM_RANGE_PAGES_MAX}};
	struct dynmem_host *host = new_host(510, 64);
	struct dynmem_message m;

	start(host);
	balloon(host, pages, 2);
	cr_expect(eq(sz, dynmem_host_ballooned(host)->n_ranges, 1));
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_UNBALLOON, UINT64_MAX, 0), 0));
	dynmem_encode_unballoon_request(&m, 1, false, cut, 2);
	expect_sent(host, &m);
	dynmem_host_free(host);
}

Test(dynmem_host, pages_given_twice_are_counted_once)
{
	static const struct {
		const char *name;
		struct page_range ranges[2];
		size_t n;
		uint64_t added, twice;
	} rows[] = {
		{"inside", {{105, 2}}, 1, 0, 2},
		{"around", {{90, 40}}, 1, 30, 10},
		{"in one message", {{200, 10}, {205, 10}}, 2, 15, 5},
		{"the same again", {{300, 1}, {300, 1}}, 2, 1, 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct page_range pages[] = {{100, 10}};
		struct dynmem_host *host = new_host(510, 64);

		start(host);
		balloon(host, pages, 1);
		cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 100, 0), 0));
		expect_action(host, DYNMEM_HOST_ACTION_SEND);
		cr_expect(eq(int, answer_balloon(host, true, rows[i].ranges, rows[i].n, 0),
			     DYNMEM_HOST_VIOLATION), "%s", rows[i].name);
		cr_expect(eq(u64, status_of(host).operation.done_pages, rows[i].added), "%s",
			  rows[i].name);
		cr_expect(eq(u64, status_of(host).stats.pages_twice, rows[i].twice), "%s",
			  rows[i].name);
		cr_expect(eq(u64, status_of(host).ballooned_pages, 10 + rows[i].added));
		cr_expect(eq(u64, status_of(host).stats.violations, 1));
		dynmem_host_free(host);
	}
}

Test(dynmem_host, more_pages_than_asked_for_are_taken_and_counted)
{
	struct page_range some[] = {{100, 8}}, more[] = {{200, 8}}, yet_more[] = {{300, 1}};
	struct dynmem_host *host = new_host(510, 64);

	start(host);
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 10, 0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_expect(eq(int, answer_balloon(host, true, some, 1, 0), 0));
	cr_expect(eq(int, answer_balloon(host, true, more, 1, 0), DYNMEM_HOST_VIOLATION));
	cr_expect(eq(int, answer_balloon(host, false, yet_more, 1, 0), DYNMEM_HOST_VIOLATION));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	cr_expect(eq(u64, status_of(host).stats.pages_beyond, 7));
	cr_expect(eq(u64, status_of(host).ballooned_pages, 17));
	dynmem_host_free(host);
}

Test(dynmem_host, pages_in_too_many_pieces_are_not_tracked)
{
	struct page_range pieces[] = {{10, 1}, {20, 1}, {30, 1}};
	struct dynmem_host *host = new_host(510, 2);

	start(host);
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 3, 0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_expect(eq(int, answer_balloon(host, false, pieces, 3, 0), DYNMEM_HOST_VIOLATION));
	cr_expect(eq(u64, status_of(host).stats.pages_untracked, 1));
	cr_expect(eq(u64, status_of(host).ballooned_pages, 2));
	dynmem_host_free(host);
}

Test(dynmem_host, an_operation_without_progress_is_overdue_and_may_still_end)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem_host *host = new_host(510, 64);

	start(host);
	cr_expect(eq(u64, dynmem_host_deadline_ns(host), UINT64_MAX));
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 20, 0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_assert(eq(int, answer_balloon(host, true, pages, 1, 50 * S), 0));
	cr_expect(eq(u64, dynmem_host_deadline_ns(host), 110 * S));
	dynmem_host_tick(host, 110 * S - 1);
	cr_expect(status_of(host).obeying);
	dynmem_host_tick(host, 110 * S);
	expect_action(host, DYNMEM_HOST_ACTION_OVERDUE);
	cr_expect(not(status_of(host).obeying));
	cr_expect(eq(u64, dynmem_host_deadline_ns(host), UINT64_MAX));
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 5, 0),
		     DYNMEM_HOST_BUSY));

	cr_assert(eq(int, answer_balloon(host, false, NULL, 0, 200 * S), 0));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	cr_expect(status_of(host).obeying);
	cr_expect(status_of(host).operation.overdue);
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 5, 0), 0));
	dynmem_host_free(host);
}

Test(dynmem_host, a_close_ends_the_operation_and_forgets_the_pages)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem_host *host = new_host(510, 64);

	start(host);
	balloon(host, pages, 1);
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 20, 0), 0));
	dynmem_host_close(host, 3 * S);
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	expect_idle(host);
	cr_expect(status_of(host).operation.lost);
	cr_expect(eq(u64, status_of(host).ballooned_pages, 0));
	dynmem_host_close(host, 4 * S);
	start(host);
	expect_idle(host);
	dynmem_host_free(host);
}

Test(dynmem_host, requests_are_refused_for_a_reason)
{
	struct dynmem_host *host = new_host(510, 64);

	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 1, 0),
		     DYNMEM_HOST_NOT_READY));
	dynmem_host_open(host);
	cr_assert(eq(int, ask_version(host, 1, DYNMEM_VERSION_2_0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 1, 0),
		     DYNMEM_HOST_NOT_READY));
	cr_assert(eq(int, report_capabilities(host, 2, false), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	expect_action(host, DYNMEM_HOST_ACTION_READY);
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 1, 0),
		     DYNMEM_HOST_UNSUPPORTED));
	dynmem_host_close(host, 0);

	start(host);
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 0, 0),
		     DYNMEM_HOST_NOTHING));
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, UINT64_MAX, 0), 0));
	cr_expect(eq(u64, status_of(host).operation.asked_pages, UINT32_MAX));
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 1, 0),
		     DYNMEM_HOST_BUSY));
	dynmem_host_free(host);
}

static int answer_hot_add(struct dynmem_host *host, uint32_t pages, uint32_t result)
{
	struct dynmem_hot_add_response response = {.pages = pages, .result = result};
	struct dynmem_message m;

	dynmem_encode_hot_add_response(&m, 8, &response);
	return receive(host, &m, 0);
}

/* The range of the hot-add that is handed out now. */
static struct page_range expect_hot_add(struct dynmem_host *host, bool with_region)
{
	struct dynmem_host_action action = expect_action(host, DYNMEM_HOST_ACTION_SEND);
	struct dynmem_hot_add_request request;
	struct dynmem_frame frame;

	cr_assert(eq(int, dynmem_decode_frame(action.message->bytes, action.message->size, &frame), 0));
	cr_assert(eq(int, frame.type, DYNMEM_HOT_ADD_REQUEST));
	cr_assert(eq(int, dynmem_decode_hot_add_request(&frame, &request), 0));
	cr_expect(eq(int, request.has_region, with_region));
	return request.range;
}

Test(dynmem_host, memory_is_added_in_units_from_the_start_of_the_window)
{
	struct dynmem_host *host = new_host(510, 64);
	struct page_range range;

	start(host);
	cr_expect(eq(u64, status_of(host).growable_pages, 20 * UNIT_PAGES));
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, UNIT_PAGES - 1, 0),
		     DYNMEM_HOST_NOTHING));
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, 3 * UNIT_PAGES + 7, 0), 0));
	range = expect_hot_add(host, false);
	cr_expect(eq(u64, range.first, WINDOW_PFN));
	cr_expect(eq(u64, range.count, 3 * UNIT_PAGES));
	cr_expect(eq(int, answer_hot_add(host, 2 * UNIT_PAGES, DYNMEM_HOT_ADD_DONE), 0));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	cr_expect(eq(u64, status_of(host).added_pages, 2 * UNIT_PAGES));

	/* 2 GiB at most; and what was added outlives the channel. */
	dynmem_host_close(host, 0);
	start(host);
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, UINT64_MAX, 0), 0));
	range = expect_hot_add(host, false);
	cr_expect(eq(u64, range.first, WINDOW_PFN + 2 * UNIT_PAGES));
	cr_expect(eq(u64, range.count, 16 * UNIT_PAGES));
	dynmem_host_free(host);
}

Test(dynmem_host, a_guest_that_refuses_for_now_is_asked_again_and_one_that_refuses_for_good_is_not)
{
	struct dynmem_host *host = new_host(510, 64);

	start(host);
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, UNIT_PAGES, 0), 0));
	expect_hot_add(host, false);
	cr_expect(eq(int, answer_hot_add(host, 0, DYNMEM_HOT_ADD_LATER), 0));
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, UNIT_PAGES, 0), 0));
	expect_hot_add(host, false);
	cr_expect(eq(int, answer_hot_add(host, 0, DYNMEM_HOT_ADD_DONE), 0));
	cr_expect(eq(u64, status_of(host).growable_pages, 0));
	cr_expect(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, UNIT_PAGES, 0),
		     DYNMEM_HOST_NOTHING));
	dynmem_host_free(host);
}

Test(dynmem_host, an_answer_with_too_much_memory_or_a_part_of_a_unit_is_a_violation)
{
	static const uint32_t answers[] = {2 * UNIT_PAGES, UNIT_PAGES / 2, UINT32_MAX};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct dynmem_host *host = new_host(510, 64);

		start(host);
		cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, UNIT_PAGES, 0), 0));
		expect_hot_add(host, false);
		cr_expect(eq(int, answer_hot_add(host, answers[i], DYNMEM_HOT_ADD_DONE),
			     DYNMEM_HOST_VIOLATION));
		cr_expect(eq(u64, status_of(host).added_pages, 0));
		dynmem_host_free(host);
	}
}

Test(dynmem_host, a_late_request_goes_out_when_its_time_has_come)
{
	struct dynmem_host *host = new_host(510, 64);

	start(host);
	cr_assert(eq(int, dynmem_host_inject(host, DYNMEM_FAULT_LATE, 0), 0));
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 10, 0), 0));
	expect_idle(host);
	cr_expect(eq(u64, dynmem_host_deadline_ns(host), 2 * S));
	dynmem_host_tick(host, 2 * S);
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	expect_idle(host);
	dynmem_host_free(host);
}

Test(dynmem_host, a_doubled_request_is_over_with_its_second_answer)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem_host *host = new_host(510, 64);

	start(host);
	cr_assert(eq(int, dynmem_host_inject(host, DYNMEM_FAULT_DUPLICATE, 0), 0));
	cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_BALLOON, 10, 0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	expect_action(host, DYNMEM_HOST_ACTION_SEND);
	cr_expect(eq(int, answer_balloon(host, false, pages, 1, 0), 0));
	expect_idle(host);
	cr_expect(eq(int, status_of(host).state, DYNMEM_HOST_STATE_BALLOONING));
	cr_expect(eq(int, answer_balloon(host, false, NULL, 0, 0), 0));
	expect_action(host, DYNMEM_HOST_ACTION_ENDED);
	dynmem_host_free(host);
}

Test(dynmem_host, every_fault_has_a_name_by_which_it_is_found)
{
	for (enum dynmem_fault fault = DYNMEM_FAULT_LATE; fault < DYNMEM_FAULTS; fault++)
		cr_expect(eq(int, dynmem_fault_named(dynmem_fault_name(fault)), fault));
	cr_expect(eq(int, dynmem_fault_named("none"), DYNMEM_FAULT_NONE));
	cr_expect(eq(int, dynmem_fault_named(""), DYNMEM_FAULT_NONE));
}

/* Brings a new machine into @state; what it has to send in it has been handed out. */
static struct dynmem_host *host_in(enum dynmem_host_state state)
{
	struct page_range pages[] = {{100, 10}};
	struct dynmem_host *host = new_host(510, 64);

	switch (state) {
	case DYNMEM_HOST_STATE_CLOSED:
	case DYNMEM_HOST_N_STATES:
		break;
	case DYNMEM_HOST_STATE_VERSION:
		dynmem_host_open(host);
		break;
	case DYNMEM_HOST_STATE_CAPABILITIES:
		dynmem_host_open(host);
		cr_assert(eq(int, ask_version(host, 1, DYNMEM_VERSION_2_0), 0));
		expect_action(host, DYNMEM_HOST_ACTION_SEND);
		break;
	case DYNMEM_HOST_STATE_READY:
		start(host);
		break;
	case DYNMEM_HOST_STATE_BALLOONING:
	case DYNMEM_HOST_STATE_UNBALLOONING:
		start(host);
		balloon(host, pages, 1);
		cr_assert(eq(int, dynmem_host_request(host,
						      state == DYNMEM_HOST_STATE_BALLOONING ?
							      DYNMEM_HOST_BALLOON :
							      DYNMEM_HOST_UNBALLOON,
						      5, 0), 0));
		expect_action(host, DYNMEM_HOST_ACTION_SEND);
		break;
	case DYNMEM_HOST_STATE_HOT_ADDING:
		start(host);
		cr_assert(eq(int, dynmem_host_request(host, DYNMEM_HOST_HOT_ADD, UNIT_PAGES, 0), 0));
		expect_action(host, DYNMEM_HOST_ACTION_SEND);
		break;
	case DYNMEM_HOST_STATE_FAULT:
		start(host);
		cr_assert(eq(int, dynmem_host_inject(host, DYNMEM_FAULT_FOREIGN, 0), 0));
		expect_action(host, DYNMEM_HOST_ACTION_SEND);
		break;
	}
	cr_assert(eq(int, status_of(host).state, state));
	return host;
}

enum event {
	EVENT_VERSION,
	EVENT_OLD_VERSION,
	EVENT_CAPABILITIES,
	EVENT_REPORT,
	EVENT_SOME_PAGES,
	EVENT_LAST_PAGES,
	EVENT_UNBALLOONED,
	EVENT_HOT_ADDED,
	EVENT_OWN_TYPE,
	EVENT_GARBAGE,
	EVENT_TICK, /* after a long time */
	EVENT_CLOSE,
	N_EVENTS,
};

static void encode_event(enum event event, struct dynmem_message *m)
{
	struct dynmem_version_request version = {
		.version = event == EVENT_VERSION ? DYNMEM_VERSION_2_0 : 1,
	};
	struct dynmem_capabilities capabilities = {.balloon = true};
	struct dynmem_status_report report = {.committed_pages = 1};
	struct dynmem_hot_add_response hot_added = {.result = 1};
	struct page_range range = {5000, 3};

	switch (event) {
	case EVENT_VERSION:
	case EVENT_OLD_VERSION:
		dynmem_encode_version_request(m, 1, &version);
		break;
	case EVENT_CAPABILITIES:
		dynmem_encode_capabilities(m, 2, &capabilities);
		break;
	case EVENT_REPORT:
		dynmem_encode_status_report(m, 3, &report);
		break;
	case EVENT_SOME_PAGES:
	case EVENT_LAST_PAGES:
		dynmem_encode_balloon_response(m, 4, event == EVENT_SOME_PAGES, &range, 1);
		break;
	case EVENT_UNBALLOONED:
		dynmem_encode_unballoon_response(m, 5);
		break;
	case EVENT_HOT_ADDED:
		dynmem_encode_hot_add_response(m, 6, &hot_added);
		break;
	case EVENT_OWN_TYPE:
		dynmem_encode_balloon_request(m, 7, 1);
		break;
	case EVENT_GARBAGE:
	case EVENT_TICK:
	case EVENT_CLOSE:
	case N_EVENTS:
		memset(m->bytes, 0xff, 8);
		m->size = 8;
		break;
	}
}

static int happen(struct dynmem_host *host, enum event event)
{
	struct dynmem_message m;

	if (event == EVENT_TICK) {
		dynmem_host_tick(host, 1000 * S);
		return 0;
	}
	if (event == EVENT_CLOSE) {
		dynmem_host_close(host, 0);
		return 0;
	}
	encode_event(event, &m);
	return receive(host, &m, 0);
}

/* The state after the event and after everything was handed out; 'u', 'm' or '.' fine. */
struct outcome {
	char result;
	enum dynmem_host_state state;
};

#define CL DYNMEM_HOST_STATE_CLOSED
#define VE DYNMEM_HOST_STATE_VERSION
#define CA DYNMEM_HOST_STATE_CAPABILITIES
#define RE DYNMEM_HOST_STATE_READY
#define BA DYNMEM_HOST_STATE_BALLOONING
#define UN DYNMEM_HOST_STATE_UNBALLOONING
#define HA DYNMEM_HOST_STATE_HOT_ADDING
#define FA DYNMEM_HOST_STATE_FAULT

static const struct outcome outcomes[DYNMEM_HOST_N_STATES][N_EVENTS] = {
	/* version, old version, capabilities, report, some pages, last pages, unballooned, hot-added,
	 * own type, garbage, tick, close */
	[CL] = {{'u', CL}, {'u', CL}, {'u', CL}, {'u', CL}, {'u', CL}, {'u', CL}, {'u', CL},
		{'u', CL}, {'u', CL}, {'m', CL}, {'.', CL}, {'.', CL}},
	[VE] = {{'.', CA}, {'.', VE}, {'u', VE}, {'.', VE}, {'u', VE}, {'u', VE}, {'u', VE},
		{'u', VE}, {'u', VE}, {'m', VE}, {'.', VE}, {'.', CL}},
	[CA] = {{'u', CA}, {'u', CA}, {'.', RE}, {'.', CA}, {'u', CA}, {'u', CA}, {'u', CA},
		{'u', CA}, {'u', CA}, {'m', CA}, {'.', CA}, {'.', CL}},
	[RE] = {{'u', RE}, {'u', RE}, {'u', RE}, {'.', RE}, {'u', RE}, {'u', RE}, {'u', RE},
		{'u', RE}, {'u', RE}, {'m', RE}, {'.', RE}, {'.', CL}},
	[BA] = {{'u', BA}, {'u', BA}, {'u', BA}, {'.', BA}, {'.', BA}, {'.', RE}, {'u', BA},
		{'u', BA}, {'u', BA}, {'m', BA}, {'.', BA}, {'.', CL}},
	[UN] = {{'u', UN}, {'u', UN}, {'u', UN}, {'.', UN}, {'u', UN}, {'u', UN}, {'.', RE},
		{'u', UN}, {'u', UN}, {'m', UN}, {'.', UN}, {'.', CL}},
	[HA] = {{'u', HA}, {'u', HA}, {'u', HA}, {'.', HA}, {'u', HA}, {'u', HA}, {'u', HA},
		{'.', RE}, {'u', HA}, {'m', HA}, {'.', HA}, {'.', CL}},
	[FA] = {{'u', FA}, {'u', FA}, {'u', FA}, {'.', FA}, {'u', FA}, {'u', FA}, {'.', RE},
		{'u', FA}, {'u', FA}, {'m', FA}, {'.', FA}, {'.', CL}},
};

static int result_code(char result)
{
	return result == 'u' ? DYNMEM_HOST_UNEXPECTED : result == 'm' ? DYNMEM_HOST_MALFORMED : 0;
}

static void drain(struct dynmem_host *host)
{
	struct dynmem_host_action action;

	for (int i = 0; i < 10 && dynmem_host_next_action(host, &action) == 0; i++)
		continue;
	expect_idle(host);
}

Test(dynmem_host, every_event_in_every_state_has_the_outcome_of_the_table)
{
	for (enum dynmem_host_state state = 0; state < DYNMEM_HOST_N_STATES; state++) {
		for (enum event event = 0; event < N_EVENTS; event++) {
			const struct outcome *wanted = &outcomes[state][event];
			struct dynmem_host *host = host_in(state);

			cr_expect(eq(int, happen(host, event), result_code(wanted->result)),
				  "%s, event %d", dynmem_host_state_name(state), event);
			drain(host);
			cr_expect(eq(int, status_of(host).state, wanted->state), "%s, event %d",
				  dynmem_host_state_name(state), event);
			dynmem_host_free(host);
		}
	}
}

Test(dynmem_host, a_flipped_bit_in_any_message_and_state_does_no_harm)
{
	for (enum dynmem_host_state state = 0; state < DYNMEM_HOST_N_STATES; state++) {
		for (enum event event = 0; event < EVENT_GARBAGE; event++) {
			struct dynmem_message m;

			encode_event(event, &m);
			for (size_t bit = 0; bit < m.size * 8; bit++) {
				struct dynmem_host *host = host_in(state);
				uint8_t *copy = malloc(m.size);

				cr_assert(ne(ptr, copy, NULL));
				memcpy(copy, m.bytes, m.size);
				copy[bit / 8] ^= 1 << bit % 8;
				cr_assert(ge(int, dynmem_host_receive(host, copy, m.size, 0), 0));
				drain(host);
				free(copy);
				dynmem_host_free(host);
			}
		}
	}
}
