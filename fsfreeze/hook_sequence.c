/* SPDX-License-Identifier: MIT */

/*
 * The sequence of hooks.
 *
 *              begin               last one ok             back
 *      IDLE ----------> FREEZING ---------------> HELD -------------> RETURNING
 *       ^                  |                                             ^  |
 *       |                  +---- a hook failed, or back -----------------+  |
 *       +------------------------------------------------- first one ------+
 *
 * FREEZE goes up the list, one hook at a time. THAW or ABORT comes down it, to every hook that was
 * started with FREEZE and to no other, once: also to the one that failed, because it may have done
 * half of its work. A failure on the way back is noted and ends nothing.
 *
 * A hook that overruns its limit gets SIGTERM, GRACE_NS later SIGKILL, and after another GRACE_NS
 * it is left alone: a process that the kernel cannot end must not keep the machine waiting.
 */

#include "fsfreeze/hook_sequence.h"

#include <assert.h>
#include <string.h>

#define GRACE_NS UINT64_C(2000000000)

static const char *const event_names[] = {
	[HOOK_FREEZE] = "freeze",
	[HOOK_THAW] = "thaw",
	[HOOK_ABORT] = "abort",
};
static_assert(sizeof(event_names) / sizeof(event_names[0]) == HOOK_EVENTS, "");

static const char *const outcome_names[] = {
	[HOOK_NOT_RUN] = "not-run",     [HOOK_RUNNING] = "running",
	[HOOK_OK] = "ok",               [HOOK_FAILED] = "failed",
	[HOOK_TIMED_OUT] = "timed-out", [HOOK_CANCELLED] = "cancelled",
	[HOOK_STUCK] = "stuck",         [HOOK_NOT_STARTED] = "not-started",
};
static_assert(sizeof(outcome_names) / sizeof(outcome_names[0]) == HOOK_OUTCOMES, "");

#define TO(state) (1u << HOOKS_##state)

static const uint32_t allowed_states[] = {
	[HOOKS_IDLE] = TO(FREEZING) | TO(RETURNING),
	[HOOKS_FREEZING] = TO(HELD) | TO(RETURNING),
	[HOOKS_HELD] = TO(RETURNING),
	[HOOKS_RETURNING] = TO(IDLE),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == HOOKS_STATES, "");

const char *hook_event_name(enum hook_event event)
{
	return event_names[event];
}

const char *hook_outcome_name(enum hook_outcome outcome)
{
	return outcome_names[outcome];
}

void hook_sequence_init(struct hook_sequence *q)
{
	*q = (struct hook_sequence){.state = HOOKS_IDLE, .deadline_ns = UINT64_MAX};
}

static void set_state(struct hook_sequence *q, enum hook_sequence_state state)
{
	assert(allowed_states[q->state] & (1u << state));
	q->state = state;
}

static void push(struct hook_sequence *q, enum hook_action_type type)
{
	assert(q->n_actions < HOOK_ACTIONS_MAX);
	q->actions[(q->next_action + q->n_actions++) % HOOK_ACTIONS_MAX] =
		(struct hook_action){.type = type, .event = q->event, .hook = q->current};
}

static struct hook_run *current_run(struct hook_sequence *q)
{
	struct hook_item *item = &q->items[q->current];

	return q->state == HOOKS_FREEZING ? &item->freeze : &item->back;
}

static uint64_t add_ns(uint64_t a, uint64_t b)
{
	return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

static void run(struct hook_sequence *q, size_t i, uint64_t now_ns)
{
	struct hook_item *item = &q->items[i];

	q->current = i;
	q->running = true;
	q->kills = 0;
	q->cancelled = false;
	q->deadline_ns = add_ns(now_ns, item->limit_ns);
	if (q->state == HOOKS_FREEZING) {
		item->begun = true;
		if (q->deadline_ns > q->budget_end_ns)
			q->deadline_ns = q->budget_end_ns;
	}
	*current_run(q) = (struct hook_run){
		.event = q->event,
		.outcome = HOOK_RUNNING,
		.started_ns = now_ns,
	};
	push(q, HOOK_ACTION_RUN);
}

/* Runs FREEZE on hook @i or the next one after it that has something to run. */
static void freeze_from(struct hook_sequence *q, size_t i, uint64_t now_ns)
{
	for (; i < q->n_items; i++) {
		if (q->items[i].can[HOOK_FREEZE]) {
			run(q, i, now_ns);
			return;
		}
		q->items[i].begun = true;
	}
	set_state(q, HOOKS_HELD);
	push(q, HOOK_ACTION_READY);
}

/* Calls back hook @end - 1, or the next one before it that is to be called back. */
static void return_below(struct hook_sequence *q, size_t end, uint64_t now_ns)
{
	while (end-- > 0) {
		if (q->items[end].begun && q->items[end].can[q->event]) {
			run(q, end, now_ns);
			return;
		}
	}
	set_state(q, HOOKS_IDLE);
	push(q, HOOK_ACTION_BACK);
}

static void begin_return(struct hook_sequence *q, enum hook_event event, uint64_t now_ns)
{
	q->event = event;
	set_state(q, HOOKS_RETURNING);
	return_below(q, q->n_items, now_ns);
}

static void take_items(struct hook_sequence *q, const struct hook_item *items, size_t n)
{
	assert(q->state == HOOKS_IDLE && !q->running && n <= HOOKS_MAX);
	if (n > 0)
		memcpy(q->items, items, n * sizeof(*items));
	q->n_items = n;
}

void hook_sequence_begin(struct hook_sequence *q, const struct hook_item *items, size_t n,
			 uint64_t budget_ns, uint64_t now_ns)
{
	take_items(q, items, n);
	q->budget_end_ns = add_ns(now_ns, budget_ns);
	q->event = HOOK_FREEZE;
	set_state(q, HOOKS_FREEZING);
	freeze_from(q, 0, now_ns);
}

void hook_sequence_recover(struct hook_sequence *q, const struct hook_item *items, size_t n,
			   uint64_t now_ns)
{
	take_items(q, items, n);
	for (size_t i = 0; i < n; i++)
		q->items[i].begun = true;
	begin_return(q, HOOK_ABORT, now_ns);
}

static void kill_current(struct hook_sequence *q, uint64_t now_ns)
{
	q->kills++;
	q->deadline_ns = add_ns(now_ns, GRACE_NS);
	push(q, q->kills == 1 ? HOOK_ACTION_TERM : HOOK_ACTION_KILL);
}

void hook_sequence_back(struct hook_sequence *q, enum hook_event event, uint64_t now_ns)
{
	assert(event != HOOK_FREEZE);
	switch (q->state) {
	case HOOKS_FREEZING:
		/* Nothing was frozen, so whatever was asked for, this is no ordinary end. */
		q->cancelled = true;
		if (q->kills == 0)
			kill_current(q, now_ns);
		break;
	case HOOKS_HELD:
		begin_return(q, event, now_ns);
		break;
	case HOOKS_IDLE:
	case HOOKS_RETURNING:
	case HOOKS_STATES:
		break;
	}
}

/* The current run is over; @outcome is true of it. */
static void end_run(struct hook_sequence *q, enum hook_outcome outcome, int status, uint64_t now_ns)
{
	const struct hook_item *item = &q->items[q->current];
	struct hook_run *r = current_run(q);
	size_t i = q->current;

	r->outcome = outcome;
	r->status = status;
	r->ended_ns = now_ns;
	q->running = false;
	q->deadline_ns = UINT64_MAX;

	if (q->state == HOOKS_RETURNING) {
		return_below(q, i, now_ns);
	} else if (q->cancelled) {
		begin_return(q, HOOK_ABORT, now_ns);
	} else if (outcome == HOOK_OK || item->optional) {
		freeze_from(q, i + 1, now_ns);
	} else {
		push(q, HOOK_ACTION_FAILED);
		begin_return(q, HOOK_ABORT, now_ns);
	}
}

void hook_sequence_not_started(struct hook_sequence *q, uint64_t now_ns)
{
	if (!q->running)
		return;
	if (q->state == HOOKS_FREEZING)
		q->items[q->current].begun = false;
	end_run(q, HOOK_NOT_STARTED, 0, now_ns);
}

void hook_sequence_exited(struct hook_sequence *q, int status, uint64_t now_ns)
{
	enum hook_outcome outcome = status == 0 ? HOOK_OK : HOOK_FAILED;

	if (!q->running)
		return;
	if (q->kills > 0)
		outcome = q->cancelled ? HOOK_CANCELLED : HOOK_TIMED_OUT;
	end_run(q, outcome, status, now_ns);
}

void hook_sequence_tick(struct hook_sequence *q, uint64_t now_ns)
{
	if (!q->running || now_ns < q->deadline_ns)
		return;
	if (q->kills < 2) {
		kill_current(q, now_ns);
		return;
	}
	push(q, HOOK_ACTION_LEAVE);
	end_run(q, HOOK_STUCK, 0, now_ns);
}

uint64_t hook_sequence_deadline_ns(const struct hook_sequence *q)
{
	return q->running ? q->deadline_ns : UINT64_MAX;
}

bool hook_sequence_next_action(struct hook_sequence *q, struct hook_action *ret_action)
{
	if (q->n_actions == 0)
		return false;
	*ret_action = q->actions[q->next_action];
	q->next_action = (q->next_action + 1) % HOOK_ACTIONS_MAX;
	q->n_actions--;
	return true;
}
