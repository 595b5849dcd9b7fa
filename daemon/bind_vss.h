/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"
#include "daemon/connection.h"

/*
 * Live backup, bound to its channel, the mount table and the freezer.
 */

struct bind_vss;

/* The condition of bind_vss_new(). */
enum {
	BIND_VSS_BUSY = 1, /* another hvguestd has the run directory */
};

/*
 * Before anything else it thaws what a predecessor left frozen; then the freezer stands ready. A
 * machine on which nothing can be frozen is no error: bind_vss_status() says why, and the host is
 * told that this guest takes no part. BIND_VSS_BUSY, -ENOMEM, other negative errno.
 */
_must_check_ int bind_vss_new(struct event_base *base, const struct config *config,
			      struct connection *const *connection, struct bind_vss **ret_binding);

/* The daemon stops: asks for the thaw, if anything is frozen. */
void bind_vss_stop(struct bind_vss *b);

/* Thaws, if anything is frozen, and ends the freezer. */
struct bind_vss *bind_vss_free(struct bind_vss *b);
DEFINE_CLEANUP(bind_vss)

/* For the connection's table. */
struct service bind_vss_service(struct bind_vss *b);

/* From FREEZE to THAW: nothing but the freezer may act on this machine on our behalf. */
bool bind_vss_is_holding(const struct bind_vss *b);

/* For status: the channel, the machine, what stands in the way, and the last receipt. */
json_t *bind_vss_status(const struct bind_vss *b);

/* The last backup, file system by file system; JSON null if there was none. */
json_t *bind_vss_receipt(const struct bind_vss *b);
