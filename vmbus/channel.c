/* SPDX-License-Identifier: MIT */

/*
 * A channel: two rings used together.
 *
 * One doorbell serves both directions, so a wake-up means "there is something to read", "there is
 * room again", or nothing. The channel keeps what the rings ask to be signalled until the caller
 * collects it, so that a batch of packets rings the other side once. What is read is given back to
 * the writer in parts, so that it can go on while a long batch is read; but a message's room never
 * before the reader has come back for more, because a reader that dies must find it again.
 *
 * Only in-band packets carry messages on the channels this project serves; anything else is
 * dropped and counted. Corruption is final: whoever holds the channel closes it and opens it anew.
 *
 * The other side can write as fast as packets are dropped here. So that no call lasts as long as it
 * likes, a call gives up after a number of drops; vmbus_channel_sleep() then says that there is more.
 */

#include "vmbus/channel.h"

enum {
	DROPS_PER_CALL = 64,
};

void vmbus_channel_init(struct vmbus_channel *ch, const struct vmbus_ring_memory *out,
			const struct vmbus_ring_memory *in)
{
	*ch = (struct vmbus_channel){0};
	vmbus_ring_out_init(&ch->out, out);
	vmbus_ring_in_init(&ch->in, in);
}

int vmbus_channel_resume(struct vmbus_channel *ch, uint32_t read_index)
{
	const struct vmbus_ring_memory out = ch->out.memory, in = ch->in.memory;

	*ch = (struct vmbus_channel){.signal = true};
	if (vmbus_ring_out_resume(&ch->out, &out) || vmbus_ring_in_resume(&ch->in, &in, read_index)) {
		ch->corrupt = true;
		return VMBUS_CHANNEL_CORRUPT;
	}
	return 0;
}

void vmbus_channel_wake(struct vmbus_channel *ch)
{
	ch->stats.wakeups++;
	if (!ch->corrupt)
		vmbus_ring_in_mask(&ch->in);
}

static void give_back_much(struct vmbus_channel *ch)
{
	if (vmbus_ring_in_owes_much(&ch->in))
		ch->signal |= vmbus_ring_in_commit(&ch->in);
}

int vmbus_channel_receive(struct vmbus_channel *ch, void *buf, size_t size,
			  struct vmbus_message *ret_message)
{
	struct vmbus_packet packet;

	/* What was read before has been dealt with by now; the message that comes has not. */
	if (!ch->corrupt)
		give_back_much(ch);
	for (int n = 0; n < DROPS_PER_CALL && !ch->corrupt; n++) {
		int r = vmbus_ring_in_read(&ch->in, buf, size, &packet);

		if (r == VMBUS_RING_EMPTY)
			return VMBUS_CHANNEL_EMPTY;
		if (r == VMBUS_RING_OVERSIZE) {
			ch->stats.dropped_size++;
		} else if (r) {
			ch->corrupt = true;
		} else if (packet.type != VMBUS_PACKET_INBAND) {
			ch->stats.dropped_type++;
		} else {
			ch->stats.packets_in++;
			ch->stats.bytes_in += packet.payload_size;
			ret_message->trans_id = packet.trans_id;
			ret_message->size = packet.payload_size;
			return 0;
		}
	}
	return ch->corrupt ? VMBUS_CHANNEL_CORRUPT : VMBUS_CHANNEL_EMPTY;
}

void vmbus_channel_publish(struct vmbus_channel *ch)
{
	ch->signal |= vmbus_ring_out_publish(&ch->out);
}

/* Puts, and if the ring is full asks for room; room found in that moment is used at once. */
static int put_or_wait(struct vmbus_channel *ch, const struct vmbus_packet *packet,
		       const void *payload)
{
	int r = vmbus_ring_out_put(&ch->out, packet, payload);

	if (r != VMBUS_RING_FULL)
		return r;

	vmbus_channel_publish(ch);
	ch->wants_space = true;
	if (!vmbus_ring_out_want_space(&ch->out, packet->payload_size))
		return r;
	return vmbus_ring_out_put(&ch->out, packet, payload);
}

int vmbus_channel_queue(struct vmbus_channel *ch, uint64_t trans_id, const void *payload,
			size_t size)
{
	const struct vmbus_packet packet = {
		.type = VMBUS_PACKET_INBAND,
		.trans_id = trans_id,
		.payload_size = size,
	};
	int r;

	if (ch->corrupt)
		return VMBUS_CHANNEL_CORRUPT;

	r = put_or_wait(ch, &packet, payload);
	if (r == VMBUS_RING_FULL) {
		ch->stats.full++;
		return VMBUS_CHANNEL_FULL;
	}
	if (r == VMBUS_RING_TOO_BIG)
		return VMBUS_CHANNEL_TOO_BIG;
	if (r) {
		ch->corrupt = true;
		return VMBUS_CHANNEL_CORRUPT;
	}

	if (ch->wants_space) {
		vmbus_ring_out_want_no_space(&ch->out);
		ch->wants_space = false;
	}
	if (vmbus_ring_out_owes_much(&ch->out))
		vmbus_channel_publish(ch);
	ch->stats.packets_out++;
	ch->stats.bytes_out += size;
	return 0;
}

int vmbus_channel_send(struct vmbus_channel *ch, uint64_t trans_id, const void *payload,
		       size_t size)
{
	int r = vmbus_channel_queue(ch, trans_id, payload, size);

	if (r == 0)
		vmbus_channel_publish(ch);
	return r;
}

bool vmbus_channel_poll(struct vmbus_channel *ch)
{
	if (ch->corrupt)
		return false;
	ch->signal |= vmbus_ring_in_commit(&ch->in);
	return vmbus_ring_in_has_more(&ch->in);
}

bool vmbus_channel_sleep(struct vmbus_channel *ch)
{
	if (ch->corrupt)
		return true;
	vmbus_channel_publish(ch);
	ch->signal |= vmbus_ring_in_commit(&ch->in);
	if (!vmbus_ring_in_unmask(&ch->in))
		return true;

	vmbus_ring_in_mask(&ch->in);
	return false;
}

void vmbus_channel_abandon(struct vmbus_channel *ch)
{
	ch->corrupt = true;
	ch->signal = false;
}

bool vmbus_channel_take_signal(struct vmbus_channel *ch)
{
	bool signal;

	if (!ch->corrupt)
		vmbus_channel_publish(ch);
	signal = ch->signal;
	ch->signal = false;
	ch->stats.signals += signal;
	return signal;
}
