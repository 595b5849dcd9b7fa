/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"
#include "daemon/connection.h"
#include "daemon/snapshot.h"

/*
 * Live backup, bound to its channel and to the snapshot.
 */

struct bind_vss;

/* @snapshot is borrowed, and watched for as long as the binding lives. -ENOMEM. */
_must_check_ int bind_vss_new(struct event_base *base, const struct config *config,
			      struct connection *const *connection, struct snapshot *snapshot,
			      struct bind_vss **ret_binding);

/* Reaches the host over the kernel's device in place of a channel. -ENOMEM. */
_must_check_ int bind_vss_use_device(struct bind_vss *b);

/* Whether that device (of @binding) is open. */
bool bind_vss_has_host(const void *binding);

/* The daemon stops: asks for the thaw, if anything is frozen. */
void bind_vss_stop(struct bind_vss *b);

/* Leaves the thaw, if anything is frozen, to the snapshot's end. */
struct bind_vss *bind_vss_free(struct bind_vss *b);
DEFINE_CLEANUP(bind_vss)

/* For the connection's table. */
struct service bind_vss_service(struct bind_vss *b);

/* For status: the channel, the machine, what stands in the way, and the last receipt. */
json_t *bind_vss_status(const struct bind_vss *b);
