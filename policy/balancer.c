/* SPDX-License-Identifier: MIT */

/*
 * The memory balancer: who is there, and the books.
 *
 * The books. Each guest is charged with the most that it may use. When memory is promised to it the
 * charge rises at once, though the guest has it only later; when memory is asked of it the charge
 * falls with each answer, and not before. So whatever is lost, late or refused, the sum of the
 * charges is never too small:
 *
 *     event                              assigned       charged - assigned (on its way)
 *     order to grow by n                                + n
 *     n arrived                          + n            - n, not below 0
 *     order to shrink by n
 *     n given up                         - n
 *     end of the operation                              = 0
 *     the host's own books say a         = a
 *
 * and nothing is promised unless budget - reserve - charges - held has room for it. A guest can
 * still have more than it was given (it ran before the balancer did, or its channel closed and its
 * balloon is its own again). That is booked as it is; then nothing is promised to anybody until
 * enough was taken back.
 *
 * Not in here: the clock (it is given, and never goes back), and why an operation was refused.
 */

#include "policy/balancer_state.h"

#include "base/amount.h"

#include <assert.h>
#include <string.h>

#define SECOND_NS      UINT64_C(1000000000)
#define MILLISECOND_NS UINT64_C(1000000)
#define JUMP_NS        (60 * SECOND_NS)

enum {
	CAPACITY_MIN = 16,
	RESERVATIONS_MAX = 4096,
};

void balancer_settings_init(struct balancer_settings *settings)
{
	*settings = (struct balancer_settings){
		.pass_ns = SECOND_NS,
		.urgent_pass_ns = 100 * MILLISECOND_NS,
		.first_action_ns = 50 * SECOND_NS,
		.report_age_max_ns = 5 * SECOND_NS,
		.smoothing_ns = 30 * SECOND_NS,
		.short_smoothing_ns = 5 * SECOND_NS,
		.shrink_spacing_ns = 5 * SECOND_NS,
		.refused_hold_ns = 60 * SECOND_NS,
		.obey_ns = 10 * SECOND_NS,
		.stalled_hold_ns = 10 * SECOND_NS,
		.frozen_figures_ns = 300 * SECOND_NS,
		.operation_max_pages = (UINT64_C(1) << 30) / 4096,
	};
}

void balancer_limits_init(struct balancer_limits *limits)
{
	*limits = (struct balancer_limits){
		.buffer_percent = 20,
		.weight = BALANCER_WEIGHT_DEFAULT,
	};
}

int balancer_limits_check(const struct balancer_limits *limits)
{
	if (limits->buffer_percent < BALANCER_BUFFER_PERCENT_MIN ||
	    limits->buffer_percent > BALANCER_BUFFER_PERCENT_MAX)
		return BALANCER_BAD_BUFFER;
	if (limits->weight > BALANCER_WEIGHT_MAX)
		return BALANCER_BAD_WEIGHT;
	if (limits->minimum_pages == 0 || limits->minimum_pages > limits->startup_pages ||
	    limits->startup_pages > limits->maximum_pages ||
	    limits->maximum_pages > BALANCER_PAGES_MAX)
		return BALANCER_BAD_ORDER;
	return 0;
}

/* The whole. */

/* What guests may have together; UINT64_MAX = no limit. */
static uint64_t guests_budget(const struct balancer *b)
{
	const struct balancer_settings *s = &b->settings;

	return s->budget_pages > 0 ? s->budget_pages - s->reserve_pages : UINT64_MAX;
}

uint64_t balancer_free_pages(const struct balancer *b)
{
	uint64_t budget = guests_budget(b), used = b->charged_pages + b->held_pages;

	if (budget == UINT64_MAX)
		return UINT64_MAX;
	return budget > used ? budget - used : 0;
}

/* True if @more pages that nobody can be made to give up would fit beside all others'. */
static bool has_room(const struct balancer *b, uint64_t more)
{
	return b->minimum_pages + b->reserved_pages + more <= guests_budget(b);
}

static int check_settings(const struct balancer *b, const struct balancer_settings *s)
{
	if (s->budget_pages == 0)
		return 0;
	if (s->reserve_pages > s->budget_pages ||
	    s->budget_pages - s->reserve_pages < b->minimum_pages + b->reserved_pages)
		return BALANCER_BAD_BUDGET;
	return 0;
}

int balancer_new(const struct balancer_settings *settings, uint64_t now_ns,
		 struct balancer **ret_balancer)
{
	_cleanup_(cleanup_balancerp) struct balancer *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	r = check_settings(b, settings);
	if (r)
		return r;
	b->settings = *settings;
	b->free_id = BALANCER_NO_GUEST;
	b->now_ns = b->first_ns = now_ns;
	*ret_balancer = steal_ptr(b);
	return 0;
}

struct balancer *balancer_free(struct balancer *b)
{
	if (!b)
		return NULL;
	for (uint32_t i = 0; i < b->n_ids; i++)
		free(b->guests[i].name);
	for (size_t i = 0; i < b->n_reservations; i++)
		free(b->reservations[i].name);
	free(b->guests);
	free(b->next);
	free(b->buckets);
	free(b->reservations);
	free(b->shares);
	free(b->needs);
	free(b->growers);
	free(b->givers);
	free(b->spare);
	free(b->orders);
	free(b);
	return NULL;
}

int balancer_configure(struct balancer *b, const struct balancer_settings *settings)
{
	int r = check_settings(b, settings);

	if (r)
		return r;
	b->settings = *settings;
	b->hurry = true;
	return 0;
}

const struct balancer_settings *balancer_get_settings(const struct balancer *b)
{
	return &b->settings;
}

void balancer_clock(struct balancer *b, uint64_t now_ns)
{
	if (now_ns < b->now_ns || now_ns - b->now_ns > JUMP_NS)
		b->clock_jumps += b->n_guests > 0;
	if (now_ns > b->now_ns)
		b->now_ns = now_ns;
}

/* Names. */

static uint32_t bucket_of(const struct balancer *b, const char *name)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
	return (uint32_t)(hash ^ hash >> 32) & (b->capacity - 1);
}

uint32_t balancer_find(const struct balancer *b, const char *name)
{
	uint32_t i;

	if (b->capacity == 0)
		return BALANCER_NO_GUEST;
	for (i = b->buckets[bucket_of(b, name)]; i != BALANCER_NO_GUEST; i = b->next[i])
		if (!strcmp(b->guests[i].name, name))
			return i;
	return BALANCER_NO_GUEST;
}

static void put_in_bucket(struct balancer *b, uint32_t guest)
{
	uint32_t *bucket = &b->buckets[bucket_of(b, b->guests[guest].name)];

	b->next[guest] = *bucket;
	*bucket = guest;
}

static void take_from_bucket(struct balancer *b, uint32_t guest)
{
	uint32_t *link = &b->buckets[bucket_of(b, b->guests[guest].name)];

	while (*link != guest)
		link = &b->next[*link];
	*link = b->next[guest];
}

static bool name_is_good(const char *name)
{
	return name[0] != '\0' && strnlen(name, BALANCER_NAME_MAX + 1) <= BALANCER_NAME_MAX;
}

/* One array to @capacity items of @size; -ENOMEM leaves it as it was. */
static int grow_array(void *array, uint32_t capacity, size_t size)
{
	void **p = array, *bigger = reallocarray(*p, capacity, size);

	if (!bigger)
		return -ENOMEM;
	*p = bigger;
	return 0;
}

static int grow(struct balancer *b)
{
	uint32_t capacity = b->capacity > 0 ? 2 * b->capacity : CAPACITY_MIN;

	/* Those that succeeded before one fails are only larger than they need to be. */
	if (grow_array(&b->guests, capacity, sizeof(*b->guests)) ||
	    grow_array(&b->next, capacity, sizeof(*b->next)) ||
	    grow_array(&b->buckets, capacity, sizeof(*b->buckets)) ||
	    grow_array(&b->shares, capacity, sizeof(*b->shares)) ||
	    grow_array(&b->needs, capacity, sizeof(*b->needs)) ||
	    grow_array(&b->growers, capacity, sizeof(*b->growers)) ||
	    grow_array(&b->givers, capacity, sizeof(*b->givers)) ||
	    grow_array(&b->spare, capacity, sizeof(*b->spare)) ||
	    grow_array(&b->orders, capacity, sizeof(*b->orders)))
		return -ENOMEM;
	b->capacity = capacity;
	memset(b->buckets, 0xff, capacity * sizeof(*b->buckets));
	for (uint32_t i = 0; i < b->n_ids; i++)
		if (b->guests[i].name)
			put_in_bucket(b, i);
	return 0;
}

/* An id that is free; -ENOMEM. */
static int take_id(struct balancer *b, uint32_t *ret_id)
{
	int r;

	if (b->free_id != BALANCER_NO_GUEST) {
		*ret_id = b->free_id;
		b->free_id = b->next[b->free_id];
		return 0;
	}
	if (b->n_ids == b->capacity) {
		r = grow(b);
		if (r)
			return r;
	}
	*ret_id = b->n_ids++;
	b->guests[*ret_id] = (struct balancer_guest){0};
	return 0;
}

/* Reservations. */

static struct balancer_reservation *find_reservation(const struct balancer *b, const char *name)
{
	for (size_t i = 0; i < b->n_reservations; i++)
		if (!strcmp(b->reservations[i].name, name))
			return &b->reservations[i];
	return NULL;
}

static void drop_reservation(struct balancer *b, struct balancer_reservation *r)
{
	size_t at = (size_t)(r - b->reservations);

	b->reserved_pages -= r->pages;
	b->held_pages -= r->held_pages;
	free(r->name);
	b->n_reservations--;
	memmove(r, r + 1, (b->n_reservations - at) * sizeof(*r));
	b->hurry = true;
}

int balancer_reserve(struct balancer *b, const char *name, uint64_t pages, uint64_t until_ns,
		     uint64_t now_ns)
{
	_cleanup_free_ char *copy = NULL;
	struct balancer_reservation *all;

	balancer_clock(b, now_ns);
	if (!name_is_good(name))
		return BALANCER_BAD_NAME;
	if (balancer_find(b, name) != BALANCER_NO_GUEST || find_reservation(b, name))
		return BALANCER_TWICE;
	if (pages == 0 || pages > BALANCER_PAGES_MAX || !has_room(b, pages) ||
	    b->n_reservations == RESERVATIONS_MAX)
		return BALANCER_NO_ROOM;
	copy = strdup(name);
	all = reallocarray(b->reservations, b->n_reservations + 1, sizeof(*all));
	if (all)
		b->reservations = all;
	if (!copy || !all)
		return -ENOMEM;

	all[b->n_reservations++] = (struct balancer_reservation){
		.name = steal_ptr(copy),
		.pages = pages,
		.until_ns = until_ns,
	};
	b->reserved_pages += pages;
	b->hurry = true;
	return 0;
}

int balancer_reserved(const struct balancer *b, const char *name, uint64_t *ret_pages,
		      uint64_t *ret_held_pages)
{
	const struct balancer_reservation *r = find_reservation(b, name);

	if (!r)
		return BALANCER_UNKNOWN;
	*ret_pages = r->pages;
	*ret_held_pages = r->held_pages;
	return 0;
}

int balancer_unreserve(struct balancer *b, const char *name, uint64_t now_ns)
{
	struct balancer_reservation *r = find_reservation(b, name);

	balancer_clock(b, now_ns);
	if (!r)
		return BALANCER_UNKNOWN;
	drop_reservation(b, r);
	return 0;
}

/* Guests. */

void balancer_book(struct balancer *b, struct balancer_guest *g, uint64_t assigned, uint64_t coming)
{
	assigned = min_u64(assigned, BALANCER_PAGES_MAX);
	b->assigned_pages += assigned - g->assigned_pages;
	b->charged_pages += assigned + coming - g->charged_pages;
	g->assigned_pages = assigned;
	g->charged_pages = assigned + coming;
}

static int add(struct balancer *b, const char *name, const struct balancer_limits *limits,
	       uint64_t assigned_pages, uint32_t *ret_guest)
{
	_cleanup_free_ char *copy = strdup(name);
	struct balancer_guest *g;
	uint32_t id;
	int r;

	if (!copy)
		return -ENOMEM;
	r = take_id(b, &id);
	if (r)
		return r;
	g = &b->guests[id];
	*g = (struct balancer_guest){
		.name = steal_ptr(copy),
		.limits = *limits,
		.start_ns = b->now_ns,
		.obeying = true,
	};
	put_in_bucket(b, id);
	b->n_guests++;
	b->minimum_pages += limits->minimum_pages;
	balancer_book(b, g, assigned_pages, 0);
	b->urgent = true;
	*ret_guest = id;
	return 0;
}

static int check_newcomer(const struct balancer *b, const char *name,
			  const struct balancer_limits *limits)
{
	if (!name_is_good(name))
		return BALANCER_BAD_NAME;
	if (balancer_find(b, name) != BALANCER_NO_GUEST)
		return BALANCER_TWICE;
	return balancer_limits_check(limits);
}

int balancer_add(struct balancer *b, const char *name, const struct balancer_limits *limits,
		 uint64_t now_ns, uint32_t *ret_guest)
{
	struct balancer_reservation *reservation;
	uint64_t held, reserved;
	int r;

	balancer_clock(b, now_ns);
	r = check_newcomer(b, name, limits);
	if (r)
		return r;
	reservation = find_reservation(b, name);
	held = reservation ? reservation->held_pages : 0;
	reserved = reservation ? reservation->pages : 0;
	/* What was reserved for it counts as its own; beside that its startup must find room. */
	if (guests_budget(b) != UINT64_MAX &&
	    b->minimum_pages + (b->reserved_pages - reserved) + limits->startup_pages >
		    guests_budget(b))
		return BALANCER_NO_ROOM;
	if (guests_budget(b) != UINT64_MAX &&
	    balancer_free_pages(b) + held < limits->startup_pages)
		return BALANCER_NO_ROOM_NOW;
	r = add(b, name, limits, limits->startup_pages, ret_guest);
	if (r)
		return r;
	if (reservation)
		drop_reservation(b, reservation);
	return 0;
}

int balancer_add_running(struct balancer *b, const char *name,
			 const struct balancer_limits *limits, uint64_t assigned_pages,
			 uint64_t now_ns, uint32_t *ret_guest)
{
	struct balancer_reservation *reservation;
	int r;

	balancer_clock(b, now_ns);
	r = check_newcomer(b, name, limits);
	if (r)
		return r;
	r = add(b, name, limits, assigned_pages, ret_guest);
	if (r)
		return r;
	reservation = find_reservation(b, name);
	if (reservation)
		drop_reservation(b, reservation);
	return 0;
}

void balancer_remove(struct balancer *b, uint32_t guest, uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	take_from_bucket(b, guest);
	for (size_t i = b->next_order; i < b->n_orders; i++)
		if (b->orders[i].guest == guest)
			b->orders[i].kind = BALANCER_NONE;
	balancer_book(b, g, 0, 0);
	b->minimum_pages -= g->limits.minimum_pages;
	b->n_guests--;
	free(g->name);
	*g = (struct balancer_guest){0};
	b->next[guest] = b->free_id;
	b->free_id = guest;
	b->hurry = true;
}

int balancer_limit(struct balancer *b, uint32_t guest, const struct balancer_limits *limits,
		   uint64_t now_ns)
{
	struct balancer_guest *g = &b->guests[guest];
	int r = balancer_limits_check(limits);

	assert(guest < b->n_ids && g->name);
	balancer_clock(b, now_ns);
	if (r)
		return r;
	if (limits->minimum_pages > g->limits.minimum_pages &&
	    !has_room(b, limits->minimum_pages - g->limits.minimum_pages))
		return BALANCER_NO_ROOM;
	b->minimum_pages += limits->minimum_pages - g->limits.minimum_pages;
	g->limits = *limits;
	b->hurry = true;
	return 0;
}

/* Looking at it. */

uint64_t balancer_deadline_ns(const struct balancer *b)
{
	if (b->n_guests == 0 && b->n_reservations == 0)
		return UINT64_MAX;
	if (b->hurry || b->passes == 0)
		return 0;
	return b->last_pass_ns +
	       (b->urgent ? b->settings.urgent_pass_ns : b->settings.pass_ns);
}

void balancer_hurry(struct balancer *b)
{
	b->hurry = true;
}

int balancer_next_order(struct balancer *b, struct balancer_order *ret_order)
{
	while (b->next_order < b->n_orders) {
		const struct balancer_order *order = &b->orders[b->next_order++];

		if (order->kind == BALANCER_NONE)
			continue;
		*ret_order = *order;
		return 0;
	}
	return BALANCER_IDLE;
}

const struct balancer_guest *balancer_get(const struct balancer *b, uint32_t guest)
{
	return guest < b->n_ids && b->guests[guest].name ? &b->guests[guest] : NULL;
}

uint32_t balancer_ids(const struct balancer *b)
{
	return b->n_ids;
}

static void count_guest(const struct balancer_guest *g, struct balancer_totals *t)
{
	t->demand_pages += g->demand_pages;
	t->wanted_pages += g->decision.wanted_pages;
	t->n_not_obeying += !g->obeying;
	t->n_starving += g->has_report && g->demand_pages > g->assigned_pages;
}

void balancer_get_totals(const struct balancer *b, struct balancer_totals *ret_totals)
{
	uint64_t budget = guests_budget(b), used = b->charged_pages + b->held_pages;
	struct balancer_totals t = {
		.n_guests = b->n_guests,
		.n_reservations = b->n_reservations,
		.budget_pages = b->settings.budget_pages,
		.reserve_pages = b->settings.reserve_pages,
		.assigned_pages = b->assigned_pages,
		.charged_pages = b->charged_pages,
		.held_pages = b->held_pages,
		.free_pages = balancer_free_pages(b),
		.over_pages = used > budget ? used - budget : 0,
		.minimum_pages = b->minimum_pages,
		.missing_pages = b->missing_pages,
		.is_short = b->is_short,
		.passes = b->passes,
		.orders = b->n_ordered,
		.last_pass_ns = b->last_pass_ns,
		.last_effect_ns = b->last_effect_ns,
		.strays = b->strays,
		.clock_jumps = b->clock_jumps,
	};

	for (uint32_t i = 0; i < b->n_ids; i++)
		if (b->guests[i].name)
			count_guest(&b->guests[i], &t);
	*ret_totals = t;
}
