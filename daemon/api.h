/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"
#include "daemon/api_kvp.h"
#include "daemon/bind_dynmem.h"
#include "daemon/bind_disks.h"
#include "daemon/bind_fcopy.h"
#include "daemon/bind_heartbeat.h"
#include "daemon/bind_hotplug.h"
#include "daemon/bind_kvp.h"
#include "daemon/bind_manual.h"
#include "daemon/bind_shutdown.h"
#include "daemon/bind_timesync.h"
#include "daemon/bind_vss.h"
#include "daemon/receipts.h"

/*
 * hvguestd's API: JSON over HTTP on a Unix socket. Schema 1:
 *
 *     GET /v1/status        everything the daemon does and sees
 *     POST /v1/memory/verify   whether all that the host has is still ours, page by page
 *     GET /v1/vmbus         every VMBus device of this machine, and the channels of the services
 *     GET /v1/backup/plan           what would be frozen now, and why not the rest
 *     GET /v1/backup/receipts       the last receipts, newest first, in short
 *     GET /v1/backup/receipts/{n}   the n-th newest; nothing but the schema if there is none at all
 *     GET /v1/backup/last           the same as .../receipts/1
 *     POST /v1/memory/release       puts back into use what a host that is gone had of the memory
 *
 * and what daemon/metrics.h, daemon/events.h, daemon/api_kvp.h, daemon/bind_manual.h, daemon/bind_fcopy.h
 * and daemon/bind_heartbeat.h add.
 */

/* What the API shows; all borrowed. */
struct api {
	const struct config *config;
	struct connection *const *connection; /* NULL inside: there is none */
	struct bind_heartbeat *heartbeat;
	struct bind_shutdown *shutdown;
	struct bind_fcopy *fcopy;
	struct bind_disks *disks;
	struct bind_timesync *timesync;
	struct bind_kvp *kvp; /* NULL: it is off */
	struct api_kvp *pools;
	struct bind_dynmem *dynmem;
	struct bind_hotplug *hotplug;
	struct bind_vss *vss;
	const struct snapshot *snapshot;
	struct receipts *receipts;
	struct bind_manual *manual;
	const struct service *services;
	size_t n_services;
	const char *missing[2]; /* capabilities that the process does not have, and their cost */
	size_t n_missing;
};

/* Adds the routes. -ENOMEM. */
_must_check_ int api_add_routes(struct api *api, struct httpd *httpd);

/* Everything the daemon does and sees, as GET /v1/status tells it. */
json_t *api_status(struct api *api);
