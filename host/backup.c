/* SPDX-License-Identifier: MIT */

/*
 * One backup.
 *
 *     WAITING -> PREPARING -> FREEZING -> HOLDING -> THAWING -> COPYING -> VERIFYING
 *         -> PUBLISHING -> DONE
 *         any of them, on an error, -> FAILED
 *
 * PREPARING does what takes time and can be done before: LVM is asked what it has, QEMU is given
 * targets. While HOLDING the guest stands still: what can share blocks is a copy or a snapshot at
 * once, the rest is copied (host/image). COPYING moves the data of the snapshots when the guest
 * goes on.
 *
 * A copy is not worth anything before the guest has answered THAW: only then it is known that the
 * guest stood still all the time. Until then the copies have names that nobody takes for a backup,
 * so that none remains if this program dies. PUBLISHING gives them the names of their images.
 *
 * If QEMU has the disks open, it can make the copies (host/qemu_backup): while HOLDING all are
 * begun at one moment, and COPYING waits for QEMU.
 *
 * All of that waits for disks, so a worker thread does it. It works on the array of images alone,
 * and the event loop does not look at an image while the job is the worker's. There are three
 * workers, so that nothing short waits for the long copies, and what guests stand still for waits
 * for nothing else: for that, for what is short before and after, and for the copies. A backup that
 * fails meanwhile (the guest is gone, say) abandons the job: the worker is asked to stop, and what
 * it has copied is removed when it has, by a worker again.
 */

#include "host/backup.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "host/image.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum backup_state {
	BACKUP_WAITING,
	BACKUP_PREPARING,
	BACKUP_FREEZING,
	BACKUP_HOLDING,
	BACKUP_THAWING,
	BACKUP_COPYING,
	BACKUP_VERIFYING,
	BACKUP_PUBLISHING,
	BACKUP_DONE,
	BACKUP_FAILED,
};

static const char *const state_names[] = {
	[BACKUP_WAITING] = "waiting",     [BACKUP_PREPARING] = "preparing",
	[BACKUP_FREEZING] = "freezing",   [BACKUP_HOLDING] = "holding",
	[BACKUP_THAWING] = "thawing",     [BACKUP_COPYING] = "copying",
	[BACKUP_VERIFYING] = "verifying", [BACKUP_PUBLISHING] = "publishing",
	[BACKUP_DONE] = "done",           [BACKUP_FAILED] = "failed",
};

struct backup {
	struct job job;
	struct backup_workers workers;
	bool working;        /* the job is a worker's */
	void (*done)(void *user, bool ok); /* NULL: abandoned */
	void *user;

	unsigned int id;
	char *guest;
	char *directory;
	char *since; /* the folder of an earlier backup; or NULL */
	struct image_options options;
	uint64_t total_bytes;  /* of all images, for the progress */
	uint64_t before_bytes; /* the worker's: of the images before this one */
	struct image images[BACKUP_IMAGES_MAX];
	size_t n_images;
	char work_error[2 * PATH_MAX + 128]; /* the worker's, until the job is done */

	bool has_vm; /* whose QEMU makes the copies */
	struct qemu_backup_vm vm;
	char *vm_name;
	struct qemu_backup *at_vm; /* what is under way there */

	enum backup_state state;
	char *error;
	bool thawed_by_itself;
	uint64_t freezing_ns, frozen_ns, thawing_ns, thawed_ns; /* CLOCK_MONOTONIC; 0: not yet */
};

static int add_image(struct backup *b, const char *source)
{
	struct image *image = &b->images[b->n_images++];
	int r = image_init(image, source, b->directory, b->since, b->id);

	if (r)
		return r;
	for (size_t i = 0; i < b->n_images - 1; i++)
		if (!strcmp(b->images[i].target, image->target))
			return BACKUP_BAD_REQUEST;
	return 0;
}

/* What the request says besides images and directory; all of it may be missing. */
static int take_options(struct backup *b, const json_t *request)
{
	const char *since = json_string_value(json_object_get(request, "since"));
	json_int_t cow = json_integer_value(json_object_get(request, "cow_bytes"));

	b->options.cow_bytes = cow > 0 ? (uint64_t)cow : 0;
	b->options.no_snapshot = json_is_true(json_object_get(request, "no_snapshot"));
	b->options.verify = json_is_true(json_object_get(request, "verify"));
	b->options.keep_base = json_is_true(json_object_get(request, "keep_base"));
	if (!since)
		return 0;
	if (since[0] != '/')
		return BACKUP_BAD_REQUEST;
	b->since = strdup(since);
	b->options.keep_base = true;
	return b->since ? 0 : -ENOMEM;
}

int backup_new(unsigned int id, const char *guest, const json_t *request, struct backup **ret_backup)
{
	const json_t *images = json_object_get(request, "images"), *source;
	const char *directory = json_string_value(json_object_get(request, "directory"));
	_cleanup_(cleanup_backupp) struct backup *b = NULL;
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
	r = take_options(b, request);
	if (r)
		return r;
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
	const char *path, *why;

	for (size_t i = 0; i < b->n_images; i++) {
		why = image_discard(&b->images[i], &path);
		if (why)
			log_error("backup %u: %s is not consistent and cannot be removed: %s", b->id,
				  path, why);
	}
}

struct backup *backup_free(struct backup *b)
{
	if (!b)
		return NULL;
	(void)qemu_backup_free(b->at_vm);
	if (b->state != BACKUP_DONE)
		remove_copies(b);
	for (size_t i = 0; i < b->n_images; i++)
		image_fini(&b->images[i]);
	free(b->guest);
	free(b->directory);
	free(b->since);
	free(b->vm_name);
	free(b->error);
	free(b);
	return NULL;
}

int backup_use_vm(struct backup *b, const struct qemu_backup_vm *vm)
{
	if (b->options.no_snapshot || b->options.verify || b->options.cow_bytes)
		return BACKUP_BAD_REQUEST;
	b->vm_name = strdup(vm->name);
	if (!b->vm_name)
		return -ENOMEM;
	b->has_vm = true;
	b->vm = *vm;
	b->vm.name = b->vm_name;
	return 0;
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
	struct backup *b = user;

	(void)total_bytes;
	worker_job_set_progress(&b->job.work, b->before_bytes + done_bytes);
	return !worker_job_should_stop(&b->job.work);
}

static struct copy_options copy_options(struct backup *b)
{
	return (struct copy_options){.keep_going = keep_going, .user = b};
}

int backup_check(struct backup *b, char *ret_why, size_t size)
{
	if (access(b->directory, W_OK | X_OK) < 0) {
		snprintf(ret_why, size, "%s: %m", b->directory);
		return BACKUP_NOT_POSSIBLE;
	}
	b->total_bytes = 0;
	for (size_t i = 0; i < b->n_images; i++) {
		struct image *image = &b->images[i];
		const char *why = image_prepare(image, b->directory);
		uint64_t size_bytes;

		if (why) {
			snprintf(ret_why, size, "%s to %s: %s", image->source, image->target, why);
			return BACKUP_NOT_POSSIBLE;
		}
		why = b->has_vm ? image_make_empty(image) : NULL;
		if (why) {
			snprintf(ret_why, size, "%s: %s", image->unpublished, why);
			return BACKUP_NOT_POSSIBLE;
		}
		if (copy_size(image->source, &size_bytes) == 0)
			b->total_bytes += size_bytes;
	}
	return 0;
}

/* In a worker's thread: one step for each image; false if it failed, and work_error says how. */
static bool for_images(struct backup *b, int (*step)(struct backup *b, struct image *image))
{
	b->before_bytes = 0;
	for (size_t i = 0; i < b->n_images; i++) {
		struct image *image = &b->images[i];
		int r = step(b, image);

		if (r) {
			snprintf(b->work_error, sizeof(b->work_error), "%s to %s: %s", image->source,
				 image->target, image_error_text(image, r));
			return false;
		}
		b->before_bytes += image->result.size_bytes;
	}
	return true;
}

static int look_step(struct backup *b, struct image *image)
{
	return image_look(image, &b->options, b->id);
}

static int fill_step(struct backup *b, struct image *image)
{
	const struct copy_options copy = copy_options(b);

	return image->is_incremental ? image_fill(image, &copy) : 0;
}

static int hold_step(struct backup *b, struct image *image)
{
	const struct copy_options copy = copy_options(b);

	return image_hold(image, &b->options, &copy);
}

static int copy_step(struct backup *b, struct image *image)
{
	const struct copy_options copy = copy_options(b);

	return image_copy_out(image, &b->options, &copy);
}

static int verify_step(struct backup *b, struct image *image)
{
	const struct copy_options copy = copy_options(b);

	return image_verify(image, &copy);
}

static int publish_step(struct backup *b, struct image *image)
{
	return image_publish(image, &b->options);
}

static void run_prepare(struct worker_job *work)
{
	lvm_remove_left(true);
	(void)for_images(container_of(work, struct backup, job.work), look_step);
}

static void run_fill(struct worker_job *work)
{
	(void)for_images(container_of(work, struct backup, job.work), fill_step);
}

static void run_hold(struct worker_job *work)
{
	(void)for_images(container_of(work, struct backup, job.work), hold_step);
}

static void run_copies(struct worker_job *work)
{
	(void)for_images(container_of(work, struct backup, job.work), copy_step);
}

static void run_verify(struct worker_job *work)
{
	(void)for_images(container_of(work, struct backup, job.work), verify_step);
}

static void run_publish(struct worker_job *work)
{
	struct backup *b = container_of(work, struct backup, job.work);
	_cleanup_close_ int folder_fd = open(b->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (for_images(b, publish_step) && (folder_fd < 0 || fsync(folder_fd) < 0))
		snprintf(b->work_error, sizeof(b->work_error), "%s: %m", b->directory);
}

static int submit(struct backup *b, struct jobs *jobs, void (*run)(struct worker_job *work),
		  void (*done)(struct job *job))
{
	int r;

	b->job.work.run = run;
	b->job.done = done;
	r = jobs_submit(jobs, &b->job);
	b->working = r == 0;
	return r;
}

static void run_discard(struct worker_job *work)
{
	remove_copies(container_of(work, struct backup, job.work));
}

static void discarded(struct job *job)
{
	container_of(job, struct backup, job)->working = false;
}

/* Not behind the copies of others: what a volume's snapshot takes is felt by its guest. */
static void discard(struct backup *b)
{
	if (!b->workers.asides || submit(b, b->workers.asides, run_discard, discarded))
		remove_copies(b);
}

/* A step that the guest's machine waits for is over; so is the wait, if nobody has given up on it. */
static void tell(struct backup *b, bool ok)
{
	void (*done)(void *user, bool ok) = b->done;

	b->done = NULL;
	if (done)
		done(b->user, ok);
	else
		discard(b);
}

static void step_held(struct job *job)
{
	struct backup *b = container_of(job, struct backup, job);

	b->working = false;
	tell(b, b->work_error[0] == '\0');
}

static void held_at_vm(void *user, const char *error)
{
	struct backup *b = user;

	if (error)
		snprintf(b->work_error, sizeof(b->work_error), "%s", error);
	tell(b, !error);
}

static void filled(struct job *job)
{
	struct backup *b = container_of(job, struct backup, job);

	b->working = false;
	if (b->done && b->work_error[0] == '\0')
		qemu_backup_add(b->at_vm, held_at_vm, b);
	else
		tell(b, false);
}

/* QEMU knows the images: what of them is to be copied, and from what the copies begin. */
static void found_at_vm(void *user, const char *error)
{
	struct backup *b = user;
	bool any = false;

	for (size_t i = 0; !error && i < b->n_images; i++) {
		struct image *image = &b->images[i];
		const char *why;

		image->is_incremental = qemu_backup_is_incremental(b->at_vm, i, &why);
		image->full_why = why ? why : image->full_why;
		any |= image->is_incremental;
	}
	if (error)
		held_at_vm(b, error);
	else if (!any)
		qemu_backup_add(b->at_vm, held_at_vm, b);
	else if (submit(b, b->workers.copies, run_fill, filled))
		held_at_vm(b, "the worker takes no work");
}

static int prepare_at_vm(struct backup *b)
{
	struct qemu_backup_image images[BACKUP_IMAGES_MAX];
	int r;

	for (size_t i = 0; i < b->n_images; i++) {
		struct image *image = &b->images[i];

		image_find_tags(image, &b->options);
		images[i] = (struct qemu_backup_image){
			.source = image->source,
			.target = image->unpublished,
			.earlier_tag = image->earlier_tag[0] ? image->earlier_tag : NULL,
			.tag = image->tag[0] ? image->tag : NULL,
		};
	}
	r = qemu_backup_new(&b->vm, b->id, images, b->n_images, &b->at_vm);
	if (r == 0)
		qemu_backup_find(b->at_vm, found_at_vm, b);
	return r;
}

static bool has_volumes(const struct backup *b)
{
	for (size_t i = 0; i < b->n_images; i++)
		if (b->images[i].is_volume && !b->options.no_snapshot)
			return true;
	return false;
}

int backup_prepare(struct backup *b, const struct backup_workers *workers,
		   void (*done)(void *user, bool ok), void *user)
{
	b->state = BACKUP_PREPARING;
	b->workers = *workers;
	b->done = done;
	b->user = user;
	if (b->has_vm)
		return prepare_at_vm(b);
	if (has_volumes(b))
		return submit(b, workers->asides, run_prepare, step_held);
	tell(b, true);
	return 0;
}

int backup_hold(struct backup *b, void (*done)(void *user, bool ok), void *user)
{
	b->state = BACKUP_HOLDING;
	b->frozen_ns = clock_monotonic_ns();
	b->done = done;
	b->user = user;
	if (!b->has_vm)
		return submit(b, b->workers.frozen, run_hold, step_held);
	qemu_backup_begin(b->at_vm, held_at_vm, b);
	return 0;
}

static void fail(struct backup *b, const char *error)
{
	b->state = BACKUP_FAILED;
	b->error = strdup(error);
	log_warning("%s: backup %u failed: %s", b->guest, b->id, error);
	b->at_vm = qemu_backup_free(b->at_vm);
	if (b->working) {
		b->done = NULL;
		worker_job_cancel(&b->job.work);
	} else {
		discard(b);
	}
}

static void step_done(struct job *job);
static void copied_at_vm(void *user, const char *error);

/* The guest stood still, and goes on: gives the next step to the worker, or is done. */
static void next_step(struct backup *b)
{
	void (*run)(struct worker_job *work) = NULL;

	switch (b->state) {
	case BACKUP_THAWING:
		b->state = BACKUP_COPYING;
		run = run_copies;
		if (b->has_vm) {
			qemu_backup_finish(b->at_vm, copied_at_vm, b);
			return;
		}
		break;
	case BACKUP_COPYING:
		b->state = b->options.verify ? BACKUP_VERIFYING : BACKUP_PUBLISHING;
		run = b->options.verify ? run_verify : run_publish;
		break;
	case BACKUP_VERIFYING:
		b->state = BACKUP_PUBLISHING;
		run = run_publish;
		break;
	case BACKUP_PUBLISHING:
		b->state = BACKUP_DONE;
		log_notice("%s: backup %u is done", b->guest, b->id);
		return;
	case BACKUP_WAITING:
	case BACKUP_PREPARING:
	case BACKUP_FREEZING:
	case BACKUP_HOLDING:
	case BACKUP_DONE:
	case BACKUP_FAILED:
		return;
	}
	if (submit(b, b->workers.copies, run, step_done))
		fail(b, "the worker takes no work");
}

static void step_done(struct job *job)
{
	struct backup *b = container_of(job, struct backup, job);

	b->working = false;
	if (b->work_error[0] != '\0')
		fail(b, b->work_error);
	else
		next_step(b);
}

static void copied_at_vm(void *user, const char *error)
{
	struct backup *b = user;
	char text[sizeof(b->work_error)];

	snprintf(text, sizeof(text), "%s", error ? error : "");
	for (size_t i = 0; !error && i < b->n_images; i++) {
		struct image *image = &b->images[i];

		image->result.data_bytes = qemu_backup_copied(b->at_vm, i);
		image->duration_ns = clock_monotonic_ns() - b->frozen_ns;
		(void)!copy_size(image->unpublished, &image->result.size_bytes);
	}
	b->at_vm = qemu_backup_free(b->at_vm);
	if (error)
		fail(b, text);
	else
		next_step(b);
}

void backup_end(struct backup *b, const char *error, bool thawed_by_itself)
{
	b->thawed_by_itself = thawed_by_itself;
	if (!error)
		next_step(b);
	else if (!b->working && b->work_error[0] != '\0')
		fail(b, b->work_error);
	else
		fail(b, error);
}

bool backup_has_ended(const struct backup *b)
{
	return (b->state == BACKUP_DONE || b->state == BACKUP_FAILED) && !b->working;
}

static double between(uint64_t from, uint64_t to)
{
	return from && to > from ? (to - from) / 1e9 : 0;
}

json_t *backup_status(const struct backup *b)
{
	uint64_t done_bytes = b->working ? worker_job_progress(&b->job.work)
			      : b->at_vm ? qemu_backup_progress(b->at_vm)
					 : 0;
	uint64_t total_bytes = b->at_vm && !b->working ? qemu_backup_total(b->at_vm) : b->total_bytes;
	json_t *images = json_array();
	char id[16];

	snprintf(id, sizeof(id), "%u", b->id);
	for (size_t i = 0; !b->working && i < b->n_images; i++)
		if (b->images[i].copied)
			json_array_append_new(images, image_status(&b->images[i]));

	return json_pack("{s:i, s:s, s:s, s:s, s:b, s:b, s:s*, s:f, s:f, s:f, s:I, s:I, s:I, s:o}", "schema",
			 1, "id", id, "guest", b->guest, "state", state_names[b->state], "ended",
			 backup_has_ended(b), "thawed_by_itself", b->thawed_by_itself, "error",
			 b->error, "freeze_seconds", between(b->freezing_ns, b->frozen_ns),
			 "frozen_seconds", between(b->frozen_ns, b->thawed_ns), "thaw_seconds",
			 between(b->thawing_ns, b->thawed_ns), "frozen_monotonic_ns",
			 (json_int_t)b->frozen_ns, "done_bytes", (json_int_t)done_bytes, "total_bytes",
			 (json_int_t)total_bytes, "images", images);
}
