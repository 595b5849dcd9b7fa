/* SPDX-License-Identifier: MIT */

/*
 * What comes from the host, one function for each message.
 *
 * A message is decoded from a private copy, and has a place or has not: what is malformed, of an
 * unknown type, or out of place in the state is counted, noted once for each channel, and dropped.
 * A request that is well-formed is always answered, also one that contradicts itself, because a
 * host waits for the answer for ever. docs/PROTOCOL-dynmem.md sections 10 and 13.
 */

#include "balloon/dynmem_machine.h"

#define PAGES_PER_MIB UINT64_C(256)

static int malformed(struct dynmem *dm)
{
	dm->stats.malformed++;
	dynmem_add_note(dm, DYNMEM_NOTE_MALFORMED);
	return DYNMEM_MALFORMED;
}

static int unexpected(struct dynmem *dm)
{
	dm->stats.unexpected++;
	dynmem_add_note(dm, DYNMEM_NOTE_UNEXPECTED);
	return DYNMEM_UNEXPECTED;
}

static int unknown(struct dynmem *dm)
{
	dm->stats.unknown++;
	dynmem_add_note(dm, DYNMEM_NOTE_UNKNOWN_TYPE);
	return DYNMEM_UNEXPECTED;
}

static void overlapping(struct dynmem *dm)
{
	dm->stats.overlaps++;
	dynmem_add_note(dm, DYNMEM_NOTE_OVERLAP);
}

/* True while requests of the host have a place, and status reports are made. */
static bool in_service(const struct dynmem *dm)
{
	switch (dm->state) {
	case DYNMEM_STATE_READY:
	case DYNMEM_STATE_BALLOONING:
	case DYNMEM_STATE_UNBALLOONING:
	case DYNMEM_STATE_HOT_ADDING:
		return true;
	case DYNMEM_STATE_CLOSED:
	case DYNMEM_STATE_VERSION:
	case DYNMEM_STATE_CAPABILITIES:
	case DYNMEM_STATE_FAILED:
	case DYNMEM_N_STATES:
		break;
	}
	return false;
}

static int receive_version_response(struct dynmem *dm, const struct dynmem_frame *frame,
				    uint64_t now_ns)
{
	struct dynmem_version_response response;

	if (dm->state != DYNMEM_STATE_VERSION || dm->hello_due)
		return unexpected(dm);
	if (dynmem_decode_version_response(frame, &response))
		return malformed(dm);

	if (response.accepted) {
		dm->version = dynmem_versions[dm->attempt];
		dynmem_set_state(dm, DYNMEM_STATE_CAPABILITIES);
		dm->hello_due = true;
		dm->deadline_ns = now_ns + dynmem_start_budget_ns(dm);
	} else if (dm->attempt < DYNMEM_N_VERSIONS - 1) {
		dm->attempt++;
		dm->hello_due = true;
	} else {
		dynmem_fail(dm, DYNMEM_CLOSE_VERSION_REFUSED);
	}
	return 0;
}

static int receive_capabilities_response(struct dynmem *dm, const struct dynmem_frame *frame,
					 uint64_t now_ns)
{
	struct dynmem_capabilities_response response;

	if (dm->state != DYNMEM_STATE_CAPABILITIES || dm->hello_due)
		return unexpected(dm);
	if (dynmem_decode_capabilities_response(frame, &response))
		return malformed(dm);

	if (!response.accepted) {
		dynmem_fail(dm, DYNMEM_CLOSE_CAPABILITIES_REFUSED);
		return 0;
	}
	dynmem_set_state(dm, DYNMEM_STATE_READY);
	dm->unanswered = 0;
	dm->reports_suppressed = response.suppress_reports;
	dm->next_report_ns = now_ns + dm->config.first_status_ns;
	return 0;
}

/* Begins with what a lost host had: it is out of use already, and nobody has touched it. */
static void begin_balloon(struct dynmem *dm, uint32_t pages, uint64_t now_ns)
{
	uint64_t reused_pages;

	if (dynmem_books_reuse(&dm->books, pages, &reused_pages))
		reused_pages = 0; /* no memory for the books: all pages are taken anew */

	dynmem_set_state(dm, DYNMEM_STATE_BALLOONING);
	dm->take = reused_pages < pages ? DYNMEM_TAKE_DUE : DYNMEM_TAKE_NONE;
	dm->take_wanted = pages;
	dm->take_done = reused_pages;
	dm->stats.pages_reused += reused_pages;
	dm->operation = (struct dynmem_operation){
		.kind = DYNMEM_OPERATION_BALLOON,
		.asked_pages = pages,
		.done_pages = reused_pages,
		.started_ns = now_ns,
		.ended_ns = reused_pages < pages ? 0 : now_ns,
	};
}

static int receive_balloon_request(struct dynmem *dm, const struct dynmem_frame *frame,
				   uint64_t now_ns)
{
	uint32_t pages;

	if (!in_service(dm))
		return unexpected(dm);
	if (dynmem_decode_balloon_request(frame, &pages))
		return malformed(dm);

	dm->stats.balloon_requests++;
	if (dm->state != DYNMEM_STATE_READY) {
		overlapping(dm);
		dm->balloon_refusals++;
		return DYNMEM_UNEXPECTED;
	}
	if (pages == 0 || !dm->config.capabilities.balloon) {
		dm->balloon_refusals++;
		return 0;
	}

	begin_balloon(dm, pages, now_ns);
	return 0;
}

/* Begins a sequence of unballoon requests, unless it has begun. */
static void begin_sequence(struct dynmem *dm, uint64_t now_ns)
{
	if (dm->state == DYNMEM_STATE_READY) {
		dynmem_set_state(dm, DYNMEM_STATE_UNBALLOONING);
		dm->operation = (struct dynmem_operation){
			.kind = DYNMEM_OPERATION_UNBALLOON,
			.started_ns = now_ns,
		};
	} else if (!dm->sequence_open) {
		overlapping(dm);
	}
	dm->sequence_open = true;
}

static void count_given_back(struct dynmem *dm, const struct dynmem_given_back *given_back)
{
	dm->stats.foreign_pages += given_back->foreign_pages;
	dm->stats.untracked_pages += given_back->untracked_pages;
	if (given_back->foreign_pages > 0)
		dynmem_add_note(dm, DYNMEM_NOTE_FOREIGN);
	if (given_back->untracked_pages > 0)
		dynmem_add_note(dm, DYNMEM_NOTE_UNTRACKED);
}

static int receive_unballoon_request(struct dynmem *dm, const struct dynmem_frame *frame,
				     uint64_t now_ns)
{
	struct dynmem_given_back given_back;
	struct dynmem_ranges ranges;
	int r;

	if (!in_service(dm))
		return unexpected(dm);
	if (dynmem_decode_unballoon_request(frame, &ranges))
		return malformed(dm);
	if (ranges.n < ranges.n_claimed) {
		dm->stats.clipped++;
		dynmem_add_note(dm, DYNMEM_NOTE_CLIPPED);
	}

	begin_sequence(dm, now_ns);
	r = dynmem_books_give_back(&dm->books, &ranges, &given_back);
	if (r)
		return r;
	count_given_back(dm, &given_back);
	if (dm->operation.kind == DYNMEM_OPERATION_UNBALLOON) {
		dm->operation.asked_pages += given_back.asked_pages;
		dm->operation.done_pages += given_back.collected_pages;
		if (!ranges.more && dm->operation.done_pages == 0)
			dm->operation.ended_ns = now_ns;
	}
	if (!ranges.more) {
		dm->sequence_open = false;
		dm->unballoon_responses++;
		dm->stats.unballoon_requests++;
	}
	return 0;
}

/*
 * The part of the request's range that can be added: whole units of the alignment, from its first
 * page on, because an answer counts from there. False if there is none, or the request contradicts
 * itself, or names memory that is in the balloon.
 */
static bool usable_range(const struct dynmem *dm, const struct dynmem_hot_add_request *request,
			 struct page_range *ret_range)
{
	const uint64_t unit = PAGES_PER_MIB << dm->config.capabilities.hot_add_alignment;
	struct page_range range = request->range;
	const struct page_range *region = &request->region;

	if (!dynmem_range_fits(range) || range.first % unit != 0)
		return false;
	if (request->has_region &&
	    (range.first < region->first || range.count > region->count ||
	     range.first - region->first > region->count - range.count))
		return false;
	range.count -= range.count % unit;
	if (range.count == 0 || dynmem_books_know(&dm->books, range))
		return false;
	*ret_range = range;
	return true;
}

static int receive_hot_add_request(struct dynmem *dm, const struct dynmem_frame *frame,
				   uint64_t now_ns)
{
	struct dynmem_hot_add_request request;
	struct page_range range;

	if (!in_service(dm))
		return unexpected(dm);
	if (dynmem_decode_hot_add_request(frame, &request))
		return malformed(dm);

	dm->stats.hot_add_requests++;
	if (dm->state != DYNMEM_STATE_READY) {
		overlapping(dm);
		dm->hot_add_postponements++;
		return DYNMEM_UNEXPECTED;
	}
	if (!dm->config.can_hot_add || !dm->config.capabilities.hot_add) {
		dm->hot_add_refusals++;
		return 0;
	}

	if (!usable_range(dm, &request, &range)) {
		dm->stats.hot_add_bad++;
		dynmem_add_note(dm, DYNMEM_NOTE_HOT_ADD_RANGE);
		dm->hot_add_postponements++;
		return 0;
	}
	dynmem_set_state(dm, DYNMEM_STATE_HOT_ADDING);
	dm->hot_add = DYNMEM_HOT_ADD_STAGE_DUE;
	dm->hot_add_request = request;
	dm->hot_add_request.range = range;
	dm->hot_add_pages = 0;
	/* The last host may never have got the answer: it asks anew for what is there already. */
	dm->hot_add_again = range.first == dm->hot_add_unsure.first && dm->hot_add_unsure.count > 0;
	dm->hot_add_unsure = (struct page_range){0};
	dm->operation = (struct dynmem_operation){
		.kind = DYNMEM_OPERATION_HOT_ADD,
		.asked_pages = request.range.count,
		.started_ns = now_ns,
	};
	return 0;
}

static int receive_info(struct dynmem *dm, const struct dynmem_frame *frame)
{
	struct dynmem_info info;

	if (!in_service(dm))
		return unexpected(dm);
	if (dynmem_decode_info(frame, &info))
		return malformed(dm);

	if (!info.has_max_pages) {
		dm->stats.unknown++;
		dynmem_add_note(dm, DYNMEM_NOTE_UNKNOWN_INFO);
		return 0;
	}
	dm->has_max_pages = true;
	dm->max_pages = info.max_pages;
	return 0;
}

int dynmem_receive(struct dynmem *dm, const void *msg, size_t len, uint64_t now_ns)
{
	struct dynmem_frame frame;

	dm->stats.messages_in++;
	if (dynmem_decode_frame(msg, len, &frame))
		return malformed(dm);

	switch ((enum dynmem_message_type)frame.type) {
	case DYNMEM_VERSION_RESPONSE:
		return receive_version_response(dm, &frame, now_ns);
	case DYNMEM_CAPABILITIES_RESPONSE:
		return receive_capabilities_response(dm, &frame, now_ns);
	case DYNMEM_BALLOON_REQUEST:
		return receive_balloon_request(dm, &frame, now_ns);
	case DYNMEM_UNBALLOON_REQUEST:
		return receive_unballoon_request(dm, &frame, now_ns);
	case DYNMEM_HOT_ADD_REQUEST:
		return receive_hot_add_request(dm, &frame, now_ns);
	case DYNMEM_INFO:
		return receive_info(dm, &frame);
	case DYNMEM_VERSION_REQUEST:
	case DYNMEM_CAPABILITIES_REPORT:
	case DYNMEM_STATUS_REPORT:
	case DYNMEM_BALLOON_RESPONSE:
	case DYNMEM_UNBALLOON_RESPONSE:
	case DYNMEM_HOT_ADD_RESPONSE:
		return unexpected(dm);
	case DYNMEM_ERROR:
		break;
	}
	return unknown(dm);
}
