/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/wire.h"

#include <stdbool.h>

/*
 * One end of one VMBus ring: an out ring is written by this side, an in ring is read by it.
 * Neither is safe for two threads at a time. docs/PROTOCOL-vmbus.md sections 1 to 5.
 */

/* The conditions of a ring. */
enum {
	VMBUS_RING_EMPTY = 1, /* in: no packet is waiting */
	VMBUS_RING_FULL,      /* out: not enough room now; see vmbus_ring_out_want_space() */
	VMBUS_RING_TOO_BIG,   /* out: would not fit even into the empty ring */
	VMBUS_RING_OVERSIZE,  /* in: the packet was larger than the buffer, and was skipped */
	VMBUS_RING_CORRUPT,   /* the other side broke the layout: close the channel */
};

/* A ring's shared memory, borrowed for as long as the ring is used. */
struct vmbus_ring_memory {
	struct vmbus_ring_header *header;
	uint8_t *data;
	uint32_t data_size; /* bytes; a multiple of VMBUS_PAGE_SIZE */
};

struct vmbus_packet {
	uint16_t type;
	uint16_t flags;
	uint64_t trans_id;
	size_t payload_size; /* bytes; as read from a ring it includes 0 to 7 bytes of padding */
};

struct vmbus_ring_out {
	struct vmbus_ring_memory memory;
	uint32_t write_index; /* behind what was put */
	uint32_t published;   /* what the reader was told of it */
	uint32_t read_index;  /* the reader's, as last seen: there may be more room by now */
};

struct vmbus_ring_in {
	struct vmbus_ring_memory memory;
	uint32_t read_index;  /* first byte not yet read */
	uint32_t committed;   /* what the writer was told of it */
	uint32_t write_index; /* the writer's, as last seen: there may be more packets by now */
};

/*
 * Splits @size bytes at @mem (page aligned) into the control page and the data area.
 * -EINVAL unless @size is a multiple of 4096, at least two pages, and below 2 GiB.
 */
_must_check_ int vmbus_ring_memory_init(struct vmbus_ring_memory *memory, void *mem, size_t size);

/* Puts the control page into its state after opening: empty, not masked, features announced. */
void vmbus_ring_format(const struct vmbus_ring_memory *memory);

/* Begins to write to, or to read from, a formatted ring. */
void vmbus_ring_out_init(struct vmbus_ring_out *ring, const struct vmbus_ring_memory *memory);
void vmbus_ring_in_init(struct vmbus_ring_in *ring, const struct vmbus_ring_memory *memory);

/*
 * The same for a ring that a predecessor of this side has used: writing goes on behind what it has
 * published; reading goes on at @read_index, which must lie among what it gave back last and what
 * the writer has published. VMBUS_RING_CORRUPT.
 */
_must_check_ int vmbus_ring_out_resume(struct vmbus_ring_out *ring,
				       const struct vmbus_ring_memory *memory);
_must_check_ int vmbus_ring_in_resume(struct vmbus_ring_in *ring,
				      const struct vmbus_ring_memory *memory, uint32_t read_index);

/* Bytes of ring that a packet with @payload_size bytes of payload takes, trailer included. */
size_t vmbus_ring_packet_size(size_t payload_size);

/*
 * Puts a packet into the ring; the reader sees it after vmbus_ring_out_publish(). To publish a batch
 * at once is much cheaper than each packet alone, because the reader's processor fetches the index
 * for each. VMBUS_RING_FULL, VMBUS_RING_TOO_BIG, VMBUS_RING_CORRUPT; then nothing was put.
 */
_must_check_ int vmbus_ring_out_put(struct vmbus_ring_out *ring, const struct vmbus_packet *packet,
				    const void *payload);

/* Shows the reader what was put. True if it sleeps and must be signalled. */
_must_check_ bool vmbus_ring_out_publish(struct vmbus_ring_out *ring);

/* True if so much was put and not published that the reader could go on with it meanwhile. */
bool vmbus_ring_out_owes_much(const struct vmbus_ring_out *ring);

/*
 * Puts one packet and publishes it. *ret_signal: the reader sleeps and must be signalled.
 * VMBUS_RING_FULL, VMBUS_RING_TOO_BIG, VMBUS_RING_CORRUPT; then nothing was written.
 */
_must_check_ int vmbus_ring_out_write(struct vmbus_ring_out *ring,
				      const struct vmbus_packet *packet, const void *payload,
				      bool *ret_signal);

/*
 * Asks the reader for a signal once a packet of @payload_size fits and a good part of the ring is
 * free. True if the packet fits by now: try again at once, no signal will come.
 */
bool vmbus_ring_out_want_space(struct vmbus_ring_out *ring, size_t payload_size);

/* Withdraws vmbus_ring_out_want_space(). */
void vmbus_ring_out_want_no_space(struct vmbus_ring_out *ring);

/*
 * Copies the next packet's payload into @buf and moves on; the writer learns of it by
 * vmbus_ring_in_commit(). VMBUS_RING_EMPTY, VMBUS_RING_OVERSIZE, VMBUS_RING_CORRUPT.
 */
_must_check_ int vmbus_ring_in_read(struct vmbus_ring_in *ring, void *buf, size_t size,
				    struct vmbus_packet *ret_packet);

/* Gives what was read back to the writer. True if the writer waits for room: signal it. */
_must_check_ bool vmbus_ring_in_commit(struct vmbus_ring_in *ring);

/* True if so much was read and not given back that the writer may soon have to wait for it. */
bool vmbus_ring_in_owes_much(const struct vmbus_ring_in *ring);

/* True if there is something to read: a packet, or a broken index. Copies nothing. */
bool vmbus_ring_in_has_more(const struct vmbus_ring_in *ring);

/* Tells the writer not to signal: this side is reading anyway. */
void vmbus_ring_in_mask(struct vmbus_ring_in *ring);

/* Tells the writer to signal again. True if packets have come meanwhile: read on, do not sleep. */
_must_check_ bool vmbus_ring_in_unmask(struct vmbus_ring_in *ring);
