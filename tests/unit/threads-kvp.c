/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_table.c: threads that read while another one sets, removes and loads whole files.
 * What a reader gets is whole and was true at some moment, an enumeration has every key that is
 * always there exactly once, and nothing is freed under it (which the sanitizers see).
 */

#include "services/kvp_store.h"
#include "services/kvp_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	READERS = 2,
	KEYS = 64,       /* of which every fourth is always there */
	ROUNDS = 20000,
	LOADS = 50,      /* rounds from one whole file to the next */
	PADDING = 200,
};

static struct kvp_table *table;
static unsigned int numbers[KEYS]; /* of the values of those that are always there */
static uint32_t n_slots; /* of the file that there would be */
static atomic_bool stop;
static atomic_uint problems;
static _Atomic uint64_t reads;

static void problem(const char *what, const char *text)
{
	if (atomic_fetch_add(&problems, 1) < 5)
		printf("# %s: %.60s\n", what, text);
}

/* A value says of which key it is, and its length follows from its number. */
static void make_value(unsigned int key, unsigned int number, char value[KVP_VALUE_SIZE])
{
	int n = snprintf(value, KVP_VALUE_SIZE, "%u %u ", key, number);

	memset(value + n, 'v', number % PADDING);
	value[n + (int)(number % PADDING)] = '\0';
}

static void check_value(unsigned int key, const char *value)
{
	char expected[KVP_VALUE_SIZE];
	unsigned int of, number;

	if (sscanf(value, "%u %u", &of, &number) != 2 || of != key) {
		problem("of another key", value);
		return;
	}
	make_value(key, number, expected);
	if (strcmp(value, expected) != 0)
		problem("not whole", value);
}

static void enumerate(void)
{
	unsigned int seen[KEYS] = {0}, key;
	struct kvp_walk walk = {0};
	struct kvp_entry entry;

	for (uint32_t i = 0; kvp_table_nth(table, 0, i, &walk, entry.key, entry.value) == 0; i++) {
		if (sscanf(entry.key, "key-%u", &key) != 1 || key >= KEYS) {
			problem("no key", entry.key);
			return;
		}
		check_value(key, entry.value);
		seen[key]++;
	}
	for (key = 0; key < KEYS; key += 4)
		if (seen[key] != 1)
			problem("not there once", "a key that always is");
}

static void *read_all(void *arg)
{
	unsigned int key = 0;
	char text[KVP_KEY_SIZE], value[KVP_VALUE_SIZE];

	(void)arg;
	while (!atomic_load(&stop)) {
		snprintf(text, sizeof(text), "key-%u", key);
		if (kvp_table_get(table, 0, text, value) == 0)
			check_value(key, value);
		else if (key % 4 == 0)
			problem("lost", text);
		key = (key + 1) % KEYS;
		if (key == 0)
			enumerate();
		atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
	}
	return NULL;
}

static void set_key(unsigned int key, unsigned int number)
{
	char text[KVP_KEY_SIZE], value[KVP_VALUE_SIZE];
	struct kvp_item *old, *item;
	uint32_t slot;

	snprintf(text, sizeof(text), "key-%u", key);
	make_value(key, number, value);
	numbers[key] = number;
	old = kvp_table_find(table, 0, text);
	slot = old ? old->slot : n_slots;
	if (key % 4 != 0 && number % 3 == 0) {
		(void)!kvp_table_remove(table, 0, text);
		return;
	}
	if (kvp_item_new(text, value, &item) || kvp_table_reserve(table, 0, 1))
		abort();
	kvp_table_set(table, 0, item, slot);
	n_slots += !old;
}

/* All keys that are always there, in another order, and some of the others with other values. */
static void load_file(unsigned int number)
{
	static uint8_t image[KEYS][KVP_RECORD_SIZE];
	char text[KVP_KEY_SIZE], value[KVP_VALUE_SIZE];
	size_t n = 0, unreadable;

	for (unsigned int i = 0; i < KEYS; i++) {
		unsigned int key = (i * 7 + number) % KEYS;

		if (key % 4 != 0 && (key + number) % 3 == 0)
			continue;
		snprintf(text, sizeof(text), "key-%u", key);
		make_value(key, key % 4 ? number : numbers[key], value);
		kvp_record_write(image[n++], text, value);
	}
	n_slots = (uint32_t)n;
	if (kvp_table_load(table, 0, image[0], n * KVP_RECORD_SIZE, &unreadable) < 0 || unreadable)
		abort();
}

int main(void)
{
	pthread_t readers[READERS];
	unsigned int number = 0;

	if (kvp_table_new(&table))
		return 1;
	load_file(number++);
	for (size_t i = 0; i < READERS; i++)
		if (pthread_create(&readers[i], NULL, read_all, NULL))
			return 1;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		kvp_table_lock(table);
		if (round % LOADS == 0)
			load_file(number++);
		else
			set_key(round % KEYS, number++);
		kvp_table_reclaim(table);
		kvp_table_unlock(table);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < READERS; i++)
		(void)pthread_join(readers[i], NULL);
	kvp_table_free(table);
	printf("# %llu reads beside %u changes\n", (unsigned long long)atomic_load(&reads), ROUNDS);
	printf("%s 1 - who reads sees whole values, and all keys, whatever is changed meanwhile\n1..1\n",
	       atomic_load(&problems) == 0 && atomic_load(&reads) > 0 ? "ok" : "not ok");
	return 0;
}
