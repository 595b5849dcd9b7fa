/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"
#include "daemon/connection.h"
#include "daemon/snapshot.h"

/*
 * Heartbeat, bound to its channel, and what it tells of this guest:
 *
 *     GET /v1/health   {"state": "healthy" or "critical", "reports": [...], "backup": {...}}
 *     PUT /v1/health   {"state": "healthy" or "critical", "text", "source", "seconds", "then"}
 *
 * PUT is a program's report about itself, called "default" unless it has a "source". After "seconds", if
 * it has an end, it is taken back, or is what "then" says. Only who may write to the API's socket for
 * administrators can report.
 */

struct bind_heartbeat;

/*
 * @connection is where the service finds its connection once there is one; @snapshot, borrowed, knows
 * whether a backup holds the machine. -ENOMEM.
 */
_must_check_ int bind_heartbeat_new(struct event_base *base, struct connection *const *connection,
				    const struct snapshot *snapshot,
				    struct bind_heartbeat **ret_binding);
struct bind_heartbeat *bind_heartbeat_free(struct bind_heartbeat *b);
DEFINE_CLEANUP(bind_heartbeat)

/* For the connection's table. */
struct service bind_heartbeat_service(struct bind_heartbeat *b);

/* For status: the channel, and how many requests were answered. */
json_t *bind_heartbeat_status(struct bind_heartbeat *b);

/* Adds the routes above. -ENOMEM. */
_must_check_ int bind_heartbeat_add_routes(struct bind_heartbeat *b, struct httpd *httpd);
