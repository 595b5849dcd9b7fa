/* SPDX-License-Identifier: MIT */

/*
 * Backup by QEMU.
 *
 *     FINDING --nodes found--> ADDING --each target is a node--> BEGINNING --transaction--> COPYING
 *         --every job has concluded--> DONE
 *     any of them, on an error --> FAILED; freed before DONE --> CANCELLING --> gone
 *
 * QEMU knows a disk by its node in the block graph. For each image the node is found by the file's name;
 * the target becomes a node, too; then one transaction begins a blockdev-backup of each, so that all are
 * of one moment. From then on QEMU copies what is about to be overwritten before it is (copy before
 * write), and the rest at leisure, while the guest runs. That takes no snapshot on the disk, and leaves
 * nothing behind if anything fails.
 *
 * A job that is cancelled has not ended at once, and its target is in use until it has; so who is freed
 * too early stays until QEMU has nothing of it any more, a minute at most.
 *
 * Only raw images are taken: what QEMU copies is what the guest sees, and the copy has the image's name.
 *
 * Source: QEMU docs/interop/live-block-operations.rst, qapi/block-core.json.
 */

#include "host/qemu_backup.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "host/qmp_wire.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define POLL_NS   UINT64_C(200000000)
#define CANCEL_NS UINT64_C(60000000000)

enum qemu_backup_state {
	QEMU_BACKUP_FINDING,
	QEMU_BACKUP_ADDING,
	QEMU_BACKUP_BEGINNING,
	QEMU_BACKUP_COPYING,
	QEMU_BACKUP_DONE,
	QEMU_BACKUP_FAILED,
	QEMU_BACKUP_CANCELLING,
};

struct qemu_backup_copy {
	char *source;
	char *target;
	char node[64];   /* the image's, as QEMU calls it */
	bool added;      /* the target is a node */
	bool begun;      /* its job is there */
	bool concluded;
	uint64_t copied_bytes;
};

struct qemu_backup {
	struct qemu_backup_vm vm;
	char *name; /* of the VM */
	unsigned int id;
	enum qemu_backup_state state;
	struct event *timer;
	struct qemu_backup_copy *copies;
	size_t n_copies;
	size_t at; /* ADDING: the copy whose target is being added */
	uint64_t give_up_ns; /* CANCELLING */
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

static bool is_same_file(const char *ours, const char *theirs)
{
	char path[PATH_MAX];

	return !strcmp(ours, theirs) || (realpath(theirs, path) && !strcmp(ours, path));
}

/* The node that is best to copy: the raw one, which the guest's disk is on, before its file. */
static const char *find_node(const json_t *nodes, const char *source, bool *ret_other_format)
{
	const char *best = NULL;
	const json_t *node;
	size_t i;

	*ret_other_format = false;
	json_array_foreach(nodes, i, node) {
		const char *file = json_string_value(json_object_get(node, "file"));
		const char *driver = json_string_value(json_object_get(node, "drv"));
		const char *name = json_string_value(json_object_get(node, "node-name"));

		if (!file || !driver || !name || !is_same_file(source, file))
			continue;
		if (!strcmp(driver, "raw"))
			best = name;
		else if (!strcmp(driver, "file") || !strcmp(driver, "host_device"))
			best = best ? best : name;
		else
			*ret_other_format = true;
	}
	return best;
}

static bool take_node(struct qemu_backup *q, struct qemu_backup_copy *copy, const json_t *nodes)
{
	bool other_format;
	const char *name = find_node(nodes, copy->source, &other_format);

	if (name && !other_format &&
	    snprintf(copy->node, sizeof(copy->node), "%s", name) < (int)sizeof(copy->node))
		return true;
	fail(q, copy->source,
	     other_format ? "it is not a raw image, which is all that is copied this way"
			  : "the VM has no such image open");
	return false;
}

static void on_nodes(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;

	if (error) {
		fail(q, "query-named-block-nodes", error);
		return;
	}
	for (size_t i = 0; i < q->n_copies; i++)
		if (!take_node(q, &q->copies[i], value))
			return;
	q->state = QEMU_BACKUP_ADDING;
	q->at = 0;
	add_next(q);
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

static void begin_all(struct qemu_backup *q)
{
	json_t *actions = json_array();
	char name[40];

	q->state = QEMU_BACKUP_BEGINNING;
	for (size_t i = 0; i < q->n_copies; i++) {
		name_of(q, i, name);
		json_array_append_new(
			actions, json_pack("{s:s, s:{s:s, s:s, s:s, s:s, s:b}}", "type",
					   "blockdev-backup", "data", "job-id", name, "device",
					   q->copies[i].node, "target", name, "sync", "full",
					   "auto-dismiss", false));
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
	q->copies[q->at++].added = true;
	add_next(q);
}

/* The next target becomes a node; after the last one all copies begin. */
static void add_next(struct qemu_backup *q)
{
	char name[40];

	if (q->at == q->n_copies) {
		begin_all(q);
		return;
	}
	ask(q, "blockdev-add",
	    json_pack("{s:s, s:s, s:{s:s, s:s}}", "driver", "raw", "node-name", name_of(q, q->at, name),
		      "file", "driver", "file", "filename", q->copies[q->at].target),
	    on_added);
}

/* COPYING: what has become of one job. False: it has failed. */
static bool take_job(struct qemu_backup *q, struct qemu_backup_copy *copy, const json_t *job)
{
	const char *status = json_string_value(json_object_get(job, "status"));
	const char *error = json_string_value(json_object_get(job, "error"));

	(void)!qmp_number(json_object_get(job, "current-progress"), &copy->copied_bytes);
	if (!status || strcmp(status, "concluded") != 0)
		return true;
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

/* Takes what has ended out of QEMU again. */
static void clean_up(struct qemu_backup *q)
{
	char name[40];

	for (size_t i = 0; i < q->n_copies; i++) {
		struct qemu_backup_copy *copy = &q->copies[i];

		name_of(q, i, name);
		if (copy->begun)
			ask_in_passing(q, "job-dismiss", "id", name);
		if (copy->added)
			ask_in_passing(q, "blockdev-del", "node-name", name);
		copy->begun = copy->added = false;
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
		if (q->copies[i].begun && !q->copies[i].concluded)
			ask_in_passing(q, "job-cancel", "id", name_of(q, i, name));
	timer_set(q->timer, 0);
}

static void on_jobs(void *user, const json_t *value, const char *error)
{
	struct qemu_backup *q = user;
	bool all = true;
	char name[40];

	if (q->state != QEMU_BACKUP_COPYING)
		return;
	if (error) {
		fail(q, "query-jobs", error);
		return;
	}
	for (size_t i = 0; i < q->n_copies; i++) {
		const json_t *job = job_named(value, name_of(q, i, name));

		if (!job)
			fail(q, q->copies[i].source, "its job is gone");
		if (!job || !take_job(q, &q->copies[i], job))
			return;
		all = all && q->copies[i].concluded;
	}
	if (all) {
		q->state = QEMU_BACKUP_DONE;
		clean_up(q);
		tell(q, NULL);
	} else {
		timer_set(q->timer, clock_monotonic_ns() + POLL_NS);
	}
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
	if (q->state == QEMU_BACKUP_COPYING)
		ask(q, "query-jobs", NULL, on_jobs);
	else if (q->state == QEMU_BACKUP_CANCELLING)
		poll_cancelled(q);
	else if (q->state == QEMU_BACKUP_FAILED)
		tell(q, q->error);
	else if (q->state == QEMU_BACKUP_DONE && q->give_up_ns)
		destroy(q);
	else if (q->state == QEMU_BACKUP_DONE)
		tell(q, NULL);
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
		q->copies[i].source = strdup(images[i].source);
		q->copies[i].target = strdup(images[i].target);
		if (!q->copies[i].source || !q->copies[i].target)
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
		is_known |= q->copies[i].added;
	if (qmp && is_known)
		cancel(q);
	else
		destroy(q);
	return NULL;
}

void qemu_backup_begin(struct qemu_backup *q, qemu_backup_done *done, void *user)
{
	q->done = done;
	q->user = user;
	ask(q, "query-named-block-nodes", json_pack("{s:b}", "flat", true), on_nodes);
}

void qemu_backup_finish(struct qemu_backup *q, qemu_backup_done *done, void *user)
{
	q->done = done;
	q->user = user;
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
