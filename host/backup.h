/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "base/jobs.h"

#include <jansson.h>

/*
 * One backup: which images are copied where, and what became of it. The copies are made by the
 * worker; everything else is for the event loop's thread.
 */

struct backup;

enum {
	BACKUP_IMAGES_MAX = 64,
};

/* The condition of backup_new(). */
enum {
	BACKUP_BAD_REQUEST = 1, /* no image, too many, not absolute paths, or two of one name */
};

/*
 * For the guest @guest: the files @images (a JSON array of absolute paths) into the folder
 * @directory, each under its own name. BACKUP_BAD_REQUEST, -ENOMEM.
 */
_must_check_ int backup_new(unsigned int id, const char *guest, const json_t *images,
			    const char *directory, struct backup **ret_backup);

/* Not while copies are being made. */
struct backup *backup_free(struct backup *b);
DEFINE_CLEANUP(backup)

/* The number it was made with. */
unsigned int backup_id(const struct backup *b);

/* The steps, as they happen. */
void backup_freezing(struct backup *b);
void backup_thawing(struct backup *b);
void backup_thawed(struct backup *b);

/*
 * The guest stands still: copies the images. @done is called when all are copied, or one could
 * not be (then the rest is not tried); not at all if it was abandoned meanwhile. Negative errno.
 */
_must_check_ int backup_copy(struct backup *b, struct jobs *jobs,
			     void (*done)(void *user, bool ok), void *user);

/*
 * The backup is over. With an @error (a text) copies that are being made are broken off, and those
 * made are removed: they must not be taken for a backup.
 */
void backup_end(struct backup *b, const char *error, bool thawed_by_itself);

/* True when it is over and nothing is being copied any more. */
bool backup_has_ended(const struct backup *b);

/* For status: state, error, durations in seconds, and the copied images. */
json_t *backup_status(const struct backup *b);
