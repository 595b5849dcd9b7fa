/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "services/kvp_wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;

/*
 * The pools: read from memory at any time, changed durably. Who may change which pool is not the
 * store's business. Keys and values are UTF-8 with a NUL; a key is never empty.
 */

struct kvp_store;

/* The conditions of the functions below, and of kvp_change.done(). */
enum {
	KVP_STORE_NONE = 1, /* there is no such key, or no entry of that number */
	KVP_STORE_FULL,     /* the pool has as many keys as are allowed, or its disk is full */
};

struct kvp_entry {
	char key[KVP_KEY_SIZE];
	char value[KVP_VALUE_SIZE];
};

struct kvp_store_options {
	const char *dir; /* of the pools' files; made if it is missing */
	/*
	 * This boot, and this machine, as texts of less than 64 bytes; NULL: it is not known. Pools
	 * that nobody has written since the machine booted are emptied if they are of another boot (3,
	 * which the host fills again) or of another machine, whose disk this was copied from (0, 1, 3,
	 * 4).
	 */
	const char *boot;
	const char *machine;
	/* From the event loop or kvp_store_new(): a line for the log. May be NULL. */
	void (*note)(void *self, const char *text);
	void *self;
};

/*
 * Reads the pools. That their files cannot be used is no error: it is noted, and changes fail until
 * they can. @options is not needed afterwards, @base must outlive the store. Negative errno.
 */
_must_check_ int kvp_store_new(struct event_base *base, const struct kvp_store_options *options,
			       struct kvp_store **ret_store);

/*
 * Waits for the write that is under way. Changes that were not answered are not made, or not known
 * to be, and their done() is not called. Takes NULL; returns NULL.
 */
struct kvp_store *kvp_store_free(struct kvp_store *s);
DEFINE_CLEANUP(kvp_store)

/* What is in the way of changes, for people; "": nothing that is known. Until the next event. */
const char *kvp_store_trouble(const struct kvp_store *s);

/* The value of @key. Never waits; any thread. KVP_STORE_NONE. */
_must_check_ int kvp_store_get(const struct kvp_store *s, enum kvp_pool pool, const char *key,
			       char ret_value[KVP_VALUE_SIZE]);

/* How many keys @pool has. Never waits; any thread. */
size_t kvp_store_count(const struct kvp_store *s, enum kvp_pool pool);

/* Where somebody is who enumerates a pool; zeroed at first, then the store's own. */
struct kvp_walk {
	uint64_t next;     /* index that goes on from the last one */
	uint64_t position; /* where that is */
};

/*
 * Entry number @index of @pool. Asked for 0, 1, 2, ... each entry that stays is given once,
 * whatever is added or removed meanwhile; added ones may be given. Any other index is counted from
 * the first. Never waits; any thread, each with its own walk. KVP_STORE_NONE: there are no more.
 */
_must_check_ int kvp_store_nth(const struct kvp_store *s, enum kvp_pool pool, uint32_t index,
			       struct kvp_walk *walk, struct kvp_entry *ret_entry);

/* A change on its way to the disk; the caller's, but untouched until done(). */
struct kvp_change {
	enum kvp_pool pool;
	bool remove;            /* entry.value is then of no meaning */
	struct kvp_entry entry;
	/*
	 * Once for each kvp_store_submit(), from the event loop and never before that has returned. 0:
	 * the change is durable, and seen by readers; KVP_STORE_NONE: there was nothing to remove;
	 * KVP_STORE_FULL; negative errno: it is not made (-EROFS, -EIO, ...).
	 */
	void (*done)(struct kvp_change *change, int r);
	struct kvp_change *link; /* the store's own */
};

/* Changes are made in the order in which they are submitted. Event loop only. */
void kvp_store_submit(struct kvp_store *s, struct kvp_change *change);

/*
 * Takes a change back. True: it will not be made, and done() not be called; false: it is too late,
 * done() follows as it would have. Event loop only.
 */
_must_check_ bool kvp_store_withdraw(struct kvp_store *s, struct kvp_change *change);

/*
 * Sets or (@value NULL) removes what this service itself has to say, in memory only; new keys come
 * after those that are there. For pools that are no files' (KVP_POOL_AUTO). Event loop only.
 * -ENOMEM.
 */
_must_check_ int kvp_store_put(struct kvp_store *s, enum kvp_pool pool, const char *key,
			       const char *value);

/*
 * While held nothing is written to the disk: changes wait, in order, and are made when it is let
 * go. Reads go on. Event loop only; holds are not counted.
 */
void kvp_store_hold(struct kvp_store *s, bool held);

/* True if no write is under way: after kvp_store_hold() nothing will touch the disk from then on. */
bool kvp_store_is_quiet(const struct kvp_store *s);

/*
 * @on_change is called from the event loop after each change of any pool that readers see, also by
 * other programs; for those who show changes as they occur. At most 4 at a time; false: no more
 * fit.
 */
_must_check_ bool kvp_store_watch(struct kvp_store *s, void (*on_change)(void *self), void *self);
void kvp_store_unwatch(struct kvp_store *s, void *self);
