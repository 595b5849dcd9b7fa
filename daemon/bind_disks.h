/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"
#include "daemon/config.h"
#include "daemon/snapshot.h"

#include <event2/event.h>

/*
 * Disks that the host has made larger: noticed, shown, and grown into where that is configured.
 */

struct bind_disks;

/*
 * Listens to the kernel, and, with disks_grow, goes on with what a predecessor may have begun. A machine
 * on which that cannot be heard is no error. @config and @snapshot must outlive it. -ENOMEM.
 */
_must_check_ int bind_disks_new(struct event_base *base, const struct config *config,
				const struct snapshot *snapshot, struct bind_disks **ret_binding);

/* A disk that is being made larger is left to the helper, which comes to its end without us. */
struct bind_disks *bind_disks_free(struct bind_disks *b);
DEFINE_CLEANUP(bind_disks)

/* GET /v1/disks, POST /v1/disks/{name}/grow. -ENOMEM. */
_must_check_ int bind_disks_add_routes(struct bind_disks *b, struct httpd *httpd);

/* For status, a new reference. */
json_t *bind_disks_status(const struct bind_disks *b);
