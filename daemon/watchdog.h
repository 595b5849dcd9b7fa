/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"

#include <event2/event.h>

struct watchdog;

/*
 * Tells the service manager, from the event loop, that the loop turns, twice in each interval that the
 * manager has set. *ret_watchdog is NULL, and nobody ever wakes up, if it has set none. Not before
 * READY=1: until then the manager counts the time of the start.
 */
int watchdog_new(struct event_base *base, struct watchdog **ret_watchdog);
struct watchdog *watchdog_free(struct watchdog *watchdog);
DEFINE_CLEANUP(watchdog)
