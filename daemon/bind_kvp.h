/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"
#include "daemon/connection.h"
#include "daemon/snapshot.h"
#include "services/kvp_store.h"

/*
 * Key-value exchange, bound to its channel or the kernel's device, to the pools and to the network.
 */

struct bind_kvp;

/* Opens the pools and puts the automatic keys into them. All borrowed. Negative errno. */
_must_check_ int bind_kvp_new(struct event_base *base, const struct config *config,
			      struct connection *const *connection, struct snapshot *snapshot,
			      struct bind_kvp **ret_binding);

/* Waits for the write that is under way; changes that were not made yet are not made. */
struct bind_kvp *bind_kvp_free(struct bind_kvp *b);
DEFINE_CLEANUP(bind_kvp)

/* The pools; borrowed as long as the binding. */
struct kvp_store *bind_kvp_store(struct bind_kvp *b);

/* Reaches the host over the kernel's device in place of a channel. -ENOMEM. */
_must_check_ int bind_kvp_use_device(struct bind_kvp *b);

/* Whether that device (of @binding) is open. */
bool bind_kvp_has_host(const void *binding);

/* For the connection's table. */
struct service bind_kvp_service(struct bind_kvp *b);

/* Publishes the texts of an object (a receipt's "keys") for the host, in the pool of the guest. */
void bind_kvp_publish(struct bind_kvp *b, json_t *keys);

/* For status: the channel or device, the machine, and what stands in the way. */
json_t *bind_kvp_status(const struct bind_kvp *b);
