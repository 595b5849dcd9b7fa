/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <urcu/rculfhash.h>

/*
 * What kvp_table.c and kvp_table_load.c share, and nobody else.
 */

struct kvp_name {
	struct cds_lfht_node node;
	_Atomic(struct kvp_item *) first; /* NULL: being made, or removed */
	struct kvp_item *building;        /* kvp_table_load(): the chain to be, and its end */
	struct kvp_item *building_last;
	struct kvp_name *next_garbage;
	uint8_t pool;
	char key[];
};

struct kvp_index {
	struct kvp_index *next_garbage;
	size_t capacity;
	_Atomic size_t n;
	struct {
		uint64_t serial;
		_Atomic(struct kvp_item *) item; /* NULL: a hole */
	} at[];
};

struct kvp_pool_items {
	_Atomic(struct kvp_index *) index; /* NULL: never had a record */
	_Atomic size_t count;
	uint64_t next_serial;
	struct kvp_item **slots; /* what is in each slot of the file; NULL: nothing readable */
	uint32_t n_slots;
	uint32_t slots_capacity;
};

struct kvp_table {
	struct cds_lfht *names;
	size_t n_names;
	size_t n_buckets;
	struct kvp_pool_items pools[KVP_POOLS];
	pthread_mutex_t writers;
	struct kvp_item *garbage_items; /* by `next` */
	struct kvp_name *garbage_names;
	struct kvp_index *garbage_indexes;
};

/* In a read section, or with the writers' lock. NULL: there is none. */
struct kvp_name *kvp_name_find(const struct kvp_table *t, unsigned int pool, const char *key);

/* One with the @len bytes of @key; the caller's. NULL: no memory. */
struct kvp_name *kvp_name_new(const char *key, size_t len);

/* Puts it into the hash table; takes it out, to be freed by kvp_table_reclaim(). */
void kvp_name_add(struct kvp_table *t, unsigned int pool, struct kvp_name *take_name);
void kvp_name_remove(struct kvp_table *t, struct kvp_name *name);

/* As many buckets as names want. */
void kvp_table_fit_buckets(struct kvp_table *t);

/* Room for @n more records. -ENOMEM. */
_must_check_ int kvp_index_reserve(struct kvp_table *t, struct kvp_pool_items *p, size_t n);

/* There is room: @item is the last one, and gets its serial. */
void kvp_index_append(struct kvp_pool_items *p, struct kvp_item *item);

/* @new, or nothing (NULL), is where @old was, if that is still there. */
void kvp_index_replace(struct kvp_pool_items *p, const struct kvp_item *old, struct kvp_item *new);

/* Many holes are a waste of memory, and of the time of those who pass over them. */
void kvp_index_fit(struct kvp_table *t, struct kvp_pool_items *p);

/* One with the @len bytes of @value and no name; the caller's. NULL: no memory. */
struct kvp_item *kvp_item_of(const char *value, size_t len);

/* To be freed by kvp_table_reclaim(). */
void kvp_item_throw_away(struct kvp_table *t, struct kvp_pool_items *p, struct kvp_item *item);
