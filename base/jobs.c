/* SPDX-License-Identifier: MIT */

/*
 * Jobs: the worker thread, seen from an event loop.
 *
 * Work that may take long (taking gigabytes of memory, copying an image) runs in the one worker
 * thread, so that heartbeats are answered on time meanwhile. Whatever it changes belongs to it
 * until done() is called, in the loop's thread; that hand-over is all the synchronization there is.
 */

#include "base/jobs.h"

#include "base/clock.h"
#include "base/container.h"

#include <stdlib.h>

struct jobs {
	struct worker *worker;
	struct event *event;
};

static void on_finished(evutil_socket_t fd, short what, void *user)
{
	struct jobs *jobs = user;
	struct worker_job *work;

	(void)fd;
	(void)what;
	while ((work = worker_next_done(jobs->worker))) {
		struct job *job = container_of(work, struct job, work);

		job->done(job);
	}
}

int jobs_new(struct event_base *base, struct jobs **ret_jobs)
{
	_cleanup_(cleanup_jobsp) struct jobs *jobs = calloc(1, sizeof(*jobs));
	int r;

	if (!jobs)
		return -ENOMEM;
	r = worker_new(&jobs->worker);
	if (r)
		return r;
	jobs->event = event_new(base, worker_fd(jobs->worker), EV_READ | EV_PERSIST, on_finished,
				jobs);
	if (!jobs->event || event_add(jobs->event, NULL) < 0)
		return -ENOMEM;

	*ret_jobs = steal_ptr(jobs);
	return 0;
}

struct jobs *jobs_free(struct jobs *jobs)
{
	if (!jobs)
		return NULL;
	if (jobs->event)
		event_free(jobs->event);
	(void)worker_free(jobs->worker);
	free(jobs);
	return NULL;
}

int jobs_submit(struct jobs *jobs, struct job *job)
{
	return worker_submit(jobs->worker, &job->work);
}

void timer_set(struct event *timer, uint64_t deadline_ns)
{
	uint64_t now = clock_monotonic_ns(), left;
	struct timeval tv;

	if (deadline_ns == UINT64_MAX) {
		(void)event_del(timer);
		return;
	}

	/*
	 * A timer that comes a little early finds nothing to do and has to be set again: so round up, and
	 * have libevent count from now on, and not from when its loop woke up.
	 */
	(void)event_base_update_cache_time(event_get_base(timer));
	left = deadline_ns > now ? (deadline_ns - now + 999) / 1000 : 0;
	tv.tv_sec = left / 1000000;
	tv.tv_usec = left % 1000000;
	(void)event_add(timer, &tv);
}
