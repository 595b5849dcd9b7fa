/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/balance.h"
#include "host/dynmem_fault.h"
#include "host/guest_service.h"

/*
 * A guest's dynamic memory: the channel, what the guest reports, and what it is assigned.
 */

struct guest_memory;

/* The condition of guest_memory_fault(). */
enum {
	GUEST_MEMORY_BUSY = 1, /* the guest is not set up, or an operation is under way */
};

/*
 * With nothing ballooned. It is guest @id of @balance, borrowed, with its startup memory. From page
 * @window_pfn on there is room for what the maximum is above the startup; 0: no memory is ever
 * added. -ENOMEM.
 */
_must_check_ int guest_memory_new(const struct guest_service_context *context,
				  struct balance *balance, uint32_t id, uint64_t window_pfn,
				  struct guest_memory **ret_memory);

/* As the guest sees it; valid as long as @g is. */
struct guest_service guest_memory_service(struct guest_memory *g);

/* From now on the guest gets this much (within its minimum and maximum), or what it needs. */
void guest_memory_assign(struct guest_memory *g, uint64_t pages);
void guest_memory_assign_by_demand(struct guest_memory *g);

/* Does something wrong, at once or with the next request. GUEST_MEMORY_BUSY. */
_must_check_ int guest_memory_fault(struct guest_memory *g, enum dynmem_fault fault);

/* For status: what is assigned and why, what was reported, the last operation. */
json_t *guest_memory_status(const struct guest_memory *g);
