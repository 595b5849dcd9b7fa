/* SPDX-License-Identifier: MIT */
#pragma once

#include "vmbus/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A ring that behaves as the one in Linux tools/hv, to be measured beside vmbus/ring.h.
 */

struct hv_ring {
	struct vmbus_ring_header *header;
	uint8_t *data;
	uint32_t size;              /* bytes of the data area */
	_Atomic uint32_t reserved;  /* writer: the index up to which space is taken */
};

/* Uses the ring of @bytes at @mem, control page included; the memory is borrowed. */
void hv_ring_init(struct hv_ring *ring, void *mem, size_t bytes);

/* Writes one in-band packet; @size is a multiple of 8. False: there is no room, try again. */
bool hv_ring_write(struct hv_ring *ring, const void *payload, uint32_t size);

/*
 * Copies the next packet, descriptor included, to the @capacity bytes at @buf. Returns how many,
 * 0: there is none.
 */
uint32_t hv_ring_read(struct hv_ring *ring, void *buf, uint32_t capacity);
