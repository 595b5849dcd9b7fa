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
	case FREEZER_ENTRY_IDLE:
	case FREEZER_ENTRY_QUEUED:
	case FREEZER_ENTRY_FREEZING:
	case FREEZER_ENTRY_THAWING:
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
		json_object_set_new(fs, "freeze_seconds", json_real(r->freeze_ns / 1e9));
		json_object_set_new(fs, "thaw_seconds", json_real(r->thaw_ns / 1e9));
		json_object_set_new(fs, "frozen_at", time_text(r->frozen_at_ns));
		if (r->thawed_at_ns)
			json_object_set_new(fs, "thawed_at", time_text(r->thawed_at_ns));
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
static json_t *other_entry(const struct receipt_facts *facts, const struct freeze_plan_entry *entry)
{
	if (entry->verdict != FREEZE_VERDICT_FREEZE)
		return unfrozen_entry(entry, freeze_verdict_name(entry->verdict), entry->reason);
	if (!facts->freezer)
		return unfrozen_entry(entry, freezer_entry_state_name(FREEZER_ENTRY_IDLE),
				      "nothing was frozen");
	return unfrozen_entry(entry, "vanished", "it was unmounted while the backup began");
}

/* The longest time that any file system was frozen. */
static double frozen_seconds(const struct freezer_client *freezer)
{
	uint64_t from = UINT64_MAX, to = 0;
	struct freezer_result r;

	for (size_t i = 0; i < freezer_client_n_results(freezer); i++) {
		freezer_client_result(freezer, i, &r);
		if (r.frozen_at_ns && r.frozen_at_ns < from)
			from = r.frozen_at_ns;
		if (r.thawed_at_ns > to)
			to = r.thawed_at_ns;
	}
	return to > from ? (to - from) / 1e9 : 0;
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
			json_array_append_new(list, other_entry(facts, entry));
		}
	}
	return list;
}

/* True if everything that should have been frozen was, from the host's FREEZE to its THAW. */
static bool everything_was_frozen(const struct receipt_facts *facts)
{
	struct freezer_result r;
	size_t given = 0;

	for (size_t i = 0; facts->plan && i < facts->plan->n_entries; i++) {
		if (facts->plan->entries[i].verdict == FREEZE_VERDICT_UNSUPPORTED)
			return false;
		if (!facts->freezer || !facts->given[i])
			continue;
		freezer_client_result(facts->freezer, given++, &r);
		if (r.state != FREEZER_ENTRY_THAWED || r.error)
			return false;
	}
	return true;
}

json_t *receipt_new(const struct receipt_facts *facts)
{
	bool whole = everything_was_frozen(facts);
	const char *result = facts->result;

	if (facts->consistent && !whole)
		result = "thawed as the host asked, but not everything could be frozen";
	return json_pack("{s:i, s:o, s:s, s:b, s:f, s:o}", "schema", 1, "started",
			 time_text(facts->started_ns), "result", result, "consistent",
			 facts->consistent && whole, "frozen_seconds",
			 facts->freezer ? frozen_seconds(facts->freezer) : 0.0, "file_systems",
			 file_systems(facts));
}
