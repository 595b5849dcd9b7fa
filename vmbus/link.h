/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "vmbus/port.h"
#include "vmbus/wire.h"

#include <event2/event.h>

/*
 * A link: an open channel in an event loop. It takes messages from the ring and hands them to its
 * user, and keeps one message that met a full ring until there is room.
 */

struct link;

enum {
	LINK_MESSAGE_MAX = 16384, /* bytes; larger packets are dropped and counted */
};

/* The condition of link_send(). */
enum {
	LINK_BUSY = 1, /* the last message still waits for room; on_room() will tell */
	LINK_DEAD,     /* the ring is corrupt, or gone; the user was told or will be */
};

/* What the user of a link is told. No call comes from inside link_send(). */
struct link_user {
	/* A message of @size bytes (padding included); the buffer is the user's until it returns. */
	void (*on_message)(void *user, uint8_t *message, size_t size, uint64_t trans_id);
	/* The kept message is gone: link_send() takes the next one. */
	void (*on_room)(void *user);
	/* The ring is corrupt. The link is silent from now on; the user has to free it. */
	void (*on_corrupt)(void *user);
	/* The same, but the host has taken the channel away; never with shared memory, then NULL. */
	void (*on_gone)(void *user);
};

/*
 * Starts to serve @take_port, which is the link's from now on, also on failure. @user is handed to
 * the calls of @ops. -ENOMEM.
 */
_must_check_ int link_new(struct event_base *base, struct vmbus_port *take_port,
			  const struct link_user *ops, void *user, struct link **ret_link);
struct link *link_free(struct link *link);
DEFINE_CLEANUP(link)

/* Sends or keeps a message of up to LINK_MESSAGE_MAX bytes. LINK_BUSY, LINK_DEAD. */
_must_check_ int link_send(struct link *link, uint64_t trans_id, const void *message, size_t size);

/*
 * Lets the other side see at once what was sent from inside on_message(); else it does at the end of
 * the round.
 */
void link_flush(struct link *link);

/* True while a message waits for room. */
bool link_is_busy(const struct link *link);

/*
 * Where the channel stands: the first byte not read, and the first not written. Everything that was
 * sent is in the ring, for the other side to see, before this says where the next message begins:
 * a successor has to be able to tell what is there.
 */
void link_positions(struct link *link, uint32_t *ret_in, uint32_t *ret_out);

/* What the channel has counted; borrowed as long as the link exists. */
const struct vmbus_channel_stats *link_stats(const struct link *link);
