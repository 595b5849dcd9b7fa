/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/guid.h"
#include "vmbus/port.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * What every service of a guest is given.
 */

struct guest_service_context {
	struct event_base *base;
	const char *guest_name; /* borrowed for the guest's life */
	/* Takes the channel of @class_id away from the guest: it cannot be used any more. */
	void (*rescind)(void *guest, const struct vmbus_guid *class_id);
	/* True while a backup of the guest is under way: it takes nothing else on then. */
	bool (*backup_runs)(const void *guest);
	void *guest;
};
