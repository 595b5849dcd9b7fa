/* SPDX-License-Identifier: MIT */

/*
 * One backup.
 *
 *     WAITING -> FREEZING -> COPYING -> THAWING -> DONE
 *         any of them, on an error, -> FAILED
 *
 * The copies are what takes time, so they are made by the worker thread. It works on the array of
 * images alone, and the event loop does not look at an image between backup_copy() and the end of
 * the job. A backup that fails meanwhile (the guest is gone, say) abandons the job: the worker is
 * asked to stop, and what it has copied is removed when it has.
 */

#include "host/backup.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/copy.h"
#include "base/log.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum backup_state {
	BACKUP_WAITING,
	BACKUP_FREEZING,
	BACKUP_COPYING,
	BACKUP_THAWING,
	BACKUP_DONE,
	BACKUP_FAILED,
};

static const char *const state_names[] = {
	[BACKUP_WAITING] = "waiting",   [BACKUP_FREEZING] = "freezing",
	[BACKUP_COPYING] = "copying",   [BACKUP_THAWING] = "thawing",
	[BACKUP_DONE] = "done",         [BACKUP_FAILED] = "failed",
};

struct image {
	char *source;
	char *target;
	bool copied;
	struct copy_result result;
	uint64_t duration_ns;
};

struct backup {
	struct job job;
	bool copying; /* the job is the worker's */
	void (*done)(void *user, bool ok); /* NULL: abandoned */
	void *user;

	unsigned int id;
	char *guest;
	struct image images[BACKUP_IMAGES_MAX];
	size_t n_images;
	char copy_error[PATH_MAX + 128]; /* the worker's, until the job is done */

	enum backup_state state;
	char *error;
	bool thawed_by_itself;
	uint64_t freezing_ns, frozen_ns, thawing_ns, thawed_ns; /* CLOCK_MONOTONIC; 0: not yet */
};

static int add_image(struct backup *b, const char *source, const char *directory)
{
	_cleanup_free_ char *copy = strdup(source);
	struct image *image = &b->images[b->n_images];

	if (!copy)
		return -ENOMEM;
	b->n_images++;
	image->source = strdup(source);
	if (!image->source || asprintf(&image->target, "%s/%s", directory, basename(copy)) < 0) {
		image->target = NULL;
		return -ENOMEM;
	}
	for (size_t i = 0; i < b->n_images - 1; i++)
		if (!strcmp(b->images[i].target, image->target))
			return BACKUP_BAD_REQUEST;
	return 0;
}

int backup_new(unsigned int id, const char *guest, const json_t *images, const char *directory,
	       struct backup **ret_backup)
{
	_cleanup_(cleanup_backupp) struct backup *b = NULL;
	const json_t *source;
	size_t i;
	int r;

	if (!json_is_array(images) || json_array_size(images) == 0 ||
	    json_array_size(images) > BACKUP_IMAGES_MAX || !directory || directory[0] != '/')
		return BACKUP_BAD_REQUEST;

	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->id = id;
	b->guest = strdup(guest);
	if (!b->guest)
		return -ENOMEM;
	json_array_foreach(images, i, source) {
		const char *path = json_string_value(source);

		if (!path || path[0] != '/')
			return BACKUP_BAD_REQUEST;
		r = add_image(b, path, directory);
		if (r)
			return r;
	}

	*ret_backup = steal_ptr(b);
	return 0;
}

struct backup *backup_free(struct backup *b)
{
	if (!b)
		return NULL;
	for (size_t i = 0; i < b->n_images; i++) {
		free(b->images[i].source);
		free(b->images[i].target);
	}
	free(b->guest);
	free(b->error);
	free(b);
	return NULL;
}

unsigned int backup_id(const struct backup *b)
{
	return b->id;
}

void backup_freezing(struct backup *b)
{
	b->state = BACKUP_FREEZING;
	b->freezing_ns = clock_monotonic_ns();
}

void backup_thawing(struct backup *b)
{
	b->state = BACKUP_THAWING;
	b->thawing_ns = clock_monotonic_ns();
}

void backup_thawed(struct backup *b)
{
	b->thawed_ns = clock_monotonic_ns();
}

static bool keep_going(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
	struct worker_job *work = user;

	(void)total_bytes;
	worker_job_set_progress(work, done_bytes);
	return !worker_job_should_stop(work);
}

static const char *copy_error_text(int r)
{
	switch (r) {
	case COPY_EXISTS:
		return "the target exists already";
	case COPY_CANCELLED:
		return "the backup was broken off";
	case COPY_NOT_A_FILE:
		return "it is not a regular file";
	default:
		return strerror(-r);
	}
}

/* In the worker's thread. */
static void run_copies(struct worker_job *work)
{
	struct backup *b = container_of(work, struct backup, job.work);
	const struct copy_options options = {.keep_going = keep_going, .user = work};

	for (size_t i = 0; i < b->n_images; i++) {
		struct image *image = &b->images[i];
		uint64_t start = clock_monotonic_ns();
		int r;

		r = copy_file(image->source, image->target, &options, &image->result);
		image->duration_ns = clock_monotonic_ns() - start;
		image->copied = r == 0;
		if (r) {
			snprintf(b->copy_error, sizeof(b->copy_error), "%s to %s: %s",
				 image->source, image->target, copy_error_text(r));
			return;
		}
	}
}

static void remove_copies(struct backup *b)
{
	for (size_t i = 0; i < b->n_images; i++) {
		if (b->images[i].copied && unlink(b->images[i].target) < 0)
			log_error("backup %u: %s is not consistent and cannot be removed: %m", b->id,
				  b->images[i].target);
		b->images[i].copied = false;
	}
}

static void copies_done(struct job *job)
{
	struct backup *b = container_of(job, struct backup, job);
	void (*done)(void *user, bool ok) = b->done;

	b->copying = false;
	b->done = NULL;
	if (done)
		done(b->user, b->copy_error[0] == '\0');
	else
		remove_copies(b);
}

int backup_copy(struct backup *b, struct jobs *jobs, void (*done)(void *user, bool ok), void *user)
{
	int r;

	b->state = BACKUP_COPYING;
	b->frozen_ns = clock_monotonic_ns();
	b->job.work.run = run_copies;
	b->job.done = copies_done;
	b->done = done;
	b->user = user;
	r = jobs_submit(jobs, &b->job);
	if (r)
		return r;
	b->copying = true;
	return 0;
}

void backup_end(struct backup *b, const char *error, bool thawed_by_itself)
{
	b->thawed_by_itself = thawed_by_itself;
	if (!error) {
		b->state = BACKUP_DONE;
		log_notice("%s: backup %u is done", b->guest, b->id);
		return;
	}

	b->state = BACKUP_FAILED;
	if (!b->copying && b->copy_error[0] != '\0')
		error = b->copy_error;
	b->error = strdup(error);
	log_warning("%s: backup %u failed: %s", b->guest, b->id, error);
	if (b->copying) {
		b->done = NULL;
		worker_job_cancel(&b->job.work);
	} else {
		remove_copies(b);
	}
}

bool backup_has_ended(const struct backup *b)
{
	return (b->state == BACKUP_DONE || b->state == BACKUP_FAILED) && !b->copying;
}

static json_t *image_status(const struct image *image)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:f}", "source", image->source, "target",
			 image->target, "method", copy_method_name(image->result.method), "bytes",
			 (json_int_t)image->result.size_bytes, "data_bytes",
			 (json_int_t)image->result.data_bytes, "seconds", image->duration_ns / 1e9);
}

static double between(uint64_t from, uint64_t to)
{
	return from && to > from ? (to - from) / 1e9 : 0;
}

json_t *backup_status(const struct backup *b)
{
	json_t *images = json_array();
	char id[16];

	snprintf(id, sizeof(id), "%u", b->id);
	for (size_t i = 0; !b->copying && i < b->n_images; i++)
		if (b->images[i].copied)
			json_array_append_new(images, image_status(&b->images[i]));

	return json_pack("{s:i, s:s, s:s, s:s, s:b, s:b, s:s*, s:f, s:f, s:f, s:I, s:o}", "schema",
			 1, "id", id, "guest", b->guest, "state", state_names[b->state], "ended",
			 backup_has_ended(b), "thawed_by_itself", b->thawed_by_itself, "error",
			 b->error, "freeze_seconds", between(b->freezing_ns, b->frozen_ns),
			 "frozen_seconds", between(b->frozen_ns, b->thawed_ns), "thaw_seconds",
			 between(b->thawing_ns, b->thawed_ns), "frozen_monotonic_ns",
			 (json_int_t)b->frozen_ns, "images", images);
}
