/* SPDX-License-Identifier: MIT */

/*
 * The memory balancer for one guest.
 *
 * Demand is what the guest needs: the committed memory it reports, less its balloon, which it
 * counts as committed (Linux drivers/hv/hv_balloon.c, post_status()). A host that forgets to
 * subtract it sees demand rise with each page it takes. Wanted is demand and the buffer on top,
 * between minimum and maximum. Pressure is demand / assigned; at rest, where assigned is just
 * wanted, it is 100 / (1 + buffer), 83 % for the usual buffer of 20 %. Microsoft documents these
 * words, not the algorithm behind them; the rest of this page is this project's choice.
 *
 * A loop that reacts to its own effect swings. Against that:
 *
 *   - Around the rest pressure there is a dead band of 8 points (at most a tenth of the rest
 *     pressure, which is small for large buffers). Inside of it nothing happens.
 *   - Demand that rises is believed at once, because the guest suffers; demand that falls is
 *     believed with a time constant, because it often comes back.
 *   - Growing goes all the way. Shrinking goes in steps, with a pause before each.
 *   - A report counts only if it is younger than the last operation, and does not enter the
 *     smoothed demand while one is running: in between, guest and host do not agree on how large
 *     the balloon is, and the difference would look like demand.
 *   - A guest that refused is left alone for a while. It has its own floor, and knows better.
 *
 * An amount set by hand replaces demand, band, steps and smoothing, not the bounds and the pauses.
 *
 * Figures come from the guest, so none is believed beyond PAGES_MAX, which keeps every product
 * below 2^64.
 */

#include "policy/balancer.h"

#include <assert.h>

#define SECOND_NS      UINT64_C(1000000000)
#define MILLISECOND_NS UINT64_C(1000000)
#define PAGES_MAX      (UINT64_C(1) << 40) /* 4 PiB */
#define DT_MAX_MS      UINT64_C(3600000)   /* between reports, for the smoothing */

enum {
	BAND = 800,              /* hundredths of a percent around the rest pressure */
	STEP_MIN_PAGES = 32768,  /* 128 MiB: a step down, or a tenth of assigned if that is more */
	MOVE_MIN_PAGES = 256,    /* 1 MiB: less is not worth a message */
	PRESSURE_MAX = 9999,     /* percent that is shown */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void balancer_settings_init(struct balancer_settings *settings)
{
	*settings = (struct balancer_settings){
		.buffer_percent = 20,
		.first_action_ns = 50 * SECOND_NS,
		.report_age_max_ns = 5 * SECOND_NS,
		.smoothing_ns = 30 * SECOND_NS,
		.shrink_spacing_ns = 5 * SECOND_NS,
		.refused_hold_ns = 60 * SECOND_NS,
	};
}

int balancer_configure(struct balancer *b, const struct balancer_settings *settings)
{
	if (settings->buffer_percent < BALANCER_BUFFER_PERCENT_MIN ||
	    settings->buffer_percent > BALANCER_BUFFER_PERCENT_MAX)
		return BALANCER_BAD_BUFFER;
	if (settings->minimum_pages == 0 || settings->minimum_pages > settings->startup_pages ||
	    settings->startup_pages > settings->maximum_pages)
		return BALANCER_BAD_ORDER;
	b->settings = *settings;
	return 0;
}

int balancer_init(struct balancer *b, const struct balancer_settings *settings, uint64_t now_ns)
{
	struct balancer fresh = {.start_ns = now_ns};
	int r;

	r = balancer_configure(&fresh, settings);
	if (r)
		return r;
	*b = fresh;
	return 0;
}

/* What is left of @excess after @dt_ns; rounded down, so that it comes to 0 in the end. */
static uint64_t decay(uint64_t excess, uint64_t dt_ns, uint64_t time_constant_ns)
{
	uint64_t dt = min_u64(dt_ns / MILLISECOND_NS, DT_MAX_MS);
	uint64_t tau = min_u64(time_constant_ns / MILLISECOND_NS, DT_MAX_MS);

	if (tau == 0)
		return 0;
	return excess * tau / (tau + dt);
}

void balancer_report(struct balancer *b, uint64_t committed_pages, uint64_t available_pages,
		     uint64_t ballooned_pages, uint64_t now_ns)
{
	uint64_t demand = committed_pages > ballooned_pages ? committed_pages - ballooned_pages : 0;

	demand = min_u64(demand, PAGES_MAX);
	if (!b->has_report || (!b->busy && demand >= b->smoothed_pages))
		b->smoothed_pages = demand;
	else if (!b->busy)
		b->smoothed_pages = demand + decay(b->smoothed_pages - demand,
						   now_ns - b->report_ns,
						   b->settings.smoothing_ns);
	b->has_report = true;
	b->report_ns = now_ns;
	b->committed_pages = committed_pages;
	b->available_pages = available_pages;
	b->demand_pages = demand;
}

void balancer_operation_started(struct balancer *b)
{
	assert(!b->busy);
	b->busy = true;
}

void balancer_operation_ended(struct balancer *b, enum balancer_operation operation,
			      uint64_t moved_pages, uint64_t now_ns)
{
	assert(b->busy && operation != BALANCER_OPERATION_NONE);
	b->busy = false;
	b->last_operation = operation;
	b->last_moved_pages = moved_pages;
	b->last_end_ns = now_ns;
}

void balancer_set_manual(struct balancer *b, uint64_t pages)
{
	b->manual = true;
	b->manual_pages = pages;
}

void balancer_set_automatic(struct balancer *b)
{
	b->manual = false;
}

/* In hundredths of a percent. */
static uint64_t pressure(uint64_t demand_pages, uint64_t assigned_pages)
{
	return assigned_pages > 0 ? min_u64(demand_pages, PAGES_MAX) * 10000 / assigned_pages : 0;
}

static uint64_t rest_pressure(const struct balancer_settings *settings)
{
	return UINT64_C(1000000) / (100 + settings->buffer_percent);
}

uint32_t balancer_pressure_percent(uint64_t demand_pages, uint64_t assigned_pages)
{
	return (uint32_t)min_u64(pressure(demand_pages, assigned_pages) / 100, PRESSURE_MAX);
}

/* Within the guest's bounds, and within what it can be given at all. */
static uint64_t clip(const struct balancer *b, uint64_t pages, uint64_t ceiling_pages)
{
	pages = max_u64(pages, b->settings.minimum_pages);
	return min_u64(pages, ceiling_pages);
}

static bool was_refused(const struct balancer *b, enum balancer_operation operation,
			uint64_t now_ns)
{
	return b->last_operation == operation && b->last_moved_pages == 0 &&
	       now_ns - b->last_end_ns < b->settings.refused_hold_ns;
}

static bool is_too_soon(const struct balancer *b, uint64_t now_ns)
{
	return b->last_operation != BALANCER_OPERATION_NONE &&
	       now_ns - b->last_end_ns < b->settings.shrink_spacing_ns;
}

static void propose_growing(const struct balancer *b, uint64_t goal, enum balancer_reason reason,
			    uint64_t now_ns, struct balancer_decision *d)
{
	if (was_refused(b, BALANCER_OPERATION_GROW, now_ns)) {
		d->reason = BALANCER_REFUSED;
		return;
	}
	d->reason = reason;
	d->target_pages = goal;
}

/* @step_pages at most, from the present target, which is what is assigned. */
static void propose_shrinking(const struct balancer *b, uint64_t goal, uint64_t step_pages,
			      enum balancer_reason reason, uint64_t now_ns,
			      struct balancer_decision *d)
{
	if (was_refused(b, BALANCER_OPERATION_SHRINK, now_ns)) {
		d->reason = BALANCER_REFUSED;
		return;
	}
	if (is_too_soon(b, now_ns)) {
		d->reason = BALANCER_SPACING;
		return;
	}
	d->reason = reason;
	d->target_pages -= min_u64(d->target_pages - goal, step_pages);
}

static void decide_manual(const struct balancer *b, uint64_t assigned, uint64_t ceiling,
			  uint64_t now_ns, struct balancer_decision *d)
{
	uint64_t goal = clip(b, b->manual_pages, ceiling);

	d->wanted_pages = goal;
	if (goal > assigned)
		propose_growing(b, goal, BALANCER_MANUAL, now_ns, d);
	else if (goal < assigned)
		propose_shrinking(b, goal, UINT64_MAX, BALANCER_MANUAL, now_ns, d);
	else
		d->reason = BALANCER_MANUAL_DONE;
}

/* True if by age and order the last report may decide something. */
static bool check_report(const struct balancer *b, uint64_t now_ns, struct balancer_decision *d)
{
	if (!b->has_report || now_ns - b->report_ns >= b->settings.report_age_max_ns) {
		d->reason = BALANCER_NO_REPORT;
		return false;
	}
	if (b->last_operation != BALANCER_OPERATION_NONE && b->report_ns <= b->last_end_ns) {
		d->reason = BALANCER_REPORT_BEFORE;
		return false;
	}
	return true;
}

static void decide_by_demand(const struct balancer *b, uint64_t assigned, uint64_t ceiling,
			     uint64_t now_ns, struct balancer_decision *d)
{
	uint64_t rest = rest_pressure(&b->settings), band = min_u64(BAND, rest / 10);
	uint64_t now_pressure = pressure(b->smoothed_pages, assigned);
	uint64_t step = max_u64(STEP_MIN_PAGES, assigned / 10);
	uint64_t goal = clip(b, b->smoothed_pages * (100 + b->settings.buffer_percent) / 100,
			     ceiling);

	d->wanted_pages = goal;
	if (assigned > b->settings.maximum_pages)
		propose_shrinking(b, goal, step, BALANCER_ABOVE_MAXIMUM, now_ns, d);
	else if (assigned < b->settings.minimum_pages && goal > assigned)
		propose_growing(b, goal, BALANCER_BELOW_MINIMUM, now_ns, d);
	else if (now_pressure > rest + band && goal < assigned + MOVE_MIN_PAGES)
		d->reason = BALANCER_AT_MAXIMUM;
	else if (now_pressure > rest + band)
		propose_growing(b, goal, BALANCER_GROW, now_ns, d);
	else if (now_pressure + band < rest && goal + MOVE_MIN_PAGES > assigned)
		d->reason = BALANCER_AT_MINIMUM;
	else if (now_pressure + band < rest)
		propose_shrinking(b, goal, step, BALANCER_SHRINK, now_ns, d);
	else
		d->reason = BALANCER_AT_REST;
}

struct balancer_decision balancer_decide(const struct balancer *b, uint64_t assigned_pages,
					 uint64_t growable_pages, uint64_t now_ns)
{
	uint64_t ceiling = b->settings.maximum_pages;
	struct balancer_decision d = {
		.target_pages = assigned_pages,
		.pressure_percent = b->has_report ? balancer_pressure_percent(b->demand_pages,
									      assigned_pages)
						  : 0,
		.rest_percent = (uint32_t)(rest_pressure(&b->settings) / 100),
	};

	if (growable_pages < UINT64_MAX - assigned_pages)
		ceiling = min_u64(ceiling, assigned_pages + growable_pages);

	if (b->busy)
		d.reason = BALANCER_BUSY;
	else if (b->manual)
		decide_manual(b, assigned_pages, ceiling, now_ns, &d);
	else if (now_ns - b->start_ns < b->settings.first_action_ns)
		d.reason = BALANCER_STARTING;
	else if (check_report(b, now_ns, &d))
		decide_by_demand(b, assigned_pages, ceiling, now_ns, &d);
	return d;
}

const char *balancer_reason_text(enum balancer_reason reason)
{
	switch (reason) {
	case BALANCER_BUSY:
		return "an operation is running";
	case BALANCER_STARTING:
		return "the guest has only just started";
	case BALANCER_NO_REPORT:
		return "there is no recent report from the guest";
	case BALANCER_REPORT_BEFORE:
		return "the guest has not reported since the last operation";
	case BALANCER_AT_REST:
		return "the guest has what it needs and its buffer";
	case BALANCER_AT_MINIMUM:
		return "the guest needs less, but has its minimum";
	case BALANCER_AT_MAXIMUM:
		return "the guest needs more, but has all that it may have";
	case BALANCER_SPACING:
		return "the last operation is too recent to take more";
	case BALANCER_REFUSED:
		return "the guest moved nothing when asked; waiting before asking again";
	case BALANCER_GROW:
		return "the guest needs more than it has with its buffer";
	case BALANCER_SHRINK:
		return "the guest needs less than it has with its buffer";
	case BALANCER_BELOW_MINIMUM:
		return "the guest has less than its minimum";
	case BALANCER_ABOVE_MAXIMUM:
		return "the guest has more than its maximum";
	case BALANCER_MANUAL:
		return "the amount is set by hand";
	case BALANCER_MANUAL_DONE:
		return "the guest has the amount set by hand";
	}
	assert(false);
	return "";
}
