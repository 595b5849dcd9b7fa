/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/api.h"

/*
 * hvguestd's metrics: GET /metrics.
 */

/* Adds the route. -ENOMEM. */
_must_check_ int metrics_add_route(struct api *api, struct httpd *httpd);

/* What they are read off: the status, and "why", "pressure", "channels" and "receipts". */
json_t *metrics_facts(struct api *api);
