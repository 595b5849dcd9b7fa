/* SPDX-License-Identifier: MIT */

/*
 * A guest's live backup: the machine of host/vss_host on a channel and a timer, with the copies in
 * between. The machine knows the order and the time limits; the backup knows the images; here the
 * two meet.
 */

#include "host/guest_backup.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "host/guest_ic.h"
#include "host/vss_host.h"
#include "vss/vss_wire.h"

#include <stdio.h>

struct guest_backup {
	struct backup_workers workers;
	struct guest_ic ic;
	struct vss_host core;
	struct backup *backup; /* the one under way */
};

static void step(struct guest_backup *g);

static void images_held(void *user, bool ok)
{
	struct guest_backup *g = user;

	vss_host_snapshot_done(&g->core, ok, clock_monotonic_ns());
	step(g);
}

static void do_send(struct guest_backup *g, const struct vss_host_action *action)
{
	uint8_t message[VSS_FREEZE_SIZE];
	size_t size;

	if (action->operation == VSS_OP_FREEZE)
		backup_freezing(g->backup);
	if (action->operation == VSS_OP_THAW)
		backup_thawing(g->backup);
	if (vss_host_message(action, message, sizeof(message), &size) ||
	    !ic_client_request(&g->ic.client, message, size))
		vss_host_lost(&g->core, clock_monotonic_ns());
}

static void do_finish(struct guest_backup *g)
{
	struct backup *backup = steal_ptr(g->backup);
	char error[160];

	if (g->core.failure == VSS_HOST_OK) {
		backup_end(backup, NULL, false);
		return;
	}
	snprintf(error, sizeof(error), "%s (in step %s)", vss_host_failure_text(g->core.failure),
		 vss_host_state_name(g->core.failed_in));
	backup_end(backup, error, g->core.failure == VSS_HOST_THAWED_EARLY);
}

static void step(struct guest_backup *g)
{
	struct vss_host_action action;

	while (vss_host_next_action(&g->core, &action)) {
		switch (action.type) {
		case VSS_HOST_SEND:
			do_send(g, &action);
			break;
		case VSS_HOST_SNAPSHOT:
			if (backup_hold(g->backup, images_held, g))
				vss_host_snapshot_done(&g->core, false, clock_monotonic_ns());
			break;
		case VSS_HOST_RESET:
			ic_client_negotiate(&g->ic.client);
			break;
		case VSS_HOST_FINISHED:
			do_finish(g);
			break;
		}
	}
	timer_set(g->ic.timer, vss_host_deadline_ns(&g->core));
}

static void on_timer(void *self)
{
	struct guest_backup *g = self;

	vss_host_tick(&g->core, clock_monotonic_ns());
	step(g);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_backup *g = self;

	if (g->core.state == VSS_HOST_THAW)
		backup_thawed(g->backup);
	vss_host_receive(&g->core, response->status, response->data, response->size,
			 clock_monotonic_ns());
	step(g);
}

static void on_closed(void *self)
{
	struct guest_backup *g = self;

	vss_host_lost(&g->core, clock_monotonic_ns());
	step(g);
	if (g->backup) /* it is being prepared, and has not come to the guest */
		backup_end(steal_ptr(g->backup), vss_host_failure_text(VSS_HOST_GUEST_LOST), false);
}

/* What can be done beforehand is done: now the guest. */
static void prepared(void *user, bool ok)
{
	struct guest_backup *g = user;

	if (!ok)
		backup_end(steal_ptr(g->backup), "it could not be prepared", false);
	else if (!ic_client_is_ready(&g->ic.client) || vss_host_start(&g->core, clock_monotonic_ns()))
		backup_end(steal_ptr(g->backup), vss_host_failure_text(VSS_HOST_GUEST_LOST), false);
	else
		step(g);
}

int guest_backup_start(struct guest_backup *g, struct backup *backup)
{
	if (!ic_client_is_ready(&g->ic.client))
		return GUEST_BACKUP_NOT_READY;
	if (g->backup)
		return GUEST_BACKUP_RUNNING;

	g->backup = backup;
	log_notice("%s: backup %u begins", g->ic.context.guest_name, backup_id(backup));
	if (backup_prepare(backup, &g->workers, prepared, g))
		prepared(g, false);
	return 0;
}

bool guest_backup_is_running(const struct guest_backup *g)
{
	return g->backup != NULL;
}

const char *guest_backup_state(const struct guest_backup *g)
{
	return g->ic.client.link ? vss_host_state_name(g->core.state) : "none";
}

static json_t *status(const void *self)
{
	const struct guest_backup *g = self;
	char version[16];

	return json_pack("{s:s, s:s*}", "state", guest_backup_state(g), "version",
			 ic_client_version(&g->ic.client, version));
}

static void destroy(void *self)
{
	struct guest_backup *g = self;

	guest_ic_fini(&g->ic);
	free(g);
}

static const struct guest_ic_ops ic_ops = {
	.service = &ic_service_vss,
	.status_name = "backup",
	.on_response = on_response,
	.on_timer = on_timer,
	.on_closed = on_closed,
	.status = status,
	.free = destroy,
};

int guest_backup_new(const struct guest_service_context *context,
		     const struct backup_workers *workers, struct guest_backup **ret_backup)
{
	static const struct vss_host_config config = {0};
	_cleanup_free_ struct guest_backup *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	g->workers = *workers;
	vss_host_init(&g->core, &config);
	r = guest_ic_init(&g->ic, context, &ic_ops, g);
	if (r)
		return r;
	*ret_backup = steal_ptr(g);
	return 0;
}

struct guest_service guest_backup_service(struct guest_backup *g)
{
	return guest_ic_service(&g->ic);
}
