/* SPDX-License-Identifier: MIT */

/*
 * A pass of the balancer: what each guest should have, and what to order now.
 *
 *   1. look     at each guest: its demand, wanted = demand + buffer within its bounds, and the
 *               least (floor) and most (ceiling) that it could have after this pass.
 *   2. share    what there is among all of them: its goal (balancer_share.c). While memory is short,
 *               falling demand is believed sooner.
 *   3. judge    each guest by its goal: who grows, who gives without hurry. For spare memory nobody
 *               is asked, and an eighth of what a guest has is not worth a move.
 *   4. grant    from what is free in this moment: reservations first, in their order, then guests,
 *               those with the highest pressure first.
 *   5. demand   what is missing from those who have more than they want, or than their share if
 *               memory is short, those with the lowest pressure first, and no more than is
 *               missing. What is on its way counts already.
 *
 * So memory is taken first and given when it is there. Step 4 uses the charges only, so that a goal,
 * however wrong, cannot exceed the budget.
 *
 * A loop that reacts to its own effect swings. Against that:
 *
 *   - Around the rest pressure there is a dead band of 8 points (at most a tenth of the rest
 *     pressure, which is small for large buffers). Inside of it nothing happens, unless memory is
 *     needed elsewhere; and then a sixty-fourth of what a guest has is not worth a move.
 *   - Demand that rises is believed at once, because the guest suffers; demand that falls is
 *     believed with a time constant, because it often comes back. A guest grows by what it demands
 *     now, and shrinks by what is believed.
 *   - Growing goes all the way. Unhurried shrinking goes in steps, with a pause before each.
 *   - A report counts only if it is younger than the last operation: in between, guest and host do
 *     not agree on how large the balloon is, and the difference would look like demand.
 *   - A guest that gave less than it was asked for is left alone for a while, longer each time in a row,
 *     or until it has more available than it had then. It has its own floor.
 *   - No order is larger than what the guest moves in two seconds, by what was measured of it.
 *
 * A guest that cannot be moved now (it boots, is being backed up, does not report or obey) has what
 * it has: floor and ceiling are what it is charged with, and the others share the rest. One that
 * only waits for its next report keeps its place in the sharing, so that goals stand still.
 *
 * An amount set by hand replaces demand and band, not bounds, share and pauses.
 */

#include "policy/balancer_state.h"

#include "base/amount.h"

#include <assert.h>

#define SECOND_NS UINT64_C(1000000000)

enum {
	BAND = 800,              /* hundredths of a percent around the rest pressure */
	STEP_MIN_PAGES = 32768,  /* 128 MiB: an unhurried step down, or a tenth of assigned if that is more */
	MOVE_MIN_PAGES = 256,    /* 1 MiB: less is not worth a message */
	DEAD_SHARE = 64,         /* of assigned: less is not worth a move while memory is short */
	SLEW_MIN_PAGES = 8192,   /* 32 MiB */
	SLEW_UNKNOWN_PAGES = 131072, /* 512 MiB, of a guest whose speed was not measured yet */
	REFUSED_MORE_PAGES = 8192, /* 32 MiB more available: it can be asked again */
	PRESSURE_MAX = 9999,     /* percent that is shown */
	SPARE_BAND = 8,          /* spare memory is moved for no less than that part of assigned */
	KEY_BITS = 20,           /* of a pressure in a sort key, in hundredths of a percent */
};

/* What a pass finds out as it goes. */
struct pass {
	bool is_limited;
	uint64_t shared_pages;  /* what all guests can have together */
	uint64_t wanted_pages;  /* by all of them, by demand that falls with smoothing_ns */
	uint64_t coming_pages;  /* that guests are giving up already */
	uint64_t missing_pages; /* for growing guests, reservations, and what is over the budget */
	bool is_hard;           /* somebody starves, waits to start, or has too much */
	size_t n_growers;
	size_t n_givers;
};

/* In hundredths of a percent. */
static uint64_t pressure(uint64_t demand_pages, uint64_t assigned_pages)
{
	demand_pages = min_u64(demand_pages, BALANCER_PAGES_MAX);
	return assigned_pages > 0 ? demand_pages * 10000 / assigned_pages : 0;
}

static uint64_t rest_pressure(const struct balancer_limits *limits)
{
	return UINT64_C(1000000) / (100 + limits->buffer_percent);
}

static uint64_t band_of(const struct balancer_limits *limits)
{
	return min_u64(BAND, rest_pressure(limits) / 10);
}

uint32_t balancer_pressure_percent(uint64_t demand_pages, uint64_t assigned_pages)
{
	return (uint32_t)min_u64(pressure(demand_pages, assigned_pages) / 100, PRESSURE_MAX);
}

/* Looking. */

/* True if the guest has clearly more to spare than when it gave less than it was asked for. */
static bool has_more_to_give(const struct balancer_guest *g)
{
	uint64_t available = g->report.available_pages, then = g->refused_available_pages;

	return g->last == BALANCER_SHRINK && available < UINT64_MAX && then < UINT64_MAX &&
	       available > then + REFUSED_MORE_PAGES;
}

/* Until when the last refusal holds. */
static uint64_t refused_until_ns(const struct balancer *b, const struct balancer_guest *g)
{
	uint64_t hold_ns = g->refused_hold_ns, once_ns = b->settings.refused_hold_ns;

	if (has_more_to_give(g))
		hold_ns = g->moved_pages == 0 ? min_u64(hold_ns, once_ns) : 0;
	/* While a guest waits to start, those are asked more often who may have more to give by now. */
	if (b->reserved_pages > b->held_pages)
		hold_ns = min_u64(hold_ns, once_ns);
	return g->last_end_ns + hold_ns;
}

/* True if the guest is left alone because it did not do what it was asked. */
static bool was_refused(const struct balancer *b, const struct balancer_guest *g,
			enum balancer_kind kind)
{
	return g->last == kind && g->running == BALANCER_NONE && b->now_ns < refused_until_ns(b, g);
}

static bool is_stalling(const struct balancer *b, const struct balancer_guest *g)
{
	if (g->guards & BALANCER_GUARD_STALLING)
		return true;
	return g->stalled_ns > 0 && b->now_ns - g->stalled_ns < b->settings.stalled_hold_ns;
}

/* What guests have beyond the budget, by no order of ours. */
static uint64_t over_pages(const struct balancer *b)
{
	const struct balancer_settings *s = &b->settings;

	return s->budget_pages > 0
		       ? sub_u64(b->charged_pages + b->held_pages, s->budget_pages - s->reserve_pages)
		       : 0;
}

static bool is_starting(const struct balancer *b, const struct balancer_guest *g)
{
	if (g->guards & BALANCER_GUARD_BOOTING)
		return true;
	/* One that has come with more than there was is not waited for any longer than it must be. */
	if (g->has_report && over_pages(b) > 0)
		return false;
	return !g->manual && b->now_ns - g->start_ns < b->settings.first_action_ns;
}

/* An operation that makes no progress for too long is counted once, until it makes some. */
static void look_at_operation(const struct balancer *b, struct balancer_guest *g)
{
	if (g->running == BALANCER_NONE || !g->obeying ||
	    b->now_ns - g->progress_ns < b->settings.obey_ns)
		return;
	g->obeying = false;
	g->stats.disobeyed++;
}

/* What it will have if the running operation ends well. */
static uint64_t running_target(const struct balancer_guest *g)
{
	if (g->running != BALANCER_SHRINK || g->asked_pages <= g->moved_pages)
		return g->charged_pages;
	return g->assigned_pages - min_u64(g->asked_pages - g->moved_pages, g->assigned_pages);
}

/* Of that; the next order has its own. Only an operation that ended before its time changes the target. */
static enum balancer_reason running_target_reason(const struct balancer_guest *g)
{
	return running_target(g) == g->decision.target_pages ? g->decision.target_reason
							     : BALANCER_WHY_NEW;
}

/* Why nothing can be done with the guest in this pass; BALANCER_WHY_AT_REST if something can. */
static enum balancer_reason find_hindrance(const struct balancer *b, struct balancer_guest *g)
{
	if (g->running != BALANCER_NONE)
		return g->obeying ? BALANCER_WHY_BUSY : BALANCER_WHY_NOT_OBEYING;
	if (g->guards & BALANCER_GUARD_NOT_READY)
		return BALANCER_WHY_NOT_READY;
	if (is_starting(b, g))
		return BALANCER_WHY_STARTING;
	if (g->guards & BALANCER_GUARD_BACKUP)
		return BALANCER_WHY_BACKUP;
	if (g->manual)
		return BALANCER_WHY_AT_REST;
	if (!g->has_report || b->now_ns - g->report_ns >= b->settings.report_age_max_ns)
		return BALANCER_WHY_NO_REPORT;
	if (b->now_ns - g->changed_ns >= b->settings.frozen_figures_ns) {
		g->lies |= BALANCER_LIE_STANDING_STILL;
		return BALANCER_WHY_FROZEN_FIGURES;
	}
	if (g->last != BALANCER_NONE && g->report_ns <= g->last_end_ns)
		return BALANCER_WHY_REPORT_BEFORE;
	return BALANCER_WHY_AT_REST;
}

/* True if the guest has what it has, and is no part of the sharing. */
static bool is_fixed(enum balancer_reason hindrance)
{
	return hindrance != BALANCER_WHY_AT_REST && hindrance != BALANCER_WHY_BUSY &&
	       hindrance != BALANCER_WHY_REPORT_BEFORE;
}

static void find_bounds(const struct balancer *b, const struct balancer_guest *g,
			struct balancer_decision *d)
{
	uint64_t growable = g->has_report ? g->report.growable_pages : UINT64_MAX;
	uint64_t has = g->charged_pages;

	if (is_fixed(d->reason)) {
		d->floor_pages = d->ceiling_pages = has;
		return;
	}
	d->ceiling_pages = g->limits.maximum_pages;
	if (growable < BALANCER_PAGES_MAX)
		d->ceiling_pages = min_u64(d->ceiling_pages,
					   max_u64(g->assigned_pages + growable, has));
	if (was_refused(b, g, BALANCER_GROW))
		d->ceiling_pages = min_u64(d->ceiling_pages, has);
	d->floor_pages = g->limits.minimum_pages;
	if (is_stalling(b, g) || was_refused(b, g, BALANCER_SHRINK))
		d->floor_pages = max_u64(d->floor_pages, g->assigned_pages);
	/* A stalling guest above its maximum keeps it; one that cannot grow has not its minimum. */
	if (d->floor_pages > d->ceiling_pages)
		d->floor_pages = d->ceiling_pages = min_u64(d->floor_pages, has);
}

static void look_at(struct balancer *b, uint32_t id, struct pass *pass)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;

	look_at_operation(b, g);
	*d = (struct balancer_decision){
		.reason = find_hindrance(b, g),
		.target_reason = running_target_reason(g),
		.at_ns = b->now_ns,
		.assigned_pages = g->assigned_pages,
		.demand_pages = g->demand_pages,
		.believed_pages = g->manual ? g->manual_pages : g->smoothed_pages,
		.target_pages = running_target(g),
		.rest_percent = (uint32_t)(rest_pressure(&g->limits) / 100),
	};
	if (g->has_report)
		d->pressure_percent = balancer_pressure_percent(g->demand_pages, g->assigned_pages);
	find_bounds(b, g, d);
	d->wanted_pages = balancer_wanted_pages(g, g->smoothed_pages);
	d->goal_pages = d->wanted_pages;

	pass->wanted_pages += d->wanted_pages;
	if (g->running == BALANCER_SHRINK && g->obeying)
		pass->coming_pages += g->assigned_pages - running_target(g);
}

/* Judging. */

/* The most that one order may move. */
static uint64_t slew_pages(const struct balancer *b, uint64_t pages_per_s)
{
	uint64_t pages = pages_per_s > 0 ? pages_per_s * (BALANCER_SLEW_NS / SECOND_NS) : SLEW_UNKNOWN_PAGES;

	return min_u64(max_u64(pages, SLEW_MIN_PAGES), b->settings.operation_max_pages);
}

static uint64_t grow_slew_pages(const struct balancer *b, const struct balancer_guest *g)
{
	if (g->grow_pages_per_s == 0)
		return b->settings.operation_max_pages;
	return slew_pages(b, g->grow_pages_per_s);
}

static bool is_too_soon(const struct balancer *b, const struct balancer_guest *g)
{
	return g->last != BALANCER_NONE &&
	       b->now_ns - g->last_end_ns < b->settings.shrink_spacing_ns;
}

static bool is_starving(const struct balancer_guest *g)
{
	return g->has_report && g->demand_pages > g->assigned_pages;
}

/* Pressure, then id: those with the same pressure in their order. */
static uint64_t key_of(const struct balancer_guest *g, uint64_t demand_pages, uint32_t id)
{
	uint64_t p = pressure(demand_pages, g->assigned_pages);

	if (g->assigned_pages < g->limits.minimum_pages || g->assigned_pages == 0)
		p = UINT64_MAX;
	return min_u64(p, (UINT64_C(1) << KEY_BITS) - 1) << 32 | id;
}

/* What it keeps if others need it: its share, and nothing that it does not want. */
static uint64_t kept_pages(const struct balancer_guest *g)
{
	return min_u64(g->decision.goal_pages, g->decision.wanted_pages);
}

/* It grows to its goal, if the host has the memory: step 4 says how far. */
static void wants_to_grow(struct balancer *b, uint32_t id, enum balancer_reason reason,
			  struct pass *pass)
{
	struct balancer_guest *g = &b->guests[id];

	if (was_refused(b, g, BALANCER_GROW)) {
		g->decision.reason = BALANCER_WHY_REFUSED;
		g->decision.until_ns = refused_until_ns(b, g);
		return;
	}
	g->decision.reason = reason;
	if (kept_pages(g) > g->assigned_pages)
		pass->missing_pages += kept_pages(g) - g->assigned_pages;
	pass->is_hard |= is_starving(g) || reason == BALANCER_WHY_BELOW_MINIMUM;
	b->growers[pass->n_growers++] = key_of(g, g->demand_pages, id);
}

/* It gives without hurry: a step, if nothing speaks against it. */
static void may_shrink(struct balancer *b, uint32_t id, uint64_t step_pages,
		       enum balancer_reason reason)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;

	if (was_refused(b, g, BALANCER_SHRINK)) {
		d->reason = BALANCER_WHY_REFUSED;
		d->until_ns = refused_until_ns(b, g);
	} else if (is_stalling(b, g)) {
		d->reason = BALANCER_WHY_STALLING;
		d->until_ns = g->stalled_ns + b->settings.stalled_hold_ns;
	} else if (is_too_soon(b, g)) {
		d->reason = BALANCER_WHY_SPACING;
		d->until_ns = g->last_end_ns + b->settings.shrink_spacing_ns;
	} else {
		d->reason = reason;
		step_pages = min_u64(step_pages, b->settings.operation_max_pages);
		d->target_pages -= min_u64(g->assigned_pages - d->goal_pages, step_pages);
	}
}

static uint64_t unhurried_step(const struct balancer *b, const struct balancer_guest *g)
{
	uint64_t step = max_u64(STEP_MIN_PAGES, g->assigned_pages / 10);

	return g->shrink_pages_per_s > 0 ? min_u64(step, slew_pages(b, g->shrink_pages_per_s))
					 : step;
}

static void judge_manual(struct balancer *b, uint32_t id, struct pass *pass)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;

	if (d->goal_pages > g->assigned_pages)
		wants_to_grow(b, id, BALANCER_WHY_MANUAL, pass);
	else if (d->goal_pages < g->assigned_pages)
		may_shrink(b, id, UINT64_MAX, BALANCER_WHY_MANUAL);
	else if (was_refused(b, g, BALANCER_GROW) && g->manual_pages > g->assigned_pages &&
		 g->limits.maximum_pages > g->assigned_pages)
		d->reason = BALANCER_WHY_REFUSED;
	else if (was_refused(b, g, BALANCER_SHRINK) && g->manual_pages < g->assigned_pages &&
		 g->limits.minimum_pages < g->assigned_pages)
		d->reason = BALANCER_WHY_REFUSED;
	else
		d->reason = b->is_short && d->goal_pages < d->wanted_pages
				    ? BALANCER_WHY_AT_SHARE
				    : BALANCER_WHY_MANUAL_DONE;
	if (d->reason == BALANCER_WHY_REFUSED)
		d->until_ns = refused_until_ns(b, g);
}

/* Pressure is above the band: it needs more. */
static void judge_needy(struct balancer *b, uint32_t id, struct pass *pass)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;
	uint64_t worth = MOVE_MIN_PAGES;

	if (b->is_short && !is_starving(g))
		worth = max_u64(worth, g->assigned_pages / DEAD_SHARE);
	if (was_refused(b, g, BALANCER_GROW))
		wants_to_grow(b, id, BALANCER_WHY_GROW, pass);
	else if (d->goal_pages >= g->assigned_pages + worth)
		wants_to_grow(b, id, BALANCER_WHY_GROW, pass);
	else
		d->reason = d->goal_pages < d->wanted_pages ? BALANCER_WHY_AT_SHARE
							    : BALANCER_WHY_AT_MAXIMUM;
	if (d->reason == BALANCER_WHY_AT_SHARE)
		d->missing_pages = d->wanted_pages - min_u64(d->wanted_pages, g->assigned_pages);
}

/* It is not short of anything, and would get more of what nobody wants. */
static bool is_below_spare(const struct balancer_guest *g)
{
	return g->decision.goal_pages >
	       g->assigned_pages + max_u64(MOVE_MIN_PAGES, g->assigned_pages / SPARE_BAND);
}

static void judge_spare(struct balancer *b, uint32_t id, struct pass *pass)
{
	struct balancer_guest *g = &b->guests[id];

	if (was_refused(b, g, BALANCER_GROW) || is_too_soon(b, g)) {
		g->decision.reason = BALANCER_WHY_AT_REST;
		return;
	}
	g->decision.reason = BALANCER_WHY_SPARE;
	b->growers[pass->n_growers++] = key_of(g, g->demand_pages, id);
}

/* Pressure is below the band: it has more than it needs. */
static void judge_idle(struct balancer *b, uint32_t id)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;
	uint64_t spare = d->goal_pages > d->wanted_pages ? g->assigned_pages / SPARE_BAND : 0;

	if (spare > 0 && g->assigned_pages <= d->goal_pages + spare) {
		d->reason = BALANCER_WHY_SPARE_KEPT;
		return;
	}
	if (was_refused(b, g, BALANCER_SHRINK) || is_stalling(b, g))
		may_shrink(b, id, 0, BALANCER_WHY_SHRINK);
	else if (d->goal_pages + MOVE_MIN_PAGES > g->assigned_pages)
		d->reason = BALANCER_WHY_AT_MINIMUM;
	else
		may_shrink(b, id, unhurried_step(b, g), BALANCER_WHY_SHRINK);
}

static void judge_by_demand(struct balancer *b, uint32_t id, struct pass *pass)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;
	uint64_t rest = rest_pressure(&g->limits), band = band_of(&g->limits);
	uint64_t now_pressure = pressure(g->demand_pages, g->assigned_pages);
	uint64_t believed = pressure(d->believed_pages, g->assigned_pages);

	d->grow_above_pages = g->assigned_pages * (rest + band) / 10000;
	if (g->assigned_pages > g->limits.minimum_pages)
		d->shrink_below_pages = g->assigned_pages * (rest - band) / 10000;
	if (g->assigned_pages > g->limits.maximum_pages)
		may_shrink(b, id, unhurried_step(b, g), BALANCER_WHY_ABOVE_MAXIMUM);
	else if (g->assigned_pages < g->limits.minimum_pages && d->goal_pages > g->assigned_pages)
		wants_to_grow(b, id, BALANCER_WHY_BELOW_MINIMUM, pass);
	else if (now_pressure > rest + band)
		judge_needy(b, id, pass);
	else if (d->goal_pages > d->wanted_pages && is_below_spare(g))
		judge_spare(b, id, pass);
	else if (believed + band < rest)
		judge_idle(b, id);
	else
		d->reason = BALANCER_WHY_AT_REST;
}

/* True if it could be asked for memory now. */
static bool can_give(const struct balancer *b, const struct balancer_guest *g)
{
	return !is_stalling(b, g) && !was_refused(b, g, BALANCER_SHRINK) &&
	       g->decision.reason != BALANCER_WHY_SPARE &&
	       g->assigned_pages > kept_pages(g) + MOVE_MIN_PAGES;
}

static void judge(struct balancer *b, uint32_t id, struct pass *pass)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;

	if (d->reason == BALANCER_WHY_STARTING && !(g->guards & BALANCER_GUARD_BOOTING))
		d->until_ns = g->start_ns + b->settings.first_action_ns;
	if (d->reason != BALANCER_WHY_AT_REST)
		return;
	if (g->manual)
		judge_manual(b, id, pass);
	else
		judge_by_demand(b, id, pass);
	if (can_give(b, g) || d->target_pages < g->assigned_pages)
		b->givers[pass->n_givers++] = key_of(g, d->believed_pages, id);
}

/* Ordering. */

/* By the upper 20 bits above bit 32, rising, those with the same in the order they have. */
static void sort_keys(uint64_t *keys, uint64_t *spare, size_t n)
{
	for (int shift = 32; shift < 32 + KEY_BITS; shift += KEY_BITS / 2) {
		size_t starts[(1 << KEY_BITS / 2) + 1] = {0};

		for (size_t i = 0; i < n; i++)
			starts[(keys[i] >> shift & ((1 << KEY_BITS / 2) - 1)) + 1]++;
		for (size_t i = 1; i < (1 << KEY_BITS / 2); i++)
			starts[i] += starts[i - 1];
		for (size_t i = 0; i < n; i++)
			spare[starts[keys[i] >> shift & ((1 << KEY_BITS / 2) - 1)]++] = keys[i];
		for (size_t i = 0; i < n; i++)
			keys[i] = spare[i];
	}
}

/* Orders what its decision says, or would if nothing may be ordered. */
static void order(struct balancer *b, uint32_t id)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;
	bool grow = d->target_pages > g->assigned_pages;
	uint64_t pages = grow ? d->target_pages - g->assigned_pages
			      : g->assigned_pages - d->target_pages;

	d->target_reason = d->reason;
	d->dry_run = b->settings.dry_run;
	if (d->dry_run || pages == 0)
		return;
	balancer_begin(b, id, grow ? BALANCER_GROW : BALANCER_SHRINK, pages);
	b->n_ordered++;
	b->orders[b->n_orders++] = (struct balancer_order){
		.guest = id,
		.kind = grow ? BALANCER_GROW : BALANCER_SHRINK,
		.pages = pages,
		.reason = d->reason,
	};
}

/* Sets aside what is free for who is to start; returns what is free then. */
static uint64_t hold(struct balancer *b, uint64_t free_pages)
{
	for (size_t i = 0; i < b->n_reservations; i++) {
		struct balancer_reservation *r = &b->reservations[i];
		uint64_t pages = min_u64(r->pages - r->held_pages, free_pages);

		r->held_pages += pages;
		b->held_pages += pages;
		free_pages -= free_pages < UINT64_MAX ? pages : 0;
	}
	return free_pages;
}

/* Gives to @id what it may have of @free_pages; returns what is free then. */
static uint64_t grant(struct balancer *b, uint32_t id, uint64_t free_pages)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;
	uint64_t more = d->goal_pages - g->assigned_pages, pages, wanted;

	wanted = max_u64(kept_pages(g), g->assigned_pages) - g->assigned_pages; /* without spare */
	pages = min_u64(min_u64(more, grow_slew_pages(b, g)), free_pages);
	d->free_pages = free_pages;
	if (pages < min_u64(more, MOVE_MIN_PAGES) && d->reason == BALANCER_WHY_SPARE) {
		d->reason = BALANCER_WHY_AT_REST;
		return free_pages;
	}
	if (pages < min_u64(more, MOVE_MIN_PAGES)) {
		d->reason = BALANCER_WHY_SHORT;
		d->missing_pages = wanted;
		return free_pages;
	}
	if (pages == free_pages && pages < wanted) {
		d->reason = BALANCER_WHY_GROW_PART;
		d->missing_pages = wanted - pages;
	}
	d->target_pages = g->assigned_pages + pages;
	order(b, id);
	return free_pages == UINT64_MAX ? free_pages : free_pages - pages;
}

static void grant_all(struct balancer *b, struct pass *pass)
{
	uint64_t free_pages = hold(b, balancer_free_pages(b));

	/* The highest pressure first; of the same pressure, whoever came first. */
	for (size_t i = 0; i < pass->n_growers; i++)
		b->growers[i] ^= ((UINT64_C(1) << KEY_BITS) - 1) << 32;
	sort_keys(b->growers, b->spare, pass->n_growers);
	for (size_t i = 0; i < pass->n_growers; i++)
		free_pages = grant(b, (uint32_t)b->growers[i], free_pages);
}

/* Takes what is @missing and no more; returns what is missing then. */
static uint64_t demand_from(struct balancer *b, uint32_t id, uint64_t missing, bool is_hard)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;
	uint64_t surplus = g->assigned_pages - kept_pages(g), planned, pages;

	planned = g->assigned_pages - d->target_pages; /* without hurry; counted already */
	if (!is_hard && surplus < g->assigned_pages / DEAD_SHARE)
		return missing;
	pages = min_u64(surplus, slew_pages(b, g->shrink_pages_per_s));
	pages = min_u64(pages, missing + planned);
	if (pages <= planned || pages < MOVE_MIN_PAGES)
		return missing;
	d->reason = BALANCER_WHY_TAKEN_FOR_OTHERS;
	d->target_pages = g->assigned_pages - pages;
	d->until_ns = 0;
	d->missing_pages = 0;
	return missing - (pages - planned);
}

/* What those who give without hurry give already. */
static uint64_t planned_pages(const struct balancer *b, const struct pass *pass)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < pass->n_givers; i++) {
		const struct balancer_guest *g = &b->guests[(uint32_t)b->givers[i]];

		if (g->decision.target_pages < g->assigned_pages)
			sum += g->assigned_pages - g->decision.target_pages;
	}
	return sum;
}

static void demand_all(struct balancer *b, struct pass *pass)
{
	uint64_t missing = pass->missing_pages, coming = pass->coming_pages;

	coming += planned_pages(b, pass);
	missing -= min_u64(missing, coming);
	b->missing_pages = missing;
	sort_keys(b->givers, b->spare, pass->n_givers);
	for (size_t i = 0; i < pass->n_givers; i++) {
		uint32_t id = (uint32_t)b->givers[i];

		/* A giver that was found to have too much for its goal can be a grower in no case. */
		if (missing >= MOVE_MIN_PAGES)
			missing = demand_from(b, id, missing, pass->is_hard);
		if (b->guests[id].decision.target_pages < b->guests[id].assigned_pages)
			order(b, id);
	}
}

/* The pass. */

static void expire_reservations(struct balancer *b)
{
	size_t kept = 0;

	for (size_t i = 0; i < b->n_reservations; i++) {
		struct balancer_reservation *r = &b->reservations[i];

		if (b->now_ns < r->until_ns) {
			b->reservations[kept++] = *r;
			continue;
		}
		b->reserved_pages -= r->pages;
		b->held_pages -= r->held_pages;
		free(r->name);
	}
	b->n_reservations = kept;
}

/* Orders that nobody has fetched yet stay. */
static void keep_orders(struct balancer *b)
{
	size_t kept = 0;

	for (size_t i = b->next_order; i < b->n_orders; i++)
		if (b->orders[i].kind != BALANCER_NONE)
			b->orders[kept++] = b->orders[i];
	b->n_orders = kept;
	b->next_order = 0;
}

/* What all guests can have together, and what somebody must give for things other than guests. */
static void find_room(const struct balancer *b, struct pass *pass)
{
	const struct balancer_settings *s = &b->settings;
	uint64_t room;

	pass->is_limited = s->budget_pages > 0;
	if (!pass->is_limited)
		return;
	room = s->budget_pages - s->reserve_pages;
	pass->shared_pages = room - min_u64(room, b->reserved_pages);
	pass->missing_pages = b->reserved_pages - b->held_pages + over_pages(b);
	pass->is_hard = pass->missing_pages > 0;
}

static void pause_all(struct balancer *b)
{
	for (uint32_t i = 0; i < b->n_ids; i++) {
		struct balancer_guest *g = &b->guests[i];

		if (!g->name)
			continue;
		look_at_operation(b, g);
		g->decision = (struct balancer_decision){
			.reason = BALANCER_WHY_PAUSED,
			.target_reason = running_target_reason(g),
			.at_ns = b->now_ns,
			.assigned_pages = g->assigned_pages,
			.demand_pages = g->demand_pages,
			.believed_pages = g->smoothed_pages,
			.target_pages = running_target(g),
			.pressure_percent = balancer_pressure_percent(g->demand_pages,
								      g->assigned_pages),
			.rest_percent = (uint32_t)(rest_pressure(&g->limits) / 100),
		};
	}
}

static void decide_all(struct balancer *b)
{
	struct pass pass = {0};
	uint64_t free_pages;

	find_room(b, &pass);
	for (uint32_t i = 0; i < b->n_ids; i++)
		if (b->guests[i].name)
			look_at(b, i, &pass);
	b->is_short = false;
	if (pass.is_limited)
		balancer_share(b, pass.shared_pages, pass.wanted_pages);
	for (uint32_t i = 0; i < b->n_ids; i++)
		if (b->guests[i].name)
			judge(b, i, &pass);

	free_pages = balancer_free_pages(b);
	for (uint32_t i = 0; i < b->n_ids; i++)
		b->guests[i].decision.free_pages = free_pages;
	pass.missing_pages -= min_u64(pass.missing_pages, free_pages);
	grant_all(b, &pass);
	demand_all(b, &pass);
}

void balancer_pass(struct balancer *b, uint64_t now_ns)
{
	balancer_clock(b, now_ns);
	expire_reservations(b);
	keep_orders(b);
	if (b->settings.paused)
		pause_all(b);
	else
		decide_all(b);
	b->passes++;
	b->last_pass_ns = b->now_ns;
	b->urgent = b->hurry = false;
}
