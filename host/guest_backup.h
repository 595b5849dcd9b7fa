/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/backup.h"
#include "host/guest_service.h"

/*
 * A guest's live backup: the VSS channel, and the backup that uses it.
 */

struct guest_backup;

/* The conditions of guest_backup_start(). */
enum {
	GUEST_BACKUP_NOT_READY = 1, /* the guest has no VSS channel, or is not through negotiating */
	GUEST_BACKUP_RUNNING,       /* one is under way */
};

/* @workers make the copies. */
_must_check_ int guest_backup_new(const struct guest_service_context *context,
				  const struct backup_workers *workers,
				  struct guest_backup **ret_backup);

/* As the guest sees it; valid as long as @g is. When it is freed, a backup under way fails. */
struct guest_service guest_backup_service(struct guest_backup *g);

/* Begins @backup, which is borrowed until it has ended. GUEST_BACKUP_NOT_READY, _RUNNING. */
_must_check_ int guest_backup_start(struct guest_backup *g, struct backup *backup);

/* True from guest_backup_start() to the end of that backup. */
bool guest_backup_is_running(const struct guest_backup *g);

/* The step of the backup under way, or "idle", or "none" without a channel; a constant. */
const char *guest_backup_state(const struct guest_backup *g);
