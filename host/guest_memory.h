/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/guest_service.h"
#include "policy/balancer.h"

/*
 * A guest's dynamic memory: the channel, what the guest reports, and what it is assigned.
 */

struct guest_memory;

_must_check_ int guest_memory_new(const struct guest_service_context *context,
				  const struct balancer_settings *settings,
				  struct guest_memory **ret_memory);
struct guest_memory *guest_memory_free(struct guest_memory *g);
DEFINE_CLEANUP(guest_memory)

void guest_memory_open(struct guest_memory *g, struct vmbus_port *take_port);
void guest_memory_close(struct guest_memory *g);

/* From now on the guest gets this much (within its minimum and maximum), or what it needs. */
void guest_memory_assign(struct guest_memory *g, uint64_t pages);
void guest_memory_assign_by_demand(struct guest_memory *g);

json_t *guest_memory_status(const struct guest_memory *g);
