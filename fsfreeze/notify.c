/* SPDX-License-Identifier: MIT */

/*
 * The clients of the notify socket.
 *
 *              begin                 all answered, or late             back
 *      IDLE --------------> ASKING ------------------------> HELD -------------> IDLE
 *       ^                      |                                                  ^
 *       +------ back ----------+------------ FAILED, then back -------------------+
 *
 * Anybody may connect, so nobody is trusted with more than a bounded wait: each says how long it may
 * take, up to the configured maximum; then the freeze goes on without it. Only root may say that
 * there must be no freeze without it. Who sends what is no message, or does not say hello, is shown
 * out; an answer that comes too late is let pass, a few times.
 *
 * A client has at most one message to be sent at any time, because the caller sends it at once; one
 * that cannot take it is as good as gone.
 */

#include "fsfreeze/notify.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

enum {
	NOTIFY_VERSION = 1,
	HELLO_LIMIT_S = 5,
	STALE_MAX = 16,
};

static const char *const outcome_names[] = {
	[NOTIFY_NOT_ASKED] = "not-asked", [NOTIFY_ASKED] = "asked",   [NOTIFY_READY] = "ready",
	[NOTIFY_FAILED] = "failed",       [NOTIFY_LATE] = "late",     [NOTIFY_GONE] = "gone",
};
static_assert(sizeof(outcome_names) / sizeof(outcome_names[0]) == NOTIFY_OUTCOMES, "");

const char *notify_outcome_name(enum notify_outcome outcome)
{
	return outcome_names[outcome];
}

void notify_init(struct notify *n, uint64_t hold_max_ns)
{
	*n = (struct notify){.hold_max_ns = hold_max_ns};
}

/* A place for a new client: the ones of the last freeze are kept for its receipt if possible. */
static struct notify_client *free_place(struct notify *n)
{
	struct notify_client *spare = NULL;

	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++) {
		struct notify_client *c = &n->clients[i];

		if (c->connected)
			continue;
		if (!c->in_round)
			return c;
		if (n->state == NOTIFY_IDLE && !spare)
			spare = c;
	}
	return spare;
}

int notify_add(struct notify *n, uint32_t uid, uint64_t now_ns, size_t *ret_client)
{
	struct notify_client *c = free_place(n);
	size_t n_same = 0;

	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		n_same += n->clients[i].connected && n->clients[i].uid == uid;
	if (!c || (uid != 0 && n_same >= NOTIFY_CLIENTS_PER_USER))
		return NOTIFY_FULL;

	*c = (struct notify_client){
		.connected = true,
		.uid = uid,
		.deadline_ns = now_ns + HELLO_LIMIT_S * NS_PER_S,
	};
	*ret_client = (size_t)(c - n->clients);
	return 0;
}

static void show_out(struct notify_client *c, const char *why)
{
	snprintf(c->to_send, sizeof(c->to_send), "refused %s", why);
	c->to_close = true;
	c->deadline_ns = UINT64_MAX;
}

/* When nobody is waited for any more, the freeze may begin. */
static void look_if_done(struct notify *n)
{
	if (n->state != NOTIFY_ASKING || n->failed_due)
		return;
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		if (n->clients[i].in_round && n->clients[i].outcome == NOTIFY_ASKED)
			return;
	n->state = NOTIFY_HELD;
	n->done_due = true;
}

/* The client has answered, or has lost its chance to. */
static void settle(struct notify *n, struct notify_client *c, enum notify_outcome outcome,
		   uint64_t now_ns)
{
	c->outcome = outcome;
	c->answered_ns = now_ns;
	c->deadline_ns = UINT64_MAX;
	if (outcome != NOTIFY_READY && c->required && n->state == NOTIFY_ASKING && !n->failed_due) {
		n->failed_due = true;
		n->failed = (size_t)(c - n->clients);
	}
	look_if_done(n);
}

static bool is_name(const char *text)
{
	for (const char *p = text; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
		      (*p >= '0' && *p <= '9') || *p == '-' || *p == '_' || *p == '.' || *p == '@'))
			return false;
	return *text != '\0';
}

/* "hello VERSION NAME SECONDS [required]" */
static void on_hello(struct notify *n, struct notify_client *c, const char *text)
{
	char name[NOTIFY_NAME_SIZE], word[16] = "";
	unsigned int version, seconds;
	int got = sscanf(text, "hello %u %47s %u %15s", &version, name, &seconds, word);
	bool required = !strcmp(word, "required");

	if (c->greeted || got < 3 || !is_name(name) || (got == 4 && !required))
		show_out(c, "hello VERSION NAME SECONDS [required] is expected");
	else if (version != NOTIFY_VERSION)
		show_out(c, "version 1 is spoken here");
	else if (required && c->uid != 0)
		show_out(c, "only root can be required");
	else {
		c->greeted = true;
		c->required = required;
		c->deadline_ns = UINT64_MAX;
		memcpy(c->name, name, sizeof(c->name));
		c->hold_ns = seconds * NS_PER_S;
		if (c->hold_ns > n->hold_max_ns)
			c->hold_ns = n->hold_max_ns;
		snprintf(c->to_send, sizeof(c->to_send), "welcome %d %u", NOTIFY_VERSION,
			 (unsigned int)(c->hold_ns / NS_PER_S));
	}
}

/* "ready ID" or "fail ID [REASON]" */
static void on_answer(struct notify *n, struct notify_client *c, const char *text, uint64_t now_ns)
{
	bool ready = text[0] == 'r';
	unsigned int id;
	int end = 0;

	if (sscanf(text, ready ? "ready %u%n" : "fail %u%n", &id, &end) != 1 ||
	    (ready && text[end] != '\0')) {
		show_out(c, "ready ID or fail ID REASON is expected");
		return;
	}
	if (!c->in_round || id != n->id || c->outcome != NOTIFY_ASKED) {
		if (++c->n_stale > STALE_MAX)
			show_out(c, "too many answers to no question");
		return;
	}
	if (!ready)
		snprintf(c->reason, sizeof(c->reason), "%s", text[end] == ' ' ? text + end + 1 : "");
	settle(n, c, ready ? NOTIFY_READY : NOTIFY_FAILED, now_ns);
}

void notify_receive(struct notify *n, size_t client, const void *bytes, size_t size, uint64_t now_ns)
{
	struct notify_client *c = &n->clients[client];
	char text[NOTIFY_MESSAGE_MAX];

	assert(c->connected);
	if (c->to_close)
		return;
	if (size >= sizeof(text)) {
		show_out(c, "the message is too long");
		return;
	}
	memcpy(text, bytes, size);
	if (size > 0 && text[size - 1] == '\n')
		size--;
	text[size] = '\0';
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] >= 0x7f)
			text[i] = '?';

	if (!strncmp(text, "hello ", 6))
		on_hello(n, c, text);
	else if (c->greeted && (!strncmp(text, "ready ", 6) || !strncmp(text, "fail ", 5)))
		on_answer(n, c, text, now_ns);
	else
		show_out(c, c->greeted ? "ready or fail is expected" : "hello is expected");
}

void notify_gone(struct notify *n, size_t client, uint64_t now_ns)
{
	struct notify_client *c = &n->clients[client];

	c->connected = c->to_close = false;
	c->to_send[0] = '\0';
	c->deadline_ns = UINT64_MAX;
	if (c->in_round && n->state != NOTIFY_IDLE &&
	    (c->outcome == NOTIFY_ASKED || c->outcome == NOTIFY_READY))
		settle(n, c, NOTIFY_GONE, now_ns);
}

void notify_begin(struct notify *n, uint64_t now_ns)
{
	assert(n->state == NOTIFY_IDLE);
	n->state = NOTIFY_ASKING;
	n->id++;
	n->done_due = n->failed_due = false;
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++) {
		struct notify_client *c = &n->clients[i];

		c->in_round = c->connected && c->greeted && !c->to_close;
		c->outcome = c->in_round ? NOTIFY_ASKED : NOTIFY_NOT_ASKED;
		if (!c->in_round)
			continue;
		c->reason[0] = '\0';
		c->asked_ns = now_ns;
		c->deadline_ns = now_ns + c->hold_ns;
		snprintf(c->to_send, sizeof(c->to_send), "freeze %u %u", n->id,
			 (unsigned int)(c->hold_ns / NS_PER_S));
	}
	look_if_done(n);
}

void notify_back(struct notify *n, enum notify_end end)
{
	if (n->state == NOTIFY_IDLE)
		return;
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++) {
		struct notify_client *c = &n->clients[i];

		if (!c->in_round)
			continue;
		if (c->outcome == NOTIFY_ASKED)
			c->outcome = NOTIFY_LATE;
		if (c->connected && !c->to_close) {
			c->deadline_ns = UINT64_MAX;
			snprintf(c->to_send, sizeof(c->to_send), "%s %u",
				 end == NOTIFY_THAW ? "thaw" : "abort", n->id);
		}
	}
	n->state = NOTIFY_IDLE;
	n->done_due = n->failed_due = false;
}

void notify_tick(struct notify *n, uint64_t now_ns)
{
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++) {
		struct notify_client *c = &n->clients[i];

		if (!c->connected || now_ns < c->deadline_ns)
			continue;
		if (!c->greeted)
			show_out(c, "hello is expected");
		else
			settle(n, c, NOTIFY_LATE, now_ns);
	}
}

uint64_t notify_deadline_ns(const struct notify *n)
{
	uint64_t first = UINT64_MAX;

	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		if (n->clients[i].connected && n->clients[i].deadline_ns < first)
			first = n->clients[i].deadline_ns;
	return first;
}

bool notify_next_action(struct notify *n, struct notify_action *ret_action)
{
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++) {
		struct notify_client *c = &n->clients[i];

		if (c->to_send[0]) {
			ret_action->type = NOTIFY_ACTION_SEND;
			ret_action->client = i;
			memcpy(ret_action->text, c->to_send, sizeof(c->to_send));
			c->to_send[0] = '\0';
			return true;
		}
		if (c->to_close) {
			c->to_close = false;
			*ret_action = (struct notify_action){NOTIFY_ACTION_CLOSE, i, ""};
			return true;
		}
	}
	if (n->failed_due) {
		n->failed_due = false;
		n->state = NOTIFY_HELD;
		*ret_action = (struct notify_action){NOTIFY_ACTION_FAILED, n->failed, ""};
		return true;
	}
	if (n->done_due) {
		n->done_due = false;
		*ret_action = (struct notify_action){.type = NOTIFY_ACTION_DONE};
		return true;
	}
	return false;
}

size_t notify_count(const struct notify *n)
{
	size_t count = 0;

	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		count += n->clients[i].in_round;
	return count;
}

size_t notify_count_failed(const struct notify *n)
{
	size_t count = 0;

	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		count += n->clients[i].in_round && n->clients[i].outcome != NOTIFY_READY;
	return count;
}
