/* SPDX-License-Identifier: MIT */

/*
 * Live backup, bound to the world.
 *
 * The machine (vss/) says when to freeze and to thaw; the snapshot (daemon/snapshot) does it, and
 * says how it ended; the channel, or the kernel's device in its place, carries what the host asks
 * and what it is answered.
 *
 * As long as the host may believe that the guest is frozen there is a mark in the run directory. The
 * daemon that comes after a killed one finds it, and answers the host's THAW with failure.
 */

#include "daemon/bind_vss.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/device_link.h"
#include "daemon/ic_channel.h"
#include "vss/vss.h"
#include "vss/vss_device.h"
#include "vss/vss_wire.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct bind_vss {
	struct event_base *base;
	const struct config *config;
	struct snapshot *snapshot;
	struct ic_channel channel;
	struct device_link *device; /* in place of the channel, with a stock kernel; or NULL */
	bool marked;
	struct vss core;
};

static void perform(struct bind_vss *b);

static int mark_path(const struct bind_vss *b, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/vss.frozen", b->config->run_dir);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Makes the mark before anything is frozen, and removes it when the host knows of the end. */
static void update_mark(struct bind_vss *b)
{
	bool owed = vss_owes_end(&b->core);
	char path[PATH_MAX];
	int fd;

	if (owed == b->marked || mark_path(b, path))
		return;
	b->marked = owed;
	if (!owed) {
		(void)unlink(path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		log_warning("vss: %s cannot be made: %m: if hvguestd is killed while frozen, the host "
			    "will not learn of it", path);
	(void)close_fd(fd);
}

static void find_mark(struct bind_vss *b)
{
	char path[PATH_MAX];

	if (mark_path(b, path) || access(path, F_OK) < 0)
		return;
	b->marked = true;
	vss_assume_lost(&b->core);
	log_warning("vss: a predecessor was lost in a backup; the host will be told so");
}

static void on_frozen(void *self)
{
	struct bind_vss *b = self;

	vss_complete_freeze(&b->core, true, clock_monotonic_ns());
	perform(b);
}

/* The host is told one bit: whether what it was told is frozen was so until its THAW. */
static void on_thawed(void *self, const struct snapshot_outcome *outcome)
{
	struct bind_vss *b = self;
	uint64_t now = clock_monotonic_ns();

	switch (outcome->end) {
	case SNAPSHOT_END_FAILED:
		vss_complete_freeze(&b->core, false, now);
		break;
	case SNAPSHOT_END_ASKED:
		vss_complete_thaw(&b->core, outcome->whole, now);
		break;
	case SNAPSHOT_END_DEADLINE:
		vss_thawed_early(&b->core, VSS_REASON_DEADLINE, now);
		break;
	case SNAPSHOT_END_FREEZER:
		vss_thawed_early(&b->core, VSS_REASON_FREEZER, now);
		break;
	}
	perform(b);
}

static const struct snapshot_user snapshot_ops = {
	.name = "host",
	.on_frozen = on_frozen,
	.on_thawed = on_thawed,
};

/* The text of the receipt. */
static const char *thaw_text(enum vss_reason reason)
{
	switch (reason) {
	case VSS_REASON_HOST:
		return "thawed as the host asked";
	case VSS_REASON_NEGOTIATE:
		return "thawed because the host started over";
	case VSS_REASON_OVERTAKEN:
		return "thawed because the host asked for something else meanwhile";
	case VSS_REASON_CHANNEL:
		return "thawed because the host or its channel was lost";
	case VSS_REASON_DAEMON_STOP:
		return "thawed because hvguestd stops";
	case VSS_REASON_DEADLINE:
	case VSS_REASON_FREEZER:
	case VSS_REASONS:
		break;
	}
	return "thawed";
}

static void do_freeze(struct bind_vss *b)
{
	update_mark(b);
	if (snapshot_freeze(b->snapshot, &snapshot_ops, b, b->config->freeze_timeout_ns))
		vss_complete_freeze(&b->core, false, clock_monotonic_ns());
}

static void do_thaw(struct bind_vss *b, enum vss_reason reason)
{
	snapshot_thaw(b->snapshot, b, thaw_text(reason), reason == VSS_REASON_HOST);
}

static void do_answer(struct bind_vss *b, const struct vss_action *action)
{
	uint8_t answer[VSS_DEVICE_MESSAGE_SIZE];
	size_t size;
	uint8_t *message;

	if (b->device) {
		vss_device_answer(answer, action->status);
		if (device_link_answer(b->device, answer, sizeof(answer)))
			vss_answer_lost(&b->core);
		return;
	}
	message = ic_channel_request(&b->channel, &size);
	if (!message)
		return;
	vss_apply_answer(action, message, size);
	ic_channel_answer(&b->channel, action->status);
}

/* What a host could make us say as often as it likes is logged once; the receipt has it each time. */
static void tell_note(const struct bind_vss *b, const struct vss_action *action)
{
	snapshot_note(b->snapshot, b, vss_note_name(action->note));
	if (action->note == VSS_NOTE_ENDED_EARLY || b->core.stats.notes[action->note] == 1)
		log_notice("backup: %s (%s)", vss_note_name(action->note),
			   vss_reason_name(action->reason));
}

/* Performs what the machine wants done. */
static void perform(struct bind_vss *b)
{
	struct vss_action action;

	while (vss_next_action(&b->core, &action)) {
		switch (action.type) {
		case VSS_ACTION_FREEZE:
			do_freeze(b);
			break;
		case VSS_ACTION_THAW:
			do_thaw(b, action.reason);
			break;
		case VSS_ACTION_ANSWER:
			do_answer(b, &action);
			break;
		case VSS_ACTION_NOTE:
			tell_note(b, &action);
			break;
		}
	}
	if (!vss_owes_end(&b->core))
		update_mark(b);
}

static void on_request(void *self, uint8_t *message, size_t size)
{
	struct bind_vss *b = self;

	vss_receive(&b->core, message, size, clock_monotonic_ns());
	perform(b);
}

static void abort_backup(struct bind_vss *b, enum vss_reason reason)
{
	vss_abort(&b->core, reason, clock_monotonic_ns());
	perform(b);
}

void bind_vss_stop(struct bind_vss *b)
{
	abort_backup(b, VSS_REASON_DAEMON_STOP);
}

static void on_negotiated(void *self)
{
	abort_backup(self, VSS_REASON_NEGOTIATE);
}

static void on_overtaken(void *self)
{
	abort_backup(self, VSS_REASON_OVERTAKEN);
}

static void on_channel_closed(void *self)
{
	abort_backup(self, VSS_REASON_CHANNEL);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
	.on_negotiated = on_negotiated,
	.on_overtaken = on_overtaken,
	.on_closed = on_channel_closed,
};

enum {
	/* A little less than the kernel waits: VSS_FREEZE_TIMEOUT and HV_UTIL_TIMEOUT, 900 and 30 s. */
	FREEZE_LIMIT_S = 895,
	ANSWER_LIMIT_S = 28,
};

static size_t put_registration(uint8_t ret_message[DEVICE_MESSAGE_MAX])
{
	vss_device_register(ret_message);
	return VSS_DEVICE_MESSAGE_SIZE;
}

static enum device_event event_of(const void *message, size_t size)
{
	switch (vss_device_event(message, size)) {
	case VSS_DEVICE_REGISTERED:
		return DEVICE_REGISTERED;
	case VSS_DEVICE_REQUEST:
		return DEVICE_REQUEST;
	case VSS_DEVICE_UNKNOWN:
		break;
	}
	return DEVICE_UNKNOWN;
}

static unsigned int limit_of(const void *message, size_t size)
{
	(void)size;
	return *(const uint8_t *)message == VSS_OP_FREEZE ? FREEZE_LIMIT_S : ANSWER_LIMIT_S;
}

static const struct device_kind device_kind = {
	.service = "vss",
	.daemon = "hv_vss_daemon; its service is hv-vss-daemon, hypervvssd or hv_vss_daemon",
	.offer = "backup",
	.put_registration = put_registration,
	.event = event_of,
	.limit_s = limit_of,
};

static void on_device_request(void *self, const void *message, size_t size)
{
	struct bind_vss *b = self;

	vss_receive(&b->core, message, size, clock_monotonic_ns());
	perform(b);
}

static const struct device_link_user device_ops = {
	.on_request = on_device_request,
	.on_closed = on_channel_closed,
};

int bind_vss_use_device(struct bind_vss *b)
{
	return device_link_new(b->base, &device_kind, b->config->vss_device, &device_ops, b, &b->device);
}

bool bind_vss_has_host(const void *binding)
{
	const struct bind_vss *b = binding;

	return b->device && device_link_is_open(b->device);
}

static void on_snapshot_change(void *self)
{
	struct bind_vss *b = self;

	vss_set_available(&b->core, snapshot_is_free_for(b->snapshot, b));
}

int bind_vss_new(struct event_base *base, const struct config *config,
		 struct connection *const *connection, struct snapshot *snapshot,
		 struct bind_vss **ret_binding)
{
	struct bind_vss *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->config = config;
	b->snapshot = snapshot;
	vss_init(&b->core);
	ic_channel_init(&b->channel, base, connection, &ic_service_vss, &channel_ops, b);
	snapshot_watch(snapshot, on_snapshot_change, b);
	on_snapshot_change(b);
	find_mark(b);

	*ret_binding = b;
	return 0;
}

struct bind_vss *bind_vss_free(struct bind_vss *b)
{
	if (!b)
		return NULL;
	ic_channel_fini(&b->channel);
	b->device = device_link_free(b->device);
	snapshot_unwatch(b->snapshot, b);
	free(b);
	return NULL;
}

struct service bind_vss_service(struct bind_vss *b)
{
	return ic_channel_service(&b->channel);
}

/* How often each state was entered. */
static json_t *count_states(const struct vss_stats *s)
{
	json_t *states = json_object();

	for (int i = 0; i < VSS_STATES; i++)
		json_object_set_new(states, vss_state_name(i), json_integer((json_int_t)s->entered[i]));
	return states;
}

json_t *bind_vss_status(const struct bind_vss *b)
{
	const char *channel = ic_channel_state(&b->channel);
	char version[16];
	const char *protocol = ic_channel_version(&b->channel, version);
	json_t *status;

	if (b->device) {
		channel = device_link_state(b->device);
		protocol = NULL; /* the kernel's business */
	}
	status = json_pack("{s:s, s:s*, s:s, s:f, s:I, s:I, s:I}", "channel",
			   channel, "version", protocol, "state",
			   vss_state_name(b->core.state), "freeze_timeout_seconds",
			   b->config->freeze_timeout_ns / 1e9, "freezes",
			   (json_int_t)b->core.stats.freezes, "ended_early",
			   (json_int_t)b->core.stats.ended_early, "malformed",
			   (json_int_t)b->channel.ic.stats.malformed);
	if (status && b->device) {
		json_object_set_new(status, "device", json_string(b->config->vss_device));
		if (device_link_problem(b->device))
			json_object_set_new(status, "device_problem",
					    json_string(device_link_problem(b->device)));
	}
	if (status)
		json_object_set_new(status, "states", count_states(&b->core.stats));
	if (status)
		snapshot_add_status(b->snapshot, status);
	return status;
}
