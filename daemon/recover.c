/* SPDX-License-Identifier: MIT */

/*
 * The first act.
 *
 * If a daemon and its freezer were killed together, file systems are frozen until the next daemon
 * comes. It must get to the thaw whatever is frozen, so it looks at the record before it opens a
 * log, a state directory or anything else that may lie on one of them; and it does so even if it
 * then finds that it has nothing else to do here.
 */

#include "daemon/recover.h"

#include "base/log.h"
#include "daemon/journal.h"
#include "fsfreeze/freezer_recover.h"

#include <string.h>

void recover_first(const struct config *config, struct freezer_result **ret_results,
		   size_t *ret_n)
{
	struct freezer_result *results = NULL;
	size_t n = 0;

	if (freezer_recover_now(config ? config->run_dir : CONFIG_RUN_DIR,
				config ? config->freeze_mounts : MOUNTS_OF_INIT, &results, &n))
		n = 0;
	*ret_results = results;
	*ret_n = n;
}

void recover_tell(const struct freezer_result *results, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct freezer_result *r = &results[i];

		if (r->state != FREEZER_ENTRY_THAWED)
			log_as(EVENT_STUCK_FROZEN, r->target,
			       "backup: %s was left frozen and cannot be thawed: %s: thaw it by 'fsfreeze -u %s'",
			       r->target, strerror(r->error), r->target);
		else if (r->error)
			log_warning("backup: %s was in an unfinished backup, and is not frozen", r->target);
		else
			log_as(EVENT_THAWED_LATE, r->target,
			       "backup: %s was left frozen by a predecessor; it is thawed", r->target);
	}
}
