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
 *     READY <--- hot-add request / response --------> HOT_ADDING ---------------|--+
 *     READY <--- balloon request / last response ---> BALLOONING ---------------|--+
 *     READY <--- unballoon request / response ------> UNBALLOONING <------------+
 *
 * close leads from every state to CLOSED. A balloon or hot-add that ends while an unballoon
 * sequence has begun leads to UNBALLOONING.
 *
 * One 5 s budget spans all version requests, as in Linux drivers/hv/hv_balloon.c; another one is
 * for the capabilities. The protocol has no other deadline. Linux leaves the channel for good then; but a
 * host may only be busy, so here the channel is opened anew, and the host has twice as long each time.
 *
 * The host should ask for one thing at a time. If it does not:
 *   - a second balloon request is refused by "0 pages, no more" after the running one has ended;
 *   - a hot-add request is refused by "0 pages, try later";
 *   - an unballoon request cannot be refused, and need not be: its pages are ours again and are
 *     put back into use after the running operation.
 * No message is ever queued as bytes. What is owed to the host is counted, and written when the
 * caller can send; so the host cannot make this grow, and transaction ids follow the wire.
 *
 * The pages are in the books, dynmem_books.c. When the channel closes the host forgets its pages,
 * and they become unreported: they stay where they are, and the next request is served with them
 * first, at no cost. Only dynmem_release() puts them back into use.
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
	PATIENCE_MAX = 10, /* times that the budget is doubled: 85 minutes */
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
	[DYNMEM_STATE_HOT_ADDING] = "adding memory",
	[DYNMEM_STATE_FAILED] = "failed",
};

#define TO(state) (1u << DYNMEM_STATE_##state)

/* Where each state may lead. */
static const uint32_t transitions[DYNMEM_N_STATES] = {
	[DYNMEM_STATE_CLOSED] = TO(VERSION),
	[DYNMEM_STATE_VERSION] = TO(CAPABILITIES) | TO(FAILED) | TO(CLOSED),
	[DYNMEM_STATE_CAPABILITIES] = TO(READY) | TO(FAILED) | TO(CLOSED),
	[DYNMEM_STATE_READY] = TO(BALLOONING) | TO(UNBALLOONING) | TO(HOT_ADDING) | TO(CLOSED),
	[DYNMEM_STATE_BALLOONING] = TO(READY) | TO(UNBALLOONING) | TO(CLOSED),
	[DYNMEM_STATE_UNBALLOONING] = TO(READY) | TO(CLOSED),
	[DYNMEM_STATE_HOT_ADDING] = TO(READY) | TO(UNBALLOONING) | TO(CLOSED),
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

bool dynmem_close_is_final(enum dynmem_close_reason reason)
{
	return reason == DYNMEM_CLOSE_VERSION_REFUSED || reason == DYNMEM_CLOSE_CAPABILITIES_REFUSED;
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
		[DYNMEM_NOTE_HOT_ADD_RANGE] = "the host asked for memory where none can be added",
	};

	assert(note < DYNMEM_N_NOTES);
	return texts[note];
}

void dynmem_add_note(struct dynmem *dm, enum dynmem_note note)
{
	if (!(dm->notes_given & 1u << note))
		dm->notes_due |= 1u << note;
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
	dynmem_books_init(&dm->books, config->ranges_max);
	*ret_dm = dm;
	return 0;
}

struct dynmem *dynmem_free(struct dynmem *dm)
{
	if (!dm)
		return NULL;

	dynmem_books_fini(&dm->books);
	free(dm);
	return NULL;
}

uint64_t dynmem_start_budget_ns(const struct dynmem *dm)
{
	unsigned int doubled = dm->unanswered < PATIENCE_MAX ? dm->unanswered : PATIENCE_MAX;

	return START_BUDGET_NS << doubled;
}

int dynmem_open(struct dynmem *dm, uint64_t now_ns)
{
	assert(dm->state == DYNMEM_STATE_CLOSED);

	if (dm->take != DYNMEM_TAKE_NONE || dm->hot_add != DYNMEM_HOT_ADD_STAGE_NONE ||
	    dm->return_running || dm->books.collected.pages > 0)
		return DYNMEM_BUSY;

	dynmem_set_state(dm, DYNMEM_STATE_VERSION);
	dm->attempt = 0;
	dm->version = 0;
	dm->hello_due = true;
	dm->deadline_ns = now_ns + dynmem_start_budget_ns(dm);
	dm->notes_given = 0;
	dm->reports_suppressed = false;
	return 0;
}

void dynmem_close(struct dynmem *dm)
{
	if (dm->state == DYNMEM_STATE_CLOSED)
		return;

	if (dm->state != DYNMEM_STATE_FAILED)
		dm->unanswered = 0; /* The next host is another one. */
	dynmem_set_state(dm, DYNMEM_STATE_CLOSED);
	dm->hello_due = false;
	dm->close_due = false;
	dm->report = DYNMEM_REPORT_NONE;
	if (dm->take == DYNMEM_TAKE_DUE)
		dm->take = DYNMEM_TAKE_NONE;
	dm->hot_add_unsure = dm->hot_add_request.range;
	if (dm->hot_add != DYNMEM_HOT_ADD_STAGE_RUNNING)
		dm->hot_add = DYNMEM_HOT_ADD_STAGE_NONE;
	dm->out_pending = dm->out_again = false;
	dm->sequence_open = false;
	dynmem_books_lose_host(&dm->books);
	dm->unballoon_responses = 0;
	dm->balloon_refusals = 0;
	dm->hot_add_refusals = 0;
	dm->hot_add_postponements = 0;
}

int dynmem_release(struct dynmem *dm)
{
	return dynmem_books_release(&dm->books);
}

void dynmem_fail(struct dynmem *dm, enum dynmem_close_reason reason)
{
	dynmem_set_state(dm, DYNMEM_STATE_FAILED);
	dm->unanswered = dynmem_close_is_final(reason) ? 0 : dm->unanswered + 1;
	dm->hello_due = false;
	dm->reason = reason;
	dm->close_due = true;
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
			dynmem_fail(dm, DYNMEM_CLOSE_VERSION_TIMEOUT);
		break;
	case DYNMEM_STATE_CAPABILITIES:
		if (now_ns >= dm->deadline_ns)
			dynmem_fail(dm, DYNMEM_CLOSE_CAPABILITIES_TIMEOUT);
		break;
	case DYNMEM_STATE_READY:
	case DYNMEM_STATE_BALLOONING:
	case DYNMEM_STATE_UNBALLOONING:
	case DYNMEM_STATE_HOT_ADDING:
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
	case DYNMEM_STATE_HOT_ADDING:
		return dm->reports_suppressed ? UINT64_MAX : dm->next_report_ns;
	case DYNMEM_STATE_CLOSED:
	case DYNMEM_STATE_FAILED:
	case DYNMEM_N_STATES:
		break;
	}
	return UINT64_MAX;
}

/* The delay of the first report stands: a beat that is further away than a period is that. */
void dynmem_report_soon(struct dynmem *dm, uint64_t now_ns)
{
	if (dm->next_report_ns > now_ns && dm->next_report_ns - now_ns <= dm->config.status_period_ns)
		dm->next_report_ns = now_ns;
}

void dynmem_set_figures(struct dynmem *dm, const struct dynmem_status_report *figures)
{
	if (dm->report != DYNMEM_REPORT_SAMPLING)
		return;

	dm->figures = *figures;
	dm->report = DYNMEM_REPORT_COMPLETE;
}

/* Records a slice: the pages are the host's from here on. */
static int accept_slice(struct dynmem *dm, const struct page_range *ranges, size_t n)
{
	uint64_t pages = page_ranges_count(ranges, n);
	int r;

	assert(pages <= dm->take_wanted - dm->take_done);
	r = dynmem_books_take(&dm->books, ranges, n);
	if (r < 0)
		return r;
	if (r > 0)
		return r == DYNMEM_BOOKS_FULL ? DYNMEM_FULL : DYNMEM_UNUSABLE;

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
	dm->stats.pages_returned += dm->books.returning.pages;
	dynmem_books_end_return(&dm->books);
	if (dm->operation.kind == DYNMEM_OPERATION_UNBALLOON &&
	    (dm->state == DYNMEM_STATE_UNBALLOONING || dm->operation.ended_ns == 0))
		dm->operation.ended_ns = now_ns;
}

void dynmem_complete_hot_add(struct dynmem *dm, uint64_t pages, bool for_good, uint64_t now_ns)
{
	assert(dm->hot_add == DYNMEM_HOT_ADD_STAGE_RUNNING);
	assert(pages <= dm->hot_add_request.range.count);

	dm->hot_add = dm->state == DYNMEM_STATE_HOT_ADDING ? DYNMEM_HOT_ADD_STAGE_COMPLETE
							   : DYNMEM_HOT_ADD_STAGE_NONE;
	dm->hot_add_pages = pages;
	dm->hot_add_for_good = for_good;
	dm->stats.hot_added_pages += pages;
	dm->operation.done_pages = pages;
	dm->operation.ended_ns = now_ns;
}

const struct rangeset *dynmem_ballooned(const struct dynmem *dm)
{
	return &dm->books.ballooned;
}

const struct rangeset *dynmem_unreported(const struct dynmem *dm)
{
	return &dm->books.unreported;
}

void dynmem_get_status(const struct dynmem *dm, struct dynmem_status *ret_status)
{
	*ret_status = (struct dynmem_status){
		.state = dm->state,
		.version = dm->version,
		.reports_suppressed = dm->reports_suppressed,
		.has_max_pages = dm->has_max_pages,
		.max_pages = dm->max_pages,
		.ballooned_pages = dm->books.ballooned.pages,
		.unreported_pages = dm->books.unreported.pages,
		.returning_pages = dm->books.collected.pages + dm->books.returning.pages,
		.unanswered = dm->unanswered,
		.operation = dm->operation,
		.stats = dm->stats,
	};
}
