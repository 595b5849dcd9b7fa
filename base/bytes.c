/* SPDX-License-Identifier: MIT */

/*
 * Bounded cursors over wire data.
 *
 * All integers on VMBus are little-endian and many are unaligned, so nothing in this project casts
 * a pointer into a message: it goes through these cursors. A get or put that would leave the
 * buffer does nothing, yields zero, and marks the cursor as failed for good. A decoder can
 * therefore read all fields in order and ask once at the end whether they were there; it must ask
 * before it believes any of them.
 */

#include "base/bytes.h"

#include <string.h>

void bytes_reader_init(struct bytes_reader *r, const void *data, size_t len)
{
	r->next = data;
	r->left = len;
	r->failed = false;
}

const uint8_t *bytes_get_direct(struct bytes_reader *r, size_t len)
{
	const uint8_t *p = r->next;

	if (r->failed || len > r->left) {
		r->failed = true;
		return NULL;
	}

	if (len > 0)
		r->next += len;
	r->left -= len;
	return p;
}

static uint64_t get_le(struct bytes_reader *r, size_t len)
{
	const uint8_t *p = bytes_get_direct(r, len);
	uint64_t value = 0;

	if (!p)
		return 0;
	for (size_t i = len; i > 0; i--)
		value = value << 8 | p[i - 1];
	return value;
}

uint8_t bytes_get_u8(struct bytes_reader *r)
{
	return get_le(r, 1);
}

uint16_t bytes_get_u16(struct bytes_reader *r)
{
	return get_le(r, 2);
}

uint32_t bytes_get_u32(struct bytes_reader *r)
{
	return get_le(r, 4);
}

uint64_t bytes_get_u64(struct bytes_reader *r)
{
	return get_le(r, 8);
}

void bytes_skip(struct bytes_reader *r, size_t len)
{
	(void)bytes_get_direct(r, len);
}

size_t bytes_left(const struct bytes_reader *r)
{
	return r->failed ? 0 : r->left;
}

bool bytes_reader_ok(const struct bytes_reader *r)
{
	return !r->failed;
}

void bytes_writer_init(struct bytes_writer *w, void *buf, size_t size)
{
	w->start = buf;
	w->size = size;
	w->used = 0;
	w->failed = false;
}

/* Claims @len bytes of the buffer; NULL (and the writer fails) when they are not there. */
static uint8_t *claim(struct bytes_writer *w, size_t len)
{
	uint8_t *p;

	if (w->failed || len > w->size - w->used) {
		w->failed = true;
		return NULL;
	}

	p = w->start + w->used;
	w->used += len;
	return p;
}

static void put_le(struct bytes_writer *w, uint64_t value, size_t len)
{
	uint8_t *p = claim(w, len);

	if (!p)
		return;
	for (size_t i = 0; i < len; i++)
		p[i] = value >> (8 * i);
}

void bytes_put_u8(struct bytes_writer *w, uint8_t value)
{
	put_le(w, value, 1);
}

void bytes_put_u16(struct bytes_writer *w, uint16_t value)
{
	put_le(w, value, 2);
}

void bytes_put_u32(struct bytes_writer *w, uint32_t value)
{
	put_le(w, value, 4);
}

void bytes_put_u64(struct bytes_writer *w, uint64_t value)
{
	put_le(w, value, 8);
}

void bytes_put(struct bytes_writer *w, const void *data, size_t len)
{
	uint8_t *p = claim(w, len);

	if (p && len > 0)
		memcpy(p, data, len);
}

void bytes_put_zeros(struct bytes_writer *w, size_t len)
{
	uint8_t *p = claim(w, len);

	if (p && len > 0)
		memset(p, 0, len);
}

size_t bytes_written(const struct bytes_writer *w)
{
	return w->used;
}

bool bytes_writer_ok(const struct bytes_writer *w)
{
	return !w->failed;
}
