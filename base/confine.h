/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a program may still do, after it has begun. docs/THREATS.md has the table of who keeps what.
 */

/* Whether this thread may make use of CAP_... now. */
bool confine_has_capability(unsigned capability);

/*
 * Keeps those of the @n capabilities @keep (CAP_..., capabilities(7)) that this thread has, and gives
 * up all others; threads that it makes later have no more. What it executes as root gets everything
 * that is in the bounding set; with @for_good that is cut down to @keep, too, if CAP_SETPCAP is there.
 * The set of ambient capabilities goes with what is given up. Negative errno if the kernel refuses.
 */
int confine_capabilities(const unsigned *keep, size_t n, bool for_good);

/* A system call, with any arguments; or with one whose lower 32 bits are @value. */
struct confine_call {
	uint32_t number;     /* SYS_... */
	bool has_value;
	uint8_t argument;    /* 0 to 5 */
	uint32_t value;
};

#define CONFINE_CALL(name) {.number = SYS_##name}
#define CONFINE_CALL_WITH(name, arg, val) \
	{.number = SYS_##name, .has_value = true, .argument = (arg), .value = (val)}

enum {
	CONFINE_CALLS_MAX = 64,
};

enum confine_result {
	CONFINE_UNAVAILABLE = 1, /* not on this processor, or the kernel has no filters */
};

/*
 * From now on all threads of this process may make the @n system calls @allowed (at most
 * CONFINE_CALLS_MAX) and no others: those fail with EPERM, and the kernel's log names them (a record
 * of type 1326 with the number of the call, seccomp(2)). It is for good, for what it executes as well,
 * and so is that nothing that it executes gains rights. 0, CONFINE_UNAVAILABLE or a negative errno.
 */
int confine_calls(const struct confine_call *allowed, size_t n);
