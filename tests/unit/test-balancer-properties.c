/* SPDX-License-Identifier: MIT */

/*
 * policy/balancer: what holds for any guests, any reports and any order of events, over many seeds.
 *
 * The host of this test keeps its own books, in which a guest uses what it was ordered to get from
 * the moment of the order on, and keeps what it was ordered to give until it has given it. They are
 * compared with the budget after every single event. Guests are late, give parts, give nothing, never
 * answer, lie and leave with operations under way; reservations come and go; limits change.
 *
 * HVGUEST_SEED sets the first seed; a failure prints the one it happened with.
 */

#include "policy/balancer.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define MS     UINT64_C(1000000)

enum {
	MIB = 256, /* pages */
	GUESTS = 12,
	SEEDS = 150,
	CHAOS_STEPS = 1500,
	CALM_SECONDS = 900,
};

struct guest {
	bool is_there;
	char name[16];
	uint32_t id;
	struct balancer_limits limits;
	uint64_t has;    /* pages, by these books */
	uint64_t demand; /* what its programs need, with the floor */
	struct balancer_order order; /* kind NONE: none */
	uint64_t left;   /* of the order */
	bool is_dead;    /* never answers */
	bool is_stubborn; /* in calm seconds: gives a page or nothing, whatever is asked of it */
	uint64_t refused; /* in a row, since it is */
	uint64_t refused_ns; /* when, last */
};

struct world {
	unsigned int seed;
	unsigned int state;
	uint64_t now;
	struct balancer *b;
	struct balancer_settings settings;
	struct guest guests[GUESTS];
	uint64_t reserved_until;
	char reserved[16];
	uint64_t hash; /* of all orders */
	uint64_t n_orders;
	unsigned int names;
};

static unsigned int first_seed(void)
{
	const char *text = getenv("HVGUEST_SEED");

	return text ? (unsigned int)strtoul(text, NULL, 10) : 20260701;
}

static unsigned int below(struct world *w, unsigned int n)
{
	return (unsigned int)rand_r(&w->state) % n;
}

static void make_world(struct world *w, unsigned int seed)
{
	*w = (struct world){.seed = seed, .state = seed, .now = 1000 * SECOND, .hash = 5381};
	balancer_settings_init(&w->settings);
	w->settings.first_action_ns = below(w, 3) * SECOND;
	w->settings.budget_pages = (4096 + (uint64_t)below(w, 8192)) * MIB;
	w->settings.reserve_pages = (uint64_t)below(w, 512) * MIB;
	cr_assert(eq(int, balancer_new(&w->settings, w->now, &w->b), 0));
}

/* What the guests of these books may use at this moment, at most. */
static uint64_t used(const struct world *w)
{
	uint64_t sum = 0;

	for (int i = 0; i < GUESTS; i++) {
		const struct guest *g = &w->guests[i];

		if (!g->is_there)
			continue;
		sum += g->has;
		if (g->order.kind == BALANCER_GROW)
			sum += g->left;
	}
	return sum;
}

static void check(const struct world *w)
{
	struct balancer_totals t;

	balancer_get_totals(w->b, &t);
	cr_assert(le(u64, used(w) + t.held_pages, w->settings.budget_pages - w->settings.reserve_pages),
		  "seed %u: the budget is exceeded", w->seed);
	cr_assert(eq(u64, t.charged_pages, used(w)), "seed %u: the books differ", w->seed);
	cr_assert(eq(u64, t.over_pages, 0), "seed %u", w->seed);
	for (int i = 0; i < GUESTS; i++) {
		const struct guest *g = &w->guests[i];

		if (!g->is_there)
			continue;
		cr_assert(eq(u64, balancer_get(w->b, g->id)->assigned_pages, g->has), "seed %u",
			  w->seed);
	}
}

static struct balancer_limits some_limits(struct world *w)
{
	struct balancer_limits l;

	balancer_limits_init(&l);
	l.minimum_pages = (64 + (uint64_t)below(w, 512)) * MIB;
	l.startup_pages = l.minimum_pages + (uint64_t)below(w, 1024) * MIB;
	l.maximum_pages = l.startup_pages + (uint64_t)below(w, 8192) * MIB;
	l.weight = below(w, 10001);
	l.buffer_percent = 5 + below(w, 60);
	return l;
}

static void join(struct world *w, struct guest *g, const char *name)
{
	struct guest fresh = {.is_there = true, .limits = some_limits(w)};
	int r;

	if (name)
		snprintf(fresh.name, sizeof(fresh.name), "%s", name);
	else
		snprintf(fresh.name, sizeof(fresh.name), "g%u", w->names++);
	r = balancer_add(w->b, fresh.name, &fresh.limits, w->now, &fresh.id);
	if (r) {
		cr_assert(r == BALANCER_NO_ROOM || r == BALANCER_NO_ROOM_NOW ||
				  (name && r == BALANCER_TWICE), "seed %u: %d", w->seed, r);
		return;
	}
	fresh.has = fresh.limits.startup_pages;
	fresh.demand = (64 + (uint64_t)below(w, 6000)) * MIB;
	*g = fresh;
}

static void leave(struct world *w, struct guest *g)
{
	balancer_remove(w->b, g->id, w->now);
	g->is_there = false;
}

static uint64_t ballooned(const struct guest *g)
{
	return g->limits.maximum_pages > g->has ? g->limits.maximum_pages - g->has : 0;
}

static void report(struct world *w, struct guest *g, bool may_lie)
{
	struct balancer_report r = {
		.committed_pages = g->demand + ballooned(g),
		.available_pages = (g->has > g->demand ? g->has - g->demand : 0) + below(w, 64),
		.ballooned_pages = ballooned(g),
		.growable_pages = UINT64_MAX,
	};

	if (may_lie && below(w, 10) == 0)
		r.committed_pages = (uint64_t[]){0, UINT64_MAX, 1, BALANCER_PAGES_MAX + 1}[below(w, 4)];
	if (may_lie && below(w, 10) == 0)
		r.available_pages = UINT64_MAX - below(w, 3);
	if (may_lie && below(w, 10) == 0)
		r.growable_pages = (uint64_t)below(w, 1000) * MIB;
	(void)balancer_report(w->b, g->id, &r, w->now);
}

/* The guest does a part of what it was asked, or all, or ends with less. */
static void answer(struct world *w, struct guest *g)
{
	uint64_t pages = below(w, 3) == 0 ? g->left : (g->left * below(w, 101)) / 100;

	if (pages > 0) {
		if (g->order.kind == BALANCER_GROW)
			g->has += pages;
		else
			g->has -= pages;
		g->left -= pages;
		(void)balancer_moved(w->b, g->id, g->order.kind, pages, w->now);
		check(w);
	}
	if (g->left == 0 || below(w, 4) == 0) {
		g->left = 0;
		g->order.kind = BALANCER_NONE;
		cr_assert(eq(int, balancer_ended(w->b, g->id, w->now), 0), "seed %u", w->seed);
	}
}

static struct guest *guest_of(struct world *w, uint32_t id)
{
	for (int i = 0; i < GUESTS; i++)
		if (w->guests[i].is_there && w->guests[i].id == id)
			return &w->guests[i];
	cr_assert(false, "seed %u: an order for nobody", w->seed);
	return NULL;
}

static void fetch_orders(struct world *w, bool may_cancel)
{
	struct balancer_order o;

	while (balancer_next_order(w->b, &o) == 0) {
		struct guest *g = guest_of(w, o.guest);

		w->n_orders++;
		w->hash = (w->hash * 33) ^ o.pages ^ (uint64_t)o.kind << 60 ^ (uint64_t)o.guest << 50;
		cr_assert(g->order.kind == BALANCER_NONE, "seed %u: two at a time", w->seed);
		cr_assert(gt(u64, o.pages, 0));
		if (o.kind == BALANCER_SHRINK)
			cr_assert(ge(u64, g->has - o.pages, g->limits.minimum_pages),
				  "seed %u: below the minimum", w->seed);
		else
			cr_assert(le(u64, g->has + o.pages, g->limits.maximum_pages),
				  "seed %u: above the maximum", w->seed);
		if (may_cancel && below(w, 20) == 0) {
			cr_assert(eq(int, balancer_cancelled(w->b, o.guest, w->now), 0));
			continue;
		}
		g->order = o;
		g->left = o.pages;
		g->is_dead = may_cancel && below(w, 60) == 0;
	}
}

static void change_limits(struct world *w, struct guest *g)
{
	struct balancer_limits l = g->limits;

	/* As it may be while it runs: what it has stays within, so that the orders can be checked. */
	if (l.minimum_pages > 64 * MIB && below(w, 2))
		l.minimum_pages -= 32 * MIB;
	else
		l.maximum_pages += 32 * MIB;
	l.weight = below(w, 10001);
	if (balancer_limit(w->b, g->id, &l, w->now) == 0)
		g->limits = l;
}

static void reserve(struct world *w)
{
	uint64_t pages, held;

	if (w->reserved[0] && balancer_reserved(w->b, w->reserved, &pages, &held) == 0) {
		cr_assert(le(u64, held, pages));
		if (below(w, 3) == 0)
			(void)!balancer_unreserve(w->b, w->reserved, w->now);
		return;
	}
	snprintf(w->reserved, sizeof(w->reserved), "r%u", w->names++);
	(void)!balancer_reserve(w->b, w->reserved, (256 + (uint64_t)below(w, 1024)) * MIB,
				w->now + (1 + below(w, 60)) * SECOND, w->now);
}

/* Something happens. */
static void happen(struct world *w)
{
	struct guest *g = &w->guests[below(w, GUESTS)];

	w->now += below(w, 400) * MS;
	switch (below(w, 16)) {
	case 0:
		if (!g->is_there)
			join(w, g, NULL);
		break;
	case 1:
		if (!g->is_there && w->reserved[0])
			join(w, g, w->reserved);
		break;
	case 2:
		if (g->is_there && below(w, 4) == 0)
			leave(w, g);
		break;
	case 3:
		reserve(w);
		break;
	case 4:
		if (g->is_there)
			change_limits(w, g);
		break;
	case 5:
		if (g->is_there)
			g->demand = (64 + (uint64_t)below(w, 6000)) * MIB;
		break;
	case 6:
		if (g->is_there)
			balancer_guard(w->b, g->id, below(w, 3) ? 0 : 1u << below(w, 4), w->now);
		break;
	case 7:
		w->settings.budget_pages += (uint64_t)below(w, 64) * MIB;
		cr_assert(eq(int, balancer_configure(w->b, &w->settings), 0));
		break;
	case 8:
	case 9:
	case 10:
		if (g->is_there && g->order.kind != BALANCER_NONE && !g->is_dead)
			answer(w, g);
		break;
	case 11:
	case 12:
		balancer_pass(w->b, below(w, 50) ? w->now : w->now - SECOND);
		fetch_orders(w, true);
		break;
	default:
		if (g->is_there)
			report(w, g, true);
	}
}

static void run_chaos(struct world *w)
{
	for (int i = 0; i < CHAOS_STEPS; i++) {
		happen(w);
		check(w);
	}
}

/* Everybody answers, nobody lies, demands stand still. */
static void answer_calmly(struct world *w, struct guest *g)
{
	uint64_t pages = g->is_stubborn ? below(w, 2) : g->left;

	if (g->order.kind == BALANCER_GROW)
		g->has += pages;
	else
		g->has -= pages;
	if (g->is_stubborn) {
		g->refused++;
		g->refused_ns = w->now;
	}
	(void)balancer_moved(w->b, g->id, g->order.kind, pages, w->now);
	g->left = 0;
	g->order.kind = BALANCER_NONE;
	cr_assert(eq(int, balancer_ended(w->b, g->id, w->now), 0));
}

static void calm_second(struct world *w)
{
	w->now += SECOND;
	for (int i = 0; i < GUESTS; i++) {
		struct guest *g = &w->guests[i];

		if (!g->is_there)
			continue;
		g->is_dead = false;
		if (g->order.kind != BALANCER_NONE)
			answer_calmly(w, g);
		w->now += MS;
		report(w, g, false);
	}
	balancer_pass(w->b, w->now);
	fetch_orders(w, false);
	check(w);
}

static void come_to_rest(struct world *w)
{
	if (w->reserved[0])
		(void)!balancer_unreserve(w->b, w->reserved, w->now);
	for (int i = 0; i < GUESTS; i++)
		if (w->guests[i].is_there)
			balancer_guard(w->b, w->guests[i].id, 0, w->now);
	/* What was refused in the chaos is tried again after an hour at the latest. */
	w->now += 3700 * SECOND;
	for (int s = 0; s < CALM_SECONDS; s++)
		calm_second(w);
}

/* Both are short of their demand: what they have is in proportion to their weights, give or take. */
static void check_weights(const struct world *w, const struct guest *x, const struct guest *y)
{
	double a = (double)x->has / (x->limits.weight ? x->limits.weight : 1);
	double c = (double)y->has / (y->limits.weight ? y->limits.weight : 1);
	bool x_short = x->has + x->has / 32 < x->demand && x->has + 2 * MIB < x->limits.maximum_pages;
	bool y_above = y->has > y->limits.minimum_pages + y->has / 16;

	/* Nobody has less for its weight and wants more, while another gives above its minimum. */
	if (x_short && y_above)
		cr_assert(a * 1.1 > c || y->has <= y->demand / 16 * 17, "seed %u: %s and %s", w->seed, x->name, y->name);
	if (x_short && y_above && y->has + y->has / 32 < y->demand)
		cr_assert(a * 1.1 > c, "seed %u: %s has %" PRIu64 " by %u, %s %" PRIu64 " by %u", w->seed,
			  x->name, x->has / MIB, x->limits.weight, y->name, y->has / MIB,
			  y->limits.weight);
}

static void check_rest(const struct world *w)
{
	struct balancer_totals t;
	uint64_t most_short = 0;

	balancer_get_totals(w->b, &t);
	for (int i = 0; i < GUESTS; i++) {
		const struct guest *g = &w->guests[i];

		if (!g->is_there)
			continue;
		cr_assert(ge(u64, g->has, g->limits.minimum_pages), "seed %u: minimum", w->seed);
		if (g->has < g->demand && g->has < g->limits.maximum_pages && g->demand - g->has > most_short)
			most_short = (g->demand < g->limits.maximum_pages ? g->demand
									  : g->limits.maximum_pages) -
				     g->has;
		for (int j = 0; j < GUESTS; j++)
			if (w->guests[j].is_there && j != i)
				check_weights(w, g, &w->guests[j]);
	}
	/* Work conserving: nobody starves while the host has memory, but for a move that is not worth it. */
	if (most_short > 2 * MIB)
		cr_assert(lt(u64, t.free_pages, (GUESTS + 1) * MIB), "seed %u: %" PRIu64 " MiB are free, one lacks %" PRIu64,
			  w->seed, t.free_pages / MIB, most_short / MIB);
}

static void finish(struct world *w)
{
	balancer_free(w->b);
}

Test(balancer_properties, the_budget_holds_at_every_instant_whatever_happens, .timeout = 300)
{
	for (unsigned int seed = first_seed(); seed < first_seed() + SEEDS; seed++) {
		struct world w;

		make_world(&w, seed);
		run_chaos(&w);
		finish(&w);
	}
}

Test(balancer_properties, at_rest_minima_hold_weights_decide_and_nothing_is_left_over, .timeout = 300)
{
	for (unsigned int seed = first_seed(); seed < first_seed() + SEEDS / 3; seed++) {
		struct world w;

		make_world(&w, seed);
		run_chaos(&w);
		come_to_rest(&w);
		check_rest(&w);
		finish(&w);
	}
}

Test(balancer_properties, with_demands_that_stand_still_nothing_moves_in_the_end, .timeout = 300)
{
	for (unsigned int seed = first_seed(); seed < first_seed() + SEEDS / 3; seed++) {
		struct world w;
		uint64_t orders;

		make_world(&w, seed);
		run_chaos(&w);
		come_to_rest(&w);
		orders = w.n_orders;
		for (int s = 0; s < CALM_SECONDS; s++)
			calm_second(&w);
		cr_assert(eq(u64, w.n_orders, orders), "seed %u", seed);
		finish(&w);
	}
}

Test(balancer_properties, after_a_step_no_target_turns_more_than_twice, .timeout = 300)
{
	for (unsigned int seed = first_seed(); seed < first_seed() + SEEDS / 3; seed++) {
		uint64_t before[GUESTS] = {0};
		struct world w;

		make_world(&w, seed);
		run_chaos(&w);
		come_to_rest(&w);
		for (int i = 0; i < GUESTS; i++) {
			struct guest *g = &w.guests[i];

			if (!g->is_there)
				continue;
			before[i] = balancer_get(w.b, g->id)->stats.turns;
			g->demand = (64 + (uint64_t)below(&w, 6000)) * MIB;
		}
		for (int s = 0; s < CALM_SECONDS; s++)
			calm_second(&w);
		for (int i = 0; i < GUESTS; i++)
			if (w.guests[i].is_there)
				/* The first is from what it did before the step to what it does after it. */
				cr_assert(le(u64, balancer_get(w.b, w.guests[i].id)->stats.turns - before[i],
					     3),
					  "seed %u: %s", seed, w.guests[i].name);
		finish(&w);
	}
}

/* Everybody is to give all above its minimum, by hand, and gives next to nothing. */
static void become_stubborn(struct world *w)
{
	for (int i = 0; i < GUESTS; i++) {
		struct guest *g = &w->guests[i];

		if (!g->is_there || g->has < g->limits.minimum_pages + 2 * MIB)
			continue;
		g->is_stubborn = true;
		balancer_set_manual(w->b, g->id, g->limits.minimum_pages);
	}
}

/* An order to a stubborn guest has the pause before it that it has to have. */
static void check_pause(const struct world *w, const struct guest *g)
{
	uint64_t pause;

	if (g->order.kind != BALANCER_SHRINK || g->refused == 0)
		return;
	pause = g->refused > 6 ? 3600 * SECOND : 60 * SECOND << (g->refused - 1);
	cr_assert(ge(u64, w->now - g->refused_ns, pause), "seed %u: %s, refusal %" PRIu64, w->seed, g->name,
		  g->refused);
	cr_assert(lt(u64, w->now - g->refused_ns, pause + 5 * SECOND), "seed %u: %s, refusal %" PRIu64,
		  w->seed, g->name, g->refused);
}

Test(balancer_properties, who_refuses_is_asked_less_and_less_often_and_gives_when_it_can, .timeout = 300)
{
	for (unsigned int seed = first_seed(); seed < first_seed() + SEEDS / 15; seed++) {
		uint64_t refused = 0;
		struct world w;

		make_world(&w, seed);
		run_chaos(&w);
		come_to_rest(&w);
		become_stubborn(&w);
		for (int s = 0; s < 3 * 3600; s++) {
			calm_second(&w);
			for (int i = 0; i < GUESTS; i++)
				check_pause(&w, &w.guests[i]);
		}
		for (int i = 0; i < GUESTS; i++) {
			refused += w.guests[i].refused;
			w.guests[i].is_stubborn = false;
		}
		cr_assert(gt(u64, refused, 0), "seed %u: nobody was asked", seed);
		for (int s = 0; s < 3700; s++)
			calm_second(&w);
		for (int i = 0; i < GUESTS; i++)
			if (w.guests[i].refused > 0)
				cr_assert(le(u64, w.guests[i].has, w.guests[i].limits.minimum_pages + MIB),
					  "seed %u: %s", seed, w.guests[i].name);
		finish(&w);
	}
}

Test(balancer_properties, the_same_events_lead_to_the_same_orders, .timeout = 300)
{
	for (unsigned int seed = first_seed(); seed < first_seed() + 20; seed++) {
		struct world one, two;

		make_world(&one, seed);
		make_world(&two, seed);
		run_chaos(&one);
		run_chaos(&two);
		cr_assert(eq(u64, one.hash, two.hash), "seed %u", seed);
		cr_assert(gt(u64, one.n_orders, 0));
		finish(&one);
		finish(&two);
	}
}
