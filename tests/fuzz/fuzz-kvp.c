/* SPDX-License-Identifier: MIT */

/*
 * The guest's machine of the key-value exchange with its decoders, under requests, completions and
 * time in any order.
 *
 * Input: steps of u8 kind, u8 argument, u16 length, and that many bytes. Kinds modulo 10: 0, 1 and 2
 * the bytes are a request, as texts, binary and of the device; 3, 4 and 5 likewise, laid over a
 * message of zeros that is as long as it should be; 6 what was given out last completes, with the
 * argument as its result and the bytes as its key and value; 7 an older request completes; 8 the
 * request is void, or (odd) something freezes, or (2 modulo 4) thaws; 9 the argument in seconds pass.
 *
 * Oracles: a request is answered at most once, and not when it is void; once it is late it has been
 * answered; nothing is changed that is not the host's, nor while frozen; keys and values end inside
 * of their records; an answer stays inside of the message, and a host finds a good one good.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "services/kvp.h"
#include "services/kvp_device.h"
#include "vmbus/wire.h"

#include <stdbool.h>

#define SECOND UINT64_C(1000000000)

enum {
	N_KINDS = 10,
};

struct world {
	struct kvp kvp;
	uint64_t now_ns;
	bool open;        /* a request that has not been answered, and is not void */
	uint64_t since_ns;
	uint64_t serial;  /* of what was given out last */
	enum kvp_form form;
	uint8_t *message; /* the request */
	size_t size;
};

static void check_text(const char *text, size_t size)
{
	fuzz_require(strnlen(text, size) < size);
}

/* What a host makes of a good answer. */
static void check_answer(const struct world *w, const struct kvp_action *action, const uint8_t *message)
{
	struct kvp_request answer;

	if (w->form == KVP_FORM_DEVICE || action->status != IC_S_OK)
		return;
	fuzz_require(kvp_decode_answer(message, w->size, action->operation,
				       w->form == KVP_FORM_BINARY, &answer) == 0);
}

static void on_answer(struct world *w, const struct kvp_action *action)
{
	size_t size = w->form == KVP_FORM_DEVICE ? KVP_DEVICE_MESSAGE_SIZE : w->size;
	_cleanup_free_ uint8_t *copy = calloc(1, size ? size : 1);

	fuzz_require(w->open && copy);
	w->open = false;
	if (w->form != KVP_FORM_DEVICE && size)
		memcpy(copy, w->message, size);
	kvp_apply_answer(&w->kvp, action, copy, size);
	check_answer(w, action, copy);
}

static void check_given_out(const struct world *w, const struct kvp_action *action)
{
	const struct kvp_request *q = &w->kvp.request;

	fuzz_require(w->open && action->serial == w->kvp.serial);
	check_text(q->key, sizeof(q->key));
	check_text(q->value, sizeof(q->value));
	check_text(q->ip.adapter, sizeof(q->ip.adapter));
	if (action->type == KVP_ACTION_WRITE)
		fuzz_require((q->pool == KVP_POOL_EXTERNAL || q->pool == KVP_POOL_AUTO_EXTERNAL) &&
			     *q->key);
	if (action->type == KVP_ACTION_WRITE || action->type == KVP_ACTION_SET_IP)
		fuzz_require(!w->kvp.frozen);
	if (action->type == KVP_ACTION_GET_IP || action->type == KVP_ACTION_SET_IP)
		fuzz_require(*q->ip.adapter && q->ip.n_addresses <= KVP_IP_ADDRESSES_MAX &&
			     q->ip.n_gateways <= KVP_IP_GATEWAYS_MAX &&
			     q->ip.n_dns <= KVP_IP_DNS_MAX);
}

static void act(struct world *w)
{
	struct kvp_action action;

	while (kvp_next_action(&w->kvp, &action)) {
		switch (action.type) {
		case KVP_ACTION_READ:
		case KVP_ACTION_WRITE:
		case KVP_ACTION_GET_IP:
		case KVP_ACTION_SET_IP:
			check_given_out(w, &action);
			w->serial = action.serial;
			break;
		case KVP_ACTION_WITHDRAW:
			fuzz_require(action.serial == w->serial);
			break;
		case KVP_ACTION_ANSWER:
			on_answer(w, &action);
			break;
		case KVP_ACTION_NOTE:
			fuzz_require(kvp_note_name(action.note) != NULL);
			break;
		}
	}
}

/* @whole: the bytes are the beginning of a message of the length that the form has. */
static void receive(struct world *w, enum kvp_form form, bool whole, const uint8_t *data, size_t size)
{
	size_t length = size;

	if (whole && form == KVP_FORM_DEVICE)
		length = KVP_DEVICE_MESSAGE_SIZE;
	else if (whole)
		length = size > 0 && (data[0] == KVP_GET_IP || data[0] == KVP_SET_IP)
				 ? KVP_IP_MESSAGE_SIZE
				 : KVP_MESSAGE_SIZE;
	free(w->message);
	w->message = calloc(1, length ? length : 1);
	fuzz_require(w->message);
	if (size)
		memcpy(w->message, data, size < length ? size : length);
	w->size = length;
	w->form = form;
	w->open = true;
	w->since_ns = w->now_ns;
	kvp_receive(&w->kvp, form, w->message, length, w->now_ns);
}

static void complete(struct world *w, uint64_t serial, uint8_t result, const uint8_t *data, size_t size)
{
	struct kvp_request answer = {0};

	if (size) {
		memcpy(answer.key, data, size < KVP_KEY_SIZE - 1 ? size : KVP_KEY_SIZE - 1);
		memcpy(answer.value, data, size < KVP_VALUE_SIZE - 1 ? size : KVP_VALUE_SIZE - 1);
	}
	if (!*answer.key)
		answer.key[0] = 'k';
	memcpy(answer.ip.adapter, "a", 2);
	for (size_t i = 0; i < size / 5 && i < KVP_IP_ADDRESSES_MAX; i++) {
		struct kvp_ip_address *a = &answer.ip.addresses[answer.ip.n_addresses++];

		a->address.family = data[5 * i] & 1 ? KVP_FAMILY_IPV4 : KVP_FAMILY_IPV6;
		memcpy(a->address.bytes, data + 5 * i, 4);
		a->prefix = data[5 * i + 4] % (data[5 * i] & 1 ? 33 : 129);
	}
	kvp_complete(&w->kvp, serial, result % KVP_RESULTS, &answer);
}

static void change(struct world *w, uint8_t argument)
{
	if (argument % 2) {
		kvp_set_frozen(&w->kvp, true);
	} else if (argument % 4 == 2) {
		kvp_set_frozen(&w->kvp, false);
	} else {
		w->open = false;
		kvp_void(&w->kvp);
	}
}

static void step(struct world *w, uint8_t kind, uint8_t argument, const uint8_t *data, size_t size)
{
	if (kind < 6)
		receive(w, kind % 3, kind >= 3, data, size);
	else if (kind == 6)
		complete(w, w->serial, argument, data, size);
	else if (kind == 7)
		complete(w, w->serial - 1, argument, data, size);
	else if (kind == 8)
		change(w, argument);
	else
		w->now_ns += argument * SECOND;
	kvp_tick(&w->kvp, w->now_ns);
	act(w);
	fuzz_require(!w->open || w->now_ns - w->since_ns < 28 * SECOND);
	fuzz_require(w->open == (w->kvp.state != KVP_IDLE));
	fuzz_require(w->kvp.state != KVP_HELD || w->kvp.frozen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct bytes_reader r;

	free(w.message);
	w = (struct world){.now_ns = SECOND};
	kvp_init(&w.kvp);
	bytes_reader_init(&r, data, size);
	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % N_KINDS;
		uint8_t argument = bytes_get_u8(&r);
		size_t n = bytes_get_u16(&r);

		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(&w, kind, argument, bytes_get_direct(&r, n), n);
	}
	/* However it stands: in time every request has its answer. */
	step(&w, N_KINDS - 1, 28, NULL, 0);
	fuzz_require(!w.open);
	free(w.message);
	w.message = NULL;
	return 0;
}
