/* SPDX-License-Identifier: MIT */

/*
 * host/fcopy_host.c: what a host asks of a guest that is to have a file.
 */

#include "host/fcopy_host.h"
#include "vmbus/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define S UINT64_C(1000000000)

static struct fcopy_host h;

/* What is to be done, as text: "write 0+6144", "ended 1 80070070". */
static const char *drain(void)
{
	static char text[160];
	struct fcopy_host_action a;
	size_t n = 0;

	text[0] = '\0';
	while (fcopy_host_next_action(&h, &a)) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", n ? ", " : "");
		if (a.type == FCOPY_HOST_RESET)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "reset");
		else if (a.type == FCOPY_HOST_ENDED)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "ended %d %x", (int)a.result,
					      a.status);
		else if (a.operation == FCOPY_OP_WRITE)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "write %llu+%u",
					      (unsigned long long)a.offset, a.size);
		else
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s",
					      a.operation == FCOPY_OP_START      ? "start"
					      : a.operation == FCOPY_OP_COMPLETE ? "complete"
										 : "cancel");
	}
	return text;
}

static void is(const char *got, const char *wanted)
{
	cr_assert(strcmp(got, wanted) == 0, "got '%s', wanted '%s'", got, wanted);
}

static const char *start(uint64_t size, enum fcopy_host_fault fault, uint64_t fault_at)
{
	fcopy_host_init(&h);
	cr_assert(eq(int, fcopy_host_start(&h, "/srv", "f", 0, size, fault, fault_at, S), 0));
	return drain();
}

static const char *answer(uint32_t status)
{
	fcopy_host_receive(&h, status, 2 * S);
	return drain();
}

Test(fcopy_host, a_file_is_sent_in_order_and_completed)
{
	is(start(FCOPY_FRAGMENT_MAX + 7, FCOPY_FAULT_NONE, 0), "start");
	is(answer(IC_S_OK), "write 0+6144");
	is(answer(IC_S_OK), "write 6144+7");
	is(answer(IC_S_OK), "complete");
	is(answer(IC_S_OK), "ended 0 0");
	cr_expect(eq(u64, fcopy_host_deadline_ns(&h), UINT64_MAX));
	is(start(0, FCOPY_FAULT_NONE, 0), "start");
	is(answer(IC_S_OK), "complete");
}

Test(fcopy_host, what_is_refused_is_cancelled_and_ends_with_its_status)
{
	is(start(7, FCOPY_FAULT_NONE, 0), "start");
	is(answer(IC_E_ALREADY_EXISTS), "ended 1 80070050");
	is(start(7, FCOPY_FAULT_NONE, 0), "start");
	is(answer(IC_S_OK), "write 0+7");
	is(answer(IC_E_DISK_FULL), "cancel");
	is(answer(IC_S_OK), "ended 1 80070070");
	is(start(0, FCOPY_FAULT_NONE, 0), "start");
	is(answer(IC_S_OK), "complete");
	is(answer(IC_E_FAIL), "cancel");
	is(answer(IC_E_FAIL), "ended 1 80004005"); /* a daemon that does not know CANCEL */
}

Test(fcopy_host, a_cancel_waits_for_the_answer_that_is_due)
{
	is(start(7, FCOPY_FAULT_NONE, 0), "start");
	fcopy_host_cancel(&h, S);
	is(drain(), "");
	is(answer(IC_S_OK), "cancel");
	is(answer(IC_S_OK), "ended 2 0");
	fcopy_host_cancel(&h, S);
	is(drain(), "");
	/* It is as good as done: the guest says whether it is. */
	is(start(0, FCOPY_FAULT_NONE, 0), "start");
	is(answer(IC_S_OK), "complete");
	fcopy_host_cancel(&h, S);
	is(answer(IC_S_OK), "ended 0 0");
}

Test(fcopy_host, a_lost_channel_and_a_silent_guest_end_it)
{
	is(start(7, FCOPY_FAULT_NONE, 0), "start");
	fcopy_host_close(&h);
	is(drain(), "ended 3 0");
	fcopy_host_close(&h);
	is(drain(), "");
	is(start(7, FCOPY_FAULT_NONE, 0), "start");
	cr_expect(eq(u64, fcopy_host_deadline_ns(&h), 301 * S));
	fcopy_host_tick(&h, 301 * S - 1);
	is(drain(), "");
	fcopy_host_tick(&h, 301 * S);
	is(drain(), "reset, ended 4 0");
}

Test(fcopy_host, one_file_at_a_time_and_no_names_that_cannot_be_said)
{
	char name[300];

	is(start(7, FCOPY_FAULT_NONE, 0), "start");
	cr_expect(eq(int, fcopy_host_start(&h, "/srv", "g", 0, 1, 0, 0, S), FCOPY_HOST_RUNNING));
	fcopy_host_init(&h);
	memset(name, 'n', sizeof(name));
	name[260] = '\0';
	cr_expect(eq(int, fcopy_host_start(&h, "/srv", name, 0, 1, 0, 0, S), FCOPY_HOST_BAD_NAME));
	name[259] = '\0';
	cr_expect(eq(int, fcopy_host_start(&h, "/srv", name, 0, 1, 0, 0, S), 0));
}

Test(fcopy_host, messages_are_what_they_should_be)
{
	uint8_t message[FCOPY_WRITE_SIZE], data[5] = {1, 2, 3, 4, 5};
	struct fcopy_host_action a;
	struct fcopy_fragment fragment;

	(void)start(5, FCOPY_FAULT_NONE, 0);
	fcopy_host_receive(&h, IC_S_OK, S);
	cr_assert(fcopy_host_next_action(&h, &a));
	cr_expect(eq(sz, fcopy_host_message(&h, &a, data, message), FCOPY_WRITE_SIZE));
	cr_assert(eq(int, fcopy_decode_write(message, sizeof(message), &fragment), 0));
	cr_expect(eq(int, memcmp(fragment.data, data, 5), 0));
	h.fault = FCOPY_FAULT_OVERSIZE;
	(void)fcopy_host_message(&h, &a, data, message);
	cr_expect(eq(int, fcopy_decode_write(message, sizeof(message), &fragment), FCOPY_BAD_SIZE));
}

Test(fcopy_host, every_fault_has_a_name_and_does_what_it_says)
{
	cr_expect(eq(int, (int)fcopy_host_fault_named("hole"), (int)FCOPY_FAULT_HOLE));
	cr_expect(eq(int, (int)fcopy_host_fault_named("nonsense"), (int)FCOPY_FAULTS));
	(void)start(20000, FCOPY_FAULT_HOLE, 1);
	is(answer(IC_S_OK), "write 0+6144");
	is(answer(IC_S_OK), "write 12288+6144");
	(void)start(20000, FCOPY_FAULT_REPEAT, 1);
	is(answer(IC_S_OK), "write 0+6144");
	is(answer(IC_S_OK), "write 6144+6144");
	is(answer(IC_S_OK), "write 6144+6144");
	(void)start(20000, FCOPY_FAULT_EARLY, 1);
	is(answer(IC_S_OK), "write 0+6144");
	is(answer(IC_S_OK), "complete");
	is(start(20000, FCOPY_FAULT_NO_START, 0), "write 0+6144");
	is(start(20000, FCOPY_FAULT_CANCEL_START, 0), "start, cancel");
	(void)start(20000, FCOPY_FAULT_SILENT, 1);
	is(answer(IC_S_OK), "write 0+6144");
	is(answer(IC_S_OK), "");
	fcopy_host_cancel(&h, S);
	is(drain(), "cancel");
}
