/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/guest_service.h"
#include "host/ic_client.h"

/*
 * An integration service of a guest: its channel, its timer, and what all such services do alike. A
 * service embeds one; it sends by ic_client_*(&ic->client) and waits by timer_set(ic->timer).
 */

/* What makes the service what it is. @self is what was given to guest_ic_init(). */
struct guest_ic_ops {
	const struct ic_service *service;
	const char *status_name; /* of its object in the guest's status */
	/* The channel is open, and versions are about to be negotiated. NULL: nothing to do. */
	void (*on_opened)(void *self);
	/* Versions are agreed on: requests may follow. NULL: nothing to do. */
	void (*on_ready)(void *self);
	/* The guest has none of our versions, which has been logged. NULL: nothing to do. */
	void (*on_refused)(void *self);
	/* The answer to the last request. */
	void (*on_response)(void *self, const struct ic_response *response);
	/* The timer has come. */
	void (*on_timer)(void *self);
	/* Nothing can be sent any more; also before free(), and if no channel was open. */
	void (*on_closed)(void *self);
	json_t *(*status)(const void *self);
	/* Ends with guest_ic_fini(), and the service itself. */
	void (*free)(void *self);
};

struct guest_ic {
	struct guest_service_context context;
	const struct guest_ic_ops *ops;
	void *self;
	struct ic_client client;
	struct event *timer;
};

/* No channel, no time set. -ENOMEM. */
_must_check_ int guest_ic_init(struct guest_ic *ic, const struct guest_service_context *context,
			       const struct guest_ic_ops *ops, void *self);
/* Closes it. */
void guest_ic_fini(struct guest_ic *ic);

/* As the guest sees it; valid as long as @ic is. */
struct guest_service guest_ic_service(struct guest_ic *ic);
