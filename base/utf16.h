/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Text as hosts have it, UTF-16 in little-endian order, and as this machine has it, UTF-8.
 */

/* What to do with what cannot be converted as it is; otherwise it is a condition. */
enum utf16_flag {
	UTF16_REPLACE = 1, /* an unpaired surrogate, half a unit, bytes that are no UTF-8: U+FFFD */
	UTF16_CUT = 2,     /* text that does not fit ends after the last whole character that does */
};

/* The conditions of both functions. */
enum {
	UTF16_INVALID = 1, /* not text, and not UTF16_REPLACE */
	UTF16_NO_ROOM,     /* longer than the target, and not UTF16_CUT */
};

/*
 * Converts the @size bytes at @data up to the first NUL unit or to their end, whichever comes first.
 * @ret_text has room for @text_size (at least 1) bytes with the NUL that is always written.
 * UTF16_INVALID, UTF16_NO_ROOM: @ret_text is then empty.
 */
_must_check_ int utf16_to_utf8(const void *data, size_t size, unsigned int flags, char *ret_text,
			       size_t text_size);

/*
 * Converts @text. @ret_data has room for @size (at least 2, even) bytes with the NUL unit that is
 * always written; *ret_size is what was written, that unit included. Bytes behind are as they were.
 * UTF16_INVALID, UTF16_NO_ROOM: the target is as it was.
 */
_must_check_ int utf8_to_utf16(const char *text, unsigned int flags, void *ret_data, size_t size,
			       size_t *ret_size);
