/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"
#include "daemon/connection.h"

/*
 * Time synchronisation, bound to its channel, this machine's clock and chronyd.
 */

struct bind_timesync;

/* All borrowed. Negative errno. */
_must_check_ int bind_timesync_new(struct event_base *base, const struct config *config,
				   struct connection *const *connection,
				   struct bind_timesync **ret_binding);
struct bind_timesync *bind_timesync_free(struct bind_timesync *b);
DEFINE_CLEANUP(bind_timesync)

/* For the connection's table. */
struct service bind_timesync_service(struct bind_timesync *b);

/* For status: the channel, what was made of the last message and why, and who keeps the clock. */
json_t *bind_timesync_status(const struct bind_timesync *b);
