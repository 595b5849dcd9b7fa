/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "services/kvp_journal.h"

#include <time.h>

/*
 * The pool files, as several programs use them: locked, looked at for what others have changed, and
 * changed so that a kill or a power cut leaves the old or the new state. Everything here may wait
 * for a disk; one thread at a time.
 */

struct kvp_files;

enum {
	KVP_FILES_NOTE_SIZE = 384,
};

/*
 * The files in the folder @dir, which is made if it is missing. That it cannot be used is no error
 * here but of what is done with it later. -ENOMEM, -ENAMETOOLONG.
 */
_must_check_ int kvp_files_new(const char *dir, struct kvp_files **ret_files);

/* Unlocks and closes everything. */
struct kvp_files *kvp_files_free(struct kvp_files *f);
DEFINE_CLEANUP(kvp_files)

/*
 * Opens the file of @pool, makes it if it is missing, and takes both kinds of locks, flock() and
 * fcntl(), for which it waits up to @wait_ms. What a kill or a power cut has left half done is
 * done now. A file that cannot be written is no error; what is done with it is. -EBUSY: somebody
 * else has a lock, who may write; negative errno.
 */
_must_check_ int kvp_files_lock(struct kvp_files *f, unsigned int pool, int wait_ms);
void kvp_files_unlock(struct kvp_files *f, unsigned int pool);

/* True if the file is not as it was when it was read or changed here last. Needs no lock. */
bool kvp_files_have_changed(const struct kvp_files *f, unsigned int pool);

/*
 * Reads the file of @pool, KVP_SLOTS_MAX records at most, with what is behind the last whole one.
 * *ret_image is the caller's to free(). Should be locked. Negative errno.
 */
_must_check_ int kvp_files_read(struct kvp_files *f, unsigned int pool, uint8_t **ret_image,
				size_t *ret_size);

/*
 * Does what @edit says with the file of @pool, which is locked and has not changed. When it
 * returns 0 that is durable: it will be there after a power cut. Else the file is as it was.
 * KVP_EDIT_TOO_LARGE, negative errno (-ENOSPC, -EROFS, -EIO, ...).
 */
_must_check_ int kvp_files_edit(struct kvp_files *f, unsigned int pool, const struct kvp_edit *edit,
				struct kvp_moves *ret_moves);

/* Slots that the file of @pool has had after it was read or changed here last. */
uint32_t kvp_files_slots(const struct kvp_files *f, unsigned int pool);

/*
 * Waits until the last changes are in their pool's file on the disk, too. The next change may have
 * to wait for that otherwise. Negative errno: the journal still has them, and the next call, for which
 * no pool may be locked, tries again; so does each lock.
 */
_must_check_ int kvp_files_settle(struct kvp_files *f);

/* True if kvp_files_settle() has something to do. */
bool kvp_files_are_unsettled(const struct kvp_files *f);

/* Makes the file of @pool empty, which is locked; it then counts as changed. Negative errno. */
_must_check_ int kvp_files_clear(struct kvp_files *f, unsigned int pool);

/* When the file of @pool, which is locked, was last changed by anybody. */
struct timespec kvp_files_time(const struct kvp_files *f, unsigned int pool);

/*
 * What was kept by kvp_files_put_stamp(), into @ret_text of @size bytes; "" if there is nothing.
 * kvp_files_put_stamp(): negative errno.
 */
void kvp_files_get_stamp(const struct kvp_files *f, char *ret_text, size_t size);
_must_check_ int kvp_files_put_stamp(struct kvp_files *f, const char *text);

/* What was read is of no use: the file of @pool counts as changed from now on. */
void kvp_files_forget(struct kvp_files *f, unsigned int pool);

/* Notes that @n records of @pool have no key. */
void kvp_files_note_unreadable(struct kvp_files *f, unsigned int pool, size_t n);

/* What is to be told to somebody, in @ret_note; false: there is no more. */
bool kvp_files_next_note(struct kvp_files *f, char ret_note[KVP_FILES_NOTE_SIZE]);
