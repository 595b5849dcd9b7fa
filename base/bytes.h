/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Bounded little-endian cursors for wire data. The buffer is borrowed: it must outlive the cursor.
 */

struct bytes_reader {
	const uint8_t *next;
	size_t left;
	bool failed;
};

/* Starts reading @len bytes at @data (which may be NULL when @len is 0). */
void bytes_reader_init(struct bytes_reader *r, const void *data, size_t len);

/* Next integer in host order; 0 once the reader has failed. */
uint8_t bytes_get_u8(struct bytes_reader *r);
uint16_t bytes_get_u16(struct bytes_reader *r);
uint32_t bytes_get_u32(struct bytes_reader *r);
uint64_t bytes_get_u64(struct bytes_reader *r);

/* Borrows the next @len bytes from the buffer; NULL once the reader has failed. */
const uint8_t *bytes_get_direct(struct bytes_reader *r, size_t len);

/* Passes over @len bytes. */
void bytes_skip(struct bytes_reader *r, size_t len);

/* Bytes not yet read; 0 once the reader has failed. */
size_t bytes_left(const struct bytes_reader *r);

/* True while every get so far was inside the buffer. */
bool bytes_reader_ok(const struct bytes_reader *r);

struct bytes_writer {
	uint8_t *start;
	size_t size;
	size_t used;
	bool failed;
};

/* Starts writing into the @size bytes at @buf. */
void bytes_writer_init(struct bytes_writer *w, void *buf, size_t size);

/* Appends an integer, little-endian; @len bytes; @len zeros. Nothing once the writer has failed. */
void bytes_put_u8(struct bytes_writer *w, uint8_t value);
void bytes_put_u16(struct bytes_writer *w, uint16_t value);
void bytes_put_u32(struct bytes_writer *w, uint32_t value);
void bytes_put_u64(struct bytes_writer *w, uint64_t value);
void bytes_put(struct bytes_writer *w, const void *data, size_t len);
void bytes_put_zeros(struct bytes_writer *w, size_t len);

/* Bytes written so far; stops growing once the writer has failed. */
size_t bytes_written(const struct bytes_writer *w);

/* True while everything put so far did fit. */
bool bytes_writer_ok(const struct bytes_writer *w);
