/* SPDX-License-Identifier: MIT */
#pragma once

#include "vmbus/ic.h"
#include "vmbus/port.h"

/*
 * What the two halves of the rogue share: rogue.c, which misbehaves on the transport, and
 * rogue-channel.c, which misbehaves on its channels.
 */

enum {
	ROGUE_CHANNELS = 8,
	ROGUE_RING_SIZE = 128 * 1024,
	ROGUE_MESSAGE_MAX = 20000, /* more than anybody accepts */
};

struct rogue_channel {
	uint32_t id; /* 0: none */
	const struct vmbus_guid *class_id;
	bool open;
	struct vmbus_port port;
	struct ic_guest ic; /* a rogue guest's honest half */
	_Alignas(8) uint8_t last[IC_PAYLOAD_MAX]; /* received */
	size_t last_size;
};

struct rogue {
	const char *socket;
	bool is_host;
	bool is_silent; /* a host that says nothing */
	bool refuses;   /* but that it accepts no version of dynamic memory, and takes it away at SIGUSR1 */
	uint64_t seed;
	uint64_t random;
	uint64_t end_ns;
	int fd;
	struct rogue_channel channels[ROGUE_CHANNELS];
	unsigned int balloons;
	uint8_t message[ROGUE_MESSAGE_MAX];
	uint64_t sessions, opened, messages, controls;
};

/* xorshift64*: good enough to be unreasonable. */
static inline uint64_t next_random(struct rogue *r)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return r->random * UINT64_C(2685821657736338717);
}

static inline uint64_t below(struct rogue *r, uint64_t n)
{
	return next_random(r) % n;
}

static inline bool chance(struct rogue *r, unsigned int one_in)
{
	return below(r, one_in) == 0;
}

static inline void fill(struct rogue *r, void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)bytes)[i] = (uint8_t)next_random(r);
}

/* Refuses a version, if the guest has asked for one. */
void rogue_refuse_version(struct rogue *r, struct rogue_channel *ch);

/* Says the first words of a channel that has just been opened. */
void rogue_begin_channel(struct rogue *r, struct rogue_channel *ch);

/* Does one thing to an open channel, or reads what has come. */
void rogue_act_on_channel(struct rogue *r, struct rogue_channel *ch);
