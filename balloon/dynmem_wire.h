/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "base/rangeset.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The messages of Hyper-V Dynamic Memory, for the guest's end and the host's.
 * Source: Linux drivers/hv/hv_balloon.c; QEMU include/hw/hyperv/dynmem-proto.h (hot-add with
 * region, capability response bits). docs/PROTOCOL-dynmem.md section 4 has the layouts.
 *
 * A page is 4096 bytes, whatever the guest's own page size.
 */

enum {
	DYNMEM_PAGE_SIZE = 4096,
	DYNMEM_MESSAGE_MAX = 4096, /* bytes, header included; Linux reads no more */

	/* Sizes of whole messages in bytes. */
	DYNMEM_HEADER_SIZE = 8,
	DYNMEM_VERSION_REQUEST_SIZE = 16,
	DYNMEM_VERSION_RESPONSE_SIZE = 16,
	DYNMEM_CAPABILITIES_REPORT_SIZE = 32,
	DYNMEM_CAPABILITIES_RESPONSE_SIZE = 16,
	DYNMEM_STATUS_REPORT_SIZE = 48,
	DYNMEM_BALLOON_REQUEST_SIZE = 16,
	DYNMEM_RANGES_HEADER_SIZE = 16, /* balloon response and unballoon request, before the ranges */
	DYNMEM_UNBALLOON_RESPONSE_SIZE = 8,
	DYNMEM_HOT_ADD_REQUEST_SIZE = 16,
	DYNMEM_HOT_ADD_REQUEST_REGION_SIZE = 24,
	DYNMEM_HOT_ADD_RESPONSE_SIZE = 16,
	DYNMEM_INFO_SIZE = 32, /* with the one kind of data there is */

	DYNMEM_RANGE_SIZE = 8,
	DYNMEM_RANGES_MAX = 510,       /* in one message */
	DYNMEM_RANGE_PAGES_MAX = 0xffffff, /* in one range: 24 bits */
};
static_assert(DYNMEM_RANGES_HEADER_SIZE + DYNMEM_RANGES_MAX * DYNMEM_RANGE_SIZE ==
		      DYNMEM_MESSAGE_MAX,
	      "510 ranges fill the largest message");

/* The highest page number a range can begin with: 40 bits. */
#define DYNMEM_PFN_MAX ((UINT64_C(1) << 40) - 1)

enum dynmem_message_type {
	DYNMEM_ERROR = 0, /* nobody sends it */
	DYNMEM_VERSION_REQUEST = 1,
	DYNMEM_VERSION_RESPONSE = 2,
	DYNMEM_CAPABILITIES_REPORT = 3,
	DYNMEM_CAPABILITIES_RESPONSE = 4,
	DYNMEM_STATUS_REPORT = 5,
	DYNMEM_BALLOON_REQUEST = 6,
	DYNMEM_BALLOON_RESPONSE = 7,
	DYNMEM_UNBALLOON_REQUEST = 8,
	DYNMEM_UNBALLOON_RESPONSE = 9,
	DYNMEM_HOT_ADD_REQUEST = 10,
	DYNMEM_HOT_ADD_RESPONSE = 11,
	DYNMEM_INFO = 12,
};

/* Protocol versions: major in the upper 16 bits. */
#define DYNMEM_VERSION_0_3 UINT32_C(0x00000003) /* Windows Server 2008 R2 */
#define DYNMEM_VERSION_1_0 UINT32_C(0x00010000) /* 2012: info message */
#define DYNMEM_VERSION_2_0 UINT32_C(0x00020000) /* 2016 */

/* What a hot-add response's result means with 0 pages added. */
enum {
	DYNMEM_HOT_ADD_LATER = 0, /* may be tried again */
	DYNMEM_HOT_ADD_DONE = 1,  /* 0 pages: never again; else this many were added */
};

enum {
	DYNMEM_INFO_MAX_PAGES = 0, /* u64: the most pages the VM may ever have */
};

/* The condition of all decoders. */
enum {
	DYNMEM_WIRE_MALFORMED = 1, /* lengths do not fit */
};

/* A message to send. */
struct dynmem_message {
	size_t size; /* bytes */
	uint8_t bytes[DYNMEM_MESSAGE_MAX];
};

/* A received message behind its checked header; the body points into the received bytes. */
struct dynmem_frame {
	uint16_t type;
	uint32_t trans_id;
	const uint8_t *body;
	size_t body_size; /* bytes */
};

struct dynmem_version_request {
	uint32_t version;
	bool last; /* the guest will not try another one */
};

struct dynmem_version_response {
	bool accepted;
};

struct dynmem_capabilities {
	bool balloon;
	bool hot_add;
	uint8_t hot_add_alignment; /* code 0..15: alignment is 2^code MiB */
};

struct dynmem_capabilities_response {
	bool accepted;
	bool hot_remove;
	bool suppress_reports; /* the host wants no status reports */
};

struct dynmem_status_report {
	uint64_t available_pages;
	uint64_t committed_pages;
	uint64_t page_file_pages; /* size of the swap space */
	uint64_t free_pages;
	uint32_t page_file_write_pages;
	uint32_t fault_pages; /* file-cache faults minus page reads */
};

/* The ranges of a balloon response or of an unballoon request, still on the wire. */
struct dynmem_ranges {
	bool more;           /* another message of this operation follows */
	uint32_t n_claimed;  /* what the sender says */
	uint32_t n;          /* what is really there, never more than claimed */
	const uint8_t *words; /* points into the received bytes */
};

struct dynmem_hot_add_request {
	struct page_range range; /* pages that have backing now */
	bool has_region;
	struct page_range region; /* the window of addresses to register */
};

struct dynmem_hot_add_response {
	uint32_t pages;
	uint32_t result; /* DYNMEM_HOT_ADD_* */
};

struct dynmem_info {
	uint32_t type;
	bool has_max_pages; /* the type is DYNMEM_INFO_MAX_PAGES and its data has the right size */
	uint64_t max_pages;
};

/* Checks the header of the @len bytes at @msg, which may have padding behind the message. */
_must_check_ int dynmem_decode_frame(const void *msg, size_t len, struct dynmem_frame *ret_frame);

/* The body of a frame of the type in the function's name. DYNMEM_WIRE_MALFORMED. */
_must_check_ int dynmem_decode_version_request(const struct dynmem_frame *frame,
					       struct dynmem_version_request *ret_request);
_must_check_ int dynmem_decode_version_response(const struct dynmem_frame *frame,
						struct dynmem_version_response *ret_response);
_must_check_ int dynmem_decode_capabilities(const struct dynmem_frame *frame,
					    struct dynmem_capabilities *ret_capabilities);
_must_check_ int
dynmem_decode_capabilities_response(const struct dynmem_frame *frame,
				    struct dynmem_capabilities_response *ret_response);
_must_check_ int dynmem_decode_status_report(const struct dynmem_frame *frame,
					     struct dynmem_status_report *ret_report);
_must_check_ int dynmem_decode_balloon_request(const struct dynmem_frame *frame,
					       uint32_t *ret_pages);
_must_check_ int dynmem_decode_balloon_response(const struct dynmem_frame *frame,
						struct dynmem_ranges *ret_ranges);
_must_check_ int dynmem_decode_unballoon_request(const struct dynmem_frame *frame,
						 struct dynmem_ranges *ret_ranges);
_must_check_ int dynmem_decode_hot_add_request(const struct dynmem_frame *frame,
					       struct dynmem_hot_add_request *ret_request);
_must_check_ int dynmem_decode_hot_add_response(const struct dynmem_frame *frame,
						struct dynmem_hot_add_response *ret_response);
_must_check_ int dynmem_decode_info(const struct dynmem_frame *frame, struct dynmem_info *ret_info);

/* Range number @i < ranges->n; its count may be 0. */
struct page_range dynmem_range_at(const struct dynmem_ranges *ranges, uint32_t i);

/* True if every page of @range has a number that fits the wire. */
bool dynmem_range_fits(struct page_range range);

/* Cuts off and returns the front of *@rest, no more of it than one range on the wire can say. */
struct page_range dynmem_range_cut(struct page_range *rest);

/* Writes one whole message. Ranges must fit the wire, and be no more than DYNMEM_RANGES_MAX. */
void dynmem_encode_version_request(struct dynmem_message *m, uint32_t trans_id,
				   const struct dynmem_version_request *request);
void dynmem_encode_version_response(struct dynmem_message *m, uint32_t trans_id,
				    const struct dynmem_version_response *response);
void dynmem_encode_capabilities(struct dynmem_message *m, uint32_t trans_id,
				const struct dynmem_capabilities *capabilities);
void dynmem_encode_capabilities_response(struct dynmem_message *m, uint32_t trans_id,
					 const struct dynmem_capabilities_response *response);
void dynmem_encode_status_report(struct dynmem_message *m, uint32_t trans_id,
				 const struct dynmem_status_report *report);
void dynmem_encode_balloon_request(struct dynmem_message *m, uint32_t trans_id, uint32_t pages);
void dynmem_encode_balloon_response(struct dynmem_message *m, uint32_t trans_id, bool more,
				    const struct page_range *ranges, size_t n);
void dynmem_encode_unballoon_request(struct dynmem_message *m, uint32_t trans_id, bool more,
				     const struct page_range *ranges, size_t n);
void dynmem_encode_unballoon_response(struct dynmem_message *m, uint32_t trans_id);
void dynmem_encode_hot_add_request(struct dynmem_message *m, uint32_t trans_id,
				   const struct dynmem_hot_add_request *request);
void dynmem_encode_hot_add_response(struct dynmem_message *m, uint32_t trans_id,
				    const struct dynmem_hot_add_response *response);
void dynmem_encode_info_max_pages(struct dynmem_message *m, uint32_t trans_id, uint64_t max_pages);
