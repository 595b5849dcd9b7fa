/* SPDX-License-Identifier: MIT */

/*
 * base/utf16.c. Every code point goes there and back; what is no character comes from tables. Inputs
 * and outputs are heap buffers of their exact size, so that a sanitizer sees each byte beyond.
 */

#include "base/cleanup.h"
#include "base/utf16.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#define REPLACED "\xef\xbf\xbd"

static uint8_t *copy_of(const void *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	cr_assert(copy != NULL);
	memcpy(copy, data, size);
	return copy;
}

/* By the rules as they are written in RFC 3629 and RFC 2781, and not as base/utf16.c has them. */
static void encode(uint32_t c, char utf8[5], uint8_t utf16[4], size_t *ret_units)
{
	memset(utf8, 0, 5);
	if (c < 0x80)
		snprintf(utf8, 5, "%c", (int)c);
	else if (c < 0x800)
		snprintf(utf8, 5, "%c%c", (int)(0xc0 + c / 64), (int)(0x80 + c % 64));
	else if (c < 0x10000)
		snprintf(utf8, 5, "%c%c%c", (int)(0xe0 + c / 4096), (int)(0x80 + c / 64 % 64),
			 (int)(0x80 + c % 64));
	else
		snprintf(utf8, 5, "%c%c%c%c", (int)(0xf0 + c / 262144), (int)(0x80 + c / 4096 % 64),
			 (int)(0x80 + c / 64 % 64), (int)(0x80 + c % 64));
	if (c < 0x10000) {
		utf16[0] = c % 256;
		utf16[1] = c / 256;
		*ret_units = 1;
	} else {
		uint32_t high = 0xd800 + (c - 0x10000) / 1024, low = 0xdc00 + (c - 0x10000) % 1024;

		utf16[0] = high % 256;
		utf16[1] = high / 256;
		utf16[2] = low % 256;
		utf16[3] = low / 256;
		*ret_units = 2;
	}
}

Test(utf16, every_code_point_goes_both_ways)
{
	char utf8[5], text[5];
	uint8_t utf16[4], data[6];
	size_t units, size;

	for (uint32_t c = 1; c <= 0x10ffff; c++) {
		if (c >= 0xd800 && c < 0xe000)
			continue;
		encode(c, utf8, utf16, &units);
		if (utf16_to_utf8(utf16, 2 * units, 0, text, sizeof(text)) || strcmp(text, utf8) != 0)
			cr_fatal("U+%04X to UTF-8", c);
		if (utf8_to_utf16(utf8, 0, data, 2 * units + 2, &size) || size != 2 * units + 2 ||
		    memcmp(data, utf16, 2 * units) != 0 || data[size - 1] || data[size - 2])
			cr_fatal("U+%04X to UTF-16", c);
	}
}

Test(utf16, every_surrogate_alone_is_invalid_or_replaced)
{
	char text[8];

	for (unsigned int c = 0xd800; c < 0xe000; c++) {
		const uint8_t alone[2] = {c % 256, c / 256}, then_a[4] = {c % 256, c / 256, 'a', 0};

		cr_assert(eq(int, utf16_to_utf8(alone, 2, 0, text, sizeof(text)), UTF16_INVALID));
		cr_assert(eq(str, text, ""));
		cr_assert(eq(int, utf16_to_utf8(alone, 2, UTF16_REPLACE, text, sizeof(text)), 0));
		cr_assert(eq(str, text, REPLACED));
		cr_assert(eq(int, utf16_to_utf8(then_a, 4, UTF16_REPLACE, text, sizeof(text)), 0));
		cr_assert(eq(str, text, REPLACED "a"));
	}
}

Test(utf16, what_hosts_may_send_becomes_text)
{
	static const struct {
		const char *name;
		uint8_t data[16];
		size_t size;
		int strict; /* condition without flags */
		const char *text;
	} rows[] = {
		{"nothing", {0}, 0, 0, ""},
		{"only a NUL", {0, 0}, 2, 0, ""},
		{"without a NUL", {'a', 0, 'b', 0}, 4, 0, "ab"},
		{"a NUL in the middle ends it", {'a', 0, 0, 0, 'b', 0}, 6, 0, "a"},
		{"behind a NUL anything may stand", {'a', 0, 0, 0, 0, 0xd8}, 6, 0, "a"},
		{"half a unit", {'a'}, 1, UTF16_INVALID, REPLACED},
		{"half a unit at the end", {'a', 0, 'b'}, 3, UTF16_INVALID, "a" REPLACED},
		{"half a unit behind a NUL", {'a', 0, 0, 0, 'b'}, 5, 0, "a"},
		{"half of the second surrogate", {0x3d, 0xd8, 0x00}, 3, UTF16_INVALID, REPLACED REPLACED},
		{"surrogates the wrong way round", {0x00, 0xde, 0x3d, 0xd8}, 4, UTF16_INVALID,
		 REPLACED REPLACED},
		{"two first surrogates", {0x3d, 0xd8, 0x3d, 0xd8, 0x00, 0xde}, 6, UTF16_INVALID,
		 REPLACED "\xf0\x9f\x98\x80"},
		{"a byte order mark stays", {0xff, 0xfe, 'a', 0}, 4, 0, "\xef\xbb\xbf" "a"},
		{"a noncharacter stays", {0xff, 0xff}, 2, 0, "\xef\xbf\xbf"},
		{"a NUL between surrogates", {0x3d, 0xd8, 0, 0}, 4, UTF16_INVALID, REPLACED},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ uint8_t *data = copy_of(rows[i].data, rows[i].size);
		char text[32];

		cr_expect(eq(int, utf16_to_utf8(data, rows[i].size, 0, text, sizeof(text)),
			     rows[i].strict), "%s", rows[i].name);
		cr_expect(eq(int, utf16_to_utf8(data, rows[i].size, UTF16_REPLACE, text, sizeof(text)),
			     0));
		cr_expect(eq(int, strcmp(text, rows[i].text), 0), "%s", rows[i].name);
	}
}

Test(utf16, bytes_that_are_no_utf8_are_invalid_or_replaced_once_each)
{
	static const struct {
		const char *text, *replaced; /* as UTF-8 again */
	} rows[] = {
		{"\x80", REPLACED},                     /* goes on with nothing */
		{"a\xff" "b", "a" REPLACED "b"},        /* never occurs */
		{"\xc3", REPLACED},                     /* ends too early */
		{"\xc3(", REPLACED "("},
		{"\xe2\x82", REPLACED},
		{"\xe2\x82x", REPLACED "x"},
		{"\xf0\x9f\x98", REPLACED},
		{"\xf0\x9f" "A", REPLACED "A"},
		{"\xc0\x80", REPLACED REPLACED},        /* overlong NUL */
		{"\xc1\xbf", REPLACED REPLACED},
		{"\xe0\x9f\xbf", REPLACED REPLACED REPLACED},
		{"\xf0\x8f\xbf\xbf", REPLACED REPLACED REPLACED REPLACED},
		{"\xed\xa0\x80", REPLACED REPLACED REPLACED}, /* a surrogate */
		{"\xf4\x90\x80\x80", REPLACED REPLACED REPLACED REPLACED}, /* above U+10FFFF */
		{"\xf5\x80\x80\x80", REPLACED REPLACED REPLACED REPLACED},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		_cleanup_free_ char *text = (char *)copy_of(rows[i].text, strlen(rows[i].text) + 1);
		uint8_t data[32];
		char back[64];
		size_t size;

		memset(data, 0xee, sizeof(data));
		cr_expect(eq(int, utf8_to_utf16(text, 0, data, sizeof(data), &size), UTF16_INVALID));
		cr_expect(eq(u8, data[0], 0xee));
		cr_assert(eq(int, utf8_to_utf16(text, UTF16_REPLACE, data, sizeof(data), &size), 0));
		cr_assert(eq(int, utf16_to_utf8(data, size, 0, back, sizeof(back)), 0));
		cr_expect(eq(int, strcmp(back, rows[i].replaced), 0), "row %zu", i);
	}
}

Test(utf16, text_that_does_not_fit_is_refused_or_ends_after_a_whole_character)
{
	/* a, U+00E9, U+20AC, U+1F600 */
	static const char whole[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
	static const uint8_t data[] = {'a', 0, 0xe9, 0, 0xac, 0x20, 0x3d, 0xd8, 0x00, 0xde};
	static const size_t ends8[] = {0, 1, 3, 6, 10}, ends16[] = {0, 2, 4, 6, 10};

	for (size_t room = 1; room <= sizeof(whole); room++) {
		_cleanup_free_ char *text = malloc(room);
		size_t n = 4;

		while (ends8[n] > room - 1)
			n--;
		cr_expect(eq(int, utf16_to_utf8(data, sizeof(data), 0, text, room),
			     room < sizeof(whole) ? UTF16_NO_ROOM : 0));
		cr_expect(eq(int, utf16_to_utf8(data, sizeof(data), UTF16_CUT, text, room), 0));
		cr_expect(eq(sz, strlen(text), ends8[n]));
		cr_expect(eq(int, memcmp(text, whole, ends8[n]), 0));
	}
	for (size_t room = 2; room <= sizeof(data) + 2; room += 2) {
		_cleanup_free_ uint8_t *out = malloc(room);
		size_t n = 4, size;

		while (ends16[n] > room - 2)
			n--;
		cr_expect(eq(int, utf8_to_utf16(whole, 0, out, room, &size),
			     room < sizeof(data) + 2 ? UTF16_NO_ROOM : 0));
		cr_expect(eq(int, utf8_to_utf16(whole, UTF16_CUT, out, room, &size), 0));
		cr_expect(eq(sz, size, ends16[n] + 2));
		cr_expect(eq(int, memcmp(out, data, ends16[n]), 0));
		cr_expect(eq(int, out[size - 2] | out[size - 1], 0));
	}
}
