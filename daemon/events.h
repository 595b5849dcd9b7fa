/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/api.h"

/*
 * Live state for whoever looks: GET /v1/events, server-sent events; and GET /, the page that shows
 * them (daemon/page.html), where it is asked for.
 */

struct events;

/* Adds the routes. @api is borrowed. -ENOMEM. */
_must_check_ int events_new(struct event_base *base, struct api *api, struct httpd *httpd,
			    struct events **ret_events);

/* After the server, whose end drops who listens. Takes NULL; returns NULL. */
struct events *events_free(struct events *events);
DEFINE_CLEANUP(events)
