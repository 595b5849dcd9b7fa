/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/httpd.h"
#include "daemon/config.h"
#include "daemon/snapshot.h"

/*
 * Freezing by hand: hvguestctl freeze and thaw, for backups that no host knows of. The same
 * machine, hooks, deadline and receipt as for a host's.
 */

struct bind_manual;

/* Both are borrowed. -ENOMEM. */
_must_check_ int bind_manual_new(const struct config *config, struct snapshot *snapshot,
				 struct bind_manual **ret_manual);
struct bind_manual *bind_manual_free(struct bind_manual *m);
DEFINE_CLEANUP(bind_manual)

/*
 * POST /v1/backup/freeze, with {"deadline_seconds": N} or nothing: answered when everything is
 * frozen, or when nothing is and all hooks are back. POST /v1/backup/thaw: answered when all hooks are back, with
 * {"consistent", "timed_out", "result"}. -ENOMEM.
 */
_must_check_ int bind_manual_add_routes(struct bind_manual *m, struct httpd *httpd);
