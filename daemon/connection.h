/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "vmbus/guid.h"
#include "vmbus/port.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * The connection to the host: opens the channels that services are there for, and keeps trying.
 */

/* A service, as the connection sees it. Every open() is followed by one close(). */
struct service {
	const char *name;
	const struct vmbus_guid *class_id;
	void *self;
	/* The channel is open; the port is the service's, on failure too. */
	void (*open)(void *self, struct vmbus_port *take_port);
	/* The channel is gone: rescinded, or the host is lost. @why is for people. */
	void (*close)(void *self, const char *why);
};

struct connection;

/*
 * Keeps a connection to the lab host at @socket_path, as the guest @name. The strings and the
 * services (a borrowed array of @n) must outlive it. -ENOMEM.
 */
_must_check_ int connection_new(struct event_base *base, const char *socket_path, const char *name,
				const struct service *services, size_t n,
				struct connection **ret_connection);

/* Closes all channels and disconnects. */
struct connection *connection_free(struct connection *c);
DEFINE_CLEANUP(connection)

/*
 * The service that calls (by @self) cannot use its channel any more. It gets close(); with
 * @again, the channel is opened anew a second later.
 */
void connection_close_channel(struct connection *c, const void *self, bool again);

/* For status: {"state", "socket", "error"}. */
json_t *connection_status(const struct connection *c);

/* The state of a service's channel, for status: "none", "offered", "opening", "open". */
const char *connection_channel_state(const struct connection *c, const void *self);
