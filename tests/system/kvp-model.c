/* SPDX-License-Identifier: MIT */

/*
 * See kvp-model.h. A value begins with the number of the change that made it, and the rest of it
 * follows from that, so half a value, or one of another key, is told at once.
 */

#include "tests/system/kvp-model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PADDING_MAX = 1900,
	PHASE = 40, /* changes */
};

uint32_t model_below(uint64_t *seed, uint32_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)((*seed >> 32) % n);
}

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (unsigned int pool = 0; pool < MODEL_POOLS; pool++)
		for (unsigned int key = 0; key < MODEL_KEYS; key++)
			m->keys[pool][key].n = 1;
}

struct model_change model_random(uint64_t *seed, uint32_t number)
{
	struct model_change change = {
		.pool = model_below(seed, MODEL_POOLS),
		.key = model_below(seed, MODEL_KEYS),
		.number = number,
	};

	/* By turns all kinds of changes, and such that make a chain in the journal. */
	if (number / PHASE % 2)
		change.pool = number / (2 * PHASE) % MODEL_POOLS;
	else if (model_below(seed, 3) == 0)
		change.number |= MODEL_REMOVED;
	return change;
}

void model_entry(const struct model_change *change, struct kvp_entry *ret_entry)
{
	uint64_t seed = (change->number * UINT64_C(0x9e3779b97f4a7c15)) ^ (change->key << 8) ^
			change->pool ^ 1;
	uint32_t length;
	int n;

	snprintf(ret_entry->key, sizeof(ret_entry->key), "key-%u-%u", change->pool, change->key);
	n = snprintf(ret_entry->value, sizeof(ret_entry->value), "%u ", change->number);
	length = model_below(&seed, 2) ? model_below(&seed, 20) : model_below(&seed, PADDING_MAX);
	for (uint32_t i = 0; i < length; i++)
		ret_entry->value[n++] = (char)('a' + model_below(&seed, 26));
	ret_entry->value[n] = '\0';
}

void model_foreign(uint32_t number, struct kvp_entry *ret_entry)
{
	snprintf(ret_entry->key, sizeof(ret_entry->key), "foreign-%u", number);
	snprintf(ret_entry->value, sizeof(ret_entry->value), "value of %u", number);
}

void model_submitted(struct model *m, const struct model_change *change)
{
	struct model_key *k = &m->keys[change->pool][change->key];

	if (k->n == MODEL_STATES)
		abort();
	k->states[k->n++] = change->number;
}

void model_acknowledged(struct model *m, const struct model_change *change)
{
	struct model_key *k = &m->keys[change->pool][change->key];

	for (uint32_t i = k->acknowledged; i < k->n; i++)
		if (k->states[i] == change->number)
			k->acknowledged = i;
}

static bool is_gone(uint32_t state)
{
	return state == 0 || (state & MODEL_REMOVED);
}

static bool complain(struct model *m, const char *what, const char *key, const char *value)
{
	snprintf(m->complaint, sizeof(m->complaint), "%s: %.100s = '%.80s'", what, key, value);
	return false;
}

/* What was seen is @state: 0 if nothing was. */
static bool take(struct model *m, struct model_key *k, uint32_t state, const char *key)
{
	char wanted[128];

	for (uint32_t i = k->acknowledged; i < k->n; i++) {
		if (state ? k->states[i] != state : !is_gone(k->states[i]))
			continue;
		k->states[0] = state;
		k->acknowledged = 0;
		k->n = 1;
		return true;
	}
	snprintf(wanted, sizeof(wanted), "%u, acknowledged was %u%s", state,
		 k->states[k->acknowledged] & ~MODEL_REMOVED,
		 is_gone(k->states[k->acknowledged]) ? " (none there)" : "");
	return complain(m, state ? "an old value is back" : "lost", key, wanted);
}

static bool look_at(struct model *m, const struct kvp_store *store, unsigned int pool,
		    unsigned int key)
{
	struct model_change change = {.pool = pool, .key = key};
	struct kvp_entry expected;
	char value[KVP_VALUE_SIZE];

	model_entry(&change, &expected);
	if (kvp_store_get(store, pool, expected.key, value))
		return take(m, &m->keys[pool][key], 0, expected.key);
	change.number = (uint32_t)strtoul(value, NULL, 10);
	model_entry(&change, &expected);
	if (strcmp(value, expected.value) != 0)
		return complain(m, "corrupt", expected.key, value);
	return take(m, &m->keys[pool][key], change.number, expected.key);
}

/* Everything that is enumerated is a key of ours, or a record of the other program, and once. */
static bool look_at_all(struct model *m, const struct kvp_store *store, unsigned int pool)
{
	bool keys[MODEL_KEYS] = {false}, *foreign = calloc(MODEL_FOREIGN, sizeof(*foreign));
	struct kvp_entry entry, expected;
	struct kvp_walk walk = {0};
	uint32_t n_foreign = 0;
	bool good = true;

	for (uint32_t i = 0; good && kvp_store_nth(store, pool, i, &walk, &entry) == 0; i++) {
		unsigned int of, number;

		if (sscanf(entry.key, "key-%u-%u", &of, &number) == 2 && of == pool &&
		    number < MODEL_KEYS && !keys[number]) {
			keys[number] = true;
		} else if (sscanf(entry.key, "foreign-%u", &number) == 1 && pool == 1 &&
			   number < m->n_foreign && !foreign[number]) {
			foreign[number] = true;
			n_foreign++;
			model_foreign(number, &expected);
			good = strcmp(entry.value, expected.value) == 0;
		} else {
			good = false;
		}
	}
	free(foreign);
	if (!good)
		return complain(m, "this should not be there", entry.key, entry.value);
	if (pool == 1 && n_foreign != m->n_foreign)
		return complain(m, "records of another program are lost", "foreign", "");
	return true;
}

bool model_look(struct model *m, const struct kvp_store *store)
{
	for (unsigned int pool = 0; pool < MODEL_POOLS; pool++) {
		for (unsigned int key = 0; key < MODEL_KEYS; key++)
			if (!look_at(m, store, pool, key))
				return false;
		if (!look_at_all(m, store, pool))
			return false;
	}
	return true;
}
