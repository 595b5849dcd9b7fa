/* SPDX-License-Identifier: MIT */

/*
 * host/kvp_host.c: jobs, and all pairs of state and event.
 */

#include "host/kvp_host.h"
#include "vmbus/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static struct kvp_host_job make_job(enum kvp_operation operation, uint64_t done_by_ns)
{
	struct kvp_host_job job = {.done_by_ns = done_by_ns, .list = operation == KVP_ENUMERATE};

	job.request.operation = operation;
	job.request.pool = KVP_POOL_EXTERNAL;
	strcpy(job.request.key, "key");
	strcpy(job.request.ip.adapter, "adapter");
	return job;
}

static void make_ready(struct kvp_host *h)
{
	kvp_host_init(h);
	kvp_host_negotiating(h);
	kvp_host_open(h, 4);
	cr_assert(eq(int, h->state, KVP_HOST_READY));
}

static struct kvp_host_action expect(struct kvp_host *h, enum kvp_host_action_type type)
{
	struct kvp_host_action a = {.type = KVP_HOST_ACTION_NEGOTIATE};

	cr_assert(kvp_host_next_action(h, &a), "nothing to do instead of %d", (int)type);
	cr_assert(eq(int, a.type, type));
	return a;
}

static void expect_nothing(struct kvp_host *h)
{
	struct kvp_host_action a;

	cr_assert(not(kvp_host_next_action(h, &a)), "action %d", (int)a.type);
}

static void expect_end(struct kvp_host *h, const struct kvp_host_job *job, enum kvp_host_outcome outcome)
{
	cr_expect(expect(h, KVP_HOST_ACTION_FINISHED).job == job);
	cr_expect(eq(int, job->outcome, outcome));
}

/* The guest answers the request that was sent with a key and a value. */
static void answer_entry(struct kvp_host *h, const char *key, const char *value)
{
	uint8_t m[KVP_IP_MESSAGE_SIZE];
	size_t size;

	kvp_host_write(h, m, &size);
	if (m[0] == KVP_ENUMERATE)
		kvp_encode_entry(m, size, key, value);
	else if (m[0] == KVP_GET)
		kvp_encode_value(m, size, value);
	kvp_host_receive(h, IC_S_OK, m, size);
}

Test(kvp_host, a_value_is_brought_and_the_job_ends)
{
	struct kvp_host_job job = make_job(KVP_GET, SECOND);
	struct kvp_host h;

	make_ready(&h);
	cr_assert(eq(int, kvp_host_add(&h, &job), 0));
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	expect_nothing(&h);
	answer_entry(&h, "key", "value");
	cr_expect(expect(&h, KVP_HOST_ACTION_ENTRY).job == &job);
	cr_expect(eq(str, job.answer.value, "value"));
	expect_end(&h, &job, KVP_HOST_DONE);
	expect_nothing(&h);
	cr_expect(eq(u64, kvp_host_deadline_ns(&h), UINT64_MAX));
}

Test(kvp_host, a_list_goes_on_until_there_are_no_more)
{
	struct kvp_host_job job = make_job(KVP_ENUMERATE, SECOND);
	struct kvp_host h;

	make_ready(&h);
	cr_assert(eq(int, kvp_host_add(&h, &job), 0));
	for (uint32_t i = 0; i < 3; i++) {
		(void)expect(&h, KVP_HOST_ACTION_SEND);
		cr_expect(eq(u32, job.request.index, i));
		answer_entry(&h, "key", "value");
		(void)expect(&h, KVP_HOST_ACTION_ENTRY);
	}
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	kvp_host_receive(&h, KVP_S_NO_MORE, NULL, 0);
	expect_end(&h, &job, KVP_HOST_DONE);
}

Test(kvp_host, a_list_without_an_end_is_ended)
{
	struct kvp_host_job job = make_job(KVP_ENUMERATE, SECOND);
	struct kvp_host h;

	make_ready(&h);
	cr_assert(eq(int, kvp_host_add(&h, &job), 0));
	job.request.index = KVP_HOST_ENTRIES_MAX - 1;
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	answer_entry(&h, "key", "value");
	(void)expect(&h, KVP_HOST_ACTION_ENTRY);
	expect_end(&h, &job, KVP_HOST_ENDLESS);
}

Test(kvp_host, jobs_are_done_one_after_the_other)
{
	struct kvp_host_job jobs[3] = {make_job(KVP_SET, SECOND), make_job(KVP_DELETE, SECOND),
				       make_job(KVP_GET, SECOND)};
	struct kvp_host h;

	make_ready(&h);
	for (size_t i = 0; i < 3; i++)
		cr_assert(eq(int, kvp_host_add(&h, &jobs[i]), 0));
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	expect_nothing(&h);
	answer_entry(&h, NULL, NULL);
	expect_end(&h, &jobs[0], KVP_HOST_DONE);
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	kvp_host_receive(&h, KVP_S_NO_MORE, NULL, 0);
	expect_end(&h, &jobs[1], KVP_HOST_NONE);
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	kvp_host_receive(&h, KVP_E_LOCKED, NULL, 0);
	expect_end(&h, &jobs[2], KVP_HOST_REFUSED);
	cr_expect(eq(u32, jobs[2].status, KVP_E_LOCKED));
}

Test(kvp_host, after_a_request_that_was_given_up_nothing_is_sent_before_a_negotiation)
{
	struct kvp_host_job first = make_job(KVP_SET, SECOND), second = make_job(KVP_GET, 9 * SECOND);
	struct kvp_host h;

	make_ready(&h);
	cr_assert(eq(int, kvp_host_add(&h, &first), 0));
	cr_assert(eq(int, kvp_host_add(&h, &second), 0));
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	cr_expect(eq(u64, kvp_host_deadline_ns(&h), SECOND));
	kvp_host_tick(&h, SECOND);
	expect_end(&h, &first, KVP_HOST_SILENT);
	(void)expect(&h, KVP_HOST_ACTION_NEGOTIATE);
	kvp_host_negotiating(&h);
	expect_nothing(&h);
	kvp_host_receive(&h, IC_S_OK, NULL, 0);
	cr_expect(eq(u64, h.stray_answers, 1));
	kvp_host_open(&h, 5);
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	kvp_host_tick(&h, 9 * SECOND);
	expect_end(&h, &second, KVP_HOST_SILENT);
}

Test(kvp_host, a_job_ends_in_time_wherever_it_is)
{
	struct kvp_host_job job = make_job(KVP_GET, SECOND);
	struct kvp_host h;

	kvp_host_init(&h);
	kvp_host_negotiating(&h);
	cr_assert(eq(int, kvp_host_add(&h, &job), 0));
	expect_nothing(&h);
	kvp_host_tick(&h, SECOND);
	expect_end(&h, &job, KVP_HOST_SILENT);
	expect_nothing(&h);
}

Test(kvp_host, an_answer_that_is_none_ends_the_job)
{
	static const uint8_t short_answer[100];
	struct kvp_host_job job = make_job(KVP_GET, SECOND);
	struct kvp_host h;

	make_ready(&h);
	cr_assert(eq(int, kvp_host_add(&h, &job), 0));
	(void)expect(&h, KVP_HOST_ACTION_SEND);
	kvp_host_receive(&h, IC_S_OK, short_answer, sizeof(short_answer));
	expect_end(&h, &job, KVP_HOST_NONSENSE);
}

Test(kvp_host, what_cannot_be_written_is_not_taken)
{
	struct kvp_host_job job = make_job(KVP_GET, SECOND), many = make_job(KVP_SET_IP, SECOND);
	struct kvp_host h;

	make_ready(&h);
	job.request.key[0] = '\0';
	cr_expect(eq(int, kvp_host_add(&h, &job), KVP_FAULT_KEY));
	expect_nothing(&h);
	/* Texts have room for more gateways than the arrays of the binary form. */
	many.request.ip.n_gateways = 6;
	for (size_t i = 0; i < 6; i++)
		many.request.ip.gateways[i] =
			(struct kvp_address){.family = KVP_FAMILY_IPV4, .bytes = {10, 0, 0, 1}};
	kvp_host_negotiating(&h);
	cr_expect(eq(int, kvp_host_add(&h, &many), 0));
	kvp_host_open(&h, 5);
	expect_end(&h, &many, KVP_HOST_UNABLE);
}

enum event { ADDED, NEGOTIATED, OPENED, CLOSED, ANSWERED, NOT_SENT, TICKED, EVENTS };

static void happen(struct kvp_host *h, enum event event, struct kvp_host_job *job)
{
	switch (event) {
	case ADDED:
		cr_assert(eq(int, kvp_host_add(h, job), 0));
		break;
	case NEGOTIATED:
		kvp_host_negotiating(h);
		break;
	case OPENED:
		kvp_host_open(h, 5);
		break;
	case CLOSED:
		kvp_host_close(h);
		break;
	case ANSWERED:
		kvp_host_receive(h, KVP_S_NO_MORE, NULL, 0);
		break;
	case NOT_SENT:
		kvp_host_not_sent(h);
		break;
	case TICKED:
		kvp_host_tick(h, SECOND);
		break;
	case EVENTS:
		break;
	}
}

static void bring_to(struct kvp_host *h, enum kvp_host_state state, struct kvp_host_job *job)
{
	kvp_host_init(h);
	if (state != KVP_HOST_CLOSED)
		kvp_host_negotiating(h);
	if (state == KVP_HOST_READY || state == KVP_HOST_ASKED)
		kvp_host_open(h, 5);
	if (state == KVP_HOST_ASKED) {
		cr_assert(eq(int, kvp_host_add(h, job), 0));
		(void)expect(h, KVP_HOST_ACTION_SEND);
	}
	cr_assert(eq(int, h->state, state));
}

Test(kvp_host, all_pairs_of_state_and_event)
{
	enum {
		c = KVP_HOST_CLOSED,
		n = KVP_HOST_NEGOTIATING,
		r = KVP_HOST_READY,
		a = KVP_HOST_ASKED,
	};
	static const int next[KVP_HOST_STATES][EVENTS] = {
		[c] = {c, n, c, c, c, c, c},
		[n] = {n, n, r, c, n, n, n},
		[r] = {a, n, r, c, r, r, r},
		[a] = {a, n, a, c, r, r, n},
	};

	for (int state = 0; state < KVP_HOST_STATES; state++) {
		for (int event = 0; event < EVENTS; event++) {
			struct kvp_host_job first = make_job(KVP_GET, SECOND),
					    added = make_job(KVP_GET, 2 * SECOND);
			struct kvp_host_action action;
			struct kvp_host h;

			bring_to(&h, state, &first);
			happen(&h, event, &added);
			cr_expect(eq(int, h.state, next[state][event]), "%s, event %d",
				  kvp_host_state_name(state), event);
			/* Every job ends, whatever comes. */
			kvp_host_tick(&h, 2 * SECOND);
			while (kvp_host_next_action(&h, &action))
				;
			if (state == KVP_HOST_ASKED)
				cr_expect(ne(int, first.outcome, KVP_HOST_WAITING));
			if (event == ADDED)
				cr_expect(ne(int, added.outcome, KVP_HOST_WAITING));
			cr_expect(h.first == NULL);
		}
	}
}
