/* SPDX-License-Identifier: MIT */
#pragma once

#include "vmbus/ring.h"

/*
 * A channel: the ring this side writes, the ring it reads, and what it has counted. It works the
 * same for the guest and for the host, and on any memory. It never signals by itself: it says when
 * the other side has to be signalled, and whoever holds the doorbell rings it.
 *
 * The reader's loop, run whenever the doorbell rang (it may mean data, room, or nothing):
 *
 *     vmbus_channel_wake(ch);
 *     do {
 *             while (vmbus_channel_receive(ch, buf, sizeof(buf), &message) == 0)
 *                     ...answer with vmbus_channel_send(), or keep what met a full ring...
 *     } while (!vmbus_channel_sleep(ch));
 *     if (vmbus_channel_take_signal(ch))
 *             ...ring the other side's doorbell...
 */

/* The conditions of a channel. */
enum {
	VMBUS_CHANNEL_EMPTY = 1, /* nothing to receive */
	VMBUS_CHANNEL_FULL,      /* no room; the other side was asked for a signal when there is */
	VMBUS_CHANNEL_TOO_BIG,   /* the message can never fit into this ring */
	VMBUS_CHANNEL_CORRUPT,   /* the ring is broken: close the channel; all later calls say so */
};

struct vmbus_channel_stats {
	uint64_t packets_in;
	uint64_t packets_out;
	uint64_t bytes_in;  /* payload */
	uint64_t bytes_out; /* payload */
	uint64_t wakeups;
	uint64_t signals;        /* times the other side was to be signalled */
	uint64_t full;           /* sends that met a full ring */
	uint64_t dropped_size;   /* packets larger than the receive buffer */
	uint64_t dropped_type;   /* packets that are not in-band */
};

struct vmbus_channel {
	struct vmbus_ring_out out;
	struct vmbus_ring_in in;
	bool corrupt;
	bool wants_space;
	bool signal;
	struct vmbus_channel_stats stats;
};

/* A received message's envelope. */
struct vmbus_message {
	uint64_t trans_id; /* copy it into the answer's envelope */
	size_t size;       /* bytes of payload, with 0 to 7 bytes of padding */
};

/* Starts on freshly formatted rings. The memory is borrowed until the channel is given up. */
void vmbus_channel_init(struct vmbus_channel *ch, const struct vmbus_ring_memory *out,
			const struct vmbus_ring_memory *in);

/*
 * Goes on, instead of starting, where a predecessor of this side was: see vmbus_ring_in_resume() for
 * @read_index. The memory is that of vmbus_channel_init(). The other side will be signalled, whether
 * that was done before or not. VMBUS_CHANNEL_CORRUPT.
 */
_must_check_ int vmbus_channel_resume(struct vmbus_channel *ch, uint32_t read_index);

/* The doorbell rang: counts it and masks further signals until vmbus_channel_sleep(). */
void vmbus_channel_wake(struct vmbus_channel *ch);

/*
 * Copies the next in-band message out of the ring. Packets of other types and packets larger than
 * @size are dropped and counted. VMBUS_CHANNEL_EMPTY if there is none, or none was among the next
 * few packets: vmbus_channel_sleep() tells the difference. The writer does not get a message's room
 * back before the next call. VMBUS_CHANNEL_CORRUPT.
 */
_must_check_ int vmbus_channel_receive(struct vmbus_channel *ch, void *buf, size_t size,
				       struct vmbus_message *ret_message);

/*
 * Sends @size bytes as one in-band packet, all or nothing. After VMBUS_CHANNEL_FULL keep the
 * message and try again at the next doorbell.
 * VMBUS_CHANNEL_FULL, VMBUS_CHANNEL_TOO_BIG, VMBUS_CHANNEL_CORRUPT.
 */
_must_check_ int vmbus_channel_send(struct vmbus_channel *ch, uint64_t trans_id,
				    const void *payload, size_t size);

/*
 * The same, but the other side may not see the message before vmbus_channel_take_signal(): for one
 * of many.
 */
_must_check_ int vmbus_channel_queue(struct vmbus_channel *ch, uint64_t trans_id,
				     const void *payload, size_t size);

/*
 * Instead of sleeping: returns what was read, leaves signals as they are. True if there is something
 * to receive by now. For a reader that looks again and again for a moment; not for ever.
 */
_must_check_ bool vmbus_channel_poll(struct vmbus_channel *ch);

/* Shows the other side what was queued; whether to signal it is collected as ever. */
void vmbus_channel_publish(struct vmbus_channel *ch);

/* Before sleeping: returns what was read, allows signals. False: more has come, go on reading. */
_must_check_ bool vmbus_channel_sleep(struct vmbus_channel *ch);

/* The memory is about to go: from now on every call says CORRUPT and touches none of it. */
void vmbus_channel_abandon(struct vmbus_channel *ch);

/*
 * Shows the other side what was queued. True, once, if it has to be signalled. Ask after each batch
 * of sends and reads.
 */
_must_check_ bool vmbus_channel_take_signal(struct vmbus_channel *ch);
