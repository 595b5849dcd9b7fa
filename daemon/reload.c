/* SPDX-License-Identifier: MIT */

/*
 * Reading the configuration anew.
 *
 * It opens files and allocates, so it waits while file systems are frozen: the files may lie on one
 * of them. A configuration with a mistake is refused as a whole, with the line that says where, and
 * the daemon goes on with what it has.
 *
 * The service manager is told of the beginning and the end, so that `systemctl reload` returns when
 * the new values hold.
 */

#include "daemon/reload.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/manager.h"
#include "daemon/journal.h"
#include "daemon/snapshot.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define FROZEN_CHECK_NS UINT64_C(100000000)
#define MANAGER_PATIENCE_MS 1000

struct reload {
	int argc;
	char **argv;
	struct config *config;
	const struct snapshot *snapshot;
	struct event *signal;
	struct event *timer;
};

static void tell_manager(bool begins)
{
	char state[64] = "READY=1";

	if (begins)
		snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
			 (unsigned long long)(clock_monotonic_ns() / 1000));
	(void)!manager_tell(state, MANAGER_PATIENCE_MS);
}

static void read_anew(struct reload *r)
{
	unsigned changes;
	int result;

	tell_manager(true);
	result = config_reload(r->argc, r->argv, r->config, &changes);
	if (result == 0)
		log_open("hvguestd", r->config->log_level);
	if (result < 0)
		log_as(EVENT_CONFIG_REFUSED, NULL, "the configuration could not be taken on: %s",
		       strerror(-result));
	else if (result)
		log_as(EVENT_CONFIG_REFUSED, NULL,
		       "the configuration stays as it was: mend the line above, and send SIGHUP again");
	else
		log_as(EVENT_CONFIG_READ, NULL, "the configuration has been read: %u settings have changed",
		       changes);
	tell_manager(false);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct reload *r = user;

	(void)fd;
	(void)what;
	if (snapshot_is_holding(r->snapshot))
		timer_set(r->timer, clock_monotonic_ns() + FROZEN_CHECK_NS);
	else
		read_anew(r);
}

int reload_new(struct event_base *base, int argc, char **argv, struct config *config,
	       const struct snapshot *snapshot, struct reload **ret_reload)
{
	_cleanup_(cleanup_reloadp) struct reload *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = (struct reload){.argc = argc, .argv = argv, .config = config, .snapshot = snapshot};
	r->timer = event_new(base, -1, 0, on_timer, r);
	r->signal = evsignal_new(base, SIGHUP, on_timer, r);
	if (!r->timer || !r->signal || event_add(r->signal, NULL) < 0)
		return -ENOMEM;

	*ret_reload = steal_ptr(r);
	return 0;
}

struct reload *reload_free(struct reload *r)
{
	if (!r)
		return NULL;
	if (r->timer)
		event_free(r->timer);
	if (r->signal)
		event_free(r->signal);
	free(r);
	return NULL;
}
