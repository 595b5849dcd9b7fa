/* SPDX-License-Identifier: MIT */

/*
 * A backup, seen from the host.
 *
 *     IDLE -> HOT_BACKUP -> DM_INFO -> FREEZE -> FROZEN -> THAW -> BU_COMPLETE -> DONE
 *                 |            |          |                  |          |
 *                 +------------+----------+------> FAILED <--+----------+
 *
 * Each arrow is a successful answer, but for the one out of FROZEN: there the caller takes its
 * snapshot, in its own time. Whatever comes of that, the guest is thawed, and only its answer to
 * THAW says whether it stood still to the end; a guest whose own deadline was shorter than our
 * snapshot answers with failure. DONE and FAILED lead to HOT_BACKUP again by the next start.
 *
 * A guest that does not answer in time is told to start over by a new negotiation: that voids its
 * request, and makes it thaw if it freezes later. After that no answer of the old transaction can
 * be taken for one of the next (OpenVMM vm/devices/hyperv_ic/src/common.rs).
 */

#include "host/vss_host.h"

#include "base/bytes.h"
#include "vmbus/wire.h"
#include "vss/vss_wire.h"

#include <assert.h>

#define NS_PER_S 1000000000u

enum {
	FREEZE_TIMEOUT_S = 60,
	ANSWER_TIMEOUT_S = 30,
};

static const char *const state_names[] = {
	[VSS_HOST_IDLE] = "idle",
	[VSS_HOST_HOT_BACKUP] = "hot-backup",
	[VSS_HOST_DM_INFO] = "dm-info",
	[VSS_HOST_FREEZE] = "freeze",
	[VSS_HOST_FROZEN] = "frozen",
	[VSS_HOST_THAW] = "thaw",
	[VSS_HOST_BU_COMPLETE] = "backup-complete",
	[VSS_HOST_DONE] = "done",
	[VSS_HOST_FAILED] = "failed",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == VSS_HOST_STATES, "");

static const char *const failure_texts[] = {
	[VSS_HOST_OK] = "nothing failed",
	[VSS_HOST_REFUSED] = "the guest cannot take part in a backup",
	[VSS_HOST_NOT_FROZEN] = "the guest could not freeze its file systems",
	[VSS_HOST_NO_SNAPSHOT] = "the snapshot could not be taken",
	[VSS_HOST_THAWED_EARLY] = "the guest thawed by itself, so the copy is not consistent",
	[VSS_HOST_NOT_COMPLETED] = "the guest did not accept the end of the backup",
	[VSS_HOST_TIMEOUT] = "the guest did not answer in time",
	[VSS_HOST_GUEST_LOST] = "the guest is gone",
};
static_assert(sizeof(failure_texts) / sizeof(failure_texts[0]) == VSS_HOST_FAILURES, "");

#define TO(state) (1u << VSS_HOST_##state)

static const uint32_t allowed_states[] = {
	[VSS_HOST_IDLE] = TO(HOT_BACKUP),
	[VSS_HOST_HOT_BACKUP] = TO(DM_INFO) | TO(FAILED),
	[VSS_HOST_DM_INFO] = TO(FREEZE) | TO(FAILED),
	[VSS_HOST_FREEZE] = TO(FROZEN) | TO(FAILED),
	[VSS_HOST_FROZEN] = TO(THAW) | TO(FAILED),
	[VSS_HOST_THAW] = TO(BU_COMPLETE) | TO(FAILED),
	[VSS_HOST_BU_COMPLETE] = TO(DONE) | TO(FAILED),
	[VSS_HOST_DONE] = TO(HOT_BACKUP),
	[VSS_HOST_FAILED] = TO(HOT_BACKUP),
};
static_assert(sizeof(allowed_states) / sizeof(allowed_states[0]) == VSS_HOST_STATES, "");

const char *vss_host_state_name(enum vss_host_state state)
{
	return state_names[state];
}

const char *vss_host_failure_text(enum vss_host_failure failure)
{
	return failure_texts[failure];
}

void vss_host_init(struct vss_host *h, const struct vss_host_config *config)
{
	*h = (struct vss_host){.config = *config, .deadline_ns = UINT64_MAX};
	if (h->config.freeze_timeout_ns == 0)
		h->config.freeze_timeout_ns = (uint64_t)FREEZE_TIMEOUT_S * NS_PER_S;
	if (h->config.answer_timeout_ns == 0)
		h->config.answer_timeout_ns = (uint64_t)ANSWER_TIMEOUT_S * NS_PER_S;
}

static void set_state(struct vss_host *h, enum vss_host_state state, uint64_t now_ns)
{
	assert(allowed_states[h->state] & (1u << state));
	h->state = state;
	h->since_ns = now_ns;
	h->deadline_ns = UINT64_MAX;
}

static void push(struct vss_host *h, struct vss_host_action action)
{
	assert(h->n_actions < VSS_HOST_ACTIONS_MAX);
	h->actions[(h->next_action + h->n_actions++) % VSS_HOST_ACTIONS_MAX] = action;
}

/* Enters @state by sending the request it waits for. */
static void ask(struct vss_host *h, enum vss_host_state state, enum vss_operation operation,
		uint64_t now_ns)
{
	uint64_t timeout_ns = operation == VSS_OP_FREEZE ? h->config.freeze_timeout_ns
							 : h->config.answer_timeout_ns;

	set_state(h, state, now_ns);
	h->deadline_ns = timeout_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + timeout_ns;
	push(h, (struct vss_host_action){
			.type = VSS_HOST_SEND,
			.operation = (uint8_t)operation,
			.size = operation == VSS_OP_FREEZE ? (size_t)VSS_FREEZE_SIZE
							   : (size_t)VSS_MESSAGE_MIN_SIZE,
		});
}

/* The backup has failed; a snapshot that failed before is the reason that is kept. */
static void fail(struct vss_host *h, enum vss_host_failure failure, uint32_t status,
		 uint64_t now_ns)
{
	if (h->failure == VSS_HOST_OK) {
		h->failure = failure;
		h->failed_in = h->state;
		h->status = status;
	}
	set_state(h, VSS_HOST_FAILED, now_ns);
	push(h, (struct vss_host_action){.type = VSS_HOST_FINISHED});
}

bool vss_host_is_running(const struct vss_host *h)
{
	return h->state != VSS_HOST_IDLE && h->state != VSS_HOST_DONE &&
	       h->state != VSS_HOST_FAILED;
}

int vss_host_start(struct vss_host *h, uint64_t now_ns)
{
	if (vss_host_is_running(h))
		return VSS_HOST_RUNNING;

	h->failure = VSS_HOST_OK;
	h->failed_in = VSS_HOST_IDLE;
	h->status = IC_S_OK;
	h->frozen_ns = 0;
	h->no_auto_recovery = false;
	ask(h, VSS_HOST_HOT_BACKUP, VSS_OP_HOT_BACKUP, now_ns);
	return 0;
}

static bool has_no_auto_recovery(const void *msg, size_t size)
{
	struct bytes_reader r;
	uint32_t flags;

	bytes_reader_init(&r, msg, size);
	bytes_skip(&r, VSS_FLAGS_OFFSET);
	flags = bytes_get_u32(&r);
	return bytes_reader_ok(&r) && flags == VSS_HOT_BACKUP_NO_AUTO_RECOVERY;
}

static void on_hot_backup(struct vss_host *h, uint32_t status, const void *msg, size_t size,
			  uint64_t now_ns)
{
	if (status != IC_S_OK) {
		fail(h, VSS_HOST_REFUSED, status, now_ns);
		return;
	}
	h->no_auto_recovery = has_no_auto_recovery(msg, size);
	ask(h, VSS_HOST_DM_INFO, VSS_OP_GET_DM_INFO, now_ns);
}

static void on_freeze(struct vss_host *h, uint32_t status, uint64_t now_ns)
{
	if (status != IC_S_OK) {
		fail(h, VSS_HOST_NOT_FROZEN, status, now_ns);
		return;
	}
	set_state(h, VSS_HOST_FROZEN, now_ns);
	h->frozen_at_ns = now_ns;
	push(h, (struct vss_host_action){.type = VSS_HOST_SNAPSHOT});
}

static void on_thaw(struct vss_host *h, uint32_t status, uint64_t now_ns)
{
	h->frozen_ns = now_ns - h->frozen_at_ns;
	if (status != IC_S_OK)
		fail(h, VSS_HOST_THAWED_EARLY, status, now_ns);
	else if (h->failure != VSS_HOST_OK)
		fail(h, h->failure, h->status, now_ns);
	else
		ask(h, VSS_HOST_BU_COMPLETE, VSS_OP_BU_COMPLETE, now_ns);
}

static void on_bu_complete(struct vss_host *h, uint32_t status, uint64_t now_ns)
{
	if (status != IC_S_OK) {
		fail(h, VSS_HOST_NOT_COMPLETED, status, now_ns);
		return;
	}
	set_state(h, VSS_HOST_DONE, now_ns);
	push(h, (struct vss_host_action){.type = VSS_HOST_FINISHED});
}

void vss_host_receive(struct vss_host *h, uint32_t status, const void *msg, size_t size,
		      uint64_t now_ns)
{
	switch (h->state) {
	case VSS_HOST_HOT_BACKUP:
		on_hot_backup(h, status, msg, size, now_ns);
		break;
	case VSS_HOST_DM_INFO:
		if (status == IC_S_OK)
			ask(h, VSS_HOST_FREEZE, VSS_OP_FREEZE, now_ns);
		else
			fail(h, VSS_HOST_REFUSED, status, now_ns);
		break;
	case VSS_HOST_FREEZE:
		on_freeze(h, status, now_ns);
		break;
	case VSS_HOST_THAW:
		on_thaw(h, status, now_ns);
		break;
	case VSS_HOST_BU_COMPLETE:
		on_bu_complete(h, status, now_ns);
		break;
	case VSS_HOST_IDLE:
	case VSS_HOST_FROZEN:
	case VSS_HOST_DONE:
	case VSS_HOST_FAILED:
	case VSS_HOST_STATES:
		h->stray++;
		break;
	}
}

void vss_host_snapshot_done(struct vss_host *h, bool ok, uint64_t now_ns)
{
	if (h->state != VSS_HOST_FROZEN) {
		h->stray++;
		return;
	}
	if (!ok) {
		h->failure = VSS_HOST_NO_SNAPSHOT;
		h->failed_in = VSS_HOST_FROZEN;
	}
	ask(h, VSS_HOST_THAW, VSS_OP_THAW, now_ns);
}

void vss_host_lost(struct vss_host *h, uint64_t now_ns)
{
	if (vss_host_is_running(h))
		fail(h, VSS_HOST_GUEST_LOST, IC_S_OK, now_ns);
}

void vss_host_tick(struct vss_host *h, uint64_t now_ns)
{
	if (now_ns < h->deadline_ns)
		return;
	push(h, (struct vss_host_action){.type = VSS_HOST_RESET});
	fail(h, VSS_HOST_TIMEOUT, IC_S_OK, now_ns);
}

uint64_t vss_host_deadline_ns(const struct vss_host *h)
{
	return h->deadline_ns;
}

bool vss_host_next_action(struct vss_host *h, struct vss_host_action *ret_action)
{
	if (h->n_actions == 0)
		return false;
	*ret_action = h->actions[h->next_action];
	h->next_action = (h->next_action + 1) % VSS_HOST_ACTIONS_MAX;
	h->n_actions--;
	return true;
}

int vss_host_message(const struct vss_host_action *action, void *buf, size_t buf_size,
		     size_t *ret_size)
{
	struct bytes_writer w;

	assert(action->type == VSS_HOST_SEND && action->size >= VSS_MESSAGE_MIN_SIZE);
	bytes_writer_init(&w, buf, buf_size);
	bytes_put_u8(&w, action->operation);
	bytes_put_zeros(&w, action->size - 1);
	if (!bytes_writer_ok(&w))
		return -ENOBUFS;
	*ret_size = bytes_written(&w);
	return 0;
}
