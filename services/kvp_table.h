/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "services/kvp_record.h"

/*
 * The keys of all pools in memory: by name and by position, for readers that never wait, and for
 * writers that also know in which slot of the pool's file each of them is.
 */

struct kvp_table;
struct kvp_name;
struct kvp_walk;

#define KVP_NO_SLOT UINT32_MAX /* of records of a pool that has no file; others have a slot */

/* The conditions of the functions below. */
enum {
	KVP_TABLE_NONE = 1, /* there is no such key, or no such entry */
	KVP_TABLE_SAME,     /* everything is as it was */
};

/* One record. For writers, and until the next change only. */
struct kvp_item {
	struct kvp_name *name;
	struct kvp_item *next; /* the next one with this key, which is in a later slot */
	uint64_t serial;       /* its position among those of its pool */
	uint32_t slot;
	uint16_t value_len;
	bool claimed;
	char value[];
};

/* No keys. -ENOMEM. */
_must_check_ int kvp_table_new(struct kvp_table **ret_table);

/* Frees it; no reader may be in it. */
struct kvp_table *kvp_table_free(struct kvp_table *t);
DEFINE_CLEANUP(kvp_table)

/* --- readers: any thread, at any time --- */

/*
 * The value of @key, with its NUL, into the KVP_VALUE_SIZE bytes at @ret_value; of several records
 * with this key that in the first slot. KVP_TABLE_NONE.
 */
_must_check_ int kvp_table_get(const struct kvp_table *t, unsigned int pool, const char *key,
			       char *ret_value);

/* Records of @pool. */
size_t kvp_table_count(const struct kvp_table *t, unsigned int pool);

/*
 * Entry @index of @pool, as kvp_store_nth() says; KVP_KEY_SIZE and KVP_VALUE_SIZE bytes. O(log n)
 * for the next one, else O(n). KVP_TABLE_NONE.
 */
_must_check_ int kvp_table_nth(const struct kvp_table *t, unsigned int pool, uint32_t index,
			       struct kvp_walk *walk, char *ret_key, char *ret_value);

/* --- writers: one at a time, from kvp_table_lock() to kvp_table_unlock() --- */

/* Keeps other writers out; readers do not notice. */
void kvp_table_lock(struct kvp_table *t);
void kvp_table_unlock(struct kvp_table *t);

/* The record of @key in the first slot that has it; NULL: none. */
struct kvp_item *kvp_table_find(const struct kvp_table *t, unsigned int pool, const char *key);

/*
 * Takes what is in the @size bytes of a pool's file at @image. A record that was there before, in
 * whatever slot, keeps its position. *ret_unreadable: slots without a key. KVP_TABLE_SAME (with
 * *ret_unreadable), -ENOMEM (nothing has changed).
 */
_must_check_ int kvp_table_load(struct kvp_table *t, unsigned int pool, const uint8_t *image,
				size_t size, size_t *ret_unreadable);

/* A record to be set later. -ENOMEM. */
_must_check_ int kvp_item_new(const char *key, const char *value, struct kvp_item **ret_item);

/* Frees one that was not set. */
struct kvp_item *kvp_item_free(struct kvp_item *item);
DEFINE_CLEANUP(kvp_item)

/* Makes room for @n new records, so that as many kvp_table_set() cannot fail. -ENOMEM. */
_must_check_ int kvp_table_reserve(struct kvp_table *t, unsigned int pool, size_t n);

/* @take_item takes the place of all records with its key, and is in @slot. */
void kvp_table_set(struct kvp_table *t, unsigned int pool, struct kvp_item *take_item,
		   uint32_t slot);

/* Forgets all records of @key. KVP_TABLE_NONE. */
_must_check_ int kvp_table_remove(struct kvp_table *t, unsigned int pool, const char *key);

/* What is in slot @from goes to slot @to. */
void kvp_table_move(struct kvp_table *t, unsigned int pool, uint32_t from, uint32_t to);

/* The pool's file has @n slots now. */
void kvp_table_set_slots(struct kvp_table *t, unsigned int pool, uint32_t n);

/* Frees what no reader can see any more; waits until none can. */
void kvp_table_reclaim(struct kvp_table *t);
