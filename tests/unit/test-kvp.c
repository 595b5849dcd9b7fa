/* SPDX-License-Identifier: MIT */

/*
 * services/kvp.c: the machine, asked in all three forms, and all pairs of state and event.
 */

#include "services/kvp.h"
#include "services/kvp_device.h"
#include "vmbus/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static uint8_t message[KVP_DEVICE_MESSAGE_SIZE];

/* A request as a host writes it; the device's form by hand. */
static size_t put_request(enum kvp_form form, const struct kvp_request *q)
{
	uint8_t m[KVP_IP_MESSAGE_SIZE];
	size_t size;

	memset(message, 0, sizeof(message));
	if (form != KVP_FORM_DEVICE) {
		cr_assert(eq(int, kvp_encode_request(q, form == KVP_FORM_BINARY, m, &size), 0));
		memcpy(message, m, size);
		return size;
	}
	if (q->operation == KVP_SET_IP || q->operation == KVP_GET_IP) {
		kvp_device_answer(message, KVP_GET_IP, 0, q);
	} else if (q->operation == KVP_ENUMERATE) {
		message[4] = (uint8_t)q->index;
	} else if (q->operation == KVP_DELETE) {
		strcpy((char *)message + 8, q->key);
	} else {
		strcpy((char *)message + 16, q->key);
		strcpy((char *)message + 528, q->value);
	}
	message[0] = (uint8_t)q->operation;
	message[1] = (uint8_t)q->pool;
	return sizeof(message);
}

static void ask(struct kvp *k, enum kvp_form form, enum kvp_operation operation, enum kvp_pool pool,
		uint64_t now_ns)
{
	struct kvp_request q = {.operation = operation, .pool = pool, .index = 3};
	size_t size;

	if (operation == KVP_GET || operation == KVP_SET || operation == KVP_DELETE)
		strcpy(q.key, "key");
	if (operation == KVP_SET)
		strcpy(q.value, "value");
	if (operation == KVP_GET_IP || operation == KVP_SET_IP)
		strcpy(q.ip.adapter, "adapter");
	size = put_request(form, &q);
	kvp_receive(k, form, message, size, now_ns);
}

/* The next action, which must be of @type. */
static struct kvp_action expect(struct kvp *k, enum kvp_action_type type)
{
	struct kvp_action a = {.type = KVP_ACTION_NOTE};

	cr_assert(kvp_next_action(k, &a), "nothing to do instead of %d", (int)type);
	cr_assert(eq(int, a.type, type));
	return a;
}

static void expect_answer(struct kvp *k, uint32_t status)
{
	cr_expect(eq(u32, expect(k, KVP_ACTION_ANSWER).status, status));
}

static void expect_note(struct kvp *k, enum kvp_note note)
{
	cr_expect(eq(int, expect(k, KVP_ACTION_NOTE).note, note));
}

static void expect_nothing(struct kvp *k)
{
	struct kvp_action a;

	cr_assert(not(kvp_next_action(k, &a)), "action %d", (int)a.type);
}

static const enum kvp_action_type action_of[KVP_OPERATIONS] = {
	[KVP_GET] = KVP_ACTION_READ,       [KVP_SET] = KVP_ACTION_WRITE,
	[KVP_DELETE] = KVP_ACTION_WRITE,   [KVP_ENUMERATE] = KVP_ACTION_READ,
	[KVP_GET_IP] = KVP_ACTION_GET_IP,  [KVP_SET_IP] = KVP_ACTION_SET_IP,
};

Test(kvp, each_operation_is_given_out_and_answered_in_each_form)
{
	for (int form = KVP_FORM_TEXT; form <= KVP_FORM_DEVICE; form++) {
		for (int op = KVP_GET; op < KVP_OPERATIONS; op++) {
			static struct kvp k;
			static struct kvp_request result = {.key = "a key", .value = "a value"};
			struct kvp_action a;

			kvp_init(&k);
			ask(&k, form, op, KVP_POOL_EXTERNAL, 5);
			a = expect(&k, action_of[op]);
			expect_nothing(&k);
			cr_expect(eq(int, k.request.operation, op));
			cr_expect(eq(u64, kvp_deadline_ns(&k), 5 + 27 * SECOND));
			kvp_complete(&k, a.serial, KVP_DONE, &result);
			a = expect(&k, KVP_ACTION_ANSWER);
			cr_expect(eq(u32, a.status, IC_S_OK));
			cr_expect(eq(int, k.state, KVP_IDLE));
			cr_expect(eq(u64, kvp_deadline_ns(&k), UINT64_MAX));
			kvp_apply_answer(&k, &a, message, sizeof(message));
			expect_nothing(&k);
		}
	}
}

Test(kvp, what_was_read_is_in_the_answer)
{
	static struct kvp_request result = {.key = "k\xc3\xa9y", .value = "v"}, got;
	static struct kvp k;
	struct kvp_action a;

	kvp_init(&k);
	ask(&k, KVP_FORM_TEXT, KVP_ENUMERATE, KVP_POOL_GUEST, 0);
	kvp_complete(&k, expect(&k, KVP_ACTION_READ).serial, KVP_DONE, &result);
	a = expect(&k, KVP_ACTION_ANSWER);
	kvp_apply_answer(&k, &a, message, KVP_MESSAGE_SIZE);
	cr_assert(eq(int, kvp_decode_answer(message, KVP_MESSAGE_SIZE, KVP_ENUMERATE, false, &got), 0));
	cr_expect(eq(str, got.key, result.key));
	cr_expect(eq(str, got.value, result.value));

	ask(&k, KVP_FORM_DEVICE, KVP_GET, KVP_POOL_GUEST, 0);
	kvp_complete(&k, expect(&k, KVP_ACTION_READ).serial, KVP_DONE, &result);
	a = expect(&k, KVP_ACTION_ANSWER);
	kvp_apply_answer(&k, &a, message, sizeof(message));
	cr_expect(eq(str, (char *)message + 532, "v"));
}

Test(kvp, every_result_has_its_status)
{
	static const uint32_t statuses[KVP_RESULTS] = {
		[KVP_DONE] = IC_S_OK,
		[KVP_NONE] = 0x80070103,
		[KVP_FULL] = 0x80070070,
		[KVP_NO_ADAPTER] = 0x80041002,
		[KVP_REFUSED] = 0x80070057,
		[KVP_UNABLE] = 0x80070032,
		[KVP_FAILED] = 0x80004005,
	};
	static struct kvp k;

	kvp_init(&k);
	for (int r = 0; r < KVP_RESULTS; r++) {
		ask(&k, KVP_FORM_TEXT, KVP_SET, KVP_POOL_EXTERNAL, 0);
		kvp_complete(&k, expect(&k, KVP_ACTION_WRITE).serial, r, NULL);
		expect_answer(&k, statuses[r]);
	}
}

Test(kvp, a_host_changes_its_own_pools_only_and_sees_all_but_one)
{
	static const uint32_t no = IC_E_FAIL, none = KVP_S_NO_MORE;
	static const struct {
		uint32_t read, write;
	} rows[KVP_POOLS] = {{0, 0}, {0, no}, {0, no}, {0, 0}, {none, no}};
	static struct kvp k;

	kvp_init(&k);
	for (int pool = 0; pool < KVP_POOLS; pool++) {
		for (int op = KVP_GET; op <= KVP_ENUMERATE; op++) {
			bool writes = op == KVP_SET || op == KVP_DELETE;
			uint32_t status = writes ? rows[pool].write : rows[pool].read;

			ask(&k, KVP_FORM_TEXT, op, pool, 0);
			if (status == 0) {
				kvp_complete(&k, expect(&k, action_of[op]).serial, KVP_DONE, NULL);
				expect_answer(&k, IC_S_OK);
				continue;
			}
			if (writes)
				expect_note(&k, KVP_NOTE_DENIED);
			expect_answer(&k, status);
			expect_nothing(&k);
			cr_expect(eq(int, k.state, KVP_IDLE));
		}
	}
}

Test(kvp, a_message_that_is_none_is_answered_by_its_fault)
{
	static struct kvp k;
	static struct kvp_request q = {.operation = KVP_ENUMERATE, .pool = KVP_POOL_GUEST};

	kvp_init(&k);
	(void)put_request(KVP_FORM_TEXT, &q);
	kvp_receive(&k, KVP_FORM_TEXT, message, 3, 0);
	expect_note(&k, KVP_NOTE_FAULT);
	expect_answer(&k, IC_E_FAIL);
	message[0] = 99;
	kvp_receive(&k, KVP_FORM_TEXT, message, KVP_MESSAGE_SIZE, 0);
	expect_note(&k, KVP_NOTE_FAULT);
	expect_answer(&k, IC_E_NOT_SUPPORTED);
	cr_expect(eq(u64, k.stats.requests[KVP_OPERATIONS], 2));
}

Test(kvp, while_frozen_changes_wait_and_reads_go_on)
{
	static struct kvp k;
	struct kvp_action a;

	kvp_init(&k);
	kvp_set_frozen(&k, true);
	ask(&k, KVP_FORM_TEXT, KVP_ENUMERATE, KVP_POOL_GUEST, 0);
	kvp_complete(&k, expect(&k, KVP_ACTION_READ).serial, KVP_NONE, NULL);
	expect_answer(&k, KVP_S_NO_MORE);
	ask(&k, KVP_FORM_TEXT, KVP_GET_IP, KVP_POOL_GUEST, 0);
	kvp_complete(&k, expect(&k, KVP_ACTION_GET_IP).serial, KVP_DONE, NULL);
	expect_answer(&k, IC_S_OK);

	ask(&k, KVP_FORM_TEXT, KVP_SET, KVP_POOL_EXTERNAL, 100);
	expect_nothing(&k);
	cr_expect(eq(int, k.state, KVP_HELD));
	kvp_tick(&k, 100 + 27 * SECOND - 1);
	expect_nothing(&k);
	kvp_set_frozen(&k, false);
	a = expect(&k, KVP_ACTION_WRITE);
	kvp_complete(&k, a.serial, KVP_DONE, NULL);
	expect_answer(&k, IC_S_OK);
}

Test(kvp, what_was_frozen_for_too_long_is_refused_and_never_made)
{
	static struct kvp k;

	kvp_init(&k);
	for (int op = KVP_SET; op <= KVP_SET_IP; op++) {
		if (op != KVP_SET && op != KVP_DELETE && op != KVP_SET_IP)
			continue;
		kvp_set_frozen(&k, true);
		ask(&k, KVP_FORM_TEXT, op, KVP_POOL_EXTERNAL, 0);
		kvp_tick(&k, 27 * SECOND);
		expect_note(&k, KVP_NOTE_LOCKED);
		expect_answer(&k, KVP_E_LOCKED);
		kvp_set_frozen(&k, false);
		expect_nothing(&k);
	}
}

Test(kvp, what_takes_too_long_is_answered_and_a_change_is_taken_back)
{
	static struct kvp k;
	struct kvp_action a;

	kvp_init(&k);
	for (int op = KVP_GET; op < KVP_OPERATIONS; op++) {
		ask(&k, KVP_FORM_TEXT, op, KVP_POOL_EXTERNAL, 0);
		a = expect(&k, action_of[op]);
		kvp_tick(&k, 27 * SECOND);
		if (a.type == KVP_ACTION_WRITE)
			cr_expect(eq(u64, expect(&k, KVP_ACTION_WITHDRAW).serial, a.serial));
		expect_note(&k, KVP_NOTE_LATE);
		expect_answer(&k, IC_E_FAIL);
		kvp_complete(&k, a.serial, KVP_DONE, NULL);
		expect_nothing(&k);
	}
	cr_expect(eq(u64, k.stats.stray_completions, KVP_OPERATIONS));
}

/* Brings a machine into @state. */
static void bring_to(struct kvp *k, enum kvp_state state)
{
	struct kvp_action a;

	kvp_init(k);
	switch (state) {
	case KVP_IDLE:
		break;
	case KVP_HELD:
		kvp_set_frozen(k, true);
		ask(k, KVP_FORM_TEXT, KVP_SET, KVP_POOL_EXTERNAL, 0);
		break;
	case KVP_READING:
		ask(k, KVP_FORM_TEXT, KVP_GET, KVP_POOL_EXTERNAL, 0);
		break;
	case KVP_WRITING:
		ask(k, KVP_FORM_TEXT, KVP_SET, KVP_POOL_EXTERNAL, 0);
		break;
	case KVP_ADDRESSING:
		ask(k, KVP_FORM_TEXT, KVP_SET_IP, KVP_POOL_EXTERNAL, 0);
		break;
	case KVP_STATES:
		break;
	}
	while (kvp_next_action(k, &a))
		;
	cr_assert(eq(int, k->state, state));
}

enum event {
	ASKED,      /* GET */
	ASKED_ILL,  /* no message */
	COMPLETED,
	COMPLETED_OTHER, /* of an older request */
	VOIDED,
	FROZEN,
	THAWED,
	TICKED_EARLY,
	TICKED,
	EVENTS,
};

static void happen(struct kvp *k, enum event event)
{
	switch (event) {
	case ASKED:
		ask(k, KVP_FORM_TEXT, KVP_GET, KVP_POOL_EXTERNAL, 1);
		break;
	case ASKED_ILL:
		kvp_receive(k, KVP_FORM_TEXT, message, 0, 1);
		break;
	case COMPLETED:
		kvp_complete(k, k->serial, KVP_DONE, NULL);
		break;
	case COMPLETED_OTHER:
		kvp_complete(k, k->serial + 7, KVP_DONE, NULL);
		break;
	case VOIDED:
		kvp_void(k);
		break;
	case FROZEN:
		kvp_set_frozen(k, true);
		break;
	case THAWED:
		kvp_set_frozen(k, false);
		break;
	case TICKED_EARLY:
		kvp_tick(k, 27 * SECOND - 1);
		break;
	case TICKED:
		kvp_tick(k, 27 * SECOND);
		break;
	case EVENTS:
		break;
	}
}

Test(kvp, all_pairs_of_state_and_event)
{
	enum {
		i = KVP_IDLE,
		h = KVP_HELD,
		r = KVP_READING,
		w = KVP_WRITING,
		d = KVP_ADDRESSING,
	};
	static const int next[KVP_STATES][EVENTS] = {
		[i] = {r, i, i, i, i, i, i, i, i},
		[h] = {r, i, h, h, i, h, w, h, i},
		[r] = {r, i, i, r, i, r, r, r, i},
		[w] = {r, i, i, w, i, w, w, w, i},
		[d] = {r, i, i, d, i, d, d, d, i},
	};
	/* Answers of the event, of the request before it and of the new one. */
	static const int answers[KVP_STATES][EVENTS] = {
		[i] = {0, 1, 0, 0, 0, 0, 0, 0, 0},
		[h] = {0, 1, 0, 0, 0, 0, 0, 0, 1},
		[r] = {0, 1, 1, 0, 0, 0, 0, 0, 1},
		[w] = {0, 1, 1, 0, 0, 0, 0, 0, 1},
		[d] = {0, 1, 1, 0, 0, 0, 0, 0, 1},
	};
	static struct kvp k;
	struct kvp_action a;

	for (int state = 0; state < KVP_STATES; state++) {
		for (int event = 0; event < EVENTS; event++) {
			int n = 0;

			bring_to(&k, state);
			happen(&k, event);
			while (kvp_next_action(&k, &a))
				n += a.type == KVP_ACTION_ANSWER;
			cr_expect(eq(int, k.state, next[state][event]), "%s, event %d",
				  kvp_state_name(state), event);
			cr_expect(eq(int, n, answers[state][event]), "%s, event %d",
				  kvp_state_name(state), event);
		}
	}
}
