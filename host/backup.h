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

/* The conditions of backup_new() and backup_check(). */
enum {
	BACKUP_BAD_REQUEST = 1, /* no image, too many, not absolute paths, or two of one name */
	BACKUP_NOT_POSSIBLE,    /* an image that is no file, a target that exists, and the like */
};

/*
 * For the guest @guest: the files @images (a JSON array of absolute paths) into the folder
 * @directory, each under its own name. BACKUP_BAD_REQUEST, -ENOMEM.
 */
_must_check_ int backup_new(unsigned int id, const char *guest, const json_t *images,
			    const char *directory, struct backup **ret_backup);

/*
 * What can be told before the guest is asked to freeze: the images are there, the folder can be
 * written, and nothing in it has an image's name. BACKUP_NOT_POSSIBLE, and why, in @size bytes.
 */
_must_check_ int backup_check(const struct backup *b, char *ret_why, size_t size);

/* Not while the worker runs. Removes the copies of a backup that is not done. */
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
 * The guest's part is over. Without an @error (a text) the copies are given their names, and the
 * backup is done when they have them. With one, copies that are being made are broken off, and
 * those made are removed: they must not be taken for a backup.
 */
void backup_end(struct backup *b, const char *error, bool thawed_by_itself);

/* True when it is done or has failed, and the worker has nothing to do with it any more. */
bool backup_has_ended(const struct backup *b);

/* For status: state, error, durations in seconds, and the copied images. */
json_t *backup_status(const struct backup *b);
