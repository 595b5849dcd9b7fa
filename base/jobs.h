/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "base/worker.h"

#include <event2/event.h>

/*
 * A worker thread whose finished jobs come back as calls from the event loop. And a timer that is
 * set to an absolute time.
 */

struct jobs;

/* Embedded in what the job is about; set work.run and done, leave the rest alone. */
struct job {
	struct worker_job work;         /* work.run is called in the worker's thread */
	void (*done)(struct job *job);  /* called from the event loop */
};

/* Starts the thread. Negative errno. */
_must_check_ int jobs_new(struct event_base *base, struct jobs **ret_jobs);

/* As worker_free(): the running job is asked to stop and waited for; done() is not called. */
struct jobs *jobs_free(struct jobs *jobs);
DEFINE_CLEANUP(jobs)

/* Queues @job, which stays the caller's, but must live until done(). Negative errno. */
_must_check_ int jobs_submit(struct jobs *jobs, struct job *job);

/* (Re)arms @timer for @deadline_ns of clock_monotonic_ns(); UINT64_MAX disarms it. */
void timer_set(struct event *timer, uint64_t deadline_ns);
