/* SPDX-License-Identifier: MIT */

/*
 * The store: the pools in memory and in files, and who may touch what when.
 *
 *     event loop    takes changes and answers them, reads memory, watches the folder of the files
 *     worker        everything that may wait for a disk or a lock: one job at a time, which has the
 *                   files to itself; it is started when it is needed first
 *     anybody       reads memory
 *
 * Changes wait in one queue. When no job is under way, the first of them and those that follow it
 * for the same pool go to the worker as a batch; what comes meanwhile waits for the next one. So
 * the more changes come at once, the more share one wait for the disk. A moment after the first of
 * them a last job settles the files, which some other change would have to wait for otherwise.
 *
 *     hold    no job is begun until it is let go. The one that is under way goes on to its end
 *
 * That somebody else has changed a file is told by inotify on the folder, also of our own changes;
 * so a look at the file follows, and only if it is not as we left it a job that reads it. Each
 * batch looks as well, with the file locked, so this is only for how soon readers see it. While a job
 * is under way inotify is not listened to, which would take the job's processor from it.
 *
 * What goes wrong is noted once for each thing that it is, not each time.
 */

#include "services/kvp_store.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "services/kvp_batch.h"
#include "services/kvp_stamp.h"

#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

#define RETRY_NS  UINT64_C(1000000000)
#define SETTLE_NS UINT64_C(200000000)

enum {
	WATCHERS_MAX = 4,
	START_WAIT_MS = 300, /* for a lock, before the daemon is ready */
	EVENTS_SIZE = 4096,
};

struct kvp_store {
	struct event_base *base;
	struct kvp_files *files; /* the worker's while busy */
	struct kvp_table *table;
	char *dir;
	void (*note)(void *self, const char *text);
	void *self;

	struct jobs *jobs; /* NULL: not needed yet */
	struct job job;
	bool busy;
	bool held;
	struct kvp_change *first; /* waiting, by `link` */
	struct kvp_change **last;

	/* The job: a batch; else pools to be read again; else settling. */
	size_t n_changes;
	struct kvp_change *changes[KVP_BATCH_MAX];
	int results[KVP_BATCH_MAX];
	bool refresh[KVP_POOLS];
	bool visible;
	int result;

	bool look[KVP_POOLS]; /* inotify has said something about its file */
	int inotify_fd;
	struct event *folder;
	struct event *changed; /* readers see something new */
	struct event *retry;   /* for what has failed and nobody waits for */
	bool retries;
	struct event *settle; /* when the files are to be settled */
	bool must_settle;     /* it was */
	char last_note[KVP_FILES_NOTE_SIZE];
	char trouble[KVP_FILES_NOTE_SIZE];

	struct watcher {
		void (*on_change)(void *self);
		void *self;
	} watchers[WATCHERS_MAX];
};

static bool has_file(enum kvp_pool pool)
{
	return pool < KVP_POOLS && pool != KVP_POOL_AUTO;
}

static bool may_be_changed(const struct kvp_change *change)
{
	return has_file(change->pool) && change->entry.key[0] != '\0';
}

/* --- what is said --- */

static void say(struct kvp_store *s, const char *text)
{
	if (strcmp(text, s->last_note) == 0)
		return;
	snprintf(s->last_note, sizeof(s->last_note), "%s", text);
	if (s->note)
		s->note(s->self, text);
}

static void say_all(struct kvp_store *s)
{
	char text[KVP_FILES_NOTE_SIZE];

	while (kvp_files_next_note(s->files, text))
		say(s, text);
}

/* How @r came about is known here, what can be done about it as well. */
static void set_trouble(struct kvp_store *s, int r)
{
	const char *remedy = "see the log";

	if (r > 0) /* nothing was to be done */
		return;
	if (r == 0) {
		if (s->trouble[0])
			s->trouble[0] = s->last_note[0] = '\0';
		return;
	}
	if (r == -ENOSPC || r == -EDQUOT)
		remedy = "make room there";
	else if (r == -EROFS || r == -EACCES || r == -EPERM)
		remedy = "make it writable, or name another folder (--kvp-dir)";
	else if (r == -EBUSY)
		remedy = "another program holds a lock on one of the files, which /proc/locks names";
	snprintf(s->trouble, sizeof(s->trouble), "pools in %.200s cannot be changed: %s: %s", s->dir,
		 strerror(-r), remedy);
	say(s, s->trouble);
}

const char *kvp_store_trouble(const struct kvp_store *s)
{
	return s->trouble;
}

/* --- answers --- */

static void answer_batch(struct kvp_store *s)
{
	struct kvp_change *changes[KVP_BATCH_MAX];
	int results[KVP_BATCH_MAX];
	size_t n = s->n_changes;

	memcpy(changes, s->changes, sizeof(changes));
	memcpy(results, s->results, sizeof(results));
	s->n_changes = 0;
	for (size_t i = 0; i < n; i++)
		if (may_be_changed(changes[i]))
			set_trouble(s, results[i]);
	for (size_t i = 0; i < n; i++)
		changes[i]->done(changes[i], results[i]);
}

/* --- watchers --- */

static void on_changed(evutil_socket_t fd, short what, void *user)
{
	struct kvp_store *s = user;

	(void)fd;
	(void)what;
	if (!s->busy && s->n_changes > 0) /* a batch that did not even get to the worker */
		answer_batch(s);
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		if (s->watchers[i].on_change)
			s->watchers[i].on_change(s->watchers[i].self);
}

bool kvp_store_watch(struct kvp_store *s, void (*on_change)(void *self), void *self)
{
	for (size_t i = 0; i < WATCHERS_MAX; i++) {
		if (s->watchers[i].on_change)
			continue;
		s->watchers[i] = (struct watcher){on_change, self};
		return true;
	}
	return false;
}

void kvp_store_unwatch(struct kvp_store *s, void *self)
{
	for (size_t i = 0; i < WATCHERS_MAX; i++)
		if (s->watchers[i].self == self)
			s->watchers[i] = (struct watcher){0};
}

/* --- jobs --- */

static void run_job(struct worker_job *work)
{
	struct kvp_store *s = container_of(container_of(work, struct job, work), struct kvp_store, job);

	for (size_t i = 0; i < s->n_changes; i++)
		s->results[i] = -EPERM;
	if (s->n_changes > 0 && !may_be_changed(s->changes[0]))
		return;
	if (s->n_changes > 0) {
		s->visible = kvp_batch_run(s->files, s->table, s->changes, s->n_changes, s->results);
		return;
	}
	for (unsigned int pool = 0; pool < KVP_POOLS; pool++) {
		int r;

		if (!s->refresh[pool])
			continue;
		r = kvp_batch_refresh(s->files, s->table, pool, KVP_LOCK_WAIT_MS);
		s->visible |= r == 0;
		s->result = r < 0 ? r : s->result;
	}
	if (s->result == 0 && s->must_settle)
		s->result = kvp_files_settle(s->files);
}

/* A batch from the head of the queue. */
static void take_batch(struct kvp_store *s)
{
	s->n_changes = 0;
	while (s->first && s->n_changes < KVP_BATCH_MAX) {
		const struct kvp_change *head = s->n_changes ? s->changes[0] : s->first;

		if (s->first->pool != head->pool || may_be_changed(s->first) != may_be_changed(head))
			break;
		s->changes[s->n_changes++] = s->first;
		s->first = s->first->link;
	}
	if (!s->first)
		s->last = &s->first;
}

/* Pools whose files are not as we left them. */
static bool take_refresh(struct kvp_store *s)
{
	bool any = false;

	for (unsigned int pool = 0; pool < KVP_POOLS; pool++) {
		s->refresh[pool] = s->look[pool] && kvp_files_have_changed(s->files, pool);
		s->look[pool] = false;
		any |= s->refresh[pool];
	}
	return any;
}

/* Is there anything to do? What has just failed is not tried again at once. */
static bool take_work(struct kvp_store *s)
{
	take_batch(s);
	if (s->n_changes > 0)
		return true;
	if (event_pending(s->retry, EV_TIMEOUT, NULL))
		return false;
	return take_refresh(s) || (s->must_settle && kvp_files_are_unsettled(s->files));
}

/* Begins the next job, if there is anything to do. */
static void pump(struct kvp_store *s)
{
	int r = 0;

	if (s->busy || s->held || s->n_changes > 0 || !take_work(s))
		return;
	s->visible = false;
	s->result = 0;
	if (!s->jobs)
		r = jobs_new(s->base, &s->jobs);
	if (!r)
		r = jobs_submit(s->jobs, &s->job);
	s->busy = r == 0;
	if (s->busy && s->folder)
		(void)event_del(s->folder);
	if (r)
		set_trouble(s, r);
	for (size_t i = 0; r && i < s->n_changes; i++)
		s->results[i] = r;
	if (r)
		event_active(s->changed, EV_TIMEOUT, 0);
}

static void on_retry(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	pump(user);
}

static void on_settle(evutil_socket_t fd, short what, void *user)
{
	struct kvp_store *s = user;

	(void)fd;
	(void)what;
	s->must_settle = true;
	pump(s);
}

/* Not put off by further changes. */
static void settle_later(struct kvp_store *s)
{
	bool unsettled = kvp_files_are_unsettled(s->files);

	s->must_settle &= unsettled;
	if (unsettled && !s->must_settle && !event_pending(s->settle, EV_TIMEOUT, NULL))
		timer_set(s->settle, clock_monotonic_ns() + SETTLE_NS);
}

static void try_later(struct kvp_store *s)
{
	set_trouble(s, s->result);
	s->retries = true;
	for (unsigned int pool = 0; pool < KVP_POOLS; pool++)
		s->look[pool] |= s->refresh[pool];
	timer_set(s->retry, clock_monotonic_ns() + RETRY_NS);
}

static void forget_trouble(struct kvp_store *s)
{
	s->retries = false;
	set_trouble(s, 0);
}

static void on_job_done(struct job *job)
{
	struct kvp_store *s = container_of(job, struct kvp_store, job);

	s->busy = false;
	if (s->folder)
		(void)event_add(s->folder, NULL);
	settle_later(s);
	say_all(s);
	if (s->n_changes == 0 && s->result < 0)
		try_later(s);
	else if (s->n_changes == 0 && s->retries)
		forget_trouble(s);
	if (s->visible)
		event_active(s->changed, EV_TIMEOUT, 0);
	answer_batch(s);
	pump(s);
}

void kvp_store_submit(struct kvp_store *s, struct kvp_change *change)
{
	change->link = NULL;
	*s->last = change;
	s->last = &change->link;
	pump(s);
}

bool kvp_store_withdraw(struct kvp_store *s, struct kvp_change *change)
{
	struct kvp_change **at = &s->first;

	while (*at && *at != change)
		at = &(*at)->link;
	if (!*at)
		return false;
	*at = change->link;
	if (s->last == &change->link)
		s->last = at;
	return true;
}

void kvp_store_hold(struct kvp_store *s, bool held)
{
	s->held = held;
	pump(s);
}

bool kvp_store_is_quiet(const struct kvp_store *s)
{
	return !s->busy;
}

/* --- the folder --- */

static void look_at(struct kvp_store *s, const struct inotify_event *event)
{
	unsigned int pool;

	if (event->mask & IN_Q_OVERFLOW)
		for (pool = 0; pool < KVP_POOLS; pool++)
			s->look[pool] = has_file(pool);
	else if (event->len > 0 && sscanf(event->name, ".kvp_pool_%u", &pool) == 1 && has_file(pool))
		s->look[pool] = true;
}

static void on_folder(evutil_socket_t fd, short what, void *user)
{
	_Alignas(struct inotify_event) char events[EVENTS_SIZE];
	struct kvp_store *s = user;
	ssize_t n;

	(void)what;
	n = read(fd, events, sizeof(events));
	for (const char *p = events; p < events + n;) {
		const struct inotify_event *event = (const void *)p;

		look_at(s, event);
		p += sizeof(*event) + event->len;
	}
	pump(s);
}

static void watch_folder(struct kvp_store *s)
{
	static const uint32_t mask = IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_DELETE;
	char text[KVP_FILES_NOTE_SIZE];

	s->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->inotify_fd >= 0 && inotify_add_watch(s->inotify_fd, s->dir, mask) >= 0)
		s->folder = event_new(s->base, s->inotify_fd, EV_READ | EV_PERSIST, on_folder, s);
	if (s->folder && event_add(s->folder, NULL) == 0)
		return;
	snprintf(text, sizeof(text),
		 "%.200s cannot be watched: what other programs write there is seen at the next change",
		 s->dir);
	say(s, text);
}

/* --- start and end --- */

static bool is_before_boot(const struct timespec *time)
{
	struct timespec now = {0}, up = {0};
	double boot;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	boot = (double)(now.tv_sec - up.tv_sec) + (double)(now.tv_nsec - up.tv_nsec) / 1e9;
	return (double)time->tv_sec + (double)time->tv_nsec / 1e9 < boot;
}

/* Somebody who has written since the machine booted has seen to it himself. */
static int clear_if_stale(struct kvp_store *s, const struct kvp_stamp *then,
			  const struct kvp_stamp *now, unsigned int pool)
{
	struct timespec time;
	int r;

	if (!kvp_stamp_is_stale(then, now, pool))
		return 0;
	r = kvp_files_lock(s->files, pool, START_WAIT_MS);
	if (r)
		return r;
	time = kvp_files_time(s->files, pool);
	if (kvp_files_slots(s->files, pool) > 0 && is_before_boot(&time))
		r = kvp_files_clear(s->files, pool);
	kvp_files_unlock(s->files, pool);
	return r;
}

static int clear_stale(struct kvp_store *s, const struct kvp_store_options *options)
{
	const struct kvp_stamp now = kvp_stamp_of(options->boot, options->machine);
	char old_text[KVP_STAMP_SIZE], text[KVP_STAMP_SIZE];
	struct kvp_stamp then;
	int r = 0;

	kvp_files_get_stamp(s->files, old_text, sizeof(old_text));
	then = kvp_stamp_read(old_text);
	for (unsigned int pool = 0; r == 0 && pool < KVP_POOLS; pool++)
		r = clear_if_stale(s, &then, &now, pool);
	kvp_stamp_write(&now, text);
	if (r || strcmp(text, old_text) == 0)
		return r;
	return kvp_files_put_stamp(s->files, text);
}

/* The file of a pool that has none is made all the same, for the stock daemon makes it, too. */
static int load_pool(struct kvp_store *s, unsigned int pool)
{
	int r;

	if (has_file(pool)) {
		r = kvp_batch_refresh(s->files, s->table, pool, START_WAIT_MS);
		return r < 0 ? r : 0;
	}
	r = kvp_files_lock(s->files, pool, START_WAIT_MS);
	if (!r)
		kvp_files_unlock(s->files, pool);
	return r;
}

/* Whatever goes wrong here will go wrong again, and be noted, when something is changed. */
static void load_all(struct kvp_store *s, const struct kvp_store_options *options)
{
	int r = 0;

	for (unsigned int pool = 0; pool < KVP_POOLS; pool++) {
		int error = load_pool(s, pool);

		r = error < 0 ? error : r;
	}
	if (r == 0)
		r = clear_stale(s, options);
	for (unsigned int pool = 0; r == 0 && pool < KVP_POOLS; pool++)
		r = load_pool(s, pool);
	say_all(s);
	set_trouble(s, r);
}

int kvp_store_new(struct event_base *base, const struct kvp_store_options *options,
		  struct kvp_store **ret_store)
{
	_cleanup_(cleanup_kvp_storep) struct kvp_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->base = base;
	s->last = &s->first;
	s->inotify_fd = -1;
	s->note = options->note;
	s->self = options->self;
	s->job.work.run = run_job;
	s->job.done = on_job_done;
	s->dir = strdup(options->dir);
	s->changed = event_new(base, -1, 0, on_changed, s);
	s->retry = evtimer_new(base, on_retry, s);
	s->settle = evtimer_new(base, on_settle, s);
	if (!s->dir || !s->changed || !s->retry || !s->settle)
		return -ENOMEM;
	r = kvp_files_new(options->dir, &s->files);
	if (r)
		return r;
	r = kvp_table_new(&s->table);
	if (r)
		return r;
	load_all(s, options);
	watch_folder(s);

	*ret_store = steal_ptr(s);
	return 0;
}

struct kvp_store *kvp_store_free(struct kvp_store *s)
{
	if (!s)
		return NULL;
	s->jobs = jobs_free(s->jobs);
	if (s->files && !s->held)
		(void)!kvp_files_settle(s->files);
	if (s->folder)
		event_free(s->folder);
	if (s->changed)
		event_free(s->changed);
	if (s->retry)
		event_free(s->retry);
	if (s->settle)
		event_free(s->settle);
	(void)close_fd(s->inotify_fd);
	s->files = kvp_files_free(s->files);
	s->table = kvp_table_free(s->table);
	free(s->dir);
	free(s);
	return NULL;
}

/* --- readers --- */

int kvp_store_get(const struct kvp_store *s, enum kvp_pool pool, const char *key,
		  char ret_value[KVP_VALUE_SIZE])
{
	if (pool >= KVP_POOLS || kvp_table_get(s->table, pool, key, ret_value))
		return KVP_STORE_NONE;
	return 0;
}

size_t kvp_store_count(const struct kvp_store *s, enum kvp_pool pool)
{
	return pool < KVP_POOLS ? kvp_table_count(s->table, pool) : 0;
}

int kvp_store_nth(const struct kvp_store *s, enum kvp_pool pool, uint32_t index,
		  struct kvp_walk *walk, struct kvp_entry *ret_entry)
{
	if (pool >= KVP_POOLS ||
	    kvp_table_nth(s->table, pool, index, walk, ret_entry->key, ret_entry->value))
		return KVP_STORE_NONE;
	return 0;
}

/* --- what this service says of itself --- */

static int put_locked(struct kvp_store *s, enum kvp_pool pool, const char *key, const char *value)
{
	struct kvp_item *old = kvp_table_find(s->table, pool, key), *item;
	int r;

	if (!value) {
		r = kvp_table_remove(s->table, pool, key);
		return r == KVP_TABLE_NONE ? KVP_TABLE_SAME : r;
	}
	if (old && strcmp(old->value, value) == 0)
		return KVP_TABLE_SAME;
	r = kvp_item_new(key, value, &item);
	if (r)
		return r;
	r = kvp_table_reserve(s->table, pool, 1);
	if (r)
		kvp_item_free(item);
	else
		kvp_table_set(s->table, pool, item, KVP_NO_SLOT);
	return r;
}

int kvp_store_put(struct kvp_store *s, enum kvp_pool pool, const char *key, const char *value)
{
	int r;

	kvp_table_lock(s->table);
	r = put_locked(s, pool, key, value);
	kvp_table_reclaim(s->table);
	kvp_table_unlock(s->table);
	if (r == 0)
		event_active(s->changed, EV_TIMEOUT, 0);
	return r < 0 ? r : 0;
}
