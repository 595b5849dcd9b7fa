/* SPDX-License-Identifier: MIT */

/*
 * The guest's end of Dynamic Memory. docs/PROTOCOL-dynmem.md.
 *
 *                      refused: next version
 *                           +-----+
 *             open          v     |     accepted                    accepted
 *     CLOSED -----------> VERSION -+------------> CAPABILITIES ----------------> READY
 *                           |                         |                         ^  ^
 *                           | last refused, 5 s       | refused, 5 s            |  |
 *                           v                         v                         |  |
 *                         FAILED <--------------------+                         |  |
 *                                                                               |  |
 *     READY <--- balloon request / last response ---> BALLOONING ---------------|--+
 *     READY <--- unballoon request / response ------> UNBALLOONING <------------+
 *
 * close leads from every state to CLOSED. A balloon that ends while an unballoon sequence has
 * begun leads to UNBALLOONING.
 *
 * One 5 s budget spans all version requests, as in Linux drivers/hv/hv_balloon.c; another one is
 * for the capabilities. The protocol has no other deadline.
 *
 * The host should ask for one thing at a time. If it does not:
 *   - a second balloon request is refused by "0 pages, no more" after the running one has ended;
 *   - a hot-add request is refused by "0 pages, try later";
 *   - an unballoon request cannot be refused, and need not be: its pages are ours again and are
 *     put back into use after the running operation.
 * No message is ever queued as bytes. What is owed to the host is counted, and written when the
 * caller can send; so the host cannot make this grow, and transaction ids follow the wire.
 *
 * Three disjoint sets hold every page that is out of use: `ballooned` (the host has it),
 * `collected` (the host gave it back, nobody was told yet) and `returning` (somebody is putting it
 * back into use). Only a page of `ballooned` is ever accepted back from the host.
 *
 * A slice of taken pages is answered as soon as it is there, with "more": the host can use the
 * memory at once, and sees that work goes on. If fewer pages were had than asked for, a message
 * without ranges ends the operation, because only that tells a host to stop asking for the rest.
 *
 * Status reports may be lost. There is one at most; it is dropped if the one before was not taken.
 */

#include "balloon/dynmem.h"

#include "balloon/dynmem_machine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S              UINT64_C(1000000000)
#define START_BUDGET_NS       (5 * NS_PER_S)
#define FIRST_STATUS_NS       (45 * NS_PER_S)

enum {
	HOT_ADD_ALIGNMENT_128_MIB = 7,
	RANGES_MAX = 1 << 20,
};

const uint32_t dynmem_versions[DYNMEM_N_VERSIONS] = {
	DYNMEM_VERSION_2_0,
	DYNMEM_VERSION_1_0,
	DYNMEM_VERSION_0_3,
};

static const char *const state_names[DYNMEM_N_STATES] = {
	[DYNMEM_STATE_CLOSED] = "closed",
	[DYNMEM_STATE_VERSION] = "version",
	[DYNMEM_STATE_CAPABILITIES] = "capabilities",
	[DYNMEM_STATE_READY] = "ready",
	[DYNMEM_STATE_BALLOONING] = "ballooning",
	[DYNMEM_STATE_UNBALLOONING] = "unballooning",
	[DYNMEM_STATE_FAILED] = "failed",
};

#define TO(state) (1u << DYNMEM_STATE_##state)

/* Where each state may lead. */
static const uint32_t transitions[DYNMEM_N_STATES] = {
	[DYNMEM_STATE_CLOSED] = TO(VERSION),
	[DYNMEM_STATE_VERSION] = TO(CAPABILITIES) | TO(FAILED) | TO(CLOSED),
	[DYNMEM_STATE_CAPABILITIES] = TO(READY) | TO(FAILED) | TO(CLOSED),
	[DYNMEM_STATE_READY] = TO(BALLOONING) | TO(UNBALLOONING) | TO(CLOSED),
	[DYNMEM_STATE_BALLOONING] = TO(READY) | TO(UNBALLOONING) | TO(CLOSED),
	[DYNMEM_STATE_UNBALLOONING] = TO(READY) | TO(CLOSED),
	[DYNMEM_STATE_FAILED] = TO(CLOSED),
};

void dynmem_set_state(struct dynmem *dm, enum dynmem_state state)
{
	assert(transitions[dm->state] & 1u << state);
	dm->state = state;
	dm->stats.entered[state]++;
}

const char *dynmem_state_name(enum dynmem_state state)
{
	assert(state < DYNMEM_N_STATES);
	return state_names[state];
}

const char *dynmem_close_reason_text(enum dynmem_close_reason reason)
{
	static const char *const texts[] = {
		[DYNMEM_CLOSE_VERSION_REFUSED] = "the host refused every protocol version",
		[DYNMEM_CLOSE_VERSION_TIMEOUT] = "the host did not answer the version request",
		[DYNMEM_CLOSE_CAPABILITIES_REFUSED] = "the host refused the capabilities",
		[DYNMEM_CLOSE_CAPABILITIES_TIMEOUT] = "the host did not answer the capabilities",
	};

	assert(reason < sizeof(texts) / sizeof(texts[0]));
	return texts[reason];
}

const char *dynmem_note_text(enum dynmem_note note)
{
	static const char *const texts[DYNMEM_N_NOTES] = {
		[DYNMEM_NOTE_MALFORMED] = "the host sent a message whose lengths do not fit",
		[DYNMEM_NOTE_UNEXPECTED] = "the host sent a message that has no place here",
		[DYNMEM_NOTE_UNKNOWN_TYPE] = "the host sent a message of an unknown type",
		[DYNMEM_NOTE_UNKNOWN_INFO] = "the host sent an unknown kind of info",
		[DYNMEM_NOTE_CLIPPED] = "the host sent fewer ranges than it claimed",
		[DYNMEM_NOTE_FOREIGN] = "the host returned pages that it did not have",
		[DYNMEM_NOTE_OVERLAP] = "the host asked for something before the last answer",
		[DYNMEM_NOTE_UNTRACKED] = "the host cut the balloon into too many pieces",
	};

	assert(note < DYNMEM_N_NOTES);
	return texts[note];
}

static void add_note(struct dynmem *dm, enum dynmem_note note)
{
	if (!(dm->notes_given & 1u << note))
		dm->notes_due |= 1u << note;
}

static int malformed(struct dynmem *dm)
{
	dm->stats.malformed++;
	add_note(dm, DYNMEM_NOTE_MALFORMED);
	return DYNMEM_MALFORMED;
}

static int unexpected(struct dynmem *dm)
{
	dm->stats.unexpected++;
	add_note(dm, DYNMEM_NOTE_UNEXPECTED);
	return DYNMEM_UNEXPECTED;
}

static int unknown(struct dynmem *dm)
{
	dm->stats.unknown++;
	add_note(dm, DYNMEM_NOTE_UNKNOWN_TYPE);
	return DYNMEM_UNEXPECTED;
}

static void overlapping(struct dynmem *dm)
{
	dm->stats.overlaps++;
	add_note(dm, DYNMEM_NOTE_OVERLAP);
}

void dynmem_config_init(struct dynmem_config *config)
{
	*config = (struct dynmem_config){
		.capabilities = {
			.balloon = true,
			.hot_add = true,
			.hot_add_alignment = HOT_ADD_ALIGNMENT_128_MIB,
		},
		.first_status_ns = FIRST_STATUS_NS,
		.status_period_ns = NS_PER_S,
		.ranges_per_message = DYNMEM_RANGES_MAX,
		.ranges_max = RANGES_MAX,
	};
}

int dynmem_new(const struct dynmem_config *config, struct dynmem **ret_dm)
{
	struct dynmem *dm;

	assert(config->ranges_per_message > 0 && config->ranges_per_message <= DYNMEM_RANGES_MAX);
	assert(config->status_period_ns > 0);

	dm = calloc(1, sizeof(*dm));
	if (!dm)
		return -ENOMEM;

	dm->config = *config;
	rangeset_init(&dm->ballooned, config->ranges_max);
	rangeset_init(&dm->collected, config->ranges_max);
	rangeset_init(&dm->returning, config->ranges_max);
	*ret_dm = dm;
	return 0;
}

struct dynmem *dynmem_free(struct dynmem *dm)
{
	if (!dm)
		return NULL;

	rangeset_fini(&dm->ballooned);
	rangeset_fini(&dm->collected);
	rangeset_fini(&dm->returning);
	free(dm->answers);
	free(dm);
	return NULL;
}

int dynmem_open(struct dynmem *dm, uint64_t now_ns)
{
	assert(dm->state == DYNMEM_STATE_CLOSED);

	if (dm->take != DYNMEM_TAKE_NONE || dm->return_running || dm->collected.pages > 0)
		return DYNMEM_BUSY;

	dynmem_set_state(dm, DYNMEM_STATE_VERSION);
	dm->attempt = 0;
	dm->version = 0;
	dm->hello_due = true;
	dm->deadline_ns = now_ns + START_BUDGET_NS;
	dm->notes_given = 0;
	dm->reports_suppressed = false;
	return 0;
}

void dynmem_close(struct dynmem *dm)
{
	if (dm->state == DYNMEM_STATE_CLOSED)
		return;

	dynmem_set_state(dm, DYNMEM_STATE_CLOSED);
	dm->hello_due = false;
	dm->close_due = false;
	dm->report = DYNMEM_REPORT_NONE;
	if (dm->take == DYNMEM_TAKE_DUE)
		dm->take = DYNMEM_TAKE_NONE;
	dm->sequence_open = false;
	dm->answered = 0;
	dm->n_answers = 0;
	dm->unballoon_responses = 0;
	dm->balloon_refusals = 0;
	dm->hot_add_refusals = 0;
	dm->hot_add_postponements = 0;
}

void dynmem_forget(struct dynmem *dm)
{
	assert(dm->state == DYNMEM_STATE_CLOSED && !dm->return_running);

	rangeset_clear(&dm->ballooned);
	rangeset_clear(&dm->collected);
	rangeset_clear(&dm->returning);
}

static void fail(struct dynmem *dm, enum dynmem_close_reason reason)
{
	dynmem_set_state(dm, DYNMEM_STATE_FAILED);
	dm->hello_due = false;
	dm->reason = reason;
	dm->close_due = true;
}

/* True while requests of the host have a place, and status reports are made. */
static bool in_service(const struct dynmem *dm)
{
	switch (dm->state) {
	case DYNMEM_STATE_READY:
	case DYNMEM_STATE_BALLOONING:
	case DYNMEM_STATE_UNBALLOONING:
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
		dm->deadline_ns = now_ns + START_BUDGET_NS;
	} else if (dm->attempt < DYNMEM_N_VERSIONS - 1) {
		dm->attempt++;
		dm->hello_due = true;
	} else {
		fail(dm, DYNMEM_CLOSE_VERSION_REFUSED);
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
		fail(dm, DYNMEM_CLOSE_CAPABILITIES_REFUSED);
		return 0;
	}
	dynmem_set_state(dm, DYNMEM_STATE_READY);
	dm->reports_suppressed = response.suppress_reports;
	dm->next_report_ns = now_ns + dm->config.first_status_ns;
	return 0;
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

	dynmem_set_state(dm, DYNMEM_STATE_BALLOONING);
	dm->take = DYNMEM_TAKE_DUE;
	dm->take_wanted = pages;
	dm->take_done = 0;
	dm->operation = (struct dynmem_operation){
		.kind = DYNMEM_OPERATION_BALLOON,
		.asked_pages = pages,
		.started_ns = now_ns,
	};
	return 0;
}

/*
 * Parts on their way from `ballooned` to `collected`. They go in batches, because adding to a large
 * set costs a pass over it, and a balloon of small pages comes back in very many parts.
 */
struct collection {
	struct page_range parts[DYNMEM_RANGES_MAX]; /* in neither set */
	size_t n;
	uint64_t pages; /* in `collected` by now */
};

static void untracked(struct dynmem *dm, uint64_t pages)
{
	dm->stats.untracked_pages += pages;
	add_note(dm, DYNMEM_NOTE_UNTRACKED);
}

/* Puts the parts into `collected`, or back where they were if that would be too finely cut. */
static int flush_collection(struct dynmem *dm, struct collection *c)
{
	uint64_t pages = page_ranges_count(c->parts, c->n);
	int r;

	r = page_ranges_normalize(c->parts, c->n, &c->n);
	assert(r == 0); /* each was removed from a set */
	r = rangeset_add(&dm->collected, c->parts, c->n);
	if (r == 0) {
		c->pages += pages;
	} else if (r == RANGESET_FULL) {
		untracked(dm, pages);
		r = rangeset_add(&dm->ballooned, c->parts, c->n);
	}
	assert(r <= 0);
	c->n = 0;
	return r;
}

/* Collects one contiguous part of `ballooned`. */
static int collect_part(struct dynmem *dm, struct page_range part, struct collection *c)
{
	uint64_t removed;
	int r;

	if (c->n == DYNMEM_RANGES_MAX) {
		r = flush_collection(dm, c);
		if (r)
			return r;
	}
	r = rangeset_remove(&dm->ballooned, part, &removed);
	if (r < 0)
		return r;
	if (r > 0)
		untracked(dm, part.count);
	else
		c->parts[c->n++] = part;
	return 0;
}

/* Collects whatever of @range is ballooned, and counts what is not. */
static int collect_range(struct dynmem *dm, struct page_range range, struct collection *c)
{
	struct page_range part;
	uint64_t foreign_pages = range.count;
	int r;

	while (rangeset_overlap(&dm->ballooned, range, &part)) {
		r = collect_part(dm, part, c);
		if (r)
			return r;
		foreign_pages -= part.count;
		range.count -= part.first + part.count - range.first;
		range.first = part.first + part.count;
	}

	if (foreign_pages > 0) {
		dm->stats.foreign_pages += foreign_pages;
		add_note(dm, DYNMEM_NOTE_FOREIGN);
	}
	return 0;
}

/* Collects all ranges of a request, and writes how many pages they name and how many were ours. */
static int collect_ranges(struct dynmem *dm, const struct dynmem_ranges *ranges,
			  uint64_t *ret_asked_pages, uint64_t *ret_collected_pages)
{
	struct collection c = {.n = 0};
	uint64_t asked_pages = 0;
	int r = 0, flushed;

	for (uint32_t i = 0; r == 0 && i < ranges->n; i++) {
		struct page_range range = dynmem_range_at(ranges, i);

		asked_pages += range.count;
		r = collect_range(dm, range, &c);
	}
	flushed = flush_collection(dm, &c);
	if (r)
		return r;
	if (flushed)
		return flushed;

	*ret_asked_pages = asked_pages;
	*ret_collected_pages = c.pages;
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

static int receive_unballoon_request(struct dynmem *dm, const struct dynmem_frame *frame,
				     uint64_t now_ns)
{
	struct dynmem_ranges ranges;
	uint64_t asked_pages, collected_pages;
	int r;

	if (!in_service(dm))
		return unexpected(dm);
	if (dynmem_decode_unballoon_request(frame, &ranges))
		return malformed(dm);
	if (ranges.n < ranges.n_claimed) {
		dm->stats.clipped++;
		add_note(dm, DYNMEM_NOTE_CLIPPED);
	}

	begin_sequence(dm, now_ns);
	r = collect_ranges(dm, &ranges, &asked_pages, &collected_pages);
	if (r)
		return r;
	if (dm->operation.kind == DYNMEM_OPERATION_UNBALLOON) {
		dm->operation.asked_pages += asked_pages;
		dm->operation.done_pages += collected_pages;
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
 * Linux adds the memory; from user space there is no way that exists everywhere, so the answer is
 * the permanent refusal.
 */
static int receive_hot_add_request(struct dynmem *dm, const struct dynmem_frame *frame)
{
	struct dynmem_hot_add_request request;

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
	dm->hot_add_refusals++;
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
		add_note(dm, DYNMEM_NOTE_UNKNOWN_INFO);
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
		return receive_hot_add_request(dm, &frame);
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

static void tick_report(struct dynmem *dm, uint64_t now_ns)
{
	if (dm->reports_suppressed || now_ns < dm->next_report_ns)
		return;

	if (dm->report == DYNMEM_REPORT_NONE)
		dm->report = DYNMEM_REPORT_DUE;
	else
		dm->stats.status_dropped++;

	/* Keep the beat, but do not make up for beats that were slept through. */
	dm->next_report_ns += dm->config.status_period_ns;
	if (dm->next_report_ns <= now_ns)
		dm->next_report_ns = now_ns + dm->config.status_period_ns;
}

void dynmem_tick(struct dynmem *dm, uint64_t now_ns)
{
	switch (dm->state) {
	case DYNMEM_STATE_VERSION:
		if (now_ns >= dm->deadline_ns)
			fail(dm, DYNMEM_CLOSE_VERSION_TIMEOUT);
		break;
	case DYNMEM_STATE_CAPABILITIES:
		if (now_ns >= dm->deadline_ns)
			fail(dm, DYNMEM_CLOSE_CAPABILITIES_TIMEOUT);
		break;
	case DYNMEM_STATE_READY:
	case DYNMEM_STATE_BALLOONING:
	case DYNMEM_STATE_UNBALLOONING:
		tick_report(dm, now_ns);
		break;
	case DYNMEM_STATE_CLOSED:
	case DYNMEM_STATE_FAILED:
	case DYNMEM_N_STATES:
		break;
	}
}

uint64_t dynmem_deadline_ns(const struct dynmem *dm)
{
	switch (dm->state) {
	case DYNMEM_STATE_VERSION:
	case DYNMEM_STATE_CAPABILITIES:
		return dm->deadline_ns;
	case DYNMEM_STATE_READY:
	case DYNMEM_STATE_BALLOONING:
	case DYNMEM_STATE_UNBALLOONING:
		return dm->reports_suppressed ? UINT64_MAX : dm->next_report_ns;
	case DYNMEM_STATE_CLOSED:
	case DYNMEM_STATE_FAILED:
	case DYNMEM_N_STATES:
		break;
	}
	return UINT64_MAX;
}

void dynmem_set_figures(struct dynmem *dm, const struct dynmem_status_report *figures)
{
	if (dm->report != DYNMEM_REPORT_SAMPLING)
		return;

	dm->figures = *figures;
	dm->report = DYNMEM_REPORT_COMPLETE;
}

/* Makes room for @n more answers. DYNMEM_FULL, -ENOMEM. */
static int reserve_answers(struct dynmem *dm, size_t n)
{
	size_t capacity = dm->answers_capacity ? dm->answers_capacity : DYNMEM_RANGES_MAX;
	struct page_range *answers;

	if (dm->answered > 0) {
		dm->n_answers -= dm->answered;
		memmove(dm->answers, dm->answers + dm->answered,
			dm->n_answers * sizeof(*answers));
		dm->answered = 0;
	}

	if (n > dm->config.ranges_max - dm->n_answers)
		return DYNMEM_FULL;
	while (capacity < dm->n_answers + n)
		capacity *= 2;
	if (capacity == dm->answers_capacity)
		return 0;

	answers = reallocarray(dm->answers, capacity, sizeof(*answers));
	if (!answers)
		return -ENOMEM;
	dm->answers = answers;
	dm->answers_capacity = capacity;
	return 0;
}

/* Records a slice: the pages are the host's from here on. */
static int accept_slice(struct dynmem *dm, const struct page_range *ranges, size_t n)
{
	uint64_t pages = page_ranges_count(ranges, n);
	struct page_range part;
	int r;

	assert(pages <= dm->take_wanted - dm->take_done);
	for (size_t i = 0; i < n; i++)
		if (!dynmem_range_fits(ranges[i]) ||
		    rangeset_overlap(&dm->collected, ranges[i], &part))
			return DYNMEM_UNUSABLE;

	r = reserve_answers(dm, n);
	if (r)
		return r;
	r = rangeset_add(&dm->ballooned, ranges, n);
	if (r < 0)
		return r;
	if (r > 0)
		return r == RANGESET_FULL ? DYNMEM_FULL : DYNMEM_UNUSABLE;

	for (size_t i = 0; i < n; i++)
		dm->answers[dm->n_answers++] = ranges[i];
	dm->take_done += pages;
	dm->operation.done_pages += pages;
	dm->stats.pages_taken += pages;
	return 0;
}

int dynmem_complete_take(struct dynmem *dm, const struct page_range *ranges, size_t n,
			 bool finished, uint64_t now_ns)
{
	int r;

	assert(dm->take == DYNMEM_TAKE_RUNNING);
	if (dm->state == DYNMEM_STATE_BALLOONING)
		r = n > 0 ? accept_slice(dm, ranges, n) : 0;
	else
		r = DYNMEM_STALE;

	if (finished) {
		dm->take = DYNMEM_TAKE_NONE;
		dm->operation.ended_ns = now_ns;
	}
	return r;
}

void dynmem_complete_return(struct dynmem *dm, uint64_t now_ns)
{
	assert(dm->return_running);

	dm->return_running = false;
	dm->stats.pages_returned += dm->returning.pages;
	rangeset_clear(&dm->returning);
	if (dm->operation.kind == DYNMEM_OPERATION_UNBALLOON)
		dm->operation.ended_ns = now_ns;
}

const struct rangeset *dynmem_ballooned(const struct dynmem *dm)
{
	return &dm->ballooned;
}

void dynmem_get_status(const struct dynmem *dm, struct dynmem_status *ret_status)
{
	*ret_status = (struct dynmem_status){
		.state = dm->state,
		.version = dm->version,
		.reports_suppressed = dm->reports_suppressed,
		.has_max_pages = dm->has_max_pages,
		.max_pages = dm->max_pages,
		.ballooned_pages = dm->ballooned.pages,
		.returning_pages = dm->collected.pages + dm->returning.pages,
		.operation = dm->operation,
		.stats = dm->stats,
	};
}
