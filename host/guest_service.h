/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "host/board.h"
#include "vmbus/guid.h"
#include "vmbus/port.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * A service of a guest: what it is given, and how the guest sees it.
 */

struct guest_service_context {
	struct event_base *base;
	const char *guest_name; /* borrowed for the guest's life */
	/* Takes the channel of @class_id away from the guest: it cannot be used any more. */
	void (*rescind)(void *guest, const struct vmbus_guid *class_id);
	/* True while a backup of the guest is under way: it takes nothing else on then. */
	bool (*backup_runs)(const void *guest);
	/* Its other services, for the board. */
	void (*describe)(const void *guest, struct board_services *ret_services);
	void *guest;
};

struct guest_service {
	const struct vmbus_guid *class_id;
	const char *status_name; /* of its object in the guest's status */
	void *self;
	/* The guest has opened the channel; the port is the service's, on failure too. */
	void (*open)(void *self, struct vmbus_port *take_port);
	/* The channel is closed, by whomever. */
	void (*close)(void *self);
	json_t *(*status)(const void *self);
	void (*free)(void *self);
};
