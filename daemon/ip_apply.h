/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/adapters.h"
#include "services/kvp_ip.h"

#include <stddef.h>

/*
 * Giving an adapter other addresses, by the network manager that has it, and taking that back. Everything
 * here waits, so it is for a thread of its own.
 */

/* The conditions of ip_apply(). */
enum {
	IP_APPLY_UNMANAGED = 1, /* no manager that is known has the adapter: nothing was done */
	IP_APPLY_FAILED,        /* files and addresses are as they were, as far as that could be done */
};

struct ip_apply_system {
	struct adapters_system adapters; /* its root is that of the managers' files, too */
	const char *record; /* file of what is to be put back if we do not come to an end */
};

enum {
	IP_APPLY_SECONDS = 15,    /* for the managers to do it */
	IP_APPLY_BACK_SECONDS = 8, /* and to take it back */
	IP_APPLY_PROBLEM_SIZE = 200,
};

/*
 * Configures @adapter as @info says, which must have passed kvp_ip_check(). On a condition
 * @ret_problem, IP_APPLY_PROBLEM_SIZE bytes, says what was wrong.
 */
_must_check_ int ip_apply(const struct ip_apply_system *system, const struct adapter *adapter,
			  const struct kvp_ip_info *info, char *ret_problem);

/*
 * Puts back what a change that did not come to its end has left. True if there was one; @ret_problem
 * is then empty, or says what could not be done.
 */
bool ip_apply_recover(const struct ip_apply_system *system, char *ret_problem);
