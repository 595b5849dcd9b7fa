/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/sha256.h"
#include "services/fcopy_place.h"

#include <event2/event.h>

/*
 * The file that is being copied, seen from an event loop: data is taken into memory at once, and a
 * thread writes it. One file at a time.
 */

struct fcopy_file;

/* What the user is told, each from the event loop and never from inside of a call. */
struct fcopy_file_user {
	void (*on_opened)(void *self, enum fcopy_result result);
	void (*on_taken)(void *self);
	void (*on_failed)(void *self, enum fcopy_result result); /* at most once for a file */
	void (*on_finished)(void *self, enum fcopy_result result);
	void (*on_discarded)(void *self);
	/* Something of a predecessor's was found: @what became of it, borrowed for the call. */
	void (*on_swept)(void *self, const char *what);
};

/* What became of the last file that was put in its place. */
struct fcopy_receipt {
	char path[FCOPY_PATH_SIZE];
	uint64_t bytes;
	char sha256[SHA256_TEXT_SIZE];
};

/*
 * Looks, in the thread, for what a killed predecessor has left. @config must outlive it; calls of
 * @ops get @self. Negative errno.
 */
_must_check_ int fcopy_file_new(struct event_base *base, const struct fcopy_place_config *config,
				const struct fcopy_file_user *ops, void *self,
				struct fcopy_file **ret_file);

/* Discards the file that is open; nobody is called any more. */
struct fcopy_file *fcopy_file_free(struct fcopy_file *file);
DEFINE_CLEANUP(fcopy_file)

/* The condition of fcopy_file_write(). */
enum {
	FCOPY_FILE_WAIT = 1, /* there is no room now */
};

/* Begins the file of @start; on_opened() follows. Not before the end of the last one. Negative errno. */
_must_check_ int fcopy_file_open(struct fcopy_file *file, const struct fcopy_start *start);

/*
 * Appends @size (at most FCOPY_FRAGMENT_MAX) bytes. FCOPY_FILE_WAIT: on_taken() follows, and @data
 * must stay as it is until then; negative errno.
 */
_must_check_ int fcopy_file_write(struct fcopy_file *file, const void *data, size_t size);

/*
 * Sums up what was written, which is done later otherwise: to be called when a fragment is answered.
 * Takes some microseconds.
 */
void fcopy_file_sum(struct fcopy_file *file);

/* All was written: on_finished() follows when the file is in its place and on disk. Negative errno. */
_must_check_ int fcopy_file_finish(struct fcopy_file *file);

/*
 * Leaves nothing of it; on_discarded() follows. At any time after fcopy_file_open(); a file that
 * was in its place by then stays there, and on_finished() tells so. Negative errno.
 */
_must_check_ int fcopy_file_discard(struct fcopy_file *file);

/* Why the last call failed, for people; the receipt of the last file; both borrowed, until the next. */
const char *fcopy_file_why(const struct fcopy_file *file);
const struct fcopy_receipt *fcopy_file_receipt(const struct fcopy_file *file);
