/* SPDX-License-Identifier: MIT */

/*
 * base/bytes.c: what the cursors read and write, and that they never leave their buffer. Buffers
 * are allocated at their exact size, so that the address sanitizer sees a step too far.
 */

#include "base/bytes.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

Test(bytes, integers_are_little_endian_and_may_be_unaligned)
{
	const uint8_t wire[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04,
				0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08};
	struct bytes_reader r;

	bytes_reader_init(&r, wire, sizeof(wire));
	cr_expect(eq(u8, bytes_get_u8(&r), 0x01));
	cr_expect(eq(u16, bytes_get_u16(&r), 0x0203));
	cr_expect(eq(u32, bytes_get_u32(&r), 0x04050607));
	cr_expect(eq(u64, bytes_get_u64(&r), 0x08090a0b0c0d0e0f));
	cr_expect(eq(sz, bytes_left(&r), 0));
	cr_expect(bytes_reader_ok(&r));
}

Test(bytes, a_get_past_the_end_yields_zero_and_fails_for_good)
{
	uint8_t *wire = malloc(3);
	struct bytes_reader r;

	memset(wire, 0xff, 3);
	bytes_reader_init(&r, wire, 3);
	cr_expect(eq(u32, bytes_get_u32(&r), 0));
	cr_expect(not(bytes_reader_ok(&r)));
	cr_expect(eq(u8, bytes_get_u8(&r), 0), "even what is there is not given out any more");
	cr_expect(eq(sz, bytes_left(&r), 0));
	cr_expect(bytes_get_direct(&r, 1) == NULL);
	free(wire);
}

Test(bytes, an_empty_reader_without_a_buffer_is_fine_until_it_is_asked)
{
	struct bytes_reader r;

	bytes_reader_init(&r, NULL, 0);
	bytes_skip(&r, 0);
	cr_expect(bytes_reader_ok(&r));
	bytes_skip(&r, 1);
	cr_expect(not(bytes_reader_ok(&r)));
}

Test(bytes, a_borrowed_piece_points_into_the_buffer)
{
	const uint8_t wire[] = {1, 2, 3, 4};
	struct bytes_reader r;

	bytes_reader_init(&r, wire, sizeof(wire));
	bytes_skip(&r, 1);
	cr_expect(bytes_get_direct(&r, 2) == wire + 1);
	cr_expect(eq(u8, bytes_get_u8(&r), 4));
	cr_expect(bytes_get_direct(&r, SIZE_MAX) == NULL, "a huge length does not wrap");
}

Test(bytes, a_writer_and_a_reader_agree)
{
	uint8_t *wire = malloc(20);
	struct bytes_writer w;
	struct bytes_reader r;

	bytes_writer_init(&w, wire, 20);
	bytes_put_u8(&w, 0xa1);
	bytes_put_u16(&w, 0xb1b2);
	bytes_put_u32(&w, 0xc1c2c3c4);
	bytes_put_u64(&w, 0xd1d2d3d4d5d6d7d8);
	bytes_put(&w, "xyz", 3);
	bytes_put_zeros(&w, 2);
	cr_assert(bytes_writer_ok(&w));
	cr_expect(eq(sz, bytes_written(&w), 20));

	bytes_reader_init(&r, wire, 20);
	cr_expect(eq(u8, bytes_get_u8(&r), 0xa1));
	cr_expect(eq(u16, bytes_get_u16(&r), 0xb1b2));
	cr_expect(eq(u32, bytes_get_u32(&r), 0xc1c2c3c4));
	cr_expect(eq(u64, bytes_get_u64(&r), 0xd1d2d3d4d5d6d7d8));
	cr_expect(eq(int, memcmp(bytes_get_direct(&r, 3), "xyz", 3), 0));
	cr_expect(eq(u16, bytes_get_u16(&r), 0));
	free(wire);
}

Test(bytes, a_put_past_the_end_writes_nothing_and_fails_for_good)
{
	uint8_t *wire = malloc(3);
	struct bytes_writer w;

	memset(wire, 0x5a, 3);
	bytes_writer_init(&w, wire, 3);
	bytes_put_u16(&w, 1);
	bytes_put_u16(&w, 2);
	cr_expect(not(bytes_writer_ok(&w)));
	cr_expect(eq(sz, bytes_written(&w), 2));
	cr_expect(eq(u8, wire[2], 0x5a));
	bytes_put_u8(&w, 3);
	cr_expect(eq(u8, wire[2], 0x5a));
	free(wire);
}
