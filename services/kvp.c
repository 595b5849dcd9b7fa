/* SPDX-License-Identifier: MIT */

/*
 * The guest's machine of the key-value exchange.
 *
 *                  GET, ENUMERATE                 complete, time
 *        IDLE ---------------------> READING -------------------> IDLE
 *          |       SET, DELETE                    complete, time
 *          +-----------------------> WRITING -------------------> IDLE
 *          |       GET_IP, SET_IP                 complete, time
 *          +-----------------------> ADDRESSING ----------------> IDLE
 *          |       what writes, while frozen      thaw
 *          +-----------------------> HELD ----------------------> WRITING, ADDRESSING
 *                                         ----------------------> IDLE
 *                                                 time
 *        A new request, a negotiation and the end of the channel lead from all of them to IDLE.
 *
 * The host asks, one request at a time. What changes something is answered when it is durable. A
 * message that is none is answered at once, by the fault's status, with its body untouched; so is a
 * change of what belongs to the guest: a host may write the pools whose items go from the host to the
 * guest, and read all but the one that is exchanged with nobody.
 *
 * Linux's kernel waits 30 seconds for its daemon (drivers/hv/hyperv_vmbus.h, HV_UTIL_TIMEOUT); a host
 * at a ring says nothing, and waits longer. A little before that the answer is failure, and what was
 * not begun yet is taken back. What was begun may still come to be: then the host was told wrong, and
 * is right again when it repeats its wish. While file systems are frozen a change waits, and is never
 * begun; if the time is over then, the answer says why (KVP_E_LOCKED), and nothing was changed.
 *
 * A host that gives up a request by another has not taken it back. It is finished, unheard.
 */

#include "services/kvp.h"

#include "services/kvp_device.h"
#include "services/kvp_ip_wire.h"
#include "vmbus/wire.h"

#include <string.h>

#define ANSWER_NS UINT64_C(27000000000)

static const char *const state_names[] = {
	[KVP_IDLE] = "idle",       [KVP_HELD] = "held",
	[KVP_READING] = "reading", [KVP_WRITING] = "writing",
	[KVP_ADDRESSING] = "addressing",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == KVP_STATES, "");

static const char *const note_names[] = {
	[KVP_NOTE_FAULT] = "fault",
	[KVP_NOTE_DENIED] = "denied",
	[KVP_NOTE_OVERTAKEN] = "overtaken",
	[KVP_NOTE_LATE] = "late",
	[KVP_NOTE_LOCKED] = "locked",
};
static_assert(sizeof(note_names) / sizeof(note_names[0]) == KVP_NOTES, "");

#define TO(state) (1u << KVP_##state)

static const uint32_t allowed_states[] = {
	[KVP_IDLE] = TO(HELD) | TO(READING) | TO(WRITING) | TO(ADDRESSING),
	[KVP_HELD] = TO(WRITING) | TO(ADDRESSING) | TO(IDLE),
	[KVP_READING] = TO(IDLE),
	[KVP_WRITING] = TO(IDLE),
	[KVP_ADDRESSING] = TO(IDLE),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == KVP_STATES, "");

/* What each operation is. */
static const struct {
	enum kvp_state state;
	enum kvp_action_type action;
	bool writes;     /* to a disk */
	bool is_of_pool; /* and not of an adapter */
} operations[KVP_OPERATIONS] = {
	[KVP_GET] = {KVP_READING, KVP_ACTION_READ, false, true},
	[KVP_SET] = {KVP_WRITING, KVP_ACTION_WRITE, true, true},
	[KVP_DELETE] = {KVP_WRITING, KVP_ACTION_WRITE, true, true},
	[KVP_ENUMERATE] = {KVP_READING, KVP_ACTION_READ, false, true},
	[KVP_GET_IP] = {KVP_ADDRESSING, KVP_ACTION_GET_IP, false, false},
	[KVP_SET_IP] = {KVP_ADDRESSING, KVP_ACTION_SET_IP, true, false},
};

/* What a host may do. */
static const struct {
	bool read;
	bool write;
} rights[KVP_POOLS] = {
	[KVP_POOL_EXTERNAL] = {true, true},
	[KVP_POOL_GUEST] = {true, false},
	[KVP_POOL_AUTO] = {true, false},
	[KVP_POOL_AUTO_EXTERNAL] = {true, true},
	[KVP_POOL_AUTO_INTERNAL] = {false, false},
};

static const uint32_t result_status[KVP_RESULTS] = {
	[KVP_DONE] = IC_S_OK,
	[KVP_NONE] = KVP_S_NO_MORE,
	[KVP_FULL] = KVP_E_DISK_FULL,
	[KVP_NO_ADAPTER] = KVP_E_NO_ADAPTER,
	[KVP_REFUSED] = IC_E_INVALID_ARGUMENT,
	[KVP_UNABLE] = IC_E_NOT_SUPPORTED,
	[KVP_FAILED] = IC_E_FAIL,
};

const char *kvp_state_name(enum kvp_state state)
{
	return state_names[state];
}

const char *kvp_note_name(enum kvp_note note)
{
	return note_names[note];
}

void kvp_init(struct kvp *k)
{
	*k = (struct kvp){.state = KVP_IDLE};
}

static void set_state(struct kvp *k, enum kvp_state state)
{
	assert(allowed_states[k->state] & (1u << state));
	k->state = state;
	k->stats.entered[state]++;
}

static void push(struct kvp *k, struct kvp_action action)
{
	assert(k->n_actions < KVP_ACTIONS_MAX);
	action.serial = k->serial;
	action.operation = k->request.operation;
	k->actions[(k->next_action + k->n_actions++) % KVP_ACTIONS_MAX] = action;
}

static void note(struct kvp *k, enum kvp_note which, enum kvp_fault fault)
{
	k->stats.notes[which]++;
	push(k, (struct kvp_action){.type = KVP_ACTION_NOTE, .note = which, .fault = fault});
}

static void answer(struct kvp *k, uint32_t status)
{
	if (status == IC_S_OK || status == KVP_S_NO_MORE)
		k->stats.answered_ok++;
	else
		k->stats.answered_fail++;
	push(k, (struct kvp_action){.type = KVP_ACTION_ANSWER, .status = status});
}

static void give_out(struct kvp *k)
{
	push(k, (struct kvp_action){.type = operations[k->request.operation].action});
	set_state(k, operations[k->request.operation].state);
}

/* The status by which what a host may not do is answered; IC_S_OK: it may. */
static uint32_t status_of_rights(const struct kvp_request *request)
{
	if (!operations[request->operation].is_of_pool)
		return IC_S_OK;
	if (operations[request->operation].writes)
		return rights[request->pool].write ? IC_S_OK : IC_E_FAIL;
	/* A pool that is not shown is an empty one. */
	return rights[request->pool].read ? IC_S_OK : KVP_S_NO_MORE;
}

static void on_request(struct kvp *k, uint64_t now_ns)
{
	uint32_t status = status_of_rights(&k->request);

	k->answer_by_ns = now_ns + ANSWER_NS;
	if (status != IC_S_OK) {
		if (status != KVP_S_NO_MORE)
			note(k, KVP_NOTE_DENIED, 0);
		answer(k, status);
	} else if (k->frozen && operations[k->request.operation].writes) {
		set_state(k, KVP_HELD);
	} else {
		give_out(k);
	}
}

void kvp_void(struct kvp *k)
{
	if (k->state != KVP_IDLE)
		set_state(k, KVP_IDLE);
}

static int decode(struct kvp *k, const void *message, size_t size)
{
	switch (k->form) {
	case KVP_FORM_TEXT:
		return kvp_decode_request(message, size, false, &k->request);
	case KVP_FORM_BINARY:
		return kvp_decode_request(message, size, true, &k->request);
	case KVP_FORM_DEVICE:
		return kvp_device_decode(message, size, &k->request);
	}
	return KVP_FAULT_OPERATION;
}

void kvp_receive(struct kvp *k, enum kvp_form form, const void *message, size_t size, uint64_t now_ns)
{
	int fault;

	if (k->state != KVP_IDLE) {
		note(k, KVP_NOTE_OVERTAKEN, 0);
		kvp_void(k);
	}
	k->serial++;
	k->form = form;
	kvp_request_clear(&k->answer);
	fault = decode(k, message, size);
	k->stats.requests[k->request.operation]++;
	if (fault) {
		note(k, KVP_NOTE_FAULT, fault);
		answer(k, kvp_fault_status(fault));
	} else {
		on_request(k, now_ns);
	}
}

/* Only what is asked for: there is much room for addresses. */
static void take_answer(struct kvp *k, const struct kvp_request *completed)
{
	if (k->request.operation == KVP_GET_IP) {
		k->answer.ip = completed->ip;
		return;
	}
	strcpy(k->answer.key, completed->key);
	strcpy(k->answer.value, completed->value);
}

void kvp_complete(struct kvp *k, uint64_t serial, enum kvp_result result,
		  const struct kvp_request *completed)
{
	if (serial != k->serial) {
		k->stats.stray_completions++;
		return;
	}
	switch (k->state) {
	case KVP_READING:
	case KVP_WRITING:
	case KVP_ADDRESSING:
		if (result == KVP_DONE && completed)
			take_answer(k, completed);
		set_state(k, KVP_IDLE);
		answer(k, result_status[result]);
		break;
	case KVP_IDLE:
	case KVP_HELD:
	case KVP_STATES:
		k->stats.stray_completions++;
		break;
	}
}

void kvp_set_frozen(struct kvp *k, bool frozen)
{
	k->frozen = frozen;
	if (!frozen && k->state == KVP_HELD)
		give_out(k);
}

void kvp_tick(struct kvp *k, uint64_t now_ns)
{
	if (k->state == KVP_IDLE || now_ns < k->answer_by_ns)
		return;
	switch (k->state) {
	case KVP_HELD:
		note(k, KVP_NOTE_LOCKED, 0);
		answer(k, KVP_E_LOCKED);
		break;
	case KVP_WRITING:
		push(k, (struct kvp_action){.type = KVP_ACTION_WITHDRAW});
		note(k, KVP_NOTE_LATE, 0);
		answer(k, IC_E_FAIL);
		break;
	case KVP_READING:
	case KVP_ADDRESSING:
		note(k, KVP_NOTE_LATE, 0);
		answer(k, IC_E_FAIL);
		break;
	case KVP_IDLE:
	case KVP_STATES:
		assert(false);
		break;
	}
	set_state(k, KVP_IDLE);
}

uint64_t kvp_deadline_ns(const struct kvp *k)
{
	return k->state == KVP_IDLE ? UINT64_MAX : k->answer_by_ns;
}

bool kvp_next_action(struct kvp *k, struct kvp_action *ret_action)
{
	if (k->n_actions == 0)
		return false;
	*ret_action = k->actions[k->next_action];
	k->next_action = (k->next_action + 1) % KVP_ACTIONS_MAX;
	k->n_actions--;
	return true;
}

void kvp_apply_answer(const struct kvp *k, const struct kvp_action *action, void *message, size_t size)
{
	assert(action->type == KVP_ACTION_ANSWER && action->serial == k->serial);
	if (k->form == KVP_FORM_DEVICE) {
		assert(size == KVP_DEVICE_MESSAGE_SIZE);
		kvp_device_answer(message, action->operation, action->status, &k->answer);
		return;
	}
	if (action->status != IC_S_OK)
		return;
	if (action->operation == KVP_GET)
		kvp_encode_value(message, size, k->answer.value);
	else if (action->operation == KVP_ENUMERATE)
		kvp_encode_entry(message, size, k->answer.key, k->answer.value);
	else if (action->operation == KVP_GET_IP)
		kvp_encode_ip(message, size, k->form == KVP_FORM_BINARY, &k->answer.ip);
}
