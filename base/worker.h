/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * One thread for work that blocks, such as copying an image, so that the event loop never does.
 * All functions are for the thread that owns the worker, unless their comment says otherwise.
 */

struct worker;

/*
 * Embedded in what the job is about. The owner sets `run`, submits it, and must not touch the rest
 * of the object until the job comes back from worker_next_done(), or worker_free() has returned.
 */
struct worker_job {
	void (*run)(struct worker_job *job); /* in the worker's thread */

	/* The worker's own. */
	_Alignas(void *) unsigned char link[sizeof(void *)];
	struct worker *worker;
	atomic_bool stop;
	_Atomic uint64_t progress;
};

/* Starts the thread, with all signals blocked in it. Negative errno. */
_must_check_ int worker_new(struct worker **ret_worker);

/*
 * Asks the running job to stop, waits until it has returned, and ends the thread. Jobs that wait
 * in the queue are never run. No job is freed. Takes NULL; returns NULL.
 */
struct worker *worker_free(struct worker *worker);
DEFINE_CLEANUP(worker)

/* Queues @job; jobs run one after the other in the order of submission. Negative errno. */
_must_check_ int worker_submit(struct worker *worker, struct worker_job *job);

/* Descriptor that is readable while worker_next_done() has something; owned by the worker. */
int worker_fd(const struct worker *worker);

/* A job that has returned from run(), each exactly once; NULL if there is none now. */
struct worker_job *worker_next_done(struct worker *worker);

/* Asks a submitted job to stop. It still comes back from worker_next_done(). */
void worker_job_cancel(struct worker_job *job);

/* For run(): true once the job should return early. */
bool worker_job_should_stop(const struct worker_job *job);

/* For run(): publishes how far it is, in a unit of its own. */
void worker_job_set_progress(struct worker_job *job, uint64_t progress);

/* What run() published last; 0 before. Any thread, as long as the job exists. */
uint64_t worker_job_progress(const struct worker_job *job);
