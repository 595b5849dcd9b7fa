/* SPDX-License-Identifier: MIT */

/*
 * Key-value exchange, host's end.
 *
 *                 open                     job                 answer
 *     CLOSED ------------> NEGOTIATING         READY -----------> ASKED -----------> READY
 *                              |   versions      ^                  |
 *                              +-----------------+                  | the job's time is over
 *                              ^                                    |
 *                              +------------------------------------+
 *     The end of the channel leads from all of them to CLOSED, and with it the job under way is lost.
 *
 * The jobs wait in a queue, and each ends by the time that its owner has given it, wherever it is. An
 * answer has no number that says to which request it belongs; so after a request that was given up the
 * next one is not sent before a new negotiation, which voids what the guest may still have to say.
 *
 * A list is what a host makes of ENUMERATE 0, 1, 2, ... until the guest says that there are no more.
 * There is no other way to see changes: who watches a guest asks for lists again and again.
 *
 * The guest is not trusted: what it answers is decoded like any input, and an endless list is ended.
 */

#include "host/kvp_host.h"

#include "vmbus/wire.h"

static const char *const state_names[] = {
	[KVP_HOST_CLOSED] = "closed",
	[KVP_HOST_NEGOTIATING] = "negotiating",
	[KVP_HOST_READY] = "ready",
	[KVP_HOST_ASKED] = "asked",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == KVP_HOST_STATES, "");

static const char *const outcome_names[] = {
	[KVP_HOST_WAITING] = "waiting", [KVP_HOST_DONE] = "done",
	[KVP_HOST_NONE] = "none",       [KVP_HOST_REFUSED] = "refused",
	[KVP_HOST_UNABLE] = "unable",   [KVP_HOST_SILENT] = "silent",
	[KVP_HOST_LOST] = "lost",       [KVP_HOST_NONSENSE] = "nonsense",
	[KVP_HOST_ENDLESS] = "endless",
};
static_assert(sizeof(outcome_names) / sizeof(outcome_names[0]) == KVP_HOST_OUTCOMES, "");

#define TO(state) (1u << KVP_HOST_##state)

static const uint32_t allowed_states[] = {
	[KVP_HOST_CLOSED] = TO(NEGOTIATING),
	[KVP_HOST_NEGOTIATING] = TO(READY) | TO(CLOSED) | TO(NEGOTIATING),
	[KVP_HOST_READY] = TO(ASKED) | TO(CLOSED) | TO(NEGOTIATING),
	[KVP_HOST_ASKED] = TO(READY) | TO(CLOSED) | TO(NEGOTIATING),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == KVP_HOST_STATES, "");

const char *kvp_host_state_name(enum kvp_host_state state)
{
	return state_names[state];
}

const char *kvp_host_outcome_name(enum kvp_host_outcome outcome)
{
	return outcome_names[outcome];
}

void kvp_host_init(struct kvp_host *h)
{
	*h = (struct kvp_host){.state = KVP_HOST_CLOSED};
}

static void set_state(struct kvp_host *h, enum kvp_host_state state)
{
	assert(allowed_states[h->state] & (1u << state));
	h->state = state;
}

static void end_first(struct kvp_host *h, enum kvp_host_outcome outcome)
{
	if (h->first && h->first->outcome == KVP_HOST_WAITING)
		h->first->outcome = outcome;
}

/* The first job that nobody has been told about waits for its turn. */
static bool has_work(const struct kvp_host *h)
{
	return h->first && h->first->outcome == KVP_HOST_WAITING && !h->answered;
}

/* A kvp_fault, or 0. */
static int try_to_write(const struct kvp_host *h, const struct kvp_host_job *job)
{
	uint8_t message[KVP_IP_MESSAGE_SIZE];
	size_t size;

	return kvp_encode_request(&job->request, h->binary_ip, message, &size);
}

void kvp_host_write(const struct kvp_host *h, uint8_t ret_message[KVP_IP_MESSAGE_SIZE], size_t *ret_size)
{
	int fault = kvp_encode_request(&h->first->request, h->binary_ip, ret_message, ret_size);

	assert(h->state == KVP_HOST_ASKED && fault == 0);
}

/* Sends the next request, if there is one. */
static void ask_next(struct kvp_host *h)
{
	if (h->state != KVP_HOST_READY || !has_work(h))
		return;
	if (try_to_write(h, h->first)) {
		/* It could be when it was added, but not in this version's form. */
		end_first(h, KVP_HOST_UNABLE);
		return;
	}
	h->asked++;
	h->send = true;
	set_state(h, KVP_HOST_ASKED);
}

int kvp_host_add(struct kvp_host *h, struct kvp_host_job *job)
{
	struct kvp_host_job **end = &h->first;
	int fault = try_to_write(h, job);

	if (fault)
		return fault;
	job->next = NULL;
	job->outcome = KVP_HOST_WAITING;
	while (*end)
		end = &(*end)->next;
	*end = job;
	if (h->state == KVP_HOST_CLOSED)
		job->outcome = KVP_HOST_LOST;
	ask_next(h);
	return 0;
}

void kvp_host_negotiating(struct kvp_host *h)
{
	/* A request that was under way is asked anew: all of them may be repeated. */
	h->send = h->negotiate = false;
	set_state(h, KVP_HOST_NEGOTIATING);
}

void kvp_host_open(struct kvp_host *h, uint16_t major)
{
	if (h->state != KVP_HOST_NEGOTIATING)
		return;
	h->binary_ip = major >= 5;
	set_state(h, KVP_HOST_READY);
	ask_next(h);
}

void kvp_host_close(struct kvp_host *h)
{
	if (h->state == KVP_HOST_CLOSED)
		return;
	for (struct kvp_host_job *job = h->first; job; job = job->next)
		if (job->outcome == KVP_HOST_WAITING)
			job->outcome = KVP_HOST_LOST;
	h->send = h->negotiate = h->answered = false;
	set_state(h, KVP_HOST_CLOSED);
}

void kvp_host_not_sent(struct kvp_host *h)
{
	if (h->state != KVP_HOST_ASKED)
		return;
	end_first(h, KVP_HOST_SILENT);
	set_state(h, KVP_HOST_READY);
	ask_next(h);
}

/* What the good answer brings. */
static void take_answer(struct kvp_host *h, const void *message, size_t size)
{
	struct kvp_host_job *job = h->first;
	enum kvp_operation operation = job->request.operation;

	if (kvp_decode_answer(message, size, operation, h->binary_ip, &job->answer)) {
		end_first(h, KVP_HOST_NONSENSE);
		return;
	}
	h->answered = operation == KVP_GET || operation == KVP_GET_IP || operation == KVP_ENUMERATE;
	if (!job->list)
		end_first(h, KVP_HOST_DONE);
	else if (++job->request.index == KVP_HOST_ENTRIES_MAX)
		end_first(h, KVP_HOST_ENDLESS);
}

void kvp_host_receive(struct kvp_host *h, uint32_t status, const void *message, size_t size)
{
	if (h->state != KVP_HOST_ASKED || !h->first) {
		h->stray_answers++;
		return;
	}
	h->answers++;
	set_state(h, KVP_HOST_READY);
	if (status == IC_S_OK) {
		take_answer(h, message, size);
	} else if (status == KVP_S_NO_MORE) {
		end_first(h, h->first->list ? KVP_HOST_DONE : KVP_HOST_NONE);
	} else {
		h->first->status = status;
		end_first(h, KVP_HOST_REFUSED);
	}
	ask_next(h);
}

void kvp_host_tick(struct kvp_host *h, uint64_t now_ns)
{
	for (struct kvp_host_job *job = h->first; job; job = job->next) {
		if (job->outcome != KVP_HOST_WAITING || now_ns < job->done_by_ns)
			continue;
		job->outcome = KVP_HOST_SILENT;
		if (job == h->first && h->state == KVP_HOST_ASKED) {
			h->negotiate = true;
			h->send = false;
			h->renegotiations++;
			set_state(h, KVP_HOST_NEGOTIATING);
		}
	}
	ask_next(h);
}

uint64_t kvp_host_deadline_ns(const struct kvp_host *h)
{
	uint64_t deadline = UINT64_MAX;

	for (const struct kvp_host_job *job = h->first; job; job = job->next)
		if (job->outcome == KVP_HOST_WAITING && job->done_by_ns < deadline)
			deadline = job->done_by_ns;
	return deadline;
}

static bool finish(struct kvp_host *h, struct kvp_host_action *ret_action)
{
	struct kvp_host_job **p = &h->first;

	while (*p && (*p)->outcome == KVP_HOST_WAITING)
		p = &(*p)->next;
	if (!*p)
		return false;
	*ret_action = (struct kvp_host_action){.type = KVP_HOST_ACTION_FINISHED, .job = *p};
	*p = (*p)->next;
	ask_next(h);
	return true;
}

bool kvp_host_next_action(struct kvp_host *h, struct kvp_host_action *ret_action)
{
	if (h->answered) {
		h->answered = false;
		*ret_action = (struct kvp_host_action){.type = KVP_HOST_ACTION_ENTRY, .job = h->first};
		ask_next(h);
		return true;
	}
	if (finish(h, ret_action))
		return true;
	if (h->negotiate || h->send) {
		*ret_action = (struct kvp_host_action){
			.type = h->negotiate ? KVP_HOST_ACTION_NEGOTIATE : KVP_HOST_ACTION_SEND,
			.job = h->first,
		};
		h->negotiate = h->send = false;
		return true;
	}
	return false;
}
