/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/guest_service.h"

/*
 * A guest's heartbeat.
 */

struct guest_heartbeat;

_must_check_ int guest_heartbeat_new(const struct guest_service_context *context,
				     struct guest_heartbeat **ret_heartbeat);
struct guest_heartbeat *guest_heartbeat_free(struct guest_heartbeat *g);
DEFINE_CLEANUP(guest_heartbeat)

/* The guest has opened the channel; the port is taken. / The channel is closed. */
void guest_heartbeat_open(struct guest_heartbeat *g, struct vmbus_port *take_port);
void guest_heartbeat_close(struct guest_heartbeat *g);

/* {"state": "ok" | "lost" | "none", ...} */
json_t *guest_heartbeat_status(const struct guest_heartbeat *g);
