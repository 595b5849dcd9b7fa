/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/httpd.h"
#include "services/kvp_store.h"

/*
 * The pools of key-value exchange in the API. {pool} is a name ("external", "guest", "auto",
 * "auto-external", "auto-internal") or a number, {key} any text, encoded as a URL has it.
 *
 *     GET    /v1/kvp                  all pools with their entries
 *     GET    /v1/kvp/{pool}           one of them
 *     GET    /v1/kvp/{pool}/{key}     one entry
 *     PUT    /v1/kvp/{pool}/{key}     {"value": text}; answered when it is on the disk
 *     DELETE /v1/kvp/{pool}/{key}     the same
 *     GET    /v1/kvp-changes/{after}  waits until the pools' version is more than {after}, 25 s at
 *                                     most; answers with the version, which every answer has
 *
 * Only pool "guest" is this machine's to change.
 */

struct api_kvp;

/* @store is borrowed, and may be freed before this; NULL: key-value exchange is off. -ENOMEM. */
_must_check_ int api_kvp_new(struct event_base *base, struct kvp_store *store,
			     struct api_kvp **ret_api);

/* Answers whoever still waits. */
struct api_kvp *api_kvp_free(struct api_kvp *api);
DEFINE_CLEANUP(api_kvp)

/* Adds the routes. -ENOMEM. */
_must_check_ int api_kvp_add_routes(struct api_kvp *api, struct httpd *httpd);
