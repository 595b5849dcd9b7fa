/* SPDX-License-Identifier: MIT */

/*
 * The guest's file copy, under requests and completions in any order.
 *
 * Input: one byte whose lowest bit chooses the encoding of names; then steps of u8 kind, u8
 * argument, u16 length, and that many bytes. Kinds modulo 9: 0 the bytes are a request; 1 the file
 * is open, or not, by the argument; 2 data is taken; 3 the file is in its place, or not; 4 it is
 * discarded; 5 a write behind fails; 6 file systems are frozen, or not any more; 7 the deadline
 * passes; 8 the transaction is void. What was not asked for does not complete.
 *
 * Oracles, against a record of what there would be: no second file is begun before the first is
 * gone or in its place; data is inside of the request, in order, within the announced size; a file
 * is put in its place only with all of its data; nothing is written during a hold; a request gets
 * at most one answer, and none once it is void; an abort and a discard end everything.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "services/fcopy.h"

enum {
	N_KINDS = 9,
};

struct world {
	struct fcopy core;
	uint64_t now_ns;
	bool held;
	bool opening, open, writing, finishing, discarding;
	uint64_t written;
	bool request_open;
	uint8_t *request; /* in a block of its exact size */
	size_t request_size;
};

static void on_action(struct world *w, const struct fcopy_action *action)
{
	bool idle = !w->opening && !w->open && !w->finishing && !w->discarding;
	const struct fcopy *f = &w->core;

	switch (action->type) {
	case FCOPY_ACTION_OPEN:
		fuzz_require(idle && !w->held);
		fuzz_require(memchr(f->start.name, 0, sizeof(f->start.name)) != NULL);
		fuzz_require(memchr(f->start.directory, 0, sizeof(f->start.directory)) != NULL);
		w->opening = true;
		w->written = 0;
		break;
	case FCOPY_ACTION_DATA:
		fuzz_require(w->open && !w->writing && !w->held);
		fuzz_require(f->data.data >= w->request &&
			     f->data.data + f->data.size <= w->request + w->request_size);
		fuzz_require(f->data.offset == w->written &&
			     f->data.size <= f->start.size_bytes - w->written);
		w->writing = true;
		break;
	case FCOPY_ACTION_FINISH:
		fuzz_require(w->open && !w->writing && !w->held);
		fuzz_require(w->written == f->start.size_bytes);
		w->open = false;
		w->finishing = true;
		break;
	case FCOPY_ACTION_DISCARD:
		fuzz_require((w->opening || w->open || w->finishing) && !w->discarding);
		fuzz_require(fcopy_result_name(action->result) != NULL);
		w->opening = w->open = w->writing = w->finishing = false;
		w->discarding = true;
		break;
	case FCOPY_ACTION_ANSWER:
		fuzz_require(w->request_open);
		w->request_open = false;
		break;
	case FCOPY_ACTION_NOTE:
		fuzz_require(fcopy_note_name(action->note) != NULL);
		break;
	}
}

static void receive(struct world *w, const uint8_t *data, size_t size)
{
	uint8_t *old = w->request;

	w->request = fuzz_copy(data, size);
	w->request_size = size;
	w->request_open = true;
	free(old);
	fcopy_receive(&w->core, w->request, size, w->now_ns);
}

/* A kind that something was asked for. */
static void complete(struct world *w, uint8_t kind, uint8_t argument)
{
	enum fcopy_result result = argument % (FCOPY_FAILED + 1);

	if (kind == 1 && w->opening) {
		w->opening = false;
		w->open = result == FCOPY_OK;
		fcopy_opened(&w->core, result, w->now_ns);
	} else if (kind == 2 && w->writing) {
		w->writing = false;
		w->written += w->core.data.size;
		fcopy_taken(&w->core, w->now_ns);
	} else if (kind == 3 && w->finishing) {
		w->finishing = w->open = result != FCOPY_OK;
		fcopy_finished(&w->core, result, w->now_ns);
	} else if (kind == 4 && w->discarding) {
		w->discarding = false;
		fcopy_discarded(&w->core, w->now_ns);
	} else if (kind == 5 && (w->open || w->finishing)) {
		fcopy_failed(&w->core, FCOPY_DISK_FULL, w->now_ns);
	}
}

static void step(struct world *w, uint8_t kind, uint8_t argument, const uint8_t *data, size_t size)
{
	struct fcopy_action action;

	w->now_ns++;
	if (kind == 0) {
		receive(w, data, size);
	} else if (kind == 6) {
		w->held = argument % 2;
		fcopy_hold(&w->core, w->held, w->now_ns);
	} else if (kind == 7) {
		fcopy_tick(&w->core, fcopy_deadline_ns(&w->core));
	} else if (kind == 8) {
		w->request_open = false;
		fcopy_abort(&w->core, FCOPY_LOST, w->now_ns);
	} else {
		complete(w, kind, argument);
	}
	while (fcopy_next_action(&w->core, &action))
		on_action(w, &action);
	fuzz_require(fcopy_is_active(&w->core) ==
		     (w->opening || w->open || w->finishing || w->discarding));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {0};
	struct bytes_reader r;

	bytes_reader_init(&r, data, size);
	fcopy_init(&w.core, bytes_get_u8(&r) % 2 ? FCOPY_UTF8 : FCOPY_UTF16);
	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % N_KINDS;
		uint8_t argument = bytes_get_u8(&r);
		size_t n = bytes_get_u16(&r);

		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(&w, kind, argument, bytes_get_direct(&r, n), n);
	}

	step(&w, 8, 0, NULL, 0);
	step(&w, 4, 0, NULL, 0);
	fuzz_require(!fcopy_is_active(&w.core));
	free(w.request);
	return 0;
}
