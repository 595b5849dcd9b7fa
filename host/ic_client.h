/* SPDX-License-Identifier: MIT */
#pragma once

#include "vmbus/ic.h"
#include "vmbus/link.h"

/*
 * The host's channel of an integration service: frames requests, negotiates when the channel opens,
 * and hands the guest's answers to the service.
 */

struct ic_client_user {
	/* Versions are agreed on: requests may follow. */
	void (*on_ready)(void *self);
	/* The guest has none of our versions. */
	void (*on_refused)(void *self);
	/* The answer to the last request. */
	void (*on_response)(void *self, const struct ic_response *response);
	/* The ring is corrupt: rescind the channel. */
	void (*on_corrupt)(void *self);
};

struct ic_client {
	struct ic_host ic;
	struct link *link; /* NULL while the channel is not open */
	const struct ic_client_user *ops;
	void *self;
};

void ic_client_init(struct ic_client *c, const struct ic_service *service,
		    const struct ic_client_user *ops, void *self);

/* Starts on an opened port, which is the client's from now on, on failure too. -ENOMEM. */
_must_check_ int ic_client_open(struct ic_client *c, struct event_base *base,
				struct vmbus_port *take_port);
void ic_client_close(struct ic_client *c);

/* Voids what was asked and begins anew; on_ready() follows. Nothing on a closed channel. */
void ic_client_negotiate(struct ic_client *c);

/* True if the guest takes requests. */
bool ic_client_is_ready(const struct ic_client *c);

/* Sends one service message. False if the guest does not take it now: nothing was sent. */
_must_check_ bool ic_client_request(struct ic_client *c, const void *message, size_t size);

/* "5.0", or NULL before the versions are agreed on. Writes into @buf, of 16 bytes. */
const char *ic_client_version(const struct ic_client *c, char buf[16]);
