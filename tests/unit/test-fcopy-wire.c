/* SPDX-License-Identifier: MIT */

/*
 * services/fcopy_wire.c: file copy's messages, right ones and wrong ones.
 */

#include "services/fcopy_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

/* 260 units of which 259 are U+4E2D: 777 bytes of UTF-8. */
static void fill_han(char text[FCOPY_TEXT_SIZE])
{
	text[0] = '\0';
	for (int i = 0; i < 259; i++)
		strcat(text, "\xe4\xb8\xad");
}

static void check_round_trip(const char *directory, const char *name)
{
	uint8_t message[FCOPY_START_SIZE];
	struct fcopy_start start;
	uint32_t operation;

	cr_assert(eq(int, fcopy_encode_start(directory, name, 3, 0x123456789abcull, message), 0));
	cr_assert(eq(int, fcopy_decode_operation(message, sizeof(message), &operation), 0));
	cr_expect(eq(u32, operation, FCOPY_OP_START));
	cr_assert(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF16, &start), 0));
	cr_expect(strcmp(start.directory, directory) == 0);
	cr_expect(strcmp(start.name, name) == 0);
	cr_expect(eq(u32, start.flags, 3));
	cr_expect(eq(u64, start.size_bytes, 0x123456789abcull));
}

Test(fcopy_wire, a_start_arrives_as_it_was_sent_whatever_its_alphabet)
{
	char han[FCOPY_TEXT_SIZE];

	fill_han(han);
	check_round_trip("/srv/in", "plain.bin");
	check_round_trip("/srv/\xc3\xa4\xc3\xb6", "\xd0\xbf\xd1\x80\xd0\xb8");
	check_round_trip("/", "\xf0\x9f\x90\xa7.png"); /* a surrogate pair */
	check_round_trip(han, han);
	check_round_trip("", "");
}

Test(fcopy_wire, names_that_do_not_fit_or_are_no_text_are_not_encoded)
{
	uint8_t message[FCOPY_START_SIZE];
	char han[FCOPY_TEXT_SIZE + 3];

	fill_han(han);
	strcat(han, "x");
	cr_expect(eq(int, fcopy_encode_start("/", han, 0, 0, message), FCOPY_BAD_TEXT));
	cr_expect(eq(int, fcopy_encode_start("\xff", "a", 0, 0, message), FCOPY_BAD_TEXT));
}

Test(fcopy_wire, a_name_that_is_no_text_is_refused)
{
	static const struct {
		const char *what;
		uint16_t units[4];
	} rows[] = {
		{"a high surrogate at the end", {'a', 0xd83d, 0, 0}},
		{"a high surrogate alone", {0xd83d, 'a', 0, 0}},
		{"a low surrogate first", {0xdc27, 0xd83d, 0, 0}},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t at = FCOPY_HEADER_SIZE; at < FCOPY_START_SIZE - 12; at += FCOPY_NAME_SIZE) {
			uint8_t message[FCOPY_START_SIZE];
			struct fcopy_start start;

			cr_assert(eq(int, fcopy_encode_start("/d", "n", 0, 0, message), 0));
			memcpy(message + at, rows[i].units, sizeof(rows[i].units));
			cr_expect(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF16, &start),
				     FCOPY_BAD_TEXT), "%s", rows[i].what);
		}
	}
}

Test(fcopy_wire, a_name_without_an_end_is_refused)
{
	uint8_t message[FCOPY_START_SIZE];
	struct fcopy_start start;

	for (size_t at = FCOPY_HEADER_SIZE; at < FCOPY_START_SIZE - 12; at += FCOPY_NAME_SIZE) {
		cr_assert(eq(int, fcopy_encode_start("/d", "n", 0, 0, message), 0));
		for (size_t i = 0; i < FCOPY_NAME_SIZE; i += 2)
			memcpy(message + at + i, "x", 2);
		cr_expect(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF16, &start),
			     FCOPY_BAD_TEXT));
		memset(message + at, 'x', FCOPY_NAME_SIZE);
		cr_expect(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF8, &start),
			     FCOPY_BAD_TEXT));
	}
}

/* What the kernel's device hands on. */
static void make_device_start(uint8_t message[FCOPY_START_SIZE], const char *directory,
			      const char *name)
{
	memset(message, 0, FCOPY_START_SIZE);
	strcpy((char *)message + FCOPY_HEADER_SIZE, name);
	strcpy((char *)message + FCOPY_HEADER_SIZE + FCOPY_NAME_SIZE, directory);
	message[FCOPY_START_SIZE - 8] = 7;
}

Test(fcopy_wire, the_device_has_names_in_utf8_and_one_that_may_be_cut_is_refused)
{
	uint8_t message[FCOPY_START_SIZE];
	struct fcopy_start start;
	char name[300];

	make_device_start(message, "/srv/\xc3\xa4", "\xf0\x9f\x90\xa7");
	cr_assert(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF8, &start), 0));
	cr_expect(strcmp(start.directory, "/srv/\xc3\xa4") == 0);
	cr_expect(strcmp(start.name, "\xf0\x9f\x90\xa7") == 0);
	cr_expect(eq(u64, start.size_bytes, 7));

	make_device_start(message, "/srv", "half a \xc3");
	cr_expect(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF8, &start),
		     FCOPY_BAD_TEXT));
	memset(name, 'n', sizeof(name));
	name[258] = '\0';
	make_device_start(message, "/srv", name);
	cr_expect(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF8, &start), 0));
	name[258] = 'n';
	name[259] = '\0';
	make_device_start(message, "/srv", name);
	cr_expect(eq(int, fcopy_decode_start(message, sizeof(message), FCOPY_UTF8, &start),
		     FCOPY_BAD_TEXT));
}

Test(fcopy_wire, a_fragment_may_end_with_its_data_and_no_sooner)
{
	uint8_t message[FCOPY_WRITE_SIZE], data[FCOPY_FRAGMENT_MAX];
	struct fcopy_fragment fragment;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (uint32_t n = 0; n <= sizeof(data); n += 96) {
		fcopy_encode_write(UINT64_MAX - n, data, n, message);
		cr_assert(eq(int, fcopy_decode_write(message, FCOPY_DATA_OFFSET + n, &fragment), 0));
		cr_expect(eq(u64, fragment.offset, UINT64_MAX - n));
		cr_expect(eq(u32, fragment.size, n));
		cr_expect(eq(int, memcmp(fragment.data, data, n), 0));
		if (n > 0)
			cr_expect(eq(int, fcopy_decode_write(message, FCOPY_DATA_OFFSET + n - 1, &fragment),
				     FCOPY_TOO_SHORT));
	}
}

Test(fcopy_wire, a_fragment_that_is_too_large_is_refused)
{
	static const uint32_t sizes[] = {FCOPY_FRAGMENT_MAX + 1, 65536, INT32_MAX, UINT32_MAX};
	uint8_t message[2 * FCOPY_WRITE_SIZE] = {FCOPY_OP_WRITE};
	struct fcopy_fragment fragment;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memcpy(message + 48, &sizes[i], 4);
		cr_expect(eq(int, fcopy_decode_write(message, sizeof(message), &fragment),
			     FCOPY_BAD_SIZE));
	}
}

static void decode_all(const uint8_t *message, size_t size)
{
	static struct fcopy_start start;
	struct fcopy_fragment fragment;
	uint32_t operation;

	(void)!fcopy_decode_operation(message, size, &operation);
	for (int encoding = FCOPY_UTF16; encoding <= FCOPY_UTF8; encoding++)
		if (fcopy_decode_start(message, size, encoding, &start) == 0)
			cr_expect(strlen(start.name) < FCOPY_TEXT_SIZE &&
				  strlen(start.directory) < FCOPY_TEXT_SIZE);
	if (fcopy_decode_write(message, size, &fragment) == 0)
		cr_expect(fragment.size <= FCOPY_FRAGMENT_MAX && fragment.data >= message &&
			  fragment.data + fragment.size <= message + size);
}

/* In blocks of their exact size, for the address sanitizer. */
static void maul(const uint8_t *message, size_t size)
{
	uint8_t *copy = malloc(size);

	for (size_t bit = 0; bit < size * 8; bit++) {
		memcpy(copy, message, size);
		copy[bit / 8] ^= 1 << bit % 8;
		decode_all(copy, size);
	}
	free(copy);
	for (size_t n = 0; n < size; n++) {
		copy = malloc(n ? n : 1);
		memcpy(copy, message, n);
		decode_all(copy, n);
		free(copy);
	}
}

Test(fcopy_wire, every_flipped_bit_and_every_length_stays_inside_of_the_message)
{
	uint8_t message[FCOPY_WRITE_SIZE], data[64] = {1, 2, 3};

	cr_assert(eq(int, fcopy_encode_start("/srv/\xf0\x9f\x90\xa7", "na\xc3\xafve", 1, 99, message), 0));
	maul(message, FCOPY_START_SIZE);
	fcopy_encode_write(4096, data, sizeof(data), message);
	maul(message, FCOPY_DATA_OFFSET + sizeof(data));
	fcopy_encode_operation(FCOPY_OP_COMPLETE, message);
	maul(message, FCOPY_HEADER_SIZE);
}

Test(fcopy_wire, every_start_that_is_too_short_is_refused)
{
	uint8_t message[FCOPY_START_SIZE];
	struct fcopy_start start;
	uint32_t operation;

	cr_assert(eq(int, fcopy_encode_start("/srv", "n", 1, 99, message), 0));
	for (size_t n = 0; n < sizeof(message); n++) {
		cr_expect(eq(int, fcopy_decode_start(message, n, FCOPY_UTF16, &start),
			     FCOPY_TOO_SHORT));
		cr_expect(eq(int, fcopy_decode_operation(message, n, &operation),
			     n < FCOPY_HEADER_SIZE ? FCOPY_TOO_SHORT : 0));
	}
}
