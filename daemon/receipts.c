/* SPDX-License-Identifier: MIT */

/*
 * Receipts, kept.
 *
 * A receipt is written after the thaw, by a thread of its own: the disk it goes to may be full or
 * slow, or be frozen again by the next backup already, and none of that may hold up anything else.
 * What cannot be written is named in the log and stays in memory; nothing else is lost by it. Each
 * file is renamed into place when it is whole. When it is there, older ones than the newest N are
 * removed; and only those that have a name of ours.
 *
 * The journal gets the result as a message and the rest as fields, by the same thread: its daemon
 * may be as slow as the disk it writes to.
 */

#include "daemon/receipts.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/histogram.h"
#include "base/jobs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-journal.h>
#endif

/* From a millisecond, which a good freeze takes, to the longest that may be configured. */
static const double window_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
				       0.5,   1,      2.5,   5,    10,    30,   60,  900};
static const double hook_bounds[] = {0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300};

#define NAME_FORMAT "receipt-%08u.json"

/* A receipt on its way to the disk. */
struct writing {
	struct job job;
	struct receipts *receipts;
	struct writing *next;
	unsigned int id;
	json_t *receipt; /* the event loop's; `text` is the thread's */
	char *text;
	char message[256];
	char class[32];
	int error;
};

struct receipts {
	const struct config *config;
	const struct receipts_kind *kind;
	struct jobs *jobs;
	int folder_fd; /* -1: nothing can be kept there */
	unsigned int next_id;
	json_t *list; /* newest first */
	void (*on_added)(void *self, const json_t *receipt);
	void *self;
	struct writing *writings;
	json_t *classes; /* how many of each since the start */
	struct histogram windows, hooks; /* seconds */
	uint64_t last_ns; /* 0: none since the start */
};

static unsigned backups_kept(const struct config *config)
{
	return config->n_receipts;
}

static unsigned copies_kept(const struct config *config)
{
	return config->n_fcopy_receipts;
}

const struct receipts_kind receipts_of_backups = {
	.subject = "backup",
	.folder = "receipts",
	.event = EVENT_BACKUP_RECEIPT,
	.field = "HVGUEST_BACKUP",
	.n_kept = backups_kept,
};

const struct receipts_kind receipts_of_copies = {
	.subject = "file copy",
	.folder = "copies",
	.event = EVENT_COPY_RECEIPT,
	.field = "HVGUEST_COPY",
	.n_kept = copies_kept,
};

static unsigned n_kept(const struct receipts *r)
{
	return r->kind->n_kept(r->config);
}

static unsigned int id_of(const char *name)
{
	unsigned int id = 0;
	char check[32];

	if (sscanf(name, "receipt-%u.json", &id) != 1)
		return 0;
	snprintf(check, sizeof(check), NAME_FORMAT, id);
	return strcmp(check, name) == 0 ? id : 0;
}

static int is_receipt(const struct dirent *entry)
{
	return id_of(entry->d_name) > 0;
}

static int by_id(const struct dirent **a, const struct dirent **b)
{
	unsigned int x = id_of((*a)->d_name), y = id_of((*b)->d_name);

	return (x > y) - (x < y);
}

/* Removes the oldest files beyond the number that is kept. */
static void prune(const struct receipts *r)
{
	struct dirent **entries;
	int n = scandirat(r->folder_fd, ".", &entries, is_receipt, by_id);

	for (int i = 0; i < n; i++) {
		if (i < n - (int)n_kept(r))
			(void)unlinkat(r->folder_fd, entries[i]->d_name, 0);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

static int write_all(int fd, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, text, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return negative_errno();
		text += written;
		n -= (size_t)written;
	}
	return fsync(fd) < 0 ? negative_errno() : 0;
}

static int write_file(const struct receipts *r, const struct writing *w)
{
	static const char fresh[] = ".receipt.new";
	_cleanup_close_ int fd = -1;
	char name[32];
	int error;

	if (r->folder_fd < 0 || n_kept(r) == 0)
		return 0;
	snprintf(name, sizeof(name), NAME_FORMAT, w->id);
	fd = openat(r->folder_fd, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return negative_errno();
	error = write_all(fd, w->text, strlen(w->text));
	if (error == 0 && renameat(r->folder_fd, fresh, r->folder_fd, name) < 0)
		error = negative_errno();
	if (error)
		(void)unlinkat(r->folder_fd, fresh, 0);
	else
		prune(r);
	return error;
}

static void tell_journal(const struct writing *w)
{
#ifdef HAVE_SYSTEMD
	const struct receipts_kind *kind = w->receipts->kind;
	bool failed = !strcmp(w->class, "failed") || !strcmp(w->class, "crash");
	_cleanup_free_ char *text = NULL;
	char message[320], message_id[64], event[64], id[64], class[96];
	struct iovec fields[7];

	if (asprintf(&text, "%s_RECEIPT=%s", kind->field, w->text) < 0) {
		text = NULL;
		return;
	}
	snprintf(message, sizeof(message), "MESSAGE=%s: %s", kind->subject, w->message);
	snprintf(message_id, sizeof(message_id), "MESSAGE_ID=%s", journal_events[kind->event].message_id);
	snprintf(event, sizeof(event), "HVGUEST_EVENT=%s", journal_events[kind->event].name);
	snprintf(id, sizeof(id), "%s_ID=%u", kind->field, w->id);
	snprintf(class, sizeof(class), "%s_CLASS=%s", kind->field, w->class);
	fields[0] = (struct iovec){message, strlen(message)};
	fields[1] = (struct iovec){message_id, strlen(message_id)};
	fields[2] = (struct iovec){failed ? (char[]){"PRIORITY=4"} : (char[]){"PRIORITY=6"}, 10};
	fields[3] = (struct iovec){id, strlen(id)};
	fields[4] = (struct iovec){class, strlen(class)};
	fields[5] = (struct iovec){text, strlen(text)};
	fields[6] = (struct iovec){event, strlen(event)};
	(void)sd_journal_sendv(fields, 7);
#else
	(void)w;
#endif
}

static void run_writing(struct worker_job *work)
{
	struct writing *w = container_of(container_of(work, struct job, work), struct writing, job);

	w->error = write_file(w->receipts, w);
	tell_journal(w);
}

static void forget_writing(struct writing *w)
{
	for (struct writing **p = &w->receipts->writings; *p; p = &(*p)->next) {
		if (*p == w) {
			*p = w->next;
			break;
		}
	}
	json_decref(w->receipt);
	free(w->text);
	free(w);
}

static void tell_written(struct writing *w)
{
	if (!w->error)
		return;
	log_as(EVENT_RECEIPT_NOT_SAVED, w->receipts->kind->subject,
	       "%s: receipt %u cannot be written to %s/%s: %s: make room there, or name another "
	       "folder (state_dir); it is kept in memory",
	       w->receipts->kind->subject, w->id, w->receipts->config->state_dir,
	       w->receipts->kind->folder, strerror(-w->error));
	json_object_set_new(w->receipt, "not_saved", json_string(strerror(-w->error)));
}

static void on_written(struct job *job)
{
	struct writing *w = container_of(job, struct writing, job);

	tell_written(w);
	forget_writing(w);
}

/* Counts it for the metrics. */
static void count(struct receipts *r, const json_t *receipt)
{
	const json_t *hooks = json_object_get(receipt, "hooks"), *hook, *run;
	const char *class = json_string_value(json_object_get(receipt, "class"));
	size_t i, k;

	if (class)
		json_object_set_new(r->classes, class,
				    json_integer(json_integer_value(json_object_get(r->classes, class)) + 1));
	histogram_add(&r->windows,
		      (double)json_integer_value(json_object_get(receipt, "window_us")) / 1e6);
	json_array_foreach(hooks, i, hook)
		json_array_foreach(json_object_get(hook, "runs"), k, run)
			histogram_add(&r->hooks,
				      json_number_value(json_object_get(run, "duration_us")) / 1e6);
	r->last_ns = clock_monotonic_ns();
}

json_t *receipts_totals(const struct receipts *r)
{
	json_t *totals = json_pack("{s:O, s:o, s:o}", "classes", r->classes, "window_seconds",
				   histogram_to_json(&r->windows), "hook_seconds",
				   histogram_to_json(&r->hooks));

	if (totals && r->last_ns > 0)
		json_object_set_new(totals, "last_age_seconds",
				    json_real((clock_monotonic_ns() - r->last_ns) / 1e9));
	return totals;
}

void receipts_watch(struct receipts *r, void (*on_added)(void *self, const json_t *receipt), void *self)
{
	r->on_added = on_added;
	r->self = self;
}

void receipts_add(struct receipts *r, json_t *take_receipt)
{
	struct writing *w = calloc(1, sizeof(*w));
	const char *text;

	count(r, take_receipt);
	json_object_set_new(take_receipt, "id", json_integer(r->next_id));
	json_array_insert_new(r->list, 0, take_receipt);
	if (r->on_added)
		r->on_added(r->self, take_receipt);
	while (json_array_size(r->list) > 1 && json_array_size(r->list) > n_kept(r))
		json_array_remove(r->list, json_array_size(r->list) - 1);
	if (!w)
		return;
	w->receipts = r;
	w->id = r->next_id++;
	w->receipt = json_incref(take_receipt);
	w->text = json_dumps(take_receipt, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	text = json_string_value(json_object_get(take_receipt, "result"));
	snprintf(w->message, sizeof(w->message), "%s", text ? text : "");
	text = json_string_value(json_object_get(take_receipt, "class"));
	snprintf(w->class, sizeof(w->class), "%s", text ? text : "");
	w->job.work.run = run_writing;
	w->job.done = on_written;
	w->next = r->writings;
	r->writings = w;
	if (!w->text || jobs_submit(r->jobs, &w->job))
		forget_writing(w);
}

json_t *receipts_get(const struct receipts *r, size_t n)
{
	json_t *receipt = n > 0 ? json_array_get(r->list, n - 1) : NULL;

	return json_incref(receipt);
}

json_t *receipts_list(const struct receipts *r)
{
	static const char *const keys[] = {"id", "started", "requester", "class", "result",
					   "consistent"};
	json_t *list = json_array(), *receipt;
	size_t i;

	json_array_foreach(r->list, i, receipt) {
		json_t *line = json_object();

		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			json_object_set(line, keys[k], json_object_get(receipt, keys[k]));
		json_array_append_new(list, line);
	}
	return list;
}

/* Makes @path, and what is missing above it; changes it meanwhile. */
static int make_folders(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return negative_errno();
		*p = '/';
	}
	return mkdir(path, 0755) < 0 && errno != EEXIST ? negative_errno() : 0;
}

static int open_folder(struct receipts *r)
{
	char path[PATH_MAX];
	int error;

	if (snprintf(path, sizeof(path), "%s/%s", r->config->state_dir, r->kind->folder) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	error = make_folders(path);
	if (error)
		return error;
	r->folder_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->folder_fd < 0 ? negative_errno() : 0;
}

static void load_file(struct receipts *r, const char *name)
{
	int fd = openat(r->folder_fd, name, O_RDONLY | O_CLOEXEC);
	json_t *receipt = fd < 0 ? NULL : json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);

	(void)close_fd(fd);
	if (json_is_object(receipt))
		json_array_insert(r->list, 0, receipt);
	else
		log_warning("%s/%s/%s cannot be read: it is left out", r->config->state_dir,
			    r->kind->folder, name);
	json_decref(receipt);
	r->next_id = id_of(name) + 1;
}

static void load(struct receipts *r)
{
	struct dirent **entries;
	int n = scandirat(r->folder_fd, ".", &entries, is_receipt, by_id);

	for (int i = 0; i < n; i++) {
		if (i >= n - (int)n_kept(r))
			load_file(r, entries[i]->d_name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

int receipts_new(struct event_base *base, const struct config *config,
		 const struct receipts_kind *kind, struct receipts **ret_receipts)
{
	_cleanup_(cleanup_receiptsp) struct receipts *r = calloc(1, sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	r->config = config;
	r->kind = kind;
	r->folder_fd = -1;
	r->next_id = 1;
	r->list = json_array();
	r->classes = json_object();
	histogram_init(&r->windows, window_bounds, sizeof(window_bounds) / sizeof(window_bounds[0]));
	histogram_init(&r->hooks, hook_bounds, sizeof(hook_bounds) / sizeof(hook_bounds[0]));
	if (!r->list || !r->classes)
		return -ENOMEM;
	error = open_folder(r);
	if (error)
		log_warning("receipts are kept in memory only: %s/%s: %s: name another folder "
			    "(state_dir)",
			    config->state_dir, kind->folder, strerror(-error));
	else
		load(r);
	error = jobs_new(base, &r->jobs);
	if (error)
		return error;

	*ret_receipts = steal_ptr(r);
	return 0;
}

struct receipts *receipts_free(struct receipts *r)
{
	if (!r)
		return NULL;
	/* The thread finishes what it has begun; the rest of its queue, oldest last, is done here. */
	r->jobs = jobs_free(r->jobs);
	while (r->writings) {
		struct writing *w = r->writings;

		w->error = write_file(r, w);
		tell_written(w);
		forget_writing(w);
	}
	json_decref(r->list);
	json_decref(r->classes);
	(void)close_fd(r->folder_fd);
	free(r);
	return NULL;
}
