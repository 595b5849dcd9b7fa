/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/connection.h"

/*
 * Every VMBus device of this machine, and what this daemon makes of it.
 */

/*
 * For GET /v1/vmbus. The devices are those below @sysfs; none are listed for a lab host, whose
 * channels are no devices. @services is an array of @n.
 */
json_t *vmbus_list(struct connection *connection, const char *sysfs, const struct service *services,
		   size_t n);

/* The channels of @services: [{"service", "state", and what each has carried}]. */
json_t *channel_list(struct connection *connection, const struct service *services, size_t n);
