/* SPDX-License-Identifier: MIT */

/*
 * The host's machine of the key-value exchange, under a guest that answers anything at any time.
 *
 * Input: steps of u8 kind, u8 argument, u16 length, and that many bytes. Kinds modulo 7: 0 a job is
 * added, of the operation and list by the argument; 1 the bytes are an answer with a status by the
 * argument; 2 likewise, laid over the request as it was sent; 3 the versions are agreed on (5 if the
 * argument is odd, else 4); 4 the channel is closed, or opened if it was; 5 the request could not be
 * sent; 6 the argument in seconds pass.
 *
 * Oracles: a job ends exactly once, in time; nothing is sent before the last request was answered or
 * a negotiation voided it; only what was asked for brings an entry, which is text inside of its
 * record.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "host/kvp_host.h"
#include "vmbus/wire.h"

#include <stdbool.h>

#define SECOND UINT64_C(1000000000)

enum {
	N_KINDS = 7,
	JOBS = 8,
	PATIENCE_S = 20,
};

struct world {
	struct kvp_host host;
	uint64_t now_ns;
	struct kvp_host_job jobs[JOBS];
	bool used[JOBS]; /* and not ended */
	bool under_way;  /* a request */
	uint8_t sent[KVP_IP_MESSAGE_SIZE];
	size_t sent_size;
};

static void on_entry(const struct kvp_host_job *job)
{
	enum kvp_operation operation = job->request.operation;

	fuzz_require(operation == KVP_GET || operation == KVP_ENUMERATE || operation == KVP_GET_IP);
	fuzz_require(strnlen(job->answer.key, KVP_KEY_SIZE) < KVP_KEY_SIZE);
	fuzz_require(strnlen(job->answer.value, KVP_VALUE_SIZE) < KVP_VALUE_SIZE);
	fuzz_require(operation != KVP_ENUMERATE || *job->answer.key);
}

static void on_finished(struct world *w, const struct kvp_host_job *job)
{
	size_t i = (size_t)(job - w->jobs);

	fuzz_require(w->used[i] && job->outcome != KVP_HOST_WAITING);
	fuzz_require(kvp_host_outcome_name(job->outcome) != NULL);
	w->used[i] = false;
}

static void act(struct world *w)
{
	struct kvp_host_action action;

	while (kvp_host_next_action(&w->host, &action)) {
		switch (action.type) {
		case KVP_HOST_ACTION_SEND:
			fuzz_require(!w->under_way);
			w->under_way = true;
			kvp_host_write(&w->host, w->sent, &w->sent_size);
			break;
		case KVP_HOST_ACTION_NEGOTIATE:
			w->under_way = false;
			kvp_host_negotiating(&w->host);
			break;
		case KVP_HOST_ACTION_ENTRY:
			on_entry(action.job);
			break;
		case KVP_HOST_ACTION_FINISHED:
			on_finished(w, action.job);
			break;
		}
	}
}

static void add(struct world *w, uint8_t argument)
{
	struct kvp_host_job *job;
	size_t i = 0;

	while (i < JOBS && w->used[i])
		i++;
	if (i == JOBS)
		return;
	job = &w->jobs[i];
	*job = (struct kvp_host_job){.done_by_ns = w->now_ns + PATIENCE_S * SECOND};
	job->request.operation = argument % KVP_OPERATIONS;
	job->request.pool = argument / 8 % KVP_POOLS;
	job->list = job->request.operation == KVP_ENUMERATE;
	memcpy(job->request.key, "key", 4);
	memcpy(job->request.ip.adapter, "a", 2);
	w->used[i] = true;
	if (kvp_host_add(&w->host, job))
		w->used[i] = false;
}

static void answer(struct world *w, uint8_t argument, const uint8_t *data, size_t size)
{
	static const uint32_t statuses[] = {IC_S_OK, KVP_S_NO_MORE, IC_E_FAIL, KVP_E_LOCKED};
	_cleanup_free_ uint8_t *copy = fuzz_copy(data, size);

	w->under_way = false;
	kvp_host_receive(&w->host, statuses[argument % 4], copy, size);
}

static void answer_over(struct world *w, uint8_t argument, const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(w->sent, w->sent_size);

	if (size && w->sent_size)
		memcpy(copy, data, size < w->sent_size ? size : w->sent_size);
	answer(w, argument, copy, w->sent_size);
}

static void toggle(struct world *w)
{
	w->under_way = false;
	if (w->host.state == KVP_HOST_CLOSED)
		kvp_host_negotiating(&w->host);
	else
		kvp_host_close(&w->host);
}

static void step(struct world *w, uint8_t kind, uint8_t argument, const uint8_t *data, size_t size)
{
	if (kind == 0) {
		add(w, argument);
	} else if (kind == 1) {
		answer(w, argument, data, size);
	} else if (kind == 2) {
		answer_over(w, argument, data, size);
	} else if (kind == 3) {
		kvp_host_open(&w->host, argument % 2 ? 5 : 4);
	} else if (kind == 4) {
		toggle(w);
	} else if (kind == 5) {
		w->under_way = false;
		kvp_host_not_sent(&w->host);
	} else {
		w->now_ns += argument * SECOND;
	}
	kvp_host_tick(&w->host, w->now_ns);
	act(w);
	for (size_t i = 0; i < JOBS; i++)
		fuzz_require(!w->used[i] || w->now_ns < w->jobs[i].done_by_ns);
	fuzz_require(kvp_host_deadline_ns(&w->host) > w->now_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct bytes_reader r;

	w = (struct world){.now_ns = SECOND};
	kvp_host_init(&w.host);
	bytes_reader_init(&r, data, size);
	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % N_KINDS;
		uint8_t argument = bytes_get_u8(&r);
		size_t n = bytes_get_u16(&r);

		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(&w, kind, argument, bytes_get_direct(&r, n), n);
	}
	step(&w, N_KINDS - 1, PATIENCE_S, NULL, 0);
	for (size_t i = 0; i < JOBS; i++)
		fuzz_require(!w.used[i]);
	return 0;
}
