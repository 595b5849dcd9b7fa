/* SPDX-License-Identifier: MIT */

/*
 * balloon/dynmem_area.c: what was committed is there, whenever its writer was stopped; what is
 * broken is noticed.
 */

#include "balloon/dynmem_area.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

enum {
	CAPACITY = 8, /* entries */
	BYTES = 2 * 6144 + 2 * CAPACITY * 16,
	LOGS_AT = 2 * 6144,
};

static _Alignas(8) uint8_t memory[BYTES];

static void append(struct dynmem_area *area, uint64_t a, uint64_t b)
{
	dynmem_area_append(area, (struct dynmem_entry){{a, b}});
}

/* Entry after entry, and a payload that is their number. */
static void commit_some(struct dynmem_area *area, size_t n, uint64_t tag)
{
	uint64_t payload = tag;

	while (area->n < n)
		append(area, tag, area->n);
	dynmem_area_commit(area, &payload, sizeof(payload));
}

/* The tag of what is in the area; its entries must belong to it. */
static uint64_t open_tag(void *base)
{
	uint8_t payload[DYNMEM_AREA_PAYLOAD_MAX];
	struct dynmem_area area;
	uint64_t tag;

	cr_assert(eq(int, dynmem_area_open(&area, base, BYTES, payload), 0));
	memcpy(&tag, payload, sizeof(tag));
	for (size_t i = 0; i < area.n; i++) {
		cr_assert(le(u64, dynmem_area_entry(&area, i).words[0], tag));
		cr_assert(eq(u64, dynmem_area_entry(&area, i).words[1], i));
	}
	return tag;
}

Test(dynmem_area, nothing_is_in_an_area_before_the_first_commit)
{
	uint8_t payload[DYNMEM_AREA_PAYLOAD_MAX];
	struct dynmem_area area;

	memset(memory, 0xff, sizeof(memory));
	cr_expect(eq(int, dynmem_area_open(&area, memory, BYTES, payload), DYNMEM_AREA_BAD));
	dynmem_area_init(&area, memory, BYTES);
	cr_expect(eq(int, dynmem_area_open(&area, memory, BYTES, payload), DYNMEM_AREA_EMPTY));
	append(&area, 1, 0);
	cr_expect(eq(int, dynmem_area_open(&area, memory, BYTES, payload), DYNMEM_AREA_EMPTY));
}

Test(dynmem_area, the_last_commit_is_found_with_its_entries)
{
	uint8_t payload[DYNMEM_AREA_PAYLOAD_MAX];
	struct dynmem_area area, again;

	dynmem_area_init(&area, memory, BYTES);
	for (uint64_t i = 1; i <= CAPACITY; i++) {
		commit_some(&area, i, i);
		cr_assert(eq(u64, open_tag(memory), i));
	}
	cr_expect(eq(int, dynmem_area_open(&again, memory, BYTES, payload), 0));
	cr_expect(eq(sz, again.n, CAPACITY));
	cr_expect(eq(sz, again.capacity, CAPACITY));

	/* What was opened goes on as if it had never been closed. */
	dynmem_area_restart(&again);
	commit_some(&again, 2, 100);
	cr_expect(eq(u64, open_tag(memory), 100));
}

Test(dynmem_area, an_entry_too_many_asks_for_a_new_log_and_spoils_nothing)
{
	struct dynmem_area area;

	dynmem_area_init(&area, memory, BYTES);
	commit_some(&area, CAPACITY, 7);
	cr_expect(not(area.overflow));
	append(&area, 8, 8);
	cr_expect(area.overflow);
	append(&area, 8, 9);
	cr_expect(eq(u64, open_tag(memory), 7));
	dynmem_area_restart(&area);
	append(&area, 8, 0);
	cr_expect(eq(u64, open_tag(memory), 7));
	commit_some(&area, 1, 8);
	cr_expect(eq(u64, open_tag(memory), 8));
}

/* All ways of stopping the stores that lead from @before to what is in the memory now. */
static void stop_everywhere(const uint8_t *before, uint64_t old_tag, uint64_t new_tag)
{
	static _Alignas(8) uint8_t after[BYTES], torn[BYTES];
	size_t news = 0;

	memcpy(after, memory, BYTES);
	memcpy(torn, before, BYTES);
	for (size_t i = LOGS_AT; i < BYTES; i++) {
		if (torn[i] == after[i])
			continue;
		torn[i] = after[i];
		cr_assert(eq(u64, open_tag(torn), old_tag));
	}
	for (size_t i = 0; i < LOGS_AT; i++) {
		if (torn[i] == after[i])
			continue;
		torn[i] = after[i];
		news += open_tag(torn) == new_tag;
		cr_assert(news > 0 || open_tag(torn) == old_tag);
	}
	cr_expect(eq(sz, news, 1)); /* with the last store */
}

Test(dynmem_area, a_writer_that_is_stopped_at_any_store_leaves_the_old_state_or_the_new_one)
{
	static uint8_t before[BYTES];
	struct dynmem_area area;
	uint64_t tag = 1;

	dynmem_area_init(&area, memory, BYTES);
	commit_some(&area, 1, tag);
	for (int i = 0; i < 20; i++) {
		memcpy(before, memory, BYTES);
		if (area.n + 2 > CAPACITY)
			dynmem_area_restart(&area);
		commit_some(&area, area.n + 1 + i % 2, tag + 1);
		stop_everywhere(before, tag, tag + 1);
		tag++;
	}
}

/* The older head stands in for a broken one; a broken log is the end of both. */
Test(dynmem_area, a_flipped_bit_is_noticed)
{
	uint8_t payload[DYNMEM_AREA_PAYLOAD_MAX];
	struct dynmem_area area;
	int r;

	dynmem_area_init(&area, memory, BYTES);
	commit_some(&area, 2, 1);
	commit_some(&area, 4, 2);
	for (size_t bit = 0; bit < 8 * (LOGS_AT + 4 * 16); bit += bit < 8 * 64 ? 1 : 61) {
		bool in_log = bit >= 8 * LOGS_AT;

		memory[bit / 8] ^= 1 << bit % 8;
		r = dynmem_area_open(&area, memory, BYTES, payload);
		if (in_log)
			cr_expect(eq(int, r, DYNMEM_AREA_BAD), "bit %zu", bit);
		else
			cr_expect(eq(int, r, 0), "bit %zu", bit);
		memory[bit / 8] ^= 1 << bit % 8;
	}
	cr_expect(eq(u64, open_tag(memory), 2));
}

Test(dynmem_area, a_head_that_names_more_entries_than_there_is_room_for_is_bad)
{
	uint8_t payload[DYNMEM_AREA_PAYLOAD_MAX];
	struct dynmem_area area;

	dynmem_area_init(&area, memory, BYTES);
	commit_some(&area, CAPACITY, 1);
	cr_expect(eq(int, dynmem_area_open(&area, memory, BYTES - 32, payload), DYNMEM_AREA_BAD));
	cr_expect(eq(int, dynmem_area_open(&area, memory, LOGS_AT, payload), DYNMEM_AREA_BAD));
}
