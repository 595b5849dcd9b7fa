/* SPDX-License-Identifier: MIT */
#pragma once

#include "fsfreeze/freezer_client.h"
#include "fsfreeze/plan.h"

#include <jansson.h>

/*
 * The receipt of a backup: what was frozen, for how long, what was not and why, and whether the
 * copy that the host took in the meantime is consistent.
 */

enum {
	/*
	 * Bytes of a value of the receipt's "keys". A pair of the key-value exchange has room for 1023
	 * UTF-16 units (Linux include/uapi/linux/hyperv.h, HV_KVP_EXCHANGE_MAX_VALUE_SIZE).
	 */
	RECEIPT_VALUE_MAX = 1000,
};

struct receipt_facts {
	const char *requester;     /* who wanted it: "host", ... */
	uint64_t started_ns;       /* CLOCK_REALTIME: the wish to freeze */
	const char *result;        /* one line for people */
	bool failed;               /* the answer to that wish was failure */
	bool consistent;           /* the host got its THAW through; receipt_new() looks at the rest */
	const struct freeze_plan *plan;       /* NULL: it was not made */
	const struct freezer_client *freezer; /* has results; NULL: it was not asked */
	const bool *given;         /* for each entry of the plan: the freezer has a result for it */
	const int *errors;         /* for each entry of the plan: errno by which it could not be opened */
	const char *const *notes;  /* what else is to be known, a word each */
	size_t n_notes;
};

/* Everything but the hooks. NULL if memory ran out. */
json_t *receipt_new(const struct receipt_facts *facts);

/*
 * Adds @take_hooks, @take_clients, and "keys": the receipt in short, as texts with names for a key-value exchange.
 * @held: there were applications to hold, and all of them did.
 */
void receipt_complete(json_t *receipt, json_t *take_hooks, json_t *take_clients, bool held);
