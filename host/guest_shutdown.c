/* SPDX-License-Identifier: MIT */

/*
 * A guest's shutdown: the machine of host/shutdown_host on a channel and a timer.
 *
 * The guest is asked, never made to: what it answers is shown, and a guest that does not go down is
 * for people to decide about.
 */

#include "host/guest_shutdown.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/guest_ic.h"
#include "host/shutdown_host.h"

struct guest_shutdown {
	struct guest_ic ic;
	struct shutdown_host core;
};

static void set_timer(struct guest_shutdown *g)
{
	timer_set(g->ic.timer, shutdown_host_deadline_ns(&g->core));
}

static void on_timer(void *self)
{
	struct guest_shutdown *g = self;

	shutdown_host_tick(&g->core, clock_monotonic_ns());
	set_timer(g);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_shutdown *g = self;

	shutdown_host_receive(&g->core, response->status);
	log_notice("%s: the request to go down is %s", g->ic.context.guest_name,
		   shutdown_host_state_name(g->core.state));
	set_timer(g);
}

static void on_closed(void *self)
{
	struct guest_shutdown *g = self;

	shutdown_host_close(&g->core);
	set_timer(g);
}

int guest_shutdown_ask(struct guest_shutdown *g, uint32_t flags, const char *text)
{
	const struct ic_version version = g->ic.client.ic.version;
	uint8_t message[SHUTDOWN_MESSAGE_SIZE];
	int r;

	if (!ic_client_is_ready(&g->ic.client))
		return GUEST_SHUTDOWN_NOT_READY;
	r = shutdown_host_ask(&g->core, flags, text, version.major, version.minor,
			      clock_monotonic_ns(), message);
	if (r == SHUTDOWN_HOST_RUNNING)
		return GUEST_SHUTDOWN_RUNNING;
	if (r == SHUTDOWN_HOST_UNKNOWN)
		return GUEST_SHUTDOWN_UNKNOWN;
	if (!ic_client_request(&g->ic.client, message, sizeof(message)))
		shutdown_host_close(&g->core);
	set_timer(g);
	return 0;
}

json_t *guest_shutdown_status(const struct guest_shutdown *g)
{
	char version[16];

	return json_pack("{s:s, s:s*}", "state", shutdown_host_state_name(g->core.state), "version",
			 ic_client_version(&g->ic.client, version));
}

static json_t *status(const void *self)
{
	return guest_shutdown_status(self);
}

static void destroy(void *self)
{
	struct guest_shutdown *g = self;

	guest_ic_fini(&g->ic);
	free(g);
}

static const struct guest_ic_ops ic_ops = {
	.service = &ic_service_shutdown,
	.status_name = "shutdown",
	.on_response = on_response,
	.on_timer = on_timer,
	.on_closed = on_closed,
	.status = status,
	.free = destroy,
};

int guest_shutdown_new(const struct guest_service_context *context,
		       struct guest_shutdown **ret_shutdown)
{
	_cleanup_free_ struct guest_shutdown *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	shutdown_host_init(&g->core);
	r = guest_ic_init(&g->ic, context, &ic_ops, g);
	if (r)
		return r;
	*ret_shutdown = steal_ptr(g);
	return 0;
}

struct guest_service guest_shutdown_service(struct guest_shutdown *g)
{
	return guest_ic_service(&g->ic);
}
