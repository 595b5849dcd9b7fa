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
 * There are two kinds of host: daemon/lab_host.h and daemon/uio_host.h.
 */

/* A service, as the connection sees it. Every open(), and resume() that went well, is followed
 * by one close(). */
struct service {
	const char *name;
	const struct vmbus_guid *class_id;
	void *self;
	/* The channel is open; the port is the service's, on failure too. */
	void (*open)(void *self, struct vmbus_port *take_port);
	/* The channel is gone: rescinded, or the host is lost. @why is for people. */
	void (*close)(void *self, const char *why);
	/*
	 * Goes on with the channel of a predecessor, instead of open(); false if it must be opened
	 * anew. The port is the service's in any case. NULL: no channel outlives the daemon.
	 */
	bool (*resume)(void *self, struct vmbus_port *take_port);
	/* What the channel has carried: {"opens", "requests", "negotiations", "errors", "quiet_seconds"}. */
	json_t *(*traffic)(const void *self);
};

struct connection;

/* What a kind of host does; each function has its twin below. */
struct connection_ops {
	const char *transport; /* "shm", "uio" */
	void (*free)(struct connection *c);
	void (*close_channel)(struct connection *c, const void *self, bool again);
	json_t *(*status)(struct connection *c);
	const char *(*channel_state)(struct connection *c, const void *self);
};

/* Embedded in the host's own struct. */
struct connection {
	const struct connection_ops *ops;
};

/* Closes all channels and disconnects. */
static inline struct connection *connection_free(struct connection *c)
{
	if (c)
		c->ops->free(c);
	return NULL;
}
DEFINE_CLEANUP(connection)

/*
 * The service that calls (by @self) cannot use its channel any more. It gets close(); with
 * @again, the channel is opened anew a second later.
 */
static inline void connection_close_channel(struct connection *c, const void *self, bool again)
{
	c->ops->close_channel(c, self, again);
}

/* For status: {"transport", "state", "error"} and what the kind of host adds. */
static inline json_t *connection_status(struct connection *c)
{
	return c->ops->status(c);
}

/* The state of a service's channel, for status: "none", "offered", "opening", "open". */
static inline const char *connection_channel_state(struct connection *c, const void *self)
{
	return c->ops->channel_state(c, self);
}
