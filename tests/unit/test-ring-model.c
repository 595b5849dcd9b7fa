/* SPDX-License-Identifier: MIT */

/*
 * vmbus/channel.c and vmbus/ring.c against the simplest thing that could work: a queue of packets.
 * Random operations of two ends that sleep and are woken only by the signals that the channel asks
 * for; a signal too few leaves a message behind for ever, which the end of each run shows. A signal
 * too many is one that finds its end awake, or rung already, and not waiting for room: on a real
 * host each costs a hypercall, and the host punishes too many.
 */

#include "tests/unit/rings.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

enum {
	RING_SIZE = 2 * VMBUS_PAGE_SIZE,
	DATA_SIZE = RING_SIZE - VMBUS_PAGE_SIZE,
	PAYLOAD_MAX = 1800,
	FULL_PACKET = DATA_SIZE - 8 - 24, /* payload of the largest packet that an empty ring takes */
	QUEUE_MAX = 512, /* more than the ring can hold of the smallest packets */
	OPERATIONS = 3000000,
};

/* What is on its way in one direction: seeds from which payloads are made. */
struct queue {
	uint32_t seeds[QUEUE_MAX];
	size_t first, n;
};

/* What happens to signals on their way. */
enum weather {
	CALM,
	SPURIOUS, /* ends wake up for nothing */
	LOSSY,    /* one signal in eight never arrives, and ends wake up for nothing */
};

struct end {
	struct vmbus_channel channel;
	bool awake;
	bool bell;          /* rung by the other end, not yet heard */
	bool waits_for_room;
	uint32_t kept;      /* the seed of the message that met a full ring */
	struct queue *out, *in;
};

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* The payload of a seed: its length and its bytes. */
static size_t make_payload(uint32_t seed, uint8_t *payload)
{
	size_t size = seed % 7 == 0 ? seed % PAYLOAD_MAX : seed % 100;

	for (size_t i = 0; i < size; i++)
		payload[i] = seed + i * 31;
	return size;
}

static void ring_bell(struct end *from, struct end *to, enum weather weather, uint64_t *random)
{
	if (!vmbus_channel_take_signal(&from->channel))
		return;
	cr_assert(to->waits_for_room || !(to->awake || to->bell), "a signal was needless");
	to->bell = weather != LOSSY || next_random(random) % 8 != 0;
}

/* Sends the message of @seed; false if it has to wait for room. */
static bool try_send(struct end *e, uint32_t seed)
{
	uint8_t payload[PAYLOAD_MAX];
	size_t size = make_payload(seed, payload);
	int r = vmbus_channel_send(&e->channel, seed, payload, size);

	if (r == VMBUS_CHANNEL_FULL) {
		e->waits_for_room = true;
		e->kept = seed;
		return false;
	}
	cr_assert(eq(int, r, 0));
	cr_assert(e->out->n < QUEUE_MAX);
	e->out->seeds[(e->out->first + e->out->n++) % QUEUE_MAX] = seed;
	return true;
}

/* Receives one message and holds it against the queue; false if there is none. */
static bool try_receive(struct end *e)
{
	uint8_t got[PAYLOAD_MAX + 8], wanted[PAYLOAD_MAX];
	struct vmbus_message message;
	uint32_t seed;
	size_t size;

	if (vmbus_channel_receive(&e->channel, got, sizeof(got), &message)) {
		cr_assert(not(e->channel.corrupt));
		cr_assert(eq(sz, e->in->n, 0), "the ring is empty only if the queue is");
		return false;
	}
	cr_assert(e->in->n > 0);
	seed = e->in->seeds[e->in->first];
	e->in->first = (e->in->first + 1) % QUEUE_MAX;
	e->in->n--;

	size = make_payload(seed, wanted);
	cr_assert(eq(u64, message.trans_id, seed));
	cr_assert(eq(sz, message.size, (size + 7) / 8 * 8));
	cr_assert(eq(int, memcmp(got, wanted, size), 0));
	return true;
}

static void hear_bell(struct end *e)
{
	e->bell = false;
	e->awake = true;
	vmbus_channel_wake(&e->channel);
	if (e->waits_for_room) {
		e->waits_for_room = false;
		(void)try_send(e, e->kept);
	}
}

/* One random step of an end. */
static void step(struct end *e, struct end *peer, uint64_t *random, enum weather weather)
{
	uint32_t choice = next_random(random) % 8;

	if (!e->awake) {
		/* Asleep it only sends, as a status report does, or hears the bell. */
		if (e->bell || (weather != CALM && choice == 0))
			hear_bell(e);
		else if (choice < 3 && !e->waits_for_room)
			(void)try_send(e, next_random(random));
	} else if (choice < 4) {
		if (!e->waits_for_room)
			(void)try_send(e, next_random(random));
	} else if (choice < 7) {
		(void)try_receive(e);
	} else {
		while (try_receive(e))
			;
		/* The moment in which a wake-up is lost, if nobody looks again. */
		if (next_random(random) % 2 && !peer->waits_for_room)
			(void)try_send(peer, next_random(random));
		ring_bell(peer, e, weather, random);
		e->awake = !vmbus_channel_sleep(&e->channel);
	}
	ring_bell(e, peer, weather, random);
}

/*
 * From now on nobody sends anything new: everything must arrive by signals alone. Where some were
 * lost, both ends look once for themselves, as after a timeout.
 */
static void come_to_rest(struct end ends[2], enum weather weather)
{
	for (int i = 0; i < 2 && weather == LOSSY; i++)
		hear_bell(&ends[i]);
	for (int round = 0; round < 10000; round++) {
		struct end *e = &ends[round % 2], *peer = &ends[(round + 1) % 2];

		if (!e->awake && e->bell)
			hear_bell(e);
		if (!e->awake)
			continue;
		while (try_receive(e))
			;
		e->awake = !vmbus_channel_sleep(&e->channel);
		ring_bell(e, peer, CALM, NULL);
	}
	for (int i = 0; i < 2; i++) {
		cr_expect(eq(sz, ends[i].in->n, 0), "a message was left behind");
		cr_expect(not(ends[i].waits_for_room), "a sender was left waiting");
	}
}

static void run(uint64_t seed, enum weather weather)
{
	struct rings rings = rings_new(RING_SIZE);
	struct queue queues[2] = {0};
	struct end ends[2] = {
		{.out = &queues[0], .in = &queues[1]},
		{.out = &queues[1], .in = &queues[0]},
	};
	uint64_t random = seed;

	rings_connect(&rings, &ends[0].channel, &ends[1].channel);
	for (int i = 0; i < OPERATIONS; i++) {
		uint32_t who = next_random(&random) % 2;

		step(&ends[who], &ends[1 - who], &random, weather);
	}
	cr_expect(ends[0].channel.stats.full > 1000, "full rings were met often");
	come_to_rest(ends, weather);
	rings_free(&rings);
}

Test(ring_model, random_operations_agree_with_a_queue_and_no_signal_is_missing, .timeout = 120)
{
	run(1, CALM);
}

Test(ring_model, spurious_signals_do_no_harm, .timeout = 120)
{
	run(2, SPURIOUS);
}

Test(ring_model, lost_signals_delay_messages_and_do_nothing_worse, .timeout = 120)
{
	run(3, LOSSY);
}

/* One packet at @offset of both sides, as if that much had passed before. */
static void pass_at(struct rings *rings, uint32_t offset, size_t size)
{
	static uint8_t sent[FULL_PACKET], got[FULL_PACKET];
	struct vmbus_message message;
	struct vmbus_channel guest, host;

	vmbus_ring_format(&rings->memory[0]);
	vmbus_ring_format(&rings->memory[1]);
	rings_connect(rings, &guest, &host);
	atomic_store(&rings->memory[0].header->write_index, offset);
	atomic_store(&rings->memory[0].header->read_index, offset);
	guest.out.write_index = guest.out.published = guest.out.read_index = offset;
	host.in.read_index = host.in.committed = host.in.write_index = offset;

	for (size_t i = 0; i < size; i++)
		sent[i] = (uint8_t)(offset / 8 + size + i * 7);
	cr_assert(eq(int, vmbus_channel_send(&guest, 1, sent, size), 0));
	cr_assert(vmbus_channel_take_signal(&guest));
	cr_assert(eq(int, vmbus_channel_receive(&host, got, sizeof(got), &message), 0));
	cr_assert(eq(sz, message.size, size));
	cr_assert(eq(int, memcmp(sent, got, size), 0));
	cr_assert(eq(int, vmbus_channel_receive(&host, got, sizeof(got), &message),
		     VMBUS_CHANNEL_EMPTY));
}

Test(ring_model, every_packet_size_wraps_around_at_every_offset)
{
	struct rings rings = rings_new(RING_SIZE);

	for (uint32_t offset = 0; offset < DATA_SIZE; offset += VMBUS_RING_ALIGN) {
		for (size_t size = 0; size <= 128; size += 8)
			pass_at(&rings, offset, size);
		pass_at(&rings, offset, FULL_PACKET);
	}
	rings_free(&rings);
}

/*
 * The ring is full of small packets when a packet of each size is to be sent. Its sender must be
 * rung exactly once: when as many have been read as make room for it, or for a quarter of the ring,
 * which is the least that a sender asks for.
 */
Test(ring_model, a_sender_of_any_size_is_rung_once_and_not_before_there_is_room)
{
	static uint8_t payload[FULL_PACKET], got[8];
	struct rings rings = rings_new(RING_SIZE);
	struct vmbus_message message;
	struct vmbus_channel guest, host;

	for (size_t size = 0; size <= FULL_PACKET; size += 8) {
		size_t needed = size + 24, room = (DATA_SIZE - 8) % 32, rung = 0;
		size_t wanted = needed < DATA_SIZE / 4 ? DATA_SIZE / 4 : needed;

		vmbus_ring_format(&rings.memory[0]);
		vmbus_ring_format(&rings.memory[1]);
		rings_connect(&rings, &guest, &host);
		while (vmbus_channel_send(&guest, 1, payload, 8) == 0)
			;
		(void)!vmbus_channel_take_signal(&guest);
		if (needed <= room)
			continue;
		cr_assert(eq(int, vmbus_channel_send(&guest, 2, payload, size), VMBUS_CHANNEL_FULL));
		vmbus_channel_wake(&host);
		while (vmbus_channel_receive(&host, got, sizeof(got), &message) == 0) {
			room += 32;
			(void)!vmbus_channel_sleep(&host);
			if (!vmbus_channel_take_signal(&host))
				continue;
			rung++;
			cr_assert(ge(sz, room, wanted));
			cr_assert(lt(sz, room - 32, wanted), "and at the first packet that is enough");
		}
		cr_assert(eq(sz, rung, 1), "%zu bytes", size);
		cr_assert(eq(int, vmbus_channel_send(&guest, 2, payload, size), 0));
	}
	rings_free(&rings);
}
