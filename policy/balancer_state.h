/* SPDX-License-Identifier: MIT */
#pragma once

#include "policy/balancer.h"
#include "policy/waterfill.h"

/*
 * The inside of the balancer, shared by balancer.c (who is there), balancer_guest.c (what guests say and
 * do), balancer_pass.c (what is decided), balancer_share.c (what each should have) and balancer_text.c.
 */

/* What one order may take, by the speed that was measured of the guest. */
#define BALANCER_SLEW_NS UINT64_C(2000000000)

struct balancer_reservation {
	char *name;
	uint64_t pages;
	uint64_t held_pages; /* what of it is set aside already */
	uint64_t until_ns;
};

struct balancer {
	struct balancer_settings settings;

	/* By id. All of these arrays have room for `capacity`. */
	struct balancer_guest *guests;
	uint32_t *next;     /* of the same bucket; of a free id: the next free one */
	uint32_t capacity;
	uint32_t n_ids;     /* that were ever used */
	uint32_t n_guests;
	uint32_t free_id;   /* or BALANCER_NO_GUEST */
	uint32_t *buckets;  /* by name; as many as `capacity` */

	struct balancer_reservation *reservations; /* oldest first */
	size_t n_reservations;

	/* The books; the sums over all guests and reservations. */
	uint64_t assigned_pages;
	uint64_t charged_pages;
	uint64_t minimum_pages;
	uint64_t reserved_pages; /* that reservations are for */
	uint64_t held_pages;     /* that they have */

	/* Of a pass; by position in it or by id, room for `capacity`. */
	struct waterfill_share *shares;
	uint64_t *needs;    /* by id: the demand within its bounds */
	uint64_t *growers;  /* keys, see balancer_pass.c */
	uint64_t *givers;
	uint64_t *spare;    /* for sorting */
	struct balancer_order *orders;
	size_t n_orders;
	size_t next_order;

	uint64_t now_ns; /* the latest that was seen: it never goes back */
	bool urgent;     /* the next pass comes soon */
	bool hurry;      /* the next pass comes now */
	uint64_t first_ns; /* of balancer_new() */

	/* For status. */
	uint64_t passes;
	uint64_t n_ordered;
	uint64_t last_pass_ns;
	uint64_t last_effect_ns;
	uint64_t strays;
	uint64_t clock_jumps;
	bool is_short;
	uint64_t missing_pages;
};

/* What can be given at this moment; UINT64_MAX = no limit. */
uint64_t balancer_free_pages(const struct balancer *b);

/* The clock: never back. */
void balancer_clock(struct balancer *b, uint64_t now_ns);

/* Books that @g has @assigned_pages, and that @coming_pages more are on their way to it. */
void balancer_book(struct balancer *b, struct balancer_guest *g, uint64_t assigned_pages,
		   uint64_t coming_pages);

/* Demand and buffer, or the amount set by hand, within the floor and the ceiling of its decision. */
uint64_t balancer_wanted_pages(const struct balancer_guest *g, uint64_t demand_pages);

/*
 * Gives each guest its goal of @shared_pages, which is what all can have together; @wanted_pages is the sum
 * of what their decisions say so far. Sets b->is_short.
 */
void balancer_share(struct balancer *b, uint64_t shared_pages, uint64_t wanted_pages);

/* Books an operation on @guest as begun. */
void balancer_begin(struct balancer *b, uint32_t guest, enum balancer_kind kind, uint64_t pages);
