/* SPDX-License-Identifier: MIT */

/*
 * A guest's key-value exchange: the machine of host/kvp_host on a channel and a timer.
 *
 * As soon as the guest is ready it is told about this host, in the pool for that, as a real host does:
 * the names of the keys are those of Microsoft's documentation of data exchange.
 */

#include "host/guest_kvp.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/ic_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TELL_NS UINT64_C(60000000000)

struct guest_kvp {
	struct guest_service_context context;
	struct ic_client channel;
	struct kvp_host core;
	struct event *timer;
	bool told; /* about this host, since the channel was opened */
};

static void perform_one(struct guest_kvp *g, const struct kvp_host_action *action)
{
	struct guest_kvp_wish *wish = container_of(action->job, struct guest_kvp_wish, job);
	uint8_t message[KVP_IP_MESSAGE_SIZE];
	size_t size;

	switch (action->type) {
	case KVP_HOST_ACTION_SEND:
		kvp_host_write(&g->core, message, &size);
		if (!ic_client_request(&g->channel, message, size))
			kvp_host_not_sent(&g->core);
		break;
	case KVP_HOST_ACTION_NEGOTIATE:
		log_warning("%s: a request for keys was not answered in time: negotiating anew",
			    g->context.guest_name);
		ic_client_negotiate(&g->channel);
		kvp_host_negotiating(&g->core);
		break;
	case KVP_HOST_ACTION_ENTRY:
		if (wish->entry)
			wish->entry(wish);
		break;
	case KVP_HOST_ACTION_FINISHED:
		wish->done(wish);
		break;
	}
}

static void perform(struct guest_kvp *g)
{
	struct kvp_host_action action;

	while (kvp_host_next_action(&g->core, &action))
		perform_one(g, &action);
	timer_set(g->timer, kvp_host_deadline_ns(&g->core));
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct guest_kvp *g = user;

	(void)fd;
	(void)what;
	kvp_host_tick(&g->core, clock_monotonic_ns());
	perform(g);
}

int guest_kvp_ask(struct guest_kvp *g, struct guest_kvp_wish *wish)
{
	int fault;

	wish->job.done_by_ns = clock_monotonic_ns() + wish->timeout_ns;
	fault = kvp_host_add(&g->core, &wish->job);
	if (!fault)
		perform(g);
	return fault;
}

/* What a guest is told, one after the other; the wish is used again for each. */
struct telling {
	struct guest_kvp_wish wish;
	struct guest_kvp *guest;
	size_t next;
};

/* Source: Microsoft, "Data Exchange: Using key-value pairs to share information ...". */
static bool next_fact(struct telling *t)
{
	static const char *const keys[] = {
		"HostName",
		"PhysicalHostName",
		"PhysicalHostNameFullyQualified",
		"VirtualMachineName",
		"VirtualMachineDynamicMemoryBalancingEnabled",
	};
	struct kvp_request *q = &t->wish.job.request;

	if (t->next == sizeof(keys) / sizeof(keys[0]))
		return false;
	*q = (struct kvp_request){.operation = KVP_SET, .pool = KVP_POOL_AUTO_EXTERNAL};
	snprintf(q->key, sizeof(q->key), "%s", keys[t->next]);
	if (t->next < 3 && gethostname(q->value, sizeof(q->value) - 1) < 0)
		strcpy(q->value, "unknown");
	else if (t->next >= 3)
		snprintf(q->value, sizeof(q->value), "%s", t->next == 3 ? t->guest->context.guest_name : "1");
	t->next++;
	return true;
}

static void on_told(struct guest_kvp_wish *wish)
{
	struct telling *t = container_of(wish, struct telling, wish);

	/* A guest that does not want to know is none the worse for it. */
	if (wish->job.outcome != KVP_HOST_DONE || !next_fact(t) || guest_kvp_ask(t->guest, wish))
		free(t);
}

static void tell_about_host(struct guest_kvp *g)
{
	struct telling *t = calloc(1, sizeof(*t));

	if (!t)
		return;
	t->guest = g;
	t->wish.timeout_ns = TELL_NS;
	t->wish.done = on_told;
	if (!next_fact(t) || guest_kvp_ask(g, &t->wish))
		free(t);
}

static void on_ready(void *self)
{
	struct guest_kvp *g = self;
	bool first = !g->told;

	kvp_host_open(&g->core, g->channel.ic.version.major);
	g->told = true;
	if (first)
		tell_about_host(g);
	perform(g);
}

static void on_refused(void *self)
{
	struct guest_kvp *g = self;

	log_warning("%s: the guest speaks no version of key-value exchange that we do",
		    g->context.guest_name);
	kvp_host_close(&g->core);
	perform(g);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_kvp *g = self;

	kvp_host_receive(&g->core, response->status, response->data, response->size);
	perform(g);
}

static void on_corrupt(void *self)
{
	struct guest_kvp *g = self;

	g->context.rescind(g->context.guest, &vmbus_class_kvp);
}

static const struct ic_client_user channel_ops = {
	.on_ready = on_ready,
	.on_refused = on_refused,
	.on_response = on_response,
	.on_corrupt = on_corrupt,
};

int guest_kvp_new(const struct guest_service_context *context, struct guest_kvp **ret_kvp)
{
	_cleanup_(cleanup_guest_kvpp) struct guest_kvp *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->context = *context;
	ic_client_init(&g->channel, &ic_service_kvp, &channel_ops, g);
	kvp_host_init(&g->core);
	g->timer = event_new(context->base, -1, 0, on_timer, g);
	if (!g->timer)
		return -ENOMEM;

	*ret_kvp = steal_ptr(g);
	return 0;
}

static void close_channel(void *self)
{
	struct guest_kvp *g = self;

	ic_client_close(&g->channel);
	kvp_host_close(&g->core);
	g->told = false;
	perform(g);
}

struct guest_kvp *guest_kvp_free(struct guest_kvp *g)
{
	if (!g)
		return NULL;
	if (g->timer) {
		close_channel(g);
		event_free(g->timer);
	}
	free(g);
	return NULL;
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct guest_kvp *g = self;

	if (ic_client_open(&g->channel, g->context.base, take_port))
		g->context.rescind(g->context.guest, &vmbus_class_kvp);
	else
		kvp_host_negotiating(&g->core);
}

static json_t *describe(const void *self)
{
	const struct guest_kvp *g = self;
	char version[16];

	return json_pack("{s:s, s:s*, s:I, s:I, s:I}", "state", kvp_host_state_name(g->core.state),
			 "version", ic_client_version(&g->channel, version), "asked",
			 (json_int_t)g->core.asked, "answered", (json_int_t)g->core.answers,
			 "renegotiations", (json_int_t)g->core.renegotiations);
}

static void destroy(void *self)
{
	(void)guest_kvp_free(self);
}

struct guest_service guest_kvp_service(struct guest_kvp *g)
{
	return (struct guest_service){
		.class_id = &vmbus_class_kvp,
		.status_name = "kvp",
		.self = g,
		.open = open_channel,
		.close = close_channel,
		.status = describe,
		.free = destroy,
	};
}
