/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "policy/balancer.h"

/*
 * What an administrator says of each guest's memory: a file with one section for a guest.
 *
 *     [guest web-1]
 *     startup = 2G
 *     minimum = 512M
 *     maximum = 8G
 *     buffer = 20
 *     weight = 5000
 *
 * What is not said there is as the command line of hvhost serve says, and what that does not say
 * follows from the guest's machine.
 */

struct guest_limits;

enum {
	GUEST_LIMITS_BAD = 1, /* the file is not well-formed, or contradicts itself */
	GUEST_LIMITS_ERROR_MAX = 256,
};

/*
 * Reads @path. GUEST_LIMITS_BAD, or a negative errno; @error then has file, line and what is wrong.
 */
_must_check_ int guest_limits_load(const char *path, char error[GUEST_LIMITS_ERROR_MAX],
				   struct guest_limits **ret_limits);
struct guest_limits *guest_limits_free(struct guest_limits *limits);
DEFINE_CLEANUP(guest_limits)

/*
 * The limits of guest @name, whose machine has @memory_pages: from @limits (NULL: there is no file),
 * then @defaults, in which an amount of 0 is left open. They can still contradict each other.
 */
struct balancer_limits guest_limits_of(const struct guest_limits *limits, const char *name,
				       const struct balancer_limits *defaults,
				       uint64_t memory_pages);
