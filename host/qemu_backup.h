/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "host/qmp.h"

#include <stdbool.h>

/*
 * A copy of disk images that QEMU itself makes of a VM that goes on running: of one moment, for
 * all of them. Everything is called back from the event loop.
 */

struct qemu_backup;

/* One image: what the VM has open, and the file that is to become its copy. Borrowed. */
struct qemu_backup_image {
	const char *source;
	const char *target;      /* a file that exists */
	const char *earlier_tag; /* only what has changed since the copy with this tag; NULL: all */
	const char *tag;         /* QEMU shall note what changes from now on; NULL: no */
};

/* @error: NULL, or why not, borrowed. */
typedef void qemu_backup_done(void *user, const char *error);

/* The VM. If it is lost meanwhile, the copies have failed. */
struct qemu_backup_vm {
	struct event_base *base;
	const char *name; /* copied */
	/* The QMP of the VM of this name, as it is now; NULL: it is not connected. */
	struct qmp *(*get_qmp)(void *user, const char *name);
	void *user; /* outlives the event loop */
};

/* @id makes names in QEMU unique. -ENOMEM. */
_must_check_ int qemu_backup_new(const struct qemu_backup_vm *vm, unsigned int id,
				 const struct qemu_backup_image *images, size_t n_images,
				 struct qemu_backup **ret_backup);

/*
 * What is under way is broken off, which takes a while at QEMU and is seen to. Nothing is called
 * back any more.
 */
struct qemu_backup *qemu_backup_free(struct qemu_backup *q);
DEFINE_CLEANUP(qemu_backup)

/*
 * The steps, one after the other, each of which calls @done when it is over. First of all: finds
 * the images. Then qemu_backup_is_incremental() tells what they are to be.
 */
void qemu_backup_find(struct qemu_backup *q, qemu_backup_done *done, void *user);

/*
 * Whether only what has changed is copied of image @i: then its target must be a copy of the
 * earlier one before qemu_backup_add(). *ret_why: NULL, or why not although there was an
 * earlier_tag; static.
 */
bool qemu_backup_is_incremental(const struct qemu_backup *q, size_t i, const char **ret_why);

/* Makes the targets what QEMU can write to: of a qcow2 image a qcow2 image, else a raw one. */
void qemu_backup_add(struct qemu_backup *q, qemu_backup_done *done, void *user);

/*
 * Begins all copies at one moment: what is written from then on is not in them. One command of
 * QEMU's; this is what the VM's disk is not to be written for.
 */
void qemu_backup_begin(struct qemu_backup *q, qemu_backup_done *done, void *user);

/* Waits until the copies that were begun are complete, or one of them has failed. */
void qemu_backup_finish(struct qemu_backup *q, qemu_backup_done *done, void *user);

/* Bytes that are copied so far, and altogether, by QEMU's own word. */
uint64_t qemu_backup_progress(const struct qemu_backup *q);
uint64_t qemu_backup_total(const struct qemu_backup *q);

/* Bytes that were copied of image @i. */
uint64_t qemu_backup_copied(const struct qemu_backup *q, size_t i);
