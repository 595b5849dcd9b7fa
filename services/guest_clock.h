/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "services/timesync.h"

/*
 * This machine's clocks: read together, and set.
 */

/* Where the VM's reference counter is read. */
enum guest_counter {
	GUEST_COUNTER_NONE,   /* nowhere */
	GUEST_COUNTER_MSR,    /* in the processor's register, through the msr driver */
	GUEST_COUNTER_SHARED, /* host and guest are one machine: its raw clock */
};

#define GUEST_CLOCK_MSR "/dev/cpu/0/msr" /* usual */

struct guest_clock {
	enum guest_counter counter;
	int msr_fd; /* -1: none */
};

/*
 * With @is_lab the counter is the raw clock; else @msr is opened, and if that cannot be there is no
 * counter.
 */
void guest_clock_init(struct guest_clock *c, bool is_lab, const char *msr);
void guest_clock_fini(struct guest_clock *c);

/* All of them as of one moment, to some microseconds. */
struct timesync_reading guest_clock_read(const struct guest_clock *c);

/*
 * Adds @offset_ns to CLOCK_REALTIME at once; whatever happens meanwhile to the clock is kept. Needs
 * CAP_SYS_TIME. Negative errno.
 */
_must_check_ int guest_clock_step(int64_t offset_ns);

/* "none", "msr", "shared". */
const char *guest_counter_name(enum guest_counter counter);
