/* SPDX-License-Identifier: MIT */

/*
 * The clients of the notify socket, who may be anybody and may send anything.
 *
 * Input: steps of u8 kind, u8 argument, u16 length, and that many bytes. Kinds modulo 6: 0 somebody
 * connects, as root if the argument is even; 1 client number `argument` sends the bytes; 2 it hangs
 * up; 3 a freeze begins; 4 it ends, well if the argument is odd; 5 `argument` seconds pass.
 *
 * Oracles: only who is connected is sent to or shown out; what is sent is text of the right length;
 * who was told of a freeze is told of its end, once, before the next, unless it is gone; a freeze is
 * found ready or failed once, and failed only because of root's client.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "fsfreeze/notify.h"

#include <stdbool.h>

enum {
	N_KINDS = 6,
};

#define NS_PER_S UINT64_C(1000000000)

struct world {
	struct notify notify;
	uint64_t now_ns;
	bool connected[NOTIFY_CLIENTS_MAX];
	bool is_root[NOTIFY_CLIENTS_MAX];
	bool told[NOTIFY_CLIENTS_MAX]; /* of a freeze, and not of its end */
	bool asked; /* a freeze has begun, and nobody has been told what is of it */
};

static void leave(struct world *w, size_t i)
{
	w->connected[i] = w->told[i] = false;
}

static void on_send(struct world *w, const struct notify_action *a)
{
	size_t length = strnlen(a->text, sizeof(a->text));
	bool ends = !strncmp(a->text, "thaw ", 5) || !strncmp(a->text, "abort ", 6);

	fuzz_require(w->connected[a->client]);
	fuzz_require(length > 0 && length < NOTIFY_MESSAGE_MAX);
	for (size_t i = 0; i < length; i++)
		fuzz_require(a->text[i] >= ' ' && a->text[i] < 0x7f);
	if (!strncmp(a->text, "freeze ", 7)) {
		fuzz_require(!w->told[a->client]);
		w->told[a->client] = true;
	} else if (ends) {
		fuzz_require(w->told[a->client]);
		w->told[a->client] = false;
	}
}

static void act(struct world *w)
{
	struct notify_action a;

	while (notify_next_action(&w->notify, &a)) {
		switch (a.type) {
		case NOTIFY_ACTION_SEND:
			on_send(w, &a);
			break;
		case NOTIFY_ACTION_CLOSE:
			fuzz_require(w->connected[a.client]);
			leave(w, a.client);
			notify_gone(&w->notify, a.client, w->now_ns);
			break;
		case NOTIFY_ACTION_DONE:
			fuzz_require(w->asked);
			w->asked = false;
			break;
		case NOTIFY_ACTION_FAILED:
			fuzz_require(w->asked && w->is_root[a.client]);
			w->asked = false;
			break;
		}
	}
}

static void end_freeze(struct world *w, bool well)
{
	notify_back(&w->notify, well ? NOTIFY_THAW : NOTIFY_ABORT);
	w->asked = false;
	act(w);
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		fuzz_require(!w->told[i]);
}

static void step(struct world *w, uint8_t kind, uint8_t argument, const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(data, size);
	size_t i = argument % NOTIFY_CLIENTS_MAX;

	if (kind == 0 && notify_add(&w->notify, argument % 2 * 1000u, w->now_ns, &i) == 0) {
		fuzz_require(!w->connected[i]);
		w->connected[i] = true;
		w->is_root[i] = argument % 2 == 0;
	} else if (kind == 1 && w->connected[i]) {
		notify_receive(&w->notify, i, copy, size, w->now_ns);
	} else if (kind == 2 && w->connected[i]) {
		leave(w, i);
		notify_gone(&w->notify, i, w->now_ns);
	} else if (kind == 3 && w->notify.state == NOTIFY_IDLE) {
		w->asked = true;
		notify_begin(&w->notify, w->now_ns);
	} else if (kind == 4) {
		end_freeze(w, argument % 2);
	} else if (kind == 5) {
		w->now_ns += argument * NS_PER_S;
		notify_tick(&w->notify, w->now_ns);
	}
	act(w);
	fuzz_require(notify_count_failed(&w->notify) <= notify_count(&w->notify));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct bytes_reader r;

	w = (struct world){0};
	notify_init(&w.notify, 10 * NS_PER_S);
	bytes_reader_init(&r, data, size);
	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % N_KINDS;
		uint8_t argument = bytes_get_u8(&r);
		size_t n = bytes_get_u16(&r);

		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(&w, kind, argument, bytes_get_direct(&r, n), n);
	}

	/* Nobody is waited for longer than the limit allows. */
	step(&w, 5, 11, NULL, 0);
	fuzz_require(!w.asked);
	end_freeze(&w, true);
	return 0;
}
