/* SPDX-License-Identifier: MIT */

/*
 * Encoding and decoding of Dynamic Memory messages.
 *
 * One decoder and one encoder per message, both through the cursors of base/bytes.h. A decoder
 * sees no byte behind the size that the header gives, and dynmem_decode_frame() has checked that
 * size against what was received. Reserved bits are ignored when read and zero when written.
 *
 * Two messages carry ranges, and they pack the "more" flag and the count differently: the balloon
 * response has both in one word, the unballoon request in two. The count is the sender's claim.
 * It is cut down to what the message has room for, and both numbers are handed out, because an
 * unballoon sequence has to be answered even if one of its messages lied about its length.
 */

#include "balloon/dynmem_wire.h"

#include "base/bytes.h"

#include <string.h>

#define VERSION_REQUEST_LAST        0x1u
#define VERSION_RESPONSE_ACCEPTED   0x1u
#define CAPABILITY_BALLOON          0x1u
#define CAPABILITY_HOT_ADD          0x2u
#define CAPABILITY_ALIGNMENT_SHIFT  2
#define CAPABILITY_ALIGNMENT_MASK   0xfu
#define CAPABILITIES_ACCEPTED       0x1u
#define CAPABILITIES_HOT_REMOVE     0x2u
#define CAPABILITIES_NO_REPORTS     0x4u
#define RANGES_MORE                 0x1u
#define RANGE_COUNT_SHIFT           40

enum {
	INFO_HEADER_SIZE = 8,   /* type and size of the data; counted in the blob's size */
	INFO_MAX_PAGES_SIZE = 8,
};

int dynmem_decode_frame(const void *msg, size_t len, struct dynmem_frame *ret_frame)
{
	struct dynmem_frame frame;
	struct bytes_reader r;
	size_t size;

	bytes_reader_init(&r, msg, len);
	frame.type = bytes_get_u16(&r);
	size = bytes_get_u16(&r);
	frame.trans_id = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r) || size < DYNMEM_HEADER_SIZE || size > len)
		return DYNMEM_WIRE_MALFORMED;

	frame.body_size = size - DYNMEM_HEADER_SIZE;
	frame.body = bytes_get_direct(&r, frame.body_size);
	*ret_frame = frame;
	return 0;
}

int dynmem_decode_version_request(const struct dynmem_frame *frame,
				  struct dynmem_version_request *ret_request)
{
	struct bytes_reader r;
	uint32_t version, flags;

	bytes_reader_init(&r, frame->body, frame->body_size);
	version = bytes_get_u32(&r);
	flags = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	*ret_request = (struct dynmem_version_request){
		.version = version,
		.last = flags & VERSION_REQUEST_LAST,
	};
	return 0;
}

/* Reads a body that begins with a 64-bit word of flags, as both responses of the start do. */
static int decode_flags(const struct dynmem_frame *frame, uint64_t *ret_flags)
{
	struct bytes_reader r;
	uint64_t flags;

	bytes_reader_init(&r, frame->body, frame->body_size);
	flags = bytes_get_u64(&r);
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	*ret_flags = flags;
	return 0;
}

int dynmem_decode_version_response(const struct dynmem_frame *frame,
				   struct dynmem_version_response *ret_response)
{
	uint64_t flags;

	if (decode_flags(frame, &flags))
		return DYNMEM_WIRE_MALFORMED;
	ret_response->accepted = flags & VERSION_RESPONSE_ACCEPTED;
	return 0;
}

int dynmem_decode_capabilities(const struct dynmem_frame *frame,
			       struct dynmem_capabilities *ret_capabilities)
{
	struct bytes_reader r;
	uint64_t flags;

	bytes_reader_init(&r, frame->body, frame->body_size);
	flags = bytes_get_u64(&r);
	bytes_skip(&r, 16); /* smallest page count and highest page number: hosts ignore them */
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	*ret_capabilities = (struct dynmem_capabilities){
		.balloon = flags & CAPABILITY_BALLOON,
		.hot_add = flags & CAPABILITY_HOT_ADD,
		.hot_add_alignment =
			flags >> CAPABILITY_ALIGNMENT_SHIFT & CAPABILITY_ALIGNMENT_MASK,
	};
	return 0;
}

int dynmem_decode_capabilities_response(const struct dynmem_frame *frame,
					struct dynmem_capabilities_response *ret_response)
{
	uint64_t flags;

	if (decode_flags(frame, &flags))
		return DYNMEM_WIRE_MALFORMED;
	*ret_response = (struct dynmem_capabilities_response){
		.accepted = flags & CAPABILITIES_ACCEPTED,
		.hot_remove = flags & CAPABILITIES_HOT_REMOVE,
		.suppress_reports = flags & CAPABILITIES_NO_REPORTS,
	};
	return 0;
}

int dynmem_decode_status_report(const struct dynmem_frame *frame,
				struct dynmem_status_report *ret_report)
{
	struct dynmem_status_report report;
	struct bytes_reader r;

	bytes_reader_init(&r, frame->body, frame->body_size);
	report.available_pages = bytes_get_u64(&r);
	report.committed_pages = bytes_get_u64(&r);
	report.page_file_pages = bytes_get_u64(&r);
	report.free_pages = bytes_get_u64(&r);
	report.page_file_write_pages = bytes_get_u32(&r);
	report.fault_pages = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	*ret_report = report;
	return 0;
}

int dynmem_decode_balloon_request(const struct dynmem_frame *frame, uint32_t *ret_pages)
{
	struct bytes_reader r;
	uint32_t pages;

	bytes_reader_init(&r, frame->body, frame->body_size);
	pages = bytes_get_u32(&r);
	bytes_skip(&r, 4);
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	*ret_pages = pages;
	return 0;
}

/* Cuts the claimed count down to the ranges that are left in the message. */
static void take_words(struct bytes_reader *r, uint32_t n_claimed, struct dynmem_ranges *ranges)
{
	size_t room = bytes_left(r) / DYNMEM_RANGE_SIZE;

	ranges->n_claimed = n_claimed;
	ranges->n = n_claimed < room ? n_claimed : room;
	ranges->words = bytes_get_direct(r, (size_t)ranges->n * DYNMEM_RANGE_SIZE);
}

int dynmem_decode_balloon_response(const struct dynmem_frame *frame,
				   struct dynmem_ranges *ret_ranges)
{
	struct bytes_reader r;
	uint32_t word;

	bytes_reader_init(&r, frame->body, frame->body_size);
	bytes_skip(&r, 4);
	word = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	ret_ranges->more = word & RANGES_MORE;
	take_words(&r, word >> 1, ret_ranges);
	return 0;
}

int dynmem_decode_unballoon_request(const struct dynmem_frame *frame,
				    struct dynmem_ranges *ret_ranges)
{
	struct bytes_reader r;
	uint32_t flags, n;

	bytes_reader_init(&r, frame->body, frame->body_size);
	flags = bytes_get_u32(&r);
	n = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	ret_ranges->more = flags & RANGES_MORE;
	take_words(&r, n, ret_ranges);
	return 0;
}

static struct page_range decode_range(uint64_t word)
{
	return (struct page_range){
		.first = word & DYNMEM_PFN_MAX,
		.count = word >> RANGE_COUNT_SHIFT,
	};
}

int dynmem_decode_hot_add_request(const struct dynmem_frame *frame,
				  struct dynmem_hot_add_request *ret_request)
{
	struct dynmem_hot_add_request request = {0};
	struct bytes_reader r;

	bytes_reader_init(&r, frame->body, frame->body_size);
	request.range = decode_range(bytes_get_u64(&r));
	request.has_region =
		frame->body_size != DYNMEM_HOT_ADD_REQUEST_SIZE - DYNMEM_HEADER_SIZE;
	if (request.has_region)
		request.region = decode_range(bytes_get_u64(&r));
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	*ret_request = request;
	return 0;
}

int dynmem_decode_hot_add_response(const struct dynmem_frame *frame,
				   struct dynmem_hot_add_response *ret_response)
{
	struct dynmem_hot_add_response response;
	struct bytes_reader r;

	bytes_reader_init(&r, frame->body, frame->body_size);
	response.pages = bytes_get_u32(&r);
	response.result = bytes_get_u32(&r);
	if (!bytes_reader_ok(&r))
		return DYNMEM_WIRE_MALFORMED;

	*ret_response = response;
	return 0;
}

int dynmem_decode_info(const struct dynmem_frame *frame, struct dynmem_info *ret_info)
{
	struct dynmem_info info = {0};
	uint32_t blob_size, data_size;
	struct bytes_reader r;

	bytes_reader_init(&r, frame->body, frame->body_size);
	bytes_skip(&r, 4);
	blob_size = bytes_get_u32(&r);
	if (blob_size < INFO_HEADER_SIZE || blob_size > bytes_left(&r))
		return DYNMEM_WIRE_MALFORMED;
	info.type = bytes_get_u32(&r);
	data_size = bytes_get_u32(&r);
	if (data_size > blob_size - INFO_HEADER_SIZE)
		return DYNMEM_WIRE_MALFORMED;

	if (info.type == DYNMEM_INFO_MAX_PAGES && data_size == INFO_MAX_PAGES_SIZE) {
		info.has_max_pages = true;
		info.max_pages = bytes_get_u64(&r);
	}
	assert(bytes_reader_ok(&r));
	*ret_info = info;
	return 0;
}

struct page_range dynmem_range_at(const struct dynmem_ranges *ranges, uint32_t i)
{
	struct bytes_reader r;

	assert(i < ranges->n);
	bytes_reader_init(&r, ranges->words + (size_t)i * DYNMEM_RANGE_SIZE, DYNMEM_RANGE_SIZE);
	return decode_range(bytes_get_u64(&r));
}

bool dynmem_range_fits(struct page_range range)
{
	return range.first <= DYNMEM_PFN_MAX && range.count <= DYNMEM_PFN_MAX + 1 - range.first;
}

struct page_range dynmem_range_cut(struct page_range *rest)
{
	struct page_range front = *rest;

	if (front.count > DYNMEM_RANGE_PAGES_MAX)
		front.count = DYNMEM_RANGE_PAGES_MAX;
	rest->first += front.count;
	rest->count -= front.count;
	return front;
}

/* Begins a message of @size bytes with its header. */
static void begin(struct dynmem_message *m, struct bytes_writer *w, enum dynmem_message_type type,
		  size_t size, uint32_t trans_id)
{
	assert(size <= DYNMEM_MESSAGE_MAX);
	m->size = size;
	bytes_writer_init(w, m->bytes, size);
	bytes_put_u16(w, type);
	bytes_put_u16(w, size);
	bytes_put_u32(w, trans_id);
}

/* The message has exactly the size that its header says. */
static void end(const struct dynmem_message *m, const struct bytes_writer *w)
{
	assert(bytes_writer_ok(w) && bytes_written(w) == m->size);
}

void dynmem_encode_version_request(struct dynmem_message *m, uint32_t trans_id,
				   const struct dynmem_version_request *request)
{
	struct bytes_writer w;

	begin(m, &w, DYNMEM_VERSION_REQUEST, DYNMEM_VERSION_REQUEST_SIZE, trans_id);
	bytes_put_u32(&w, request->version);
	bytes_put_u32(&w, request->last ? VERSION_REQUEST_LAST : 0);
	end(m, &w);
}

void dynmem_encode_version_response(struct dynmem_message *m, uint32_t trans_id,
				    const struct dynmem_version_response *response)
{
	struct bytes_writer w;

	begin(m, &w, DYNMEM_VERSION_RESPONSE, DYNMEM_VERSION_RESPONSE_SIZE, trans_id);
	bytes_put_u64(&w, response->accepted ? VERSION_RESPONSE_ACCEPTED : 0);
	end(m, &w);
}

void dynmem_encode_capabilities(struct dynmem_message *m, uint32_t trans_id,
				const struct dynmem_capabilities *capabilities)
{
	struct bytes_writer w;
	uint64_t flags;

	assert(capabilities->hot_add_alignment <= CAPABILITY_ALIGNMENT_MASK);
	flags = (uint64_t)capabilities->hot_add_alignment << CAPABILITY_ALIGNMENT_SHIFT;
	if (capabilities->balloon)
		flags |= CAPABILITY_BALLOON;
	if (capabilities->hot_add)
		flags |= CAPABILITY_HOT_ADD;

	begin(m, &w, DYNMEM_CAPABILITIES_REPORT, DYNMEM_CAPABILITIES_REPORT_SIZE, trans_id);
	bytes_put_u64(&w, flags);
	bytes_put_u64(&w, 0);          /* smallest page count */
	bytes_put_u64(&w, UINT64_MAX); /* highest page number */
	end(m, &w);
}

void dynmem_encode_capabilities_response(struct dynmem_message *m, uint32_t trans_id,
					 const struct dynmem_capabilities_response *response)
{
	struct bytes_writer w;
	uint64_t flags = 0;

	if (response->accepted)
		flags |= CAPABILITIES_ACCEPTED;
	if (response->hot_remove)
		flags |= CAPABILITIES_HOT_REMOVE;
	if (response->suppress_reports)
		flags |= CAPABILITIES_NO_REPORTS;

	begin(m, &w, DYNMEM_CAPABILITIES_RESPONSE, DYNMEM_CAPABILITIES_RESPONSE_SIZE, trans_id);
	bytes_put_u64(&w, flags);
	end(m, &w);
}

void dynmem_encode_status_report(struct dynmem_message *m, uint32_t trans_id,
				 const struct dynmem_status_report *report)
{
	struct bytes_writer w;

	begin(m, &w, DYNMEM_STATUS_REPORT, DYNMEM_STATUS_REPORT_SIZE, trans_id);
	bytes_put_u64(&w, report->available_pages);
	bytes_put_u64(&w, report->committed_pages);
	bytes_put_u64(&w, report->page_file_pages);
	bytes_put_u64(&w, report->free_pages);
	bytes_put_u32(&w, report->page_file_write_pages);
	bytes_put_u32(&w, report->fault_pages);
	end(m, &w);
}

void dynmem_encode_balloon_request(struct dynmem_message *m, uint32_t trans_id, uint32_t pages)
{
	struct bytes_writer w;

	begin(m, &w, DYNMEM_BALLOON_REQUEST, DYNMEM_BALLOON_REQUEST_SIZE, trans_id);
	bytes_put_u32(&w, pages);
	bytes_put_u32(&w, 0);
	end(m, &w);
}

static void put_range(struct bytes_writer *w, struct page_range range)
{
	assert(dynmem_range_fits(range) && range.count <= DYNMEM_RANGE_PAGES_MAX);
	bytes_put_u64(w, range.first | range.count << RANGE_COUNT_SHIFT);
}

/* Both messages with ranges: two words, in which flag and count have been packed, and the ranges. */
static void encode_ranges(struct dynmem_message *m, enum dynmem_message_type type,
			  uint32_t trans_id, uint32_t word0, uint32_t word1,
			  const struct page_range *ranges, size_t n)
{
	struct bytes_writer w;

	assert(n <= DYNMEM_RANGES_MAX);
	begin(m, &w, type, DYNMEM_RANGES_HEADER_SIZE + n * DYNMEM_RANGE_SIZE, trans_id);
	bytes_put_u32(&w, word0);
	bytes_put_u32(&w, word1);
	for (size_t i = 0; i < n; i++)
		put_range(&w, ranges[i]);
	end(m, &w);
}

void dynmem_encode_balloon_response(struct dynmem_message *m, uint32_t trans_id, bool more,
				    const struct page_range *ranges, size_t n)
{
	encode_ranges(m, DYNMEM_BALLOON_RESPONSE, trans_id, 0,
		      (uint32_t)n << 1 | (more ? RANGES_MORE : 0), ranges, n);
}

void dynmem_encode_unballoon_request(struct dynmem_message *m, uint32_t trans_id, bool more,
				     const struct page_range *ranges, size_t n)
{
	encode_ranges(m, DYNMEM_UNBALLOON_REQUEST, trans_id, more ? RANGES_MORE : 0, n, ranges, n);
}

void dynmem_encode_unballoon_response(struct dynmem_message *m, uint32_t trans_id)
{
	struct bytes_writer w;

	begin(m, &w, DYNMEM_UNBALLOON_RESPONSE, DYNMEM_UNBALLOON_RESPONSE_SIZE, trans_id);
	end(m, &w);
}

void dynmem_encode_hot_add_request(struct dynmem_message *m, uint32_t trans_id,
				   const struct dynmem_hot_add_request *request)
{
	struct bytes_writer w;
	size_t size = request->has_region ? DYNMEM_HOT_ADD_REQUEST_REGION_SIZE :
					    DYNMEM_HOT_ADD_REQUEST_SIZE;

	begin(m, &w, DYNMEM_HOT_ADD_REQUEST, size, trans_id);
	put_range(&w, request->range);
	if (request->has_region)
		put_range(&w, request->region);
	end(m, &w);
}

void dynmem_encode_hot_add_response(struct dynmem_message *m, uint32_t trans_id,
				    const struct dynmem_hot_add_response *response)
{
	struct bytes_writer w;

	begin(m, &w, DYNMEM_HOT_ADD_RESPONSE, DYNMEM_HOT_ADD_RESPONSE_SIZE, trans_id);
	bytes_put_u32(&w, response->pages);
	bytes_put_u32(&w, response->result);
	end(m, &w);
}

void dynmem_encode_info_max_pages(struct dynmem_message *m, uint32_t trans_id, uint64_t max_pages)
{
	struct bytes_writer w;

	begin(m, &w, DYNMEM_INFO, DYNMEM_INFO_SIZE, trans_id);
	bytes_put_u32(&w, 0);
	bytes_put_u32(&w, INFO_HEADER_SIZE + INFO_MAX_PAGES_SIZE);
	bytes_put_u32(&w, DYNMEM_INFO_MAX_PAGES);
	bytes_put_u32(&w, INFO_MAX_PAGES_SIZE);
	bytes_put_u64(&w, max_pages);
	end(m, &w);
}
