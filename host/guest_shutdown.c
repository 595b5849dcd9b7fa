/* SPDX-License-Identifier: MIT */

/*
 * A guest's shutdown: the machine of host/shutdown_host on a channel and a timer.
 *
 * The guest is asked, never made to: what it answers is shown, and a guest that does not go down is
 * for people to decide about.
 */

#include "host/guest_shutdown.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/ic_client.h"
#include "host/shutdown_host.h"

struct guest_shutdown {
	struct guest_service_context context;
	struct ic_client channel;
	struct shutdown_host core;
	struct event *timer;
};

static void set_timer(struct guest_shutdown *g)
{
	timer_set(g->timer, shutdown_host_deadline_ns(&g->core));
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct guest_shutdown *g = user;

	(void)fd;
	(void)what;
	shutdown_host_tick(&g->core, clock_monotonic_ns());
	set_timer(g);
}

static void on_ready(void *self)
{
	(void)self; /* The guest is asked when somebody wants it. */
}

static void on_refused(void *self)
{
	struct guest_shutdown *g = self;

	log_warning("%s: the guest speaks no version of shutdown that we do", g->context.guest_name);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_shutdown *g = self;

	shutdown_host_receive(&g->core, response->status);
	log_notice("%s: the request to go down is %s", g->context.guest_name,
		   shutdown_host_state_name(g->core.state));
	set_timer(g);
}

static void on_corrupt(void *self)
{
	struct guest_shutdown *g = self;

	g->context.rescind(g->context.guest, &vmbus_class_shutdown);
}

static const struct ic_client_user channel_ops = {
	.on_ready = on_ready,
	.on_refused = on_refused,
	.on_response = on_response,
	.on_corrupt = on_corrupt,
};

int guest_shutdown_new(const struct guest_service_context *context,
		       struct guest_shutdown **ret_shutdown)
{
	_cleanup_(cleanup_guest_shutdownp) struct guest_shutdown *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->context = *context;
	ic_client_init(&g->channel, &ic_service_shutdown, &channel_ops, g);
	shutdown_host_init(&g->core);
	g->timer = event_new(context->base, -1, 0, on_timer, g);
	if (!g->timer)
		return -ENOMEM;

	*ret_shutdown = steal_ptr(g);
	return 0;
}

struct guest_shutdown *guest_shutdown_free(struct guest_shutdown *g)
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
	struct guest_shutdown *g = self;

	if (ic_client_open(&g->channel, g->context.base, take_port))
		g->context.rescind(g->context.guest, &vmbus_class_shutdown);
}

static void close_channel(void *self)
{
	struct guest_shutdown *g = self;

	ic_client_close(&g->channel);
	shutdown_host_close(&g->core);
	set_timer(g);
}

int guest_shutdown_ask(struct guest_shutdown *g, uint32_t flags, const char *text)
{
	const struct ic_version version = g->channel.ic.version;
	uint8_t message[SHUTDOWN_MESSAGE_SIZE];
	int r;

	if (!ic_client_is_ready(&g->channel))
		return GUEST_SHUTDOWN_NOT_READY;
	r = shutdown_host_ask(&g->core, flags, text, version.major, version.minor,
			      clock_monotonic_ns(), message);
	if (r == SHUTDOWN_HOST_RUNNING)
		return GUEST_SHUTDOWN_RUNNING;
	if (r == SHUTDOWN_HOST_UNKNOWN)
		return GUEST_SHUTDOWN_UNKNOWN;
	if (!ic_client_request(&g->channel, message, sizeof(message)))
		shutdown_host_close(&g->core);
	set_timer(g);
	return 0;
}

json_t *guest_shutdown_status(const struct guest_shutdown *g)
{
	char version[16];

	return json_pack("{s:s, s:s*}", "state", shutdown_host_state_name(g->core.state), "version",
			 ic_client_version(&g->channel, version));
}

static json_t *describe(const void *self)
{
	return guest_shutdown_status(self);
}

static void destroy(void *self)
{
	(void)guest_shutdown_free(self);
}

struct guest_service guest_shutdown_service(struct guest_shutdown *g)
{
	return (struct guest_service){
		.class_id = &vmbus_class_shutdown,
		.status_name = "shutdown",
		.self = g,
		.open = open_channel,
		.close = close_channel,
		.status = describe,
		.free = destroy,
	};
}
