/* SPDX-License-Identifier: MIT */

/*
 * The balancer at work.
 *
 * One timer is set to when the balancer wants its next pass. After the pass each order goes to the
 * member that joined for the guest. A member may answer at once; what it says is booked, and only
 * the next pass acts on it, so nothing here is entered twice.
 */

#include "host/balance.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/size.h"

#include <assert.h>
#include <string.h>

#define SHOW_NS    UINT64_C(250000000)
#define RESERVE_NS UINT64_C(60000000000)

struct balance {
	struct balancer *core;
	struct balance_member *members; /* by id */
	uint32_t n_members;
	struct event *timer;
	bool passing;
	struct board *board;
	uint64_t shown_ns; /* when it was last written */
	uint64_t pass_ns;  /* how long the last pass took */
};

static json_int_t bytes(uint64_t pages)
{
	return (json_int_t)(pages * 4096);
}

static void deliver(struct balance *balance, const struct balancer_order *order)
{
	const struct balance_member *m = &balance->members[order->guest];

	if (m->move)
		m->move(m->self, order);
	else
		(void)balancer_cancelled(balance->core, order->guest, clock_monotonic_ns());
}

/* Shows what is known of a guest. */
static void show_guest(struct balance *balance, uint32_t id, const struct balancer_guest *g)
{
	const struct balance_member *m = &balance->members[id];
	struct board_guest shown = {
		.decision = g->decision,
		.assigned_pages = g->assigned_pages,
		.demand_pages = g->demand_pages,
		.available_pages = g->has_report ? g->report.available_pages : UINT64_MAX,
		.ballooned_pages = g->has_report ? g->report.ballooned_pages : 0,
		.minimum_pages = g->limits.minimum_pages,
		.maximum_pages = g->limits.maximum_pages,
		.report_ns = g->has_report ? g->report_ns : 0,
		.reports = g->stats.reports,
		.lies = g->stats.lies,
		.refusals = g->stats.refusals,
		.turns = g->stats.turns,
		.grown_pages = g->stats.grown_pages,
		.shrunk_pages = g->stats.shrunk_pages,
		.obeying = g->obeying,
		.manual = g->manual,
		.services = {.heartbeat = "none",
			     .backup = "none",
			     .stall_centipercent = BOARD_UNKNOWN},
	};

	if (m->describe)
		m->describe(m->self, &shown.services);
	/* Without memory the board keeps what it has of the others. */
	(void)!board_put(balance->board, id, g->name, &shown);
}

/* Writes the board, but not all the time while passes follow each other quickly. */
static void show(struct balance *balance, uint64_t now)
{
	const struct balancer_settings *s = balancer_get_settings(balance->core);
	struct board_host host = {
		.paused = s->paused,
		.dry_run = s->dry_run,
		.pass_ns = balance->pass_ns,
	};

	if (now - balance->shown_ns < SHOW_NS)
		return;
	balance->shown_ns = now;
	balancer_get_totals(balance->core, &host.totals);
	board_put_host(balance->board, &host);
	for (uint32_t id = 0; id < balancer_ids(balance->core); id++) {
		const struct balancer_guest *g = balancer_get(balance->core, id);

		if (g)
			show_guest(balance, id, g);
	}
}

static void pass(struct balance *balance, uint64_t now)
{
	struct balancer_order order;

	balance->passing = true;
	balancer_pass(balance->core, now);
	balance->pass_ns = clock_monotonic_ns() - now;
	while (balancer_next_order(balance->core, &order) == 0)
		deliver(balance, &order);
	balance->passing = false;
	show(balance, now);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct balance *balance = user;
	uint64_t now = clock_monotonic_ns();

	(void)fd;
	(void)what;
	if (now >= balancer_deadline_ns(balance->core))
		pass(balance, now);
	timer_set(balance->timer, balancer_deadline_ns(balance->core));
}

void balance_decide(struct balance *balance)
{
	if (balance->passing)
		return;
	pass(balance, clock_monotonic_ns());
	timer_set(balance->timer, balancer_deadline_ns(balance->core));
}

void balance_kick(struct balance *balance)
{
	if (!balance->passing)
		timer_set(balance->timer, balancer_deadline_ns(balance->core));
}

int balance_new(struct event_base *base, const struct balancer_settings *settings,
		struct balance **ret_balance)
{
	_cleanup_(cleanup_balancep) struct balance *balance = calloc(1, sizeof(*balance));
	int r;

	if (!balance)
		return -ENOMEM;
	r = board_new(&balance->board);
	if (r)
		return r;
	balance->timer = event_new(base, -1, 0, on_timer, balance);
	if (!balance->timer)
		return -ENOMEM;
	r = balancer_new(settings, clock_monotonic_ns(), &balance->core);
	if (r)
		return r; /* the conditions of both are the same */
	show(balance, clock_monotonic_ns()); /* without guests there may be no pass for long */
	*ret_balance = steal_ptr(balance);
	return 0;
}

struct balance *balance_free(struct balance *balance)
{
	if (!balance)
		return NULL;
	if (balance->timer)
		event_free(balance->timer);
	(void)balancer_free(balance->core);
	(void)board_free(balance->board);
	free(balance->members);
	free(balance);
	return NULL;
}

struct board *balance_board(const struct balance *balance)
{
	return balance->board;
}

struct balancer *balance_core(struct balance *balance)
{
	return balance->core;
}

/* Room for one more id than there are. */
static int make_room(struct balance *balance)
{
	uint32_t n = balancer_ids(balance->core) + 1;
	struct balance_member *more;

	if (n <= balance->n_members)
		return 0;
	more = reallocarray(balance->members, 2 * n, sizeof(*more));
	if (!more)
		return -ENOMEM;
	memset(more + balance->n_members, 0, (2 * n - balance->n_members) * sizeof(*more));
	balance->members = more;
	balance->n_members = 2 * n;
	return 0;
}

int balance_join(struct balance *balance, const char *name, const struct balancer_limits *limits,
		 uint32_t *ret_guest)
{
	uint64_t now = clock_monotonic_ns();
	int r = make_room(balance), asked;

	if (r)
		return r;
	r = balancer_add(balance->core, name, limits, now, ret_guest);
	if (r == BALANCER_NO_ROOM_NOW) {
		asked = balancer_reserve(balance->core, name, limits->startup_pages,
					 now + RESERVE_NS, now);
		if (asked == 0)
			log_notice("%s: %s are set aside for it as others give them", name,
				   size_format(limits->startup_pages * 4096).text);
	}
	balance_kick(balance);
	return r;
}

int balance_join_running(struct balance *balance, const char *name,
			 const struct balancer_limits *limits, uint64_t assigned_pages,
			 uint32_t *ret_guest)
{
	int r = make_room(balance);

	if (r)
		return r;
	r = balancer_add_running(balance->core, name, limits, assigned_pages,
				 clock_monotonic_ns(), ret_guest);
	balance_kick(balance);
	return r;
}

void balance_take_orders(struct balance *balance, uint32_t guest,
			 const struct balance_member *member)
{
	assert(guest < balance->n_members);
	balance->members[guest] = *member;
}

void balance_leave(struct balance *balance, uint32_t guest)
{
	assert(!balance->passing);
	balance->members[guest] = (struct balance_member){0};
	board_remove(balance->board, guest);
	balancer_remove(balance->core, guest, clock_monotonic_ns());
	balance_kick(balance);
}

/* For status. */

static json_t *amount_or_null(uint64_t pages)
{
	return pages == UINT64_MAX ? json_null() : json_integer(bytes(pages));
}

json_t *balance_status(const struct balance *balance)
{
	const struct balancer_settings *s = balancer_get_settings(balance->core);
	struct balancer_totals t;
	uint64_t now = clock_monotonic_ns();
	json_t *status;

	balancer_get_totals(balance->core, &t);
	status = json_pack("{s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			   "paused", s->paused, "dry_run", s->dry_run, "short", t.is_short,
			   "guests", (json_int_t)t.n_guests, "reservations",
			   (json_int_t)t.n_reservations, "starving", (json_int_t)t.n_starving,
			   "not_obeying", (json_int_t)t.n_not_obeying, "passes",
			   (json_int_t)t.passes, "orders", (json_int_t)t.orders, "strays",
			   (json_int_t)t.strays, "clock_jumps", (json_int_t)t.clock_jumps,
			   "assigned_bytes", bytes(t.assigned_pages), "charged_bytes",
			   bytes(t.charged_pages));
	if (!status)
		return NULL;
	json_object_set_new(status, "budget_bytes",
			    t.budget_pages ? json_integer(bytes(t.budget_pages)) : json_null());
	json_object_set_new(status, "reserve_bytes", json_integer(bytes(t.reserve_pages)));
	json_object_set_new(status, "held_bytes", json_integer(bytes(t.held_pages)));
	json_object_set_new(status, "free_bytes", amount_or_null(t.free_pages));
	json_object_set_new(status, "over_bytes", json_integer(bytes(t.over_pages)));
	json_object_set_new(status, "demand_bytes", json_integer(bytes(t.demand_pages)));
	json_object_set_new(status, "wanted_bytes", json_integer(bytes(t.wanted_pages)));
	json_object_set_new(status, "missing_bytes", json_integer(bytes(t.missing_pages)));
	json_object_set_new(status, "effect_age_seconds",
			    t.last_effect_ns ? json_real((now - t.last_effect_ns) / 1e9)
					     : json_null());
	return status;
}

static json_t *lies_of(const struct balancer_guest *g)
{
	json_t *lies = json_array();

	for (unsigned int bit = 1; bit <= BALANCER_LIE_STANDING_STILL; bit <<= 1)
		if (g->lies & bit)
			json_array_append_new(lies,
					      json_string(balancer_lie_text((enum balancer_lie)bit)));
	return lies;
}

static void add_change(json_t *why, const struct balancer_decision *d, uint64_t now)
{
	char would[240];
	json_t *change = json_object();

	json_object_set_new(change, "text",
			    json_string(balancer_decision_would(d, now, would, sizeof(would))));
	if (d->grow_above_pages > 0)
		json_object_set_new(change, "grows_above_bytes", json_integer(bytes(d->grow_above_pages)));
	if (d->shrink_below_pages > 0)
		json_object_set_new(change, "shrinks_below_bytes",
				    json_integer(bytes(d->shrink_below_pages)));
	if (d->missing_pages > 0)
		json_object_set_new(change, "missing_bytes", json_integer(bytes(d->missing_pages)));
	if (d->until_ns > now)
		json_object_set_new(change, "wait_seconds", json_real((d->until_ns - now) / 1e9));
	json_object_set_new(why, "would_change", change);
}

static void add_limits(json_t *why, const struct balancer_guest *g)
{
	json_object_set_new(why, "limits",
			    json_pack("{s:I, s:I, s:I, s:i, s:i}", "startup_bytes",
				      bytes(g->limits.startup_pages), "minimum_bytes",
				      bytes(g->limits.minimum_pages), "maximum_bytes",
				      bytes(g->limits.maximum_pages), "buffer_percent",
				      (int)g->limits.buffer_percent, "weight",
				      (int)g->limits.weight));
}

static void add_conduct(json_t *why, const struct balancer_guest *g)
{
	json_object_set_new(why, "obeying", json_boolean(g->obeying));
	json_object_set_new(why, "odd_reports", lies_of(g));
	json_object_set_new(
		why, "counters",
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "reports",
			  (json_int_t)g->stats.reports, "odd_reports", (json_int_t)g->stats.lies,
			  "grown_bytes", bytes(g->stats.grown_pages), "shrunk_bytes",
			  bytes(g->stats.shrunk_pages), "refusals", (json_int_t)g->stats.refusals,
			  "disobeyed", (json_int_t)g->stats.disobeyed, "turns",
			  (json_int_t)g->stats.turns));
	json_object_set_new(why, "grow_bytes_per_second", json_integer(bytes(g->grow_pages_per_s)));
	json_object_set_new(why, "shrink_bytes_per_second",
			    json_integer(bytes(g->shrink_pages_per_s)));
}

json_t *balance_why(const struct balance *balance, uint32_t guest)
{
	const struct balancer_guest *g = balancer_get(balance->core, guest);
	const struct balancer_decision *d = &g->decision;
	uint64_t now = clock_monotonic_ns();
	json_t *why;

	why = json_pack("{s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i}",
			"guest", g->name, "why", balancer_reason_text(d->reason), "dry_run",
			d->dry_run, "by_hand", g->manual, "assigned_bytes", bytes(d->assigned_pages),
			"target_bytes", bytes(d->target_pages), "goal_bytes", bytes(d->goal_pages),
			"wanted_bytes", bytes(d->wanted_pages), "demand_bytes",
			bytes(d->demand_pages), "believed_bytes", bytes(d->believed_pages),
			"floor_bytes", bytes(d->floor_pages), "ceiling_bytes",
			bytes(d->ceiling_pages), "pressure_percent", (int)d->pressure_percent,
			"rest_percent", (int)d->rest_percent);
	if (!why)
		return NULL;
	json_object_set_new(why, "host_free_bytes", amount_or_null(d->free_pages));
	json_object_set_new(why, "age_seconds",
			    json_real(now > d->at_ns ? (now - d->at_ns) / 1e9 : 0));
	add_limits(why, g);
	add_change(why, d, now);
	add_conduct(why, g);
	return why;
}
