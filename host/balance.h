/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/board.h"
#include "policy/balancer.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * The host's one balancer (policy/balancer), at work: it is asked when it is due, and its orders go
 * to the guests that they are for. Guests of every kind join it: those of the lab, and VMs.
 */

struct balance;

/* Who carries out the orders for one guest. */
struct balance_member {
	/*
	 * Begin this now. balancer_ended() must follow, at once or later; balancer_cancelled() if
	 * it cannot be begun. It may call anything of the balancer's but balance_leave().
	 */
	void (*move)(void *self, const struct balancer_order *order);
	/* For the board; NULL: it has no other services. */
	void (*describe)(const void *self, struct board_services *ret_services);
	void *self;
};

/* BALANCER_BAD_BUDGET; -ENOMEM. */
_must_check_ int balance_new(struct event_base *base, const struct balancer_settings *settings,
			     struct balance **ret_balance);
/* All members must have left. */
struct balance *balance_free(struct balance *balance);
DEFINE_CLEANUP(balance)

/* Borrowed. Whoever has told it something calls balance_kick() then. */
struct balancer *balance_core(struct balance *balance);

/*
 * A guest starts, with its startup memory. If others have to give first, what it needs is reserved
 * for a minute, so that it can try again: BALANCER_NO_ROOM_NOW. The other conditions are those of
 * balancer_add(). Orders are for nobody until balance_take_orders().
 */
_must_check_ int balance_join(struct balance *balance, const char *name,
			      const struct balancer_limits *limits, uint32_t *ret_guest);

/* A guest that runs already, and has this much; see balancer_add_running(). */
_must_check_ int balance_join_running(struct balance *balance, const char *name,
				      const struct balancer_limits *limits,
				      uint64_t assigned_pages, uint32_t *ret_guest);

/* From now on this member carries out the orders for @guest; copied. */
void balance_take_orders(struct balance *balance, uint32_t guest,
			 const struct balance_member *member);

/* The guest is gone; not in a call of its member's move(). */
void balance_leave(struct balance *balance, uint32_t guest);

/* What is shown to other threads; written after passes. Borrowed. */
struct board *balance_board(const struct balance *balance);

/* Has the next pass made, and the timer set, at the next turn of the loop or when it is due. */
void balance_kick(struct balance *balance);

/* Makes a pass before it returns, so that what was just told shows in the decisions. */
void balance_decide(struct balance *balance);

/* For the API: settings, totals, reservations. */
json_t *balance_status(const struct balance *balance);

/* For the API: a guest's last decision, in numbers and in words. */
json_t *balance_why(const struct balance *balance, uint32_t guest);
