/* SPDX-License-Identifier: MIT */

/*
 * The VMBus ring.
 *
 * A ring is a control page and a data area in memory that both sides can change at any time. The
 * writer owns write_index and pending_send_size, the reader owns read_index and interrupt_mask;
 * each side keeps its own index in private memory and only ever stores the shared copy. What the
 * other side owns is loaded once, checked, and used from the copy: a hostile peer can feed us
 * nonsense, but cannot make us read or write outside the ring.
 *
 * Nothing here signals. The writer is told when the reader has to be (the ring was empty and is
 * not masked), the reader is told when the writer has to be (it waits for room, and there is
 * enough of it for the first time). Both tests load what the other side owns after storing what
 * this side owns, so each needs a full fence in between, on x86 too; without it both sides can
 * miss each other and sleep for ever. Sources of the rules: Linux drivers/hv/ring_buffer.c,
 * OpenVMM vm/devices/vmbus/vmbus_ring/src/lib.rs.
 *
 * Both indices share a cache line, and fetching it from the other side's processor costs more than
 * all the rest. So the other side's index is loaded only when the copy of the last load is used up:
 * a stale copy means less room or fewer packets than there are, never more.
 *
 * An index that is out of range or not a multiple of 8, or a packet that claims more than what was
 * published, means that the layout is lost. It cannot be repaired in place: the ring reports
 * VMBUS_RING_CORRUPT and does not move.
 */

#include "vmbus/ring.h"

#include <string.h>

#define DESCRIPTOR_SIZE ((uint32_t)sizeof(struct vmbus_packet_descriptor))
#define TRAILER_SIZE    ((uint32_t)sizeof(struct vmbus_packet_trailer))

/* The last 8 bytes are never filled: a full ring would look like an empty one. */
#define RING_RESERVE VMBUS_RING_ALIGN

/* Room is given back, and asked for, in parts of the ring: a packet at a time is one wake-up each. */
#define RING_PARTS 4

int vmbus_ring_memory_init(struct vmbus_ring_memory *memory, void *mem, size_t size)
{
	if (size % VMBUS_PAGE_SIZE != 0 || size < 2 * VMBUS_PAGE_SIZE || size > INT32_MAX)
		return -EINVAL;

	memory->header = mem;
	memory->data = (uint8_t *)mem + VMBUS_PAGE_SIZE;
	memory->data_size = size - VMBUS_PAGE_SIZE;
	return 0;
}

void vmbus_ring_format(const struct vmbus_ring_memory *memory)
{
	memset(memory->header, 0, sizeof(*memory->header));
	atomic_store(&memory->header->feature_bits, VMBUS_RING_FEATURE_PENDING_SEND_SIZE);
}

void vmbus_ring_out_init(struct vmbus_ring_out *ring, const struct vmbus_ring_memory *memory)
{
	*ring = (struct vmbus_ring_out){.memory = *memory};
	atomic_store(&memory->header->feature_bits, VMBUS_RING_FEATURE_PENDING_SEND_SIZE);
	atomic_store(&memory->header->pending_send_size, 0);
}

void vmbus_ring_in_init(struct vmbus_ring_in *ring, const struct vmbus_ring_memory *memory)
{
	*ring = (struct vmbus_ring_in){.memory = *memory};
}

static size_t align8(size_t n)
{
	return (n + VMBUS_RING_ALIGN - 1) & ~(size_t)(VMBUS_RING_ALIGN - 1);
}

size_t vmbus_ring_packet_size(size_t payload_size)
{
	return DESCRIPTOR_SIZE + align8(payload_size) + TRAILER_SIZE;
}

static bool index_is_valid(uint32_t index, uint32_t data_size)
{
	return index < data_size && index % VMBUS_RING_ALIGN == 0;
}

/* Bytes from @from to @to, walking forward around the ring. */
static uint32_t distance(uint32_t from, uint32_t to, uint32_t data_size)
{
	return to >= from ? to - from : data_size - from + to;
}

static uint32_t advance(uint32_t index, uint32_t n, uint32_t data_size)
{
	index += n;
	return index >= data_size ? index - data_size : index;
}

int vmbus_ring_out_resume(struct vmbus_ring_out *ring, const struct vmbus_ring_memory *memory)
{
	uint32_t write_index = atomic_load(&memory->header->write_index);
	uint32_t read_index = atomic_load(&memory->header->read_index);

	if (!index_is_valid(write_index, memory->data_size) ||
	    !index_is_valid(read_index, memory->data_size))
		return VMBUS_RING_CORRUPT;
	vmbus_ring_out_init(ring, memory);
	ring->write_index = ring->published = write_index;
	ring->read_index = read_index;
	return 0;
}

int vmbus_ring_in_resume(struct vmbus_ring_in *ring, const struct vmbus_ring_memory *memory,
			 uint32_t read_index)
{
	uint32_t size = memory->data_size;
	uint32_t committed = atomic_load(&memory->header->read_index);
	uint32_t write_index = atomic_load(&memory->header->write_index);

	if (!index_is_valid(read_index, size) || !index_is_valid(committed, size) ||
	    !index_is_valid(write_index, size) ||
	    distance(committed, read_index, size) > distance(committed, write_index, size))
		return VMBUS_RING_CORRUPT;
	vmbus_ring_in_init(ring, memory);
	ring->read_index = read_index;
	ring->committed = committed;
	ring->write_index = write_index;
	return 0;
}

/* Copies into the ring at @index, around the end if need be; returns the index behind it. */
static uint32_t copy_in(const struct vmbus_ring_memory *memory, uint32_t index, const void *from,
			uint32_t n)
{
	uint32_t until_end = memory->data_size - index;

	/* An empty payload may be NULL, which memcpy() must not be given. */
	if (n == 0)
		return index;

	if (n <= until_end) {
		memcpy(memory->data + index, from, n);
	} else {
		memcpy(memory->data + index, from, until_end);
		memcpy(memory->data, (const uint8_t *)from + until_end, n - until_end);
	}
	return advance(index, n, memory->data_size);
}

/* Bytes that may be written, by the reader's index as last seen. */
static uint32_t known_room(const struct vmbus_ring_out *ring)
{
	uint32_t size = ring->memory.data_size;

	return size - distance(ring->read_index, ring->write_index, size) - RING_RESERVE;
}

/* Looks at the reader's index anew. False if it is broken; then the last one is kept. */
static bool refresh_room(struct vmbus_ring_out *ring)
{
	uint32_t read_index =
		atomic_load_explicit(&ring->memory.header->read_index, memory_order_acquire);

	if (!index_is_valid(read_index, ring->memory.data_size))
		return false;
	ring->read_index = read_index;
	return true;
}

int vmbus_ring_out_put(struct vmbus_ring_out *ring, const struct vmbus_packet *packet,
		       const void *payload)
{
	static const uint8_t zeros[VMBUS_RING_ALIGN];
	const struct vmbus_ring_memory *memory = &ring->memory;
	size_t size = vmbus_ring_packet_size(packet->payload_size);
	uint32_t at = ring->write_index;
	struct vmbus_packet_descriptor descriptor = {
		.type = packet->type,
		.offset8 = DESCRIPTOR_SIZE / VMBUS_RING_ALIGN,
		.len8 = (size - TRAILER_SIZE) / VMBUS_RING_ALIGN,
		.flags = packet->flags,
		.trans_id = packet->trans_id,
	};
	struct vmbus_packet_trailer trailer = {.start = at};

	if (packet->payload_size > VMBUS_PACKET_PAYLOAD_MAX ||
	    size > memory->data_size - RING_RESERVE)
		return VMBUS_RING_TOO_BIG;
	if (known_room(ring) < size && !refresh_room(ring))
		return VMBUS_RING_CORRUPT;
	if (known_room(ring) < size)
		return VMBUS_RING_FULL;

	at = copy_in(memory, at, &descriptor, sizeof(descriptor));
	at = copy_in(memory, at, payload, packet->payload_size);
	at = copy_in(memory, at, zeros, align8(packet->payload_size) - packet->payload_size);
	ring->write_index = copy_in(memory, at, &trailer, sizeof(trailer));
	return 0;
}

bool vmbus_ring_out_publish(struct vmbus_ring_out *ring)
{
	struct vmbus_ring_header *header = ring->memory.header;
	uint32_t before = ring->published;

	if (before == ring->write_index)
		return false;
	ring->published = ring->write_index;
	atomic_store_explicit(&header->write_index, ring->write_index, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);

	/* Does the reader sleep on a ring that was empty until now? */
	if (atomic_load_explicit(&header->interrupt_mask, memory_order_acquire) != 0)
		return false;
	return atomic_load_explicit(&header->read_index, memory_order_relaxed) == before;
}

bool vmbus_ring_out_owes_much(const struct vmbus_ring_out *ring)
{
	uint32_t size = ring->memory.data_size;

	return distance(ring->published, ring->write_index, size) >= size / RING_PARTS;
}

int vmbus_ring_out_write(struct vmbus_ring_out *ring, const struct vmbus_packet *packet,
			 const void *payload, bool *ret_signal)
{
	int r = vmbus_ring_out_put(ring, packet, payload);

	if (r)
		return r;
	*ret_signal = vmbus_ring_out_publish(ring);
	return 0;
}

bool vmbus_ring_out_want_space(struct vmbus_ring_out *ring, size_t payload_size)
{
	size_t size = vmbus_ring_packet_size(payload_size);
	size_t part = ring->memory.data_size / RING_PARTS, wanted = size > part ? size : part;

	atomic_store_explicit(&ring->memory.header->pending_send_size, wanted, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);

	/* A broken index counts as room: the next write finds out and says so. */
	return !refresh_room(ring) || known_room(ring) >= size;
}

void vmbus_ring_out_want_no_space(struct vmbus_ring_out *ring)
{
	atomic_store_explicit(&ring->memory.header->pending_send_size, 0, memory_order_relaxed);
}

static void copy_out(const struct vmbus_ring_memory *memory, uint32_t index, void *to, uint32_t n)
{
	uint32_t until_end = memory->data_size - index;

	if (n <= until_end) {
		memcpy(to, memory->data + index, n);
	} else {
		memcpy(to, memory->data + index, until_end);
		memcpy((uint8_t *)to + until_end, memory->data, n - until_end);
	}
}

/* Looks at the writer's index anew. False if it is broken; then the last one is kept. */
static bool refresh_packets(struct vmbus_ring_in *ring)
{
	uint32_t write_index =
		atomic_load_explicit(&ring->memory.header->write_index, memory_order_acquire);

	if (!index_is_valid(write_index, ring->memory.data_size))
		return false;
	ring->write_index = write_index;
	return true;
}

/* Copies the next descriptor out and checks the copy against what the writer has published. */
static int read_descriptor(struct vmbus_ring_in *ring,
			   struct vmbus_packet_descriptor *ret_descriptor)
{
	struct vmbus_packet_descriptor d;
	uint32_t readable;

	if (ring->read_index == ring->write_index && !refresh_packets(ring))
		return VMBUS_RING_CORRUPT;
	readable = distance(ring->read_index, ring->write_index, ring->memory.data_size);
	if (readable == 0)
		return VMBUS_RING_EMPTY;
	if (readable < DESCRIPTOR_SIZE + TRAILER_SIZE)
		return VMBUS_RING_CORRUPT;

	copy_out(&ring->memory, ring->read_index, &d, sizeof(d));
	if (d.offset8 < DESCRIPTOR_SIZE / VMBUS_RING_ALIGN || d.len8 < d.offset8 ||
	    (uint32_t)d.len8 * VMBUS_RING_ALIGN + TRAILER_SIZE > readable)
		return VMBUS_RING_CORRUPT;

	*ret_descriptor = d;
	return 0;
}

int vmbus_ring_in_read(struct vmbus_ring_in *ring, void *buf, size_t size,
		       struct vmbus_packet *ret_packet)
{
	uint32_t data_size = ring->memory.data_size, start = ring->read_index;
	struct vmbus_packet_descriptor d;
	uint32_t offset, payload_size;
	int r;

	r = read_descriptor(ring, &d);
	if (r)
		return r;

	offset = (uint32_t)d.offset8 * VMBUS_RING_ALIGN;
	payload_size = (uint32_t)d.len8 * VMBUS_RING_ALIGN - offset;
	ring->read_index = advance(start, offset + payload_size + TRAILER_SIZE, data_size);
	if (payload_size > size)
		return VMBUS_RING_OVERSIZE;

	copy_out(&ring->memory, advance(start, offset, data_size), buf, payload_size);
	*ret_packet = (struct vmbus_packet){
		.type = d.type,
		.flags = d.flags,
		.trans_id = d.trans_id,
		.payload_size = payload_size,
	};
	return 0;
}

bool vmbus_ring_in_commit(struct vmbus_ring_in *ring)
{
	struct vmbus_ring_header *header = ring->memory.header;
	uint32_t size = ring->memory.data_size, freed, pending, write_index, room;

	freed = distance(ring->committed, ring->read_index, size);
	if (freed == 0)
		return false;
	ring->committed = ring->read_index;
	atomic_store_explicit(&header->read_index, ring->read_index, memory_order_release);

	/* A writer that does not announce the feature polls instead of waiting for us. */
	if (!(atomic_load(&header->feature_bits) & VMBUS_RING_FEATURE_PENDING_SEND_SIZE))
		return false;
	atomic_thread_fence(memory_order_seq_cst);

	/* Some writers ask for odd sizes such as "all of it less one": round down as OpenVMM does. */
	pending = atomic_load_explicit(&header->pending_send_size, memory_order_acquire) &
		  ~(uint32_t)(VMBUS_RING_ALIGN - 1);
	write_index = atomic_load_explicit(&header->write_index, memory_order_relaxed);
	if (pending == 0 || !index_is_valid(write_index, size))
		return false;

	/* Signal on the change from too little room to enough, not each time there is enough. */
	room = size - distance(ring->read_index, write_index, size) - RING_RESERVE;
	return room >= pending && (freed > room || room - freed < pending);
}

bool vmbus_ring_in_owes_much(const struct vmbus_ring_in *ring)
{
	uint32_t size = ring->memory.data_size;

	return distance(ring->committed, ring->read_index, size) >= size / RING_PARTS;
}

bool vmbus_ring_in_has_more(const struct vmbus_ring_in *ring)
{
	return ring->read_index != ring->write_index ||
	       atomic_load_explicit(&ring->memory.header->write_index, memory_order_acquire) !=
		       ring->read_index;
}

void vmbus_ring_in_mask(struct vmbus_ring_in *ring)
{
	atomic_store_explicit(&ring->memory.header->interrupt_mask, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

bool vmbus_ring_in_unmask(struct vmbus_ring_in *ring)
{
	struct vmbus_ring_header *header = ring->memory.header;

	atomic_store_explicit(&header->interrupt_mask, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);

	return atomic_load_explicit(&header->write_index, memory_order_acquire) != ring->read_index;
}
