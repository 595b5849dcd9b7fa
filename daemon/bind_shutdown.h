/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"
#include "daemon/connection.h"
#include "daemon/snapshot.h"

/*
 * Shutdown, bound to its channel and to what takes this machine down.
 */

struct bind_shutdown;

/* All borrowed. @snapshot is asked to thaw before the machine goes down. Negative errno. */
_must_check_ int bind_shutdown_new(struct event_base *base, const struct config *config,
				   struct connection *const *connection, struct snapshot *snapshot,
				   struct bind_shutdown **ret_binding);
struct bind_shutdown *bind_shutdown_free(struct bind_shutdown *b);
DEFINE_CLEANUP(bind_shutdown)

/* For the connection's table. */
struct service bind_shutdown_service(struct bind_shutdown *b);

/* For status: the channel, and the last request. */
json_t *bind_shutdown_status(const struct bind_shutdown *b);
