/* SPDX-License-Identifier: MIT */

/*
 * Integration-service channels in the daemon.
 *
 * All services share this: the framing and the negotiation are the same, only what a request means
 * differs. A request stays open until the binder answers it; if the host negotiates or the channel
 * closes meanwhile, the late answer goes nowhere. A host that asks on without reading the answers
 * loses answers; that is counted, because a correct host never does it.
 *
 * The host speaks first. Of one that does not it is said once, a minute after the channel was
 * opened; the channel stays open, for a host may negotiate at any time, and opening one anew costs
 * kernel memory on a real host (docs/PROTOCOL-vmbus.md sections 7 and 11).
 */

#include "daemon/ic_channel.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "daemon/journal.h"

#include <stdio.h>

#define PATIENCE_NS UINT64_C(60000000000)

void ic_channel_init(struct ic_channel *c, struct event_base *base,
		     struct connection *const *connection, const struct ic_service *service,
		     const struct ic_channel_user *ops, void *self)
{
	c->base = base;
	c->connection = connection;
	c->link = NULL;
	c->ops = ops;
	c->self = self;
	c->lost_answers = 0;
	c->last_request_ns = 0;
	c->patience = NULL;
	c->patience_ns = PATIENCE_NS;
	ic_guest_init(&c->ic, service);
}

static void send_buffer(struct ic_channel *c)
{
	if (link_send(c->link, c->ic.trans_id, c->ic.buf, c->ic.size) != LINK_BUSY)
		return;
	if (c->lost_answers++ == 0)
		log_warning("%s: the host does not read its answers", c->ic.service->name);
}

static void after_negotiation(struct ic_channel *c)
{
	char version[16];

	timer_set(c->patience, UINT64_MAX);
	if (c->ic.negotiated)
		log_info("%s: protocol version %s", c->ic.service->name,
			 ic_channel_version(c, version));
	else
		log_warning("%s: the host offers no version that this guest speaks",
			    c->ic.service->name);
	if (c->ops->on_negotiated)
		c->ops->on_negotiated(c->self);
}

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct ic_channel *c = user;
	uint64_t negotiations = c->ic.stats.negotiations;
	bool was_open = c->ic.open;
	uint8_t *data;
	size_t n;

	switch (ic_guest_receive(&c->ic, message, size, trans_id)) {
	case 0:
		c->last_request_ns = clock_monotonic_ns();
		data = ic_guest_data(&c->ic, &n);
		c->ops->on_request(c->self, data, n);
		break;
	case IC_ANSWER:
		send_buffer(c);
		if (c->ic.stats.negotiations != negotiations)
			after_negotiation(c);
		else if (was_open && c->ops->on_overtaken)
			c->ops->on_overtaken(c->self);
		break;
	default:
		if (c->ic.stats.malformed + c->ic.stats.unexpected == 1)
			log_warning("%s: the host sends what is no request; dropped and counted",
				    c->ic.service->name);
	}
}

static void on_room(void *user)
{
	(void)user; /* Answers are not queued. */
}

static void on_corrupt(void *user)
{
	struct ic_channel *c = user;

	log_as(EVENT_RING_CORRUPT, c->ic.service->name, "%s: the ring is corrupt; opening the channel anew",
	       c->ic.service->name);
	connection_close_channel(*c->connection, c, true);
}

static void on_gone(void *user)
{
	struct ic_channel *c = user;

	log_warning("%s: the host has taken the channel away", c->ic.service->name);
	connection_close_channel(*c->connection, c, true);
}

static const struct link_user link_ops = {
	.on_message = on_message,
	.on_room = on_room,
	.on_corrupt = on_corrupt,
	.on_gone = on_gone,
};

static void on_impatient(evutil_socket_t fd, short what, void *user)
{
	const struct ic_channel *c = user;

	(void)fd;
	(void)what;
	log_warning("%s: the channel has been open for %llu s and the host has not asked for a "
		    "version: see whether the service is on in this machine's settings; waiting",
		    c->ic.service->name, (unsigned long long)(c->patience_ns / 1000000000));
}

/* -ENOMEM; the port is taken in any case. */
static int start(struct ic_channel *c, struct vmbus_port *take_port)
{
	struct ic_stats stats = c->ic.stats; /* they count for the daemon's life */

	ic_guest_init(&c->ic, c->ic.service);
	c->ic.stats = stats;
	if (!c->patience)
		c->patience = event_new(c->base, -1, 0, on_impatient, c);
	if (!c->patience) {
		vmbus_port_fini(take_port);
		return -ENOMEM;
	}
	timer_set(c->patience, clock_monotonic_ns() + c->patience_ns);
	return link_new(c->base, take_port, &link_ops, c, &c->link);
}

void ic_channel_fini(struct ic_channel *c)
{
	c->link = link_free(c->link);
	if (c->patience)
		event_free(c->patience);
	c->patience = NULL;
	c->ic.open = false;
	c->ic.negotiated = false;
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct ic_channel *c = self;

	c->opens++;
	if (start(c, take_port))
		connection_close_channel(*c->connection, c, true);
}

static void close_channel(void *self, const char *why)
{
	struct ic_channel *c = self;

	(void)why;
	ic_channel_fini(c);
	if (c->ops->on_closed)
		c->ops->on_closed(c->self);
}

static json_t *traffic(const void *self)
{
	const struct ic_channel *c = self;
	const struct ic_stats *s = &c->ic.stats;
	json_t *status = json_pack(
		"{s:I, s:I, s:I, s:I}", "opens", (json_int_t)c->opens, "requests",
		(json_int_t)s->requests, "negotiations", (json_int_t)s->negotiations, "errors",
		(json_int_t)(s->malformed + s->unexpected + s->unknown + c->lost_answers));

	if (status && c->last_request_ns > 0)
		json_object_set_new(status, "quiet_seconds",
				    json_real((clock_monotonic_ns() - c->last_request_ns) / 1e9));
	return status;
}

struct service ic_channel_service(struct ic_channel *c)
{
	return (struct service){
		.name = c->ic.service->name,
		.class_id = c->ic.service->class_id,
		.self = c,
		.open = open_channel,
		.close = close_channel,
		.traffic = traffic,
	};
}

const char *ic_channel_state(const struct ic_channel *c)
{
	return connection_channel_state(*c->connection, c);
}

uint8_t *ic_channel_request(struct ic_channel *c, size_t *ret_size)
{
	return c->ic.open ? ic_guest_data(&c->ic, ret_size) : NULL;
}

void ic_channel_answer(struct ic_channel *c, uint32_t status)
{
	if (!c->link || !c->ic.open)
		return;
	ic_guest_answer(&c->ic, status);
	send_buffer(c);
}

void ic_channel_flush(struct ic_channel *c)
{
	if (c->link)
		link_flush(c->link);
}

const char *ic_channel_version(const struct ic_channel *c, char buf[16])
{
	if (!c->ic.negotiated)
		return NULL;
	snprintf(buf, 16, "%u.%u", c->ic.version.major, c->ic.version.minor);
	return buf;
}
