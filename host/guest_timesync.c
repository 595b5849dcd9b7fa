/* SPDX-License-Identifier: MIT */

/*
 * A guest's time synchronisation: the machine of host/timesync_host on a channel and a timer.
 *
 * The host tells the time of the machine it runs on. A guest's reference counter is, in a lab, that
 * machine's raw clock: both have it, and it begins with the machine.
 */

#include "host/guest_timesync.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/ic_client.h"

#include <time.h>

struct guest_timesync {
	struct guest_service_context context;
	struct ic_client channel;
	struct timesync_host core;
	struct event *timer;
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
	if (timesync_host_next_action(&g->core, g->channel.ic.version.major, &clock, &action) == 0)
		(void)!ic_client_request(&g->channel, action.message, action.size);
	timer_set(g->timer, timesync_host_deadline_ns(&g->core));
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	step(user);
}

static void on_ready(void *self)
{
	struct guest_timesync *g = self;

	timesync_host_start(&g->core, clock_monotonic_ns());
	step(g);
}

static void on_refused(void *self)
{
	struct guest_timesync *g = self;

	log_warning("%s: the guest speaks no version of time synchronisation that we do",
		    g->context.guest_name);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_timesync *g = self;

	timesync_host_receive(&g->core, response->status, clock_monotonic_ns());
	step(g);
}

static void on_corrupt(void *self)
{
	struct guest_timesync *g = self;

	g->context.rescind(g->context.guest, &vmbus_class_timesync);
}

static const struct ic_client_user channel_ops = {
	.on_ready = on_ready,
	.on_refused = on_refused,
	.on_response = on_response,
	.on_corrupt = on_corrupt,
};

int guest_timesync_new(const struct guest_service_context *context,
		       struct guest_timesync **ret_timesync)
{
	_cleanup_(cleanup_guest_timesyncp) struct guest_timesync *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->context = *context;
	ic_client_init(&g->channel, &ic_service_timesync, &channel_ops, g);
	timesync_host_init(&g->core);
	g->timer = event_new(context->base, -1, 0, on_timer, g);
	if (!g->timer)
		return -ENOMEM;

	*ret_timesync = steal_ptr(g);
	return 0;
}

struct guest_timesync *guest_timesync_free(struct guest_timesync *g)
{
	if (g) {
		ic_client_close(&g->channel);
		if (g->timer)
			event_free(g->timer);
		free(g);
	}
	return NULL;
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct guest_timesync *g = self;

	if (ic_client_open(&g->channel, g->context.base, take_port))
		g->context.rescind(g->context.guest, &vmbus_class_timesync);
}

static void close_channel(void *self)
{
	struct guest_timesync *g = self;

	ic_client_close(&g->channel);
	timesync_host_stop(&g->core);
	timer_set(g->timer, UINT64_MAX);
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
	timer_set(g->timer, timesync_host_deadline_ns(&g->core));
}

int guest_timesync_send(struct guest_timesync *g, uint8_t flags)
{
	if (!ic_client_is_ready(&g->channel))
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
			 ic_client_is_ready(&g->channel) ? "ready" : "none", "version",
			 ic_client_version(&g->channel, version), "sent", (json_int_t)g->core.sent,
			 "syncs", (json_int_t)g->core.syncs, "answered", (json_int_t)g->core.answered,
			 "refused", (json_int_t)g->core.refused, "period_seconds",
			 (double)g->core.period_ns / 1e9, "offset_seconds", (double)skew->offset_ns / 1e9,
			 "drift_ppm", (double)skew->drift_ppb / 1e3, "age_seconds",
			 (double)skew->age_ns / 1e9, "leap", (int)skew->leap, "stratum",
			 (int)skew->stratum);
}

static json_t *describe(const void *self)
{
	return guest_timesync_status(self);
}

static void destroy(void *self)
{
	(void)guest_timesync_free(self);
}

struct guest_service guest_timesync_service(struct guest_timesync *g)
{
	return (struct guest_service){
		.class_id = &vmbus_class_timesync,
		.status_name = "time",
		.self = g,
		.open = open_channel,
		.close = close_channel,
		.status = describe,
		.free = destroy,
	};
}
