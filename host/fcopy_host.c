/* SPDX-License-Identifier: MIT */

/*
 * File copy, host's end.
 *
 *            start              ok               all answered                ok
 *      IDLE --------> STARTING ---> SENDING --------------> COMPLETING ---------> IDLE, done
 *                        |             |                        |
 *                        |   refused   |                        |
 *                        +-------------+--> CANCELLING <--------+
 *                                              |  any answer
 *                                              +---------------------> IDLE, refused or cancelled
 *
 * One request at a time; a fragment is sent when the last one was answered. Whatever the guest
 * refuses ends the copy, and CANCEL tells it so: a guest of another make may keep the file open
 * otherwise. START that was refused needs none. Five minutes without an answer end it, too.
 *
 * For tests it can be made to do what no host should (enum fcopy_host_fault).
 */

#include "host/fcopy_host.h"

#include "vmbus/wire.h"

#include <assert.h>
#include <string.h>

#define PATIENCE_NS UINT64_C(300000000000)

static const char *const state_names[] = {
	[FCOPY_HOST_IDLE] = "idle",
	[FCOPY_HOST_STARTING] = "starting",
	[FCOPY_HOST_SENDING] = "sending",
	[FCOPY_HOST_COMPLETING] = "completing",
	[FCOPY_HOST_CANCELLING] = "cancelling",
};

static const char *const fault_names[] = {
	[FCOPY_FAULT_NONE] = "none",
	[FCOPY_FAULT_HOLE] = "hole",
	[FCOPY_FAULT_REPEAT] = "repeat",
	[FCOPY_FAULT_LARGER] = "larger",
	[FCOPY_FAULT_EARLY] = "early",
	[FCOPY_FAULT_NO_START] = "no-start",
	[FCOPY_FAULT_RESTART] = "restart",
	[FCOPY_FAULT_SILENT] = "silent",
	[FCOPY_FAULT_CANCEL] = "cancel",
	[FCOPY_FAULT_CANCEL_START] = "cancel-start",
	[FCOPY_FAULT_CANCEL_WRITE] = "cancel-write",
	[FCOPY_FAULT_CANCEL_END] = "cancel-end",
	[FCOPY_FAULT_SURROGATE] = "surrogate",
	[FCOPY_FAULT_ENDLESS] = "endless",
	[FCOPY_FAULT_OVERSIZE] = "oversize",
};

void fcopy_host_init(struct fcopy_host *h)
{
	*h = (struct fcopy_host){.deadline_ns = UINT64_MAX};
}

static void act(struct fcopy_host *h, struct fcopy_host_action action)
{
	assert(h->n_actions < sizeof(h->actions) / sizeof(h->actions[0]));
	h->actions[h->n_actions++] = action;
}

static void send(struct fcopy_host *h, struct fcopy_host_action action, uint64_t now_ns)
{
	action.type = FCOPY_HOST_SEND;
	h->deadline_ns = now_ns + PATIENCE_NS;
	act(h, action);
}

static void end(struct fcopy_host *h, enum fcopy_host_result result)
{
	h->state = FCOPY_HOST_IDLE;
	h->deadline_ns = UINT64_MAX;
	act(h, (struct fcopy_host_action){
		       .type = FCOPY_HOST_ENDED,
		       .result = result,
		       .status = h->status,
	       });
}

static bool fails_now(const struct fcopy_host *h, enum fcopy_host_fault fault)
{
	return h->fault == fault && h->n_sent == h->fault_at;
}

static void send_start(struct fcopy_host *h, uint64_t now_ns)
{
	h->state = FCOPY_HOST_STARTING;
	send(h, (struct fcopy_host_action){.operation = FCOPY_OP_START}, now_ns);
	if (h->fault == FCOPY_FAULT_CANCEL_START)
		fcopy_host_cancel(h, now_ns);
}

static void send_cancel(struct fcopy_host *h, uint64_t now_ns)
{
	h->state = FCOPY_HOST_CANCELLING;
	send(h, (struct fcopy_host_action){.operation = FCOPY_OP_CANCEL}, now_ns);
}

static void send_complete(struct fcopy_host *h, uint64_t now_ns)
{
	h->state = FCOPY_HOST_COMPLETING;
	send(h, (struct fcopy_host_action){.operation = FCOPY_OP_COMPLETE}, now_ns);
	if (h->fault == FCOPY_FAULT_CANCEL_END)
		send_cancel(h, now_ns);
}

static void send_fragment(struct fcopy_host *h, uint64_t now_ns)
{
	uint64_t left = h->size_bytes - h->offset;
	struct fcopy_host_action action = {.operation = FCOPY_OP_WRITE, .offset = h->offset};

	h->state = FCOPY_HOST_SENDING;
	h->on_its_way = left < FCOPY_FRAGMENT_MAX ? (uint32_t)left : FCOPY_FRAGMENT_MAX;
	action.size = h->on_its_way;
	if (fails_now(h, FCOPY_FAULT_REPEAT)) {
		h->fault = FCOPY_FAULT_NONE;
		h->on_its_way = 0;
	}
	send(h, action, now_ns);
	if (fails_now(h, FCOPY_FAULT_CANCEL_WRITE))
		send_cancel(h, now_ns);
	h->n_sent++;
}

/* What comes after an answer that was good. */
static void send_next(struct fcopy_host *h, uint64_t now_ns)
{
	if (fails_now(h, FCOPY_FAULT_HOLE))
		h->offset += FCOPY_FRAGMENT_MAX < h->size_bytes - h->offset ? FCOPY_FRAGMENT_MAX : 0;
	if (fails_now(h, FCOPY_FAULT_SILENT)) {
		h->silent = true;
		h->deadline_ns = UINT64_MAX;
	} else if (fails_now(h, FCOPY_FAULT_CANCEL)) {
		h->cancel = true;
		send_cancel(h, now_ns);
	} else if (fails_now(h, FCOPY_FAULT_RESTART)) {
		h->fault = FCOPY_FAULT_NONE;
		h->offset = 0;
		send_start(h, now_ns);
	} else if (h->offset < h->size_bytes && !fails_now(h, FCOPY_FAULT_EARLY)) {
		send_fragment(h, now_ns);
	} else {
		send_complete(h, now_ns);
	}
}

int fcopy_host_start(struct fcopy_host *h, const char *directory, const char *name, uint32_t flags,
		     uint64_t size_bytes, enum fcopy_host_fault fault, uint64_t fault_at,
		     uint64_t now_ns)
{
	uint64_t announced = size_bytes;

	if (h->state != FCOPY_HOST_IDLE)
		return FCOPY_HOST_RUNNING;
	if (fault == FCOPY_FAULT_LARGER && announced > 0)
		announced--;
	if (fcopy_encode_start(directory, name, flags, announced, h->start))
		return FCOPY_HOST_BAD_NAME;
	if (fault == FCOPY_FAULT_SURROGATE)
		h->start[FCOPY_HEADER_SIZE + 1] = 0xd8;
	if (fault == FCOPY_FAULT_ENDLESS)
		memset(h->start + FCOPY_HEADER_SIZE, 'x', FCOPY_NAME_SIZE);
	h->cancel = h->silent = false;
	h->offset = h->n_sent = 0;
	h->on_its_way = 0;
	h->status = IC_S_OK;
	h->size_bytes = size_bytes;
	h->fault = fault;
	h->fault_at = fault_at;
	if (fault == FCOPY_FAULT_NO_START)
		send_fragment(h, now_ns);
	else
		send_start(h, now_ns);
	return 0;
}

static void refused(struct fcopy_host *h, uint32_t status, uint64_t now_ns)
{
	h->status = status;
	if (h->state == FCOPY_HOST_STARTING)
		end(h, FCOPY_HOST_REFUSED);
	else
		send_cancel(h, now_ns);
}

void fcopy_host_receive(struct fcopy_host *h, uint32_t status, uint64_t now_ns)
{
	switch (h->state) {
	case FCOPY_HOST_IDLE:
		break;
	case FCOPY_HOST_STARTING:
	case FCOPY_HOST_SENDING:
		h->offset += status == IC_S_OK ? h->on_its_way : 0;
		h->on_its_way = 0;
		if (status != IC_S_OK)
			refused(h, status, now_ns);
		else if (h->cancel)
			send_cancel(h, now_ns);
		else
			send_next(h, now_ns);
		break;
	case FCOPY_HOST_COMPLETING:
		if (status == IC_S_OK)
			end(h, FCOPY_HOST_DONE);
		else
			refused(h, status, now_ns);
		break;
	case FCOPY_HOST_CANCELLING:
		end(h, h->status == IC_S_OK ? FCOPY_HOST_CANCELLED : FCOPY_HOST_REFUSED);
		break;
	case FCOPY_HOST_STATES:
		break;
	}
}

void fcopy_host_close(struct fcopy_host *h)
{
	if (h->state != FCOPY_HOST_IDLE)
		end(h, FCOPY_HOST_LOST);
}

void fcopy_host_tick(struct fcopy_host *h, uint64_t now_ns)
{
	if (now_ns < h->deadline_ns || h->state == FCOPY_HOST_IDLE)
		return;
	act(h, (struct fcopy_host_action){.type = FCOPY_HOST_RESET});
	end(h, FCOPY_HOST_TIMEOUT);
}

void fcopy_host_cancel(struct fcopy_host *h, uint64_t now_ns)
{
	bool now = h->silent || h->fault == FCOPY_FAULT_CANCEL_START;

	switch (h->state) {
	case FCOPY_HOST_STARTING:
	case FCOPY_HOST_SENDING:
		h->cancel = true;
		h->silent = false;
		if (now)
			send_cancel(h, now_ns);
		break;
	case FCOPY_HOST_IDLE:
	case FCOPY_HOST_COMPLETING: /* it is as good as done */
	case FCOPY_HOST_CANCELLING:
	case FCOPY_HOST_STATES:
		break;
	}
}

uint64_t fcopy_host_deadline_ns(const struct fcopy_host *h)
{
	return h->deadline_ns;
}

bool fcopy_host_next_action(struct fcopy_host *h, struct fcopy_host_action *ret_action)
{
	if (h->next_action == h->n_actions) {
		h->next_action = h->n_actions = 0;
		return false;
	}
	*ret_action = h->actions[h->next_action++];
	return true;
}

size_t fcopy_host_message(const struct fcopy_host *h, const struct fcopy_host_action *action,
			  const void *data, uint8_t ret_message[FCOPY_WRITE_SIZE])
{
	if (action->operation == FCOPY_OP_START) {
		memcpy(ret_message, h->start, FCOPY_START_SIZE);
		return FCOPY_START_SIZE;
	}
	if (action->operation == FCOPY_OP_WRITE) {
		fcopy_encode_write(action->offset, data, action->size, ret_message);
		if (h->fault == FCOPY_FAULT_OVERSIZE)
			memset(ret_message + 48, 0xff, 4);
		return FCOPY_WRITE_SIZE;
	}
	fcopy_encode_operation(action->operation, ret_message);
	return FCOPY_HEADER_SIZE;
}

const char *fcopy_host_state_name(enum fcopy_host_state state)
{
	return state_names[state];
}

enum fcopy_host_fault fcopy_host_fault_named(const char *name)
{
	enum fcopy_host_fault fault = FCOPY_FAULT_NONE;

	while (fault < FCOPY_FAULTS && strcmp(fault_names[fault], name) != 0)
		fault++;
	return fault;
}
