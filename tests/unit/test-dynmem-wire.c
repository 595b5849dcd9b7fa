/* SPDX-License-Identifier: MIT */

/*
 * balloon/dynmem_wire.c: every message as bytes and as fields, in both directions; then each of
 * them truncated and with every bit flipped, in buffers of their exact size.
 */

#include "balloon/dynmem_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	RANGES = 2,
};

/* A message: its bytes (docs/PROTOCOL-dynmem.md section 15) and the fields that its type has. */
struct vector {
	const char *name;
	enum dynmem_message_type type;
	uint32_t trans_id;
	size_t size;
	uint8_t bytes[64];

	struct dynmem_version_request version_request;
	struct dynmem_version_response version_response;
	struct dynmem_capabilities capabilities;
	struct dynmem_capabilities_response capabilities_response;
	struct dynmem_status_report status;
	uint32_t balloon_pages;
	bool more;
	uint32_t n;
	struct page_range ranges[RANGES];
	struct dynmem_hot_add_request hot_add;
	struct dynmem_hot_add_response hot_added;
	uint64_t max_pages;
};

static const struct vector vectors[] = {
	{
		.name = "version 2.0", .type = DYNMEM_VERSION_REQUEST, .trans_id = 1, .size = 16,
		.bytes = {0x01, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00},
		.version_request = {.version = DYNMEM_VERSION_2_0},
	},
	{
		.name = "version 0.3, last", .type = DYNMEM_VERSION_REQUEST, .trans_id = 3, .size = 16,
		.bytes = {0x01, 0x00, 0x10, 0x00, 0x03, 0x00, 0x00, 0x00,
			  0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00},
		.version_request = {.version = DYNMEM_VERSION_0_3, .last = true},
	},
	{
		.name = "version accepted", .type = DYNMEM_VERSION_RESPONSE, .trans_id = 1, .size = 16,
		.bytes = {0x02, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01},
		.version_response = {.accepted = true},
	},
	{
		.name = "capabilities", .type = DYNMEM_CAPABILITIES_REPORT, .trans_id = 2, .size = 32,
		.bytes = {0x03, 0x00, 0x20, 0x00, 0x02, 0x00, 0x00, 0x00,
			  0x1f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
			  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		.capabilities = {.balloon = true, .hot_add = true, .hot_add_alignment = 7},
	},
	{
		.name = "capabilities accepted", .type = DYNMEM_CAPABILITIES_RESPONSE, .trans_id = 2,
		.size = 16,
		.bytes = {0x04, 0x00, 0x10, 0x00, 0x02, 0x00, 0x00, 0x00, 0x03},
		.capabilities_response = {.accepted = true, .hot_remove = true},
	},
	{
		.name = "status report", .type = DYNMEM_STATUS_REPORT, .trans_id = 9, .size = 48,
		.bytes = {0x05, 0x00, 0x30, 0x00, 0x09, 0x00, 0x00, 0x00,
			  0xd1, 0x8d, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
			  0x06, 0x4e, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00},
		.status = {.available_pages = 167377, .committed_pages = 151046},
	},
	{
		.name = "balloon request", .type = DYNMEM_BALLOON_REQUEST, .size = 16,
		.bytes = {0x06, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80},
		.balloon_pages = 32768,
	},
	{
		.name = "balloon response, more", .type = DYNMEM_BALLOON_RESPONSE, .trans_id = 6,
		.size = 32,
		.bytes = {0x07, 0x00, 0x20, 0x00, 0x06, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00,
			  0x00, 0x68, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00,
			  0x00, 0x6a, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00},
		.more = true, .n = 2, .ranges = {{0x6800, 512}, {0x6a00, 512}},
	},
	{
		.name = "balloon response, nothing", .type = DYNMEM_BALLOON_RESPONSE, .trans_id = 7,
		.size = 16,
		.bytes = {0x07, 0x00, 0x10, 0x00, 0x07},
	},
	{
		.name = "unballoon request, last", .type = DYNMEM_UNBALLOON_REQUEST, .trans_id = 1,
		.size = 24,
		.bytes = {0x08, 0x00, 0x18, 0x00, 0x01, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
			  0x00, 0x68, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00},
		.n = 1, .ranges = {{0x6800, 32768}},
	},
	{
		.name = "unballoon request, more", .type = DYNMEM_UNBALLOON_REQUEST, .trans_id = 4,
		.size = 24,
		.bytes = {0x08, 0x00, 0x18, 0x00, 0x04, 0x00, 0x00, 0x00,
			  0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x01, 0x00, 0x00, 0xf1, 0x9b, 0x00},
		.more = true, .n = 1, .ranges = {{0x10000, 39921}},
	},
	{
		.name = "unballoon response", .type = DYNMEM_UNBALLOON_RESPONSE, .trans_id = 7,
		.size = 8,
		.bytes = {0x09, 0x00, 0x08, 0x00, 0x07, 0x00, 0x00, 0x00},
	},
	{
		.name = "hot-add request with region", .type = DYNMEM_HOT_ADD_REQUEST, .trans_id = 4,
		.size = 24,
		.bytes = {0x0a, 0x00, 0x18, 0x00, 0x04, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x01,
			  0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x01},
		.hot_add = {.range = {0x800000, 65536}, .has_region = true,
			    .region = {0x800000, 65536}},
	},
	{
		.name = "hot-add request", .type = DYNMEM_HOT_ADD_REQUEST, .trans_id = 4, .size = 16,
		.bytes = {0x0a, 0x00, 0x10, 0x00, 0x04, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x80, 0x00},
		.hot_add = {.range = {0x100000, 32768}},
	},
	{
		.name = "hot-add response", .type = DYNMEM_HOT_ADD_RESPONSE, .trans_id = 11, .size = 16,
		.bytes = {0x0b, 0x00, 0x10, 0x00, 0x0b, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00},
		.hot_added = {.pages = 65536, .result = DYNMEM_HOT_ADD_DONE},
	},
	{
		.name = "info", .type = DYNMEM_INFO, .size = 32,
		.bytes = {0x0c, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
			  0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00},
		.max_pages = 0x100000,
	},
};

enum {
	N_VECTORS = sizeof(vectors) / sizeof(vectors[0]),
};

static void encode(const struct vector *v, struct dynmem_message *m)
{
	switch (v->type) {
	case DYNMEM_ERROR:
		cr_fatal("nobody sends it");
		break;
	case DYNMEM_VERSION_REQUEST:
		dynmem_encode_version_request(m, v->trans_id, &v->version_request);
		break;
	case DYNMEM_VERSION_RESPONSE:
		dynmem_encode_version_response(m, v->trans_id, &v->version_response);
		break;
	case DYNMEM_CAPABILITIES_REPORT:
		dynmem_encode_capabilities(m, v->trans_id, &v->capabilities);
		break;
	case DYNMEM_CAPABILITIES_RESPONSE:
		dynmem_encode_capabilities_response(m, v->trans_id, &v->capabilities_response);
		break;
	case DYNMEM_STATUS_REPORT:
		dynmem_encode_status_report(m, v->trans_id, &v->status);
		break;
	case DYNMEM_BALLOON_REQUEST:
		dynmem_encode_balloon_request(m, v->trans_id, v->balloon_pages);
		break;
	case DYNMEM_BALLOON_RESPONSE:
		dynmem_encode_balloon_response(m, v->trans_id, v->more, v->ranges, v->n);
		break;
	case DYNMEM_UNBALLOON_REQUEST:
		dynmem_encode_unballoon_request(m, v->trans_id, v->more, v->ranges, v->n);
		break;
	case DYNMEM_UNBALLOON_RESPONSE:
		dynmem_encode_unballoon_response(m, v->trans_id);
		break;
	case DYNMEM_HOT_ADD_REQUEST:
		dynmem_encode_hot_add_request(m, v->trans_id, &v->hot_add);
		break;
	case DYNMEM_HOT_ADD_RESPONSE:
		dynmem_encode_hot_add_response(m, v->trans_id, &v->hot_added);
		break;
	case DYNMEM_INFO:
		dynmem_encode_info_max_pages(m, v->trans_id, v->max_pages);
		break;
	}
}

/* Decodes @frame as what it says it is, touches every range, and fills the fields of *ret. */
static int decode_ranges(const struct dynmem_frame *frame, struct vector *ret)
{
	struct dynmem_ranges ranges;
	int r;

	r = frame->type == DYNMEM_BALLOON_RESPONSE ?
		    dynmem_decode_balloon_response(frame, &ranges) :
		    dynmem_decode_unballoon_request(frame, &ranges);
	if (r)
		return r;
	ret->more = ranges.more;
	ret->n = ranges.n_claimed;
	cr_assert(le(u32, ranges.n, ranges.n_claimed));
	for (uint32_t i = 0; i < ranges.n; i++) {
		struct page_range range = dynmem_range_at(&ranges, i);

		if (i < RANGES)
			ret->ranges[i] = range;
	}
	return 0;
}

static int decode(const struct dynmem_frame *frame, struct vector *ret)
{
	struct dynmem_info info = {0};
	int r;

	*ret = (struct vector){.type = frame->type, .trans_id = frame->trans_id};
	switch ((enum dynmem_message_type)frame->type) {
	case DYNMEM_ERROR:
	case DYNMEM_UNBALLOON_RESPONSE:
		return 0;
	case DYNMEM_VERSION_REQUEST:
		return dynmem_decode_version_request(frame, &ret->version_request);
	case DYNMEM_VERSION_RESPONSE:
		return dynmem_decode_version_response(frame, &ret->version_response);
	case DYNMEM_CAPABILITIES_REPORT:
		return dynmem_decode_capabilities(frame, &ret->capabilities);
	case DYNMEM_CAPABILITIES_RESPONSE:
		return dynmem_decode_capabilities_response(frame, &ret->capabilities_response);
	case DYNMEM_STATUS_REPORT:
		return dynmem_decode_status_report(frame, &ret->status);
	case DYNMEM_BALLOON_REQUEST:
		return dynmem_decode_balloon_request(frame, &ret->balloon_pages);
	case DYNMEM_BALLOON_RESPONSE:
	case DYNMEM_UNBALLOON_REQUEST:
		return decode_ranges(frame, ret);
	case DYNMEM_HOT_ADD_REQUEST:
		return dynmem_decode_hot_add_request(frame, &ret->hot_add);
	case DYNMEM_HOT_ADD_RESPONSE:
		return dynmem_decode_hot_add_response(frame, &ret->hot_added);
	case DYNMEM_INFO:
		r = dynmem_decode_info(frame, &info);
		ret->max_pages = info.max_pages;
		return r;
	}
	return 0;
}

/* Decodes a copy of exactly @len bytes on the heap, so that a step too far is seen. */
static int decode_exact(const uint8_t *bytes, size_t len, struct vector *ret)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct dynmem_frame frame;
	int r;

	cr_assert(ne(ptr, copy, NULL));
	memcpy(copy, bytes, len);
	r = dynmem_decode_frame(copy, len, &frame);
	if (r == 0)
		r = decode(&frame, ret);
	free(copy);
	return r;
}

static void expect_range(struct page_range got, struct page_range wanted)
{
	cr_expect(eq(u64, got.first, wanted.first));
	cr_expect(eq(u64, got.count, wanted.count));
}

static void expect_same_fields(const struct vector *got, const struct vector *wanted)
{
	cr_expect(eq(u32, got->trans_id, wanted->trans_id), "%s", wanted->name);
	cr_expect(eq(u32, got->version_request.version, wanted->version_request.version));
	cr_expect(eq(int, got->version_request.last, wanted->version_request.last));
	cr_expect(eq(int, got->version_response.accepted, wanted->version_response.accepted));
	cr_expect(eq(int, got->capabilities.balloon, wanted->capabilities.balloon));
	cr_expect(eq(int, got->capabilities.hot_add, wanted->capabilities.hot_add));
	cr_expect(eq(u8, got->capabilities.hot_add_alignment,
		     wanted->capabilities.hot_add_alignment));
	cr_expect(eq(int, got->capabilities_response.accepted,
		     wanted->capabilities_response.accepted));
	cr_expect(eq(int, got->capabilities_response.hot_remove,
		     wanted->capabilities_response.hot_remove));
	cr_expect(eq(int, got->capabilities_response.suppress_reports,
		     wanted->capabilities_response.suppress_reports));
	cr_expect(eq(u64, got->status.available_pages, wanted->status.available_pages));
	cr_expect(eq(u64, got->status.committed_pages, wanted->status.committed_pages));
	cr_expect(eq(u32, got->balloon_pages, wanted->balloon_pages));
	cr_expect(eq(int, got->more, wanted->more));
	cr_expect(eq(u32, got->n, wanted->n));
	for (int i = 0; i < RANGES; i++)
		expect_range(got->ranges[i], wanted->ranges[i]);
	expect_range(got->hot_add.range, wanted->hot_add.range);
	cr_expect(eq(int, got->hot_add.has_region, wanted->hot_add.has_region));
	expect_range(got->hot_add.region, wanted->hot_add.region);
	cr_expect(eq(u32, got->hot_added.pages, wanted->hot_added.pages));
	cr_expect(eq(u32, got->hot_added.result, wanted->hot_added.result));
	cr_expect(eq(u64, got->max_pages, wanted->max_pages));
}

Test(dynmem_wire, each_message_is_written_as_the_protocol_says)
{
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct dynmem_message m;

		memset(&m, 0xa5, sizeof(m));
		encode(&vectors[i], &m);
		cr_assert(eq(sz, m.size, vectors[i].size), "%s", vectors[i].name);
		cr_expect(eq(int, memcmp(m.bytes, vectors[i].bytes, m.size), 0), "%s",
			  vectors[i].name);
	}
}

Test(dynmem_wire, each_message_is_read_as_the_protocol_says)
{
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct vector got;

		cr_assert(eq(int, decode_exact(vectors[i].bytes, vectors[i].size, &got), 0), "%s",
			  vectors[i].name);
		cr_expect(eq(int, got.type, vectors[i].type));
		expect_same_fields(&got, &vectors[i]);
	}
}

Test(dynmem_wire, padding_behind_a_message_changes_nothing)
{
	for (size_t i = 0; i < N_VECTORS; i++) {
		uint8_t padded[sizeof(vectors[i].bytes) + 7];
		struct vector got;

		memset(padded, 0xff, sizeof(padded));
		memcpy(padded, vectors[i].bytes, vectors[i].size);
		cr_assert(eq(int, decode_exact(padded, vectors[i].size + 7, &got), 0));
		expect_same_fields(&got, &vectors[i]);
	}
}

Test(dynmem_wire, a_truncated_message_is_malformed)
{
	for (size_t i = 0; i < N_VECTORS; i++) {
		struct vector got;

		for (size_t len = 0; len < vectors[i].size; len++)
			cr_expect(eq(int, decode_exact(vectors[i].bytes, len, &got),
				     DYNMEM_WIRE_MALFORMED),
				  "%s cut to %zu", vectors[i].name, len);
	}
}

/* The ranges of a message with a header that admits to the truncation are cut, not refused. */
Test(dynmem_wire, a_header_that_is_too_small_for_its_type_is_malformed)
{
	for (size_t i = 0; i < N_VECTORS; i++) {
		const struct vector *v = &vectors[i];
		bool ranges = v->type == DYNMEM_BALLOON_RESPONSE ||
			      v->type == DYNMEM_UNBALLOON_REQUEST;

		for (size_t len = DYNMEM_HEADER_SIZE; len < v->size; len++) {
			bool fits = ranges && len >= DYNMEM_RANGES_HEADER_SIZE;
			uint8_t cut[64];
			struct vector got;

			/* Without its region, a hot-add request is still one. */
			fits |= v->type == DYNMEM_HOT_ADD_REQUEST &&
				len == DYNMEM_HOT_ADD_REQUEST_SIZE;
			memcpy(cut, v->bytes, len);
			cut[2] = len;
			cr_expect(eq(int, decode_exact(cut, len, &got),
				     fits ? 0 : DYNMEM_WIRE_MALFORMED),
				  "%s with a size of %zu", v->name, len);
		}
	}
}

Test(dynmem_wire, a_flipped_bit_never_reads_past_the_message)
{
	for (size_t i = 0; i < N_VECTORS; i++) {
		for (size_t bit = 0; bit < vectors[i].size * 8; bit++) {
			uint8_t flipped[64];
			struct vector got;
			int r;

			memcpy(flipped, vectors[i].bytes, vectors[i].size);
			flipped[bit / 8] ^= 1 << bit % 8;
			r = decode_exact(flipped, vectors[i].size, &got);
			cr_expect(r == 0 || r == DYNMEM_WIRE_MALFORMED);
		}
	}
}

Test(dynmem_wire, a_count_is_cut_down_to_the_ranges_that_are_there)
{
	static const struct {
		const char *name;
		uint8_t bytes[24];
		uint32_t claimed;
	} rows[] = {
		{"balloon response",
		 {0x07, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x22, 0x11},
		 0x7fffffff},
		{"unballoon request",
		 {0x08, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x22, 0x11},
		 0xffffffff},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct dynmem_frame frame;
		struct dynmem_ranges ranges;

		cr_assert(eq(int, dynmem_decode_frame(rows[i].bytes, 24, &frame), 0));
		if (frame.type == DYNMEM_BALLOON_RESPONSE)
			cr_assert(eq(int, dynmem_decode_balloon_response(&frame, &ranges), 0));
		else
			cr_assert(eq(int, dynmem_decode_unballoon_request(&frame, &ranges), 0));
		cr_expect(eq(u32, ranges.n_claimed, rows[i].claimed), "%s", rows[i].name);
		cr_expect(eq(u32, ranges.n, 1), "%s", rows[i].name);
		expect_range(dynmem_range_at(&ranges, 0), (struct page_range){0x1122, 0});
	}
}

Test(dynmem_wire, the_largest_message_carries_510_ranges)
{
	struct page_range ranges[DYNMEM_RANGES_MAX];
	struct dynmem_message m;
	struct dynmem_frame frame;
	struct dynmem_ranges got;

	for (uint32_t i = 0; i < DYNMEM_RANGES_MAX; i++)
		ranges[i] = (struct page_range){DYNMEM_PFN_MAX - 2 * i, 1};
	dynmem_encode_unballoon_request(&m, 5, true, ranges, DYNMEM_RANGES_MAX);
	cr_expect(eq(sz, m.size, DYNMEM_MESSAGE_MAX));

	cr_assert(eq(int, dynmem_decode_frame(m.bytes, m.size, &frame), 0));
	cr_assert(eq(int, dynmem_decode_unballoon_request(&frame, &got), 0));
	cr_assert(eq(u32, got.n, DYNMEM_RANGES_MAX));
	for (uint32_t i = 0; i < DYNMEM_RANGES_MAX; i++)
		expect_range(dynmem_range_at(&got, i), ranges[i]);
}

Test(dynmem_wire, a_range_beyond_24_bits_of_pages_is_cut_into_several)
{
	struct page_range rest = {0x100000, 2 * (uint64_t)DYNMEM_RANGE_PAGES_MAX + 5};

	expect_range(dynmem_range_cut(&rest),
		     (struct page_range){0x100000, DYNMEM_RANGE_PAGES_MAX});
	expect_range(dynmem_range_cut(&rest),
		     (struct page_range){0x10fffff, DYNMEM_RANGE_PAGES_MAX});
	expect_range(dynmem_range_cut(&rest), (struct page_range){0x20ffffe, 5});
	cr_expect(eq(u64, rest.count, 0));
}

Test(dynmem_wire, a_range_fits_up_to_the_last_page_of_40_bits)
{
	cr_expect(dynmem_range_fits((struct page_range){0, DYNMEM_PFN_MAX + 1}));
	cr_expect(dynmem_range_fits((struct page_range){DYNMEM_PFN_MAX, 1}));
	cr_expect(not(dynmem_range_fits((struct page_range){DYNMEM_PFN_MAX, 2})));
	cr_expect(not(dynmem_range_fits((struct page_range){DYNMEM_PFN_MAX + 1, 1})));
	cr_expect(not(dynmem_range_fits((struct page_range){1, UINT64_MAX})));
}

Test(dynmem_wire, other_kinds_of_info_are_told_apart_from_bad_ones)
{
	uint8_t other[] = {0x0c, 0, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0,
			   0,    0, 7,  0, 0, 0, 4, 0, 0, 0, 1, 2, 3,  4};
	struct dynmem_frame frame;
	struct dynmem_info info;

	cr_assert(eq(int, dynmem_decode_frame(other, sizeof(other), &frame), 0));
	cr_assert(eq(int, dynmem_decode_info(&frame, &info), 0));
	cr_expect(eq(u32, info.type, 7));
	cr_expect(not(info.has_max_pages));

	other[20] = 5; /* more data than the blob has */
	cr_expect(eq(int, dynmem_decode_info(&frame, &info), DYNMEM_WIRE_MALFORMED));
	other[20] = 4;
	other[12] = 13; /* a larger blob than the message has */
	cr_expect(eq(int, dynmem_decode_info(&frame, &info), DYNMEM_WIRE_MALFORMED));
}
