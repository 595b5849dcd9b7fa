/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/connection.h"

/*
 * A connection to a lab host on this machine, by the shm transport.
 */

/*
 * Keeps a connection to the lab host at @socket_path, as the guest @name. The strings and the
 * services (a borrowed array of @n) must outlive it. -ENOMEM.
 */
_must_check_ int lab_host_new(struct event_base *base, const char *socket_path, const char *name,
			      const struct service *services, size_t n,
			      struct connection **ret_connection);
