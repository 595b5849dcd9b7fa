/* SPDX-License-Identifier: MIT */

/*
 * vss/vss.c: every event in every state, by a table, and the conversations that matter.
 */

#include "vmbus/wire.h"
#include "vss/vss.h"
#include "vss/vss_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum event {
	EVENT_HOT_BACKUP,
	EVENT_FREEZE,
	EVENT_THAW,
	EVENT_FREEZE_OK,
	EVENT_FREEZE_FAILED,
	EVENT_THAW_OK,
	EVENT_THAW_FAILED,
	EVENT_DEADLINE,
	EVENT_ABORT,
	EVENTS,
};

static void request(struct vss *v, uint8_t operation)
{
	uint8_t msg[VSS_MESSAGE_MIN_SIZE] = {operation};

	vss_receive(v, msg, sizeof(msg), 1);
}

static void fire(struct vss *v, enum event event)
{
	switch (event) {
	case EVENT_HOT_BACKUP:
		request(v, VSS_OP_HOT_BACKUP);
		break;
	case EVENT_FREEZE:
		request(v, VSS_OP_FREEZE);
		break;
	case EVENT_THAW:
		request(v, VSS_OP_THAW);
		break;
	case EVENT_FREEZE_OK:
		vss_complete_freeze(v, true, 2);
		break;
	case EVENT_FREEZE_FAILED:
		vss_complete_freeze(v, false, 2);
		break;
	case EVENT_THAW_OK:
		vss_complete_thaw(v, true, 2);
		break;
	case EVENT_THAW_FAILED:
		vss_complete_thaw(v, false, 2);
		break;
	case EVENT_DEADLINE:
		vss_thawed_early(v, VSS_REASON_DEADLINE, 2);
		break;
	case EVENT_ABORT:
		vss_abort(v, VSS_REASON_NEGOTIATE, 2);
		break;
	case EVENTS:
		cr_assert(false);
		break;
	}
}

/* Drains the actions into words: F freeze, T thaw, + and - answers, n note. */
static void drain(struct vss *v, char *buf, size_t size)
{
	static const char letters[] = {
		[VSS_ACTION_FREEZE] = 'F',
		[VSS_ACTION_THAW] = 'T',
		[VSS_ACTION_NOTE] = 'n',
	};
	struct vss_action action;
	size_t n = 0;

	while (vss_next_action(v, &action)) {
		char c = letters[action.type % sizeof(letters)];

		if (action.type == VSS_ACTION_ANSWER)
			c = action.status == IC_S_OK ? '+' : '-';
		cr_assert(n + 1 < size);
		buf[n++] = c;
	}
	buf[n] = '\0';
}

/* Puts a fresh machine into a state, with its request waiting where there is one. */
static void enter(struct vss *v, enum vss_state state)
{
	char buf[16];

	vss_init(v);
	if (state != VSS_IDLE)
		fire(v, EVENT_FREEZE);
	if (state == VSS_FROZEN || state == VSS_THAWING)
		fire(v, EVENT_FREEZE_OK);
	if (state == VSS_THAWING)
		fire(v, EVENT_THAW);
	drain(v, buf, sizeof(buf));
	cr_assert(eq(int, v->state, state));
}

static const struct {
	const char *actions;
	enum vss_state to;
} expected[VSS_STATES][EVENTS] = {
	[VSS_IDLE] = {
		[EVENT_HOT_BACKUP] = {"+", VSS_IDLE},
		[EVENT_FREEZE] = {"F", VSS_FREEZING},
		[EVENT_THAW] = {"n+", VSS_IDLE},
		[EVENT_FREEZE_OK] = {"", VSS_IDLE},
		[EVENT_FREEZE_FAILED] = {"", VSS_IDLE},
		[EVENT_THAW_OK] = {"", VSS_IDLE},
		[EVENT_THAW_FAILED] = {"", VSS_IDLE},
		[EVENT_DEADLINE] = {"", VSS_IDLE},
		[EVENT_ABORT] = {"", VSS_IDLE},
	},
	[VSS_FREEZING] = {
		[EVENT_HOT_BACKUP] = {"nT+", VSS_THAWING},
		[EVENT_FREEZE] = {"nT-", VSS_THAWING},
		[EVENT_THAW] = {"nT", VSS_THAWING},
		[EVENT_FREEZE_OK] = {"+", VSS_FROZEN},
		[EVENT_FREEZE_FAILED] = {"-", VSS_IDLE},
		[EVENT_THAW_OK] = {"", VSS_FREEZING},
		[EVENT_THAW_FAILED] = {"", VSS_FREEZING},
		[EVENT_DEADLINE] = {"-", VSS_IDLE},
		[EVENT_ABORT] = {"T", VSS_THAWING},
	},
	[VSS_FROZEN] = {
		[EVENT_HOT_BACKUP] = {"+", VSS_FROZEN},
		[EVENT_FREEZE] = {"n+", VSS_FROZEN},
		[EVENT_THAW] = {"T", VSS_THAWING},
		[EVENT_FREEZE_OK] = {"", VSS_FROZEN},
		[EVENT_FREEZE_FAILED] = {"", VSS_FROZEN},
		[EVENT_THAW_OK] = {"", VSS_FROZEN},
		[EVENT_THAW_FAILED] = {"", VSS_FROZEN},
		[EVENT_DEADLINE] = {"n", VSS_IDLE},
		[EVENT_ABORT] = {"nT", VSS_THAWING},
	},
	[VSS_THAWING] = {
		[EVENT_HOT_BACKUP] = {"n+", VSS_THAWING},
		[EVENT_FREEZE] = {"n-", VSS_THAWING},
		[EVENT_THAW] = {"n", VSS_THAWING},
		[EVENT_FREEZE_OK] = {"", VSS_THAWING},
		[EVENT_FREEZE_FAILED] = {"", VSS_THAWING},
		[EVENT_THAW_OK] = {"+", VSS_IDLE},
		[EVENT_THAW_FAILED] = {"-", VSS_IDLE},
		[EVENT_DEADLINE] = {"n-", VSS_IDLE},
		[EVENT_ABORT] = {"", VSS_THAWING},
	},
};

Test(vss, does_what_the_table_says_for_every_event_in_every_state)
{
	for (unsigned int s = 0; s < VSS_STATES; s++) {
		for (unsigned int e = 0; e < EVENTS; e++) {
			struct vss v;
			char buf[16];

			enter(&v, (enum vss_state)s);
			fire(&v, (enum event)e);
			drain(&v, buf, sizeof(buf));
			cr_expect(eq(str, buf, (char *)(uintptr_t)expected[s][e].actions),
				  "event %u in %s", e, vss_state_name((enum vss_state)s));
			cr_expect(eq(int, v.state, expected[s][e].to), "event %u in %s", e,
				  vss_state_name((enum vss_state)s));
		}
	}
}

Test(vss, after_a_freeze_that_ended_by_itself_one_thaw_fails)
{
	struct vss v;
	char buf[16];

	enter(&v, VSS_FROZEN);
	fire(&v, EVENT_DEADLINE);
	fire(&v, EVENT_THAW);
	fire(&v, EVENT_THAW);
	drain(&v, buf, sizeof(buf));
	cr_expect(eq(str, buf, "n-n+"));
	cr_expect(eq(u64, v.stats.ended_early, 1));

	/* A new freeze is a new promise. */
	enter(&v, VSS_FROZEN);
	fire(&v, EVENT_DEADLINE);
	fire(&v, EVENT_FREEZE);
	fire(&v, EVENT_FREEZE_OK);
	fire(&v, EVENT_THAW);
	fire(&v, EVENT_THAW_OK);
	drain(&v, buf, sizeof(buf));
	cr_expect(eq(str, buf, "nF+T+"));
}

Test(vss, a_negotiation_while_frozen_thaws_and_the_thaw_of_the_old_backup_fails)
{
	struct vss v;
	char buf[16];

	enter(&v, VSS_FROZEN);
	fire(&v, EVENT_ABORT);
	fire(&v, EVENT_THAW); /* comes before the thaw is done */
	fire(&v, EVENT_THAW_OK);
	drain(&v, buf, sizeof(buf));
	cr_expect(eq(str, buf, "nT-"));

	enter(&v, VSS_FROZEN);
	fire(&v, EVENT_ABORT);
	fire(&v, EVENT_THAW_OK);
	fire(&v, EVENT_THAW);
	fire(&v, EVENT_THAW);
	drain(&v, buf, sizeof(buf));
	cr_expect(eq(str, buf, "nT-n+"));
}

Test(vss, an_aborted_freeze_gets_no_answer)
{
	struct vss v;
	char buf[16];

	enter(&v, VSS_FREEZING);
	fire(&v, EVENT_ABORT);
	fire(&v, EVENT_FREEZE_OK);
	fire(&v, EVENT_THAW_OK);
	drain(&v, buf, sizeof(buf));
	cr_expect(eq(str, buf, "T"));
	cr_expect(eq(int, v.state, VSS_IDLE));
}

Test(vss, says_no_when_freezing_is_not_available)
{
	struct vss v;
	char buf[16];

	vss_init(&v);
	vss_set_available(&v, false);
	fire(&v, EVENT_HOT_BACKUP);
	fire(&v, EVENT_FREEZE);
	fire(&v, EVENT_THAW);
	drain(&v, buf, sizeof(buf));
	cr_expect(eq(str, buf, "--n+"));
}

/* The answer to @size bytes of @msg, applied to them. Returns the status. */
static uint32_t answered(void *msg, size_t size)
{
	struct vss_action action;
	struct vss v;
	uint32_t status = 1;

	vss_init(&v);
	vss_receive(&v, msg, size, 1);
	while (vss_next_action(&v, &action)) {
		if (action.type != VSS_ACTION_ANSWER)
			continue;
		vss_apply_answer(&action, msg, size);
		status = action.status;
	}
	return status;
}

Test(vss, only_the_flags_of_the_answer_are_touched)
{
	static const struct {
		uint8_t operation;
		uint8_t flags[4];
	} rows[] = {
		{VSS_OP_CREATE, {0xaa, 0xaa, 0xaa, 0xaa}},
		{VSS_OP_DELETE, {0xaa, 0xaa, 0xaa, 0xaa}},
		{VSS_OP_HOT_BACKUP, {5, 0, 0, 0}},
		{VSS_OP_GET_DM_INFO, {0, 0, 0, 0}},
		{VSS_OP_BU_COMPLETE, {0xaa, 0xaa, 0xaa, 0xaa}},
		{VSS_OP_THAW, {0xaa, 0xaa, 0xaa, 0xaa}},
		{VSS_OP_AUTO_RECOVER, {0xaa, 0xaa, 0xaa, 0xaa}},
		{8, {0xaa, 0xaa, 0xaa, 0xaa}},
		{255, {0xaa, 0xaa, 0xaa, 0xaa}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t msg[32], before[32];

		memset(msg, 0xaa, sizeof(msg));
		msg[0] = rows[i].operation;
		memcpy(before, msg, sizeof(msg));
		memcpy(before + VSS_FLAGS_OFFSET, rows[i].flags, 4);
		cr_expect(eq(u32, answered(msg, sizeof(msg)), IC_S_OK), "operation %d", msg[0]);
		cr_expect(eq(int, memcmp(msg, before, sizeof(msg)), 0), "operation %d", msg[0]);
	}
}

Test(vss, a_truncated_message_fails_and_is_not_read_or_written_beyond_its_end)
{
	for (unsigned int operation = 0; operation < 256; operation++) {
		for (size_t size = 0; size < VSS_MESSAGE_MIN_SIZE; size++) {
			uint8_t *msg = malloc(size ? size : 1);

			cr_assert(ne(ptr, msg, NULL));
			memset(msg, (int)operation, size);
			cr_expect(eq(u32, answered(msg, size), IC_E_FAIL));
			free(msg);
		}
	}
}

Test(vss, a_message_of_the_shortest_length_is_taken_whatever_its_bits)
{
	for (size_t bit = 0; bit < 8 * VSS_MESSAGE_MIN_SIZE; bit++) {
		uint8_t *msg = calloc(1, VSS_MESSAGE_MIN_SIZE);
		uint32_t status;

		cr_assert(ne(ptr, msg, NULL));
		msg[0] = VSS_OP_HOT_BACKUP;
		msg[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		status = answered(msg, VSS_MESSAGE_MIN_SIZE);
		cr_expect(eq(u32, status, IC_S_OK));
		free(msg);
	}
}

Test(vss, random_events_never_leave_the_machine_without_a_thaw)
{
	unsigned int seed = 20260103;

	for (int round = 0; round < 500; round++) {
		struct vss v;
		char buf[16];

		vss_init(&v);
		for (int step = 0; step < 40; step++) {
			fire(&v, (enum event)(rand_r(&seed) % EVENTS));
			drain(&v, buf, sizeof(buf));
		}
		fire(&v, EVENT_ABORT);
		drain(&v, buf, sizeof(buf));
		fire(&v, EVENT_THAW_OK);
		cr_assert(eq(int, v.state, VSS_IDLE));
	}
}

Test(vss, an_answer_to_thaw_that_is_lost_is_made_good_by_a_failure)
{
	char words[32];
	struct vss v;

	enter(&v, VSS_FROZEN);
	request(&v, VSS_OP_THAW);
	vss_complete_thaw(&v, true, 3);
	drain(&v, words, sizeof(words));
	cr_assert(eq(str, words, "T+"));
	cr_assert(not(vss_owes_end(&v)));

	vss_answer_lost(&v);
	cr_assert(vss_owes_end(&v));
	request(&v, VSS_OP_THAW);
	drain(&v, words, sizeof(words));
	cr_assert(eq(str, words, "-"));

	vss_answer_lost(&v);
	request(&v, VSS_OP_THAW);
	request(&v, VSS_OP_THAW);
	drain(&v, words, sizeof(words));
	cr_assert(eq(str, words, "-n+"));
}

Test(vss, another_answer_that_is_lost_changes_nothing)
{
	char words[32];
	struct vss v;

	enter(&v, VSS_IDLE);
	request(&v, VSS_OP_HOT_BACKUP);
	vss_answer_lost(&v);
	request(&v, VSS_OP_THAW);
	vss_answer_lost(&v);
	request(&v, VSS_OP_THAW);
	drain(&v, words, sizeof(words));
	cr_assert(eq(str, words, "+n+n+"));
	cr_assert(eq(u64, v.stats.answers_lost, 2));
}

Test(vss, what_a_predecessor_has_lost_is_told_once_or_forgotten_by_a_freeze)
{
	char words[32];
	struct vss v;

	enter(&v, VSS_IDLE);
	vss_assume_lost(&v);
	request(&v, VSS_OP_HOT_BACKUP);
	request(&v, VSS_OP_THAW);
	request(&v, VSS_OP_THAW);
	drain(&v, words, sizeof(words));
	cr_assert(eq(str, words, "+-n+"));

	vss_assume_lost(&v);
	request(&v, VSS_OP_FREEZE);
	vss_complete_freeze(&v, true, 2);
	request(&v, VSS_OP_THAW);
	vss_complete_thaw(&v, true, 3);
	drain(&v, words, sizeof(words));
	cr_assert(eq(str, words, "F+T+"));
}
