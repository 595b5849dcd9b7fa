/* SPDX-License-Identifier: MIT */

/*
 * The guest's VSS machine.
 *
 *                 FREEZE            complete(ok)
 *        IDLE ------------> FREEZING ------------> FROZEN
 *         ^ ^                 | | |                 | |
 *         | |  complete(fail) | | | abort           | | THAW, abort
 *         | +-----------------+ | | or overtaken    | v
 *         |  or thawed early    | +------------> THAWING
 *         |                     |                   |
 *         +---------------------+--- complete, -----+
 *                                    thawed early (also from FROZEN)
 *
 * The host asks, one request at a time. Each request gets one answer; FREEZE and THAW get it when
 * they are done. Rules beyond the diagram:
 *
 * A FREEZE while frozen and a THAW while nothing is frozen succeed, because hosts repeat them. But
 * after a freeze has ended by itself, by its deadline for instance, the next THAW is answered with
 * failure, once: the host believes that its copy was taken while the guest stood still, and must
 * learn that it was not. Linux has no such rule (drivers/hv/hv_snapshot.c answers success).
 *
 * An answer that does not reach the host has told it nothing: if it was the answer to a THAW, the
 * next THAW is told that the freeze was lost. The kernel of a guest that hibernates, for instance,
 * makes up a THAW and drops the answer (hv_snapshot.c, hv_vss_pre_suspend()).
 *
 * A request that comes before the last one was answered, and a negotiation, void what was asked
 * before. Its answer has nowhere to go, so the freeze is given up: THAW is given out whether
 * FREEZE has completed or not, and its completion is awaited before anything is frozen again.
 *
 * Operations that need nothing from us, and unknown ones, are answered with success and an
 * untouched body, as Linux does. Truncated ones fail.
 */

#include "vss/vss.h"

#include "base/bytes.h"
#include "vmbus/wire.h"
#include "vss/vss_wire.h"

#include <assert.h>

static const char *const state_names[] = {
	[VSS_IDLE] = "idle",
	[VSS_FREEZING] = "freezing",
	[VSS_FROZEN] = "frozen",
	[VSS_THAWING] = "thawing",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == VSS_STATES, "");

static const char *const reason_names[] = {
	[VSS_REASON_HOST] = "host",
	[VSS_REASON_NEGOTIATE] = "negotiate",
	[VSS_REASON_OVERTAKEN] = "overtaken",
	[VSS_REASON_CHANNEL] = "channel",
	[VSS_REASON_DAEMON_STOP] = "daemon-stop",
	[VSS_REASON_DEADLINE] = "deadline",
	[VSS_REASON_FREEZER] = "freezer",
};
static_assert(sizeof(reason_names) / sizeof(reason_names[0]) == VSS_REASONS, "");

static const char *const note_names[] = {
	[VSS_NOTE_TRUNCATED] = "truncated",
	[VSS_NOTE_UNKNOWN] = "unknown-operation",
	[VSS_NOTE_OVERTAKEN] = "overtaken",
	[VSS_NOTE_ENDED_EARLY] = "ended-early",
	[VSS_NOTE_FREEZE_TWICE] = "freeze-twice",
	[VSS_NOTE_THAW_ALONE] = "thaw-without-freeze",
};
static_assert(sizeof(note_names) / sizeof(note_names[0]) == VSS_NOTES, "");

#define TO(state) (1u << VSS_##state)

static const uint32_t allowed_states[] = {
	[VSS_IDLE] = TO(FREEZING),
	[VSS_FREEZING] = TO(FROZEN) | TO(THAWING) | TO(IDLE),
	[VSS_FROZEN] = TO(THAWING) | TO(IDLE),
	[VSS_THAWING] = TO(IDLE),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == VSS_STATES, "");

const char *vss_state_name(enum vss_state state)
{
	return state_names[state];
}

const char *vss_reason_name(enum vss_reason reason)
{
	return reason_names[reason];
}

const char *vss_note_name(enum vss_note note)
{
	return note_names[note];
}

void vss_init(struct vss *v)
{
	*v = (struct vss){.state = VSS_IDLE, .available = true};
}

void vss_set_available(struct vss *v, bool available)
{
	v->available = available;
}

static void set_state(struct vss *v, enum vss_state state, uint64_t now_ns)
{
	assert(allowed_states[v->state] & (1u << state));
	v->state = state;
	v->since_ns = now_ns;
	v->stats.entered[state]++;
}

static void push(struct vss *v, struct vss_action action)
{
	assert(v->n_actions < VSS_ACTIONS_MAX);
	action.operation = v->operation;
	v->actions[(v->next_action + v->n_actions++) % VSS_ACTIONS_MAX] = action;
}

static void note(struct vss *v, enum vss_note which, enum vss_reason reason)
{
	v->stats.notes[which]++;
	push(v, (struct vss_action){.type = VSS_ACTION_NOTE, .note = which, .reason = reason});
}

static void answer(struct vss *v, uint32_t status)
{
	if (status == IC_S_OK)
		v->stats.answered_ok++;
	else
		v->stats.answered_fail++;
	push(v, (struct vss_action){.type = VSS_ACTION_ANSWER, .status = status});
}

static void answer_with_flags(struct vss *v, uint32_t flags)
{
	v->stats.answered_ok++;
	push(v, (struct vss_action){
			.type = VSS_ACTION_ANSWER,
			.status = IC_S_OK,
			.set_flags = true,
			.flags = flags,
		});
}

/* Answers the request of FREEZING or THAWING, unless it is void by now. */
static void answer_due(struct vss *v, bool ok)
{
	if (!v->answer_due)
		return;
	v->answer_due = false;
	answer(v, ok ? IC_S_OK : IC_E_FAIL);
}

static void begin_thaw(struct vss *v, enum vss_reason reason, uint64_t now_ns)
{
	v->thaw_reason = reason;
	v->stats.thaws++;
	push(v, (struct vss_action){.type = VSS_ACTION_THAW, .reason = reason});
	set_state(v, VSS_THAWING, now_ns);
}

/* A freeze that the host took for granted, or was about to, has ended. */
static void end_early(struct vss *v, enum vss_reason reason)
{
	v->ended_early = true;
	v->stats.ended_early++;
	note(v, VSS_NOTE_ENDED_EARLY, reason);
}

void vss_abort(struct vss *v, enum vss_reason reason, uint64_t now_ns)
{
	v->answer_due = false;
	switch (v->state) {
	case VSS_FREEZING:
		begin_thaw(v, reason, now_ns);
		break;
	case VSS_FROZEN:
		end_early(v, reason);
		begin_thaw(v, reason, now_ns);
		break;
	case VSS_IDLE:
	case VSS_THAWING:
	case VSS_STATES:
		break;
	}
}

/* The answer to a THAW is on its way: whatever the host believed, now it knows. */
static void tell_end(struct vss *v)
{
	v->end_told = v->believed || v->ended_early;
	v->believed = v->ended_early = false;
}

static void on_freeze(struct vss *v, uint64_t now_ns)
{
	switch (v->state) {
	case VSS_IDLE:
		v->believed = v->ended_early = false;
		if (!v->available) {
			answer(v, IC_E_FAIL);
			break;
		}
		v->answer_due = true;
		v->stats.freezes++;
		push(v, (struct vss_action){.type = VSS_ACTION_FREEZE});
		set_state(v, VSS_FREEZING, now_ns);
		break;
	case VSS_FROZEN:
		note(v, VSS_NOTE_FREEZE_TWICE, VSS_REASON_HOST);
		answer(v, IC_S_OK);
		break;
	case VSS_THAWING:
		answer(v, IC_E_FAIL);
		break;
	case VSS_FREEZING: /* the request before it has been voided */
	case VSS_STATES:
		assert(false);
		break;
	}
}

static void on_thaw(struct vss *v, uint64_t now_ns)
{
	switch (v->state) {
	case VSS_IDLE:
		if (!v->ended_early)
			note(v, VSS_NOTE_THAW_ALONE, VSS_REASON_HOST);
		answer(v, v->ended_early ? IC_E_FAIL : IC_S_OK);
		tell_end(v);
		break;
	case VSS_FROZEN:
		v->answer_due = true;
		begin_thaw(v, VSS_REASON_HOST, now_ns);
		break;
	case VSS_THAWING:
		v->answer_due = true;
		break;
	case VSS_FREEZING: /* the request before it has been voided */
	case VSS_STATES:
		assert(false);
		break;
	}
}

void vss_receive(struct vss *v, const void *msg, size_t size, uint64_t now_ns)
{
	struct bytes_reader r;
	uint8_t operation;

	v->stats.requests++;
	v->end_told = false;
	if (v->answer_due) {
		note(v, VSS_NOTE_OVERTAKEN, VSS_REASON_OVERTAKEN);
		vss_abort(v, VSS_REASON_OVERTAKEN, now_ns);
	}

	bytes_reader_init(&r, msg, size);
	operation = bytes_get_u8(&r);
	v->operation = operation;
	if (size < VSS_MESSAGE_MIN_SIZE) {
		note(v, VSS_NOTE_TRUNCATED, VSS_REASON_HOST);
		answer(v, IC_E_FAIL);
		return;
	}

	switch (operation) {
	case VSS_OP_HOT_BACKUP:
		if (v->available)
			answer_with_flags(v, VSS_HOT_BACKUP_NO_AUTO_RECOVERY);
		else
			answer(v, IC_E_FAIL);
		break;
	case VSS_OP_GET_DM_INFO:
		answer_with_flags(v, 0);
		break;
	case VSS_OP_FREEZE:
		on_freeze(v, now_ns);
		break;
	case VSS_OP_THAW:
		on_thaw(v, now_ns);
		break;
	case VSS_OP_CREATE:
	case VSS_OP_DELETE:
	case VSS_OP_BU_COMPLETE:
	case VSS_OP_AUTO_RECOVER:
		answer(v, IC_S_OK);
		break;
	default:
		note(v, VSS_NOTE_UNKNOWN, VSS_REASON_HOST);
		answer(v, IC_S_OK);
		break;
	}
}

void vss_complete_freeze(struct vss *v, bool ok, uint64_t now_ns)
{
	switch (v->state) {
	case VSS_FREEZING:
		set_state(v, ok ? VSS_FROZEN : VSS_IDLE, now_ns);
		v->believed = ok && v->answer_due;
		answer_due(v, ok);
		break;
	case VSS_THAWING: /* given up meanwhile; the completion of the thaw is still to come */
	case VSS_IDLE:
	case VSS_FROZEN:
	case VSS_STATES:
		v->stats.stray_completions++;
		break;
	}
}

/* The thaw is through; the answer to the host's THAW, if it waits, is about the whole freeze. */
static void finish_thaw(struct vss *v, bool ok, uint64_t now_ns)
{
	bool told = v->answer_due;

	set_state(v, VSS_IDLE, now_ns);
	answer_due(v, ok && !v->ended_early);
	if (told) {
		tell_end(v);
	} else if (!ok && v->thaw_reason == VSS_REASON_HOST) {
		/* The host has voided its THAW, and does not know that it was in vain. */
		end_early(v, VSS_REASON_FREEZER);
	}
}

void vss_complete_thaw(struct vss *v, bool ok, uint64_t now_ns)
{
	switch (v->state) {
	case VSS_THAWING:
		finish_thaw(v, ok, now_ns);
		break;
	case VSS_IDLE:
	case VSS_FREEZING:
	case VSS_FROZEN:
	case VSS_STATES:
		v->stats.stray_completions++;
		break;
	}
}

void vss_thawed_early(struct vss *v, enum vss_reason reason, uint64_t now_ns)
{
	switch (v->state) {
	case VSS_FREEZING:
		vss_complete_freeze(v, false, now_ns);
		break;
	case VSS_FROZEN:
		end_early(v, reason);
		set_state(v, VSS_IDLE, now_ns);
		break;
	case VSS_THAWING:
		/* Only if the host was about to trust the freeze is its end too early. */
		if (v->thaw_reason == VSS_REASON_HOST)
			end_early(v, reason);
		finish_thaw(v, true, now_ns);
		break;
	case VSS_IDLE:
	case VSS_STATES:
		v->stats.stray_completions++;
		break;
	}
}

void vss_answer_lost(struct vss *v)
{
	v->stats.answers_lost++;
	v->ended_early = v->ended_early || v->end_told;
	v->end_told = false;
}

void vss_assume_lost(struct vss *v)
{
	assert(v->state == VSS_IDLE);
	v->ended_early = true;
}

bool vss_owes_end(const struct vss *v)
{
	return v->state != VSS_IDLE || v->ended_early;
}

bool vss_next_action(struct vss *v, struct vss_action *ret_action)
{
	if (v->n_actions == 0)
		return false;
	*ret_action = v->actions[v->next_action];
	v->next_action = (v->next_action + 1) % VSS_ACTIONS_MAX;
	v->n_actions--;
	return true;
}

void vss_apply_answer(const struct vss_action *action, void *msg, size_t size)
{
	struct bytes_writer w;

	assert(action->type == VSS_ACTION_ANSWER);
	if (!action->set_flags || size < VSS_MESSAGE_MIN_SIZE)
		return;
	bytes_writer_init(&w, (uint8_t *)msg + VSS_FLAGS_OFFSET, size - VSS_FLAGS_OFFSET);
	bytes_put_u32(&w, action->flags);
}
