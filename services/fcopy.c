/* SPDX-License-Identifier: MIT */

/*
 * File copy, guest's end.
 *
 *              START              opened              COMPLETE
 *       IDLE --------> STARTING ---------> OPEN ------------------> FINISHING
 *        ^                |  |             |  ^                      |   |
 *        |     not opened |  |       WRITE v  | taken                |   |
 *        +----------------+  |            WRITING                    |   |
 *        |                   |               |                       |   |
 *        |                   +-------+-------+-- CANCEL, failure, ---+   |
 *        |                           v           channel lost            |
 *        +---- discarded ------ DISCARDING                               |
 *        +---- finished -------------------------------------------------+
 *
 * A host sends one request and waits for the answer, and the bytes of a file in order, from the
 * first to the last. That order is insisted on: a fragment that does not begin where the last one
 * ended, or that goes beyond the announced end, breaks the copy, and so does a COMPLETE before all
 * is there. What is in its place in the end is what was announced, or nothing is. The rules are
 * those of docs/PROTOCOL-fcopy.md section 4.
 *
 * While file systems are frozen, a request that needs them waits; if that takes longer than a
 * kernel waits for its daemon, the copy is given up. So it is if the host says nothing for ten
 * minutes.
 *
 * A request that comes before the last one was answered overtakes it: the answer to that would not
 * reach anybody, and its bytes are gone, so the copy is given up before the new one is looked at.
 */

#include "services/fcopy.h"

#include "vmbus/wire.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define HOLD_LIMIT_NS (25 * NS_PER_SECOND) /* Linux HV_UTIL_TIMEOUT: 30 s */
#define SILENCE_LIMIT_NS (600 * NS_PER_SECOND)

static const char *const state_names[] = {
	[FCOPY_IDLE] = "idle",           [FCOPY_STARTING] = "starting",
	[FCOPY_OPEN] = "open",           [FCOPY_WRITING] = "writing",
	[FCOPY_FINISHING] = "finishing", [FCOPY_DISCARDING] = "discarding",
};

static const uint8_t transitions[] = {
	[FCOPY_IDLE] = 1 << FCOPY_STARTING,
	[FCOPY_STARTING] = 1 << FCOPY_IDLE | 1 << FCOPY_OPEN | 1 << FCOPY_DISCARDING,
	[FCOPY_OPEN] = 1 << FCOPY_WRITING | 1 << FCOPY_FINISHING | 1 << FCOPY_DISCARDING,
	[FCOPY_WRITING] = 1 << FCOPY_OPEN | 1 << FCOPY_DISCARDING,
	[FCOPY_FINISHING] = 1 << FCOPY_IDLE | 1 << FCOPY_DISCARDING,
	[FCOPY_DISCARDING] = 1 << FCOPY_IDLE,
};

static const struct {
	const char *name;
	uint32_t status;
} results[] = {
	[FCOPY_OK] = {"complete", IC_S_OK},
	[FCOPY_EXISTS] = {"there is a file of this name, and it is not to be replaced",
			  IC_E_ALREADY_EXISTS},
	[FCOPY_DISK_FULL] = {"the disk is full", IC_E_DISK_FULL},
	[FCOPY_REFUSED] = {"not allowed there", IC_E_FAIL},
	[FCOPY_FAILED] = {"it cannot be written", IC_E_FAIL},
	[FCOPY_CANCELLED] = {"cancelled by the host", IC_E_FAIL},
	[FCOPY_LOST] = {"the host or its channel was lost", IC_E_FAIL},
	[FCOPY_STOPPED] = {"hvguestd stops", IC_E_FAIL},
	[FCOPY_SILENT] = {"the host said nothing for ten minutes", IC_E_FAIL},
	[FCOPY_HELD] = {"file systems were frozen for too long", IC_E_FAIL},
	[FCOPY_BROKEN] = {"the host did not send what it announced", IC_E_FAIL},
};

static const char *const note_names[] = {
	[FCOPY_NOTE_MALFORMED] = "a message is too short, or what it names is no text",
	[FCOPY_NOTE_UNKNOWN] = "an operation that is not known",
	[FCOPY_NOTE_NOT_STARTED] = "data, or an end, of a file that is not being copied",
	[FCOPY_NOTE_OUT_OF_ORDER] = "a fragment does not begin where the last one ended",
	[FCOPY_NOTE_BEYOND] = "data goes beyond the announced end",
	[FCOPY_NOTE_SHORT] = "the end came before all data was there",
	[FCOPY_NOTE_RESTARTED] = "another file was begun before the end of the last",
	[FCOPY_NOTE_OVERTAKEN] = "a request came before the last one was answered",
};

void fcopy_init(struct fcopy *f, enum fcopy_encoding encoding)
{
	*f = (struct fcopy){.encoding = encoding, .deadline_ns = UINT64_MAX};
}

static void set_state(struct fcopy *f, enum fcopy_state state, uint64_t now_ns)
{
	assert(transitions[f->state] & (1 << state));
	f->state = state;
	f->stats.entered[state]++;
	f->deadline_ns = state == FCOPY_OPEN ? now_ns + SILENCE_LIMIT_NS : UINT64_MAX;
}

static void act(struct fcopy *f, struct fcopy_action action)
{
	assert(f->n_actions < FCOPY_ACTIONS_MAX);
	f->actions[f->n_actions++] = action;
}

static void note(struct fcopy *f, enum fcopy_note n)
{
	f->stats.notes[n]++;
	act(f, (struct fcopy_action){.type = FCOPY_ACTION_NOTE, .note = n});
}

static void answer(struct fcopy *f, enum fcopy_result result)
{
	if (!f->answer_due)
		return;
	f->answer_due = f->waits = false;
	f->message = NULL;
	act(f, (struct fcopy_action){.type = FCOPY_ACTION_ANSWER, .status = results[result].status});
}

/* Nothing of the file is to be left. In IDLE and DISCARDING there is nothing to do. */
static void discard(struct fcopy *f, enum fcopy_result why, uint64_t now_ns)
{
	switch (f->state) {
	case FCOPY_STARTING:
	case FCOPY_OPEN:
	case FCOPY_WRITING:
	case FCOPY_FINISHING:
		f->result = why;
		f->stats.discarded++;
		set_state(f, FCOPY_DISCARDING, now_ns);
		act(f, (struct fcopy_action){.type = FCOPY_ACTION_DISCARD, .result = why});
		break;
	case FCOPY_IDLE:
	case FCOPY_DISCARDING:
	case FCOPY_STATES:
		break;
	}
}

/* The host's own mistake. */
static void break_copy(struct fcopy *f, enum fcopy_note why, uint64_t now_ns)
{
	note(f, why);
	discard(f, FCOPY_BROKEN, now_ns);
	answer(f, FCOPY_BROKEN);
}

static void begin(struct fcopy *f, uint64_t now_ns)
{
	if (fcopy_decode_start(f->message, f->size, f->encoding, &f->start)) {
		note(f, FCOPY_NOTE_MALFORMED);
		answer(f, FCOPY_BROKEN);
		return;
	}
	f->position = 0;
	f->result = FCOPY_OK;
	f->stats.started++;
	set_state(f, FCOPY_STARTING, now_ns);
	act(f, (struct fcopy_action){.type = FCOPY_ACTION_OPEN});
}

static void on_start(struct fcopy *f, uint64_t now_ns)
{
	switch (f->state) {
	case FCOPY_IDLE:
		begin(f, now_ns);
		break;
	case FCOPY_OPEN:
	case FCOPY_STARTING:
	case FCOPY_WRITING:
	case FCOPY_FINISHING:
		note(f, FCOPY_NOTE_RESTARTED);
		discard(f, FCOPY_BROKEN, now_ns);
		f->waits = true;
		break;
	case FCOPY_DISCARDING:
		f->waits = true;
		break;
	case FCOPY_STATES:
		break;
	}
}

/* Data, or the end, of a copy that has ended is answered by how it ended. */
static void refuse_late(struct fcopy *f)
{
	if (f->result == FCOPY_OK)
		note(f, FCOPY_NOTE_NOT_STARTED);
	answer(f, f->result == FCOPY_OK ? FCOPY_BROKEN : f->result);
}

static void append(struct fcopy *f, uint64_t now_ns)
{
	struct fcopy_fragment fragment;

	if (fcopy_decode_write(f->message, f->size, &fragment)) {
		break_copy(f, FCOPY_NOTE_MALFORMED, now_ns);
	} else if (fragment.offset != f->position) {
		break_copy(f, FCOPY_NOTE_OUT_OF_ORDER, now_ns);
	} else if (fragment.size > f->start.size_bytes - f->position) {
		break_copy(f, FCOPY_NOTE_BEYOND, now_ns);
	} else {
		f->data = fragment;
		set_state(f, FCOPY_WRITING, now_ns);
		act(f, (struct fcopy_action){.type = FCOPY_ACTION_DATA});
	}
}

static void on_write(struct fcopy *f, uint64_t now_ns)
{
	switch (f->state) {
	case FCOPY_OPEN:
		append(f, now_ns);
		break;
	case FCOPY_IDLE:
	case FCOPY_DISCARDING:
		refuse_late(f);
		break;
	case FCOPY_STARTING:
	case FCOPY_WRITING:
	case FCOPY_FINISHING:
	case FCOPY_STATES:
		break; /* overtaken: not reached, the copy was given up */
	}
}

static void on_complete(struct fcopy *f, uint64_t now_ns)
{
	switch (f->state) {
	case FCOPY_OPEN:
		if (f->position != f->start.size_bytes) {
			break_copy(f, FCOPY_NOTE_SHORT, now_ns);
			break;
		}
		set_state(f, FCOPY_FINISHING, now_ns);
		act(f, (struct fcopy_action){.type = FCOPY_ACTION_FINISH});
		break;
	case FCOPY_IDLE:
	case FCOPY_DISCARDING:
		refuse_late(f);
		break;
	case FCOPY_STARTING:
	case FCOPY_WRITING:
	case FCOPY_FINISHING:
	case FCOPY_STATES:
		break; /* as above */
	}
}

/* Nothing to cancel is no failure: it may come at any time, and twice. */
static void on_cancel(struct fcopy *f, uint64_t now_ns)
{
	discard(f, FCOPY_CANCELLED, now_ns);
	if (f->state == FCOPY_DISCARDING)
		f->waits = true;
	else
		answer(f, FCOPY_OK);
}

static void dispatch(struct fcopy *f, uint32_t operation, uint64_t now_ns)
{
	f->waits = false;
	switch (operation) {
	case FCOPY_OP_START:
		on_start(f, now_ns);
		break;
	case FCOPY_OP_WRITE:
		on_write(f, now_ns);
		break;
	case FCOPY_OP_COMPLETE:
		on_complete(f, now_ns);
		break;
	case FCOPY_OP_CANCEL:
		on_cancel(f, now_ns);
		break;
	default:
		note(f, FCOPY_NOTE_UNKNOWN);
		answer(f, FCOPY_BROKEN);
	}
}

/* Looks at the request, for the first time or again. */
static void look(struct fcopy *f, uint64_t now_ns)
{
	uint32_t operation;

	if (fcopy_decode_operation(f->message, f->size, &operation)) {
		note(f, FCOPY_NOTE_MALFORMED);
		answer(f, FCOPY_BROKEN);
	} else if (f->held && operation < FCOPY_OP_CANCEL) {
		f->waits = true;
		f->deadline_ns = now_ns + HOLD_LIMIT_NS;
	} else {
		dispatch(f, operation, now_ns);
	}
}

void fcopy_receive(struct fcopy *f, const void *message, size_t size, uint64_t now_ns)
{
	f->stats.requests++;
	if (f->answer_due) {
		f->answer_due = f->waits = false;
		note(f, FCOPY_NOTE_OVERTAKEN);
		discard(f, FCOPY_BROKEN, now_ns);
	}
	f->message = message;
	f->size = size;
	f->answer_due = true;
	look(f, now_ns);
}

void fcopy_opened(struct fcopy *f, enum fcopy_result result, uint64_t now_ns)
{
	if (f->state != FCOPY_STARTING) {
		f->stats.stray_completions++;
		return;
	}
	f->result = result;
	f->stats.refused += result != FCOPY_OK;
	set_state(f, result == FCOPY_OK ? FCOPY_OPEN : FCOPY_IDLE, now_ns);
	answer(f, result);
}

void fcopy_taken(struct fcopy *f, uint64_t now_ns)
{
	if (f->state != FCOPY_WRITING) {
		f->stats.stray_completions++;
		return;
	}
	f->position += f->data.size;
	f->data = (struct fcopy_fragment){0};
	set_state(f, FCOPY_OPEN, now_ns);
	answer(f, FCOPY_OK);
}

void fcopy_finished(struct fcopy *f, enum fcopy_result result, uint64_t now_ns)
{
	if (f->state != FCOPY_FINISHING) {
		f->stats.stray_completions++;
		return;
	}
	if (result != FCOPY_OK) {
		fcopy_failed(f, result, now_ns);
		return;
	}
	f->stats.finished++;
	f->stats.bytes += f->position;
	set_state(f, FCOPY_IDLE, now_ns);
	answer(f, FCOPY_OK);
}

void fcopy_discarded(struct fcopy *f, uint64_t now_ns)
{
	uint32_t operation;

	if (f->state != FCOPY_DISCARDING) {
		f->stats.stray_completions++;
		return;
	}
	set_state(f, FCOPY_IDLE, now_ns);
	if (!f->answer_due || !f->waits)
		return;
	/* What waited is a CANCEL, which has its effect now, or a START. */
	if (fcopy_decode_operation(f->message, f->size, &operation) == 0 &&
	    operation == FCOPY_OP_CANCEL)
		answer(f, FCOPY_OK);
	else
		look(f, now_ns);
}

void fcopy_failed(struct fcopy *f, enum fcopy_result result, uint64_t now_ns)
{
	assert(result != FCOPY_OK);
	switch (f->state) {
	case FCOPY_OPEN:
	case FCOPY_WRITING:
	case FCOPY_FINISHING:
		discard(f, result, now_ns);
		/* A request that waits is looked at later, and told then. */
		if (!f->waits)
			answer(f, result);
		break;
	case FCOPY_IDLE:
	case FCOPY_STARTING:
	case FCOPY_DISCARDING:
		f->stats.stray_completions++;
		break;
	case FCOPY_STATES:
		break;
	}
}

void fcopy_hold(struct fcopy *f, bool hold, uint64_t now_ns)
{
	bool ends = f->held && !hold;

	f->held = hold;
	if (!ends || !f->waits)
		return;
	f->deadline_ns = f->state == FCOPY_OPEN ? now_ns + SILENCE_LIMIT_NS : UINT64_MAX;
	if (f->state != FCOPY_DISCARDING)
		look(f, now_ns);
}

void fcopy_abort(struct fcopy *f, enum fcopy_result why, uint64_t now_ns)
{
	f->answer_due = f->waits = false;
	f->message = NULL;
	if (f->state == FCOPY_IDLE)
		f->deadline_ns = UINT64_MAX;
	discard(f, why, now_ns);
}

void fcopy_tick(struct fcopy *f, uint64_t now_ns)
{
	enum fcopy_result why = f->waits ? FCOPY_HELD : FCOPY_SILENT;

	if (now_ns < f->deadline_ns)
		return;
	f->deadline_ns = UINT64_MAX;
	discard(f, why, now_ns);
	answer(f, why);
}

uint64_t fcopy_deadline_ns(const struct fcopy *f)
{
	return f->deadline_ns;
}

bool fcopy_next_action(struct fcopy *f, struct fcopy_action *ret_action)
{
	if (f->next_action == f->n_actions) {
		f->next_action = f->n_actions = 0;
		return false;
	}
	*ret_action = f->actions[f->next_action++];
	return true;
}

bool fcopy_is_active(const struct fcopy *f)
{
	return f->state != FCOPY_IDLE;
}

const char *fcopy_state_name(enum fcopy_state state)
{
	return state_names[state];
}

const char *fcopy_result_name(enum fcopy_result result)
{
	return results[result].name;
}

const char *fcopy_note_name(enum fcopy_note n)
{
	return note_names[n];
}

uint32_t fcopy_status(enum fcopy_result result)
{
	return results[result].status;
}
