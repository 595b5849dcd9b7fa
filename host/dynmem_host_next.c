/* SPDX-License-Identifier: MIT */

/*
 * What the host's Dynamic Memory machine wants done next.
 *
 * As with the guest's, the caller draws one action after the other, for as long as it can send. News
 * comes first, then the one message that the state has to send. A request that is to be late or
 * lost is written at its time, its pages leave the books then, and is held back; one that is to
 * come twice is followed by itself.
 */

#include "host/dynmem_host_machine.h"

/* Hands out what has been written to host->out. */
static int send_message(struct dynmem_host *host, struct dynmem_host_action *action)
{
	action->type = DYNMEM_HOST_ACTION_SEND;
	action->message = &host->out;
	host->stats.messages_out++;
	return 0;
}

static int next_version_response(struct dynmem_host *host, struct dynmem_host_action *action)
{
	struct dynmem_version_response response = {.accepted = host->accepted};

	host->answer_due = false;
	if (host->accepted)
		dynmem_host_set_state(host, DYNMEM_HOST_STATE_CAPABILITIES);
	dynmem_encode_version_response(&host->out, host->answer_id, &response);
	return send_message(host, action);
}

static int next_capabilities_response(struct dynmem_host *host, struct dynmem_host_action *action)
{
	struct dynmem_capabilities_response response = {
		.accepted = true,
		.suppress_reports = host->config.suppress_reports,
	};

	host->answer_due = false;
	dynmem_host_set_state(host, DYNMEM_HOST_STATE_READY);
	host->ready_due = true;
	dynmem_encode_capabilities_response(&host->out, host->answer_id, &response);
	return send_message(host, action);
}

/* The last message of a request is written, and has the fault that was asked for. */
static int send_request(struct dynmem_host *host, struct dynmem_host_action *action)
{
	enum dynmem_fault fault = host->fault;

	host->fault = DYNMEM_FAULT_NONE;
	if (fault == DYNMEM_FAULT_DUPLICATE) {
		host->twice_due = true;
		host->answers_due++;
		if (host->operation.kind == DYNMEM_HOST_BALLOON)
			host->operation.asked_pages *= 2; /* if it comes late, that is what was asked */
	}
	if (fault != DYNMEM_FAULT_LATE && fault != DYNMEM_FAULT_LOST)
		return send_message(host, action);

	host->held = host->twice_due = true; /* that it is sent "once more" is the first time */
	host->held_until_ns = host->now_ns + (fault == DYNMEM_FAULT_LATE
						      ? host->config.late_ns
						      : host->config.operation_timeout_ns);
	return DYNMEM_HOST_IDLE;
}

/* The last message once more, unless it is held back. */
static int next_second_copy(struct dynmem_host *host, struct dynmem_host_action *action)
{
	if (!host->twice_due || host->held)
		return DYNMEM_HOST_IDLE;
	host->twice_due = false;
	return send_message(host, action);
}

static int next_hot_add_request(struct dynmem_host *host, struct dynmem_host_action *action)
{
	const struct dynmem_hot_add_request request = {
		.range = host->adding,
		.has_region = host->config.with_region,
		.region = host->config.window,
	};

	if (!host->request_due)
		return DYNMEM_HOST_IDLE;

	host->request_due = false;
	dynmem_encode_hot_add_request(&host->out, host->trans_id, &request);
	return send_request(host, action);
}

/* What is wrong goes out; what owes no answer is over with that. */
static int next_fault(struct dynmem_host *host, struct dynmem_host_action *action)
{
	if (!host->request_due)
		return DYNMEM_HOST_IDLE;

	host->request_due = false;
	host->out = host->wrong.message;
	if (host->wrong.answers == 0)
		dynmem_host_last_answer(host, host->now_ns);
	return send_message(host, action);
}

static int next_balloon_request(struct dynmem_host *host, struct dynmem_host_action *action)
{
	if (!host->request_due)
		return DYNMEM_HOST_IDLE;

	host->request_due = false;
	dynmem_encode_balloon_request(&host->out, host->trans_id, host->operation.asked_pages);
	return send_request(host, action);
}

/* Takes the pages with the highest numbers out of the set, as one range of at most @pages. */
static struct page_range cut_top(struct dynmem_host *host, uint64_t pages)
{
	struct page_range top = host->ballooned.ranges[host->ballooned.n_ranges - 1];
	uint64_t removed;
	int r;

	if (pages > DYNMEM_RANGE_PAGES_MAX)
		pages = DYNMEM_RANGE_PAGES_MAX;
	if (top.count > pages) {
		top.first += top.count - pages;
		top.count = pages;
	}
	r = rangeset_remove(&host->ballooned, top, &removed);
	assert(r == 0 && removed == top.count); /* cutting an end off needs no memory */
	(void)r;
	return top;
}

static int next_unballoon_request(struct dynmem_host *host, struct dynmem_host_action *action)
{
	struct page_range ranges[DYNMEM_RANGES_MAX];
	size_t n = 0;

	if (host->give_back_pages == 0)
		return DYNMEM_HOST_IDLE;

	while (n < host->config.ranges_per_message && host->give_back_pages > 0) {
		ranges[n] = cut_top(host, host->give_back_pages);
		host->give_back_pages -= ranges[n].count;
		host->operation.done_pages += ranges[n].count;
		n++;
	}
	dynmem_encode_unballoon_request(&host->out, host->trans_id, host->give_back_pages > 0,
					ranges, n);
	if (host->give_back_pages > 0)
		return send_message(host, action);
	return send_request(host, action);
}

/* The message that the state has to send. */
static int next_message(struct dynmem_host *host, struct dynmem_host_action *action)
{
	switch (host->state) {
	case DYNMEM_HOST_STATE_VERSION:
		if (host->answer_due)
			return next_version_response(host, action);
		break;
	case DYNMEM_HOST_STATE_CAPABILITIES:
		if (host->answer_due)
			return next_capabilities_response(host, action);
		break;
	case DYNMEM_HOST_STATE_BALLOONING:
		return next_balloon_request(host, action);
	case DYNMEM_HOST_STATE_UNBALLOONING:
		return next_unballoon_request(host, action);
	case DYNMEM_HOST_STATE_HOT_ADDING:
		return next_hot_add_request(host, action);
	case DYNMEM_HOST_STATE_FAULT:
		return next_fault(host, action);
	case DYNMEM_HOST_STATE_CLOSED:
	case DYNMEM_HOST_STATE_READY:
	case DYNMEM_HOST_N_STATES:
		break;
	}
	return DYNMEM_HOST_IDLE;
}

/* Tells something once. */
static int next_news(bool *due, enum dynmem_host_action_type type,
		     struct dynmem_host_action *action)
{
	if (!*due)
		return DYNMEM_HOST_IDLE;
	*due = false;
	action->type = type;
	return 0;
}

int dynmem_host_next_action(struct dynmem_host *host, struct dynmem_host_action *ret_action)
{
	struct dynmem_host_action action = {0};
	int r;

	r = next_news(&host->ready_due, DYNMEM_HOST_ACTION_READY, &action);
	if (r)
		r = next_news(&host->overdue_due, DYNMEM_HOST_ACTION_OVERDUE, &action);
	if (r)
		r = next_news(&host->ended_due, DYNMEM_HOST_ACTION_ENDED, &action);
	if (r)
		r = next_second_copy(host, &action);
	if (r)
		r = next_message(host, &action);
	if (r)
		return r;

	*ret_action = action;
	return 0;
}
