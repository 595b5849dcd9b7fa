/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/connection.h"
#include "daemon/kept.h"

/*
 * A connection to a lab host on this machine, by the shm transport.
 */

/*
 * Keeps a connection to the lab host at @socket_path, as the guest @name. The strings, the services
 * (a borrowed array of @n) and @kept_channel (NULL: none) must outlive it. Goes on with the session's
 * connection at once, if it has one to this host. -ENOMEM.
 */
_must_check_ int lab_host_new(struct event_base *base, const char *socket_path, const char *name,
			      const struct service *services, size_t n, struct kept *kept_channel,
			      struct connection **ret_connection);
