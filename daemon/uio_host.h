/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/connection.h"
#include "daemon/kept.h"
#include "vmbus/takeover.h"

/*
 * A connection to a real host, by the VMBus devices of this machine: those that the services are
 * for are taken over from the kernel's drivers, and given back at the end.
 */

/*
 * Starts to look for the devices of @services (a borrowed array of @n) in the places of @config,
 * whose strings must outlive it as well, and so must @kept_channel (NULL: none). Goes on with the
 * session's channel at once, if its device is still the same. Negative errno.
 */
_must_check_ int uio_host_new(struct event_base *base, const struct takeover_config *config,
			      const struct service *services, size_t n, struct kept *kept_channel,
			      struct connection **ret_connection);
