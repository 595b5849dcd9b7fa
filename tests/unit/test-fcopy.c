/* SPDX-License-Identifier: MIT */

/*
 * services/fcopy.c: the conversation of a file copy, from the guest's end.
 */

#include "services/fcopy.h"
#include "vmbus/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define S UINT64_C(1000000000)

static uint8_t message[FCOPY_WRITE_SIZE];
static struct fcopy f;

/* What the machine wants, as text: "note 3, open, answer 80004005". */
static const char *drain(void)
{
	static char text[256];
	struct fcopy_action a;
	size_t n = 0;

	text[0] = '\0';
	while (fcopy_next_action(&f, &a)) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", n ? ", " : "");
		switch (a.type) {
		case FCOPY_ACTION_OPEN:
			n += (size_t)snprintf(text + n, sizeof(text) - n, "open");
			break;
		case FCOPY_ACTION_DATA:
			n += (size_t)snprintf(text + n, sizeof(text) - n, "data");
			break;
		case FCOPY_ACTION_FINISH:
			n += (size_t)snprintf(text + n, sizeof(text) - n, "finish");
			break;
		case FCOPY_ACTION_DISCARD:
			n += (size_t)snprintf(text + n, sizeof(text) - n, "discard");
			break;
		case FCOPY_ACTION_ANSWER:
			n += (size_t)snprintf(text + n, sizeof(text) - n, "answer %x", a.status);
			break;
		case FCOPY_ACTION_NOTE:
			n += (size_t)snprintf(text + n, sizeof(text) - n, "note %d", (int)a.note);
			break;
		}
	}
	return text;
}

static void is(const char *got, const char *wanted)
{
	cr_assert(strcmp(got, wanted) == 0, "got '%s', wanted '%s'", got, wanted);
}

static const char *start(uint64_t size)
{
	cr_assert(eq(int, fcopy_encode_start("/srv", "file", 0, size, message), 0));
	fcopy_receive(&f, message, FCOPY_START_SIZE, S);
	return drain();
}

static const char *write_at(uint64_t offset, uint32_t size)
{
	static const uint8_t data[FCOPY_FRAGMENT_MAX];

	fcopy_encode_write(offset, data, size, message);
	fcopy_receive(&f, message, FCOPY_WRITE_SIZE, 2 * S);
	return drain();
}

static const char *send(uint32_t operation)
{
	fcopy_encode_operation(operation, message);
	fcopy_receive(&f, message, FCOPY_HEADER_SIZE, 3 * S);
	return drain();
}

static const char *opened(enum fcopy_result result)
{
	fcopy_opened(&f, result, S);
	return drain();
}

static const char *taken(void)
{
	fcopy_taken(&f, 2 * S);
	return drain();
}

static const char *finished(enum fcopy_result result)
{
	fcopy_finished(&f, result, 3 * S);
	return drain();
}

static const char *discarded(void)
{
	fcopy_discarded(&f, 4 * S);
	return drain();
}

/* Brings a new machine into @state, with a file of 100 bytes of which 10 are there. */
static void bring(enum fcopy_state state)
{
	fcopy_init(&f, FCOPY_UTF16);
	if (state == FCOPY_IDLE)
		return;
	is(start(100), "open");
	if (state == FCOPY_STARTING)
		return;
	(void)opened(FCOPY_OK);
	(void)write_at(0, 10);
	(void)taken();
	if (state == FCOPY_WRITING)
		(void)write_at(10, 10);
	if (state == FCOPY_FINISHING) {
		(void)write_at(10, 90);
		(void)taken();
		(void)send(FCOPY_OP_COMPLETE);
	}
	if (state == FCOPY_DISCARDING) {
		fcopy_failed(&f, FCOPY_DISK_FULL, 3 * S);
		(void)drain();
	}
	cr_assert(eq(int, (int)f.state, (int)state));
}

Test(fcopy, a_file_arrives)
{
	fcopy_init(&f, FCOPY_UTF16);
	is(start(FCOPY_FRAGMENT_MAX + 5), "open");
	is(f.start.directory, "/srv");
	is(f.start.name, "file");
	is(opened(FCOPY_OK), "answer 0");
	is(write_at(0, FCOPY_FRAGMENT_MAX), "data");
	cr_expect(eq(u32, f.data.size, FCOPY_FRAGMENT_MAX));
	is(taken(), "answer 0");
	is(write_at(FCOPY_FRAGMENT_MAX, 5), "data");
	is(taken(), "answer 0");
	is(send(FCOPY_OP_COMPLETE), "finish");
	is(finished(FCOPY_OK), "answer 0");
	cr_expect(eq(int, (int)f.state, (int)FCOPY_IDLE));
	cr_expect(eq(u64, f.stats.finished, 1));
	cr_expect(eq(u64, f.stats.bytes, FCOPY_FRAGMENT_MAX + 5));
	cr_expect(eq(u64, f.stats.discarded, 0));
}

Test(fcopy, an_empty_file_arrives)
{
	fcopy_init(&f, FCOPY_UTF16);
	is(start(0), "open");
	is(opened(FCOPY_OK), "answer 0");
	is(send(FCOPY_OP_COMPLETE), "finish");
	is(finished(FCOPY_OK), "answer 0");
}

Test(fcopy, each_result_has_the_status_that_hosts_know)
{
	static const struct {
		enum fcopy_result result;
		const char *answer;
	} rows[] = {
		{FCOPY_EXISTS, "answer 80070050"},
		{FCOPY_DISK_FULL, "answer 80070070"},
		{FCOPY_REFUSED, "answer 80004005"},
		{FCOPY_FAILED, "answer 80004005"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bring(FCOPY_STARTING);
		is(opened(rows[i].result), rows[i].answer);
		cr_expect(eq(int, (int)f.state, (int)FCOPY_IDLE));
		/* What the host asks all the same is answered the same. */
		is(write_at(0, 10), rows[i].answer);
	}
	for (int r = 0; r < FCOPY_RESULTS; r++) {
		cr_expect(strlen(fcopy_result_name(r)) > 0);
		cr_expect(eq(int, fcopy_status(r) == IC_S_OK, r == FCOPY_OK));
	}
}

Test(fcopy, what_the_host_gets_wrong_breaks_the_copy)
{
	static const struct {
		uint64_t offset;
		uint32_t size;
		enum fcopy_note note;
	} rows[] = {
		{11, 5, FCOPY_NOTE_OUT_OF_ORDER}, /* a hole */
		{0, 10, FCOPY_NOTE_OUT_OF_ORDER}, /* a repetition */
		{9, 10, FCOPY_NOTE_OUT_OF_ORDER}, /* an overlap */
		{UINT64_MAX, 10, FCOPY_NOTE_OUT_OF_ORDER}, /* an offset that wraps */
		{10, 91, FCOPY_NOTE_BEYOND}, /* one byte too many */
		{10, FCOPY_FRAGMENT_MAX, FCOPY_NOTE_BEYOND}, /* a whole fragment too many */
	};
	char wanted[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bring(FCOPY_OPEN);
		snprintf(wanted, sizeof(wanted), "note %d, discard, answer 80004005", (int)rows[i].note);
		is(write_at(rows[i].offset, rows[i].size), wanted);
		is(write_at(10, 10), "answer 80004005");
		is(discarded(), "");
		is(send(FCOPY_OP_COMPLETE), "answer 80004005");
		is(start(1), "open"); /* and the next one may begin */
	}
	bring(FCOPY_OPEN);
	snprintf(wanted, sizeof(wanted), "note %d, discard, answer 80004005", (int)FCOPY_NOTE_SHORT);
	is(send(FCOPY_OP_COMPLETE), wanted);
}

Test(fcopy, data_and_ends_without_a_start_are_refused)
{
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "note %d, answer 80004005", (int)FCOPY_NOTE_NOT_STARTED);
	bring(FCOPY_IDLE);
	is(write_at(0, 10), wanted);
	is(send(FCOPY_OP_COMPLETE), wanted);
	is(send(FCOPY_OP_CANCEL), "answer 0");
	bring(FCOPY_FINISHING);
	is(finished(FCOPY_OK), "answer 0");
	is(write_at(100, 10), wanted);
}

Test(fcopy, unknown_operations_and_malformed_messages_change_nothing)
{
	char unknown[64], malformed[64];

	snprintf(unknown, sizeof(unknown), "note %d, answer 80004005", (int)FCOPY_NOTE_UNKNOWN);
	snprintf(malformed, sizeof(malformed), "note %d, answer 80004005", (int)FCOPY_NOTE_MALFORMED);
	bring(FCOPY_OPEN);
	is(send(4), unknown);
	is(send(UINT32_MAX), unknown);
	fcopy_receive(&f, message, FCOPY_HEADER_SIZE - 1, 3 * S);
	is(drain(), malformed);
	cr_expect(eq(int, (int)f.state, (int)FCOPY_OPEN));
	/* A START that is too short does not end the copy before it, but data that is missing does. */
	is(write_at(10, 10), "data");
	is(taken(), "answer 0");
	bring(FCOPY_IDLE);
	message[0] = FCOPY_OP_START;
	memset(message, 0, sizeof(message));
	fcopy_receive(&f, message, FCOPY_START_SIZE - 1, 3 * S);
	is(drain(), malformed);
	bring(FCOPY_OPEN);
	fcopy_encode_write(10, "", 0, message);
	fcopy_receive(&f, message, FCOPY_DATA_OFFSET - 1, 3 * S);
	snprintf(malformed, sizeof(malformed), "note %d, discard, answer 80004005",
		 (int)FCOPY_NOTE_MALFORMED);
	is(drain(), malformed);
}

Test(fcopy, a_full_disk_is_told_once_with_the_next_request_or_the_one_that_waits)
{
	bring(FCOPY_OPEN);
	fcopy_failed(&f, FCOPY_DISK_FULL, 3 * S);
	is(drain(), "discard");
	is(write_at(10, 10), "answer 80070070");
	is(discarded(), "");
	is(send(FCOPY_OP_COMPLETE), "answer 80070070");
	bring(FCOPY_WRITING);
	fcopy_failed(&f, FCOPY_DISK_FULL, 3 * S);
	is(drain(), "discard, answer 80070070");
	bring(FCOPY_FINISHING);
	is(finished(FCOPY_DISK_FULL), "discard, answer 80070070");
	is(discarded(), "");
}

Test(fcopy, a_cancel_is_answered_when_nothing_is_left)
{
	static const enum fcopy_state open_states[] = {FCOPY_OPEN, FCOPY_DISCARDING};

	for (size_t i = 0; i < 2; i++) {
		bring(open_states[i]);
		(void)send(FCOPY_OP_CANCEL);
		cr_expect(eq(int, (int)f.state, (int)FCOPY_DISCARDING));
		is(discarded(), "answer 0");
		is(send(FCOPY_OP_CANCEL), "answer 0");
	}
}

Test(fcopy, a_start_waits_for_the_end_of_the_last_file)
{
	char wanted[64];

	bring(FCOPY_OPEN);
	snprintf(wanted, sizeof(wanted), "note %d, discard", (int)FCOPY_NOTE_RESTARTED);
	is(start(5), wanted);
	is(discarded(), "open");
	is(opened(FCOPY_OK), "answer 0");
	cr_expect(eq(u64, f.start.size_bytes, 5));
	cr_expect(eq(u64, f.position, 0));
}

Test(fcopy, a_request_before_the_answer_to_the_last_ends_the_copy)
{
	static const enum fcopy_state due[] = {FCOPY_STARTING, FCOPY_WRITING, FCOPY_FINISHING};
	char wanted[64];

	for (size_t i = 0; i < 3; i++) {
		bring(due[i]);
		snprintf(wanted, sizeof(wanted), "note %d, discard, answer 80004005",
			 (int)FCOPY_NOTE_OVERTAKEN);
		is(write_at(10, 10), wanted);
		bring(due[i]);
		snprintf(wanted, sizeof(wanted), "note %d, discard", (int)FCOPY_NOTE_OVERTAKEN);
		is(send(FCOPY_OP_CANCEL), wanted);
		(void)opened(FCOPY_OK); /* come too late, both */
		(void)taken();
		is(discarded(), "answer 0");
	}
}

Test(fcopy, requests_wait_while_file_systems_are_frozen)
{
	bring(FCOPY_OPEN);
	fcopy_hold(&f, true, 3 * S);
	is(write_at(10, 10), "");
	cr_expect(eq(u64, fcopy_deadline_ns(&f), 27 * S));
	fcopy_hold(&f, false, 5 * S);
	is(drain(), "data");
	is(taken(), "answer 0");

	bring(FCOPY_IDLE);
	fcopy_hold(&f, true, 3 * S);
	is(start(1), "");
	is(send(FCOPY_OP_CANCEL), "note 7, answer 0"); /* overtakes, and does not wait */
	is(start(1), "");
	fcopy_tick(&f, 26 * S);
	is(drain(), "answer 80004005");
	cr_expect(eq(u64, fcopy_deadline_ns(&f), UINT64_MAX));
	fcopy_hold(&f, false, 5 * S);
	is(drain(), "");

	bring(FCOPY_OPEN);
	fcopy_hold(&f, true, 3 * S);
	is(send(FCOPY_OP_COMPLETE), "");
	fcopy_tick(&f, 28 * S);
	is(drain(), "discard, answer 80004005");
	cr_expect(eq(int, (int)f.result, (int)FCOPY_HELD));
	is(discarded(), "");
}

Test(fcopy, a_failure_during_a_hold_is_told_after_it)
{
	bring(FCOPY_OPEN);
	fcopy_hold(&f, true, 3 * S);
	is(write_at(10, 10), "");
	fcopy_failed(&f, FCOPY_DISK_FULL, 3 * S);
	is(drain(), "discard");
	fcopy_hold(&f, false, 5 * S);
	is(drain(), "");
	is(discarded(), "answer 80070070");
}

Test(fcopy, a_host_that_says_nothing_is_given_up)
{
	bring(FCOPY_OPEN);
	cr_expect(eq(u64, fcopy_deadline_ns(&f), 602 * S));
	fcopy_tick(&f, 602 * S - 1);
	is(drain(), "");
	fcopy_tick(&f, 602 * S);
	is(drain(), "discard");
	cr_expect(eq(int, (int)f.result, (int)FCOPY_SILENT));
	is(discarded(), "");
	cr_expect(eq(u64, fcopy_deadline_ns(&f), UINT64_MAX));
}

Test(fcopy, an_abort_leaves_nothing_and_answers_nobody)
{
	for (int state = 0; state < FCOPY_STATES; state++) {
		bring(state);
		fcopy_abort(&f, FCOPY_LOST, 3 * S);
		is(drain(), state == FCOPY_IDLE || state == FCOPY_DISCARDING ? "" : "discard");
		(void)opened(FCOPY_OK);
		(void)taken();
		is(finished(FCOPY_OK), "");
		if (state != FCOPY_IDLE)
			is(discarded(), "");
		cr_expect(eq(int, (int)f.state, (int)FCOPY_IDLE));
		cr_expect(not(fcopy_is_active(&f)));
	}
}

/* One event of each kind. */
static void happen(int event)
{
	switch (event) {
	case 0:
		(void)start(3);
		break;
	case 1:
		(void)write_at(f.position, 1);
		break;
	case 2:
		(void)write_at(f.position + 1, 1);
		break;
	case 3:
		(void)send(FCOPY_OP_COMPLETE);
		break;
	case 4:
		(void)send(FCOPY_OP_CANCEL);
		break;
	case 5:
		(void)send(77);
		break;
	case 6:
		(void)opened(FCOPY_OK);
		break;
	case 7:
		(void)opened(FCOPY_EXISTS);
		break;
	case 8:
		(void)taken();
		break;
	case 9:
		(void)finished(FCOPY_OK);
		break;
	case 10:
		(void)finished(FCOPY_FAILED);
		break;
	case 11:
		(void)discarded();
		break;
	case 12:
		fcopy_failed(&f, FCOPY_DISK_FULL, 3 * S);
		(void)drain();
		break;
	case 13:
		fcopy_hold(&f, !f.held, 3 * S);
		(void)drain();
		break;
	case 14:
		fcopy_tick(&f, f.deadline_ns);
		(void)drain();
		break;
	default:
		fcopy_abort(&f, FCOPY_LOST, 3 * S);
		(void)drain();
	}
}

/* The transitions are asserted; what else must hold after each. */
Test(fcopy, every_event_in_every_state_and_one_more_after_it)
{
	for (int state = 0; state < FCOPY_STATES; state++) {
		for (int pair = 0; pair < 256; pair++) {
			uint64_t in, out;

			bring(state);
			happen(pair / 16);
			happen(pair % 16);
			/* Whatever was begun comes to an end. */
			fcopy_hold(&f, false, 5 * S);
			(void)drain();
			fcopy_abort(&f, FCOPY_STOPPED, 5 * S);
			(void)drain();
			(void)discarded();
			cr_expect(eq(int, (int)f.state, (int)FCOPY_IDLE), "%d, events %d and %d", state,
				  pair / 16, pair % 16);
			in = f.stats.started;
			out = f.stats.finished + f.stats.discarded + f.stats.refused;
			cr_expect(eq(u64, in, out), "%d, events %d and %d", state, pair / 16, pair % 16);
			cr_expect(eq(u64, fcopy_deadline_ns(&f), UINT64_MAX));
		}
		cr_expect(strlen(fcopy_state_name(state)) > 0);
	}
	for (int n = 0; n < FCOPY_NOTES; n++)
		cr_expect(strlen(fcopy_note_name(n)) > 0);
}
