/* SPDX-License-Identifier: MIT */

/*
 * The service manager's watchdog.
 *
 * What it is to find out is whether the event loop still turns: heartbeats, thaws and the API all depend
 * on it, and nothing else does. So a timer of the loop says so, and no thread. It says so while file
 * systems are frozen as well, because the loop turns then, too.
 *
 * A manager that has not read what was sent before, as it may be when / is frozen, is not waited for; it
 * is told again a moment later. Its own clock for us stands still with it.
 */

#include "daemon/watchdog.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/manager.h"

#include <stdlib.h>

#define AGAIN_NS UINT64_C(1000000000)

struct watchdog {
	struct event *timer;
	uint64_t interval_ns;
};

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	const struct watchdog *w = user;
	uint64_t next_ns = w->interval_ns;

	(void)fd;
	(void)what;
	if (manager_tell("WATCHDOG=1", 0) == MANAGER_BUSY && AGAIN_NS < next_ns)
		next_ns = AGAIN_NS;
	timer_set(w->timer, clock_monotonic_ns() + next_ns);
}

int watchdog_new(struct event_base *base, struct watchdog **ret_watchdog)
{
	_cleanup_(cleanup_watchdogp) struct watchdog *w = NULL;
	uint64_t us = manager_watchdog_us();

	*ret_watchdog = NULL;
	if (us == 0)
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->interval_ns = us * 1000 / 2;
	w->timer = event_new(base, -1, 0, on_timer, w);
	if (!w->timer)
		return -ENOMEM;
	timer_set(w->timer, clock_monotonic_ns() + w->interval_ns);

	*ret_watchdog = steal_ptr(w);
	return 0;
}

struct watchdog *watchdog_free(struct watchdog *w)
{
	if (!w)
		return NULL;
	if (w->timer)
		event_free(w->timer);
	free(w);
	return NULL;
}
