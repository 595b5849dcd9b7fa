/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/freezer_proto.c: records and messages from whoever wrote them, and the entry states.
 */

#include "fsfreeze/freezer_proto.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const char boot_id[] = "01234567-89ab-cdef-0123-456789abcdef";

static int add(struct freezer_record *record, const char *target, const char *type,
	       uint64_t device, uint64_t mount_id)
{
	const struct freezer_target t = {
		.target = target,
		.type = type,
		.device = device,
		.mount_id = mount_id,
	};

	return freezer_record_add(record, &t);
}

/* A record on the heap, of exactly its size, with two entries. */
static struct freezer_record *new_record(void)
{
	struct freezer_record *record = malloc(sizeof(*record));

	cr_assert(ne(ptr, record, NULL));
	freezer_record_init(record, boot_id);
	freezer_record_begin(record, 0);
	cr_assert(eq(int, add(record, "/srv", "ext4", 7, 8), 0));
	cr_assert(eq(int, add(record, "/home", "xfs", 9, 10), 0));
	return record;
}

Test(freezer_proto, a_record_can_be_read_in_the_same_boot_only)
{
	struct freezer_record *record = new_record();

	cr_expect(eq(int, freezer_record_check(record, boot_id), 0));
	cr_expect(eq(int, freezer_record_check(record, "other"), FREEZER_RECORD_OTHER_BOOT));
	cr_expect(eq(u64, record->generation, 1));
	cr_expect(eq(str, record->entries[1].target, "/home"));
	cr_expect(eq(int, freezer_entry_state(&record->entries[1]), FREEZER_ENTRY_QUEUED));
	free(record);
}

Test(freezer_proto, a_new_file_is_an_invalid_record)
{
	struct freezer_record *record = calloc(1, sizeof(*record));

	cr_assert(ne(ptr, record, NULL));
	cr_expect(eq(int, freezer_record_check(record, boot_id), FREEZER_RECORD_INVALID));
	free(record);
}

Test(freezer_proto, a_record_with_any_bit_flipped_is_read_safely)
{
	const size_t used = offsetof(struct freezer_record, entries[2]);
	struct freezer_record *record = new_record();
	uint8_t *bytes = (uint8_t *)record;
	size_t n_invalid = 0;

	for (size_t bit = 0; bit < 8 * used; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		if (freezer_record_check(record, boot_id) == FREEZER_RECORD_INVALID)
			n_invalid++;
		else
			cr_assert(record->n_entries <= FREEZER_ENTRIES_MAX);
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	cr_expect(eq(int, freezer_record_check(record, boot_id), 0));
	/* At least each bit of magic and version must have been noticed. */
	cr_expect(n_invalid >= 64);
	free(record);
}

Test(freezer_proto, damaged_records_are_invalid)
{
	struct freezer_record *record = new_record();

	record->n_entries = FREEZER_ENTRIES_MAX + 1;
	cr_expect(eq(int, freezer_record_check(record, boot_id), FREEZER_RECORD_INVALID));
	record->n_entries = 2;

	memset(record->entries[1].target, '/', sizeof(record->entries[1].target));
	cr_expect(eq(int, freezer_record_check(record, boot_id), FREEZER_RECORD_INVALID));
	record->entries[1].target[1] = '\0';
	cr_expect(eq(int, freezer_record_check(record, boot_id), 0));

	atomic_store(&record->entries[0].state, FREEZER_ENTRY_STATES);
	cr_expect(eq(int, freezer_record_check(record, boot_id), FREEZER_RECORD_INVALID));
	free(record);
}

Test(freezer_proto, a_record_refuses_long_paths_and_too_many_entries)
{
	struct freezer_record *record = new_record();
	char target[FREEZER_TARGET_SIZE + 1];

	memset(target, 'a', sizeof(target));
	target[FREEZER_TARGET_SIZE] = '\0';
	cr_expect(eq(int, add(record, target, "ext4", 1, 1),
		     FREEZER_RECORD_LONG_TARGET));
	target[FREEZER_TARGET_SIZE - 1] = '\0';
	cr_expect(eq(int, add(record, target, "ext4", 1, 1), 0));

	while (record->n_entries < FREEZER_ENTRIES_MAX)
		cr_assert(eq(int, add(record, "/x", "ext4", 1, 1), 0));
	cr_expect(eq(int, add(record, "/x", "ext4", 1, 1), FREEZER_RECORD_FULL));

	freezer_record_begin(record, 0);
	cr_expect(eq(u32, record->n_entries, 0));
	cr_expect(eq(u64, record->generation, 2));
	free(record);
}

Test(freezer_proto, an_entry_moves_only_from_the_state_it_is_in)
{
	struct freezer_record *record = new_record();
	struct freezer_entry *entry = &record->entries[0];

	cr_expect(not(freezer_entry_move(entry, FREEZER_ENTRY_FREEZING, FREEZER_ENTRY_FROZEN)));
	cr_expect(freezer_entry_move(entry, FREEZER_ENTRY_QUEUED, FREEZER_ENTRY_FREEZING));
	cr_expect(not(freezer_entry_cancel(entry)));
	cr_expect(freezer_entry_move(entry, FREEZER_ENTRY_FREEZING, FREEZER_ENTRY_FROZEN));
	cr_expect(freezer_entry_move(entry, FREEZER_ENTRY_FROZEN, FREEZER_ENTRY_THAWING));
	cr_expect(not(freezer_entry_move(entry, FREEZER_ENTRY_FROZEN, FREEZER_ENTRY_THAWING)));
	cr_expect(freezer_entry_move(entry, FREEZER_ENTRY_THAWING, FREEZER_ENTRY_THAWED));

	cr_expect(freezer_entry_cancel(&record->entries[1]));
	cr_expect(not(freezer_entry_move(&record->entries[1], FREEZER_ENTRY_QUEUED,
					 FREEZER_ENTRY_FREEZING)));
	free(record);
}

Test(freezer_proto, what_is_in_doubt_counts_as_frozen)
{
	static const bool may_be_frozen[FREEZER_ENTRY_STATES] = {
		[FREEZER_ENTRY_FREEZING] = true,
		[FREEZER_ENTRY_FROZEN] = true,
		[FREEZER_ENTRY_THAWING] = true,
	};

	for (unsigned int s = 0; s < FREEZER_ENTRY_STATES; s++) {
		cr_expect(eq(int, freezer_entry_may_be_frozen((enum freezer_entry_state)s),
			     may_be_frozen[s]));
		cr_expect(ne(str, (char *)(uintptr_t)freezer_entry_state_name(
					  (enum freezer_entry_state)s), ""));
	}
}

static const struct freezer_message good = {
	.type = FREEZER_MESSAGE_FREEZE,
	.generation = 3,
	.deadline_ns = 4,
	.first = 250,
	.count = 5,
};

/* Checks a copy on the heap, of exactly @size bytes. */
static int check(const void *bytes, size_t size, size_t n_fds, struct freezer_message *ret_message)
{
	void *copy = malloc(size ? size : 1);
	int r;

	cr_assert(ne(ptr, copy, NULL));
	memcpy(copy, bytes, size);
	r = freezer_message_check(copy, size, n_fds, ret_message);
	free(copy);
	return r;
}

Test(freezer_proto, a_message_has_one_size_and_as_many_descriptors_as_it_says)
{
	uint8_t longer[sizeof(good) + 1] = {0};
	struct freezer_message message;

	cr_assert(eq(int, check(&good, sizeof(good), 5, &message), 0));
	cr_expect(eq(int, memcmp(&message, &good, sizeof(good)), 0));
	for (size_t size = 0; size < sizeof(good); size++)
		cr_expect(eq(int, check(&good, size, 5, &message), FREEZER_MESSAGE_MALFORMED));
	memcpy(longer, &good, sizeof(good));
	cr_expect(eq(int, check(longer, sizeof(longer), 5, &message), FREEZER_MESSAGE_MALFORMED));
	cr_expect(eq(int, check(&good, sizeof(good), 4, &message), FREEZER_MESSAGE_MALFORMED));
	cr_expect(eq(int, check(&good, sizeof(good), 0, &message), FREEZER_MESSAGE_MALFORMED));
}

Test(freezer_proto, a_message_with_any_bit_flipped_stays_inside_the_record)
{
	struct freezer_message message;

	for (size_t bit = 0; bit < 8 * sizeof(good); bit++) {
		uint8_t bytes[sizeof(good)];

		memcpy(bytes, &good, sizeof(good));
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		for (size_t n_fds = 0; n_fds <= 8; n_fds++) {
			if (check(bytes, sizeof(bytes), n_fds, &message))
				continue;
			cr_assert(message.first <= FREEZER_ENTRIES_MAX);
			cr_assert(message.first + message.count <= FREEZER_ENTRIES_MAX);
			cr_assert(message.type >= FREEZER_MESSAGE_FREEZE &&
				  message.type <= FREEZER_MESSAGE_SETTLED);
			if (message.type == FREEZER_MESSAGE_FREEZE)
				cr_assert(eq(sz, message.count, n_fds));
		}
	}
}
