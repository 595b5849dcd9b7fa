/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "host/qmp.h"

#include <stdbool.h>

/*
 * A copy of disk images that QEMU itself makes of a VM that goes on running: of one moment, for all of
 * them. Everything is called back from the event loop.
 */

struct qemu_backup;

/* One image: what the VM has open, and the file that is to become its copy. Borrowed. */
struct qemu_backup_image {
	const char *source;
	const char *target; /* exists, and is as large as the source */
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
 * What is under way is broken off, which takes a while at QEMU and is seen to. Nothing is called back
 * any more.
 */
struct qemu_backup *qemu_backup_free(struct qemu_backup *q);
DEFINE_CLEANUP(qemu_backup)

/*
 * Begins all copies at one moment, and then calls @done: what is written from then on is not in them.
 * The VM's disk is not to be written meanwhile.
 */
void qemu_backup_begin(struct qemu_backup *q, qemu_backup_done *done, void *user);

/* Calls @done when the copies that were begun are complete, or one of them has failed. */
void qemu_backup_finish(struct qemu_backup *q, qemu_backup_done *done, void *user);

/* Bytes that are copied so far, by QEMU's own word. */
uint64_t qemu_backup_progress(const struct qemu_backup *q);
