/* SPDX-License-Identifier: MIT */
#pragma once

#include "vmbus/channel.h"

#include <stdlib.h>

/*
 * A pair of rings in ordinary memory, as the two sides of a channel see them. Allocated at its
 * exact size, so that the address sanitizer sees a step outside.
 */
struct rings {
	void *mem[2];
	struct vmbus_ring_memory memory[2]; /* [0] guest to host, [1] host to guest */
};

static inline struct rings rings_new(size_t ring_size)
{
	struct rings r;

	for (int i = 0; i < 2; i++) {
		r.mem[i] = aligned_alloc(VMBUS_PAGE_SIZE, ring_size);
		if (!r.mem[i] || vmbus_ring_memory_init(&r.memory[i], r.mem[i], ring_size))
			abort();
		vmbus_ring_format(&r.memory[i]);
	}
	return r;
}

static inline void rings_free(struct rings *r)
{
	free(r->mem[0]);
	free(r->mem[1]);
}

static inline void rings_connect(const struct rings *r, struct vmbus_channel *guest,
				 struct vmbus_channel *host)
{
	vmbus_channel_init(guest, &r->memory[0], &r->memory[1]);
	vmbus_channel_init(host, &r->memory[1], &r->memory[0]);
}
