/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "host/fcopy_host.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * A copy of a file into a guest, as whoever wants it sees it: what, where to, how far it is. Its
 * data is read by a thread of its own.
 */

struct file_copy;

/* The conditions of file_copy_new() and file_copy_data(). */
enum {
	FILE_COPY_MALFORMED = 1, /* @body is not what it should be */
	FILE_COPY_WAIT,          /* the data is being read; on_data() follows */
};

/*
 * A copy that has not begun, numbered @id, as @body wants it: {"source", "directory", "name",
 * "create_path", "overwrite", "fault", "fault_at"}. Opens the source. FILE_COPY_MALFORMED, or the
 * negative errno of the source.
 */
_must_check_ int file_copy_new(unsigned int id, const char *guest_name, const json_t *body,
			       struct file_copy **ret_copy);
struct file_copy *file_copy_free(struct file_copy *c);
DEFINE_CLEANUP(file_copy)

/* Begins to read; @on_data is called from the loop of @base when data that was waited for is there. */
_must_check_ int file_copy_begin(struct file_copy *c, struct event_base *base,
				 void (*on_data)(void *user), void *user);

/* Begins the conversation of @c in @host. Conditions as fcopy_host_start(). */
_must_check_ int file_copy_start_host(struct file_copy *c, struct fcopy_host *host,
				      uint64_t now_ns);

/*
 * The @size bytes at @offset, borrowed until the next call. FILE_COPY_WAIT, or a negative errno:
 * -EIO if the source has become shorter.
 */
_must_check_ int file_copy_data(struct file_copy *c, uint64_t offset, uint32_t size,
				const uint8_t **ret_data);

/* How far it is, for status; and its end. */
void file_copy_progress(struct file_copy *c, const char *state, uint64_t done_bytes);
void file_copy_end(struct file_copy *c, enum fcopy_host_result result, uint32_t status,
		   const char *error);

/* Whether it has ended; its number; its status, a new reference. */
bool file_copy_has_ended(const struct file_copy *c);
unsigned int file_copy_id(const struct file_copy *c);
json_t *file_copy_status(const struct file_copy *c);
