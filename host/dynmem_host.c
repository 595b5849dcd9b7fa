/* SPDX-License-Identifier: MIT */

/*
 * The host's end of Dynamic Memory. docs/PROTOCOL-dynmem.md; QEMU hw/hyperv/hv-balloon.c.
 *
 *             open         version accepted          capabilities
 *     CLOSED ------> VERSION ------------> CAPABILITIES ------------> READY
 *                     ^   |                                           |   ^
 *                     +---+ refused: the guest may try another        |   |
 *                                                                     |   |
 *     READY --- request balloon ---> BALLOONING --- "no more" --------|---+
 *     READY --- request unballoon -> UNBALLOONING --- response -------|---+
 *     READY --- request hot-add ---> HOT_ADDING --- response ---------|---+
 *     READY --- inject ------------> FAULT --- its answer, if any ----+---+
 *
 * close leads from every state to CLOSED, and forgets the guest's pages.
 *
 * One operation at a time. It is never given up, because a guest that answers late would then
 * answer the next one; if the guest makes no progress for long the operation is overdue, the guest
 * counts as not obeying, and only that changes. Whatever it answers later makes it obey again.
 *
 * The set of pages is what the guest said it gave. Its answers are not believed further than
 * needed: a page that the host has already is not counted again, and more pages than asked for are
 * taken (the guest does not use them any more) but counted as a violation. Pages leave the set
 * when the message that gives them back is handed out. They go from the top, so that what remains
 * is few and long runs.
 *
 * Memory is added from the start of the window on, without gaps, in whole units of what the guest
 * announced and up to 2 GiB at once, as QEMU does. A guest that adds nothing for good is not asked
 * again on this channel. What was added stays added when the channel closes.
 *
 * For tests the host can do wrong on purpose (host/dynmem_fault): a request can be late, lost and
 * repeated, or sent twice, and is over only when everything that was sent has been answered.
 *
 * Transaction ids: an answer to the start echoes the guest's; requests are numbered from 0, all
 * messages of an unballoon alike.
 */

#include "host/dynmem_host_machine.h"

#include <assert.h>
#include <stdlib.h>

#define NS_PER_S      UINT64_C(1000000000)
#define PAGES_PER_MIB UINT64_C(256)

enum {
	OPERATION_TIMEOUT_S = 60,
	LATE_S = 2,
	HOT_ADD_MAX_PAGES = 1 << 19, /* 2 GiB */
	RANGES_MAX = 1 << 20,
};

static const char *const state_names[DYNMEM_HOST_N_STATES] = {
	[DYNMEM_HOST_STATE_CLOSED] = "closed",
	[DYNMEM_HOST_STATE_VERSION] = "version",
	[DYNMEM_HOST_STATE_CAPABILITIES] = "capabilities",
	[DYNMEM_HOST_STATE_READY] = "ready",
	[DYNMEM_HOST_STATE_BALLOONING] = "ballooning",
	[DYNMEM_HOST_STATE_UNBALLOONING] = "unballooning",
	[DYNMEM_HOST_STATE_HOT_ADDING] = "adding memory",
	[DYNMEM_HOST_STATE_FAULT] = "doing wrong",
};

#define TO(state) (1u << DYNMEM_HOST_STATE_##state)

/* Where each state may lead. */
static const uint32_t transitions[DYNMEM_HOST_N_STATES] = {
	[DYNMEM_HOST_STATE_CLOSED] = TO(VERSION),
	[DYNMEM_HOST_STATE_VERSION] = TO(CAPABILITIES) | TO(CLOSED),
	[DYNMEM_HOST_STATE_CAPABILITIES] = TO(READY) | TO(CLOSED),
	[DYNMEM_HOST_STATE_READY] =
		TO(BALLOONING) | TO(UNBALLOONING) | TO(HOT_ADDING) | TO(FAULT) | TO(CLOSED),
	[DYNMEM_HOST_STATE_BALLOONING] = TO(READY) | TO(CLOSED),
	[DYNMEM_HOST_STATE_UNBALLOONING] = TO(READY) | TO(CLOSED),
	[DYNMEM_HOST_STATE_HOT_ADDING] = TO(READY) | TO(CLOSED),
	[DYNMEM_HOST_STATE_FAULT] = TO(READY) | TO(CLOSED),
};

void dynmem_host_set_state(struct dynmem_host *host, enum dynmem_host_state state)
{
	assert(transitions[host->state] & 1u << state);
	host->state = state;
	host->stats.entered[state]++;
}

const char *dynmem_host_state_name(enum dynmem_host_state state)
{
	assert(state < DYNMEM_HOST_N_STATES);
	return state_names[state];
}

static int malformed(struct dynmem_host *host)
{
	host->stats.malformed++;
	return DYNMEM_HOST_MALFORMED;
}

static int unexpected(struct dynmem_host *host)
{
	host->stats.unexpected++;
	return DYNMEM_HOST_UNEXPECTED;
}

void dynmem_host_config_init(struct dynmem_host_config *config)
{
	*config = (struct dynmem_host_config){
		.version_min = DYNMEM_VERSION_0_3,
		.version_max = DYNMEM_VERSION_2_0,
		.operation_timeout_ns = OPERATION_TIMEOUT_S * NS_PER_S,
		.ranges_per_message = DYNMEM_RANGES_MAX,
		.ranges_max = RANGES_MAX,
		.late_ns = LATE_S * NS_PER_S,
	};
}

int dynmem_host_new(const struct dynmem_host_config *config, struct dynmem_host **ret_host)
{
	struct dynmem_host *host;

	assert(config->ranges_per_message > 0 && config->ranges_per_message <= DYNMEM_RANGES_MAX);

	host = calloc(1, sizeof(*host));
	if (!host)
		return -ENOMEM;
	host->config = *config;
	rangeset_init(&host->ballooned, config->ranges_max);
	*ret_host = host;
	return 0;
}

struct dynmem_host *dynmem_host_free(struct dynmem_host *host)
{
	if (!host)
		return NULL;
	rangeset_fini(&host->ballooned);
	free(host);
	return NULL;
}

void dynmem_host_open(struct dynmem_host *host)
{
	dynmem_host_set_state(host, DYNMEM_HOST_STATE_VERSION);
	host->version = 0;
	host->capabilities = (struct dynmem_capabilities){0};
	host->has_report = false;
	host->trans_id = 0;
	host->no_more_adding = false;
}

/* True while an operation waits for the guest. */
static bool in_operation(const struct dynmem_host *host)
{
	switch (host->state) {
	case DYNMEM_HOST_STATE_BALLOONING:
	case DYNMEM_HOST_STATE_UNBALLOONING:
	case DYNMEM_HOST_STATE_HOT_ADDING:
	case DYNMEM_HOST_STATE_FAULT:
		return true;
	case DYNMEM_HOST_STATE_CLOSED:
	case DYNMEM_HOST_STATE_VERSION:
	case DYNMEM_HOST_STATE_CAPABILITIES:
	case DYNMEM_HOST_STATE_READY:
	case DYNMEM_HOST_N_STATES:
		break;
	}
	return false;
}

static void end_operation(struct dynmem_host *host, uint64_t now_ns)
{
	host->operation.ended_ns = now_ns;
	host->request_due = false;
	host->give_back_pages = 0;
	host->stalled = false;
	host->overdue_due = false;
	host->held = false;
	host->twice_due = false;
	host->answers_due = 0;
	host->ended_due = true;
	host->trans_id++;
}

void dynmem_host_close(struct dynmem_host *host, uint64_t now_ns)
{
	if (host->state == DYNMEM_HOST_STATE_CLOSED)
		return;

	if (in_operation(host)) {
		host->operation.lost = true;
		end_operation(host, now_ns);
	}
	dynmem_host_set_state(host, DYNMEM_HOST_STATE_CLOSED);
	host->answer_due = false;
	host->ready_due = false;
	rangeset_clear(&host->ballooned);
}

static int receive_version_request(struct dynmem_host *host, const struct dynmem_frame *frame)
{
	struct dynmem_version_request request;

	if (host->state != DYNMEM_HOST_STATE_VERSION || host->answer_due)
		return unexpected(host);
	if (dynmem_decode_version_request(frame, &request))
		return malformed(host);

	host->answer_due = true;
	host->answer_id = frame->trans_id;
	host->accepted = request.version >= host->config.version_min &&
			 request.version <= host->config.version_max;
	host->version = host->accepted ? request.version : 0;
	return 0;
}

static int receive_capabilities(struct dynmem_host *host, const struct dynmem_frame *frame)
{
	if (host->state != DYNMEM_HOST_STATE_CAPABILITIES || host->answer_due)
		return unexpected(host);
	if (dynmem_decode_capabilities(frame, &host->capabilities))
		return malformed(host);

	host->answer_due = true;
	host->answer_id = frame->trans_id;
	return 0;
}

/* Reports are welcome in every state of an open channel, as they are to QEMU. */
static int receive_status_report(struct dynmem_host *host, const struct dynmem_frame *frame,
				 uint64_t now_ns)
{
	if (host->state == DYNMEM_HOST_STATE_CLOSED)
		return unexpected(host);
	if (dynmem_decode_status_report(frame, &host->report))
		return malformed(host);

	host->stats.status_reports++;
	host->has_report = true;
	host->report_ns = now_ns;
	return 0;
}

static void progress(struct dynmem_host *host, uint64_t now_ns)
{
	host->progress_ns = now_ns;
	host->stalled = false;
	host->overdue_due = false;
}

/* Adds one range of which nothing is in the set. Counts what cannot be tracked; -ENOMEM. */
static int add_new(struct dynmem_host *host, struct page_range range, uint64_t *ret_added)
{
	int r;

	*ret_added = 0;
	if (range.count == 0)
		return 0;
	r = rangeset_add(&host->ballooned, &range, 1);
	if (r < 0)
		return r;
	if (r > 0)
		host->stats.pages_untracked += range.count;
	else
		*ret_added = range.count;
	return 0;
}

/* Adds what is new of @range, and counts what is not. */
static int add_range(struct dynmem_host *host, struct page_range range, uint64_t *ret_added)
{
	struct page_range known, before;
	uint64_t added, total = 0;
	int r;

	/* There is nothing beyond 40 bits, and it could not be named when giving it back. */
	if (!dynmem_range_fits(range)) {
		host->stats.pages_untracked += range.count - (DYNMEM_PFN_MAX + 1 - range.first);
		range.count = DYNMEM_PFN_MAX + 1 - range.first;
	}

	while (rangeset_overlap(&host->ballooned, range, &known)) {
		before = (struct page_range){range.first, known.first - range.first};
		host->stats.pages_twice += known.count;
		range.count -= before.count + known.count;
		range.first = known.first + known.count;
		r = add_new(host, before, &added);
		if (r)
			return r;
		total += added;
	}
	r = add_new(host, range, &added);
	if (r)
		return r;
	*ret_added = total + added;
	return 0;
}

/* Adds all ranges at once if they are all new. A condition of rangeset.h, or -ENOMEM, if not. */
static int add_new_ranges(struct dynmem_host *host, const struct dynmem_ranges *ranges,
			  uint64_t *ret_added)
{
	struct page_range sorted[DYNMEM_RANGES_MAX];
	size_t n;
	int r;

	if (ranges->n > DYNMEM_RANGES_MAX)
		return RANGESET_FULL;
	for (uint32_t i = 0; i < ranges->n; i++) {
		sorted[i] = dynmem_range_at(ranges, i);
		if (!dynmem_range_fits(sorted[i]))
			return RANGESET_OVERFLOW;
	}
	r = page_ranges_normalize(sorted, ranges->n, &n);
	if (r)
		return r;
	r = rangeset_add(&host->ballooned, sorted, n);
	if (r)
		return r;
	*ret_added = page_ranges_count(sorted, n);
	return 0;
}

/* Adds what is new, range by range, and counts the rest. -ENOMEM. */
static int add_ranges(struct dynmem_host *host, const struct dynmem_ranges *ranges,
		      uint64_t *ret_added)
{
	uint64_t added, total = 0;
	int r;

	for (uint32_t i = 0; i < ranges->n; i++) {
		r = add_range(host, dynmem_range_at(ranges, i), &added);
		if (r)
			return r;
		total += added;
	}
	*ret_added = total;
	return 0;
}

/* Takes the ranges of a response. DYNMEM_HOST_VIOLATION, -ENOMEM. */
static int take_ranges(struct dynmem_host *host, const struct dynmem_ranges *ranges)
{
	struct dynmem_host_operation *operation = &host->operation;
	uint64_t left_pages = operation->asked_pages - operation->done_pages, added;
	bool violation = ranges->n < ranges->n_claimed;
	int r;

	if (operation->done_pages > operation->asked_pages)
		left_pages = 0;
	r = add_new_ranges(host, ranges, &added);
	if (r > 0) {
		violation = true;
		r = add_ranges(host, ranges, &added);
	}
	if (r)
		return r;

	operation->done_pages += added;
	if (added > left_pages) {
		violation = true;
		host->stats.pages_beyond += added - left_pages;
	}
	if (!violation)
		return 0;
	host->stats.violations++;
	return DYNMEM_HOST_VIOLATION;
}

void dynmem_host_last_answer(struct dynmem_host *host, uint64_t now_ns)
{
	if (host->answers_due > 0)
		host->answers_due--;
	if (host->answers_due > 0 || host->twice_due)
		return;
	dynmem_host_set_state(host, DYNMEM_HOST_STATE_READY);
	end_operation(host, now_ns);
}

/* What the guest has memory added in. */
static uint64_t unit_pages(const struct dynmem_host *host)
{
	return PAGES_PER_MIB << host->capabilities.hot_add_alignment;
}

static int receive_balloon_response(struct dynmem_host *host, const struct dynmem_frame *frame,
				    uint64_t now_ns)
{
	struct dynmem_ranges ranges;
	int r;

	if (host->state != DYNMEM_HOST_STATE_BALLOONING || host->request_due)
		return unexpected(host);
	if (dynmem_decode_balloon_response(frame, &ranges))
		return malformed(host);

	progress(host, now_ns);
	r = take_ranges(host, &ranges);
	if (r < 0)
		return r;
	if (!ranges.more)
		dynmem_host_last_answer(host, now_ns);
	return r;
}

static int receive_unballoon_response(struct dynmem_host *host, uint64_t now_ns)
{
	if (host->state != DYNMEM_HOST_STATE_UNBALLOONING || host->give_back_pages > 0)
		return unexpected(host);

	progress(host, now_ns);
	dynmem_host_last_answer(host, now_ns);
	return 0;
}

/* More than was asked for is not believed; less than a unit more cannot be addressed any more. */
static int receive_hot_add_response(struct dynmem_host *host, const struct dynmem_frame *frame,
				    uint64_t now_ns)
{
	struct dynmem_hot_add_response response;
	uint64_t pages;
	int r = 0;

	if (host->state != DYNMEM_HOST_STATE_HOT_ADDING || host->request_due)
		return unexpected(host);
	if (dynmem_decode_hot_add_response(frame, &response))
		return malformed(host);

	pages = response.result == DYNMEM_HOT_ADD_DONE ? response.pages : 0;
	if (pages > host->adding.count - host->operation.done_pages ||
	    pages % unit_pages(host) != 0) {
		host->stats.violations++;
		r = DYNMEM_HOST_VIOLATION;
		pages = 0;
	}
	host->no_more_adding |= response.result == DYNMEM_HOT_ADD_DONE && response.pages == 0;
	host->added_pages += pages;
	host->operation.done_pages += pages;
	progress(host, now_ns);
	dynmem_host_last_answer(host, now_ns);
	return r;
}

/* The answer to something wrong; only its kind can be right. */
static int receive_answer_to_fault(struct dynmem_host *host, const struct dynmem_frame *frame,
				   uint64_t now_ns)
{
	if (host->request_due || frame->type != host->wrong.answer_type)
		return unexpected(host);
	progress(host, now_ns);
	dynmem_host_last_answer(host, now_ns);
	return 0;
}

int dynmem_host_receive(struct dynmem_host *host, const void *msg, size_t len, uint64_t now_ns)
{
	struct dynmem_frame frame;

	host->stats.messages_in++;
	host->now_ns = now_ns;
	if (dynmem_decode_frame(msg, len, &frame))
		return malformed(host);
	if (host->state == DYNMEM_HOST_STATE_FAULT && frame.type != DYNMEM_STATUS_REPORT)
		return receive_answer_to_fault(host, &frame, now_ns);

	switch ((enum dynmem_message_type)frame.type) {
	case DYNMEM_VERSION_REQUEST:
		return receive_version_request(host, &frame);
	case DYNMEM_CAPABILITIES_REPORT:
		return receive_capabilities(host, &frame);
	case DYNMEM_STATUS_REPORT:
		return receive_status_report(host, &frame, now_ns);
	case DYNMEM_BALLOON_RESPONSE:
		return receive_balloon_response(host, &frame, now_ns);
	case DYNMEM_UNBALLOON_RESPONSE:
		return receive_unballoon_response(host, now_ns);
	case DYNMEM_HOT_ADD_RESPONSE:
		return receive_hot_add_response(host, &frame, now_ns);
	case DYNMEM_ERROR:
	case DYNMEM_VERSION_RESPONSE:
	case DYNMEM_CAPABILITIES_RESPONSE:
	case DYNMEM_BALLOON_REQUEST:
	case DYNMEM_UNBALLOON_REQUEST:
	case DYNMEM_HOT_ADD_REQUEST:
	case DYNMEM_INFO:
		break;
	}
	return unexpected(host);
}

void dynmem_host_tick(struct dynmem_host *host, uint64_t now_ns)
{
	host->now_ns = now_ns;
	if (host->held && now_ns >= host->held_until_ns)
		host->held = false;
	if (!in_operation(host) || host->stalled ||
	    now_ns < host->progress_ns + host->config.operation_timeout_ns)
		return;
	host->stalled = true;
	host->operation.overdue = true;
	host->overdue_due = true;
}

uint64_t dynmem_host_deadline_ns(const struct dynmem_host *host)
{
	uint64_t overdue_ns = host->progress_ns + host->config.operation_timeout_ns;

	if (host->held && (host->stalled || host->held_until_ns < overdue_ns))
		return host->held_until_ns;
	if (!in_operation(host) || host->stalled)
		return UINT64_MAX;
	return overdue_ns;
}

/* What is in the way of a request, whatever it asks for. */
static int check_request(const struct dynmem_host *host)
{
	if (in_operation(host))
		return DYNMEM_HOST_BUSY;
	return host->state == DYNMEM_HOST_STATE_READY ? 0 : DYNMEM_HOST_NOT_READY;
}

/* How much memory could still be added. */
static uint64_t growable_pages(const struct dynmem_host *host)
{
	uint64_t left_pages = host->config.window.count - host->added_pages;

	if (!host->capabilities.hot_add || host->no_more_adding)
		return 0;
	return left_pages - left_pages % unit_pages(host);
}

/* What becomes of a request for @pages. */
static uint64_t limit_pages(const struct dynmem_host *host, enum dynmem_host_operation_kind kind,
			    uint64_t pages)
{
	uint64_t most = UINT32_MAX;

	if (kind == DYNMEM_HOST_UNBALLOON)
		most = host->ballooned.pages;
	else if (kind == DYNMEM_HOST_HOT_ADD)
		most = growable_pages(host);
	if (pages > most)
		pages = most;
	if (kind == DYNMEM_HOST_HOT_ADD && pages > HOT_ADD_MAX_PAGES)
		pages = HOT_ADD_MAX_PAGES;
	if (kind == DYNMEM_HOST_HOT_ADD)
		pages -= pages % unit_pages(host);
	return pages;
}

static void begin_operation(struct dynmem_host *host, enum dynmem_host_operation_kind kind,
			    uint64_t pages, uint64_t now_ns)
{
	host->now_ns = now_ns;
	host->operation = (struct dynmem_host_operation){
		.kind = kind,
		.asked_pages = pages,
		.started_ns = now_ns,
	};
	host->answers_due = 1;
	host->ended_due = false;
	progress(host, now_ns);
}

int dynmem_host_request(struct dynmem_host *host, enum dynmem_host_operation_kind kind,
			uint64_t pages, uint64_t now_ns)
{
	int r;

	assert(kind != DYNMEM_HOST_OPERATION_NONE && kind != DYNMEM_HOST_FAULT);

	r = check_request(host);
	if (r)
		return r;
	if (kind != DYNMEM_HOST_HOT_ADD && !host->capabilities.balloon)
		return DYNMEM_HOST_UNSUPPORTED;
	pages = limit_pages(host, kind, pages);
	if (pages == 0)
		return DYNMEM_HOST_NOTHING;

	if (kind == DYNMEM_HOST_BALLOON) {
		dynmem_host_set_state(host, DYNMEM_HOST_STATE_BALLOONING);
		host->request_due = true;
	} else if (kind == DYNMEM_HOST_UNBALLOON) {
		dynmem_host_set_state(host, DYNMEM_HOST_STATE_UNBALLOONING);
		host->give_back_pages = pages;
	} else {
		dynmem_host_set_state(host, DYNMEM_HOST_STATE_HOT_ADDING);
		host->request_due = true;
		host->adding.first = host->config.window.first + host->added_pages;
		host->adding.count = pages;
	}
	begin_operation(host, kind, pages, now_ns);
	return 0;
}

int dynmem_host_inject(struct dynmem_host *host, enum dynmem_fault fault, uint64_t now_ns)
{
	uint64_t removed;
	int r;

	r = check_request(host);
	if (r)
		return r;
	host->stats.faults++;
	if (dynmem_fault_is_of_request(fault)) {
		host->fault = fault;
		return 0;
	}

	dynmem_fault_make(fault, &host->ballooned, unit_pages(host), host->trans_id, &host->wrong);
	r = rangeset_remove(&host->ballooned, host->wrong.given_back, &removed);
	assert(r == 0); /* it is the end of a range */
	(void)r;
	dynmem_host_set_state(host, DYNMEM_HOST_STATE_FAULT);
	host->request_due = true;
	begin_operation(host, DYNMEM_HOST_FAULT, 0, now_ns);
	return 0;
}

const struct rangeset *dynmem_host_ballooned(const struct dynmem_host *host)
{
	return &host->ballooned;
}

void dynmem_host_get_status(const struct dynmem_host *host,
			    struct dynmem_host_status *ret_status)
{
	*ret_status = (struct dynmem_host_status){
		.state = host->state,
		.version = host->version,
		.capabilities = host->capabilities,
		.has_report = host->has_report,
		.report = host->report,
		.report_ns = host->report_ns,
		.ballooned_pages = host->ballooned.pages,
		.added_pages = host->added_pages,
		.growable_pages = growable_pages(host),
		.obeying = !host->stalled,
		.operation = host->operation,
		.stats = host->stats,
	};
}
