/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "daemon/config.h"

#include <event2/event.h>

/*
 * Reading the configuration anew on SIGHUP.
 */

struct snapshot;
struct reload;

/*
 * From now on SIGHUP makes @config what the sources of the command line say; all of it is borrowed.
 * While @snapshot has anything frozen it is put off. -ENOMEM.
 */
_must_check_ int reload_new(struct event_base *base, int argc, char **argv, struct config *config,
			    const struct snapshot *snapshot, struct reload **ret_reload);
struct reload *reload_free(struct reload *r);
DEFINE_CLEANUP(reload)
