/* SPDX-License-Identifier: MIT */

/*
 * A whole pool file, taken into the table.
 *
 * Others may have changed anything in it. So that readers see as little of that as possible, each
 * record of the file takes what is in memory already: first those that are where they were, then
 * any with the same key and value, in whatever slot. What is left over is new, or a new value in
 * the place of an old one, or gone. All that can fail is done before the first reader could
 * notice; then each key changes by one store.
 */

#include "services/kvp_table_inside.h"

#include <string.h>
#include <urcu/urcu-bp.h>

/* kvp_table_load(), on its way. */
struct loading {
	struct kvp_table *t;
	unsigned int pool;
	const uint8_t *image;
	uint32_t n_slots;
	struct kvp_item **slots;
	size_t n_new;
	size_t unreadable;
};

/* A text of a record, with a NUL. */
struct texts {
	char key[KVP_KEY_SIZE];
	char value[KVP_VALUE_SIZE];
	size_t value_len;
};

static int read_texts(const struct loading *l, uint32_t slot, struct texts *texts)
{
	const uint8_t *record = l->image + (size_t)slot * KVP_RECORD_SIZE;
	size_t key_len;
	int r = kvp_record_read(record, &key_len, &texts->value_len);

	if (r)
		return r;
	memcpy(texts->key, record, key_len);
	texts->key[key_len] = '\0';
	memcpy(texts->value, record + KVP_KEY_SIZE, texts->value_len);
	texts->value[texts->value_len] = '\0';
	return 0;
}

static bool has_value(const struct kvp_item *item, const struct texts *texts)
{
	return item->value_len == texts->value_len &&
	       memcmp(item->value, texts->value, texts->value_len) == 0;
}

static void claim(struct loading *l, uint32_t slot, struct kvp_item *item)
{
	item->claimed = true;
	l->slots[slot] = item;
}

/* First those that are where they were, so that nobody else takes them. */
static void claim_unmoved(struct loading *l)
{
	const struct kvp_pool_items *p = &l->t->pools[l->pool];
	struct texts texts;

	for (uint32_t slot = 0; slot < l->n_slots && slot < p->n_slots; slot++) {
		struct kvp_item *item = p->slots[slot];

		if (item && read_texts(l, slot, &texts) == 0 && has_value(item, &texts) &&
		    strcmp(item->name->key, texts.key) == 0)
			claim(l, slot, item);
	}
}

static int make_item(struct loading *l, uint32_t slot, struct kvp_name *name,
		     const struct texts *texts)
{
	struct kvp_item *item = kvp_item_of(texts->value, texts->value_len);

	if (!item)
		return -ENOMEM;
	if (!name) {
		name = kvp_name_new(texts->key, strlen(texts->key));
		if (!name) {
			free(item);
			return -ENOMEM;
		}
		kvp_name_add(l->t, l->pool, name);
		kvp_table_fit_buckets(l->t);
	}
	item->name = name;
	claim(l, slot, item);
	l->n_new++;
	return 0;
}

static int claim_or_make(struct loading *l, uint32_t slot)
{
	struct kvp_item *item;
	struct kvp_name *name;
	struct texts texts;

	if (read_texts(l, slot, &texts)) {
		l->unreadable++;
		return 0;
	}
	urcu_bp_read_lock();
	name = kvp_name_find(l->t, l->pool, texts.key);
	urcu_bp_read_unlock();
	item = name ? atomic_load(&name->first) : NULL;
	while (item && (item->claimed || !has_value(item, &texts)))
		item = item->next;
	if (!item)
		return make_item(l, slot, name, &texts);
	claim(l, slot, item);
	return 0;
}

static bool is_new(const struct loading *l, const struct kvp_item *item)
{
	const struct kvp_pool_items *p = &l->t->pools[l->pool];

	return item->slot >= p->n_slots || p->slots[item->slot] != item;
}

/* As if it had not begun. */
static void give_up(struct loading *l)
{
	for (uint32_t slot = 0; slot < l->n_slots; slot++) {
		struct kvp_item *item = l->slots[slot];

		if (!item)
			continue;
		item->claimed = false;
		if (!is_new(l, item))
			continue;
		if (!atomic_load(&item->name->first) && item->name->next_garbage == NULL &&
		    !item->name->building) {
			item->name->building = item; /* once */
			kvp_name_remove(l->t, item->name);
		}
		free(item);
	}
}

static void build_chains(struct loading *l)
{
	for (uint32_t slot = 0; slot < l->n_slots; slot++) {
		struct kvp_item *item = l->slots[slot];

		if (!item)
			continue;
		if (item->name->building)
			item->name->building_last->next = item;
		else
			item->name->building = item;
		item->name->building_last = item;
		item->next = NULL;
	}
}

/* A new value where the same key had another one is in its place; what else is new comes last. */
static void publish_item(struct kvp_pool_items *p, struct kvp_item *item, uint32_t slot)
{
	const struct kvp_item *old = slot < p->n_slots ? p->slots[slot] : NULL;

	if (old && !old->claimed && old->name == item->name)
		kvp_index_replace(p, old, item);
	else
		kvp_index_append(p, item);
}

/* Each key changes at once. */
static void publish(struct loading *l)
{
	struct kvp_pool_items *p = &l->t->pools[l->pool];

	for (uint32_t slot = 0; slot < l->n_slots; slot++) {
		struct kvp_item *item = l->slots[slot];

		if (!item)
			continue;
		if (is_new(l, item))
			publish_item(p, item, slot);
		if (item->name->building == item)
			atomic_store_explicit(&item->name->first, item, memory_order_release);
	}
}

/* Those that are not in the file any more; true if there were any. */
static bool drop_unclaimed(struct loading *l)
{
	struct kvp_pool_items *p = &l->t->pools[l->pool];
	bool any = false;

	for (uint32_t slot = 0; slot < p->n_slots; slot++) {
		struct kvp_item *item = p->slots[slot];

		if (!item || item->claimed)
			continue;
		any = true;
		kvp_index_replace(p, item, NULL);
		if (!item->name->building && atomic_exchange(&item->name->first, NULL))
			kvp_name_remove(l->t, item->name);
		kvp_item_throw_away(l->t, p, item);
	}
	return any;
}

/* The slots of the file become those of the pool. */
static void settle_slots(struct loading *l)
{
	struct kvp_pool_items *p = &l->t->pools[l->pool];

	for (uint32_t slot = 0; slot < l->n_slots; slot++) {
		struct kvp_item *item = l->slots[slot];

		if (!item)
			continue;
		item->slot = slot;
		item->claimed = false;
		item->name->building = item->name->building_last = NULL;
	}
	free(p->slots);
	p->slots = l->slots;
	p->slots_capacity = p->n_slots = l->n_slots;
	l->slots = NULL;
}

static int claim_all(struct loading *l)
{
	int r;

	claim_unmoved(l);
	for (uint32_t slot = 0; slot < l->n_slots; slot++) {
		if (l->slots[slot])
			continue;
		r = claim_or_make(l, slot);
		if (r)
			return r;
	}
	return kvp_index_reserve(l->t, &l->t->pools[l->pool], l->n_new);
}

int kvp_table_load(struct kvp_table *t, unsigned int pool, const uint8_t *image, size_t size,
		   size_t *ret_unreadable)
{
	struct loading l = {.t = t, .pool = pool, .image = image,
			    .n_slots = (uint32_t)(size / KVP_RECORD_SIZE)};
	bool dropped;
	int r;

	l.slots = calloc(l.n_slots + 1, sizeof(l.slots[0]));
	if (!l.slots)
		return -ENOMEM;
	r = claim_all(&l);
	if (r) {
		give_up(&l);
		free(l.slots);
		return r;
	}
	build_chains(&l);
	publish(&l);
	dropped = drop_unclaimed(&l);
	settle_slots(&l);
	kvp_table_fit_buckets(t);
	kvp_index_fit(t, &t->pools[pool]);
	*ret_unreadable = l.unreadable;
	return l.n_new == 0 && !dropped ? KVP_TABLE_SAME : 0;
}

