/* SPDX-License-Identifier: MIT */

/*
 * A guest's file copy: the machine of host/fcopy_host on a channel, with a file's data.
 *
 * A fragment is sent when its data has been read. If it cannot be read, or has changed its size,
 * the guest is told to forget the file.
 */

#include "host/guest_fcopy.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/guest_ic.h"

#include <stdio.h>
#include <string.h>

struct guest_fcopy {
	struct guest_ic ic;
	struct fcopy_host core;
	struct file_copy *copy; /* under way; NULL: none */
	struct fcopy_host_action held; /* waits for its data */
	bool holds;
	char problem[96]; /* with the source; "": none */
};

static void send_action(struct guest_fcopy *g, const struct fcopy_host_action *action,
			const void *data)
{
	uint8_t message[FCOPY_WRITE_SIZE];
	size_t n = fcopy_host_message(&g->core, action, data, message);

	if (!ic_client_request(&g->ic.client, message, n)) {
		log_warning("%s: file copy: the guest does not read its requests",
			    g->ic.context.guest_name);
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
				    g->ic.context.guest_name);
			ic_client_negotiate(&g->ic.client);
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
static void on_timer(void *self)
{
	struct guest_fcopy *g = self;

	fcopy_host_tick(&g->core, clock_monotonic_ns());
	perform(g);
	timer_set(g->ic.timer, fcopy_host_deadline_ns(&g->core));
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

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_fcopy *g = self;

	fcopy_host_receive(&g->core, response->status, clock_monotonic_ns());
	perform(g);
}

static void on_closed(void *self)
{
	struct guest_fcopy *g = self;

	fcopy_host_close(&g->core);
	perform(g);
}

int guest_fcopy_start(struct guest_fcopy *g, struct file_copy *copy)
{
	uint64_t now = clock_monotonic_ns();
	int r;

	if (!ic_client_is_ready(&g->ic.client))
		return GUEST_FCOPY_NOT_READY;
	if (g->copy)
		return GUEST_FCOPY_RUNNING;
	r = file_copy_begin(copy, g->ic.context.base, on_data, g);
	if (r)
		return r;
	g->problem[0] = '\0';
	r = file_copy_start_host(copy, &g->core, now);
	if (r)
		return r == FCOPY_HOST_RUNNING ? GUEST_FCOPY_RUNNING : GUEST_FCOPY_BAD_NAME;
	g->copy = copy;
	timer_set(g->ic.timer, fcopy_host_deadline_ns(&g->core));
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

static json_t *status(const void *self)
{
	const struct guest_fcopy *g = self;
	char version[16];

	return json_pack("{s:s, s:s*}", "state",
			 g->ic.client.link ? fcopy_host_state_name(g->core.state) : "none", "version",
			 ic_client_version(&g->ic.client, version));
}

static void destroy(void *self)
{
	struct guest_fcopy *g = self;

	guest_ic_fini(&g->ic);
	free(g);
}

static const struct guest_ic_ops ic_ops = {
	.service = &ic_service_fcopy,
	.status_name = "copy",
	.on_response = on_response,
	.on_timer = on_timer,
	.on_closed = on_closed,
	.status = status,
	.free = destroy,
};

int guest_fcopy_new(const struct guest_service_context *context, struct guest_fcopy **ret_fcopy)
{
	_cleanup_free_ struct guest_fcopy *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	fcopy_host_init(&g->core);
	r = guest_ic_init(&g->ic, context, &ic_ops, g);
	if (r)
		return r;
	*ret_fcopy = steal_ptr(g);
	return 0;
}

struct guest_service guest_fcopy_service(struct guest_fcopy *g)
{
	return guest_ic_service(&g->ic);
}
