/* SPDX-License-Identifier: MIT */
#pragma once

#include "tests/fuzz/intercept.h"
#include "vmbus/channel.h"

/*
 * Judges what one end of a channel does with the memory that it shares, access by access, and what
 * it makes of it. Whatever is wrong ends the process (tests/fuzz/fuzz.h).
 */

enum {
	ORACLE_DATA_SIZE = VMBUS_PAGE_SIZE,
	ORACLE_RING_SIZE = VMBUS_PAGE_SIZE + ORACLE_DATA_SIZE,
	/* Where the rings begin in the memory: a page that cannot be accessed lies between them. */
	ORACLE_OUT = 0,
	ORACLE_IN = ORACLE_RING_SIZE + VMBUS_PAGE_SIZE,
	ORACLE_MEMORY_SIZE = ORACLE_IN + ORACLE_RING_SIZE,
	ORACLE_LOADS_MAX = 3, /* of the reader's index, before a packet is put */
};

enum oracle_call {
	ORACLE_NONE,
	ORACLE_WAKE,
	ORACLE_RECEIVE,
	ORACLE_SEND,
	ORACLE_QUEUE,
	ORACLE_POLL,
	ORACLE_SLEEP,
	ORACLE_TAKE_SIGNAL,
};

/* The packet that is being read, and what was fetched of it. */
struct oracle_packet {
	bool under_way;
	bool begun;                       /* the call has looked for its first packet */
	uint32_t write_index;             /* as loaded, for this packet or for one before */
	uint8_t bytes[ORACLE_DATA_SIZE];  /* as fetched */
	bool fetched[ORACLE_DATA_SIZE];
	struct vmbus_packet_descriptor descriptor;
	uint32_t payload_at, payload_size;
};

/* The packet that is being put. */
struct oracle_write {
	const uint8_t *payload;
	size_t payload_size, ring_size;
	uint64_t trans_id;
	uint32_t loads[ORACLE_LOADS_MAX]; /* of the reader's index */
	size_t n_loads;
	uint32_t start;  /* where the packet goes */
	uint32_t stored; /* bytes from there on */
	bool wants_space, is_put;
};

/* What was put is being shown. */
struct oracle_publish {
	bool under_way, mask_loaded, index_loaded;
	uint32_t before;           /* the index shown until then */
	uint32_t mask, read_index; /* as loaded after it */
};

/* The other side's and the own words, while giving back what was read and going to sleep. */
struct oracle_sleep {
	bool committed, features_loaded, pending_loaded, room_loaded, unmasked, looked, masked;
	uint32_t features, pending, room_index, write_index;
};

struct oracle {
	const struct vmbus_channel *channel;
	const uint8_t *memory;
	enum oracle_call call;
	size_t accesses; /* in this call */
	bool fenced;     /* since the last store of a control word */

	/* What is to come out. */
	bool corrupt, signal;
	struct vmbus_channel_stats stats;
	uint32_t read_index, committed, write_index, published;
	uint32_t seen_write_index, seen_read_index; /* the other side's, as last loaded and good */
	bool wants_space;

	size_t buf_size; /* RECEIVE */
	size_t drops;
	struct oracle_packet packet;
	struct oracle_write write;
	struct oracle_publish publish;
	struct oracle_sleep sleep;
};

/* Both rings are formatted and the channel has just begun. @memory: ORACLE_MEMORY_SIZE bytes. */
void oracle_init(struct oracle *o, const struct vmbus_channel *channel, const uint8_t *memory);

/* Before each call of the channel; @size is of the buffer. */
void oracle_begin(struct oracle *o, enum oracle_call call);
void oracle_begin_receive(struct oracle *o, size_t size);
void oracle_begin_send(struct oracle *o, enum oracle_call call, uint64_t trans_id,
		       const uint8_t *payload, size_t size);

/* An access of the call. */
void oracle_note(struct oracle *o, const struct access *access);

/* After it, with what it returned. */
void oracle_end_wake(struct oracle *o);
void oracle_end_receive(struct oracle *o, int result, const uint8_t *buf,
			const struct vmbus_message *message);
void oracle_end_send(struct oracle *o, int result);
void oracle_end_poll(struct oracle *o, bool result);
void oracle_end_sleep(struct oracle *o, bool result);
void oracle_end_take_signal(struct oracle *o, bool result);
