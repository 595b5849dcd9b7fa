/* SPDX-License-Identifier: MIT */

/*
 * A guest's key-value exchange: the machine of host/kvp_host on a channel and a timer.
 *
 * As soon as the guest is ready it is told about this host, in the pool for that, as a real host does:
 * the names of the keys are those of Microsoft's documentation of data exchange.
 */

#include "host/guest_kvp.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "host/guest_ic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TELL_NS UINT64_C(60000000000)

struct guest_kvp {
	struct guest_ic ic;
	struct kvp_host core;
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
		if (!ic_client_request(&g->ic.client, message, size))
			kvp_host_not_sent(&g->core);
		break;
	case KVP_HOST_ACTION_NEGOTIATE:
		log_warning("%s: a request for keys was not answered in time: negotiating anew",
			    g->ic.context.guest_name);
		ic_client_negotiate(&g->ic.client);
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
	timer_set(g->ic.timer, kvp_host_deadline_ns(&g->core));
}

static void on_timer(void *self)
{
	struct guest_kvp *g = self;

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
		snprintf(q->value, sizeof(q->value), "%s", t->next == 3 ? t->guest->ic.context.guest_name : "1");
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

	kvp_host_open(&g->core, g->ic.client.ic.version.major);
	g->told = true;
	if (first)
		tell_about_host(g);
	perform(g);
}

static void on_refused(void *self)
{
	struct guest_kvp *g = self;

	kvp_host_close(&g->core);
	perform(g);
}

static void on_response(void *self, const struct ic_response *response)
{
	struct guest_kvp *g = self;

	kvp_host_receive(&g->core, response->status, response->data, response->size);
	perform(g);
}

static void on_opened(void *self)
{
	struct guest_kvp *g = self;

	kvp_host_negotiating(&g->core);
}

static void on_closed(void *self)
{
	struct guest_kvp *g = self;

	kvp_host_close(&g->core);
	g->told = false;
	perform(g);
}

static json_t *status(const void *self)
{
	const struct guest_kvp *g = self;
	char version[16];

	return json_pack("{s:s, s:s*, s:I, s:I, s:I}", "state", kvp_host_state_name(g->core.state),
			 "version", ic_client_version(&g->ic.client, version), "asked",
			 (json_int_t)g->core.asked, "answered", (json_int_t)g->core.answers,
			 "renegotiations", (json_int_t)g->core.renegotiations);
}

static void destroy(void *self)
{
	struct guest_kvp *g = self;

	guest_ic_fini(&g->ic);
	free(g);
}

static const struct guest_ic_ops ic_ops = {
	.service = &ic_service_kvp,
	.status_name = "kvp",
	.on_opened = on_opened,
	.on_ready = on_ready,
	.on_refused = on_refused,
	.on_response = on_response,
	.on_timer = on_timer,
	.on_closed = on_closed,
	.status = status,
	.free = destroy,
};

int guest_kvp_new(const struct guest_service_context *context, struct guest_kvp **ret_kvp)
{
	_cleanup_free_ struct guest_kvp *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return -ENOMEM;
	kvp_host_init(&g->core);
	r = guest_ic_init(&g->ic, context, &ic_ops, g);
	if (r)
		return r;
	*ret_kvp = steal_ptr(g);
	return 0;
}

struct guest_service guest_kvp_service(struct guest_kvp *g)
{
	return guest_ic_service(&g->ic);
}
