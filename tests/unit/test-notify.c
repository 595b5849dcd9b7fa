/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/notify.c: conversations with clients, good and bad.
 */

#include "fsfreeze/notify.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S UINT64_C(1000000000)

static struct notify n;

/* What the machine wants, as words: "0:freeze 1 5" "1:close" "done" "failed0", with ", " between. */
static void drain(char *buf, size_t size)
{
	struct notify_action a;
	size_t used = 0;

	buf[0] = '\0';
	while (notify_next_action(&n, &a)) {
		const char *gap = used ? ", " : "";

		switch (a.type) {
		case NOTIFY_ACTION_SEND:
			used += (size_t)snprintf(buf + used, size - used, "%s%zu:%s", gap, a.client,
						 a.text);
			break;
		case NOTIFY_ACTION_CLOSE:
			used += (size_t)snprintf(buf + used, size - used, "%s%zu:close", gap,
						 a.client);
			notify_gone(&n, a.client, 0);
			break;
		case NOTIFY_ACTION_DONE:
			used += (size_t)snprintf(buf + used, size - used, "%sdone", gap);
			break;
		case NOTIFY_ACTION_FAILED:
			used += (size_t)snprintf(buf + used, size - used, "%sfailed%zu", gap,
						 a.client);
			break;
		}
		cr_assert(lt(sz, used, size));
	}
}

static void expect(const char *what, const char *wanted)
{
	char buf[1024];

	drain(buf, sizeof(buf));
	cr_assert(eq(int, strcmp(buf, wanted), 0), "%s: '%s', not '%s'", what, buf, wanted);
}

static size_t add(uint32_t uid)
{
	size_t i = 99;

	cr_assert(eq(int, notify_add(&n, uid, 0, &i), 0));
	return i;
}

static void say(size_t i, const char *text)
{
	notify_receive(&n, i, text, strlen(text), 1 * S);
}

/* Two clients, the first of which is required. */
static void begin(void)
{
	notify_init(&n, 10 * S);
	say(add(0), "hello 1 one 5 required");
	say(add(1000), "hello 1 two 20");
	expect("hello", "0:welcome 1 5, 1:welcome 1 10");
	notify_begin(&n, 1 * S);
	expect("begin", "0:freeze 1 5, 1:freeze 1 10");
}

Test(notify, without_clients_it_is_done_at_once)
{
	notify_init(&n, 10 * S);
	notify_begin(&n, 0);
	expect("begin", "done");
	notify_back(&n, NOTIFY_THAW);
	expect("back", "");
	cr_assert(eq(sz, notify_count(&n), 0));
}

Test(notify, it_is_done_when_all_are_ready_and_all_are_told_of_the_end)
{
	begin();
	say(1, "ready 1\n");
	expect("one of two", "");
	say(0, "ready 1");
	expect("both", "done");
	cr_assert(eq(u64, notify_deadline_ns(&n), UINT64_MAX));
	notify_back(&n, NOTIFY_THAW);
	expect("thaw", "0:thaw 1, 1:thaw 1");
	cr_assert(eq(sz, notify_count(&n), 2));
	cr_assert(eq(sz, notify_count_failed(&n), 0));
}

Test(notify, a_required_client_that_fails_ends_it)
{
	begin();
	say(0, "fail 1 no space");
	expect("fail", "failed0");
	cr_assert(eq(str, n.clients[0].reason, (char *)(uintptr_t)"no space"));
	say(1, "ready 1");
	expect("the other is not waited for any more", "");
	notify_back(&n, NOTIFY_ABORT);
	expect("abort", "0:abort 1, 1:abort 1");
}

Test(notify, a_client_that_is_not_required_may_fail_or_be_late_or_go)
{
	static const char *const words[] = {"fail 1", "late", "go"};

	for (size_t i = 0; i < 3; i++) {
		begin();
		say(0, "ready 1");
		if (i == 0)
			say(1, words[i]);
		else if (i == 1)
			notify_tick(&n, 11 * S);
		else
			notify_gone(&n, 1, 2 * S);
		expect(words[i], "done");
		notify_back(&n, NOTIFY_THAW);
		cr_assert(eq(sz, notify_count_failed(&n), 1));
	}
}

Test(notify, a_required_client_that_is_late_ends_it)
{
	begin();
	cr_assert(eq(u64, notify_deadline_ns(&n), 6 * S));
	notify_tick(&n, 6 * S - 1);
	expect("before its time", "");
	notify_tick(&n, 6 * S);
	expect("at its time", "failed0");
}

Test(notify, one_that_goes_while_all_is_frozen_is_counted)
{
	begin();
	say(0, "ready 1");
	say(1, "ready 1");
	expect("ready", "done");
	notify_gone(&n, 1, 3 * S);
	notify_back(&n, NOTIFY_THAW);
	expect("thaw", "0:thaw 1");
	cr_assert(eq(int, n.clients[1].outcome, NOTIFY_GONE));
	cr_assert(eq(sz, notify_count_failed(&n), 1));
}

Test(notify, one_that_comes_in_the_middle_is_asked_the_next_time)
{
	size_t late;

	begin();
	late = add(0);
	say(late, "hello 1 late 1");
	say(0, "ready 1");
	say(1, "ready 1");
	expect("ready", "2:welcome 1 1, done");
	notify_back(&n, NOTIFY_THAW);
	expect("thaw", "0:thaw 1, 1:thaw 1");
	notify_begin(&n, 5 * S);
	expect("the next", "0:freeze 2 5, 1:freeze 2 10, 2:freeze 2 1");
}

static const struct {
	const char *message;
	const char *answer;
} bad[] = {
	{"", "0:refused hello is expected, 0:close"},
	{"hello", "0:refused hello is expected, 0:close"},
	{"hello 1", "0:refused hello VERSION NAME SECONDS [required] is expected, 0:close"},
	{"hello 1 a b", "0:refused hello VERSION NAME SECONDS [required] is expected, 0:close"},
	{"hello 1 a/b 1", "0:refused hello VERSION NAME SECONDS [required] is expected, 0:close"},
	{"hello 1 a 1 more", "0:refused hello VERSION NAME SECONDS [required] is expected, 0:close"},
	{"hello 9 a 1", "0:refused version 1 is spoken here, 0:close"},
	{"hello 1 a 1 required", "0:refused only root can be required, 0:close"},
	{"ready 1", "0:refused hello is expected, 0:close"},
	{"\x01\xff", "0:refused hello is expected, 0:close"},
};

Test(notify, who_does_not_say_hello_is_shown_out)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		notify_init(&n, 10 * S);
		say(add(1000), bad[i].message);
		expect(bad[i].message, bad[i].answer);
		cr_assert(not(n.clients[0].connected));
	}
	notify_init(&n, 10 * S);
	(void)add(0);
	notify_tick(&n, 5 * S);
	expect("silence", "0:refused hello is expected, 0:close");
}

Test(notify, late_answers_are_let_pass_a_few_times)
{
	begin();
	for (int i = 0; i < 16; i++)
		say(1, "ready 7");
	expect("sixteen", "");
	say(1, "ready 7");
	expect("seventeen", "1:refused too many answers to no question, 1:close");
	say(0, "ready 1");
	expect("the one that was shown out is not waited for", "done");
}

Test(notify, a_user_has_eight_places_and_root_the_rest)
{
	size_t i;

	notify_init(&n, 10 * S);
	for (int k = 0; k < NOTIFY_CLIENTS_PER_USER; k++)
		(void)add(1000);
	cr_assert(eq(int, notify_add(&n, 1000, 0, &i), NOTIFY_FULL));
	for (int k = NOTIFY_CLIENTS_PER_USER; k < NOTIFY_CLIENTS_MAX; k++)
		(void)add(0);
	cr_assert(eq(int, notify_add(&n, 0, 0, &i), NOTIFY_FULL));
	notify_gone(&n, 3, 0);
	cr_assert(eq(sz, add(1000), 3));
}

/* Random clients: every one that was told of a freeze and is still there is told of its end. */
Test(notify, random_clients_never_break_it)
{
	static const char *const messages[] = {"hello 1 a 2", "hello 1 b 3 required", "ready 1",
					       "ready 2",     "fail 3 x",             "what"};
	unsigned int seed = 7;
	char buf[8192];

	notify_init(&n, 10 * S);
	for (uint64_t now = 0; now < 20000; now++) {
		size_t i = (size_t)rand_r(&seed) % NOTIFY_CLIENTS_MAX;

		switch (rand_r(&seed) % 8) {
		case 0:
			(void)!notify_add(&n, (uint32_t)rand_r(&seed) % 3, now * S, &i);
			break;
		case 1:
			if (n.clients[i].connected)
				notify_gone(&n, i, now * S);
			break;
		case 2:
			if (n.state == NOTIFY_IDLE)
				notify_begin(&n, now * S);
			break;
		case 3:
			notify_back(&n, NOTIFY_ABORT);
			break;
		case 4:
			notify_tick(&n, now * S);
			break;
		default:
			if (n.clients[i].connected) {
				const char *m = messages[rand_r(&seed) % 6];

				notify_receive(&n, i, m, strlen(m), now * S);
			}
		}
		drain(buf, sizeof(buf));
		cr_assert(le(sz, notify_count_failed(&n), notify_count(&n)));
	}
}
