/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "services/kvp_store.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * The automatic keys, kept up to date in the store.
 */

struct bind_kvp_keys;

/*
 * Puts the keys into pool KVP_POOL_AUTO of @store, and again what has changed of them. What cannot be
 * watched is said once, and stays as it was at the start. @store must outlive it. -ENOMEM.
 */
_must_check_ int bind_kvp_keys_new(struct event_base *base, struct kvp_store *store,
				   struct bind_kvp_keys **ret_binding);

/* A name that is being looked up is given up. Takes NULL; returns NULL. */
struct bind_kvp_keys *bind_kvp_keys_free(struct bind_kvp_keys *b);
DEFINE_CLEANUP(bind_kvp_keys)

/*
 * What the kernel's device says is the version of its integration services; borrowed for the call.
 * Until then it is what Linux says in all its versions.
 */
void bind_kvp_keys_set_version(struct bind_kvp_keys *b, const char *version);

/* For status: how often the keys were read, what is not watched and why. */
json_t *bind_kvp_keys_status(const struct bind_kvp_keys *b);
