/* SPDX-License-Identifier: MIT */

/*
 * Messages of a host that does not keep to the protocol.
 *
 * Each is made from what the host has, so that it is as plausible as it can be, and it is known what
 * a guest that keeps to docs/PROTOCOL-dynmem.md makes of it: which pages it takes back, and whether
 * it answers. So the host's books stay right, and a guest that strays shows.
 */

#include "host/dynmem_fault.h"

#include <string.h>

enum {
	NO_SUCH_TYPE = 99,
	NO_SUCH_INFO = 7,
	CLAIMED_RANGES = 400,
	FOREIGN_PAGES = 1000,
	OVERLAP_PAGES = 8,

	TYPE_AT = 0, /* offsets in bytes */
	SIZE_AT = 2,
	RANGES_COUNT_AT = 12,
	INFO_TYPE_AT = 16,
};

static const char *const names[DYNMEM_FAULTS] = {
	[DYNMEM_FAULT_NONE] = "none",
	[DYNMEM_FAULT_LATE] = "late",
	[DYNMEM_FAULT_LOST] = "lost",
	[DYNMEM_FAULT_DUPLICATE] = "duplicate",
	[DYNMEM_FAULT_FOREIGN] = "foreign",
	[DYNMEM_FAULT_OVERLAP] = "overlap",
	[DYNMEM_FAULT_EMPTY] = "empty",
	[DYNMEM_FAULT_COUNT] = "count",
	[DYNMEM_FAULT_SHORT] = "short",
	[DYNMEM_FAULT_UNKNOWN] = "unknown",
	[DYNMEM_FAULT_INFO] = "info",
	[DYNMEM_FAULT_ANSWER] = "answer",
	[DYNMEM_FAULT_NOTHING] = "nothing",
	[DYNMEM_FAULT_UNALIGNED] = "unaligned",
	[DYNMEM_FAULT_EXISTING] = "existing",
	[DYNMEM_FAULT_REGION] = "region",
};

const char *dynmem_fault_name(enum dynmem_fault fault)
{
	assert(fault < DYNMEM_FAULTS);
	return names[fault];
}

enum dynmem_fault dynmem_fault_named(const char *name)
{
	for (enum dynmem_fault fault = DYNMEM_FAULT_LATE; fault < DYNMEM_FAULTS; fault++)
		if (!strcmp(name, names[fault]))
			return fault;
	return DYNMEM_FAULT_NONE;
}

bool dynmem_fault_is_of_request(enum dynmem_fault fault)
{
	return fault == DYNMEM_FAULT_LATE || fault == DYNMEM_FAULT_LOST ||
	       fault == DYNMEM_FAULT_DUPLICATE;
}

/* The top of what the host has, no more than @pages; empty if it has nothing. */
static struct page_range top_pages(const struct rangeset *ballooned, uint64_t pages)
{
	struct page_range top = {0};

	if (ballooned->n_ranges == 0)
		return top;
	top = ballooned->ranges[ballooned->n_ranges - 1];
	if (top.count > pages) {
		top.first += top.count - pages;
		top.count = pages;
	}
	return top;
}

/* Pages behind all that the host has. */
static struct page_range foreign_pages(const struct rangeset *ballooned)
{
	struct page_range range = {.first = DYNMEM_PFN_MAX - FOREIGN_PAGES, .count = FOREIGN_PAGES};
	struct page_range part;

	if (rangeset_overlap(ballooned, range, &part))
		range = (struct page_range){.first = 0, .count = 1}; /* no balloon has page 0 */
	return range;
}

static void unballoon(struct dynmem_fault_message *m, uint32_t trans_id,
		      const struct page_range *ranges, size_t n)
{
	dynmem_encode_unballoon_request(&m->message, trans_id, false, ranges, n);
	m->answers = 1;
	m->answer_type = DYNMEM_UNBALLOON_RESPONSE;
}

/* The same pages by two ranges of which one is part of the other, and once more. */
static void overlap(struct dynmem_fault_message *m, uint32_t trans_id,
		    const struct rangeset *ballooned)
{
	struct page_range top = top_pages(ballooned, OVERLAP_PAGES);
	struct page_range ranges[] = {top, {top.first + top.count / 2, top.count - top.count / 2},
				      top};

	unballoon(m, trans_id, ranges, 3);
	m->given_back = top;
}

static void claim_too_many(struct dynmem_fault_message *m, uint32_t trans_id,
			   const struct rangeset *ballooned)
{
	struct page_range top = top_pages(ballooned, OVERLAP_PAGES);

	unballoon(m, trans_id, &top, 1);
	m->message.bytes[RANGES_COUNT_AT] = CLAIMED_RANGES & 0xff;
	m->message.bytes[RANGES_COUNT_AT + 1] = CLAIMED_RANGES >> 8;
	m->given_back = top;
}

/* A request to give pages back that ends within its fixed part. */
static void cut_off(struct dynmem_fault_message *m, uint32_t trans_id,
		    const struct rangeset *ballooned)
{
	struct page_range top = top_pages(ballooned, OVERLAP_PAGES);

	dynmem_encode_unballoon_request(&m->message, trans_id, false, &top, 1);
	m->message.size = DYNMEM_RANGES_HEADER_SIZE - 4;
	m->message.bytes[SIZE_AT] = m->message.size;
}

static void hot_add(struct dynmem_fault_message *m, uint32_t trans_id,
		    const struct dynmem_hot_add_request *request)
{
	dynmem_encode_hot_add_request(&m->message, trans_id, request);
	m->answers = 1;
	m->answer_type = DYNMEM_HOT_ADD_RESPONSE;
}

/* The unit of memory in which the guest has given something, or the first one that there is. */
static struct page_range existing_unit(const struct rangeset *ballooned, uint64_t unit_pages)
{
	struct page_range top = top_pages(ballooned, 1);

	return (struct page_range){.first = top.first - top.first % unit_pages,
				   .count = unit_pages};
}

static void add_wrongly(enum dynmem_fault fault, struct dynmem_fault_message *m, uint32_t trans_id,
			const struct rangeset *ballooned, uint64_t unit_pages)
{
	struct page_range far = {(DYNMEM_PFN_MAX + 1) / 2, unit_pages};
	struct dynmem_hot_add_request request = {.range = far};

	if (fault == DYNMEM_FAULT_EXISTING) {
		request.range = existing_unit(ballooned, unit_pages);
	} else if (fault == DYNMEM_FAULT_UNALIGNED) {
		request.range.first += unit_pages / 2;
	} else {
		request.has_region = true;
		request.region = far;
		request.region.first += unit_pages;
	}
	hot_add(m, trans_id, &request);
}

void dynmem_fault_make(enum dynmem_fault fault, const struct rangeset *ballooned,
		       uint64_t unit_pages, uint32_t trans_id, struct dynmem_fault_message *ret_message)
{
	const struct dynmem_version_response accepted = {.accepted = true};
	struct dynmem_fault_message m = {.answers = 0};
	struct page_range foreign = foreign_pages(ballooned);
	struct page_range empty[3] = {{.first = top_pages(ballooned, 1).first}};

	switch (fault) {
	case DYNMEM_FAULT_FOREIGN:
		unballoon(&m, trans_id, &foreign, 1);
		break;
	case DYNMEM_FAULT_OVERLAP:
		overlap(&m, trans_id, ballooned);
		break;
	case DYNMEM_FAULT_EMPTY:
		unballoon(&m, trans_id, empty, 3);
		break;
	case DYNMEM_FAULT_COUNT:
		claim_too_many(&m, trans_id, ballooned);
		break;
	case DYNMEM_FAULT_SHORT:
		cut_off(&m, trans_id, ballooned);
		break;
	case DYNMEM_FAULT_UNKNOWN:
		dynmem_encode_unballoon_response(&m.message, trans_id);
		m.message.bytes[TYPE_AT] = NO_SUCH_TYPE;
		break;
	case DYNMEM_FAULT_INFO:
		dynmem_encode_info_max_pages(&m.message, trans_id, 1);
		m.message.bytes[INFO_TYPE_AT] = NO_SUCH_INFO;
		break;
	case DYNMEM_FAULT_ANSWER:
		dynmem_encode_version_response(&m.message, trans_id, &accepted);
		break;
	case DYNMEM_FAULT_NOTHING:
		dynmem_encode_balloon_request(&m.message, trans_id, 0);
		m.answers = 1;
		m.answer_type = DYNMEM_BALLOON_RESPONSE;
		break;
	case DYNMEM_FAULT_UNALIGNED:
	case DYNMEM_FAULT_EXISTING:
	case DYNMEM_FAULT_REGION:
		add_wrongly(fault, &m, trans_id, ballooned, unit_pages);
		break;
	case DYNMEM_FAULT_NONE:
	case DYNMEM_FAULT_LATE:
	case DYNMEM_FAULT_LOST:
	case DYNMEM_FAULT_DUPLICATE:
	case DYNMEM_FAULTS:
		assert(!"a fault with a message of its own");
	}
	*ret_message = m;
}
