/* SPDX-License-Identifier: MIT */

/*
 * What the guest's Dynamic Memory machine wants done next.
 *
 * Nothing here happens on its own: the caller draws one action after the other, for as long as it
 * can send. So a full ring simply stops the machine, and what is owed to the host waits as a
 * counter, a set of pages or a stage. A message is encoded, and gets its transaction id, at the
 * moment it is handed out. A state ends when its last message is handed out.
 *
 * The order of precedence: notes for the log, answers to hot-add requests (they wait for nothing),
 * what the state is about, and last the status report, which may be lost.
 */

#include "balloon/dynmem_machine.h"

/* Hands out what has been written to dm->out. */
static int send_message(struct dynmem *dm, struct dynmem_action *action)
{
	action->type = DYNMEM_ACTION_SEND;
	action->message = &dm->out;
	dm->out_pending = true;
	dm->out_placed = false;
	dm->stats.messages_out++;
	return 0;
}

static uint32_t next_trans_id(struct dynmem *dm)
{
	return ++dm->last_trans_id;
}

static int next_note(struct dynmem *dm, struct dynmem_action *action)
{
	enum dynmem_note note = 0;

	if (!dm->notes_due)
		return DYNMEM_IDLE;

	while (!(dm->notes_due & 1u << note))
		note++;
	dm->notes_due &= ~(1u << note);
	dm->notes_given |= 1u << note;
	action->type = DYNMEM_ACTION_NOTE;
	action->note = note;
	return 0;
}

/* The message that begins the state VERSION or CAPABILITIES. */
static int next_hello(struct dynmem *dm, struct dynmem_action *action)
{
	struct dynmem_version_request request = {
		.version = dynmem_versions[dm->attempt],
		.last = dm->attempt == DYNMEM_N_VERSIONS - 1,
	};

	if (!dm->hello_due)
		return DYNMEM_IDLE;

	dm->hello_due = false;
	if (dm->state == DYNMEM_STATE_VERSION)
		dynmem_encode_version_request(&dm->out, next_trans_id(dm), &request);
	else
		dynmem_encode_capabilities(&dm->out, next_trans_id(dm), &dm->config.capabilities);
	return send_message(dm, action);
}

static int next_hot_add_response(struct dynmem *dm, struct dynmem_action *action)
{
	struct dynmem_hot_add_response response = {0};

	if (dm->hot_add_refusals > 0) {
		dm->hot_add_refusals--;
		response.result = DYNMEM_HOT_ADD_DONE;
	} else if (dm->hot_add_postponements > 0) {
		dm->hot_add_postponements--;
		response.result = DYNMEM_HOT_ADD_LATER;
	} else {
		return DYNMEM_IDLE;
	}
	dynmem_encode_hot_add_response(&dm->out, next_trans_id(dm), &response);
	return send_message(dm, action);
}

static int next_balloon_refusal(struct dynmem *dm, struct dynmem_action *action)
{
	if (dm->balloon_refusals == 0)
		return DYNMEM_IDLE;

	dm->balloon_refusals--;
	dynmem_encode_balloon_response(&dm->out, next_trans_id(dm), false, NULL, 0);
	return send_message(dm, action);
}

/* The last response of a balloon or hot-add operation has been written. */
static void end_operation(struct dynmem *dm)
{
	uint64_t pages = dm->books.collected.pages;

	if (!dm->sequence_open && dm->unballoon_responses == 0) {
		dynmem_set_state(dm, DYNMEM_STATE_READY);
		return;
	}
	dynmem_set_state(dm, DYNMEM_STATE_UNBALLOONING);
	dm->operation = (struct dynmem_operation){
		.kind = DYNMEM_OPERATION_UNBALLOON,
		.asked_pages = pages,
		.done_pages = pages,
		.started_ns = dm->operation.ended_ns,
	};
}

static int next_balloon_response(struct dynmem *dm, struct dynmem_action *action)
{
	struct page_range ranges[DYNMEM_RANGES_MAX];
	bool last;
	size_t n;

	if (dm->take == DYNMEM_TAKE_DUE) {
		dm->take = DYNMEM_TAKE_RUNNING;
		action->type = DYNMEM_ACTION_TAKE_PAGES;
		action->pages = dm->take_wanted - dm->take_done;
		return 0;
	}
	if (dm->books.untold.pages == 0 && dm->take != DYNMEM_TAKE_NONE)
		return DYNMEM_IDLE;

	n = dynmem_books_tell(&dm->books, ranges, dm->config.ranges_per_message);
	last = dm->take == DYNMEM_TAKE_NONE &&
	       dm->books.in_flight_pages == dm->books.untold.pages &&
	       (n == 0 || dm->take_done == dm->take_wanted);
	dynmem_encode_balloon_response(&dm->out, next_trans_id(dm), !last, ranges, n);
	if (last)
		end_operation(dm);
	return send_message(dm, action);
}

static int next_hot_add_step(struct dynmem *dm, struct dynmem_action *action)
{
	struct dynmem_hot_add_response response;

	switch (dm->hot_add) {
	case DYNMEM_HOT_ADD_STAGE_DUE:
		dm->hot_add = DYNMEM_HOT_ADD_STAGE_RUNNING;
		action->type = DYNMEM_ACTION_HOT_ADD;
		action->hot_add = dm->hot_add_request;
		action->again = dm->hot_add_again;
		return 0;
	case DYNMEM_HOT_ADD_STAGE_COMPLETE:
		dm->hot_add = DYNMEM_HOT_ADD_STAGE_NONE;
		response.pages = dm->hot_add_pages;
		response.result = response.pages > 0 || dm->hot_add_for_good ? DYNMEM_HOT_ADD_DONE
									     : DYNMEM_HOT_ADD_LATER;
		dynmem_encode_hot_add_response(&dm->out, next_trans_id(dm), &response);
		end_operation(dm);
		return send_message(dm, action);
	case DYNMEM_HOT_ADD_STAGE_NONE:
	case DYNMEM_HOT_ADD_STAGE_RUNNING:
		break;
	}
	return DYNMEM_IDLE;
}

static int next_unballoon_response(struct dynmem *dm, struct dynmem_action *action)
{
	if (dm->unballoon_responses == 0)
		return DYNMEM_IDLE;

	dm->unballoon_responses--;
	if (dm->unballoon_responses == 0 && !dm->sequence_open)
		dynmem_set_state(dm, DYNMEM_STATE_READY);
	dynmem_encode_unballoon_response(&dm->out, next_trans_id(dm));
	return send_message(dm, action);
}

/* Puts what was collected back into use; after a close as well, for the host gave it back before. */
static int next_return(struct dynmem *dm, struct dynmem_action *action)
{
	if (dm->return_running || !dynmem_books_begin_return(&dm->books))
		return DYNMEM_IDLE;

	dm->return_running = true;
	action->type = DYNMEM_ACTION_RETURN_PAGES;
	action->ranges = dm->books.returning.ranges;
	action->n_ranges = dm->books.returning.n_ranges;
	return 0;
}

/* Sequences that have ended are given back and answered one by one. */
static int next_unballoon_step(struct dynmem *dm, struct dynmem_action *action)
{
	if (dm->return_running || dm->unballoon_responses == 0)
		return DYNMEM_IDLE;
	if (next_return(dm, action) == 0)
		return 0;
	return next_unballoon_response(dm, action);
}

static int next_report(struct dynmem *dm, struct dynmem_action *action)
{
	switch (dm->report) {
	case DYNMEM_REPORT_DUE:
		dm->report = DYNMEM_REPORT_SAMPLING;
		action->type = DYNMEM_ACTION_SAMPLE;
		return 0;
	case DYNMEM_REPORT_COMPLETE:
		dm->report = DYNMEM_REPORT_NONE;
		dm->stats.status_reports++;
		dynmem_encode_status_report(&dm->out, next_trans_id(dm), &dm->figures);
		return send_message(dm, action);
	case DYNMEM_REPORT_NONE:
	case DYNMEM_REPORT_SAMPLING:
		break;
	}
	return DYNMEM_IDLE;
}

static int next_close(struct dynmem *dm, struct dynmem_action *action)
{
	if (!dm->close_due)
		return DYNMEM_IDLE;

	dm->close_due = false;
	action->type = DYNMEM_ACTION_CLOSE_CHANNEL;
	action->reason = dm->reason;
	return 0;
}

/* The one of two that has something to do; outside of operations pages are returned any time. */
#define FIRST_OF(dm, action, next) (next(dm, action) == 0 ? 0 : next_return(dm, action))

/* What the state is about. */
static int next_state_action(struct dynmem *dm, struct dynmem_action *action)
{
	switch (dm->state) {
	case DYNMEM_STATE_CLOSED:
		return next_return(dm, action);
	case DYNMEM_STATE_VERSION:
	case DYNMEM_STATE_CAPABILITIES:
		return FIRST_OF(dm, action, next_hello);
	case DYNMEM_STATE_READY:
		return FIRST_OF(dm, action, next_balloon_refusal);
	case DYNMEM_STATE_BALLOONING:
		return next_balloon_response(dm, action);
	case DYNMEM_STATE_UNBALLOONING:
		return next_unballoon_step(dm, action);
	case DYNMEM_STATE_HOT_ADDING:
		return next_hot_add_step(dm, action);
	case DYNMEM_STATE_FAILED:
		return FIRST_OF(dm, action, next_close);
	case DYNMEM_N_STATES:
		break;
	}
	return DYNMEM_IDLE;
}

/*
 * That the caller asks for more means that the last message has gone out. One that dynmem_resume()
 * found unsent is handed out again instead, as it was.
 */
static int next_after_send(struct dynmem *dm, struct dynmem_action *action)
{
	if (dm->out_again) {
		dm->out_again = false;
		action->type = DYNMEM_ACTION_SEND;
		action->message = &dm->out;
		return 0;
	}
	if (dm->out_pending) {
		dm->out_pending = false;
		dynmem_books_told(&dm->books);
	}
	return DYNMEM_IDLE;
}

int dynmem_next_action(struct dynmem *dm, struct dynmem_action *ret_action)
{
	struct dynmem_action action = {0};
	int r;

	r = next_after_send(dm, &action);
	if (r)
		r = next_note(dm, &action);
	if (r)
		r = next_hot_add_response(dm, &action);
	if (r)
		r = next_state_action(dm, &action);
	if (r)
		r = next_report(dm, &action);
	if (r)
		return r;

	*ret_action = action;
	return 0;
}
