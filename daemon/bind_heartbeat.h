/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/connection.h"

/*
 * Heartbeat, bound to its channel.
 */

struct bind_heartbeat;

/* @connection is where the service finds its connection once there is one. -ENOMEM. */
_must_check_ int bind_heartbeat_new(struct event_base *base, struct connection *const *connection,
				    struct bind_heartbeat **ret_binding);
struct bind_heartbeat *bind_heartbeat_free(struct bind_heartbeat *b);
DEFINE_CLEANUP(bind_heartbeat)

/* For the connection's table. */
struct service bind_heartbeat_service(struct bind_heartbeat *b);

json_t *bind_heartbeat_status(const struct bind_heartbeat *b);
