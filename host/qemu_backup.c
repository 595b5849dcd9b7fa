/* SPDX-License-Identifier: MIT */

/*
 * Backup by QEMU.
 *
 *     CLEARING --nothing left of others--> FINDING --nodes found--> FOUND
 *         --(targets are filled)--> ADDING --each target is a node--> ADDED
 *         --(the guest stands still)--> BEGINNING --transaction--> COPYING
 *         --every job has concluded--> CLOSING --no target is a node--> DONE
 *     any of them, on an error --> FAILED; freed before DONE --> CANCELLING --> gone
 *
 * QEMU knows a disk by its node in the block graph (host/qemu_node). Each target becomes a node,
 * too: of a qcow2 image a new qcow2 image, which QEMU makes. All of that is done while the guest
 * runs. Then one transaction begins a blockdev-backup of each, so that all are of one moment, and
 * that command is all that the guest stands still for. From then on QEMU copies what is about to
 * be overwritten before it is (copy before write), and the rest at leisure, while the guest runs.
 * That takes no snapshot on the disk, and leaves nothing behind if anything fails.
 *
 * What changes after a copy is noted by a bitmap in QEMU that has the copy's tag in its name. It
 * is made in the transaction that begins the copy, so it knows of every write since. The next copy
 * begins as a copy of the earlier one, and QEMU writes what the bitmap has. Each copy has a bitmap
 * of its own; that of the earlier one is not changed until the new copy is complete, and removed
 * then. In a qcow2 image a bitmap outlives QEMU, of a raw one it does not.
 *
 * A target is a whole image only when QEMU has closed it.
 *
 * A job that is cancelled has not ended at once, and its target is in use until it has; so who is
 * freed too early stays until QEMU has nothing of it any more, a minute at most.
 *
 * What a killed predecessor has left in QEMU, jobs and nodes, has its process number in the name.
 * It is ended and taken out when the next copy begins.
 *
 * Source: QEMU docs/interop/live-block-operations.rst, bitmaps.rst, qapi/block-core.json.
 */

#include "host/qemu_backup.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "host/qemu_node.h"
#include "host/qmp_wire.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define POLL_NS   UINT64_C(200000000)
#define CREATE_NS UINT64_C(20000000) /* the same, while an empty image is made */
#define CANCEL_NS UINT64_C(60000000000)

enum qemu_backup_state {
	QEMU_BACKUP_CLEARING,
	QEMU_BACKUP_FINDING,
	QEMU_BACKUP_FOUND,
	QEMU_BACKUP_ADDING,
	QEMU_BACKUP_ADDED,
	QEMU_BACKUP_BEGINNING,
	QEMU_BACKUP_COPYING,
	QEMU_BACKUP_CLOSING,
	QEMU_BACKUP_DONE,
	QEMU_BACKUP_FAILED,
	QEMU_BACKUP_CANCELLING,
};

struct qemu_backup_copy {
	char *source;
	char *target;
	char *earlier_tag; /* or NULL */
	char *tag;         /* or NULL */
	struct qemu_node node; /* the image's */
	bool is_incremental;
	bool creating;   /* a job that makes the target is there */
	bool added;      /* the target is a node */
	bool begun;      /* its job is there, and its bitmap */
	bool concluded;
	uint64_t copied_bytes, total_bytes;
};

struct qemu_backup {
	struct qemu_backup_vm vm;
	char *name; /* of the VM */
	unsigned int id;
	enum qemu_backup_state state;
	struct event *timer;
	struct qemu_backup_copy *copies;
	size_t n_copies;
	size_t at; /* ADDING: the copy whose target is being added; CLOSING: how many are closed */
	uint64_t give_up_ns; /* CLEARING, CANCELLING */
	qemu_backup_done *done; /* NULL: nobody waits */
	void *user;
	char error[320];
};

static void add_next(struct qemu_backup *q);

/* "hvguest-4711-1-0": of the job, and of the target's node. */
static const char *name_of(const struct qemu_backup *q, size_t i, char name[40])
{
	snprintf(name, 40, "hvguest-%d-%u-%zu", (int)getpid(), q->id, i);
	return name;
}

static struct qmp *qmp_of(const struct qemu_backup *q)
{
	return q->vm.get_qmp(q->vm.user, q->name);
}

static void tell(struct qemu_backup *q, const char *error)
{
	qemu_backup_done *done = q->done;

	q->done = NULL;
	if (done)
		done(q->user, error);
}

static void fail(struct qemu_backup *q, const char *what, const char *error)
{
	if (q->state == QEMU_BACKUP_FAILED || q->state == QEMU_BACKUP_CANCELLING)
		return;
	q->state = QEMU_BACKUP_FAILED;
	snprintf(q->error, sizeof(q->error), "QEMU: %s: %s", what, error);
	timer_set(q->timer, 0); /* and tells; not from within a call */
}

static void ask(struct qemu_backup *q, const char *command, json_t *take_arguments, qmp_done *done)
{
	struct qmp *qmp = qmp_of(q);

	if (!qmp)
		json_decref(take_arguments);
	if (!qmp || qmp_ask(qmp, command, take_arguments, 0, done, q))
		fail(q, command, "it cannot be asked");
}

/* Asks and does not care: to clean up. */
static void ask_in_passing(struct qemu_backup *q, const char *command, const char *key,
			   const char *value)
{
	struct qmp *qmp = qmp_of(q);

	if (qmp)
		(void)!qmp_ask(qmp, command, json_pack("{s:s}", key, value), 0, NULL, NULL);
}

/* Of the bitmap with this tag. */
static const char *bitmap_of(const char *tag, char name[QEMU_BITMAP_NAME_SIZE])
{
	snprintf(name, QEMU_BITMAP_NAME_SIZE, QEMU_BITMAP_PREFIX "%s", tag);
	return name;
}

/* Whether a job or a node of this name was made by a process that is no more. */
static bool is_left(const char *name)
{
	int process;

	return name && sscanf(name, "hvguest-%d-", &process) == 1 && process > 0 &&
	       kill(process, 0) < 0 && errno == ESRCH;
}

static void clear_nodes(struct qemu_backup *q, const json_t *nodes)
{
	const json_t *node;
	size_t i;

	json_array_foreach(nodes, i, node) {
		const char *name = json_string_value(json_object_get(node, "node-name"));

		if (is_left(name))
			ask_in_passing(q, "blockdev-del", "node-name", name);
	}
}

static void on_nodes(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	if (error) {
		fail(q, "query-named-block-nodes", error);
		return;
	}
	clear_nodes(q, value);
	for (size_t i = 0; i < q->n_copies; i++) {
		struct qemu_backup_copy *copy = &q->copies[i];
		const char *why = qemu_node_find(value, copy->source, &copy->node);

		if (why) {
			fail(q, copy->source, why);
			return;
		}
		copy->is_incremental =
			copy->earlier_tag && qemu_node_has_bitmap(&copy->node, copy->earlier_tag);
		copy->total_bytes = copy->node.size_bytes;
	}
	q->state = QEMU_BACKUP_FOUND;
	tell(q, NULL);
}

/* Ends the jobs that were left, and waits for their end. */
static void on_jobs_left(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;
	bool all_ended = true;
	const json_t *job;
	size_t i;

	json_array_foreach(value, i, job) {
		const char *id = json_string_value(json_object_get(job, "id"));
		const char *status = json_string_value(json_object_get(job, "status"));

		if (!is_left(id))
			continue;
		if (status && !strcmp(status, "concluded")) {
			ask_in_passing(q, "job-dismiss", "id", id);
		} else {
			ask_in_passing(q, "job-cancel", "id", id);
			all_ended = false;
		}
	}
	if (error) {
		fail(q, "query-jobs", error);
	} else if (!all_ended && clock_monotonic_ns() < q->give_up_ns) {
		timer_set(q->timer, clock_monotonic_ns() + POLL_NS);
	} else {
		q->give_up_ns = 0;
		q->state = QEMU_BACKUP_FINDING;
		ask(q, "query-named-block-nodes", json_pack("{s:b}", "flat", true), on_nodes);
	}
}

static void on_begun(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	(void)value;
	if (error) {
		fail(q, "blockdev-backup", error);
		return;
	}
	for (size_t i = 0; i < q->n_copies; i++)
		q->copies[i].begun = true;
	q->state = QEMU_BACKUP_COPYING;
	timer_set(q->timer, clock_monotonic_ns() + POLL_NS);
	tell(q, NULL);
}

static json_t *backup_action(const struct qemu_backup *q, size_t i)
{
	const struct qemu_backup_copy *copy = &q->copies[i];
	char name[40], bitmap[QEMU_BITMAP_NAME_SIZE];
	json_t *data;

	name_of(q, i, name);
	data = json_pack("{s:s, s:s, s:s, s:s, s:b}", "job-id", name, "device", copy->node.name, "target",
			 name, "sync", copy->is_incremental ? "bitmap" : "full", "auto-dismiss", false);
	if (copy->is_incremental) {
		json_object_set_new(data, "bitmap", json_string(bitmap_of(copy->earlier_tag, bitmap)));
		json_object_set_new(data, "bitmap-mode", json_string("never"));
	}
	return json_pack("{s:s, s:o}", "type", "blockdev-backup", "data", data);
}

static json_t *bitmap_action(const struct qemu_backup_copy *copy)
{
	char bitmap[QEMU_BITMAP_NAME_SIZE];

	return json_pack("{s:s, s:{s:s, s:s, s:b}}", "type", "block-dirty-bitmap-add", "data", "node",
			 copy->node.name, "name", bitmap_of(copy->tag, bitmap), "persistent",
			 copy->node.is_qcow2);
}

static void begin_all(struct qemu_backup *q)
{
	json_t *actions = json_array();

	q->state = QEMU_BACKUP_BEGINNING;
	for (size_t i = 0; i < q->n_copies; i++) {
		if (q->copies[i].tag)
			json_array_append_new(actions, bitmap_action(&q->copies[i]));
		json_array_append_new(actions, backup_action(q, i));
	}
	ask(q, "transaction", json_pack("{s:o}", "actions", actions), on_begun);
}

static void on_added(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	(void)value;
	if (error) {
		fail(q, q->copies[q->at].target, error);
		return;
	}
	q->at++;
	add_next(q);
}

static void on_node(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;
	const struct qemu_backup_copy *copy = &q->copies[q->at];
	char name[40];

	q->copies[q->at].added = !error;
	if (error || !copy->node.is_qcow2 || !copy->is_incremental) {
		on_added(user, value, error);
		return;
	}
	/* It is as large as the disk was then. */
	ask(q, "block_resize",
	    json_pack("{s:s, s:I}", "node-name", name_of(q, q->at, name), "size",
		      (json_int_t)copy->node.size_bytes),
	    on_added);
}

static void add_node(struct qemu_backup *q)
{
	const struct qemu_backup_copy *copy = &q->copies[q->at];
	char name[40];

	ask(q, "blockdev-add",
	    json_pack("{s:s, s:s, s:{s:s, s:s}}", "driver", copy->node.is_qcow2 ? "qcow2" : "raw",
		      "node-name", name_of(q, q->at, name), "file", "driver", "file", "filename",
		      copy->target),
	    on_node);
}

static void on_creating(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	(void)value;
	if (error) {
		fail(q, q->copies[q->at].target, error);
		return;
	}
	q->copies[q->at].creating = true;
	timer_set(q->timer, clock_monotonic_ns() + CREATE_NS);
}

/* An empty qcow2 image in the file; a job of QEMU's. */
static void create(struct qemu_backup *q)
{
	const struct qemu_backup_copy *copy = &q->copies[q->at];
	char name[40];

	ask(q, "blockdev-create",
	    json_pack("{s:s, s:{s:s, s:{s:s, s:s}, s:I}}", "job-id", name_of(q, q->at, name), "options",
		      "driver", "qcow2", "file", "driver", "file", "filename", copy->target, "size",
		      (json_int_t)copy->node.size_bytes),
	    on_creating);
}

/* The next target becomes a node; after the last one all copies can begin. */
static void add_next(struct qemu_backup *q)
{
	const struct qemu_backup_copy *copy = &q->copies[q->at];

	if (q->at == q->n_copies) {
		q->state = QEMU_BACKUP_ADDED;
		tell(q, NULL);
		return;
	}
	if (copy->node.is_qcow2 && !copy->is_incremental)
		create(q);
	else if (!copy->node.is_qcow2 && truncate(copy->target, (off_t)copy->node.size_bytes) < 0)
		fail(q, copy->target, strerror(errno));
	else
		add_node(q);
}

/* What has become of one job. False: it has failed. */
static bool take_job(struct qemu_backup *q, struct qemu_backup_copy *copy, const json_t *job)
{
	const char *status = json_string_value(json_object_get(job, "status"));
	const char *error = json_string_value(json_object_get(job, "error"));

	if (!job)
		fail(q, copy->source, "its job is gone");
	(void)!qmp_number(json_object_get(job, "current-progress"), &copy->copied_bytes);
	(void)!qmp_number(json_object_get(job, "total-progress"), &copy->total_bytes);
	if (!status || strcmp(status, "concluded") != 0)
		return job != NULL;
	if (error)
		fail(q, copy->source, error);
	copy->concluded = true;
	return !error;
}

static const json_t *job_named(const json_t *jobs, const char *name)
{
	const json_t *job;
	size_t i;

	json_array_foreach(jobs, i, job) {
		const char *id = json_string_value(json_object_get(job, "id"));

		if (id && !strcmp(id, name))
			return job;
	}
	return NULL;
}

static void remove_bitmap(struct qemu_backup *q, const char *node, const char *bitmap)
{
	struct qmp *qmp = qmp_of(q);

	if (qmp)
		(void)!qmp_ask(qmp, "block-dirty-bitmap-remove",
			       json_pack("{s:s, s:s}", "node", node, "name", bitmap), 0, NULL, NULL);
}

/* Of the bitmaps that were there before and the new one, one is enough. */
static void clean_up_bitmaps(struct qemu_backup *q, const struct qemu_backup_copy *copy)
{
	char bitmap[QEMU_BITMAP_NAME_SIZE];

	if (!copy->tag)
		return;
	if (q->state != QEMU_BACKUP_DONE)
		remove_bitmap(q, copy->node.name, bitmap_of(copy->tag, bitmap));
	for (size_t i = 0; q->state == QEMU_BACKUP_DONE && i < copy->node.n_bitmaps; i++)
		remove_bitmap(q, copy->node.name, copy->node.bitmaps[i]);
}

/* CANCELLING: takes what has ended out of QEMU again. */
static void clean_up(struct qemu_backup *q)
{
	char name[40];

	for (size_t i = 0; i < q->n_copies; i++) {
		const struct qemu_backup_copy *copy = &q->copies[i];

		name_of(q, i, name);
		if (copy->begun || copy->creating)
			ask_in_passing(q, "job-dismiss", "id", name);
		if (copy->added)
			ask_in_passing(q, "blockdev-del", "node-name", name);
		if (copy->begun)
			clean_up_bitmaps(q, copy);
	}
}

static void destroy(struct qemu_backup *q)
{
	struct qmp *qmp = q->name ? qmp_of(q) : NULL;

	if (qmp)
		qmp_forget(qmp, q);
	for (size_t i = 0; q->copies && i < q->n_copies; i++) {
		free(q->copies[i].source);
		free(q->copies[i].target);
		free(q->copies[i].earlier_tag);
		free(q->copies[i].tag);
	}
	if (q->timer)
		event_free(q->timer);
	free(q->copies);
	free(q->name);
	free(q);
}

/* CANCELLING: all that there is has ended. */
static bool has_ended(const struct qemu_backup *q, const json_t *jobs)
{
	char name[40];

	for (size_t i = 0; i < q->n_copies; i++) {
		const json_t *job = job_named(jobs, name_of(q, i, name));
		const char *status = json_string_value(json_object_get(job, "status"));

		if (status && strcmp(status, "concluded") != 0)
			return false;
	}
	return true;
}

static void on_cancelled(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	if (!error && !has_ended(q, value) && clock_monotonic_ns() < q->give_up_ns) {
		timer_set(q->timer, clock_monotonic_ns() + POLL_NS);
		return;
	}
	if (!error)
		clean_up(q);
	q->state = QEMU_BACKUP_DONE;
	timer_set(q->timer, 0); /* is freed; not in its own answer */
}

static void cancel(struct qemu_backup *q)
{
	char name[40];

	q->state = QEMU_BACKUP_CANCELLING;
	q->done = NULL;
	q->give_up_ns = clock_monotonic_ns() + CANCEL_NS;
	for (size_t i = 0; i < q->n_copies; i++)
		if (q->copies[i].creating || (q->copies[i].begun && !q->copies[i].concluded))
			ask_in_passing(q, "job-cancel", "id", name_of(q, i, name));
	timer_set(q->timer, 0);
}

/* ADDING: an empty image is made, or could not be. */
static void on_created(struct qemu_backup *q, const json_t *jobs)
{
	struct qemu_backup_copy *copy = &q->copies[q->at];
	char name[40];

	copy->concluded = false;
	if (!take_job(q, copy, job_named(jobs, name_of(q, q->at, name))))
		return;
	if (!copy->concluded) {
		timer_set(q->timer, clock_monotonic_ns() + CREATE_NS);
		return;
	}
	copy->concluded = copy->creating = false;
	copy->copied_bytes = 0;
	copy->total_bytes = copy->node.size_bytes;
	ask_in_passing(q, "job-dismiss", "id", name);
	add_node(q);
}

static void on_closed(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	(void)value;
	if (error) {
		fail(q, "blockdev-del", error);
		return;
	}
	if (++q->at < q->n_copies)
		return;
	q->state = QEMU_BACKUP_DONE;
	for (size_t i = 0; i < q->n_copies; i++)
		clean_up_bitmaps(q, &q->copies[i]);
	tell(q, NULL);
}

/* All jobs have concluded: QEMU writes what it has not written yet, and lets go of the targets. */
static void close_all(struct qemu_backup *q)
{
	char name[40];

	q->state = QEMU_BACKUP_CLOSING;
	q->at = 0;
	for (size_t i = 0; i < q->n_copies && q->state == QEMU_BACKUP_CLOSING; i++) {
		name_of(q, i, name);
		ask_in_passing(q, "job-dismiss", "id", name);
		ask(q, "blockdev-del", json_pack("{s:s}", "node-name", name), on_closed);
		q->copies[i].added = false;
	}
}

static void on_copies(struct qemu_backup *q, const json_t *jobs)
{
	bool all = true;
	char name[40];

	for (size_t i = 0; i < q->n_copies; i++) {
		if (!take_job(q, &q->copies[i], job_named(jobs, name_of(q, i, name))))
			return;
		all = all && q->copies[i].concluded;
	}
	if (all)
		close_all(q);
	else
		timer_set(q->timer, clock_monotonic_ns() + POLL_NS);
}

static void on_jobs(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	if (q->state != QEMU_BACKUP_COPYING && q->state != QEMU_BACKUP_ADDING)
		return;
	if (error)
		fail(q, "query-jobs", error);
	else if (q->state == QEMU_BACKUP_ADDING)
		on_created(q, value);
	else
		on_copies(q, value);
}

static void poll_cancelled(struct qemu_backup *q)
{
	struct qmp *qmp = qmp_of(q);

	if (!qmp || qmp_ask(qmp, "query-jobs", NULL, 0, on_cancelled, q))
		destroy(q);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct qemu_backup *q = user;

	(void)fd;
	(void)what;
	if (q->state == QEMU_BACKUP_COPYING || q->state == QEMU_BACKUP_ADDING)
		ask(q, "query-jobs", NULL, on_jobs);
	else if (q->state == QEMU_BACKUP_CLEARING)
		ask(q, "query-jobs", NULL, on_jobs_left);
	else if (q->state == QEMU_BACKUP_CANCELLING)
		poll_cancelled(q);
	else if (q->state == QEMU_BACKUP_FAILED)
		tell(q, q->error);
	else if (q->state == QEMU_BACKUP_DONE && q->give_up_ns)
		destroy(q);
	else if (q->state == QEMU_BACKUP_DONE)
		tell(q, NULL);
}

/* NULL stays NULL. */
static int copy_text(char **ret_copy, const char *text)
{
	*ret_copy = text ? strdup(text) : NULL;
	return text && !*ret_copy ? -ENOMEM : 0;
}

int qemu_backup_new(const struct qemu_backup_vm *vm, unsigned int id,
		    const struct qemu_backup_image *images, size_t n_images,
		    struct qemu_backup **ret_backup)
{
	_cleanup_(cleanup_qemu_backupp) struct qemu_backup *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->vm = *vm;
	q->id = id;
	q->name = strdup(vm->name);
	q->copies = calloc(n_images, sizeof(*q->copies));
	q->timer = event_new(vm->base, -1, 0, on_timer, q);
	if (!q->name || !q->copies || !q->timer)
		return -ENOMEM;
	q->n_copies = n_images;
	for (size_t i = 0; i < n_images; i++) {
		if (copy_text(&q->copies[i].source, images[i].source) ||
		    copy_text(&q->copies[i].target, images[i].target) ||
		    copy_text(&q->copies[i].earlier_tag, images[i].earlier_tag) ||
		    copy_text(&q->copies[i].tag, images[i].tag))
			return -ENOMEM;
	}
	*ret_backup = steal_ptr(q);
	return 0;
}

struct qemu_backup *qemu_backup_free(struct qemu_backup *q)
{
	struct qmp *qmp = q && q->name ? qmp_of(q) : NULL;
	bool is_known = false; /* QEMU has something of it */

	if (!q)
		return NULL;
	if (qmp)
		qmp_forget(qmp, q);
	for (size_t i = 0; q->copies && i < q->n_copies; i++)
		is_known |= q->copies[i].added || q->copies[i].creating || q->copies[i].begun;
	if (qmp && is_known && q->state != QEMU_BACKUP_DONE)
		cancel(q);
	else
		destroy(q);
	return NULL;
}

static void wait_for(struct qemu_backup *q, qemu_backup_done *done, void *user)
{
	q->done = done;
	q->user = user;
}

void qemu_backup_find(struct qemu_backup *q, qemu_backup_done *done, void *user)
{
	wait_for(q, done, user);
	q->give_up_ns = clock_monotonic_ns() + CANCEL_NS;
	ask(q, "query-jobs", NULL, on_jobs_left);
}

bool qemu_backup_is_incremental(const struct qemu_backup *q, size_t i, const char **ret_why)
{
	const struct qemu_backup_copy *copy = &q->copies[i];

	*ret_why = copy->earlier_tag && !copy->is_incremental
			   ? "QEMU has not noted what has changed since the earlier copy"
			   : NULL;
	return copy->is_incremental;
}

void qemu_backup_add(struct qemu_backup *q, qemu_backup_done *done, void *user)
{
	wait_for(q, done, user);
	q->state = QEMU_BACKUP_ADDING;
	q->at = 0;
	add_next(q);
}

void qemu_backup_begin(struct qemu_backup *q, qemu_backup_done *done, void *user)
{
	wait_for(q, done, user);
	begin_all(q);
}

void qemu_backup_finish(struct qemu_backup *q, qemu_backup_done *done, void *user)
{
	wait_for(q, done, user);
	if (q->state == QEMU_BACKUP_FAILED || q->state == QEMU_BACKUP_DONE)
		timer_set(q->timer, 0);
}

uint64_t qemu_backup_progress(const struct qemu_backup *q)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < q->n_copies; i++)
		bytes += q->copies[i].copied_bytes;
	return bytes;
}

uint64_t qemu_backup_total(const struct qemu_backup *q)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < q->n_copies; i++)
		bytes += q->copies[i].total_bytes;
	return bytes;
}

uint64_t qemu_backup_copied(const struct qemu_backup *q, size_t i)
{
	return q->copies[i].copied_bytes;
}
