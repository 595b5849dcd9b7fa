/* SPDX-License-Identifier: MIT */

/*
 * The freezer's record and messages.
 *
 * The record is a file in memory (tmpfs), mapped by the daemon and by the freezer. It says at every
 * moment, also after both have been killed, which file systems may be frozen and by whom: a state
 * is written before the system call that makes it true, so the record may name one too many but
 * never one too few.
 *
 * Several threads move states: some of the freezer's freeze, others thaw, and the daemon thaws when
 * the freezer is gone. They agree by compare-and-swap alone, because none of them may ever wait for
 * another: one of them can be hanging in the kernel.
 *
 *     IDLE -> QUEUED -> FREEZING -> FROZEN -> THAWING -> THAWED
 *               |          |  |        ^          |
 *               v          |  +--------|------> (its thread finds THAWING when FIFREEZE returns,
 *       IDLE, FAILED       |           |          and thaws at once)
 *                          v           +--- thaw failed, still frozen
 *              FAILED, FOREIGN, UNSUPPORTED
 *
 * QUEUED becomes FAILED when what is dirty cannot be written back beforehand.
 *
 * Whoever succeeds in moving FROZEN to THAWING calls FITHAW, so it is called once. Moving FREEZING
 * to THAWING leaves it to the thread that freezes. Once a thaw has visited an entry, it is neither
 * QUEUED nor FREEZING nor FROZEN, and nothing can make it so before the next freeze.
 */

#include "fsfreeze/freezer_proto.h"

#include <string.h>

static const char *const state_names[] = {
	[FREEZER_ENTRY_IDLE] = "idle",
	[FREEZER_ENTRY_QUEUED] = "queued",
	[FREEZER_ENTRY_FREEZING] = "freezing",
	[FREEZER_ENTRY_FROZEN] = "frozen",
	[FREEZER_ENTRY_THAWING] = "thawing",
	[FREEZER_ENTRY_THAWED] = "thawed",
	[FREEZER_ENTRY_FAILED] = "failed",
	[FREEZER_ENTRY_FOREIGN] = "foreign",
	[FREEZER_ENTRY_UNSUPPORTED] = "unsupported",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == FREEZER_ENTRY_STATES, "");

static const char *const reason_names[] = {
	[FREEZER_REASON_NONE] = "none",
	[FREEZER_REASON_ASKED] = "asked",
	[FREEZER_REASON_DEADLINE] = "deadline",
	[FREEZER_REASON_DAEMON_LOST] = "daemon-lost",
	[FREEZER_REASON_SIGNAL] = "signal",
	[FREEZER_REASON_FAILED] = "failed",
	[FREEZER_REASON_FREEZER_LOST] = "freezer-lost",
};
static_assert(sizeof(reason_names) / sizeof(reason_names[0]) == FREEZER_REASONS, "");

#define TO(state) (1u << FREEZER_ENTRY_##state)

/* The states that may follow each; a new freeze begins with a new record entry. */
static const uint32_t allowed_moves[] = {
	[FREEZER_ENTRY_IDLE] = 0,
	[FREEZER_ENTRY_QUEUED] = TO(IDLE) | TO(FREEZING) | TO(FAILED),
	[FREEZER_ENTRY_FREEZING] = TO(FROZEN) | TO(THAWING) | TO(FAILED) | TO(FOREIGN) |
				   TO(UNSUPPORTED),
	[FREEZER_ENTRY_FROZEN] = TO(THAWING),
	[FREEZER_ENTRY_THAWING] = TO(THAWED) | TO(FROZEN) | TO(FAILED) | TO(FOREIGN) |
				  TO(UNSUPPORTED),
	[FREEZER_ENTRY_THAWED] = 0,
	[FREEZER_ENTRY_FAILED] = 0,
	[FREEZER_ENTRY_FOREIGN] = 0,
	[FREEZER_ENTRY_UNSUPPORTED] = 0,
};
static_assert(sizeof(allowed_moves) / sizeof(allowed_moves[0]) == FREEZER_ENTRY_STATES, "");

const char *freezer_entry_state_name(enum freezer_entry_state state)
{
	return state_names[state];
}

const char *freezer_reason_name(enum freezer_reason reason)
{
	return reason_names[reason];
}

void freezer_record_init(struct freezer_record *record, const char *boot_id)
{
	memset(record, 0, sizeof(*record));
	record->magic = FREEZER_RECORD_MAGIC;
	record->version = FREEZER_RECORD_VERSION;
	atomic_store(&record->rcu_before, -1);
	strncpy(record->boot_id, boot_id, sizeof(record->boot_id) - 1);
}

static bool is_terminated(const char *s, size_t size)
{
	return memchr(s, '\0', size) != NULL;
}

static bool entry_is_valid(const struct freezer_entry *entry)
{
	return is_terminated(entry->target, sizeof(entry->target)) && entry->target[0] == '/' &&
	       is_terminated(entry->type, sizeof(entry->type)) &&
	       atomic_load(&entry->state) < FREEZER_ENTRY_STATES;
}

int freezer_record_check(const struct freezer_record *record, const char *boot_id)
{
	if (record->magic != FREEZER_RECORD_MAGIC || record->version != FREEZER_RECORD_VERSION ||
	    !is_terminated(record->boot_id, sizeof(record->boot_id)) ||
	    record->n_entries > FREEZER_ENTRIES_MAX)
		return FREEZER_RECORD_INVALID;
	for (size_t i = 0; i < record->n_entries; i++)
		if (!entry_is_valid(&record->entries[i]))
			return FREEZER_RECORD_INVALID;
	if (strncmp(record->boot_id, boot_id, sizeof(record->boot_id) - 1) != 0)
		return FREEZER_RECORD_OTHER_BOOT;
	return 0;
}

void freezer_record_begin(struct freezer_record *record, uint32_t options)
{
	record->n_entries = 0;
	record->options = options;
	record->generation++;
	atomic_store(&record->reason, FREEZER_REASON_NONE);
}

int freezer_record_add(struct freezer_record *record, const struct freezer_target *target)
{
	struct freezer_entry *entry;

	if (record->n_entries == FREEZER_ENTRIES_MAX)
		return FREEZER_RECORD_FULL;
	if (strlen(target->target) >= sizeof(entry->target))
		return FREEZER_RECORD_LONG_TARGET;

	entry = &record->entries[record->n_entries];
	assert(record->n_entries == 0 || entry[-1].level <= target->level);
	memset(entry, 0, sizeof(*entry));
	memcpy(entry->target, target->target, strlen(target->target));
	strncpy(entry->type, target->type, sizeof(entry->type) - 1);
	entry->device = target->device;
	entry->mount_id = target->mount_id;
	entry->level = target->level;
	entry->disks = target->disks;
	atomic_store(&entry->state, FREEZER_ENTRY_QUEUED);
	record->n_entries++;
	return 0;
}

enum freezer_entry_state freezer_entry_state(const struct freezer_entry *entry)
{
	return (enum freezer_entry_state)atomic_load(&entry->state);
}

bool freezer_entry_move(struct freezer_entry *entry, enum freezer_entry_state from,
			enum freezer_entry_state to)
{
	uint32_t expected = from;

	assert(allowed_moves[from] & (1u << to));
	return atomic_compare_exchange_strong(&entry->state, &expected, to);
}

bool freezer_entry_cancel(struct freezer_entry *entry)
{
	return freezer_entry_move(entry, FREEZER_ENTRY_QUEUED, FREEZER_ENTRY_IDLE);
}

bool freezer_entry_may_be_frozen(enum freezer_entry_state state)
{
	switch (state) {
	case FREEZER_ENTRY_FREEZING:
	case FREEZER_ENTRY_FROZEN:
	case FREEZER_ENTRY_THAWING:
		return true;
	case FREEZER_ENTRY_IDLE:
	case FREEZER_ENTRY_QUEUED:
	case FREEZER_ENTRY_THAWED:
	case FREEZER_ENTRY_FAILED:
	case FREEZER_ENTRY_FOREIGN:
	case FREEZER_ENTRY_UNSUPPORTED:
	case FREEZER_ENTRY_STATES:
		break;
	}
	return false;
}

void freezer_result_read(const struct freezer_entry *entry, struct freezer_result *ret_result)
{
	struct freezer_result result = {
		.state = freezer_entry_state(entry), /* first */
	};

	result.device = entry->device;
	result.level = entry->level;
	result.error = entry->error;
	result.freeze_ns = entry->freeze_ns;
	result.thaw_ns = entry->thaw_ns;
	result.frozen_at_ns = entry->frozen_at_ns;
	result.thawed_at_ns = entry->thawed_at_ns;
	memcpy(result.target, entry->target, sizeof(result.target));
	memcpy(result.type, entry->type, sizeof(result.type));
	*ret_result = result;
}

int freezer_message_check(const void *buf, size_t size, size_t n_fds,
			  struct freezer_message *ret_message)
{
	struct freezer_message message;

	if (size != sizeof(message))
		return FREEZER_MESSAGE_MALFORMED;
	memcpy(&message, buf, sizeof(message));
	if (message.type < FREEZER_MESSAGE_FREEZE || message.type > FREEZER_MESSAGE_SETTLED ||
	    message.reason >= FREEZER_REASONS || message.first > FREEZER_ENTRIES_MAX ||
	    message.count > FREEZER_MESSAGE_FDS_MAX ||
	    message.first + message.count > FREEZER_ENTRIES_MAX)
		return FREEZER_MESSAGE_MALFORMED;
	if (n_fds != (message.type == FREEZER_MESSAGE_FREEZE ? message.count : 0))
		return FREEZER_MESSAGE_MALFORMED;

	*ret_message = message;
	return 0;
}
