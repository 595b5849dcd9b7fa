/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "base/jobs.h"
#include "host/qemu_backup.h"

#include <jansson.h>

/*
 * One backup: which images are copied where, and what became of it. The copies are made by
 * workers; everything else is for the event loop's thread.
 */

struct backup;

enum {
	BACKUP_IMAGES_MAX = 64,
};

/* Who does what waits for disks; both borrowed. */
struct backup_workers {
	struct jobs *frozen; /* what guests stand still for */
	struct jobs *asides; /* what is short, before and after */
	struct jobs *copies; /* the rest, which may take long */
};

/* The conditions of backup_new() and backup_check(). */
enum {
	BACKUP_BAD_REQUEST = 1, /* no image, too many, not absolute paths, or two of one name */
	BACKUP_NOT_POSSIBLE,    /* an image that is no file, a target that exists, and the like */
};

/*
 * For the guest @guest, what the @request says: {"images": absolute paths of files, "directory":
 * where they go, each under its own name, "since": the folder of an earlier backup, "keep_base",
 * "verify", "no_snapshot", "cow_bytes": see struct image_options in host/image.h}.
 * BACKUP_BAD_REQUEST, -ENOMEM.
 */
_must_check_ int backup_new(unsigned int id, const char *guest, const json_t *request,
			    struct backup **ret_backup);

/*
 * QEMU makes the copies, of the disks of this VM: at one moment while the guest stands still, the
 * data afterwards. To be called before backup_check(). @vm is copied. BACKUP_BAD_REQUEST: an
 * option was asked for that only the other ways have; -ENOMEM.
 */
_must_check_ int backup_use_vm(struct backup *b, const struct qemu_backup_vm *vm);

/*
 * What can be told before the guest is asked to freeze: the images are there, the folder can be
 * written, and nothing in it has an image's name. BACKUP_NOT_POSSIBLE, and why, in @size bytes.
 */
_must_check_ int backup_check(struct backup *b, char *ret_why, size_t size);

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
 * What is to be done before the guest is asked to freeze, and may take a while. @done is called
 * when it is done, maybe at once, or could not be; not at all if the backup has ended meanwhile.
 * Negative errno.
 */
_must_check_ int backup_prepare(struct backup *b, const struct backup_workers *workers,
				void (*done)(void *user, bool ok), void *user);

/*
 * The guest stands still: makes copies or snapshots of the images. @done is called when all are
 * made, or one could not be (then the rest is not tried); not at all if it was abandoned
 * meanwhile. Negative errno.
 */
_must_check_ int backup_hold(struct backup *b, void (*done)(void *user, bool ok), void *user);

/*
 * The guest's part is over. Without an @error (a text) what is not copied yet is copied from the
 * snapshots, the copies are given their names, and the backup is done when they have them. With
 * one, copies that are being made are broken off, and those made are removed: they must not be
 * taken for a backup.
 */
void backup_end(struct backup *b, const char *error, bool thawed_by_itself);

/* True when it is done or has failed, and the worker has nothing to do with it any more. */
bool backup_has_ended(const struct backup *b);

/* For status: state, error, durations in seconds, progress, and the copied images. */
json_t *backup_status(const struct backup *b);
