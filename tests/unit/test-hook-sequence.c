/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/hook_sequence.c: order, limits, and that each hook that has begun is called back once,
 * whatever happens to any of them.
 */

#include "fsfreeze/hook_sequence.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define S UINT64_C(1000000000)

static const struct hook_item plain = {
	.can = {true, true, true},
	.limit_ns = 10 * S,
};

/* Drains the actions into words: F0 T2 A1 for runs, term1 kill1 left1, ready, failed1, back. */
static void drain(struct hook_sequence *q, char *buf, size_t size)
{
	static const char *const words[] = {
		[HOOK_ACTION_TERM] = "term",     [HOOK_ACTION_KILL] = "kill",
		[HOOK_ACTION_LEAVE] = "left",    [HOOK_ACTION_READY] = "ready",
		[HOOK_ACTION_FAILED] = "failed", [HOOK_ACTION_BACK] = "back",
	};
	struct hook_action a;
	size_t n = strlen(buf);

	while (hook_sequence_next_action(q, &a)) {
		const char *gap = n ? " " : "";

		if (a.type == HOOK_ACTION_RUN)
			n += (size_t)snprintf(buf + n, size - n, "%s%c%zu", gap, "FTA"[a.event],
					      a.hook);
		else if (a.type == HOOK_ACTION_READY || a.type == HOOK_ACTION_BACK)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", gap, words[a.type]);
		else
			n += (size_t)snprintf(buf + n, size - n, "%s%s%zu", gap, words[a.type],
					      a.hook);
		cr_assert(n < size);
	}
}

static void begin(struct hook_sequence *q, const struct hook_item *items, size_t n)
{
	hook_sequence_init(q);
	hook_sequence_begin(q, items, n, 100 * S, 0);
}

/*
 * A conversation: one letter for each event. '+' and '-' end a run with status 0 and 1, '!' it was
 * not started, 't' and 'a' ask for the way back, '>' lets the time pass to the deadline.
 */
static void play(struct hook_sequence *q, const char *events, char *words, size_t size)
{
	uint64_t now = 0;

	drain(q, words, size);
	for (const char *e = events; *e; e++) {
		switch (*e) {
		case '+':
		case '-':
			hook_sequence_exited(q, *e == '-', now);
			break;
		case '!':
			hook_sequence_not_started(q, now);
			break;
		case 't':
			hook_sequence_back(q, HOOK_THAW, now);
			break;
		case 'a':
			hook_sequence_back(q, HOOK_ABORT, now);
			break;
		case '>':
			now = hook_sequence_deadline_ns(q);
			cr_assert(ne(u64, now, UINT64_MAX), "nothing is awaited");
			hook_sequence_tick(q, now - 1);
			hook_sequence_tick(q, now);
			break;
		default:
			cr_assert(false);
		}
		drain(q, words, size);
	}
}

static const struct {
	const char *what;
	const char *optional; /* a letter for each of three hooks: 'o' optional, 'r' required */
	const char *events;
	char *words;
	enum hook_sequence_state state;
} rows[] = {
	{"up the list and down again", "rrr", "+++t+++", "F0 F1 F2 ready T2 T1 T0 back", HOOKS_IDLE},
	{"abort comes down as thaw does", "rrr", "+++a+++", "F0 F1 F2 ready A2 A1 A0 back", HOOKS_IDLE},
	{"a failure calls back those that have begun, the failed one too", "rrr", "+-++",
	 "F0 F1 failed1 A1 A0 back", HOOKS_IDLE},
	{"an optional one may fail, and is called back", "ror", "+-+t+++",
	 "F0 F1 F2 ready T2 T1 T0 back", HOOKS_IDLE},
	{"what was not started is not called back", "rrr", "+!+", "F0 F1 failed1 A0 back", HOOKS_IDLE},
	{"nor if it is optional", "ror", "+!+t++", "F0 F1 F2 ready T2 T0 back", HOOKS_IDLE},
	{"a failure on the way back ends nothing", "rrr", "+++t-!-", "F0 F1 F2 ready T2 T1 T0 back",
	 HOOKS_IDLE},
	{"the limit: SIGTERM is enough", "rrr", "+>-++", "F0 F1 term1 failed1 A1 A0 back", HOOKS_IDLE},
	{"the limit: SIGKILL is needed", "rrr", "+>>-++", "F0 F1 term1 kill1 failed1 A1 A0 back",
	 HOOKS_IDLE},
	{"the limit: not even that ends it", "rrr", "+>>>++",
	 "F0 F1 term1 kill1 left1 failed1 A1 A0 back", HOOKS_IDLE},
	{"a late success is a failure all the same", "rrr", ">++", "F0 term0 failed0 A0 back",
	 HOOKS_IDLE},
	{"the limit of an optional one", "orr", ">-++t+++", "F0 term0 F1 F2 ready T2 T1 T0 back",
	 HOOKS_IDLE},
	{"the limit on the way back", "rrr", "+++t>>>>-+",
	 "F0 F1 F2 ready T2 term2 kill2 left2 T1 term1 T0 back", HOOKS_IDLE},
	{"given up while one runs: it is ended first, and thaw becomes abort", "rrr", "+t-++",
	 "F0 F1 term1 A1 A0 back", HOOKS_IDLE},
	{"given up twice is once", "rrr", "+aat-++", "F0 F1 term1 A1 A0 back", HOOKS_IDLE},
	{"given up when it has its SIGTERM already", "rrr", "+>a>-++", "F0 F1 term1 kill1 A1 A0 back",
	 HOOKS_IDLE},
	{"thaw on the way back is nothing", "rrr", "+++tat+ta++", "F0 F1 F2 ready T2 T1 T0 back",
	 HOOKS_IDLE},
	{"an exit of nobody is nothing", "rrr", "+++++t+", "F0 F1 F2 ready T2 T1", HOOKS_RETURNING},
};

Test(hook_sequence, conversations_go_as_their_rows_say)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct hook_item items[3] = {plain, plain, plain};
		struct hook_sequence q;
		char words[256] = "";

		for (size_t k = 0; k < 3; k++)
			items[k].optional = rows[i].optional[k] == 'o';
		begin(&q, items, 3);
		play(&q, rows[i].events, words, sizeof(words));
		cr_assert(eq(str, words, rows[i].words), "%s", rows[i].what);
		cr_assert(eq(int, q.state, rows[i].state), "%s", rows[i].what);
	}
}

Test(hook_sequence, without_hooks_it_is_ready_and_back_at_once)
{
	struct hook_sequence q;
	char words[64] = "";

	begin(&q, NULL, 0);
	play(&q, "t", words, sizeof(words));
	cr_assert(eq(str, words, "ready back"));
}

Test(hook_sequence, a_hook_without_a_freeze_command_is_still_called_back)
{
	struct hook_item items[2] = {plain, plain};
	struct hook_sequence q;
	char words[64] = "";

	items[0].can[HOOK_FREEZE] = false;
	items[1].can[HOOK_THAW] = false;
	begin(&q, items, 2);
	play(&q, "+t+", words, sizeof(words));
	cr_assert(eq(str, words, "F1 ready T0 back"));
}

Test(hook_sequence, what_a_predecessor_has_begun_is_aborted)
{
	struct hook_item items[2] = {plain, plain};
	struct hook_sequence q;
	char words[64] = "";

	hook_sequence_init(&q);
	hook_sequence_recover(&q, items, 2, 0);
	play(&q, "-+", words, sizeof(words));
	cr_assert(eq(str, words, "A1 A0 back"));
}

Test(hook_sequence, no_freeze_runs_longer_than_the_budget_allows)
{
	struct hook_item items[2] = {plain, plain};
	struct hook_sequence q;
	struct hook_action a;

	hook_sequence_init(&q);
	hook_sequence_begin(&q, items, 2, 12 * S, 100 * S);
	cr_assert(eq(u64, hook_sequence_deadline_ns(&q), 110 * S));
	hook_sequence_exited(&q, 0, 108 * S);
	cr_assert(eq(u64, hook_sequence_deadline_ns(&q), 112 * S));
	hook_sequence_exited(&q, 0, 109 * S);
	while (hook_sequence_next_action(&q, &a))
		;
	hook_sequence_back(&q, HOOK_THAW, 200 * S);
	cr_assert(eq(u64, hook_sequence_deadline_ns(&q), 210 * S), "the way back has its own time");
}

Test(hook_sequence, each_run_has_its_outcome)
{
	struct hook_item items[3] = {plain, plain, plain};
	struct hook_sequence q;
	char words[256] = "";

	items[1].optional = true;
	begin(&q, items, 3);
	play(&q, "+->>>+-+", words, sizeof(words));
	cr_assert(eq(int, q.items[0].freeze.outcome, HOOK_OK));
	cr_assert(eq(int, q.items[1].freeze.outcome, HOOK_FAILED));
	cr_assert(eq(int, q.items[1].freeze.status, 1));
	cr_assert(eq(int, q.items[2].freeze.outcome, HOOK_STUCK));
	cr_assert(eq(int, q.items[2].back.outcome, HOOK_OK));
	cr_assert(eq(int, q.items[1].back.outcome, HOOK_FAILED));
	cr_assert(eq(int, q.items[0].back.event, HOOK_ABORT));
	cr_assert(eq(u64, q.items[2].freeze.ended_ns - q.items[2].freeze.started_ns, 14 * S));
}

/* Random events, and the promise of the header's comment. */
Test(hook_sequence, every_hook_that_has_begun_is_called_back_exactly_once)
{
	unsigned int seed = 1;

	for (int round = 0; round < 2000; round++) {
		int freezes[4] = {0}, backs[4] = {0};
		struct hook_item items[4] = {plain, plain, plain, plain};
		struct hook_sequence q;
		struct hook_action a;
		uint64_t now = 0;
		bool over = false;

		for (size_t i = 0; i < 4; i++)
			items[i].optional = (seed = seed * 1103515245u + 12345u) >> 30 == 0;
		begin(&q, items, 4);
		for (int step = 0; step < 200 && !over; step++) {
			unsigned int dice = (seed = seed * 1103515245u + 12345u) >> 16;
			bool started = true;

			while (hook_sequence_next_action(&q, &a)) {
				if (a.type == HOOK_ACTION_RUN && dice % 13 == 0) {
					started = false;
					hook_sequence_not_started(&q, now);
					backs[a.hook] += a.event != HOOK_FREEZE;
				} else if (a.type == HOOK_ACTION_RUN) {
					(a.event == HOOK_FREEZE ? freezes : backs)[a.hook]++;
				}
				over = over || a.type == HOOK_ACTION_BACK;
				dice = dice * 5 + 1;
			}
			if (!started || over)
				continue;
			now += S;
			if (dice % 4 == 0)
				hook_sequence_tick(&q, now += 10 * S);
			else if (dice % 11 == 1)
				hook_sequence_back(&q, HOOK_THAW, now);
			else
				hook_sequence_exited(&q, dice % 5 == 1, now);
		}
		cr_assert(over, "round %d", round);
		for (size_t i = 0; i < 4; i++)
			cr_assert(eq(int, backs[i], freezes[i]), "round %d, hook %zu", round, i);
	}
}
