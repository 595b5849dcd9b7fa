/* SPDX-License-Identifier: MIT */

/*
 * Receipts.
 *
 * A backup's answer on the wire is one bit. The receipt is the rest of it: one line for each file
 * system of the mount table that has a disk, whether it was frozen or not, with the reason. File
 * systems that live in memory or in the kernel only are left out; there is nothing to copy.
 */

#include "daemon/receipt.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>

static json_t *time_text(uint64_t realtime_ns)
{
	time_t seconds = realtime_ns / 1000000000u;
	char text[40], with_ms[48];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(with_ms, sizeof(with_ms), "%s.%03uZ", text,
		 (unsigned int)(realtime_ns % 1000000000u / 1000000u));
	return json_string(with_ms);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* When @boot_ns of CLOCK_BOOTTIME was, by the clock as it is now: it may have been set meanwhile. */
static json_t *boot_time_text(uint64_t boot_ns)
{
	return time_text(now_ns(CLOCK_REALTIME) - (now_ns(CLOCK_BOOTTIME) - boot_ns));
}

static const char *why_of(const struct freezer_result *r)
{
	switch (r->state) {
	case FREEZER_ENTRY_FOREIGN:
		return "somebody else had frozen it; it is left to them";
	case FREEZER_ENTRY_UNSUPPORTED:
		return "the kernel cannot freeze this file system";
	case FREEZER_ENTRY_FAILED:
		return strerror(r->error);
	case FREEZER_ENTRY_FROZEN:
		return r->error ? "it refuses to be thawed" : "it is frozen";
	case FREEZER_ENTRY_THAWED:
		return r->error ? "somebody else thawed it before the host asked" : "";
	case FREEZER_ENTRY_FREEZING:
	case FREEZER_ENTRY_THAWING:
		return r->frozen_at_ns ? "the kernel had not come back from thawing it"
				       : "the kernel had not come back from freezing it; when it does, "
					 "it is thawed at once";
	case FREEZER_ENTRY_IDLE:
	case FREEZER_ENTRY_QUEUED:
	case FREEZER_ENTRY_STATES:
		return "its turn did not come";
	}
	return "";
}

/* What the freezer did with it. */
static json_t *frozen_entry(const struct freeze_plan_entry *entry, const struct freezer_result *r)
{
	json_t *fs = json_pack("{s:s, s:s, s:s, s:s}", "target", entry->mount->target, "type",
			       entry->mount->type, "state",
			       r->state == FREEZER_ENTRY_THAWED && !r->error
				       ? "frozen"
				       : freezer_entry_state_name(r->state),
			       "reason", why_of(r));

	if (fs && r->frozen_at_ns) {
		json_object_set_new(fs, "freeze_us", json_integer((json_int_t)(r->freeze_ns / 1000)));
		json_object_set_new(fs, "thaw_us", json_integer((json_int_t)(r->thaw_ns / 1000)));
		json_object_set_new(fs, "frozen_at", boot_time_text(r->frozen_at_ns));
		if (r->thawed_at_ns)
			json_object_set_new(fs, "thawed_at", boot_time_text(r->thawed_at_ns));
	}
	return fs;
}

static json_t *unfrozen_entry(const struct freeze_plan_entry *entry, const char *state,
			      const char *reason)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "target", entry->mount->target, "type",
			 entry->mount->type, "state", state, "reason", reason);
}

/* What was never given to the freezer. */
static json_t *other_entry(const struct receipt_facts *facts, size_t i)
{
	const struct freeze_plan_entry *entry = &facts->plan->entries[i];

	if (facts->errors[i])
		return unfrozen_entry(entry, freezer_entry_state_name(FREEZER_ENTRY_FAILED),
				      strerror(facts->errors[i]));
	if (entry->verdict != FREEZE_VERDICT_FREEZE)
		return unfrozen_entry(entry, freeze_verdict_name(entry->verdict), entry->reason);
	if (!facts->freezer)
		return unfrozen_entry(entry, freezer_entry_state_name(FREEZER_ENTRY_IDLE),
				      "nothing was frozen");
	return unfrozen_entry(entry, "vanished", "it was unmounted while the backup began");
}

/* From when to when anything was frozen, and for how long writers may have had to wait. */
struct window {
	uint64_t frozen_ns;
	uint64_t writers_ns;
};

static struct window frozen_window(const struct freezer_client *freezer)
{
	uint64_t from = UINT64_MAX, to = 0, began = UINT64_MAX;
	struct freezer_result r;

	for (size_t i = 0; freezer && i < freezer_client_n_results(freezer); i++) {
		freezer_client_result(freezer, i, &r);
		if (!r.frozen_at_ns)
			continue;
		if (r.frozen_at_ns < from)
			from = r.frozen_at_ns;
		if (r.frozen_at_ns - r.freeze_ns < began)
			began = r.frozen_at_ns - r.freeze_ns;
		if (r.thawed_at_ns > to)
			to = r.thawed_at_ns;
	}
	if (to <= from)
		return (struct window){0};
	return (struct window){.frozen_ns = to - from, .writers_ns = to - began};
}

static json_t *file_systems(const struct receipt_facts *facts)
{
	json_t *list = json_array();
	struct freezer_result r;
	size_t given = 0;

	for (size_t i = 0; facts->plan && i < facts->plan->n_entries; i++) {
		const struct freeze_plan_entry *entry = &facts->plan->entries[i];

		if (facts->freezer && facts->given[i]) {
			freezer_client_result(facts->freezer, given++, &r);
			json_array_append_new(list, frozen_entry(entry, &r));
		} else if (entry->verdict != FREEZE_VERDICT_PSEUDO) {
			json_array_append_new(list, other_entry(facts, i));
		}
	}
	return list;
}

/* What should have been frozen from the host's FREEZE to its THAW, and was not. */
struct missing {
	size_t n;
	const char *target; /* the first one's, if there is any */
	const char *reason;
};

static void add_missing(struct missing *missing, const struct freeze_plan_entry *entry,
			const char *reason)
{
	if (missing->n++ > 0)
		return;
	missing->target = entry->mount->target;
	missing->reason = reason;
}

static struct missing find_missing(const struct receipt_facts *facts)
{
	struct missing missing = {0};
	struct freezer_result r;
	size_t given = 0;

	for (size_t i = 0; facts->plan && i < facts->plan->n_entries; i++) {
		const struct freeze_plan_entry *entry = &facts->plan->entries[i];

		if (freeze_verdict_is_missing(entry->verdict))
			add_missing(&missing, entry, entry->reason);
		if (!facts->freezer || !facts->given[i])
			continue;
		freezer_client_result(facts->freezer, given++, &r);
		if (r.state != FREEZER_ENTRY_THAWED || r.error)
			add_missing(&missing, entry, why_of(&r));
	}
	return missing;
}

static void describe_missing(const struct missing *missing, char *text, size_t size)
{
	int n = snprintf(text, size, "thawed as asked, but not everything was frozen: %s: %s",
			 missing->target, missing->reason);

	if (missing->n > 1 && n > 0 && (size_t)n < size)
		snprintf(text + n, size - (size_t)n, "; and %zu more", missing->n - 1);
}

static json_t *notes(const struct receipt_facts *facts)
{
	json_t *list = json_array();

	for (size_t i = 0; i < facts->n_notes; i++)
		json_array_append_new(list, json_string(facts->notes[i]));
	return list;
}

/* What the copy is worth that the host has taken in the meantime. */
static const char *class_of(const struct receipt_facts *facts, bool consistent)
{
	if (consistent)
		return "file-system";
	return facts->failed ? "failed" : "crash";
}

json_t *receipt_new(const struct receipt_facts *facts)
{
	const struct missing missing = find_missing(facts);
	bool consistent = facts->consistent && missing.n == 0;
	char text[FREEZER_TARGET_SIZE + 256];
	struct window window = frozen_window(facts->freezer);
	const char *result = facts->result;
	struct utsname system;

	if (facts->consistent && !consistent) {
		describe_missing(&missing, text, sizeof(text));
		result = text;
	}
	if (uname(&system) < 0)
		strcpy(system.release, "unknown");
	return json_pack("{s:i, s:s, s:o, s:s, s:s, s:b, s:I, s:I, s:{s:s, s:s}, s:o, s:o}", "schema", 1,
			 "requester", facts->requester, "started", time_text(facts->started_ns),
			 "class", class_of(facts, consistent), "result", result, "consistent",
			 consistent, "frozen_us", (json_int_t)(window.frozen_ns / 1000),
			 "window_us", (json_int_t)(window.writers_ns / 1000), "versions",
			 "hvguestd", PACKAGE_VERSION, "kernel", system.release, "notes",
			 notes(facts), "file_systems", file_systems(facts));
}

/* Adds a pair, cut to what the other side's record of a pair has room for. */
static void add_key(json_t *keys, const char *name, const char *value)
{
	size_t length = strlen(value);

	if (length > RECEIPT_VALUE_MAX)
		length = RECEIPT_VALUE_MAX;
	/* Not in the middle of a character. */
	while (length > 0 && ((unsigned char)value[length] & 0xc0) == 0x80)
		length--;
	json_object_set_new(keys, name, json_stringn(value, length));
}

/* How many file systems are in each state: "3 frozen, 1 not-allowed". */
static void count_states(const json_t *receipt, char *text, size_t size)
{
	json_t *counts = json_object(), *fs, *count;
	const char *state;
	size_t i, n = 0;

	json_array_foreach(json_object_get(receipt, "file_systems"), i, fs) {
		state = json_string_value(json_object_get(fs, "state"));
		count = json_object_get(counts, state);
		json_object_set_new(counts, state, json_integer(json_integer_value(count) + 1));
	}
	text[0] = '\0';
	json_object_foreach(counts, state, count) {
		if (n < size)
			n += (size_t)snprintf(text + n, size - n, "%s%" JSON_INTEGER_FORMAT " %s",
					      n ? ", " : "", json_integer_value(count), state);
	}
	json_decref(counts);
}

/* The receipt in short, as pairs of a key and a text. */
static json_t *keys_of(const json_t *receipt)
{
	json_int_t window = json_integer_value(json_object_get(receipt, "window_us"));
	json_t *keys = json_object();
	char text[256];

	add_key(keys, "HvguestBackupTime", json_string_value(json_object_get(receipt, "started")));
	add_key(keys, "HvguestBackupClass", json_string_value(json_object_get(receipt, "class")));
	add_key(keys, "HvguestBackupResult", json_string_value(json_object_get(receipt, "result")));
	snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, window);
	add_key(keys, "HvguestBackupWindowUs", text);
	count_states(receipt, text, sizeof(text));
	add_key(keys, "HvguestBackupFileSystems", text);
	return keys;
}

void receipt_complete(json_t *receipt, json_t *take_hooks, json_t *take_clients, bool held)
{
	json_object_set_new(receipt, "hooks", take_hooks);
	json_object_set_new(receipt, "clients", take_clients);
	if (held && json_is_true(json_object_get(receipt, "consistent")))
		json_object_set_new(receipt, "class", json_string("application"));
	json_object_set_new(receipt, "keys", keys_of(receipt));
}
