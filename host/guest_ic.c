/* SPDX-License-Identifier: MIT */

/*
 * What a guest's integration services have in common.
 *
 * Each is a machine (host/<service>_host) that is fed by a channel and a timer, and all of them treat
 * the channel alike: a ring that is corrupt, or a channel that cannot be served, is taken away; a
 * guest that speaks none of our versions is left with an idle channel, and the log says so.
 */

#include "host/guest_ic.h"

#include "base/log.h"

static void rescind(struct guest_ic *ic)
{
	ic->context.rescind(ic->context.guest, ic->ops->service->class_id);
}

static void on_ready(void *self)
{
	struct guest_ic *ic = self;

	if (ic->ops->on_ready)
		ic->ops->on_ready(ic->self);
}

static void on_refused(void *self)
{
	struct guest_ic *ic = self;

	log_warning("%s: the guest speaks no version of %s that we do", ic->context.guest_name,
		    ic->ops->service->name);
	if (ic->ops->on_refused)
		ic->ops->on_refused(ic->self);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_ic *ic = self;

	ic->ops->on_response(ic->self, response);
}

static void on_corrupt(void *self)
{
	rescind(self);
}

static const struct ic_client_user client_ops = {
	.on_ready = on_ready,
	.on_refused = on_refused,
	.on_response = on_response,
	.on_corrupt = on_corrupt,
};

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct guest_ic *ic = user;

	(void)fd;
	(void)what;
	ic->ops->on_timer(ic->self);
}

int guest_ic_init(struct guest_ic *ic, const struct guest_service_context *context,
		  const struct guest_ic_ops *ops, void *self)
{
	*ic = (struct guest_ic){.context = *context, .ops = ops, .self = self};
	ic_client_init(&ic->client, ops->service, &client_ops, ic);
	ic->timer = event_new(context->base, -1, 0, on_timer, ic);
	return ic->timer ? 0 : -ENOMEM;
}

static void close_channel(void *self)
{
	struct guest_ic *ic = self;

	ic_client_close(&ic->client);
	ic->ops->on_closed(ic->self);
}

void guest_ic_fini(struct guest_ic *ic)
{
	close_channel(ic);
	event_free(ic->timer);
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct guest_ic *ic = self;

	if (ic_client_open(&ic->client, ic->context.base, take_port))
		rescind(ic);
	else if (ic->ops->on_opened)
		ic->ops->on_opened(ic->self);
}

static json_t *status(const void *self)
{
	const struct guest_ic *ic = self;

	return ic->ops->status(ic->self);
}

static void destroy(void *self)
{
	struct guest_ic *ic = self;

	ic->ops->free(ic->self);
}

struct guest_service guest_ic_service(struct guest_ic *ic)
{
	return (struct guest_service){
		.class_id = ic->ops->service->class_id,
		.status_name = ic->ops->status_name,
		.self = ic,
		.open = open_channel,
		.close = close_channel,
		.status = status,
		.free = destroy,
	};
}
