/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/guest_service.h"
#include "host/kvp_host.h"

/*
 * A guest's channel for key-value exchange.
 */

struct guest_kvp;

/*
 * Something that is asked of the guest; made by whoever asks, and freed by done(). It is embedded in
 * what the question is about.
 */
struct guest_kvp_wish {
	struct kvp_host_job job; /* request and list; done_by_ns is set from timeout_ns */
	uint64_t timeout_ns;
	/* An entry, or what was asked for: job.answer. May be NULL. */
	void (*entry)(struct guest_kvp_wish *wish);
	/* Once: job.outcome tells. The channel may be gone, and the guest with it. */
	void (*done)(struct guest_kvp_wish *wish);
};

/* -ENOMEM. */
_must_check_ int guest_kvp_new(const struct guest_service_context *context, struct guest_kvp **ret_kvp);

/* For the guest's table; it frees the service. */
struct guest_service guest_kvp_service(struct guest_kvp *g);

/*
 * Asks. After 0, done() is called, at once if there is no channel. Returns a kvp_fault, and nothing is
 * called, if the question cannot be put.
 */
_must_check_ int guest_kvp_ask(struct guest_kvp *g, struct guest_kvp_wish *wish);
