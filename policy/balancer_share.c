/* SPDX-License-Identifier: MIT */

/*
 * What each guest of the balancer should have: its goal.
 *
 * If all can have what they want, they do, and most of what is left is theirs as spare; the host keeps a
 * quarter of it. Otherwise demands come before buffers: guests get their demand, and the buffers are
 * filled by weight; and if there is not enough for the demands either, those are filled by weight,
 * max-min fair (policy/waterfill). While memory is short, falling demand is believed sooner.
 *
 * Nothing here looks at what the host has at the moment: a goal, however wrong, cannot exceed the
 * budget, because the pass grants from what is free.
 */

#include "policy/balancer_state.h"

#include "base/amount.h"

enum {
	SPARE_KEPT = 4, /* of what nobody wants the host keeps one part in so many */
};

static uint64_t clamp(uint64_t pages, uint64_t low, uint64_t high)
{
	return min_u64(max_u64(pages, low), high);
}

static uint64_t with_buffer(const struct balancer_guest *g, uint64_t demand_pages)
{
	return demand_pages * (100 + g->limits.buffer_percent) / 100;
}

uint64_t balancer_wanted_pages(const struct balancer_guest *g, uint64_t demand_pages)
{
	return clamp(g->manual ? g->manual_pages : with_buffer(g, demand_pages),
		     g->decision.floor_pages, g->decision.ceiling_pages);
}

/* Memory is short: what is believed of falling demand is the recent. */
static void look_closer(struct balancer *b, uint32_t id)
{
	struct balancer_guest *g = &b->guests[id];
	struct balancer_decision *d = &g->decision;

	if (!g->manual)
		d->believed_pages = g->recent_pages;
	b->needs[id] = clamp(d->believed_pages, d->floor_pages, d->ceiling_pages);
	d->wanted_pages = balancer_wanted_pages(g, g->recent_pages);
}

/* What each would have by the level of water, between its floor and its demand. */
static void share_needs(struct balancer *b, uint64_t shared_pages)
{
	size_t n = 0;

	for (uint32_t i = 0; i < b->n_ids; i++) {
		const struct balancer_guest *g = &b->guests[i];

		if (g->name)
			b->shares[n++] = (struct waterfill_share){
				.low = g->decision.floor_pages,
				.high = b->needs[i],
				.weight = g->limits.weight,
			};
	}
	waterfill(b->shares, n, shared_pages);
	n = 0;
	for (uint32_t i = 0; i < b->n_ids; i++)
		if (b->guests[i].name)
			b->guests[i].decision.goal_pages = b->shares[n++].pages;
}

/* Each has its demand; what is @left fills the buffers, beginning from nothing. */
static void share_rest(struct balancer *b, uint64_t left)
{
	size_t n = 0;

	for (uint32_t i = 0; i < b->n_ids; i++) {
		const struct balancer_guest *g = &b->guests[i];

		if (!g->name)
			continue;
		/* Wanted is never below the demand: both are clamped to the same bounds. */
		b->shares[n++] = (struct waterfill_share){
			.high = g->decision.wanted_pages - b->needs[i],
			.weight = g->limits.weight,
		};
	}
	waterfill(b->shares, n, left);
	n = 0;
	for (uint32_t i = 0; i < b->n_ids; i++)
		if (b->guests[i].name)
			b->guests[i].decision.goal_pages = b->needs[i] + b->shares[n++].pages;
}

/*
 * All can have what they want. Most of what is left is theirs, too, in proportion to what each could
 * use and to its weight: a demand that rises is met without waiting, and page cache is of use.
 */
static void share_spare(struct balancer *b, uint64_t left)
{
	uint64_t most = 1;
	size_t n = 0;

	for (uint32_t i = 0; i < b->n_ids; i++) {
		const struct balancer_decision *d = &b->guests[i].decision;

		if (b->guests[i].name)
			most = max_u64(most, d->ceiling_pages - d->wanted_pages);
	}
	for (uint32_t i = 0; i < b->n_ids; i++) {
		const struct balancer_guest *g = &b->guests[i];
		uint64_t room = g->decision.ceiling_pages - g->decision.wanted_pages;

		if (g->name)
			b->shares[n++] = (struct waterfill_share){
				.high = g->manual ? 0 : room,
				.weight = 1 + (uint32_t)(g->limits.weight * room / most) * 9 / 10,
			};
	}
	waterfill(b->shares, n, left - left / SPARE_KEPT);
	n = 0;
	for (uint32_t i = 0; i < b->n_ids; i++)
		if (b->guests[i].name)
			b->guests[i].decision.goal_pages += b->shares[n++].pages;
}

void balancer_share(struct balancer *b, uint64_t shared_pages, uint64_t wanted_pages)
{
	uint64_t needed = 0, wanted = 0;

	if (wanted_pages <= shared_pages) {
		share_spare(b, shared_pages - wanted_pages);
		return;
	}
	for (uint32_t i = 0; i < b->n_ids; i++) {
		if (!b->guests[i].name)
			continue;
		look_closer(b, i);
		needed += b->needs[i];
		wanted += b->guests[i].decision.wanted_pages;
	}
	b->is_short = wanted > shared_pages;
	if (needed > shared_pages) {
		share_needs(b, shared_pages);
	} else if (b->is_short) {
		share_rest(b, shared_pages - needed);
	} else {
		for (uint32_t i = 0; i < b->n_ids; i++)
			b->guests[i].decision.goal_pages = b->guests[i].decision.wanted_pages;
	}
}
