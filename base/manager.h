/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdint.h>

/*
 * The service manager, as sd_notify(3) describes it; without libsystemd, because nothing here may wait
 * for a manager that does not read its socket.
 */

/*
 * A datagram socket towards the manager that NOTIFY_SOCKET names, which does not block; the caller closes
 * it. -1: there is none.
 */
int manager_open(void);

enum manager_result {
	MANAGER_NONE = 1, /* there is none, or it takes nothing */
	MANAGER_BUSY,     /* it has not read what was sent before: try again later */
};

/* Sends lines of "KEY=value", for which there must be room within @timeout_ms. */
int manager_tell(const char *lines, int timeout_ms);

/*
 * How often the manager wants to hear WATCHDOG=1 from this process, in microseconds, by WATCHDOG_USEC and
 * WATCHDOG_PID (sd_watchdog_enabled(3)). 0: not at all.
 */
uint64_t manager_watchdog_us(void);
