/* SPDX-License-Identifier: MIT */

/*
 * UTF-16 and UTF-8.
 *
 * Both directions go character by character: one decoder yields a code point or says that there is
 * none at this place and how many bytes that takes; one encoder writes a code point whole or not at
 * all. So nothing is ever cut in the middle, and what comes out is always well-formed, whatever goes
 * in. Nothing is read behind the given size, or behind a NUL.
 *
 * What is no character: a surrogate without its other half, and half a unit at the end; in UTF-8, as
 * Unicode has it, overlong forms, surrogates, what is above U+10FFFF, and sequences that end too
 * early. Of these the longest beginning that could have been a character is replaced by one U+FFFD.
 */

#include "base/utf16.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define REPLACEMENT 0xfffdu
#define NO_CHARACTER UINT32_MAX

static unsigned int get_unit(const uint8_t *p)
{
	return p[0] | (unsigned int)p[1] << 8;
}

static bool is_high(unsigned int unit)
{
	return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low(unsigned int unit)
{
	return unit >= 0xdc00 && unit < 0xe000;
}

/* The character at @p, of which @left (at least 1) bytes may be read, and the bytes it takes. */
static uint32_t next_of_utf16(const uint8_t *p, size_t left, size_t *ret_used)
{
	unsigned int unit, low;

	*ret_used = left < 2 ? left : 2;
	if (left < 2)
		return NO_CHARACTER;
	unit = get_unit(p);
	if (!is_high(unit) && !is_low(unit))
		return unit;
	if (is_low(unit) || left < 4 || !is_low(low = get_unit(p + 2)))
		return NO_CHARACTER;
	*ret_used = 4;
	return 0x10000u + ((unit & 0x3ffu) << 10 | (low & 0x3ffu));
}

/* Writes the character to the @room bytes at @p; the bytes it took, or 0: there is no room. */
static size_t put_utf8(uint32_t character, char *p, size_t room)
{
	static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t n = 1 + (character >= 0x80) + (character >= 0x800) + (character >= 0x10000);

	if (n > room)
		return 0;
	for (size_t i = n; i-- > 1; character >>= 6)
		p[i] = (char)(0x80 | (character & 0x3f));
	p[0] = (char)(marks[n] | character);
	return n;
}

int utf16_to_utf8(const void *data, size_t size, unsigned int flags, char *ret_text,
		  size_t text_size)
{
	const uint8_t *p = data;
	size_t n = 0, used, written;

	assert(text_size > 0);
	ret_text[0] = '\0';
	for (; size > 0; p += used, size -= used, n += written) {
		uint32_t character = next_of_utf16(p, size, &used);

		if (character == 0)
			break;
		if (character == NO_CHARACTER && !(flags & UTF16_REPLACE)) {
			ret_text[0] = '\0';
			return UTF16_INVALID;
		}
		written = put_utf8(character == NO_CHARACTER ? REPLACEMENT : character, ret_text + n,
				   text_size - 1 - n);
		if (written == 0 && !(flags & UTF16_CUT)) {
			ret_text[0] = '\0';
			return UTF16_NO_ROOM;
		}
		if (written == 0)
			break;
	}
	ret_text[n] = '\0';
	return 0;
}

/* What may follow the first byte of a sequence; Unicode 15, table 3-7. */
struct sequence {
	size_t n; /* bytes; 0: there is no such sequence */
	uint8_t second_min, second_max;
};

static struct sequence sequence_of(uint8_t first)
{
	if (first < 0x80)
		return (struct sequence){1, 0, 0};
	if (first < 0xc2 || first > 0xf4)
		return (struct sequence){0, 0, 0};
	if (first < 0xe0)
		return (struct sequence){2, 0x80, 0xbf};
	if (first < 0xf0)
		return (struct sequence){3, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf};
	return (struct sequence){4, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf};
}

/* The character at @p, which is not at the NUL, and the bytes it takes. */
static uint32_t next_of_utf8(const uint8_t *p, size_t *ret_used)
{
	struct sequence s = sequence_of(p[0]);
	uint32_t character;

	*ret_used = 1;
	if (s.n < 2)
		return s.n ? p[0] : NO_CHARACTER;
	if (p[1] < s.second_min || p[1] > s.second_max)
		return NO_CHARACTER;
	character = (uint32_t)(p[0] & (0x7f >> s.n)) << 6 | (p[1] & 0x3f);
	for (size_t i = 2; i < s.n; i++) {
		*ret_used = i;
		if ((p[i] & 0xc0) != 0x80)
			return NO_CHARACTER;
		character = character << 6 | (p[i] & 0x3f);
	}
	*ret_used = s.n;
	return character;
}

static void put_unit(uint8_t *p, uint32_t unit)
{
	p[0] = (uint8_t)unit;
	p[1] = (uint8_t)(unit >> 8);
}

/* Likewise; without @p only the size is told. */
static size_t put_utf16(uint32_t character, uint8_t *p, size_t room)
{
	size_t n = character < 0x10000 ? 2 : 4;

	if (n > room)
		return 0;
	if (!p)
		return n;
	if (n == 2) {
		put_unit(p, character);
	} else {
		put_unit(p, 0xd800u | (character - 0x10000u) >> 10);
		put_unit(p + 2, 0xdc00u | (character & 0x3ffu));
	}
	return n;
}

/* As utf8_to_utf16(); only counts if @target is NULL. */
static int convert(const char *text, unsigned int flags, uint8_t *target, size_t room, size_t *ret_n)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t n = 0, used, written;

	for (; *p; p += used, n += written) {
		uint32_t character = next_of_utf8(p, &used);

		if (character == NO_CHARACTER && !(flags & UTF16_REPLACE))
			return UTF16_INVALID;
		written = put_utf16(character == NO_CHARACTER ? REPLACEMENT : character,
				    target ? target + n : NULL, room - n);
		if (written == 0 && !(flags & UTF16_CUT))
			return UTF16_NO_ROOM;
		if (written == 0)
			break;
	}
	*ret_n = n;
	return 0;
}

int utf8_to_utf16(const char *text, unsigned int flags, void *ret_data, size_t size,
		  size_t *ret_size)
{
	size_t n;
	int r;

	assert(size >= 2 && size % 2 == 0);
	r = convert(text, flags, NULL, size - 2, &n);
	if (r)
		return r;
	r = convert(text, flags, ret_data, size - 2, &n);
	assert(r == 0);
	put_unit((uint8_t *)ret_data + n, 0);
	*ret_size = n + 2;
	return r;
}
