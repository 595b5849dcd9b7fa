/* SPDX-License-Identifier: MIT */

/*
 * A guest's heartbeat: the machine of host/heartbeat_host on a channel and a timer.
 *
 * A guest that misses one answer may just be busy; after three it is shown as lost. Nothing is done
 * to it because of that: what to do with a guest that does not answer is for people to decide.
 */

#include "host/guest_heartbeat.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/guest_ic.h"
#include "host/heartbeat_host.h"
#include "services/heartbeat.h"

#include <string.h>

enum {
	LOST_AFTER = 3, /* periods without an answer */
};

struct guest_heartbeat {
	struct guest_ic ic;
	struct heartbeat_host core;
};

static void step(struct guest_heartbeat *g)
{
	struct heartbeat_host_action action;
	uint64_t now = clock_monotonic_ns();

	heartbeat_host_tick(&g->core, now);
	while (heartbeat_host_next_action(&g->core, now, &action) == 0)
		(void)!ic_client_request(&g->ic.client, action.message, sizeof(action.message));
	timer_set(g->ic.timer, heartbeat_host_deadline_ns(&g->core));
}

static void on_timer(void *self)
{
	step(self);
}

static void on_ready(void *self)
{
	struct guest_heartbeat *g = self;

	heartbeat_host_start(&g->core, clock_monotonic_ns());
	step(g);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_heartbeat *g = self;
	int r = heartbeat_host_receive(&g->core, response->data, response->size,
				       clock_monotonic_ns());

	if (r)
		log_warning("%s: a wrong heartbeat (%d)", g->ic.context.guest_name, r);
	step(g);
}

static void on_closed(void *self)
{
	struct guest_heartbeat *g = self;

	heartbeat_host_stop(&g->core);
	timer_set(g->ic.timer, UINT64_MAX);
}

static const char *state_name(const struct heartbeat_host *core)
{
	if (!core->running || core->answered == 0)
		return "none";
	return core->missed_in_a_row >= LOST_AFTER ? "lost" : "ok";
}

/* What a guest said that does not answer any more is not so any more. */
static bool knows_stall(const struct heartbeat_host *core)
{
	return core->stall_centipercent != HEARTBEAT_STALL_UNKNOWN && strcmp(state_name(core), "ok") == 0;
}

void guest_heartbeat_show(const struct guest_heartbeat *g, struct board_services *ret_services)
{
	ret_services->heartbeat = state_name(&g->core);
	ret_services->heartbeats_answered = g->core.answered;
	ret_services->heartbeats_missed = g->core.missed;
	ret_services->stall_centipercent = knows_stall(&g->core) ? g->core.stall_centipercent : BOARD_UNKNOWN;
}

/* How long from now; NULL if nothing is frozen. */
static json_t *hold_left(const struct heartbeat_host *core)
{
	double passed_s = (double)(clock_monotonic_ns() - core->last_answer_ns) / 1e9;
	double left_s = core->hold_left_ms / 1e3 - passed_s;

	return core->hold_left_ms == UINT32_MAX ? NULL : json_real(left_s > 0 ? left_s : 0);
}

static json_t *status(const void *self)
{
	const struct guest_heartbeat *g = self;
	char version[16];

	return json_pack("{s:s, s:s, s:s, s:o*, s:o*, s:s*, s:I, s:I, s:I, s:f}", "state",
			 state_name(&g->core), "application",
			 heartbeat_application_name(g->core.application), "hold",
			 heartbeat_hold_name(g->core.hold), "hold_seconds_left", hold_left(&g->core),
			 "memory_stall_percent",
			 knows_stall(&g->core) ? json_real(g->core.stall_centipercent / 100.0) : NULL,
			 "version", ic_client_version(&g->ic.client, version), "asked",
			 (json_int_t)g->core.asked, "answered", (json_int_t)g->core.answered,
			 "missed", (json_int_t)g->core.missed, "answer_seconds",
			 g->core.answer_time_ns / 1e9);
}

static void destroy(void *self)
{
	struct guest_heartbeat *g = self;

	guest_ic_fini(&g->ic);
	free(g);
}

static const struct guest_ic_ops ic_ops = {
	.service = &ic_service_heartbeat,
	.status_name = "heartbeat",
	.on_ready = on_ready,
	.on_response = on_response,
	.on_timer = on_timer,
	.on_closed = on_closed,
	.status = status,
	.free = destroy,
};

int guest_heartbeat_new(const struct guest_service_context *context,
			struct guest_heartbeat **ret_heartbeat)
{
	_cleanup_free_ struct guest_heartbeat *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	heartbeat_host_init(&g->core);
	r = guest_ic_init(&g->ic, context, &ic_ops, g);
	if (r)
		return r;
	*ret_heartbeat = steal_ptr(g);
	return 0;
}

struct guest_service guest_heartbeat_service(struct guest_heartbeat *g)
{
	return guest_ic_service(&g->ic);
}
