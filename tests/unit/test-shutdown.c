/* SPDX-License-Identifier: MIT */

/*
 * services/shutdown.c and host/shutdown_host.c: what is accepted from a host, and what a host asks.
 */

#include "host/shutdown_host.h"
#include "services/shutdown.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

static uint8_t message[SHUTDOWN_MESSAGE_SIZE];

static void make(uint32_t flags, const char *text)
{
	memset(message, 0, sizeof(message));
	message[0] = 0x78;
	message[3] = 0x80;
	message[4] = 60;
	message[8] = flags & 0xff;
	message[11] = flags >> 24;
	strcpy((char *)message + 12, text);
}

static int receive(struct shutdown *s, unsigned major, unsigned minor)
{
	return shutdown_receive(s, message, sizeof(message), major, minor);
}

Test(shutdown, flags_mean_what_the_agreed_version_has)
{
	static const struct {
		uint32_t flags;
		unsigned major, minor;
		int result;
		enum shutdown_kind kind;
		bool force;
	} rows[] = {
		{0, 1, 0, 0, SHUTDOWN_POWER_OFF, false},
		{1, 1, 0, 0, SHUTDOWN_POWER_OFF, true},
		{2, 1, 0, SHUTDOWN_UNKNOWN, 0, false},
		{2, 3, 0, SHUTDOWN_UNKNOWN, 0, false},
		{2, 3, 1, 0, SHUTDOWN_REBOOT, false},
		{3, 3, 2, 0, SHUTDOWN_REBOOT, true},
		{4, 3, 1, SHUTDOWN_UNKNOWN, 0, false},
		{4, 3, 2, 0, SHUTDOWN_HIBERNATE, false},
		{5, 3, 2, 0, SHUTDOWN_HIBERNATE, true},
		{6, 3, 2, SHUTDOWN_UNKNOWN, 0, false},
		{7, 3, 2, SHUTDOWN_UNKNOWN, 0, false},
		{8, 3, 2, SHUTDOWN_UNKNOWN, 0, false},
		{0x01000000, 3, 2, SHUTDOWN_UNKNOWN, 0, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct shutdown s;

		shutdown_init(&s, true);
		make(rows[i].flags, "updates");
		cr_assert(eq(int, receive(&s, rows[i].major, rows[i].minor), rows[i].result), "row %zu", i);
		cr_expect(eq(u64, s.requests, rows[i].result == 0));
		cr_expect(eq(u64, s.refused, rows[i].result != 0));
		if (rows[i].result)
			continue;
		cr_expect(eq(int, (int)s.last.kind, (int)rows[i].kind), "row %zu", i);
		cr_expect(eq(int, s.last.force, rows[i].force), "row %zu", i);
		cr_expect(eq(u32, s.last.reason, 0x80000078));
		cr_expect(eq(u32, s.last.timeout_seconds, 60));
		cr_expect(eq(str, s.last.text, "updates"));
	}
}

/* In a buffer of its exact size, for the address sanitizer. */
Test(shutdown, every_message_that_is_too_short_is_refused)
{
	struct shutdown s;

	shutdown_init(&s, true);
	make(0, "");
	for (size_t len = 0; len < sizeof(message); len++) {
		uint8_t *exact = malloc(len ? len : 1);

		memcpy(exact, message, len);
		cr_assert(eq(int, shutdown_receive(&s, exact, len, 3, 2), SHUTDOWN_MALFORMED));
		free(exact);
	}
	cr_expect(eq(u64, s.malformed, sizeof(message)));
	cr_expect(not(s.has_last));
}

/* A message whose flags have one bit wrong is another request or none; any other bit is said, not done. */
Test(shutdown, no_flipped_bit_takes_a_machine_down_that_was_not_asked_for)
{
	for (size_t bit = 0; bit < 8 * sizeof(message); bit++) {
		uint32_t flag = bit >= 64 && bit < 96 ? 1u << (bit - 64) : 0;
		struct shutdown s;
		int r;

		shutdown_init(&s, true);
		make(SHUTDOWN_FLAG_RESTART, "updates");
		message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		r = receive(&s, 3, 2);
		cr_assert(eq(int, r, flag & ~3u ? SHUTDOWN_UNKNOWN : 0), "bit %zu", bit);
		cr_expect(eq(int, s.has_last, r == 0), "bit %zu", bit);
		if (r)
			continue;
		cr_expect(eq(int, (int)s.last.kind, flag == SHUTDOWN_FLAG_RESTART ? SHUTDOWN_POWER_OFF
										  : SHUTDOWN_REBOOT), "bit %zu", bit);
		cr_expect(eq(int, s.last.force, flag == SHUTDOWN_FLAG_FORCE), "bit %zu", bit);
		cr_expect(le(sz, strlen(s.last.text), SHUTDOWN_TEXT_SIZE), "bit %zu", bit);
	}
}

Test(shutdown, the_text_is_printable_and_ends)
{
	static const struct {
		const char *sent;
		size_t n;
		const char *text;
	} rows[] = {
		{"a\033[31mb\nc\x7f", 10, "a?[31mb?c?"},
		{"\u00fcbung \u043f\u043b\u0430\u043d \U0001f50c", 21, "\u00fcbung \u043f\u043b\u0430\u043d \U0001f50c"},
		{"a\xc2\x9b""31mb\xc2\x80\xc2\xa0", 11, "a??31mb??\u00a0"},
		{"a\xffz\xe2\x82", 5, "a\ufffdz\ufffd"},
		{"n\0o\0\xfc\0w\0\x08\xd8\x0a\0", 12, "no\u00fcw\ufffd?"},
		{"x", 1, "x"},
		{"", 0, ""},
		{"\0x", 2, ""},
	};
	struct shutdown s;

	shutdown_init(&s, false);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		make(0, "");
		memcpy(message + 12, rows[i].sent, rows[i].n);
		cr_assert(eq(int, receive(&s, 3, 2), 0));
		cr_expect(eq(int, strcmp(s.last.text, rows[i].text), 0), "row %zu: %s", i, s.last.text);
		shutdown_ended(&s);
	}
	memset(message + 12, 'x', SHUTDOWN_TEXT_SIZE);
	cr_assert(eq(int, receive(&s, 3, 2), 0));
	cr_expect(eq(sz, strlen(s.last.text), SHUTDOWN_TEXT_SIZE));
}

Test(shutdown, a_machine_that_cannot_hibernate_says_so)
{
	struct shutdown s;

	shutdown_init(&s, false);
	make(4, "");
	cr_expect(eq(int, receive(&s, 3, 2), SHUTDOWN_IMPOSSIBLE));
	cr_expect(not(s.is_running));
}

Test(shutdown, the_same_again_changes_nothing_and_another_takes_its_place)
{
	struct shutdown s;

	shutdown_init(&s, true);
	make(0, "first");
	cr_assert(eq(int, receive(&s, 3, 2), 0));
	make(0, "again");
	cr_expect(eq(int, receive(&s, 3, 2), SHUTDOWN_REPEATED));
	cr_expect(eq(str, s.last.text, "first"));
	make(1, "by force");
	cr_expect(eq(int, receive(&s, 3, 2), 0));
	cr_expect(eq(str, s.last.text, "by force"));
	for (uint32_t flags = 0; flags < 2; flags++) {
		make(flags, "again");
		cr_expect(eq(int, receive(&s, 3, 2), SHUTDOWN_REPEATED));
		cr_expect(eq(str, s.last.text, "by force"));
	}
	make(2, "rather");
	cr_expect(eq(int, receive(&s, 3, 2), 0));
	cr_expect(eq(int, (int)s.last.kind, SHUTDOWN_REBOOT));
	shutdown_ended(&s);
	cr_expect(eq(int, receive(&s, 3, 2), 0));
	cr_expect(eq(u64, s.requests, 4));
	cr_expect(eq(u64, s.refused, 0));
}

Test(shutdown, every_condition_and_kind_has_a_text)
{
	for (int r = SHUTDOWN_MALFORMED; r <= SHUTDOWN_REPEATED; r++)
		cr_expect(strcmp(shutdown_condition_text(r), "none") != 0);
	for (int kind = 0; kind < SHUTDOWN_N_KINDS; kind++)
		cr_expect(strlen(shutdown_kind_name(kind)) > 0);
}

Test(shutdown_host, a_guest_understands_what_a_host_asks)
{
	struct shutdown_host h;
	struct shutdown s;

	shutdown_host_init(&h);
	shutdown_init(&s, true);
	cr_assert(eq(int, shutdown_host_ask(&h, SHUTDOWN_FLAG_RESTART | SHUTDOWN_FLAG_FORCE, "now", 3, 1,
					    SECOND, message), 0));
	cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_ASKED));
	cr_assert(eq(int, receive(&s, 3, 1), 0));
	cr_expect(eq(int, (int)s.last.kind, SHUTDOWN_REBOOT));
	cr_expect(s.last.force);
	cr_expect(eq(str, s.last.text, "now"));
	cr_expect(eq(u32, s.last.reason, SHUTDOWN_REASON_PLANNED));
}

Test(shutdown_host, a_version_is_not_asked_for_what_it_does_not_have)
{
	struct shutdown_host h;

	shutdown_host_init(&h);
	cr_expect(eq(int, shutdown_host_ask(&h, SHUTDOWN_FLAG_RESTART, "", 3, 0, 0, message),
		     SHUTDOWN_HOST_UNKNOWN));
	cr_expect(eq(int, shutdown_host_ask(&h, SHUTDOWN_FLAG_HIBERNATE, "", 3, 1, 0, message),
		     SHUTDOWN_HOST_UNKNOWN));
	cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_IDLE));
	cr_expect(eq(int, shutdown_host_ask(&h, SHUTDOWN_FLAG_HIBERNATE, "", 3, 2, 0, message), 0));
}

Test(shutdown_host, every_end_of_a_request_is_told)
{
	struct shutdown_host h;

	shutdown_host_init(&h);
	for (int i = 0; i < 4; i++) {
		cr_assert(eq(int, shutdown_host_ask(&h, 0, "", 1, 0, SECOND, message), 0));
		cr_expect(eq(int, shutdown_host_ask(&h, 0, "", 1, 0, SECOND, message),
			     SHUTDOWN_HOST_RUNNING));
		cr_expect(eq(u64, shutdown_host_deadline_ns(&h), 61 * SECOND));
		switch (i) {
		case 0:
			shutdown_host_receive(&h, 0);
			cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_ACCEPTED));
			shutdown_host_close(&h); /* it goes down */
			cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_ACCEPTED));
			break;
		case 1:
			shutdown_host_receive(&h, 0x80004005);
			cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_REFUSED));
			break;
		case 2:
			shutdown_host_close(&h);
			cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_LOST));
			break;
		default:
			shutdown_host_tick(&h, 61 * SECOND - 1);
			cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_ASKED));
			shutdown_host_tick(&h, 61 * SECOND);
			cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_SILENT));
			shutdown_host_receive(&h, 0); /* late, but an answer */
			cr_expect(eq(int, (int)h.state, SHUTDOWN_HOST_ACCEPTED));
		}
		cr_expect(eq(u64, shutdown_host_deadline_ns(&h), UINT64_MAX));
	}
}
