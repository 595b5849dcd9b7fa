/* SPDX-License-Identifier: MIT */

/*
 * A guest's file copy: the machine of host/fcopy_host on a channel, with a file's data.
 *
 * A fragment is sent when its data has been read. If it cannot be read, or has changed its size,
 * the guest is told to forget the file.
 */

#include "host/guest_fcopy.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/ic_client.h"

#include <stdio.h>
#include <string.h>

struct guest_fcopy {
	struct guest_service_context context;
	struct ic_client channel;
	struct fcopy_host core;
	struct file_copy *copy; /* under way; NULL: none */
	struct fcopy_host_action held; /* waits for its data */
	bool holds;
	char problem[96]; /* with the source; "": none */
	struct event *timer;
};

static void send_action(struct guest_fcopy *g, const struct fcopy_host_action *action,
			const void *data)
{
	uint8_t message[FCOPY_WRITE_SIZE];
	size_t n = fcopy_host_message(&g->core, action, data, message);

	if (!ic_client_request(&g->channel, message, n)) {
		log_warning("%s: file copy: the guest does not read its requests",
			    g->context.guest_name);
		fcopy_host_close(&g->core);
	}
}

static void end_copy(struct guest_fcopy *g, const struct fcopy_host_action *action)
{
	struct file_copy *copy = g->copy;

	g->copy = NULL;
	g->holds = false;
	if (copy)
		file_copy_end(copy, action->result, action->status, g->problem[0] ? g->problem : NULL);
}

static void do_send(struct guest_fcopy *g, const struct fcopy_host_action *action)
{
	const uint8_t *data = NULL;
	int r = 0;

	if (action->operation == FCOPY_OP_WRITE)
		r = g->copy ? file_copy_data(g->copy, action->offset, action->size, &data) : -EIO;
	if (r == FILE_COPY_WAIT) {
		g->held = *action;
		g->holds = true;
		return;
	}
	if (r == 0) {
		send_action(g, action, data);
		return;
	}
	snprintf(g->problem, sizeof(g->problem), "the source cannot be read: %s",
		 r == -EIO ? "it has become shorter, or its disk fails" : strerror(-r));
	/* The guest has answered all that it was asked: it can be told at once. */
	fcopy_host_receive(&g->core, UINT32_MAX, clock_monotonic_ns());
}

static void perform(struct guest_fcopy *g)
{
	struct fcopy_host_action action;

	while (fcopy_host_next_action(&g->core, &action)) {
		switch (action.type) {
		case FCOPY_HOST_SEND:
			do_send(g, &action);
			break;
		case FCOPY_HOST_RESET:
			log_warning("%s: file copy: the guest does not answer; starting over",
				    g->context.guest_name);
			ic_client_negotiate(&g->channel);
			break;
		case FCOPY_HOST_ENDED:
			end_copy(g, &action);
			break;
		}
	}
	if (g->copy)
		file_copy_progress(g->copy, fcopy_host_state_name(g->core.state), g->core.offset);
}

/* The deadline moves with each fragment; the timer is looked at only when it has passed. */
static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct guest_fcopy *g = user;

	(void)fd;
	(void)what;
	fcopy_host_tick(&g->core, clock_monotonic_ns());
	perform(g);
	timer_set(g->timer, fcopy_host_deadline_ns(&g->core));
}

static void on_data(void *user)
{
	struct guest_fcopy *g = user;
	struct fcopy_host_action action = g->held;

	if (!g->holds)
		return;
	g->holds = false;
	if (g->core.cancel)
		fcopy_host_receive(&g->core, IC_S_OK, clock_monotonic_ns());
	else
		do_send(g, &action);
	perform(g);
}

static void on_ready(void *self)
{
	(void)self; /* Files are copied when somebody wants it. */
}

static void on_refused(void *self)
{
	struct guest_fcopy *g = self;

	log_warning("%s: the guest speaks no version of file copy that we do", g->context.guest_name);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_fcopy *g = self;

	fcopy_host_receive(&g->core, response->status, clock_monotonic_ns());
	perform(g);
}

static void on_corrupt(void *self)
{
	struct guest_fcopy *g = self;

	g->context.rescind(g->context.guest, &vmbus_class_fcopy);
}

static const struct ic_client_user channel_ops = {
	.on_ready = on_ready,
	.on_refused = on_refused,
	.on_response = on_response,
	.on_corrupt = on_corrupt,
};

int guest_fcopy_new(const struct guest_service_context *context, struct guest_fcopy **ret_fcopy)
{
	_cleanup_(cleanup_guest_fcopyp) struct guest_fcopy *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->context = *context;
	ic_client_init(&g->channel, &ic_service_fcopy, &channel_ops, g);
	fcopy_host_init(&g->core);
	g->timer = event_new(context->base, -1, 0, on_timer, g);
	if (!g->timer)
		return -ENOMEM;

	*ret_fcopy = steal_ptr(g);
	return 0;
}

static void close_channel(void *self)
{
	struct guest_fcopy *g = self;

	ic_client_close(&g->channel);
	fcopy_host_close(&g->core);
	perform(g);
}

struct guest_fcopy *guest_fcopy_free(struct guest_fcopy *g)
{
	if (g) {
		close_channel(g);
		if (g->timer)
			event_free(g->timer);
		free(g);
	}
	return NULL;
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct guest_fcopy *g = self;

	if (ic_client_open(&g->channel, g->context.base, take_port))
		g->context.rescind(g->context.guest, &vmbus_class_fcopy);
}

int guest_fcopy_start(struct guest_fcopy *g, struct file_copy *copy)
{
	uint64_t now = clock_monotonic_ns();
	int r;

	if (!ic_client_is_ready(&g->channel))
		return GUEST_FCOPY_NOT_READY;
	if (g->copy)
		return GUEST_FCOPY_RUNNING;
	r = file_copy_begin(copy, g->context.base, on_data, g);
	if (r)
		return r;
	g->problem[0] = '\0';
	r = file_copy_start_host(copy, &g->core, now);
	if (r)
		return r == FCOPY_HOST_RUNNING ? GUEST_FCOPY_RUNNING : GUEST_FCOPY_BAD_NAME;
	g->copy = copy;
	timer_set(g->timer, fcopy_host_deadline_ns(&g->core));
	perform(g);
	return 0;
}

void guest_fcopy_cancel(struct guest_fcopy *g, const struct file_copy *copy)
{
	if (g->copy != copy)
		return;
	fcopy_host_cancel(&g->core, clock_monotonic_ns());
	perform(g);
}

static json_t *describe(const void *self)
{
	const struct guest_fcopy *g = self;
	char version[16];

	return json_pack("{s:s, s:s*}", "state",
			 g->channel.link ? fcopy_host_state_name(g->core.state) : "none", "version",
			 ic_client_version(&g->channel, version));
}

static void destroy(void *self)
{
	(void)guest_fcopy_free(self);
}

struct guest_service guest_fcopy_service(struct guest_fcopy *g)
{
	return (struct guest_service){
		.class_id = &vmbus_class_fcopy,
		.status_name = "copy",
		.self = g,
		.open = open_channel,
		.close = close_channel,
		.status = describe,
		.free = destroy,
	};
}
