/* SPDX-License-Identifier: MIT */

/*
 * The freezer's record as somebody else left it, and the messages of its socket.
 *
 * Input: u8 what. Even: the rest is the beginning of a record, the remainder of which is zero; odd:
 * u8 number of descriptors, and the rest is a message. Oracles: what is accepted can be read, every
 * string of it has an end, every number of it is in range.
 */

#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "fsfreeze/freezer_proto.h"

#define BOOT_ID "01234567-89ab-cdef-0123-456789abcdef"

static void read_entry(const struct freezer_entry *entry)
{
	enum freezer_entry_state state = freezer_entry_state(entry);

	fuzz_require(state < FREEZER_ENTRY_STATES);
	fuzz_require(freezer_entry_state_name(state) != NULL);
	fuzz_require(strnlen(entry->target, sizeof(entry->target)) < sizeof(entry->target));
	fuzz_require(strnlen(entry->type, sizeof(entry->type)) < sizeof(entry->type));
	fuzz_require(entry->target[0] == '/');
	fuzz_require(!freezer_entry_may_be_frozen(state) || state != FREEZER_ENTRY_FOREIGN);
}

static void check_record(const uint8_t *data, size_t size)
{
	_cleanup_free_ struct freezer_record *record = calloc(1, sizeof(*record));
	int r;

	fuzz_require(record);
	memcpy(record, data, size < sizeof(*record) ? size : sizeof(*record));
	r = freezer_record_check(record, BOOT_ID);
	if (r == FREEZER_RECORD_INVALID)
		return;

	fuzz_require(r == 0 || r == FREEZER_RECORD_OTHER_BOOT);
	fuzz_require(record->n_entries <= FREEZER_ENTRIES_MAX);
	for (uint32_t i = 0; i < record->n_entries; i++)
		read_entry(&record->entries[i]);
}

static void check_message(size_t n_fds, const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = fuzz_copy(data, size);
	struct freezer_message message;

	if (freezer_message_check(copy, size, n_fds, &message) != 0)
		return;
	fuzz_require(size == sizeof(message));
	fuzz_require(freezer_reason_name(message.reason) != NULL);
	fuzz_require((uint64_t)message.first + message.count <= FREEZER_ENTRIES_MAX);
	fuzz_require(n_fds <= FREEZER_MESSAGE_FDS_MAX);
	fuzz_require(message.type == FREEZER_MESSAGE_FREEZE || n_fds == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] % 2 == 0)
		check_record(data + 1, size - 1);
	else
		check_message(data[1], data + 2, size - 2);
	return 0;
}
