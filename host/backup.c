/* SPDX-License-Identifier: MIT */

/*
 * One backup.
 *
 *     WAITING -> FREEZING -> COPYING -> THAWING -> PUBLISHING -> DONE
 *         any of them, on an error, -> FAILED
 *
 * A copy is not worth anything before the guest has answered THAW: only then it is known that the
 * guest stood still all the time. Until then the copies have names that nobody takes for a backup,
 * so that none remains if this program dies. PUBLISHING gives them the names of their images.
 *
 * Copying and publishing wait for disks, so the worker thread does them. It works on the array of
 * images alone, and the event loop does not look at an image while the job is the worker's. A
 * backup that fails meanwhile (the guest is gone, say) abandons the job: the worker is asked to
 * stop, and what it has copied is removed when it has.
 */

#include "host/backup.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/copy.h"
#include "base/log.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum backup_state {
	BACKUP_WAITING,
	BACKUP_FREEZING,
	BACKUP_COPYING,
	BACKUP_THAWING,
	BACKUP_PUBLISHING,
	BACKUP_DONE,
	BACKUP_FAILED,
};

static const char *const state_names[] = {
	[BACKUP_WAITING] = "waiting",       [BACKUP_FREEZING] = "freezing",
	[BACKUP_COPYING] = "copying",       [BACKUP_THAWING] = "thawing",
	[BACKUP_PUBLISHING] = "publishing", [BACKUP_DONE] = "done",
	[BACKUP_FAILED] = "failed",
};

struct image {
	char *source;
	char *unpublished; /* the copy's name before the backup is known to be good */
	char *target;
	bool copied;
	bool published;
	struct copy_result result;
	uint64_t duration_ns;
};

struct backup {
	struct job job;
	struct jobs *jobs;
	bool working; /* the job is the worker's */
	void (*done)(void *user, bool ok); /* NULL: abandoned */
	void *user;

	unsigned int id;
	char *guest;
	char *directory;
	struct image images[BACKUP_IMAGES_MAX];
	size_t n_images;
	char work_error[2 * PATH_MAX + 128]; /* the worker's, until the job is done */

	enum backup_state state;
	char *error;
	bool thawed_by_itself;
	uint64_t freezing_ns, frozen_ns, thawing_ns, thawed_ns; /* CLOCK_MONOTONIC; 0: not yet */
};

static int add_image(struct backup *b, const char *source)
{
	_cleanup_free_ char *copy = strdup(source);
	struct image *image = &b->images[b->n_images];
	const char *name;

	if (!copy)
		return -ENOMEM;
	b->n_images++;
	name = basename(copy);
	image->source = strdup(source);
	if (!image->source)
		return -ENOMEM;
	if (asprintf(&image->target, "%s/%s", b->directory, name) < 0) {
		image->target = NULL;
		return -ENOMEM;
	}
	if (asprintf(&image->unpublished, "%s/.%s.unfinished-%d-%u", b->directory, name, getpid(),
		     b->id) < 0) {
		image->unpublished = NULL;
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
	b->directory = strdup(directory);
	if (!b->guest || !b->directory)
		return -ENOMEM;
	json_array_foreach(images, i, source) {
		const char *path = json_string_value(source);

		if (!path || path[0] != '/')
			return BACKUP_BAD_REQUEST;
		r = add_image(b, path);
		if (r)
			return r;
	}

	*ret_backup = steal_ptr(b);
	return 0;
}

static void remove_copies(struct backup *b)
{
	for (size_t i = 0; i < b->n_images; i++) {
		struct image *image = &b->images[i];
		const char *path = image->published ? image->target : image->unpublished;

		if (image->copied && unlink(path) < 0)
			log_error("backup %u: %s is not consistent and cannot be removed: %m", b->id,
				  path);
		image->copied = image->published = false;
	}
}

struct backup *backup_free(struct backup *b)
{
	if (!b)
		return NULL;
	if (b->state != BACKUP_DONE)
		remove_copies(b);
	for (size_t i = 0; i < b->n_images; i++) {
		free(b->images[i].source);
		free(b->images[i].unpublished);
		free(b->images[i].target);
	}
	free(b->guest);
	free(b->directory);
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

static void work_failed(struct backup *b, const struct image *image, int r)
{
	snprintf(b->work_error, sizeof(b->work_error), "%s to %s: %s", image->source, image->target,
		 copy_error_text(r));
}

/* Why the copy cannot be made, as far as can be told without making it; NULL: nothing is known. */
static const char *obstacle(const struct image *image)
{
	struct stat st;

	if (stat(image->source, &st) < 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return copy_error_text(COPY_NOT_A_FILE);
	return lstat(image->target, &st) == 0 ? copy_error_text(COPY_EXISTS) : NULL;
}

int backup_check(const struct backup *b, char *ret_why, size_t size)
{
	if (access(b->directory, W_OK | X_OK) < 0) {
		snprintf(ret_why, size, "%s: %m", b->directory);
		return BACKUP_NOT_POSSIBLE;
	}
	for (size_t i = 0; i < b->n_images; i++) {
		const char *why = obstacle(&b->images[i]);

		if (!why)
			continue;
		snprintf(ret_why, size, "%s to %s: %s", b->images[i].source, b->images[i].target,
			 why);
		return BACKUP_NOT_POSSIBLE;
	}
	return 0;
}

/* In the worker's thread. */
static void run_copies(struct worker_job *work)
{
	struct backup *b = container_of(work, struct backup, job.work);
	const struct copy_options options = {
		.replace = true, /* what a predecessor of the same process id has left */
		.keep_going = keep_going,
		.user = work,
	};

	for (size_t i = 0; i < b->n_images; i++) {
		struct image *image = &b->images[i];
		uint64_t start = clock_monotonic_ns();
		int r;

		r = copy_file(image->source, image->unpublished, &options, &image->result);
		image->duration_ns = clock_monotonic_ns() - start;
		image->copied = r == 0;
		if (r) {
			work_failed(b, image, r);
			return;
		}
	}
}

static void copies_done(struct job *job)
{
	struct backup *b = container_of(job, struct backup, job);
	void (*done)(void *user, bool ok) = b->done;

	b->working = false;
	b->done = NULL;
	if (done)
		done(b->user, b->work_error[0] == '\0');
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
	b->jobs = jobs;
	b->done = done;
	b->user = user;
	r = jobs_submit(jobs, &b->job);
	if (r)
		return r;
	b->working = true;
	return 0;
}

static int publish(struct image *image)
{
	if (renameat2(AT_FDCWD, image->unpublished, AT_FDCWD, image->target, RENAME_NOREPLACE) < 0)
		return errno == EEXIST ? COPY_EXISTS : negative_errno();
	image->published = true;
	return 0;
}

/* In the worker's thread. */
static void run_publish(struct worker_job *work)
{
	struct backup *b = container_of(work, struct backup, job.work);
	_cleanup_close_ int folder_fd = open(b->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	for (size_t i = 0; i < b->n_images; i++) {
		r = publish(&b->images[i]);
		if (r) {
			work_failed(b, &b->images[i], r);
			return;
		}
	}
	if (folder_fd < 0 || fsync(folder_fd) < 0)
		snprintf(b->work_error, sizeof(b->work_error), "%s: %m", b->directory);
}

static void fail(struct backup *b, const char *error)
{
	b->state = BACKUP_FAILED;
	b->error = strdup(error);
	log_warning("%s: backup %u failed: %s", b->guest, b->id, error);
	if (b->working) {
		b->done = NULL;
		worker_job_cancel(&b->job.work);
	} else {
		remove_copies(b);
	}
}

static void published(struct job *job)
{
	struct backup *b = container_of(job, struct backup, job);

	b->working = false;
	if (b->work_error[0] != '\0') {
		fail(b, b->work_error);
		return;
	}
	b->state = BACKUP_DONE;
	log_notice("%s: backup %u is done", b->guest, b->id);
}

/* The guest stood still: these are backups. */
static void begin_publishing(struct backup *b)
{
	b->state = BACKUP_PUBLISHING;
	b->job.work.run = run_publish;
	b->job.done = published;
	if (jobs_submit(b->jobs, &b->job))
		fail(b, "the copies cannot be given their names");
	else
		b->working = true;
}

void backup_end(struct backup *b, const char *error, bool thawed_by_itself)
{
	b->thawed_by_itself = thawed_by_itself;
	if (!error)
		begin_publishing(b);
	else if (!b->working && b->work_error[0] != '\0')
		fail(b, b->work_error);
	else
		fail(b, error);
}

bool backup_has_ended(const struct backup *b)
{
	return (b->state == BACKUP_DONE || b->state == BACKUP_FAILED) && !b->working;
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
	for (size_t i = 0; !b->working && i < b->n_images; i++)
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
