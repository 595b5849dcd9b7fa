/* SPDX-License-Identifier: MIT */

/*
 * The backups of this host.
 *
 * Once a second while one is under way, and when it has ended, the board gets them all anew.
 *
 * Receipts. When a backup is over, the guest writes down what was consistent, and puts it in short into
 * its pool of keys (docs/PROTOCOL-kvp.md, section 11). That takes it a moment: its hooks are called
 * back first, and the keys are to be durable. So the pool is looked at again and again, for half a
 * minute, until what is there was written after the backup had begun; the clocks of host and guest may
 * differ by CLOCKS_APART_S. A guest without key-value exchange, or one that is not hvguest, gives none.
 *
 *     receipt     WANTED -> ASKED -> WANTED ...  -> HERE
 *                                                -> NONE      not in time, no such guest
 */

#include "host/backups.h"

#include "base/clock.h"
#include "base/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PERIOD_NS UINT64_C(1000000000)
#define ASK_NS    UINT64_C(10000000000)

enum {
	RECEIPT_TRIES = 30,
	CLOCKS_APART_S = 5,
};

enum receipt_state {
	RECEIPT_WANTED,
	RECEIPT_ASKED,
	RECEIPT_HERE,
	RECEIPT_NONE,
};

struct record {
	struct backup *backup;
	char *guest;
	time_t started;
	bool end_is_shown;
	enum receipt_state receipt_state;
	unsigned int tries;
	struct guest_kvp_wish wish;
	json_t *receipt; /* or what has come of it */
};

struct backups {
	struct backups_config config;
	struct event *timer;
	struct record *records[BACKUPS_MAX]; /* the oldest first */
	size_t n;
	unsigned int last_id;
};

/* The keys, and what their values are called here. */
static const struct {
	const char *key, *name;
} receipt_keys[] = {
	{"HvguestBackupTime", "started"},
	{"HvguestBackupClass", "class"},
	{"HvguestBackupResult", "result"},
	{"HvguestBackupWindowUs", "window_us"},
	{"HvguestBackupFileSystems", "file_systems"},
};

static struct record *free_record(struct record *record)
{
	(void)backup_free(record->backup);
	json_decref(record->receipt);
	free(record->guest);
	free(record);
	return NULL;
}

static bool has_ended(const struct record *record)
{
	return backup_has_ended(record->backup);
}

/* Whether nothing about it changes any more. */
static bool is_settled(const struct record *record)
{
	return has_ended(record) && record->receipt_state >= RECEIPT_HERE;
}

/* Showing. */

static json_t *describe(const struct record *record)
{
	json_t *status = backup_status(record->backup);
	char started[32];
	struct tm tm;

	strftime(started, sizeof(started), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&record->started, &tm));
	json_object_set_new(status, "started", json_string(started));
	if (record->receipt_state == RECEIPT_HERE)
		json_object_set(status, "receipt", record->receipt);
	return status;
}

/* In place of a line for each image one sum of all, so that many backups stay a short list. */
static json_t *describe_shortly(const struct record *record)
{
	json_t *status = describe(record), *image;
	const json_t *images = json_object_get(status, "images");
	json_int_t bytes = 0;
	bool verified = json_array_size(images) > 0;
	size_t i;

	json_array_foreach(images, i, image) {
		bytes += json_integer_value(json_object_get(image, "data_bytes"));
		verified = verified && json_is_true(json_object_get(image, "verified"));
	}
	json_object_set_new(status, "n_images", json_integer((json_int_t)json_array_size(images)));
	json_object_set_new(status, "copied_bytes", json_integer(bytes));
	json_object_set_new(status, "verified", json_boolean(verified));
	json_object_del(status, "images");
	json_object_del(status, "frozen_monotonic_ns");
	json_object_del(status, "schema");
	return status;
}

json_t *backups_list(const struct backups *b)
{
	json_t *list = json_array();

	for (size_t i = b->n; i > 0; i--)
		json_array_append_new(list, describe_shortly(b->records[i - 1]));
	return json_pack("{s:i, s:o}", "schema", 1, "backups", list);
}

static void publish(const struct backups *b)
{
	json_t *list = backups_list(b);
	_cleanup_free_ char *text = json_dumps(list, JSON_COMPACT | JSON_PRESERVE_ORDER);

	json_decref(list);
	/* Without memory the board keeps what it has. */
	if (text)
		(void)!board_put_backups(b->config.board, text);
	for (size_t i = 0; i < b->n; i++)
		b->records[i]->end_is_shown = has_ended(b->records[i]);
}

/* Whoever has been told here that a backup has ended finds that on the board, too. */
json_t *backups_get(struct backups *b, unsigned int id)
{
	for (size_t i = 0; i < b->n; i++) {
		struct record *record = b->records[i];

		if (backup_id(record->backup) != id)
			continue;
		if (has_ended(record) && !record->end_is_shown)
			publish(b);
		return describe(record);
	}
	return NULL;
}

/* Receipts. */

static void on_entry(struct guest_kvp_wish *wish)
{
	struct record *record = container_of(wish, struct record, wish);
	const struct kvp_request *entry = &wish->job.answer;

	for (size_t i = 0; i < sizeof(receipt_keys) / sizeof(receipt_keys[0]); i++)
		if (!strcmp(entry->key, receipt_keys[i].key))
			json_object_set_new(record->receipt, receipt_keys[i].name,
					    json_string(entry->value));
}

/* Whether the receipt is about this backup and no earlier one. */
static bool is_of(const struct record *record)
{
	const char *text = json_string_value(json_object_get(record->receipt, "started"));
	struct tm tm = {0};

	return text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) &&
	       timegm(&tm) >= record->started - CLOCKS_APART_S &&
	       json_object_get(record->receipt, "class");
}

static void on_asked(struct guest_kvp_wish *wish)
{
	struct record *record = container_of(wish, struct record, wish);

	record->receipt_state = RECEIPT_WANTED;
	if (wish->job.outcome == KVP_HOST_DONE && is_of(record))
		record->receipt_state = RECEIPT_HERE;
}

static void ask_for_receipt(const struct backups *b, struct record *record)
{
	struct guest_kvp *kvp = b->config.find_kvp(b->config.user, record->guest);

	if (!kvp || record->tries++ == RECEIPT_TRIES) {
		record->receipt_state = RECEIPT_NONE;
		return;
	}
	json_decref(record->receipt);
	record->receipt = json_object();
	record->wish = (struct guest_kvp_wish){
		.job = {.request = {.operation = KVP_ENUMERATE, .pool = KVP_POOL_GUEST}, .list = true},
		.timeout_ns = ASK_NS,
		.entry = on_entry,
		.done = on_asked,
	};
	record->receipt_state = RECEIPT_ASKED;
	if (guest_kvp_ask(kvp, &record->wish))
		record->receipt_state = RECEIPT_NONE;
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct backups *b = user;
	bool settled = true;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < b->n; i++) {
		struct record *record = b->records[i];

		if (has_ended(record) && record->receipt_state == RECEIPT_WANTED)
			ask_for_receipt(b, record);
		settled = settled && is_settled(record);
	}
	publish(b);
	if (!settled)
		timer_set(b->timer, clock_monotonic_ns() + PERIOD_NS);
}

int backups_new(const struct backups_config *config, struct backups **ret_backups)
{
	_cleanup_(cleanup_backupsp) struct backups *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->config = *config;
	b->timer = event_new(config->base, -1, 0, on_timer, b);
	if (!b->timer)
		return -ENOMEM;
	publish(b);
	*ret_backups = steal_ptr(b);
	return 0;
}

struct backups *backups_free(struct backups *b)
{
	if (!b)
		return NULL;
	for (size_t i = 0; i < b->n; i++)
		(void)free_record(b->records[i]);
	if (b->timer)
		event_free(b->timer);
	free(b);
	return NULL;
}

bool backups_make_room(struct backups *b)
{
	for (size_t i = 0; b->n == BACKUPS_MAX && i < b->n; i++) {
		if (!has_ended(b->records[i]) || b->records[i]->receipt_state == RECEIPT_ASKED)
			continue;
		(void)free_record(b->records[i]);
		b->n--;
		memmove(&b->records[i], &b->records[i + 1], (b->n - i) * sizeof(b->records[0]));
	}
	return b->n < BACKUPS_MAX;
}

unsigned int backups_next_id(struct backups *b)
{
	return ++b->last_id;
}

int backups_add(struct backups *b, const char *guest, struct backup *backup)
{
	struct record *record = calloc(1, sizeof(*record));

	if (!record)
		return -ENOMEM;
	record->guest = strdup(guest);
	if (!record->guest) {
		free(record);
		return -ENOMEM;
	}
	record->backup = backup;
	record->started = time(NULL);
	b->records[b->n++] = record;
	timer_set(b->timer, clock_monotonic_ns());
	return 0;
}

void backups_refused(struct backups *b)
{
	b->n--;
	(void)free_record(b->records[b->n]);
}
