/* SPDX-License-Identifier: MIT */

/*
 * The guest's backup machine, under requests and completions in any order.
 *
 * Input: steps of u8 kind, u8 argument, u16 length, and that many bytes. Kinds modulo 7: 0 the
 * bytes are a request; 1 the freeze completes, 2 the thaw completes, well if the argument is odd;
 * 3 everything was thawed early; 4 the transaction is void; 5 freezing becomes possible, or not;
 * 6 the last answer does not reach the host. What was not asked for does not complete.
 *
 * Oracles, against a record of what the freezer would be doing: nothing is frozen twice, thawed
 * twice, or frozen while a thaw is awaited; nothing is frozen when the machine is idle; a request
 * gets at most one answer, and none once it is void; answers stay inside of the message. If a freeze
 * that the host was told of has been lost, or the answer to its THAW, the next THAW fails, unless a
 * new freeze was asked for before.
 */

#include "tests/fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "vmbus/wire.h"
#include "vss/vss.h"
#include "vss/vss_wire.h"

enum {
	N_KINDS = 7,
};

struct world {
	struct vss vss;
	uint64_t now_ns;
	bool freezing; /* a freeze was asked for and has not completed */
	bool frozen;
	bool thawing;
	bool believed;  /* the host was told of a freeze, and of no end */
	bool lost;      /* it has ended otherwise than the host believes */
	bool thaw_told; /* the last answer has told it of the end */
	bool request_open;
	const uint8_t *request; /* its bytes and their number */
	size_t request_size;
};

static bool is_request(const uint8_t *data, size_t size, enum vss_operation operation)
{
	return size >= VSS_MESSAGE_MIN_SIZE && data[0] == operation;
}

static void on_answer(struct world *w, const struct vss_action *action)
{
	_cleanup_free_ uint8_t *message = fuzz_copy(w->request, w->request_size);

	fuzz_require(w->request_open);
	w->request_open = false;
	if (is_request(w->request, w->request_size, VSS_OP_FREEZE))
		w->believed = action->status == IC_S_OK;
	if (is_request(w->request, w->request_size, VSS_OP_THAW)) {
		fuzz_require(!w->believed || !w->lost || action->status == IC_E_FAIL);
		w->thaw_told = w->believed;
		w->believed = w->lost = false;
	}
	vss_apply_answer(action, message, w->request_size);
	for (size_t i = 0; i < w->request_size; i++)
		fuzz_require(message[i] == w->request[i] || (action->set_flags && i >= 8 && i < 12));
}

static void act(struct world *w)
{
	struct vss_action action;

	while (vss_next_action(&w->vss, &action)) {
		switch (action.type) {
		case VSS_ACTION_FREEZE:
			fuzz_require(!w->freezing && !w->frozen && !w->thawing);
			w->freezing = true;
			break;
		case VSS_ACTION_THAW:
			fuzz_require((w->freezing || w->frozen) && !w->thawing);
			fuzz_require(vss_reason_name(action.reason) != NULL);
			w->thawing = true;
			break;
		case VSS_ACTION_ANSWER:
			on_answer(w, &action);
			break;
		case VSS_ACTION_NOTE:
			fuzz_require(vss_note_name(action.note) != NULL);
			break;
		}
	}
}

static void receive(struct world *w, const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(data, size);

	if (is_request(data, size, VSS_OP_FREEZE) && w->vss.state == VSS_IDLE)
		w->believed = w->lost = false;
	w->thaw_told = false;
	w->request_open = true;
	w->request = data;
	w->request_size = size;
	vss_receive(&w->vss, copy, size, w->now_ns);
}

static void complete_freeze(struct world *w, bool ok)
{
	if (!w->freezing)
		return;
	w->freezing = false;
	w->frozen = ok;
	vss_complete_freeze(&w->vss, ok, w->now_ns);
}

static void complete_thaw(struct world *w, bool ok)
{
	if (!w->thawing)
		return;
	w->freezing = w->frozen = w->thawing = false;
	w->lost = w->lost || !ok;
	vss_complete_thaw(&w->vss, ok, w->now_ns);
}

static void thaw_early(struct world *w)
{
	if (!w->freezing && !w->frozen && !w->thawing)
		return;
	w->lost = w->lost || w->frozen;
	w->freezing = w->frozen = w->thawing = false;
	vss_thawed_early(&w->vss, VSS_REASON_FREEZER, w->now_ns);
}

static void step(struct world *w, uint8_t kind, bool odd, const uint8_t *data, size_t size)
{
	w->now_ns++;
	if (kind == 0) {
		receive(w, data, size);
	} else if (kind == 1) {
		complete_freeze(w, odd);
	} else if (kind == 2) {
		complete_thaw(w, odd);
	} else if (kind == 3) {
		thaw_early(w);
	} else if (kind == 4) {
		w->request_open = false;
		w->lost = w->lost || w->vss.state == VSS_FROZEN;
		vss_abort(&w->vss, VSS_REASON_NEGOTIATE, w->now_ns);
	} else if (kind == 5) {
		vss_set_available(&w->vss, odd);
	} else {
		w->believed = w->believed || w->thaw_told;
		w->lost = w->lost || w->thaw_told;
		w->thaw_told = false;
		vss_answer_lost(&w->vss);
	}
	act(w);

	fuzz_require(w->vss.state != VSS_IDLE || (!w->freezing && !w->frozen && !w->thawing));
	fuzz_require(w->vss.state != VSS_FROZEN || (w->frozen && !w->thawing));
	fuzz_require(w->vss.state != VSS_THAWING || w->thawing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {0};
	struct bytes_reader r;

	vss_init(&w.vss);
	bytes_reader_init(&r, data, size);
	while (bytes_left(&r) > 0) {
		uint8_t kind = bytes_get_u8(&r) % N_KINDS;
		uint8_t argument = bytes_get_u8(&r);
		size_t n = bytes_get_u16(&r);

		if (n > bytes_left(&r))
			n = bytes_left(&r);
		step(&w, kind, argument % 2, bytes_get_direct(&r, n), n);
	}

	/* However it stands: what follows the end of the channel leaves nothing frozen. */
	step(&w, 4, false, NULL, 0);
	complete_thaw(&w, true);
	act(&w);
	fuzz_require(w.vss.state == VSS_IDLE);
	return 0;
}
