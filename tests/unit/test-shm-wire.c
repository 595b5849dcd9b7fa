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

Test(guid, known_classes_are_named_whoever_serves_them)
{
	static const struct {
		const char *text, *name;
	} rows[] = {
		{"{0e0b6031-5213-4934-818b-38d90ced39db}", "shutdown"},
		{"9527E630-D0AE-497B-ADCE-E80AB0175CAF", "timesync"},
		{"a9a0f4e7-5a45-4d96-b827-8a841e8c03e6", "kvp"},
		{"34d14be3-dee4-41c8-9ae7-6b174977c192", "fcopy"},
		{"f8615163-df3e-46c5-913f-f2d2f965ed0e", "network"},
		{"ba6163d9-04a1-4d29-b605-72e2ffb1dc7f", "scsi"},
		{"32412632-86cb-44a2-9b5c-50d1417354f5", "ide"},
		{"2f9bcc4a-0069-4af3-b76b-6fd0be528cda", "fibre-channel"},
		{"8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501", "rdma"},
		{"44c4f61d-4444-4400-9d52-802e27ede19f", "pci"},
		{"f912ad6d-2b17-48ea-bd65-f927a61c7684", "keyboard"},
		{"cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a", "mouse"},
		{"da0a7802-e377-4aac-8e77-0558eb1073f8", "video"},
		{"276aacf4-ac15-426c-98dd-7521ad3f01fe", "remote-desktop"},
		{"f8e65716-3cb3-4a06-9a60-1889c5cccab5", "activation"},
		{"3375baf4-9e15-4b30-b765-67acb10d607b", "activation-2"},
		{"c376c1c3-d276-48d2-90a9-c04748072c60", "boot-files"},
		{"8b60ccf6-709f-4c11-90b5-229c959a9e6a", "serial"},
		{"00000000-0000-0000-0000-000000000000", "unknown"},
	};
	struct vmbus_guid guid;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_assert(vmbus_guid_parse(rows[i].text, &guid), "%s", rows[i].text);
		cr_expect(eq(int, strcmp(vmbus_class_name(&guid), rows[i].name), 0), "%s",
			  rows[i].name);
	}
}

Test(guid, a_text_that_is_no_guid_is_refused)
{
	static const char *const texts[] = {
		"",
		"{}",
		"57164f39-9115-4e78-ab55-382f3bd5422",
		"57164f39-9115-4e78-ab55-382f3bd5422dd",
		"57164f39-9115-4e78-ab55-382f3bd5422g",
		"57164f39-9115-4e78-ab553382f3bd5422d",
		"{57164f39-9115-4e78-ab55-382f3bd5422d",
		"57164f39-9115-4e78-ab55-382f3bd5422d}",
		"{57164f39-9115-4e78-ab55-382f3bd5422d)",
		" 57164f39-9115-4e78-ab55-382f3bd5422d",
	};
	struct vmbus_guid guid;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_expect(not(vmbus_guid_parse(texts[i], &guid)), "%s", texts[i]);
}
