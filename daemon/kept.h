/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/keeper_client.h"
#include "base/jobs.h"
#include "vmbus/guid.h"
#include "vmbus/port.h"

/*
 * The channel that the keeper keeps: the one by which the host got memory; with a lab host also the
 * connection itself. It outlives hvguestd, and its successor finds it here.
 *
 * All functions take NULL, which has nothing and keeps nothing. They may be called by any thread,
 * but not by two at a time, and wait for the keeper unless they say that they do not.
 */

struct kept;

enum {
	KEPT_SLOTS_MAX = 16,
	KEPT_PEER_SIZE = 256,
	KEPT_AREA_BYTES = 4096,
};

enum kept_kind {
	KEPT_NONE,
	KEPT_LAB,
	KEPT_UIO,
};

/* A channel of a lab host, of which the session's is one. */
struct kept_slot {
	struct vmbus_guid class_id;
	uint32_t channel_id;
	uint32_t state; /* as the host's file has it */
};

/*
 * With the first page of the keeper's area, of which KEPT_AREA_BYTES are this object's. @found: the
 * keeper was there before. What a predecessor left is found, or closed if it cannot be gone on with.
 * Both are borrowed. -ENOMEM.
 */
_must_check_ int kept_new(struct keeper_client *keeper, bool found, struct kept **ret_kept);
/* Has a worker wait for the keeper, whatever a lab host does from now on: see kept_set_host(). */
void kept_use_jobs(struct kept *k, struct jobs *jobs);

/* After jobs_free(). */
struct kept *kept_free(struct kept *k);
DEFINE_CLEANUP(kept)

/* Says that nothing is kept any more; does not wait. */
void kept_clear(struct kept *k);

/*
 * True if a predecessor's channel of @kind at @peer is open, and is not taken yet. @peer says which
 * host or device it is: the same text that kept_set_...() was given.
 */
bool kept_has(const struct kept *k, enum kept_kind kind, const char *peer);

/*
 * The port of the predecessor's channel, whose position for reading is still to be set by
 * vmbus_channel_resume(), and a lab host's connection. Negative errno; a condition of ports.
 */
_must_check_ int kept_take_port(struct kept *k, struct vmbus_port *ret_port);
_must_check_ int kept_take_host(struct kept *k, int *ret_fd);
size_t kept_slots(const struct kept *k, struct kept_slot slots[KEPT_SLOTS_MAX]);

/* All that there was is taken. */
void kept_taken(struct kept *k);

/*
 * A predecessor's channel that nobody has taken is closed now. May wait for the keeper, as all that
 * follow unless they say that they do not.
 */
void kept_drop_untaken(struct kept *k);

/*
 * Keeps a lab host's connection; and a channel, which is open. Copies of the descriptors are kept.
 * With kept_use_jobs() those of a lab host do not wait: they are kept as soon as the worker has come
 * to it, before any work on memory that is submitted later. A daemon that dies before leaves a channel
 * that nobody goes on with.
 */
void kept_set_host(struct kept *k, const char *peer, int host_fd);
void kept_set_channel(struct kept *k, enum kept_kind kind, const char *peer,
		      const struct vmbus_port *port);

/* The channel is closed as far as we are concerned; afterwards it is closed for the host, too. */
void kept_drop_channel(struct kept *k);

/*
 * The same where the host is told by a message, or is gone: descriptors may stay open until others
 * are kept. Of a lab host the connection is kept, or @all of it is gone. Does not wait.
 */
void kept_forget_channel(struct kept *k, bool all);

/*
 * Between these two what is kept says nothing: a daemon that finds it so closes everything. The
 * second one takes note of a lab host's channels. Neither waits.
 */
void kept_unsettle(struct kept *k);
void kept_settle(struct kept *k, const struct kept_slot *slots, size_t n);
