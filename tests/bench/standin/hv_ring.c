/* SPDX-License-Identifier: MIT */

/*
 * What the ring code of Linux tools/hv does for each packet, with nothing better done.
 *
 * Writing: both indices are loaded; space is reserved by a compare-and-swap, because several threads
 * may write; the packet is copied in four pieces; the index is published by a second one. Reading:
 * the descriptor is copied and checked, then the whole packet is copied, descriptor included, and
 * the index is stored. So both sides touch the control page for each packet.
 *
 * Nothing here looks at the interrupt mask or at who waits for room: there, the caller signals after
 * each packet, and polls a full ring. docs/PROTOCOL-vmbus.md has the layout.
 */

#include "tests/bench/standin/hv_ring.h"

#include <string.h>

enum {
	DESCRIPTOR_SIZE = sizeof(struct vmbus_packet_descriptor),
	TRAILER_SIZE = sizeof(struct vmbus_packet_trailer),
};

void hv_ring_init(struct hv_ring *ring, void *mem, size_t bytes)
{
	ring->header = mem;
	ring->data = (uint8_t *)mem + VMBUS_PAGE_SIZE;
	ring->size = bytes - VMBUS_PAGE_SIZE;
	atomic_init(&ring->reserved, atomic_load(&ring->header->write_index));
}

static uint32_t advance(const struct hv_ring *ring, uint32_t index, uint32_t n)
{
	index += n;
	return index >= ring->size ? index - ring->size : index;
}

static uint32_t put(struct hv_ring *ring, uint32_t index, const void *from, uint32_t n)
{
	uint32_t until_end = ring->size - index;

	if (n > until_end) {
		memcpy(ring->data + index, from, until_end);
		memcpy(ring->data, (const uint8_t *)from + until_end, n - until_end);
	} else {
		memcpy(ring->data + index, from, n);
	}
	return advance(ring, index, n);
}

static uint32_t get(const struct hv_ring *ring, uint32_t index, void *to, uint32_t n)
{
	uint32_t until_end = ring->size - index;

	if (n > until_end) {
		memcpy(to, ring->data + index, until_end);
		memcpy((uint8_t *)to + until_end, ring->data, n - until_end);
	} else {
		memcpy(to, ring->data + index, n);
	}
	return advance(ring, index, n);
}

static uint32_t load(const _Atomic uint32_t *index)
{
	return atomic_load_explicit(index, memory_order_acquire);
}

static uint32_t readable(const struct hv_ring *ring)
{
	uint32_t write_index = load(&ring->header->write_index);
	uint32_t read_index = load(&ring->header->read_index);

	return write_index >= read_index ? write_index - read_index
					 : ring->size - read_index + write_index;
}

static uint32_t writable(const struct hv_ring *ring, uint32_t write_index)
{
	uint32_t read_index = load(&ring->header->read_index);

	return write_index >= read_index ? ring->size - (write_index - read_index)
					 : read_index - write_index;
}

bool hv_ring_write(struct hv_ring *ring, const void *payload, uint32_t size)
{
	uint32_t total = DESCRIPTOR_SIZE + size + TRAILER_SIZE;
	struct vmbus_packet_descriptor descriptor = {
		.type = VMBUS_PACKET_INBAND,
		.offset8 = DESCRIPTOR_SIZE / VMBUS_RING_ALIGN,
		.len8 = (DESCRIPTOR_SIZE + size) / VMBUS_RING_ALIGN,
		.trans_id = UINT64_MAX,
	};
	struct vmbus_packet_trailer trailer = {0};
	uint32_t start, next, at, expected;

	do {
		start = load(&ring->reserved);
		if (writable(ring, start) <= total)
			return false;
		next = advance(ring, start, total);
		expected = start;
	} while (!atomic_compare_exchange_strong(&ring->reserved, &expected, next));

	trailer.start = start;
	at = put(ring, start, &descriptor, sizeof(descriptor));
	at = put(ring, at, payload, size);
	(void)put(ring, at, &trailer, sizeof(trailer));
	do {
		expected = start;
	} while (!atomic_compare_exchange_strong(&ring->header->write_index, &expected, next));
	return true;
}

uint32_t hv_ring_read(struct hv_ring *ring, void *buf, uint32_t capacity)
{
	struct vmbus_packet_descriptor d;
	uint32_t index, size;

	if (readable(ring) < DESCRIPTOR_SIZE + TRAILER_SIZE)
		return 0;
	(void)get(ring, load(&ring->header->read_index), &d, sizeof(d));
	size = (uint32_t)d.len8 * VMBUS_RING_ALIGN;
	if (d.offset8 < DESCRIPTOR_SIZE / VMBUS_RING_ALIGN || d.offset8 > d.len8 || size > capacity ||
	    readable(ring) < size + TRAILER_SIZE)
		return 0;

	index = get(ring, load(&ring->header->read_index), buf, size);
	index = advance(ring, index, TRAILER_SIZE);
	atomic_store_explicit(&ring->header->read_index, index, memory_order_release);
	return size;
}
