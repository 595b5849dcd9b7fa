/* SPDX-License-Identifier: MIT */

/*
 * The policies of a simulation.
 *
 * What is the same for all: the guests, what memory costs, how fast it is taken and given, and what
 * each starts with. What differs is what they look at, and the rules:
 *
 *   mom       oVirt/mom, doc/balloon.rules and doc/mom-balloon.conf: samples every 5 s, averages of the
 *             last 10, decisions every 10 s. The host's free memory below 20 % of all: every guest
 *             shrinks by at most 5 %, not below its minimum or what it uses (balloon less unused, which
 *             is free memory without page cache) and a share of free memory that follows the host's;
 *             else every guest grows by 5 %, or to what it uses and 20 %. Changes below 0.25 % are left
 *             out. There is no check that the sum fits.
 *   proxmox   proxmox/pve-manager, PVE/AutoBalloon.pm and PVE/Service/pvestatd.pm: every 10 s, the goal
 *             is 80 % of the host's memory, give or take 10 MiB; what is above or below is divided by
 *             shares on top of the minima, 100 MiB for a guest at most. Guests whose free memory is not
 *             above a quarter of their minimum grow first, the others shrink first.
 *   squeezed  xapi-project/xen-api, doc/content/squeezed/design: every 10 s, all guests at the same
 *             fraction between minimum and maximum, so that all of the memory but 9 MiB is used;
 *             targets are lowered first, and raised when the memory is there. It looks at no guest.
 *   static    each guest has the size that it was given, its maximum, for ever: no more guests than
 *             fit. (With more, each has less in proportion.)
 *   foresight the same with the highest need that each guest will have: what a static host could do if
 *             it knew the future. No host does; it shows what moving memory is worth at most and least.
 *
 * The balancers of the others can be told other figures; these are their defaults. Their guests have
 * virtio-balloon or Xen's, which gives whatever is asked for; a guest of hvguest keeps its floor, and
 * gives less.
 *
 * hvguest is no model: it is policy/balancer with the reports of policy/report, as they run.
 */

#include "policy/contenders.h"

#include "base/amount.h"

#include "policy/balancer.h"
#include "policy/report.h"
#include "policy/waterfill.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SECOND_NS UINT64_C(1000000000)

enum {
	MIB = 256, /* pages */
	MOM_SAMPLES = 10,
	MOM_SAMPLE_S = 5,
	PERIOD_S = 10, /* of the decisions of all three */
	PROXMOX_STEP_PAGES = 100 * MIB,
	PROXMOX_DEAD_PAGES = 10 * MIB,
	SQUEEZED_SLUSH_PAGES = 9 * MIB,
};

/* What some of them remember of a guest. */
struct memory_of {
	uint64_t assigned[MOM_SAMPLES]; /* mom */
	uint64_t unused[MOM_SAMPLES];
	struct memory_figures before;   /* hvguest */
	struct strain strain;
	uint32_t id;
	struct balancer_order order;    /* running, or NONE */
	uint64_t may_give_pages;        /* by its last report */
	bool done;                      /* proxmox */
};

struct contender {
	enum contender_kind kind;
	struct contender_guest *guests;
	size_t n;
	uint64_t host_pages;
	struct memory_of *memories;
	uint32_t *by_id; /* hvguest: which guest an id of the balancer's is */
	struct balancer *balancer;
	uint64_t host_free[MOM_SAMPLES];
	size_t n_samples;
};

static const struct {
	const char *name;
	const char *text;
} kinds[CONTENDER_N_KINDS] = {
	[CONTENDER_HVGUEST] = {"hvguest", "this balancer; guests report their working set"},
	[CONTENDER_HVGUEST_COMPAT] = {"hvguest-compat",
				      "this balancer; guests report as Linux's own driver does"},
	[CONTENDER_STATIC] = {"static", "each guest has its maximum, always"},
	[CONTENDER_FORESIGHT] = {"foresight", "each guest has its highest need, known beforehand"},
	[CONTENDER_MOM] = {"mom", "a model of oVirt MOM, by doc/balloon.rules"},
	[CONTENDER_PROXMOX] = {"proxmox", "a model of Proxmox VE, by PVE/AutoBalloon.pm"},
	[CONTENDER_SQUEEZED] = {"squeezed", "a model of XAPI squeezed, by its design document"},
};

const char *contender_name(enum contender_kind kind)
{
	return kinds[kind].name;
}

const char *contender_text(enum contender_kind kind)
{
	return kinds[kind].text;
}

enum contender_kind contender_named(const char *name)
{
	int kind = 0;

	while (kind < CONTENDER_N_KINDS && strcmp(kinds[kind].name, name) != 0)
		kind++;
	return (enum contender_kind)kind;
}

static uint64_t assigned_sum(const struct contender *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->n; i++)
		sum += c->guests[i].memory->assigned_pages;
	return sum;
}

static uint64_t host_free(const struct contender *c)
{
	uint64_t sum = assigned_sum(c);

	return c->host_pages > sum ? c->host_pages - sum : 0;
}

/* Free memory of a guest, without page cache: the balloon's statistic "free". */
static uint64_t unused_pages(const struct contender_guest *g)
{
	struct memory_figures f;

	simguest_figures(g->memory, &f);
	return f.free_kb / 4;
}

/* Moves @g towards its target by what a second allows; returns how much. */
static uint64_t move(struct contender_guest *g, uint64_t most_up)
{
	uint64_t has = g->memory->assigned_pages, pages;

	if (g->target_pages < has) {
		pages = min_u64(has - g->target_pages, SIMGUEST_TAKE_PAGES_PER_S);
		g->memory->assigned_pages -= pages;
	} else {
		pages = min_u64(g->target_pages - has, SIMGUEST_GIVE_PAGES_PER_S);
		pages = min_u64(pages, most_up);
		g->memory->assigned_pages += pages;
	}
	return pages;
}

static uint64_t move_all(struct contender *c)
{
	uint64_t moved = 0;

	for (size_t i = 0; i < c->n; i++)
		moved += move(&c->guests[i], UINT64_MAX);
	return moved;
}

/* oVirt MOM. Shares of memory in a hundredth of a percent. */

static void mom_sample(struct contender *c)
{
	size_t at = c->n_samples++ % MOM_SAMPLES;

	c->host_free[at] = host_free(c);
	for (size_t i = 0; i < c->n; i++) {
		c->memories[i].assigned[at] = c->guests[i].memory->assigned_pages;
		c->memories[i].unused[at] = unused_pages(&c->guests[i]);
	}
}

static uint64_t mom_average(const struct contender *c, const uint64_t samples[MOM_SAMPLES])
{
	size_t n = c->n_samples < MOM_SAMPLES ? c->n_samples : MOM_SAMPLES;
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += samples[i];
	return n > 0 ? sum / n : 0;
}

static uint64_t mom_used(const struct contender *c, size_t i)
{
	uint64_t assigned = mom_average(c, c->memories[i].assigned);
	uint64_t unused = mom_average(c, c->memories[i].unused);

	return assigned > unused ? assigned - unused : 0;
}

static void mom_shrink(struct contender *c, size_t i, uint64_t host_free_share)
{
	struct contender_guest *g = &c->guests[i];
	uint64_t now = g->memory->assigned_pages, least, target;
	int64_t share = (int64_t)host_free_share, kept;

	if (host_free_share <= 500) /* critical: below what it uses, so that it swaps */
		share -= 500;
	kept = (int64_t)mom_used(c, i) + (int64_t)now * share / 10000;
	least = max_u64(kept > 0 ? (uint64_t)kept : 0, g->minimum_pages);
	target = max_u64(now * 95 / 100, least);
	if (target <= now && now - target > now / 400)
		g->target_pages = target;
}

static void mom_grow(struct contender *c, size_t i)
{
	struct contender_guest *g = &c->guests[i];
	uint64_t now = g->memory->assigned_pages, target;

	target = max_u64(now * 105 / 100, mom_used(c, i) + now / 5);
	target = min_u64(max_u64(target, g->minimum_pages), g->maximum_pages);
	if (target > now ? target - now > now / 400 : now - target > now / 400)
		g->target_pages = target;
}

static void mom_decide(struct contender *c)
{
	uint64_t share = mom_average(c, c->host_free) * 10000 / c->host_pages;

	for (size_t i = 0; i < c->n; i++) {
		if (share < 2000)
			mom_shrink(c, i, share);
		else if (c->guests[i].memory->assigned_pages < c->guests[i].maximum_pages)
			mom_grow(c, i);
	}
}

/* Proxmox VE. */

/* True if the guest has memory to spare. */
static bool proxmox_is_rich(const struct contender_guest *g)
{
	return unused_pages(g) > g->minimum_pages / 4 &&
	       g->memory->assigned_pages >= g->minimum_pages;
}

enum proxmox_list {
	PROXMOX_ALL,
	PROXMOX_POOR,
	PROXMOX_RICH,
};

static bool proxmox_is_listed(const struct contender *c, size_t i, enum proxmox_list list)
{
	if (c->memories[i].done)
		return false;
	return list == PROXMOX_ALL || proxmox_is_rich(&c->guests[i]) == (list == PROXMOX_RICH);
}

/* One guest's part of a round; true if its target changed, by *ret_change. */
static bool proxmox_change(struct contender *c, size_t i, int64_t desired, bool grow,
			   int64_t *ret_change)
{
	struct contender_guest *g = &c->guests[i];
	int64_t now = (int64_t)g->memory->assigned_pages, target = now;

	desired = (int64_t)min_u64(max_u64((uint64_t)(desired > 0 ? desired : 0), g->minimum_pages),
				   g->maximum_pages);
	if (grow && desired > now)
		target = desired < now + PROXMOX_STEP_PAGES ? desired : now + PROXMOX_STEP_PAGES;
	else if (desired < now)
		target = desired > now - PROXMOX_STEP_PAGES ? desired : now - PROXMOX_STEP_PAGES;
	else
		c->memories[i].done = true;
	*ret_change = target - (int64_t)g->target_pages;
	g->target_pages = (uint64_t)target;
	return *ret_change != 0;
}

/* Divides @goal among the listed; returns what of it is left. */
static int64_t proxmox_divide(struct contender *c, enum proxmox_list list, int64_t goal)
{
	int64_t rest = goal, change;
	bool again = true;

	for (size_t i = 0; i < c->n; i++)
		c->memories[i].done = false;
	while (rest != 0 && again) {
		int64_t budget = rest, changes = 0, listed = 0;

		again = false;
		for (size_t i = 0; i < c->n; i++) {
			if (!proxmox_is_listed(c, i, list))
				continue;
			budget += (int64_t)c->guests[i].target_pages -
				  (int64_t)c->guests[i].minimum_pages;
			listed++;
		}
		for (size_t i = 0; i < c->n && listed > 0; i++) {
			if (!proxmox_is_listed(c, i, list))
				continue;
			if (proxmox_change(c, i,
					   (int64_t)c->guests[i].minimum_pages + budget / listed,
					   goal > 0, &change)) {
				changes += change;
				again = true;
			}
		}
		rest -= changes;
	}
	return rest;
}

static void proxmox_decide(struct contender *c)
{
	int64_t goal = (int64_t)(c->host_pages * 80 / 100) - (int64_t)assigned_sum(c);
	int64_t rest;

	for (size_t i = 0; i < c->n; i++)
		c->guests[i].target_pages = c->guests[i].memory->assigned_pages;
	if (goal > PROXMOX_DEAD_PAGES) {
		rest = proxmox_divide(c, PROXMOX_POOR, goal);
		if (rest >= goal)
			(void)proxmox_divide(c, PROXMOX_ALL, rest);
	} else if (goal < -PROXMOX_DEAD_PAGES) {
		rest = proxmox_divide(c, PROXMOX_RICH, goal);
		if (rest <= goal)
			(void)proxmox_divide(c, PROXMOX_ALL, rest);
	}
}

/* XAPI squeezed. */

static void squeezed_decide(struct contender *c)
{
	uint64_t all = c->host_pages - SQUEEZED_SLUSH_PAGES, minima = 0, ranges = 0, left;

	for (size_t i = 0; i < c->n; i++) {
		minima += c->guests[i].minimum_pages;
		ranges += c->guests[i].maximum_pages - c->guests[i].minimum_pages;
	}
	left = min_u64(all > minima ? all - minima : 0, ranges);
	for (size_t i = 0; i < c->n; i++) {
		struct contender_guest *g = &c->guests[i];
		uint64_t range = g->maximum_pages - g->minimum_pages;

		/* In units of 1 MiB, so that the product stays below 2^64. */
		g->target_pages = g->minimum_pages +
				  (ranges > 0 ? (left / MIB) * range / (ranges / MIB + 1) : 0);
	}
}

/* Those that shrink first; then the others, as far as there is free memory. */
static uint64_t squeezed_move(struct contender *c)
{
	uint64_t moved = 0, free_pages, pages;

	for (size_t i = 0; i < c->n; i++)
		if (c->guests[i].target_pages < c->guests[i].memory->assigned_pages)
			moved += move(&c->guests[i], 0);
	free_pages = host_free(c);
	free_pages -= min_u64(free_pages, SQUEEZED_SLUSH_PAGES);
	for (size_t i = 0; i < c->n; i++) {
		if (c->guests[i].target_pages <= c->guests[i].memory->assigned_pages)
			continue;
		pages = move(&c->guests[i], free_pages);
		free_pages -= pages;
		moved += pages;
	}
	return moved;
}

/* Fixed amounts. */

static void divide(struct contender *c)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < c->n; i++) {
		struct contender_guest *g = &c->guests[i];

		g->target_pages = c->kind == CONTENDER_STATIC ? g->maximum_pages : g->highest_pages;
		sum += g->target_pages;
	}
	for (size_t i = 0; i < c->n; i++) {
		struct contender_guest *g = &c->guests[i];

		if (sum > c->host_pages) /* in MiB, to stay below 2^64 */
			g->target_pages = (g->target_pages / MIB) * (c->host_pages / MIB) /
					  (sum / MIB + 1) * MIB;
		g->memory->assigned_pages = g->target_pages;
	}
}

/* hvguest. */

static int hvguest_start(struct contender *c)
{
	struct balancer_settings settings;
	struct balancer_limits limits;
	struct strain_config strain;
	char name[24];
	int r;

	strain_config_init(&strain);
	balancer_settings_init(&settings);
	settings.budget_pages = c->host_pages;
	settings.first_action_ns = 0; /* they run already, for everybody */
	r = balancer_new(&settings, 0, &c->balancer);
	for (size_t i = 0; r == 0 && i < c->n; i++) {
		const struct contender_guest *g = &c->guests[i];

		strain_init(&c->memories[i].strain, &strain);
		balancer_limits_init(&limits);
		limits.minimum_pages = g->minimum_pages;
		limits.startup_pages = g->minimum_pages;
		limits.maximum_pages = g->maximum_pages;
		snprintf(name, sizeof(name), "%zu", i);
		simguest_figures(g->memory, &c->memories[i].before);
		r = balancer_add_running(c->balancer, name, &limits, g->memory->assigned_pages, 0,
					 &c->memories[i].id);
		if (r == 0)
			c->by_id[c->memories[i].id] = (uint32_t)i;
	}
	return r;
}

/* What the guest's daemon makes of its figures. */
static void hvguest_compose(struct contender *c, size_t i, struct report *ret_report)
{
	struct contender_guest *g = &c->guests[i];
	struct memory_of *m = &c->memories[i];
	const struct report_basis basis = {
		.rule = c->kind == CONTENDER_HVGUEST ? REPORT_WORKINGSET : REPORT_COMPAT,
		.floor = {.kind = FLOOR_KERNEL},
	};
	const struct report_ballooned ballooned = {
		.huge_pages = g->maximum_pages - g->memory->assigned_pages,
	};
	struct memory_figures now;
	struct strain_seen seen;

	simguest_figures(g->memory, &now);
	seen = strain_between(&now, &m->before, SECOND_NS);
	strain_observe(&m->strain, &seen, g->memory->assigned_pages);
	report_compose(&basis, &now, m->before.swapped_out_pages, &ballooned, &m->strain, ret_report);
	if (c->kind == CONTENDER_HVGUEST)
		(void)report_see_need(ret_report, &now, &m->before, SECOND_NS);
	m->before = now;
}

/* A second of the running operation. */
static uint64_t hvguest_move(struct contender *c, size_t i, uint64_t now_ns)
{
	struct contender_guest *g = &c->guests[i];
	struct memory_of *m = &c->memories[i];
	uint64_t pages = m->order.pages;

	if (m->order.kind == BALANCER_NONE)
		return 0;
	if (m->order.kind == BALANCER_SHRINK) {
		pages = min_u64(pages, SIMGUEST_TAKE_PAGES_PER_S);
		if (pages > m->may_give_pages) /* it keeps its floor, and says so */
			pages = m->order.pages = m->may_give_pages;
		g->memory->assigned_pages -= pages;
	} else {
		pages = min_u64(pages, SIMGUEST_GIVE_PAGES_PER_S);
		g->memory->assigned_pages += pages;
	}
	(void)balancer_moved(c->balancer, m->id, m->order.kind, pages, now_ns);
	m->order.pages -= pages;
	if (m->order.pages == 0) {
		m->order.kind = BALANCER_NONE;
		(void)balancer_ended(c->balancer, m->id, now_ns);
	}
	return pages;
}

static uint64_t hvguest_step(struct contender *c, uint64_t second)
{
	uint64_t now_ns = second * SECOND_NS, moved = 0;
	struct balancer_order order;
	struct report report;

	for (size_t i = 0; i < c->n; i++) {
		struct balancer_report r;

		moved += hvguest_move(c, i, now_ns);
		hvguest_compose(c, i, &report);
		c->memories[i].may_give_pages = report.may_give_pages;
		r = (struct balancer_report){
			.committed_pages = report.committed_pages,
			.available_pages = report.available_pages,
			.ballooned_pages = c->guests[i].maximum_pages -
					   c->guests[i].memory->assigned_pages,
			.growable_pages = UINT64_MAX,
			.swapped_pages = report.page_file_write_pages,
		};
		/* A report of this second is later than what was moved in it. */
		(void)balancer_report(c->balancer, c->memories[i].id, &r, now_ns + 1);
	}
	balancer_pass(c->balancer, now_ns + 2);
	while (balancer_next_order(c->balancer, &order) == 0)
		c->memories[c->by_id[order.guest]].order = order;
	for (size_t i = 0; i < c->n; i++)
		c->guests[i].target_pages =
			balancer_get(c->balancer, c->memories[i].id)->decision.target_pages;
	return moved;
}

/* All of them. */

int contender_new(enum contender_kind kind, struct contender_guest *guests, size_t n,
		  uint64_t host_pages, struct contender **ret_contender)
{
	_cleanup_(cleanup_contenderp) struct contender *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return -ENOMEM;
	*c = (struct contender){.kind = kind, .guests = guests, .n = n, .host_pages = host_pages};
	c->memories = calloc(n + 1, sizeof(*c->memories));
	c->by_id = calloc(n + 1, sizeof(*c->by_id));
	if (!c->memories || !c->by_id)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		guests[i].target_pages = guests[i].memory->assigned_pages;
	if (kind == CONTENDER_HVGUEST || kind == CONTENDER_HVGUEST_COMPAT)
		r = hvguest_start(c);
	else if (kind == CONTENDER_STATIC || kind == CONTENDER_FORESIGHT)
		divide(c);
	if (r)
		return -ENOMEM; /* the limits and names made here are good */
	*ret_contender = steal_ptr(c);
	return 0;
}

struct contender *contender_free(struct contender *c)
{
	if (!c)
		return NULL;
	(void)balancer_free(c->balancer);
	free(c->memories);
	free(c->by_id);
	free(c);
	return NULL;
}

uint64_t contender_step(struct contender *c, uint64_t second)
{
	switch (c->kind) {
	case CONTENDER_HVGUEST:
	case CONTENDER_HVGUEST_COMPAT:
		return hvguest_step(c, second);
	case CONTENDER_MOM:
		if (second % MOM_SAMPLE_S == 0)
			mom_sample(c);
		if (second % PERIOD_S == 0)
			mom_decide(c);
		return move_all(c);
	case CONTENDER_PROXMOX:
		if (second % PERIOD_S == 0)
			proxmox_decide(c);
		return move_all(c);
	case CONTENDER_SQUEEZED:
		if (second % PERIOD_S == 0)
			squeezed_decide(c);
		return squeezed_move(c);
	case CONTENDER_STATIC:
	case CONTENDER_FORESIGHT:
	case CONTENDER_N_KINDS:
		break;
	}
	return 0;
}
