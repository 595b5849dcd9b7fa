/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"
#include "daemon/config.h"
#include "daemon/connection.h"
#include "daemon/snapshot.h"

/*
 * File copy: the host puts files into folders that the configuration allows.
 */

struct bind_fcopy;

/*
 * Removes what a killed predecessor left. @config, @connection and @snapshot must outlive it; the
 * connection need not be there yet. Without fcopy_roots it does nothing but say so. Negative errno.
 */
_must_check_ int bind_fcopy_new(struct event_base *base, const struct config *config,
				struct connection *const *connection, struct snapshot *snapshot,
				struct bind_fcopy **ret_binding);

/* The file that is being copied is discarded. */
struct bind_fcopy *bind_fcopy_free(struct bind_fcopy *b);
DEFINE_CLEANUP(bind_fcopy)

/* For the connection. */
struct service bind_fcopy_service(struct bind_fcopy *b);

/* Whether the kernel's device has to be used: it has a driver that is not to be taken over. */
bool bind_fcopy_wants_device(const struct config *config);

/* Uses it in place of a channel. -ENOMEM. */
_must_check_ int bind_fcopy_use_device(struct bind_fcopy *b);

/* Whether that device is open: there is a host. */
bool bind_fcopy_has_host(const struct bind_fcopy *b);

/* For status, a new reference. */
json_t *bind_fcopy_status(const struct bind_fcopy *b);

/* GET /v1/copies: the receipts of the last files, newest first, and the last failure. -ENOMEM. */
_must_check_ int bind_fcopy_add_routes(struct bind_fcopy *b, struct httpd *httpd);
