/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem_wire.h"

/*
 * What a host can do wrong in dynamic memory, one name for each, so that every branch of the guest
 * can be driven. The guest must survive all of it, and still have exactly the host's set of pages.
 */

enum dynmem_fault {
	DYNMEM_FAULT_NONE,

	/* Of the next request. */
	DYNMEM_FAULT_LATE,      /* it goes out seconds later */
	DYNMEM_FAULT_LOST,      /* it goes out only when it is overdue */
	DYNMEM_FAULT_DUPLICATE, /* its last message goes out twice */

	/* A message of its own. */
	DYNMEM_FAULT_FOREIGN,   /* gives back pages that it does not have */
	DYNMEM_FAULT_OVERLAP,   /* gives back some pages twice in one message */
	DYNMEM_FAULT_EMPTY,     /* gives back ranges of no pages */
	DYNMEM_FAULT_COUNT,     /* claims more ranges than the message holds */
	DYNMEM_FAULT_SHORT,     /* is cut off */
	DYNMEM_FAULT_UNKNOWN,   /* is of no type that there is */
	DYNMEM_FAULT_INFO,      /* informs of nothing that is known */
	DYNMEM_FAULT_ANSWER,    /* answers what was not asked */
	DYNMEM_FAULT_NOTHING,   /* asks for 0 pages */
	DYNMEM_FAULT_UNALIGNED, /* adds memory across the guest's alignment */
	DYNMEM_FAULT_EXISTING,  /* adds memory that the guest has */
	DYNMEM_FAULT_REGION,    /* adds memory outside of the region that it names */
	DYNMEM_FAULTS,
};

/* A message that is wrong, and what it does all the same. */
struct dynmem_fault_message {
	struct dynmem_message message;
	unsigned int answers;          /* that the guest owes for it: 0 or 1 */
	uint16_t answer_type;          /* enum dynmem_message_type */
	struct page_range given_back;  /* that the guest takes back because of it; may be empty */
};

/* True if @fault changes the next request; else it is a message of its own. */
bool dynmem_fault_is_of_request(enum dynmem_fault fault);

/* The name of a fault for people; DYNMEM_FAULT_NONE if there is none of that name. */
const char *dynmem_fault_name(enum dynmem_fault fault);
enum dynmem_fault dynmem_fault_named(const char *name);

/*
 * Writes the message of a fault that is one, to a guest of whose pages the host has @ballooned, and
 * which has memory added in units of @unit_pages.
 */
void dynmem_fault_make(enum dynmem_fault fault, const struct rangeset *ballooned,
		       uint64_t unit_pages, uint32_t trans_id,
		       struct dynmem_fault_message *ret_message);
