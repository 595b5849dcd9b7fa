/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

/*
 * What the tests of the guest's machine share: a machine, a host's messages, what is expected.
 */

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

enum {
	START_MS = 7000, /* the clock when a channel opens */
};

static inline struct dynmem_config machine_config(size_t ranges_per_message, size_t ranges_max)
{
	struct dynmem_config config;

	dynmem_config_init(&config);
	config.first_status_ns = 0;
	config.ranges_per_message = ranges_per_message;
	config.ranges_max = ranges_max;
	return config;
}

static inline struct dynmem *new_machine(size_t ranges_per_message, size_t ranges_max)
{
	struct dynmem_config config = machine_config(ranges_per_message, ranges_max);
	struct dynmem *dm;

	cr_assert(eq(int, dynmem_new(&config, &dm), 0));
	return dm;
}

/* One that can add memory. */
static inline struct dynmem *new_adder(void)
{
	struct dynmem_config config = machine_config(510, 64);
	struct dynmem *dm;

	config.can_hot_add = true;
	cr_assert(eq(int, dynmem_new(&config, &dm), 0));
	return dm;
}

static inline enum dynmem_state state_of(const struct dynmem *dm)
{
	struct dynmem_status status;

	dynmem_get_status(dm, &status);
	return status.state;
}

static inline struct dynmem_stats stats_of(const struct dynmem *dm)
{
	struct dynmem_status status;

	dynmem_get_status(dm, &status);
	return status.stats;
}

/* The next action that is not a note, which must be of @type. */
static inline struct dynmem_action expect_action(struct dynmem *dm, enum dynmem_action_type type)
{
	struct dynmem_action action;

	do
		cr_assert(eq(int, dynmem_next_action(dm, &action), 0), "wanted action %d", type);
	while (action.type == DYNMEM_ACTION_NOTE && type != DYNMEM_ACTION_NOTE);
	cr_assert(eq(int, action.type, type));
	return action;
}

static inline void expect_idle(struct dynmem *dm)
{
	struct dynmem_action action;

	while (dynmem_next_action(dm, &action) == 0)
		cr_assert(eq(int, action.type, DYNMEM_ACTION_NOTE));
}

static inline void expect_sent(struct dynmem *dm, const struct dynmem_message *wanted)
{
	struct dynmem_action action = expect_action(dm, DYNMEM_ACTION_SEND);

	cr_assert(eq(sz, action.message->size, wanted->size));
	cr_assert(eq(int, memcmp(action.message->bytes, wanted->bytes, wanted->size), 0));
}

static inline int receive(struct dynmem *dm, const struct dynmem_message *m, uint64_t now_ns)
{
	return dynmem_receive(dm, m->bytes, m->size, now_ns);
}

static inline void expect_version_request(struct dynmem *dm, uint32_t id, uint32_t version, bool last)
{
	struct dynmem_version_request request = {.version = version, .last = last};
	struct dynmem_message m;

	dynmem_encode_version_request(&m, id, &request);
	expect_sent(dm, &m);
}

static inline void answer_version(struct dynmem *dm, bool accepted, uint64_t now_ns)
{
	struct dynmem_version_response response = {.accepted = accepted};
	struct dynmem_message m;

	dynmem_encode_version_response(&m, 99, &response);
	cr_assert(eq(int, receive(dm, &m, now_ns), 0));
}

static inline void answer_capabilities(struct dynmem *dm, bool accepted, bool suppress, uint64_t now_ns)
{
	struct dynmem_capabilities_response response = {
		.accepted = accepted,
		.suppress_reports = suppress,
	};
	struct dynmem_message m;

	dynmem_encode_capabilities_response(&m, 98, &response);
	cr_assert(eq(int, receive(dm, &m, now_ns), 0));
}

/* Opens a channel and brings the machine to READY; it has then used two transaction ids. */
static inline void start(struct dynmem *dm)
{
	cr_assert(eq(int, dynmem_open(dm, START_MS * MS), 0));
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_version(dm, true, START_MS * MS);
	expect_action(dm, DYNMEM_ACTION_SEND);
	answer_capabilities(dm, true, false, START_MS * MS);
	cr_assert(eq(int, state_of(dm), DYNMEM_STATE_READY));
}

static inline int request_balloon(struct dynmem *dm, uint32_t pages)
{
	struct dynmem_message m;

	dynmem_encode_balloon_request(&m, 0, pages);
	return receive(dm, &m, START_MS * MS);
}

static inline int request_unballoon(struct dynmem *dm, bool more, const struct page_range *ranges,
			     size_t n)
{
	struct dynmem_message m;

	dynmem_encode_unballoon_request(&m, 1, more, ranges, n);
	return receive(dm, &m, START_MS * MS);
}

static inline int request_hot_add(struct dynmem *dm)
{
	struct dynmem_hot_add_request request = {.range = {0x100000, 32768}};
	struct dynmem_message m;

	dynmem_encode_hot_add_request(&m, 2, &request);
	return receive(dm, &m, START_MS * MS);
}

static inline void expect_balloon_response(struct dynmem *dm, uint32_t id, bool more,
				    const struct page_range *ranges, size_t n)
{
	struct dynmem_message m;

	dynmem_encode_balloon_response(&m, id, more, ranges, n);
	expect_sent(dm, &m);
}

static inline void expect_unballoon_response(struct dynmem *dm, uint32_t id)
{
	struct dynmem_message m;

	dynmem_encode_unballoon_response(&m, id);
	expect_sent(dm, &m);
}

static inline void expect_hot_add_response(struct dynmem *dm, uint32_t id, uint32_t result)
{
	struct dynmem_hot_add_response response = {.result = result};
	struct dynmem_message m;

	dynmem_encode_hot_add_response(&m, id, &response);
	expect_sent(dm, &m);
}

/* Gives @n ranges to the host by one balloon operation. */
static inline void balloon(struct dynmem *dm, const struct page_range *ranges, size_t n)
{
	uint64_t pages = page_ranges_count(ranges, n);

	cr_assert(eq(int, request_balloon(dm, pages), 0));
	cr_assert(eq(u64, expect_action(dm, DYNMEM_ACTION_TAKE_PAGES).pages, pages));
	cr_assert(eq(int, dynmem_complete_take(dm, ranges, n, true, START_MS * MS), 0));
	while (state_of(dm) == DYNMEM_STATE_BALLOONING)
		expect_action(dm, DYNMEM_ACTION_SEND);
	expect_idle(dm); /* the last message has gone out */
}

/* Brings a new machine into @state. */
static inline struct dynmem *machine_in(enum dynmem_state state)
{
	struct page_range pages[] = {{100, 20}}, back[] = {{100, 5}};
	struct dynmem *dm = new_adder();

	switch (state) {
	case DYNMEM_STATE_CLOSED:
	case DYNMEM_N_STATES:
		break;
	case DYNMEM_STATE_VERSION:
	case DYNMEM_STATE_CAPABILITIES:
	case DYNMEM_STATE_FAILED:
		cr_assert(eq(int, dynmem_open(dm, START_MS * MS), 0));
		expect_action(dm, DYNMEM_ACTION_SEND);
		if (state == DYNMEM_STATE_VERSION)
			break;
		answer_version(dm, true, START_MS * MS);
		expect_action(dm, DYNMEM_ACTION_SEND);
		if (state == DYNMEM_STATE_FAILED)
			answer_capabilities(dm, false, false, START_MS * MS);
		break;
	case DYNMEM_STATE_READY:
		start(dm);
		break;
	case DYNMEM_STATE_BALLOONING:
		start(dm);
		cr_assert(eq(int, request_balloon(dm, 10), 0));
		break;
	case DYNMEM_STATE_UNBALLOONING:
		start(dm);
		balloon(dm, pages, 1);
		cr_assert(eq(int, request_unballoon(dm, true, back, 1), 0));
		break;
	case DYNMEM_STATE_HOT_ADDING:
		start(dm);
		cr_assert(eq(int, request_hot_add(dm), 0));
		break;
	}
	cr_assert(eq(int, state_of(dm), state));
	return dm;
}
