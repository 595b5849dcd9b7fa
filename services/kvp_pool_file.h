/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

/*
 * One pool's file in the folder that it is in, which the callers hold open as @dir_fd: opened, locked
 * against all who follow the rules, and looked at for what others have changed.
 * docs/PROTOCOL-kvp-pools.md.
 */

#define KVP_POOL_NAME ".kvp_pool_%u"

enum {
	KVP_POOL_NAME_SIZE = 32,
};

/* A file as it was. */
struct kvp_file_state {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec time; /* of modification */
};

struct kvp_pool_file {
	char name[KVP_POOL_NAME_SIZE];
	int fd;         /* -1: not open */
	int open_error; /* why it is open for reading only; 0: it is not */
	bool locked;
	struct kvp_file_state seen; /* zero: in no state that is known outside */
};

/* The file of @pool, not open. */
void kvp_pool_file_init(struct kvp_pool_file *p, unsigned int pool);

/* Unlocks and closes it. */
void kvp_pool_file_close(struct kvp_pool_file *p);

/* The conditions of kvp_pool_file_lock(). */
enum {
	KVP_POOL_FILE_READERS = 1, /* it may be used, but a program that can only read has it locked */
};

/*
 * Opens the file, makes it if it is missing, and takes both kinds of locks, flock() and fcntl(). A file
 * that cannot be written is no error (open_error). Waits up to @wait_ms for others, and not longer for
 * who cannot write. KVP_POOL_FILE_READERS; -EBUSY: somebody else has it locked; negative errno.
 */
_must_check_ int kvp_pool_file_lock(struct kvp_pool_file *p, int dir_fd, int wait_ms);

/* The same without waiting for, or passing over, anybody. -EBUSY, negative errno. */
_must_check_ int kvp_pool_file_try_lock(struct kvp_pool_file *p, int dir_fd);

/* Ends what either of them began; nothing if neither did. */
void kvp_pool_file_unlock(struct kvp_pool_file *p);

/* True if the file under this name is not as it was at the last kvp_pool_file_remember...(). */
bool kvp_pool_file_has_changed(const struct kvp_pool_file *p, int dir_fd);

/*
 * The open file is known as it is now; the second gives it a time of modification first, which is
 * nobody else's: for changes of ours. kvp_pool_file_forget(): in no state that is known.
 */
void kvp_pool_file_remember(struct kvp_pool_file *p);
void kvp_pool_file_remember_own(struct kvp_pool_file *p);
void kvp_pool_file_forget(struct kvp_pool_file *p);
