/* SPDX-License-Identifier: MIT */

/*
 * vmbus/shm_wire.c and vmbus/guid.c: what the lab's two sides say to each other.
 */

#include "vmbus/shm_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const struct shm_message sample = {
	.type = SHM_OFFER,
	.channel_id = 0x11121314,
	.version = 0x21222324,
	.status = 0x31323334,
	.ring_size = 0x41424344,
	.memory_pages = 0x5152535455565758,
	.name = "guest-1",
	.class_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
	.instance_id = {{17, 18, 19}},
};

Test(shm_wire, what_is_encoded_is_decoded)
{
	uint8_t wire[SHM_MESSAGE_SIZE];
	struct shm_message m;

	shm_encode(&sample, wire);
	cr_assert(eq(int, shm_decode(wire, sizeof(wire), &m), 0));
	cr_expect(eq(u32, m.type, sample.type));
	cr_expect(eq(u32, m.channel_id, sample.channel_id));
	cr_expect(eq(u32, m.version, sample.version));
	cr_expect(eq(u32, m.status, sample.status));
	cr_expect(eq(u32, m.ring_size, sample.ring_size));
	cr_expect(eq(u64, m.memory_pages, sample.memory_pages));
	cr_expect(eq(str, m.name, (char *)"guest-1"));
	cr_expect(vmbus_guid_equal(&m.class_id, &sample.class_id));
	cr_expect(vmbus_guid_equal(&m.instance_id, &sample.instance_id));
}

Test(shm_wire, any_other_length_is_malformed)
{
	struct shm_message m;

	for (size_t n = 0; n < 2 * SHM_MESSAGE_SIZE; n++) {
		uint8_t *exact = calloc(1, n + 1);

		exact[0] = SHM_OPEN;
		cr_expect(eq(int, shm_decode(exact, n, &m), n == SHM_MESSAGE_SIZE ? 0 : SHM_MALFORMED));
		free(exact);
	}
}

Test(shm_wire, a_type_that_does_not_exist_is_malformed_and_every_flipped_bit_is_survived)
{
	uint8_t wire[SHM_MESSAGE_SIZE];
	struct shm_message m;

	for (size_t bit = 0; bit < sizeof(wire) * 8; bit++) {
		shm_encode(&sample, wire);
		wire[bit / 8] ^= 1u << bit % 8;
		if (shm_decode(wire, sizeof(wire), &m) == 0)
			cr_expect(m.type >= SHM_HELLO && m.type <= SHM_RELEASE);
	}
	shm_encode(&sample, wire);
	wire[0] = SHM_RELEASE + 1;
	cr_expect(eq(int, shm_decode(wire, sizeof(wire), &m), SHM_MALFORMED));
	wire[0] = 0;
	cr_expect(eq(int, shm_decode(wire, sizeof(wire), &m), SHM_MALFORMED));
}

Test(shm_wire, a_name_without_an_end_is_ended)
{
	uint8_t wire[SHM_MESSAGE_SIZE];
	struct shm_message m = sample;

	memset(m.name, 'x', sizeof(m.name));
	shm_encode(&m, wire);
	cr_assert(eq(int, shm_decode(wire, sizeof(wire), &m), 0));
	cr_expect(eq(sz, strlen(m.name), SHM_NAME_SIZE - 1));
}

Test(shm_wire, names_are_plain_words)
{
	static const struct {
		const char *name;
		bool valid;
	} rows[] = {
		{"a", true},      {"db-1.example_x", true}, {"9", true},
		{"", false},      {"-a", false},            {".", false},
		{"../x", false},  {"a b", false},           {"a/b", false},
		{"a\n", false},   {"\xc3\xa4", false},
		{"123456789012345678901234567890123456789012345678901234567890123", true},
		{"1234567890123456789012345678901234567890123456789012345678901234", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(int, shm_name_is_valid(rows[i].name), rows[i].valid), "%s",
			  rows[i].name);
}

Test(guid, classes_read_as_in_the_documents)
{
	static const struct {
		const struct vmbus_guid *id;
		const char *text, *name;
	} rows[] = {
		{&vmbus_class_heartbeat, "57164f39-9115-4e78-ab55-382f3bd5422d", "heartbeat"},
		{&vmbus_class_vss, "35fa2e29-ea23-4236-96ae-3a6ebacba440", "vss"},
		{&vmbus_class_dynmem, "525074dc-8985-46e2-8057-a307dc18a502", "dynmem"},
		{&sample.class_id, "04030201-0605-0807-090a-0b0c0d0e0f10", "unknown"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[VMBUS_GUID_TEXT_SIZE];

		vmbus_guid_format(rows[i].id, text);
		cr_expect(eq(int, strcmp(text, rows[i].text), 0), "%s", text);
		cr_expect(eq(int, strcmp(vmbus_class_name(rows[i].id), rows[i].name), 0));
	}
}
