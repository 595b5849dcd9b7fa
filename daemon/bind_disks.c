/* SPDX-License-Identifier: MIT */

/*
 * Disks that the host has made larger.
 *
 * The kernel says RESIZE=1 of a disk whose capacity has changed. What is on the disk, and making it
 * larger, is left to a helper (disks/hvguest-disks.c), one at a time, which writes its answer into a
 * file of the run directory. So neither its libraries nor its work are in this process, and between
 * two events nothing is done at all.
 *
 * A disk is not grown into while anything is frozen for a backup, or about to be: it waits, and is
 * looked at again every second, until that is over. What is asked for by the API waits in the same
 * queue.
 */

#include "daemon/bind_disks.h"

#include "base/container.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/journal.h"
#include "disks/block_event.h"
#include "fsfreeze/hook_process.h"
#include "memhotplug/uevent.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum {
	TASKS_MAX = 64,
	MESSAGES_MAX = 64,   /* in one turn of the event loop */
	LIST_SECONDS = 60,   /* the helper may take, to look */
	GROW_SECONDS = 3600, /* and to grow: a full ext4 of many terabytes takes minutes */
	HELPER_REFUSED = 3,  /* exit code */
};

/* Something for the helper. */
struct task {
	bool grow;                     /* else list */
	char disk[PATH_MAX];           /* grow: a name or a path */
	struct httpd_request *request; /* who waits for the answer; NULL: nobody */
};

struct bind_disks {
	struct event_base *base;
	const struct config *config;
	const struct snapshot *snapshot;
	int fd;
	struct event *event;
	const char *problem; /* why nothing is heard; NULL: it is */

	struct task *tasks[TASKS_MAX]; /* the first is the one that runs, if `process` does */
	size_t n_tasks;
	struct hook_process *process; /* NULL: none runs */
	struct event *ended;
	struct event *retry; /* while something is frozen */
	char answer[PATH_MAX]; /* the helper's file */

	uint64_t resizes; /* that the kernel told of */
	uint64_t grown;
	uint64_t refused;
	uint64_t failed;
	json_t *last; /* growth; NULL: none yet */
};

static void go_on(struct bind_disks *b);

/* --- the queue */

static void drop_first(struct bind_disks *b)
{
	free(b->tasks[0]);
	b->n_tasks--;
	memmove(&b->tasks[0], &b->tasks[1], b->n_tasks * sizeof(b->tasks[0]));
}

static bool is_queued(const struct bind_disks *b, const char *disk)
{
	/* The first may have looked already. */
	for (size_t i = b->process ? 1 : 0; i < b->n_tasks; i++)
		if (b->tasks[i]->grow && !b->tasks[i]->request && strcmp(b->tasks[i]->disk, disk) == 0)
			return true;
	return false;
}

/* False: no room. */
static bool queue(struct bind_disks *b, bool grow, const char *disk, struct httpd_request *request)
{
	struct task *task;

	if (grow && !request && is_queued(b, disk))
		return true;
	task = b->n_tasks < TASKS_MAX ? calloc(1, sizeof(*task)) : NULL;
	if (!task)
		return false;
	task->grow = grow;
	snprintf(task->disk, sizeof(task->disk), "%s", disk);
	task->request = request;
	b->tasks[b->n_tasks++] = task;
	go_on(b);
	return true;
}

/* --- what the helper answers */

static void tell_growth(struct bind_disks *b, const struct task *task, int status, const json_t *answer)
{
	const char *problem = json_string_value(json_object_get(answer, "problem"));
	bool grown = json_is_true(json_object_get(answer, "grown"));

	json_decref(b->last);
	b->last = json_pack("{s:s, s:b, s:s}", "disk", task->disk, "grown", grown, "problem",
			    problem ? problem : status == 0 ? "" : "the helper failed");
	if (grown) {
		b->grown++;
		log_as(EVENT_DISK_GROWN, task->disk, "disks: %s is grown into", task->disk);
	} else if (status == HELPER_REFUSED) {
		b->refused++;
		log_as(EVENT_DISK_NOT_GROWN, task->disk, "disks: %s stays as it is: %s", task->disk,
		       problem ? problem : "refused");
	} else if (status != 0) {
		b->failed++;
		log_as(EVENT_DISK_NOT_GROWN, task->disk, "disks: %s: %s: see hvguestctl disks", task->disk,
		       problem ? problem : "the helper failed");
	}
}

static void answer_request(struct task *task, int status, json_t *take_answer)
{
	const char *problem = json_string_value(json_object_get(take_answer, "problem"));

	if (!take_answer)
		httpd_reply_error(task->request, 500, "the helper that looks at disks did not answer",
				  "see the log of hvguestd");
	else if (task->grow && status != 0)
		httpd_reply_error(task->request, status == HELPER_REFUSED ? 409 : 500,
				  problem ? problem : "it failed", "hvguestctl disks shows the disk");
	else
		httpd_reply_json(task->request, 200, json_incref(take_answer));
	task->request = NULL;
	json_decref(take_answer);
}

static void on_ended(evutil_socket_t fd, short what, void *user)
{
	struct bind_disks *b = user;
	struct task *task = b->tasks[0];
	json_t *answer;
	int status;

	(void)fd;
	if (what & EV_TIMEOUT)
		hook_process_kill(b->process, SIGKILL);
	if (!hook_process_reap(b->process, &status)) {
		(void)event_add(b->ended, NULL);
		return;
	}
	event_free(b->ended);
	b->ended = NULL;
	if (status != 0 && status != HELPER_REFUSED)
		log_warning("disks: the helper ended with %d: %.*s", status,
			    (int)(b->process->n_output < 200 ? b->process->n_output : 200),
			    b->process->output);
	free(b->process);
	b->process = NULL;

	answer = json_load_file(b->answer, 0, NULL);
	(void)unlink(b->answer);
	if (task->grow)
		tell_growth(b, task, status, answer);
	if (task->request)
		answer_request(task, status, answer);
	else
		json_decref(answer);
	drop_first(b);
	go_on(b);
}

/* --- the helper */

static int start_helper(struct bind_disks *b, const struct task *task)
{
	const struct timeval limit = {.tv_sec = task->grow ? GROW_SECONDS : LIST_SECONDS};
	char *environment[] = {(char[]){"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, NULL};
	char *argv[CONFIG_DISKS_MAX + 5] = {b->config->disks_helper, (char[]){"-o"}, b->answer,
					    task->grow ? (char[]){"grow"} : (char[]){"list"}};
	char disk[PATH_MAX];
	size_t n = 4;
	int r;

	memcpy(disk, task->disk, sizeof(disk));
	if (task->grow)
		argv[n++] = disk;
	for (size_t i = 0; !task->grow && i < b->config->n_disks; i++)
		argv[n++] = b->config->disks[i];
	b->process = calloc(1, sizeof(*b->process));
	if (!b->process)
		return -ENOMEM;
	r = hook_process_start(b->process, argv, environment);
	if (r)
		return r;
	b->ended = event_new(b->base, b->process->end_fd, EV_READ, on_ended, b);
	return b->ended && event_add(b->ended, &limit) == 0 ? 0 : -ENOMEM;
}

static void give_up_first(struct bind_disks *b, int r)
{
	log_error("disks: %s cannot be run: %s", b->config->disks_helper, strerror(-r));
	if (b->process) {
		hook_process_kill(b->process, SIGKILL);
		hook_process_leave(b->process);
		free(b->process);
		b->process = NULL;
	}
	if (b->tasks[0]->request)
		answer_request(b->tasks[0], 1, NULL);
	drop_first(b);
}

/* Has the helper do what is first, unless it has to wait. */
static void go_on(struct bind_disks *b)
{
	static const struct timeval second = {.tv_sec = 1};

	while (b->n_tasks > 0 && !b->process) {
		int r;

		if (b->tasks[0]->grow && snapshot_is_holding(b->snapshot)) {
			(void)event_add(b->retry, &second);
			return;
		}
		r = start_helper(b, b->tasks[0]);
		if (r)
			give_up_first(b, r);
	}
}

static void on_retry(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	go_on(user);
}

/* --- the kernel's messages */

/* Whether what is configured means the disk @name. */
static bool means(const char *listed, const char *name)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *last;
	struct stat st;
	ssize_t n;

	if (*listed != '/')
		return strcmp(listed, name) == 0;
	if (stat(listed, &st) < 0 || !S_ISBLK(st.st_mode))
		return false;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(st.st_rdev), minor(st.st_rdev));
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	last = strrchr(target, '/');
	return last && strcmp(last + 1, name) == 0;
}

static void on_resized(struct bind_disks *b, const char *name)
{
	bool listed = false;

	b->resizes++;
	for (size_t i = 0; i < b->config->n_disks; i++) {
		if (!means(b->config->disks[i], name))
			continue;
		listed = true;
		if (b->config->disks_grow && !queue(b, true, b->config->disks[i], NULL))
			log_error("disks: %s is not grown into: there is no room for more", name);
	}
	if (!listed || !b->config->disks_grow)
		log_notice("disks: %s has another size: hvguestctl disks shows what could grow", name);
}

/* What was missed is looked for on all disks that are listed. */
static void grow_all(struct bind_disks *b)
{
	for (size_t i = 0; b->config->disks_grow && i < b->config->n_disks; i++)
		(void)queue(b, true, b->config->disks[i], NULL);
}

/* 0, UEVENT_OTHER, UEVENT_AGAIN, UEVENT_LOST, or negative errno. */
static int receive(int fd, char name[BLOCK_EVENT_NAME_SIZE])
{
	char message[UEVENT_SIZE_MAX];
	struct sockaddr_nl sender = {0};
	socklen_t length = sizeof(sender);
	ssize_t n = recvfrom(fd, message, sizeof(message), 0, (struct sockaddr *)&sender, &length);

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return UEVENT_AGAIN;
	if (n < 0 && errno == EINTR)
		return UEVENT_OTHER;
	if (n < 0)
		return errno == ENOBUFS ? UEVENT_LOST : negative_errno();
	return sender.nl_pid == 0 && block_event_parse(message, (size_t)n, name) == 0 ? 0 : UEVENT_OTHER;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	char name[BLOCK_EVENT_NAME_SIZE];
	struct bind_disks *b = user;
	int r = 0;

	(void)what;
	for (int i = 0; i < MESSAGES_MAX && r >= 0 && r != UEVENT_AGAIN; i++) {
		r = receive(fd, name);
		if (r == 0)
			on_resized(b, name);
		else if (r == UEVENT_LOST)
			grow_all(b);
	}
	if (r < 0) {
		log_error("disks: the kernel's messages: %s; that a disk grows is not noticed any more",
			  strerror(-r));
		b->problem = "the kernel's messages cannot be read";
		event_del(b->event);
	}
}

/* --- start, end, API */

static int listen_to_kernel(struct bind_disks *b)
{
	static const char *const changes[] = {"change@/"};
	int r = uevent_open(changes, 1, &b->fd);

	if (r) {
		b->problem = "the kernel's messages cannot be read: netlink is not permitted";
		log_warning("disks: %s (%s)", b->problem, strerror(-r));
		return 0;
	}
	b->event = event_new(b->base, b->fd, EV_READ | EV_PERSIST, on_readable, b);
	return b->event && event_add(b->event, NULL) == 0 ? 0 : -ENOMEM;
}

int bind_disks_new(struct event_base *base, const struct config *config,
		   const struct snapshot *snapshot, struct bind_disks **ret_binding)
{
	_cleanup_(cleanup_bind_disksp) struct bind_disks *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->config = config;
	b->snapshot = snapshot;
	b->fd = -1;
	if (snprintf(b->answer, sizeof(b->answer), "%s/disks.json", config->run_dir) >=
	    (int)sizeof(b->answer))
		return -ENAMETOOLONG;
	b->retry = evtimer_new(base, on_retry, b);
	if (!b->retry)
		return -ENOMEM;
	r = listen_to_kernel(b);
	if (r)
		return r;
	grow_all(b);
	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_disks *bind_disks_free(struct bind_disks *b)
{
	if (!b)
		return NULL;
	if (b->process && !b->tasks[0]->grow)
		hook_process_kill(b->process, SIGKILL);
	while (b->n_tasks > 0) {
		if (b->tasks[0]->request)
			httpd_reply_error(b->tasks[0]->request, 503, "hvguestd ends", NULL);
		drop_first(b);
	}
	if (b->ended)
		event_free(b->ended);
	if (b->process)
		hook_process_leave(b->process);
	free(b->process);
	if (b->event)
		event_free(b->event);
	if (b->retry)
		event_free(b->retry);
	(void)close_fd(b->fd);
	json_decref(b->last);
	free(b);
	return NULL;
}

static void get_disks(struct httpd_request *request, void *user)
{
	if (!queue(user, false, "", request))
		httpd_reply_error(request, 503, "too many wait for the disks", "try again");
}

static void post_grow(struct httpd_request *request, void *user)
{
	const char *name = httpd_request_param(request, "name");
	struct bind_disks *b = user;

	if (!*name || *name == '-' || strchr(name, '/'))
		httpd_reply_error(request, 400, "a disk is named as sda", "hvguestctl disks lists them");
	else if (snapshot_is_holding(b->snapshot))
		httpd_reply_error(request, 409, "file systems are frozen for a backup",
				  "try again when it is over");
	else if (!queue(b, true, name, request))
		httpd_reply_error(request, 503, "too many wait for the disks", "try again");
}

int bind_disks_add_routes(struct bind_disks *b, struct httpd *httpd)
{
	int r = httpd_route(httpd, "GET", "/v1/disks", get_disks, b);

	return r ? r : httpd_route(httpd, "POST", "/v1/disks/{name}/grow", post_grow, b);
}

json_t *bind_disks_status(const struct bind_disks *b)
{
	return json_pack("{s:s, s:i, s:s*, s:I, s:I, s:I, s:I, s:b, s:O?}", "grow",
			 b->config->disks_grow ? "auto" : "off", "listed", (int)b->config->n_disks,
			 "problem", b->problem, "resizes", (json_int_t)b->resizes, "grown",
			 (json_int_t)b->grown, "refused", (json_int_t)b->refused, "failed",
			 (json_int_t)b->failed, "waiting", b->n_tasks > 0, "last", b->last);
}
