/* SPDX-License-Identifier: MIT */

/*
 * Integration-service channels at the host.
 *
 * The host speaks first on every channel: it negotiates, and may do so again at any time, which
 * makes the guest drop whatever it was doing for it. One request is under way at a time.
 */

#include "host/ic_client.h"

#include "base/log.h"

#include <stdio.h>

void ic_client_init(struct ic_client *c, const struct ic_service *service,
		    const struct ic_client_user *ops, void *self)
{
	*c = (struct ic_client){.ops = ops, .self = self};
	ic_host_init(&c->ic, service);
}

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct ic_client *c = user;
	struct ic_response response;

	(void)trans_id;
	switch (ic_host_receive(&c->ic, message, size, &response)) {
	case 0:
		c->ops->on_response(c->self, &response);
		break;
	case IC_NEGOTIATED:
		c->ops->on_ready(c->self);
		break;
	case IC_REFUSED:
		c->ops->on_refused(c->self);
		break;
	default:
		if (c->ic.stats.malformed + c->ic.stats.unexpected == 1)
			log_warning("%s: a guest sends what is no answer; dropped and counted",
				    c->ic.service->name);
	}
}

static void on_room(void *user)
{
	(void)user; /* Requests are not queued. */
}

static void on_corrupt(void *user)
{
	struct ic_client *c = user;

	c->ops->on_corrupt(c->self);
}

static const struct link_user link_ops = {
	.on_message = on_message,
	.on_room = on_room,
	.on_corrupt = on_corrupt,
};

int ic_client_open(struct ic_client *c, struct event_base *base, struct vmbus_port *take_port)
{
	int r;

	ic_host_init(&c->ic, c->ic.service);
	r = link_new(base, take_port, &link_ops, c, &c->link);
	if (r)
		return r;
	ic_client_negotiate(c);
	return 0;
}

void ic_client_close(struct ic_client *c)
{
	c->link = link_free(c->link);
	c->ic.negotiated = false;
	c->ic.waiting = false;
}

void ic_client_negotiate(struct ic_client *c)
{
	uint8_t buf[1024];
	size_t size;

	if (!c->link || ic_host_negotiate(&c->ic, buf, sizeof(buf), &size))
		return;
	if (link_send(c->link, 0, buf, size) == LINK_BUSY)
		log_warning("%s: a guest does not read its requests", c->ic.service->name);
}

bool ic_client_is_ready(const struct ic_client *c)
{
	return c->link && c->ic.negotiated && !link_is_busy(c->link);
}

bool ic_client_request(struct ic_client *c, const void *message, size_t size)
{
	uint8_t buf[LINK_MESSAGE_MAX];
	size_t n;

	if (!ic_client_is_ready(c) ||
	    ic_host_request(&c->ic, message, size, buf, sizeof(buf), &n))
		return false;
	return link_send(c->link, 0, buf, n) == 0;
}

const char *ic_client_version(const struct ic_client *c, char buf[16])
{
	if (!c->ic.negotiated)
		return NULL;
	snprintf(buf, 16, "%u.%u", c->ic.version.major, c->ic.version.minor);
	return buf;
}
