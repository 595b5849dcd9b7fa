/* SPDX-License-Identifier: MIT */

/*
 * balloon/keeper_proto.c: messages from whoever may connect, and records from whoever wrote them.
 */

#include "balloon/keeper_proto.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const char boot_id[] = "01234567-89ab-cdef-0123-456789abcdef";

static struct keeper_packet *new_packet(uint32_t type, uint32_t n_ranges)
{
	struct keeper_packet *packet = calloc(1, sizeof(*packet));

	cr_assert(ne(ptr, packet, NULL));
	packet->message.type = type;
	packet->message.n_ranges = n_ranges;
	return packet;
}

Test(keeper_proto, a_message_is_as_long_as_its_ranges_say)
{
	struct keeper_packet *packet = new_packet(KEEPER_RETURN, 3);
	size_t size = keeper_message_bytes(&packet->message);

	cr_expect(eq(sz, size, sizeof(packet->message) + 3 * sizeof(struct page_range)));
	cr_expect(eq(int, keeper_message_check(packet, size, 0), 0));
	cr_expect(eq(int, keeper_message_check(packet, size - 1, 0), KEEPER_MALFORMED));
	cr_expect(eq(int, keeper_message_check(packet, size + 16, 0), KEEPER_MALFORMED));
	cr_expect(eq(int, keeper_message_check(packet, sizeof(packet->message) - 1, 0),
		     KEEPER_MALFORMED));
	cr_expect(eq(int, keeper_message_check(packet, 0, 0), KEEPER_MALFORMED));
	free(packet);
}

Test(keeper_proto, a_message_that_cannot_be_is_malformed)
{
	static const struct {
		const char *what;
		struct keeper_message message;
		size_t n_fds;
	} rows[] = {
		{"no type", {.type = 0}, 0},
		{"a type that does not exist", {.type = KEEPER_N_MESSAGES}, 0},
		{"a source that does not exist", {.type = KEEPER_TAKE, .source = 2}, 0},
		{"an unknown flag", {.type = KEEPER_HELLO, .flags = 16}, 0},
		{"more ranges than fit", {.type = KEEPER_RETURN, .n_ranges = UINT32_MAX}, 0},
		{"fewer descriptors than named", {.type = KEEPER_PARK, .fds = 3}, 1},
		{"descriptors that are not named", {.type = KEEPER_PARK}, 1},
		{"a descriptor that does not exist", {.type = KEEPER_PARK, .fds = 1u << 8}, 1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct keeper_packet *packet = new_packet(0, 0);

		packet->message = rows[i].message;
		cr_expect(eq(int, keeper_message_check(packet, sizeof(packet->message), rows[i].n_fds),
			     KEEPER_MALFORMED),
			  "%s", rows[i].what);
		free(packet);
	}
}

Test(keeper_proto, a_range_beyond_the_last_page_is_malformed)
{
	struct keeper_packet *packet = new_packet(KEEPER_RETURN, 2);
	size_t size = keeper_message_bytes(&packet->message);

	packet->ranges[1] = (struct page_range){UINT64_MAX - 5, 5};
	cr_expect(eq(int, keeper_message_check(packet, size, 0), 0));
	packet->ranges[1].count = 6;
	cr_expect(eq(int, keeper_message_check(packet, size, 0), KEEPER_MALFORMED));
	free(packet);
}

Test(keeper_proto, descriptors_go_to_the_places_that_the_message_names)
{
	const struct keeper_message message = {
		.type = KEEPER_PARK,
		.fds = KEEPER_FD_BIT(KEEPER_FD_AREA) | KEEPER_FD_BIT(KEEPER_FD_SIGNAL),
	};
	const int fds[] = {70, 71};
	int sorted[KEEPER_N_FDS];

	keeper_message_sort_fds(&message, fds, sorted);
	for (int i = 0; i < KEEPER_N_FDS; i++)
		cr_expect(eq(int, sorted[i], i == KEEPER_FD_AREA     ? 70
					     : i == KEEPER_FD_SIGNAL ? 71
								     : -1));
}

Test(keeper_proto, a_message_with_any_bit_flipped_is_read_safely)
{
	struct keeper_packet *packet = new_packet(KEEPER_RETURN, 2);
	size_t size = keeper_message_bytes(&packet->message);
	uint8_t *bytes = (uint8_t *)packet;
	size_t n_refused = 0;

	for (size_t bit = 0; bit < 8 * size; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		n_refused += keeper_message_check(packet, size, 0) != 0;
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	cr_expect(ge(sz, n_refused, 32 + 32 + 32));
	free(packet);
}

Test(keeper_proto, a_record_can_be_read_in_the_same_boot_only)
{
	struct keeper_record record;

	keeper_record_init(&record, boot_id, 17);
	cr_expect(eq(int, keeper_record_check(&record, boot_id), 0));
	cr_expect(eq(int, keeper_record_check(&record, "other"), KEEPER_RECORD_NONE));
	cr_expect(eq(u32, record.pid, 17));
	memset(record.boot_id, 'x', sizeof(record.boot_id));
	cr_expect(eq(int, keeper_record_check(&record, boot_id), KEEPER_RECORD_NONE));
	record = (struct keeper_record){0};
	cr_expect(eq(int, keeper_record_check(&record, boot_id), KEEPER_RECORD_NONE));
}
