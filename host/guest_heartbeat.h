/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/guest_service.h"

/*
 * A guest's heartbeat.
 */

struct guest_heartbeat;

/* Not asking yet. -ENOMEM. */
_must_check_ int guest_heartbeat_new(const struct guest_service_context *context,
				     struct guest_heartbeat **ret_heartbeat);

/* As the guest sees it; valid as long as @g is. */
struct guest_service guest_heartbeat_service(struct guest_heartbeat *g);

/* For the board. */
void guest_heartbeat_show(const struct guest_heartbeat *g, struct board_services *ret_services);
