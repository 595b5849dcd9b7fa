/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/guest_service.h"

/*
 * A guest's shutdown channel.
 */

struct guest_shutdown;

/* The conditions of guest_shutdown_ask(). */
enum {
	GUEST_SHUTDOWN_NOT_READY = 1, /* no channel, or not through negotiating */
	GUEST_SHUTDOWN_RUNNING,       /* the last request is not answered yet */
	GUEST_SHUTDOWN_UNKNOWN,       /* the guest's version has no such request */
};

/* -ENOMEM. */
_must_check_ int guest_shutdown_new(const struct guest_service_context *context,
				    struct guest_shutdown **ret_shutdown);

/* As the guest sees it; valid as long as @g is. */
struct guest_service guest_shutdown_service(struct guest_shutdown *g);

/*
 * Asks the guest, with @flags (enum shutdown_flag) and a @text for its log; the state tells what
 * came of it. GUEST_SHUTDOWN_NOT_READY, GUEST_SHUTDOWN_RUNNING, GUEST_SHUTDOWN_UNKNOWN.
 */
_must_check_ int guest_shutdown_ask(struct guest_shutdown *g, uint32_t flags, const char *text);

/* {"state": of the last request, "version"} */
json_t *guest_shutdown_status(const struct guest_shutdown *g);
