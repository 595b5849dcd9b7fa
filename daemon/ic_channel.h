/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/connection.h"
#include "vmbus/ic.h"
#include "vmbus/link.h"

/*
 * The channel of an integration service: a link whose messages are unframed, whose negotiations
 * are answered, and whose requests go to the service's binder. The connection to the host opens and
 * closes it.
 */

/* What a binder wants to know; all but the first may be NULL. */
struct ic_channel_user {
	/* A request of @size bytes at @message; answer with ic_channel_answer(), now or later. */
	void (*on_request)(void *self, uint8_t *message, size_t size);
	/* The host has negotiated (again): what it asked before is void. */
	void (*on_negotiated)(void *self);
	/* The host has asked for something that was refused here: the open request is void. */
	void (*on_overtaken)(void *self);
	/* The channel is closed: rescinded, corrupt, or the host is lost. What was asked is void. */
	void (*on_closed)(void *self);
};

struct ic_channel {
	struct event_base *base;
	struct connection *const *connection;
	struct ic_guest ic;
	struct link *link; /* NULL while the channel is not open */
	const struct ic_channel_user *ops;
	void *self;
	uint64_t opens;        /* times that the channel was opened */
	uint64_t lost_answers; /* the host asked on without reading what it was answered */
	uint64_t last_request_ns; /* 0: none yet */
	struct event *patience;
	uint64_t patience_ns; /* how long an open channel waits for a version before it is said */
};

/*
 * A closed channel of @service; @self is handed to the calls of @ops. @connection, which need not
 * point to one yet, is told when the channel cannot be used any more.
 */
void ic_channel_init(struct ic_channel *c, struct event_base *base,
		     struct connection *const *connection, const struct ic_service *service,
		     const struct ic_channel_user *ops, void *self);
/* Closes it without a call to the binder. */
void ic_channel_fini(struct ic_channel *c);

/* The channel as the connection sees it: what opens and closes it. */
struct service ic_channel_service(struct ic_channel *c);

/* For status: connection_channel_state() of this channel. */
const char *ic_channel_state(const struct ic_channel *c);

/* The open request's message, to be changed into its answer; NULL if there is none any more. */
uint8_t *ic_channel_request(struct ic_channel *c, size_t *ret_size);

/* Answers the open request with @status. Nothing happens if it is void or the channel closed. */
void ic_channel_answer(struct ic_channel *c, uint32_t status);

/* Lets the host see an answer at once, if on_request() has more to do behind it. */
void ic_channel_flush(struct ic_channel *c);

/* "5.0", or NULL before the versions are agreed on. Writes into @buf, of 16 bytes. */
const char *ic_channel_version(const struct ic_channel *c, char buf[16]);
