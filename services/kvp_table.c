/* SPDX-License-Identifier: MIT */

/*
 * The pools in memory.
 *
 * A hash table of liburcu holds one name for each key of each pool. A name points to the record
 * that counts: the one in the first slot of the file that has this key. Others may follow, because
 * programs append to these files without looking (cloud-init uses one key for the parts of a long
 * text); an enumeration has them all, and the first change of the key through us leaves one.
 *
 * The index of a pool is an array of its records in the order in which they came. Each has a
 * serial number that never changes, whatever becomes of its slot in the file, and that is what a
 * reader who enumerates remembers: "the first one from here on" is found by binary search, also
 * after records were removed (which leaves a hole) or the array was replaced by another without
 * holes.
 *
 *     reader        hash table -> name -> record -> value, or index -> record, between
 *                   urcu_bp_read_lock() and unlock(): no lock, no loop that depends on a writer
 *     writer        builds what is new, publishes it by one store of a pointer, and puts what was
 *                   there on a list of garbage; that is freed when all readers that could have seen
 *                   it are gone
 *
 * Writers are few (a thread for the files, the event loop for what this service says of itself),
 * and hold a mutex against each other. The flavour of RCU is the one in which threads need not be
 * made known, since anybody may read.
 *
 * As in base/worker.c the library's functions are called; its inline code, which would bring its
 * licence, is not used, but for two wrappers of one line.
 */

#include "services/kvp_table_inside.h"

#include "base/container.h"
#include "services/kvp_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <urcu/urcu-bp.h>

enum {
	BUCKETS_MIN = 16,
	INDEX_MIN = 16,
};

/* --- names --- */

struct wanted {
	unsigned int pool;
	const char *key;
};

static unsigned long hash_of(unsigned int pool, const char *key)
{
	uint64_t sum = kvp_sum(key, strlen(key)) ^ ((uint64_t)pool << 56);

	return (unsigned long)(sum ^ (sum >> 32));
}

static int matches(struct cds_lfht_node *node, const void *key)
{
	const struct kvp_name *name = container_of(node, struct kvp_name, node);
	const struct wanted *wanted = key;

	return name->pool == wanted->pool && strcmp(name->key, wanted->key) == 0;
}

/* In a read section, or with the writers' lock. */
struct kvp_name *kvp_name_find(const struct kvp_table *t, unsigned int pool, const char *key)
{
	const struct wanted wanted = {pool, key};
	struct cds_lfht_iter iter;
	struct cds_lfht_node *node;

	cds_lfht_lookup(t->names, hash_of(pool, key), matches, &wanted, &iter);
	node = cds_lfht_iter_get_node(&iter);
	return node ? container_of(node, struct kvp_name, node) : NULL;
}

struct kvp_name *kvp_name_new(const char *key, size_t len)
{
	struct kvp_name *name = calloc(1, sizeof(*name) + len + 1);

	if (name)
		memcpy(name->key, key, len);
	return name;
}

/* The library has no way to say that a larger table did not fit; it then goes on with this one. */
void kvp_table_fit_buckets(struct kvp_table *t)
{
	size_t n = t->n_buckets;

	while (n < t->n_names)
		n *= 2;
	while (n > BUCKETS_MIN && t->n_names < n / 4)
		n /= 2;
	if (n == t->n_buckets)
		return;
	t->n_buckets = n;
	cds_lfht_resize(t->names, n);
}

void kvp_name_add(struct kvp_table *t, unsigned int pool, struct kvp_name *take_name)
{
	take_name->pool = (uint8_t)pool;
	urcu_bp_read_lock();
	cds_lfht_add(t->names, hash_of(pool, take_name->key), &take_name->node);
	urcu_bp_read_unlock();
	t->n_names++;
}

void kvp_name_remove(struct kvp_table *t, struct kvp_name *name)
{
	urcu_bp_read_lock();
	(void)cds_lfht_del(t->names, &name->node);
	urcu_bp_read_unlock();
	name->next_garbage = t->garbage_names;
	t->garbage_names = name;
	t->n_names--;
}

/* --- the index --- */

static struct kvp_index *index_of(const struct kvp_pool_items *p)
{
	return atomic_load_explicit(&p->index, memory_order_acquire);
}

/* The first place whose serial is @serial or more; index->n if there is none. */
static size_t place_of(const struct kvp_index *index, size_t n, uint64_t serial)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (index->at[middle].serial < serial)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

/* Puts one with room for @capacity records, and without holes, in place of the pool's index. */
static int replace_index(struct kvp_table *t, struct kvp_pool_items *p, size_t capacity)
{
	struct kvp_index *old = index_of(p), *new;
	size_t n = 0;

	new = calloc(1, sizeof(*new) + capacity * sizeof(new->at[0]));
	if (!new)
		return -ENOMEM;
	new->capacity = capacity;
	for (size_t i = 0; old && i < atomic_load(&old->n); i++) {
		struct kvp_item *item = atomic_load(&old->at[i].item);

		if (!item)
			continue;
		new->at[n].serial = item->serial;
		atomic_init(&new->at[n++].item, item);
	}
	atomic_init(&new->n, n);
	atomic_store_explicit(&p->index, new, memory_order_release);
	if (old) {
		old->next_garbage = t->garbage_indexes;
		t->garbage_indexes = old;
	}
	return 0;
}

int kvp_index_reserve(struct kvp_table *t, struct kvp_pool_items *p, size_t n)
{
	const struct kvp_index *index = index_of(p);
	size_t needed = atomic_load(&p->count) + n;
	size_t capacity = INDEX_MIN;

	if (n == 0 || (index && index->capacity - atomic_load(&index->n) >= n))
		return 0;
	while (capacity < needed + needed / 2)
		capacity *= 2;
	return replace_index(t, p, capacity);
}

/* There is room. */
void kvp_index_append(struct kvp_pool_items *p, struct kvp_item *item)
{
	struct kvp_index *index = index_of(p);
	size_t n = atomic_load(&index->n);

	item->serial = p->next_serial++;
	index->at[n].serial = item->serial;
	atomic_store_explicit(&index->at[n].item, item, memory_order_relaxed);
	atomic_store_explicit(&index->n, n + 1, memory_order_release);
	atomic_fetch_add(&p->count, 1);
}

/* @new, or nothing, is where @old was, if that is still there. */
void kvp_index_replace(struct kvp_pool_items *p, const struct kvp_item *old, struct kvp_item *new)
{
	struct kvp_index *index = index_of(p);
	size_t place = place_of(index, atomic_load(&index->n), old->serial);

	if (atomic_load(&index->at[place].item) != old)
		return;
	if (new)
		new->serial = old->serial;
	else
		atomic_fetch_sub(&p->count, 1);
	atomic_store_explicit(&index->at[place].item, new, memory_order_release);
}

/* Many holes are a waste of memory, and of the time of those who pass over them. */
void kvp_index_fit(struct kvp_table *t, struct kvp_pool_items *p)
{
	const struct kvp_index *index = index_of(p);
	size_t count = atomic_load(&p->count);

	if (index && atomic_load(&index->n) > 2 * count + INDEX_MIN)
		(void)replace_index(t, p, count + count / 2 + INDEX_MIN);
}

/* --- slots --- */

static int reserve_slots(struct kvp_pool_items *p, size_t n)
{
	size_t capacity = p->slots_capacity ? p->slots_capacity : INDEX_MIN;
	struct kvp_item **slots;

	if (n <= p->slots_capacity)
		return 0;
	while (capacity < n)
		capacity *= 2;
	slots = realloc(p->slots, capacity * sizeof(slots[0]));
	if (!slots)
		return -ENOMEM;
	p->slots = slots;
	p->slots_capacity = (uint32_t)capacity;
	return 0;
}

void kvp_table_set_slots(struct kvp_table *t, unsigned int pool, uint32_t n)
{
	struct kvp_pool_items *p = &t->pools[pool];

	while (p->n_slots < n && p->n_slots < p->slots_capacity)
		p->slots[p->n_slots++] = NULL;
	p->n_slots = n < p->n_slots ? n : p->n_slots;
}

static void put_in_slot(struct kvp_table *t, unsigned int pool, uint32_t slot,
			struct kvp_item *item)
{
	struct kvp_pool_items *p = &t->pools[pool];

	item->slot = slot;
	if (slot == KVP_NO_SLOT)
		return;
	if (slot >= p->n_slots)
		kvp_table_set_slots(t, pool, slot + 1);
	p->slots[slot] = item;
}

static void leave_slot(struct kvp_pool_items *p, const struct kvp_item *item)
{
	if (item->slot < p->n_slots && p->slots[item->slot] == item)
		p->slots[item->slot] = NULL;
}

void kvp_table_move(struct kvp_table *t, unsigned int pool, uint32_t from, uint32_t to)
{
	struct kvp_item *item = t->pools[pool].slots[from];

	t->pools[pool].slots[from] = NULL;
	if (item)
		put_in_slot(t, pool, to, item);
	else
		t->pools[pool].slots[to] = NULL;
}

/* --- items --- */

struct kvp_item *kvp_item_of(const char *value, size_t len)
{
	struct kvp_item *item = calloc(1, sizeof(*item) + len + 1);

	if (!item)
		return NULL;
	memcpy(item->value, value, len);
	item->value_len = (uint16_t)len;
	item->slot = KVP_NO_SLOT;
	return item;
}

int kvp_item_new(const char *key, const char *value, struct kvp_item **ret_item)
{
	_cleanup_(cleanup_kvp_itemp) struct kvp_item *item = NULL;

	item = kvp_item_of(value, strnlen(value, KVP_VALUE_SIZE - 1));
	if (!item)
		return -ENOMEM;
	item->name = kvp_name_new(key, strnlen(key, KVP_KEY_SIZE - 1));
	if (!item->name)
		return -ENOMEM;
	*ret_item = steal_ptr(item);
	return 0;
}

struct kvp_item *kvp_item_free(struct kvp_item *item)
{
	if (item)
		free(item->name);
	free(item);
	return NULL;
}

void kvp_item_throw_away(struct kvp_table *t, struct kvp_pool_items *p, struct kvp_item *item)
{
	leave_slot(p, item);
	item->next = t->garbage_items;
	t->garbage_items = item;
}

/* --- writers --- */

void kvp_table_lock(struct kvp_table *t)
{
	(void)pthread_mutex_lock(&t->writers);
}

void kvp_table_unlock(struct kvp_table *t)
{
	(void)pthread_mutex_unlock(&t->writers);
}

struct kvp_item *kvp_table_find(const struct kvp_table *t, unsigned int pool, const char *key)
{
	struct kvp_name *name;

	urcu_bp_read_lock();
	name = kvp_name_find(t, pool, key);
	urcu_bp_read_unlock();
	return name ? atomic_load(&name->first) : NULL;
}

int kvp_table_reserve(struct kvp_table *t, unsigned int pool, size_t n)
{
	struct kvp_pool_items *p = &t->pools[pool];
	int r = reserve_slots(p, p->n_slots + n);

	return r ? r : kvp_index_reserve(t, p, n);
}

/* Takes the records from @item on out of the index. */
static void drop_chain(struct kvp_table *t, struct kvp_pool_items *p, struct kvp_item *item)
{
	while (item) {
		struct kvp_item *next = item->next;

		kvp_index_replace(p, item, NULL);
		kvp_item_throw_away(t, p, item);
		item = next;
	}
}

void kvp_table_set(struct kvp_table *t, unsigned int pool, struct kvp_item *take_item, uint32_t slot)
{
	struct kvp_item *old = kvp_table_find(t, pool, take_item->name->key);
	struct kvp_pool_items *p = &t->pools[pool];

	if (old) {
		struct kvp_item *others = old->next;

		free(take_item->name);
		take_item->name = old->name;
		kvp_index_replace(p, old, take_item);
		atomic_store_explicit(&old->name->first, take_item, memory_order_release);
		kvp_item_throw_away(t, p, old);
		drop_chain(t, p, others);
	} else {
		atomic_store_explicit(&take_item->name->first, take_item, memory_order_relaxed);
		kvp_index_append(p, take_item);
		kvp_name_add(t, pool, take_item->name);
		kvp_table_fit_buckets(t);
	}
	put_in_slot(t, pool, slot, take_item);
	kvp_index_fit(t, p);
}

int kvp_table_remove(struct kvp_table *t, unsigned int pool, const char *key)
{
	struct kvp_item *first = kvp_table_find(t, pool, key);
	struct kvp_pool_items *p = &t->pools[pool];

	if (!first)
		return KVP_TABLE_NONE;
	kvp_name_remove(t, first->name);
	drop_chain(t, p, first);
	kvp_table_fit_buckets(t);
	kvp_index_fit(t, p);
	return 0;
}

/* --- garbage --- */

void kvp_table_reclaim(struct kvp_table *t)
{
	if (!t->garbage_items && !t->garbage_names && !t->garbage_indexes)
		return;
	urcu_bp_synchronize_rcu();
	while (t->garbage_items) {
		struct kvp_item *item = t->garbage_items;

		t->garbage_items = item->next;
		free(item);
	}
	while (t->garbage_names) {
		struct kvp_name *name = t->garbage_names;

		t->garbage_names = name->next_garbage;
		free(name);
	}
	while (t->garbage_indexes) {
		struct kvp_index *index = t->garbage_indexes;

		t->garbage_indexes = index->next_garbage;
		free(index);
	}
}

/* --- readers --- */

int kvp_table_get(const struct kvp_table *t, unsigned int pool, const char *key, char *ret_value)
{
	const struct kvp_item *item;
	const struct kvp_name *name;
	int r = KVP_TABLE_NONE;

	urcu_bp_read_lock();
	name = kvp_name_find(t, pool, key);
	item = name ? atomic_load_explicit(&name->first, memory_order_acquire) : NULL;
	if (item) {
		memcpy(ret_value, item->value, (size_t)item->value_len + 1);
		r = 0;
	}
	urcu_bp_read_unlock();
	return r;
}

size_t kvp_table_count(const struct kvp_table *t, unsigned int pool)
{
	return atomic_load_explicit(&t->pools[pool].count, memory_order_relaxed);
}

/* The first record whose serial is @serial or more. */
static const struct kvp_item *item_from(const struct kvp_index *index, size_t n, uint64_t serial)
{
	for (size_t i = place_of(index, n, serial); i < n; i++) {
		const struct kvp_item *item =
			atomic_load_explicit(&index->at[i].item, memory_order_acquire);

		if (item)
			return item;
	}
	return NULL;
}

static const struct kvp_item *item_number(const struct kvp_index *index, size_t n, uint32_t number)
{
	const struct kvp_item *item = item_from(index, n, 0);

	while (item && number-- > 0)
		item = item_from(index, n, item->serial + 1);
	return item;
}

int kvp_table_nth(const struct kvp_table *t, unsigned int pool, uint32_t index,
		  struct kvp_walk *walk, char *ret_key, char *ret_value)
{
	const struct kvp_item *item = NULL;
	const struct kvp_index *all;
	size_t n;

	urcu_bp_read_lock();
	all = index_of(&t->pools[pool]);
	n = all ? atomic_load_explicit(&all->n, memory_order_acquire) : 0;
	if (all && index > 0 && index == walk->next)
		item = item_from(all, n, walk->position);
	else if (all && index > 0 && (uint64_t)index + 1 == walk->next) /* once more */
		item = item_from(all, n, walk->position - 1);
	else if (all)
		item = item_number(all, n, index);
	if (item) {
		strcpy(ret_key, item->name->key);
		memcpy(ret_value, item->value, (size_t)item->value_len + 1);
		walk->next = (uint64_t)index + 1;
		walk->position = item->serial + 1;
	}
	urcu_bp_read_unlock();
	return item ? 0 : KVP_TABLE_NONE;
}

/* --- */

int kvp_table_new(struct kvp_table **ret_table)
{
	_cleanup_(cleanup_kvp_tablep) struct kvp_table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	(void)pthread_mutex_init(&t->writers, NULL);
	t->n_buckets = BUCKETS_MIN;
	t->names = cds_lfht_new_flavor(BUCKETS_MIN, BUCKETS_MIN, 0, 0, &urcu_bp_flavor, NULL);
	if (!t->names)
		return -ENOMEM;

	*ret_table = steal_ptr(t);
	return 0;
}

static void forget_all(struct kvp_table *t, unsigned int pool)
{
	struct kvp_pool_items *p = &t->pools[pool];
	struct kvp_index *index = index_of(p);

	for (size_t i = 0; index && i < atomic_load(&index->n); i++) {
		struct kvp_item *item = atomic_load(&index->at[i].item);

		if (!item)
			continue;
		if (atomic_exchange(&item->name->first, NULL))
			kvp_name_remove(t, item->name);
		item->next = t->garbage_items;
		t->garbage_items = item;
	}
	free(index);
	free(p->slots);
}

struct kvp_table *kvp_table_free(struct kvp_table *t)
{
	if (!t)
		return NULL;
	for (unsigned int pool = 0; t->names && pool < KVP_POOLS; pool++)
		forget_all(t, pool);
	kvp_table_reclaim(t);
	if (t->names)
		(void)cds_lfht_destroy(t->names, NULL);
	(void)pthread_mutex_destroy(&t->writers);
	free(t);
	return NULL;
}
