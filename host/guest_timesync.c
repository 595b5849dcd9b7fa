/* SPDX-License-Identifier: MIT */

/*
 * A guest's time synchronisation: the machine of host/timesync_host on a channel and a timer.
 *
 * The host tells the time of the machine it runs on. A guest's reference counter is, in a lab, that
 * machine's raw clock: both have it, and it begins with the machine.
 */

#include "host/guest_timesync.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jobs.h"
#include "host/guest_ic.h"

#include <time.h>

struct guest_timesync {
	struct guest_ic ic;
	struct timesync_host core;
};

static int64_t read_clock(clockid_t id)
{
	struct timespec now = {0};

	(void)clock_gettime(id, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void step(struct guest_timesync *g)
{
	const struct timesync_host_clock clock = {
		.now_ns = clock_monotonic_ns(),
		.real_ns = read_clock(CLOCK_REALTIME),
		.reference = (uint64_t)read_clock(CLOCK_MONOTONIC_RAW) / 100,
	};
	struct timesync_host_action action;

	timesync_host_tick(&g->core, clock.now_ns);
	if (timesync_host_next_action(&g->core, g->ic.client.ic.version.major, &clock, &action) == 0)
		(void)!ic_client_request(&g->ic.client, action.message, action.size);
	timer_set(g->ic.timer, timesync_host_deadline_ns(&g->core));
}

static void on_timer(void *self)
{
	step(self);
}

static void on_ready(void *self)
{
	struct guest_timesync *g = self;

	timesync_host_start(&g->core, clock_monotonic_ns());
	step(g);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_timesync *g = self;

	timesync_host_receive(&g->core, response->status, clock_monotonic_ns());
	step(g);
}

static void on_closed(void *self)
{
	struct guest_timesync *g = self;

	timesync_host_stop(&g->core);
	timer_set(g->ic.timer, UINT64_MAX);
}

const struct timesync_skew *guest_timesync_skew(const struct guest_timesync *g)
{
	return &g->core.skew;
}

void guest_timesync_set_skew(struct guest_timesync *g, const struct timesync_skew *skew)
{
	timesync_host_skew(&g->core, skew, clock_monotonic_ns());
}

void guest_timesync_every(struct guest_timesync *g, uint64_t period_ns)
{
	timesync_host_every(&g->core, period_ns, clock_monotonic_ns());
	timer_set(g->ic.timer, timesync_host_deadline_ns(&g->core));
}

int guest_timesync_send(struct guest_timesync *g, uint8_t flags)
{
	if (!ic_client_is_ready(&g->ic.client))
		return GUEST_TIMESYNC_NOT_READY;
	timesync_host_send(&g->core, flags);
	step(g);
	return 0;
}

json_t *guest_timesync_status(const struct guest_timesync *g)
{
	const struct timesync_skew *skew = &g->core.skew;
	char version[16];

	return json_pack("{s:s, s:s*, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:i, s:i}", "state",
			 ic_client_is_ready(&g->ic.client) ? "ready" : "none", "version",
			 ic_client_version(&g->ic.client, version), "sent", (json_int_t)g->core.sent,
			 "syncs", (json_int_t)g->core.syncs, "answered", (json_int_t)g->core.answered,
			 "refused", (json_int_t)g->core.refused, "period_seconds",
			 (double)g->core.period_ns / 1e9, "offset_seconds", (double)skew->offset_ns / 1e9,
			 "drift_ppm", (double)skew->drift_ppb / 1e3, "age_seconds",
			 (double)skew->age_ns / 1e9, "leap", (int)skew->leap, "stratum",
			 (int)skew->stratum);
}

static json_t *status(const void *self)
{
	return guest_timesync_status(self);
}

static void destroy(void *self)
{
	struct guest_timesync *g = self;

	guest_ic_fini(&g->ic);
	free(g);
}

static const struct guest_ic_ops ic_ops = {
	.service = &ic_service_timesync,
	.status_name = "time",
	.on_ready = on_ready,
	.on_response = on_response,
	.on_timer = on_timer,
	.on_closed = on_closed,
	.status = status,
	.free = destroy,
};

int guest_timesync_new(const struct guest_service_context *context,
		       struct guest_timesync **ret_timesync)
{
	_cleanup_free_ struct guest_timesync *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	timesync_host_init(&g->core);
	r = guest_ic_init(&g->ic, context, &ic_ops, g);
	if (r)
		return r;
	*ret_timesync = steal_ptr(g);
	return 0;
}

struct guest_service guest_timesync_service(struct guest_timesync *g)
{
	return guest_ic_service(&g->ic);
}
