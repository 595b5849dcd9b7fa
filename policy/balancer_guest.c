/* SPDX-License-Identifier: MIT */

/*
 * A guest of the balancer: what it says, and what becomes of what it is asked.
 *
 * Demand is what a guest needs: the committed memory it reports, less its balloon, which it counts
 * as committed (Linux drivers/hv/hv_balloon.c, post_status()). A host that forgets to subtract it
 * sees demand rise with each page it takes. What is decided from demand is in balancer_pass.c.
 *
 * What a guest says is not believed blindly. A report that cannot be true is not used, so that the
 * guest is soon one without reports and is left as it is; one that is odd is clamped. Nothing that
 * one guest says stops the others.
 *
 * What an operation has moved is booked as the answers come, and at its end the guest is judged by it:
 * how fast it is, and for how long it is left alone if it did not do what it was asked.
 */

#include "policy/balancer_state.h"

#include "base/amount.h"

#include <assert.h>

#define MILLISECOND_NS UINT64_C(1000000)
#define DT_MAX_MS      UINT64_C(3600000) /* between reports, for the smoothing */

enum {
	STALL_SWAPPED_PAGES = 256, /* 1 MiB written to the page file between two reports */
	SPEED_MIN_PAGES = 1024,    /* 4 MiB: less says nothing about a guest's speed */
	REFUSED_PAGES = 256,       /* 1 MiB less than it was asked for */
	REFUSED_LONGEST = 60,      /* times refused_hold_ns */
};

static uint64_t coming_pages(const struct balancer_guest *g)
{
	return g->charged_pages - g->assigned_pages;
}

/* Reports. */

/* What is left of @excess after @dt_ns; rounded down, so that it comes to 0 in the end. */
static uint64_t decay(uint64_t excess, uint64_t dt_ns, uint64_t time_constant_ns)
{
	uint64_t dt = min_u64(dt_ns / MILLISECOND_NS, DT_MAX_MS);
	uint64_t tau = min_u64(time_constant_ns / MILLISECOND_NS, DT_MAX_MS);

	if (tau == 0)
		return 0;
	return excess * tau / (tau + dt);
}

/* Up at once, down slowly. */
static void smooth(uint64_t *smoothed, uint64_t demand, uint64_t dt_ns, uint64_t time_constant_ns)
{
	if (demand >= *smoothed)
		*smoothed = demand;
	else
		*smoothed = demand + decay(*smoothed - demand, dt_ns, time_constant_ns);
}

/* What is wrong with it; those of REFUSED_LIES make it useless. */
enum {
	REFUSED_LIES = BALANCER_LIE_NOTHING_COMMITTED | BALANCER_LIE_IMPOSSIBLE,
};

static unsigned int find_lies(const struct balancer_guest *g, const struct balancer_report *r)
{
	unsigned int lies = 0;

	if (r->committed_pages == 0)
		lies |= BALANCER_LIE_NOTHING_COMMITTED;
	if (r->committed_pages > BALANCER_PAGES_MAX)
		lies |= BALANCER_LIE_IMPOSSIBLE;
	/* While memory moves, the two are of different moments. */
	if (r->committed_pages < r->ballooned_pages && g->running == BALANCER_NONE)
		lies |= BALANCER_LIE_LESS_THAN_BALLOON;
	if (r->available_pages > BALANCER_PAGES_MAX && r->available_pages != UINT64_MAX)
		lies |= BALANCER_LIE_AVAILABLE;
	return lies;
}

static bool has_changed(const struct balancer_report *a, const struct balancer_report *b)
{
	return a->committed_pages != b->committed_pages ||
	       a->available_pages != b->available_pages ||
	       a->ballooned_pages != b->ballooned_pages || b->swapped_pages > 0;
}

static void take_demand(struct balancer *b, struct balancer_guest *g, uint64_t demand)
{
	uint64_t dt = b->now_ns - g->report_ns;

	g->demand_pages = demand;
	/* While memory moves, demand is off by what is on its way: it is shown, not believed. */
	if (!g->has_report) {
		g->smoothed_pages = g->recent_pages = demand;
	} else if (g->running == BALANCER_NONE) {
		smooth(&g->smoothed_pages, demand, dt, b->settings.smoothing_ns);
		smooth(&g->recent_pages, demand, dt, b->settings.short_smoothing_ns);
	}
}

/* True if a pass has to come before its time. */
static bool is_worth_a_pass(const struct balancer_guest *g)
{
	const struct balancer_decision *d = &g->decision;

	if (d->reason == BALANCER_WHY_NEW || d->reason == BALANCER_WHY_REPORT_BEFORE ||
	    d->reason == BALANCER_WHY_NO_REPORT)
		return true;
	return d->grow_above_pages > 0 && g->demand_pages > d->grow_above_pages;
}

int balancer_report(struct balancer *b, uint32_t guest, const struct balancer_report *report,
		    uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];
	uint64_t committed = report->committed_pages, ballooned = report->ballooned_pages;

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	g->stats.reports++;
	g->lies = find_lies(g, report);
	g->stats.lies += g->lies != 0;
	if (g->lies & REFUSED_LIES)
		return BALANCER_LIE;

	if (!g->has_report || has_changed(&g->report, report))
		g->changed_ns = b->now_ns;
	take_demand(b, g, committed > ballooned ? committed - ballooned : 0);
	g->report = *report;
	if (g->lies & BALANCER_LIE_AVAILABLE)
		g->report.available_pages = UINT64_MAX;
	if (g->refused_available_pages == UINT64_MAX && g->running == BALANCER_NONE)
		g->refused_available_pages = g->report.available_pages;
	if (report->swapped_pages >= STALL_SWAPPED_PAGES)
		g->stalled_ns = b->now_ns;
	g->has_report = true;
	g->report_ns = b->now_ns;
	b->urgent |= is_worth_a_pass(g);
	return 0;
}

void balancer_guard(struct balancer *b, uint32_t guest, unsigned int guards, uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	if (guards & BALANCER_GUARD_STALLING)
		g->stalled_ns = b->now_ns;
	b->urgent |= g->guards != guards;
	g->guards = guards;
	g->is_disturbed |= (guards & ~(unsigned int)BALANCER_GUARD_STALLING) != 0;
}

void balancer_restarted(struct balancer *b, uint32_t guest, uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	g->start_ns = b->now_ns;
	g->has_report = false;
	g->last = BALANCER_NONE;
	g->refused_hold_ns = 0;
	g->stalled_ns = 0;
	g->lies = 0;
	b->urgent = true;
}

void balancer_set_assigned(struct balancer *b, uint32_t guest, uint64_t pages, uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	if (pages == g->assigned_pages)
		return;
	balancer_book(b, g, pages, coming_pages(g));
	b->urgent = true;
}

void balancer_set_manual(struct balancer *b, uint32_t guest, uint64_t pages)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(guest < b->n_ids && b->guests[guest].name);
	g->manual = true;
	g->manual_pages = min_u64(pages, BALANCER_PAGES_MAX);
	g->refused_hold_ns = 0;
	b->hurry = true;
}

void balancer_set_automatic(struct balancer *b, uint32_t guest)
{
	assert(guest < b->n_ids && b->guests[guest].name);
	b->guests[guest].manual = false;
	b->hurry = true;
}

/* Operations. */

void balancer_begin(struct balancer *b, uint32_t guest, enum balancer_kind kind, uint64_t pages)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(g->running == BALANCER_NONE && kind != BALANCER_NONE && pages > 0);
	g->running = kind;
	g->asked_pages = pages;
	g->moved_pages = 0;
	g->is_disturbed = false;
	g->started_ns = g->progress_ns = b->now_ns;
	if (kind == BALANCER_GROW)
		balancer_book(b, g, g->assigned_pages, pages);
}

/* Books @pages as moved, whoever asked for it. */
static void book_moved(struct balancer *b, struct balancer_guest *g, enum balancer_kind kind,
		       uint64_t pages)
{
	uint64_t coming = coming_pages(g);

	if (kind == BALANCER_SHRINK)
		balancer_book(b, g, g->assigned_pages - min_u64(pages, g->assigned_pages), coming);
	else
		balancer_book(b, g, g->assigned_pages + pages, coming - min_u64(pages, coming));
}

int balancer_moved(struct balancer *b, uint32_t guest, enum balancer_kind kind, uint64_t pages,
		   uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];
	bool is_stray = g->running != kind;

	assert(guest < b->n_ids && g->name && kind != BALANCER_NONE);
	balancer_clock(b, now_ns);
	pages = min_u64(pages, BALANCER_PAGES_MAX);
	book_moved(b, g, kind, pages);
	if (pages > 0) {
		b->last_effect_ns = b->now_ns;
		b->urgent = true;
	}
	if (is_stray) {
		b->strays++;
		return BALANCER_STRAY;
	}
	g->moved_pages += pages;
	if (pages > 0) {
		g->progress_ns = b->now_ns;
		g->obeying = true;
	}
	return 0;
}

/*
 * A moving average over the last four operations or so. One that was done sooner than an order may
 * take says that the guest is at least that fast, not that it is no faster: small ones are slow for
 * other reasons.
 */
static void measure_speed(const struct balancer *b, struct balancer_guest *g)
{
	uint64_t *speed = g->running == BALANCER_GROW ? &g->grow_pages_per_s
						      : &g->shrink_pages_per_s;
	uint64_t ns = b->now_ns - g->started_ns, ms = ns / MILLISECOND_NS, now;

	if (g->moved_pages < SPEED_MIN_PAGES)
		return;
	now = min_u64(g->moved_pages, BALANCER_PAGES_MAX) * 1000 / (ms > 0 ? ms : 1);
	now = now > 0 ? now : 1;
	if (ns > BALANCER_SLEW_NS)
		*speed = *speed > 0 ? (3 * *speed + now) / 4 : now;
	else if (*speed > 0)
		*speed = max_u64(*speed, max_u64(now, g->asked_pages));
}

/*
 * How long the guest is left alone after the operation that ends. One that gives less than it was asked
 * for may have come to its floor, or wait for memory at this moment: that is not to be told from here, so
 * it is asked again, but less and less often.
 */
static uint64_t next_hold_ns(const struct balancer *b, const struct balancer_guest *g)
{
	uint64_t hold_ns = b->settings.refused_hold_ns;

	if (g->is_disturbed)
		return 0;
	if (g->running == BALANCER_GROW)
		return g->moved_pages == 0 ? hold_ns : 0;
	if (g->moved_pages + REFUSED_PAGES > g->asked_pages && g->moved_pages > 0)
		return 0;
	if (g->last != BALANCER_SHRINK || g->refused_hold_ns == 0)
		return hold_ns;
	return min_u64(2 * g->refused_hold_ns, REFUSED_LONGEST * hold_ns);
}

int balancer_ended(struct balancer *b, uint32_t guest, uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	if (g->running == BALANCER_NONE) {
		b->strays++;
		return BALANCER_STRAY;
	}
	measure_speed(b, g);
	balancer_book(b, g, g->assigned_pages, 0);
	g->refused_hold_ns = next_hold_ns(b, g);
	g->stats.refusals += g->moved_pages == 0;
	g->refused_available_pages = UINT64_MAX; /* of the next report */
	if (g->running == BALANCER_GROW)
		g->stats.grown_pages += g->moved_pages;
	else
		g->stats.shrunk_pages += g->moved_pages;
	g->stats.turns += g->last != BALANCER_NONE && g->last != g->running && g->moved_pages > 0;
	g->last = g->running;
	g->last_end_ns = b->now_ns;
	g->running = BALANCER_NONE;
	g->obeying = true;
	b->urgent = true;
	return 0;
}

int balancer_cancelled(struct balancer *b, uint32_t guest, uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	if (g->running == BALANCER_NONE) {
		b->strays++;
		return BALANCER_STRAY;
	}
	balancer_book(b, g, g->assigned_pages, 0);
	g->running = BALANCER_NONE;
	g->obeying = true;
	return 0;
}
