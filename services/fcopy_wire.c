/* SPDX-License-Identifier: MIT */

/*
 * File copy's messages, to and from bytes.
 *
 * Names are the delicate part. On a ring they are UTF-16 in arrays of 260 units; one that is not
 * text (an unpaired surrogate) is refused rather than mended, because a file under another name
 * than the host believes helps nobody. So is one without an end. The kernel's device has UTF-8 in
 * the same arrays, and cuts it after 259 bytes without a word, in the middle of a character if need
 * be; so a name of that length is refused, too: whether it was cut cannot be told.
 *
 * docs/PROTOCOL-fcopy.md section 3. A WRITE is as long as the largest fragment whatever its size,
 * but one that ends with its data is understood as well. What lies behind the data is never looked
 * at.
 */

#include "services/fcopy_wire.h"

#include "base/bytes.h"
#include "base/utf16.h"

#include <string.h>

int fcopy_decode_operation(const void *message, size_t size, uint32_t *ret_operation)
{
	struct bytes_reader in;
	uint32_t operation;

	bytes_reader_init(&in, message, size);
	operation = bytes_get_u32(&in);
	bytes_skip(&in, FCOPY_HEADER_SIZE - 4);
	if (!bytes_reader_ok(&in))
		return FCOPY_TOO_SHORT;
	*ret_operation = operation;
	return 0;
}

/* A name as the kernel's device has it. */
static int take_utf8(const uint8_t *field, char *ret_text)
{
	uint8_t scratch[2 * FCOPY_NAME_SIZE];
	const uint8_t *end = memchr(field, 0, FCOPY_NAME_SIZE);
	size_t n;

	if (!end || end - field >= FCOPY_DEVICE_NAME_MAX)
		return FCOPY_BAD_TEXT;
	memcpy(ret_text, field, (size_t)(end - field) + 1);
	return utf8_to_utf16(ret_text, 0, scratch, sizeof(scratch), &n) ? FCOPY_BAD_TEXT : 0;
}

static int take_utf16(const uint8_t *field, char *ret_text)
{
	size_t n = 0;

	while (n < FCOPY_NAME_SIZE && (field[n] != 0 || field[n + 1] != 0))
		n += 2;
	if (n == FCOPY_NAME_SIZE)
		return FCOPY_BAD_TEXT;
	return utf16_to_utf8(field, n, 0, ret_text, FCOPY_TEXT_SIZE) ? FCOPY_BAD_TEXT : 0;
}

int fcopy_decode_start(const void *message, size_t size, enum fcopy_encoding encoding,
		       struct fcopy_start *ret_start)
{
	int (*take)(const uint8_t *field, char *ret_text) =
		encoding == FCOPY_UTF8 ? take_utf8 : take_utf16;
	const uint8_t *name, *directory;
	struct fcopy_start start;
	struct bytes_reader in;

	bytes_reader_init(&in, message, size);
	bytes_skip(&in, FCOPY_HEADER_SIZE);
	name = bytes_get_direct(&in, FCOPY_NAME_SIZE);
	directory = bytes_get_direct(&in, FCOPY_NAME_SIZE);
	start.flags = bytes_get_u32(&in);
	start.size_bytes = bytes_get_u64(&in);
	if (!bytes_reader_ok(&in))
		return FCOPY_TOO_SHORT;
	if (take(name, start.name) || take(directory, start.directory))
		return FCOPY_BAD_TEXT;
	*ret_start = start;
	return 0;
}

int fcopy_decode_write(const void *message, size_t size, struct fcopy_fragment *ret_fragment)
{
	struct fcopy_fragment fragment;
	struct bytes_reader in;

	bytes_reader_init(&in, message, size);
	bytes_skip(&in, FCOPY_HEADER_SIZE + 4);
	fragment.offset = bytes_get_u64(&in);
	fragment.size = bytes_get_u32(&in);
	if (!bytes_reader_ok(&in))
		return FCOPY_TOO_SHORT;
	if (fragment.size > FCOPY_FRAGMENT_MAX)
		return FCOPY_BAD_SIZE;
	fragment.data = bytes_get_direct(&in, fragment.size);
	if (!bytes_reader_ok(&in))
		return FCOPY_TOO_SHORT;
	*ret_fragment = fragment;
	return 0;
}

static int put_name(struct bytes_writer *out, const char *name)
{
	uint8_t field[FCOPY_NAME_SIZE] = {0};
	size_t n;

	if (utf8_to_utf16(name, 0, field, sizeof(field), &n))
		return FCOPY_BAD_TEXT;
	bytes_put(out, field, sizeof(field));
	return 0;
}

int fcopy_encode_start(const char *directory, const char *name, uint32_t flags, uint64_t size_bytes,
		       uint8_t ret_message[FCOPY_START_SIZE])
{
	struct bytes_writer out;

	bytes_writer_init(&out, ret_message, FCOPY_START_SIZE);
	bytes_put_u32(&out, FCOPY_OP_START);
	bytes_put_zeros(&out, FCOPY_HEADER_SIZE - 4);
	if (put_name(&out, name) || put_name(&out, directory))
		return FCOPY_BAD_TEXT;
	bytes_put_u32(&out, flags);
	bytes_put_u64(&out, size_bytes);
	assert(bytes_writer_ok(&out));
	return 0;
}

void fcopy_encode_write(uint64_t offset, const void *data, uint32_t size,
			uint8_t ret_message[FCOPY_WRITE_SIZE])
{
	struct bytes_writer out;

	assert(size <= FCOPY_FRAGMENT_MAX);
	bytes_writer_init(&out, ret_message, FCOPY_WRITE_SIZE);
	bytes_put_u32(&out, FCOPY_OP_WRITE);
	bytes_put_zeros(&out, FCOPY_HEADER_SIZE);
	bytes_put_u64(&out, offset);
	bytes_put_u32(&out, size);
	bytes_put(&out, data, size);
	bytes_put_zeros(&out, FCOPY_FRAGMENT_MAX - size);
	assert(bytes_writer_ok(&out));
}

void fcopy_encode_operation(uint32_t operation, uint8_t ret_message[FCOPY_HEADER_SIZE])
{
	struct bytes_writer out;

	bytes_writer_init(&out, ret_message, FCOPY_HEADER_SIZE);
	bytes_put_u32(&out, operation);
	bytes_put_zeros(&out, FCOPY_HEADER_SIZE - 4);
}
