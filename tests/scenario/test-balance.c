/* SPDX-License-Identifier: MIT */

/*
 * One balancer, the host's end of dynamic memory for each of several guests, and the guests' own
 * cores, on virtual time: what host/guest_memory.c and host/balance.c join, with messages that are
 * late and guests that take their time, give less than they were asked for and lose their channels.
 *
 * What a guest can use is counted by itself: what it has less what is out of use there, whatever the
 * host believes. All guests together never have more than the budget, at no instant; but for a guest
 * whose channel is lost, because its balloon is its own again then. That is taken back.
 *
 * The seed is printed; HVGUEST_SEED repeats a run.
 */

#include "balloon/dynmem.h"
#include "host/dynmem_host.h"
#include "policy/balancer.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)

enum {
	MIB = 256, /* pages */
	GUESTS = 6,
	GUEST_PAGES = 1024 * MIB,
	FLOOR_PAGES = 64 * MIB,
	BUDGET_PAGES = 4608 * MIB, /* of 6 GiB that they would have together */
	RESERVE_PAGES = 128 * MIB,
	QUEUE_MAX = 64,
	ROUNDS = 12,
	ROUGH_SECONDS = 400,
	CALM_SECONDS = 300,
};

/* A direction of a channel: messages arrive in order, each not before its time. */
struct queue {
	struct dynmem_message messages[QUEUE_MAX];
	uint64_t at_ns[QUEUE_MAX];
	size_t n;
};

struct member {
	uint32_t id;
	bool is_there;
	struct dynmem *guest;
	struct dynmem_host *host;
	bool is_open;
	struct queue to_host, to_guest;
	uint64_t demand_pages;
	uint64_t next_pfn;
	uint64_t want_pages; /* being taken; 0: nothing is */
	uint64_t take_ns, return_ns; /* when it is done; 0: it is not going on */
	uint64_t reopen_ns;
	uint64_t reports_seen;
};

struct world {
	unsigned int state; /* of the random numbers */
	bool is_rough;
	uint64_t now_ns;
	struct balancer *balancer;
	struct member members[GUESTS];
	uint64_t excused_until_ns; /* a channel was lost: what is over the budget is being taken back */
	unsigned int closes;
	uint64_t most_pages;
};

static struct world world;

static uint64_t below(struct world *w, uint64_t limit)
{
	return (uint64_t)rand_r(&w->state) % limit;
}

static uint64_t soon(struct world *w)
{
	return w->now_ns + (1 + below(w, w->is_rough ? 400 : 10)) * MS;
}

/* What the guest can use by itself. */
static uint64_t usable_pages(const struct member *m)
{
	struct dynmem_status s;

	if (!m->is_there)
		return 0;
	dynmem_get_status(m->guest, &s);
	return GUEST_PAGES - s.ballooned_pages - s.unreported_pages - s.returning_pages;
}

static void check_budget(struct world *w)
{
	uint64_t all = 0;

	for (size_t i = 0; i < GUESTS; i++)
		all += usable_pages(&w->members[i]);
	if (all > w->most_pages && w->now_ns >= w->excused_until_ns)
		w->most_pages = all;
	if (w->now_ns >= w->excused_until_ns)
		cr_assert(le(u64, all, BUDGET_PAGES - RESERVE_PAGES), "after %.3f s",
			  (double)w->now_ns / 1e9);
}

static void put(struct world *w, struct queue *q, const struct dynmem_message *message)
{
	uint64_t at = soon(w);

	cr_assert(lt(sz, q->n, QUEUE_MAX));
	if (q->n > 0 && q->at_ns[q->n - 1] > at)
		at = q->at_ns[q->n - 1];
	q->messages[q->n] = *message;
	q->at_ns[q->n++] = at;
}

static bool take_out(const struct world *w, struct queue *q, struct dynmem_message *ret_message)
{
	if (q->n == 0 || q->at_ns[0] > w->now_ns)
		return false;
	*ret_message = q->messages[0];
	q->n--;
	memmove(&q->messages[0], &q->messages[1], q->n * sizeof(q->messages[0]));
	memmove(&q->at_ns[0], &q->at_ns[1], q->n * sizeof(q->at_ns[0]));
	return true;
}

/* The guest's side. */

static void sample(struct member *m)
{
	uint64_t usable = usable_pages(m), balloon = GUEST_PAGES - usable;
	uint64_t need = m->demand_pages + FLOOR_PAGES;

	dynmem_set_figures(m->guest, &(struct dynmem_status_report){
					     .committed_pages = need + balloon,
					     .available_pages = usable > m->demand_pages
									? usable - m->demand_pages
									: 0,
				     });
}

/* It gives nothing below its floor, as a real one; sometimes in two parts. */
static void finish_taking(struct world *w, struct member *m)
{
	uint64_t usable = usable_pages(m), keep = m->demand_pages + FLOOR_PAGES;
	uint64_t can = usable > keep ? usable - keep : 0;
	uint64_t pages = m->want_pages < can ? m->want_pages : can;
	bool finished = !w->is_rough || below(w, 2) || pages < 2;
	struct page_range range = {m->next_pfn, finished ? pages : pages / 2};

	m->next_pfn += range.count;
	m->want_pages -= finished ? m->want_pages : range.count;
	m->take_ns = finished ? 0 : soon(w);
	cr_assert(ge(int, dynmem_complete_take(m->guest, &range, range.count > 0, finished, w->now_ns), 0));
}

static void guest_acts(struct world *w, struct member *m, const struct dynmem_action *action)
{
	switch (action->type) {
	case DYNMEM_ACTION_SEND:
		put(w, &m->to_host, action->message);
		break;
	case DYNMEM_ACTION_TAKE_PAGES:
		m->want_pages = action->pages;
		m->take_ns = soon(w);
		break;
	case DYNMEM_ACTION_RETURN_PAGES:
		m->return_ns = soon(w);
		break;
	case DYNMEM_ACTION_HOT_ADD:
		dynmem_complete_hot_add(m->guest, 0, true, w->now_ns);
		break;
	case DYNMEM_ACTION_SAMPLE:
		sample(m);
		break;
	case DYNMEM_ACTION_CLOSE_CHANNEL:
	case DYNMEM_ACTION_NOTE:
		cr_assert(false, "nobody does wrong here");
	}
}

static void run_guest(struct world *w, struct member *m)
{
	struct dynmem_message message;
	struct dynmem_action action;

	while (m->is_open && take_out(w, &m->to_guest, &message))
		cr_assert(eq(int, dynmem_receive(m->guest, message.bytes, message.size, w->now_ns), 0));
	if (m->take_ns > 0 && m->take_ns <= w->now_ns)
		finish_taking(w, m);
	if (m->return_ns > 0 && m->return_ns <= w->now_ns) {
		m->return_ns = 0;
		dynmem_complete_return(m->guest, w->now_ns);
	}
	dynmem_tick(m->guest, w->now_ns);
	while (dynmem_next_action(m->guest, &action) == 0)
		guest_acts(w, m, &action);
}

/* The host's side: as host/guest_memory.c does it. */

static void book(struct world *w, struct member *m)
{
	const struct balancer_guest *g = balancer_get(w->balancer, m->id);
	struct dynmem_host_status s;
	uint64_t has;

	dynmem_host_get_status(m->host, &s);
	has = GUEST_PAGES - s.ballooned_pages;
	if (has < g->assigned_pages && g->running == BALANCER_SHRINK)
		(void)balancer_moved(w->balancer, m->id, g->running, g->assigned_pages - has, w->now_ns);
	else if (has > g->assigned_pages && g->running == BALANCER_GROW)
		(void)balancer_moved(w->balancer, m->id, g->running, has - g->assigned_pages, w->now_ns);
	else
		balancer_set_assigned(w->balancer, m->id, has, w->now_ns);
	balancer_guard(w->balancer, m->id,
		       s.state < DYNMEM_HOST_STATE_READY ? BALANCER_GUARD_NOT_READY : 0, w->now_ns);
}

static void take_report(struct world *w, struct member *m)
{
	struct dynmem_host_status s;

	dynmem_host_get_status(m->host, &s);
	if (s.stats.status_reports == m->reports_seen)
		return;
	m->reports_seen = s.stats.status_reports;
	(void)balancer_report(w->balancer, m->id,
			      &(struct balancer_report){
				      .committed_pages = s.report.committed_pages,
				      .available_pages = s.report.available_pages,
				      .ballooned_pages = s.ballooned_pages,
				      .growable_pages = s.ballooned_pages,
			      },
			      w->now_ns);
}

static void run_host(struct world *w, struct member *m)
{
	struct dynmem_host_action action;
	struct dynmem_message message;

	while (m->is_open && take_out(w, &m->to_host, &message)) {
		cr_assert(eq(int, dynmem_host_receive(m->host, message.bytes, message.size, w->now_ns), 0));
		take_report(w, m);
	}
	dynmem_host_tick(m->host, w->now_ns);
	while (dynmem_host_next_action(m->host, &action) == 0) {
		if (action.type == DYNMEM_HOST_ACTION_SEND)
			put(w, &m->to_guest, action.message);
		if (action.type != DYNMEM_HOST_ACTION_ENDED)
			continue;
		book(w, m);
		if (balancer_get(w->balancer, m->id)->running != BALANCER_NONE)
			(void)balancer_ended(w->balancer, m->id, w->now_ns);
	}
	book(w, m);
}

static void carry_out(struct world *w, const struct balancer_order *order)
{
	struct member *m = w->members;

	while (m->id != order->guest)
		m++;
	if (dynmem_host_request(m->host,
				order->kind == BALANCER_GROW ? DYNMEM_HOST_UNBALLOON : DYNMEM_HOST_BALLOON,
				order->pages, w->now_ns))
		(void)balancer_cancelled(w->balancer, order->guest, w->now_ns);
	else
		run_host(w, m);
}

static void run_balancer(struct world *w)
{
	struct balancer_order order;

	if (w->now_ns < balancer_deadline_ns(w->balancer))
		return;
	balancer_pass(w->balancer, w->now_ns);
	while (balancer_next_order(w->balancer, &order) == 0)
		carry_out(w, &order);
}

static void open_channel(struct world *w, struct member *m)
{
	if (dynmem_open(m->guest, w->now_ns) != 0)
		return; /* memory work of the last channel is still running */
	m->to_host.n = m->to_guest.n = 0;
	dynmem_host_open(m->host);
	m->is_open = true;
	m->reopen_ns = 0;
}

/* All that the guest had given is its own again, as far as the host knows. */
static void lose_channel(struct world *w, struct member *m)
{
	struct dynmem_host_action action;

	w->closes++;
	w->excused_until_ns = UINT64_MAX;
	m->is_open = false;
	m->reopen_ns = soon(w);
	dynmem_host_close(m->host, w->now_ns);
	dynmem_close(m->guest);
	/* A guest that is sure of that puts it back into use at once. */
	cr_assert(eq(int, dynmem_release(m->guest), 0));
	while (dynmem_host_next_action(m->host, &action) == 0)
		if (action.type == DYNMEM_HOST_ACTION_ENDED &&
		    balancer_get(w->balancer, m->id)->running != BALANCER_NONE)
			(void)balancer_ended(w->balancer, m->id, w->now_ns);
	book(w, m);
	balancer_restarted(w->balancer, m->id, w->now_ns);
}

/* One that wants to start: if there is no room now, it is reserved, and tried again. */
static void start(struct world *w, size_t number)
{
	const struct balancer_limits limits = {
		.startup_pages = GUEST_PAGES,
		.minimum_pages = 256 * MIB,
		.maximum_pages = GUEST_PAGES,
		.buffer_percent = 20,
		.weight = 1000 * (uint32_t)(1 + number),
	};
	struct member *m = &w->members[number];
	struct dynmem_host_config host_config;
	struct dynmem_config config;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "vm-%zu", number);
	r = balancer_add(w->balancer, name, &limits, w->now_ns, &m->id);
	if (r == BALANCER_NO_ROOM_NOW) {
		(void)!balancer_reserve(w->balancer, name, GUEST_PAGES, w->now_ns + 60 * SECOND, w->now_ns);
		return;
	}
	cr_assert(eq(int, r, 0));
	dynmem_config_init(&config);
	config.first_status_ns = 0;
	dynmem_host_config_init(&host_config);
	cr_assert(eq(int, dynmem_new(&config, &m->guest), 0));
	cr_assert(eq(int, dynmem_host_new(&host_config, &m->host), 0));
	m->is_there = true;
	m->demand_pages = 64 * MIB + below(w, 512 * MIB);
	open_channel(w, m);
}

/* Whether all is within the budget again after a channel was lost. */
static void end_excuse(struct world *w)
{
	struct balancer_totals t;

	balancer_get_totals(w->balancer, &t);
	if (w->excused_until_ns == UINT64_MAX && t.over_pages == 0)
		w->excused_until_ns = w->now_ns;
}

static void step(struct world *w)
{
	w->now_ns += (1 + below(w, 20)) * MS;
	for (size_t i = 0; i < GUESTS; i++) {
		struct member *m = &w->members[i];

		if (!m->is_there) {
			if (below(w, 100) == 0)
				start(w, i);
			continue;
		}
		if (w->is_rough && below(w, 20000) == 0)
			m->demand_pages = 32 * MIB + below(w, 800 * MIB);
		if (w->is_rough && m->is_open && below(w, 200000) == 0)
			lose_channel(w, m);
		if (!m->is_open && w->now_ns >= m->reopen_ns)
			open_channel(w, m);
		run_guest(w, m);
		run_host(w, m);
		end_excuse(w);
		check_budget(w);
	}
	run_balancer(w);
	check_budget(w);
}

static void set_up(struct world *w, unsigned int seed)
{
	struct balancer_settings settings;

	*w = (struct world){.state = seed, .is_rough = true, .now_ns = SECOND};
	balancer_settings_init(&settings);
	settings.budget_pages = BUDGET_PAGES;
	settings.reserve_pages = RESERVE_PAGES;
	settings.first_action_ns = SECOND;
	cr_assert(eq(int, balancer_new(&settings, w->now_ns, &w->balancer), 0));
	for (size_t i = 0; i < GUESTS; i++)
		w->members[i] = (struct member){.id = BALANCER_NO_GUEST, .next_pfn = GUEST_PAGES};
}

static void tear_down(struct world *w)
{
	for (size_t i = 0; i < GUESTS; i++) {
		(void)dynmem_free(w->members[i].guest);
		(void)dynmem_host_free(w->members[i].host);
	}
	(void)balancer_free(w->balancer);
}

/* All have what they need and, more or less, their buffer: there is enough for all. */
static void check_rest(struct world *w, unsigned int seed)
{
	for (size_t i = 0; i < GUESTS; i++) {
		const struct member *m = &w->members[i];

		cr_expect(m->is_there, "seed %u: guest %zu has found room", seed, i);
		if (m->is_there)
			cr_expect(ge(u64, usable_pages(m), m->demand_pages + FLOOR_PAGES), "seed %u: guest %zu",
				  seed, i);
	}
}

__attribute__((constructor)) static void choose_seed(void)
{
	char seed[32];

	snprintf(seed, sizeof(seed), "%lu", (unsigned long)time(NULL));
	setenv("HVGUEST_SEED", seed, 0);
	printf("# HVGUEST_SEED=%s\n", getenv("HVGUEST_SEED"));
	fflush(stdout);
}

Test(balance, guests_never_have_more_than_the_budget_and_at_rest_what_they_need, .timeout = 300)
{
	unsigned int first = (unsigned int)strtoul(getenv("HVGUEST_SEED"), NULL, 10), closes = 0;
	struct world *w = &world;

	for (unsigned int seed = first; seed < first + ROUNDS; seed++) {
		set_up(w, seed);
		while (w->now_ns < ROUGH_SECONDS * SECOND)
			step(w);
		cr_expect(gt(u64, w->most_pages, (BUDGET_PAGES - RESERVE_PAGES) / 2),
			  "seed %u: the budget was of some use", seed);
		w->is_rough = false;
		for (size_t i = 0; i < GUESTS; i++)
			w->members[i].demand_pages = (100 + below(w, 300)) * MIB;
		while (w->now_ns < (ROUGH_SECONDS + CALM_SECONDS) * SECOND)
			step(w);
		check_rest(w, seed);
		closes += w->closes;
		tear_down(w);
	}
	cr_expect(gt(uint, closes, 0), "channels were lost");
}
