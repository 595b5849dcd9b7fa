/* SPDX-License-Identifier: MIT */

/*
 * The worker thread.
 *
 * Two wait-free queues of liburcu carry the jobs: one to the thread, one back. Next to each runs an
 * eventfd in semaphore mode that counts what is in it. The side that puts adds to the queue first
 * and to the count second; the side that takes lowers the count by one and only then takes one
 * job. So whoever was let through by the count always finds a job, nobody spins, and each queue has
 * one putter and one taker, which is what its lock-free calls ask for.
 *
 * The count for the way back is the descriptor in the owner's event loop.
 *
 * A job belongs to its owner all the time; the worker keeps no list of its own and frees nothing.
 * A thread cannot be stopped from outside while it is in a system call, so stopping is a request: a
 * flag of the job or of the whole worker that run() looks at between two pieces of work.
 *
 * This file, services/kvp_table*.c and host/board.c know liburcu. It calls the library's functions and does not use
 * its inline code, which would bring that code's licence into this program.
 */

#include "base/worker.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <urcu/wfcqueue.h>

struct queue {
	struct cds_wfcq_head head;
	struct cds_wfcq_tail tail;
	int count_fd;
};

struct worker {
	struct queue submitted;
	struct queue done;
	atomic_bool stop;
	bool started;
	pthread_t thread;
};

static_assert(sizeof(struct cds_wfcq_node) == sizeof(((struct worker_job *)NULL)->link),
	      "the room in a job is a queue's node");

static int queue_init(struct queue *q, int flags)
{
	q->count_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE | flags);
	if (q->count_fd < 0)
		return negative_errno();
	cds_wfcq_init(&q->head, &q->tail);
	return 0;
}

static void queue_fini(struct queue *q)
{
	if (q->count_fd < 0)
		return;
	cds_wfcq_destroy(&q->head, &q->tail);
	q->count_fd = close_fd(q->count_fd);
}

static int queue_count_up(struct queue *q)
{
	uint64_t one = 1;

	return write(q->count_fd, &one, sizeof(one)) == sizeof(one) ? 0 : negative_errno();
}

/* True if there was something to count down; waits for it if the descriptor blocks. */
static bool queue_count_down(struct queue *q)
{
	uint64_t one;
	ssize_t n;

	do
		n = read(q->count_fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
	return n == sizeof(one);
}

static int queue_put(struct queue *q, struct worker_job *job)
{
	struct cds_wfcq_node *node = (struct cds_wfcq_node *)(void *)job->link;

	cds_wfcq_node_init(node);
	cds_wfcq_enqueue(&q->head, &q->tail, node);
	return queue_count_up(q);
}

/* After queue_count_down(). NULL only if the count was raised for no job, to wake the taker. */
static struct worker_job *queue_take(struct queue *q)
{
	struct cds_wfcq_node *node = __cds_wfcq_dequeue_blocking(&q->head, &q->tail);

	if (!node)
		return NULL;
	return (struct worker_job *)(void *)((unsigned char *)node -
					     offsetof(struct worker_job, link));
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct worker_job *job;
	int r;

	while (queue_count_down(&worker->submitted) && !atomic_load(&worker->stop)) {
		job = queue_take(&worker->submitted);
		assert(job);
		job->run(job);
		/* An eventfd of ours refuses a 1 only after 2^64 - 2 of them. */
		r = queue_put(&worker->done, job);
		assert(r == 0);
		(void)r;
	}
	return NULL;
}

/* The new thread inherits the mask, so that signals stay with the event loop. */
static int start_thread(struct worker *worker)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	r = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (r)
		return -r;
	r = pthread_create(&worker->thread, NULL, worker_main, worker);
	worker->started = r == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int worker_new(struct worker **ret_worker)
{
	_cleanup_(cleanup_workerp) struct worker *worker = NULL;
	int r;

	worker = calloc(1, sizeof(*worker));
	if (!worker)
		return -ENOMEM;
	worker->submitted.count_fd = -1;
	worker->done.count_fd = -1;
	r = queue_init(&worker->submitted, 0);
	if (r < 0)
		return r;
	r = queue_init(&worker->done, EFD_NONBLOCK);
	if (r < 0)
		return r;
	r = start_thread(worker);
	if (r < 0)
		return r;

	*ret_worker = steal_ptr(worker);
	return 0;
}

struct worker *worker_free(struct worker *worker)
{
	int r;

	if (!worker)
		return NULL;

	if (worker->started) {
		atomic_store(&worker->stop, true);
		r = queue_count_up(&worker->submitted);
		assert(r == 0);
		(void)r;
		pthread_join(worker->thread, NULL);
	}
	queue_fini(&worker->submitted);
	queue_fini(&worker->done);
	free(worker);
	return NULL;
}

int worker_submit(struct worker *worker, struct worker_job *job)
{
	job->worker = worker;
	atomic_store(&job->stop, false);
	atomic_store(&job->progress, 0);
	return queue_put(&worker->submitted, job);
}

int worker_fd(const struct worker *worker)
{
	return worker->done.count_fd;
}

struct worker_job *worker_next_done(struct worker *worker)
{
	return queue_count_down(&worker->done) ? queue_take(&worker->done) : NULL;
}

void worker_job_cancel(struct worker_job *job)
{
	atomic_store(&job->stop, true);
}

bool worker_job_should_stop(const struct worker_job *job)
{
	return atomic_load(&job->stop) || atomic_load(&job->worker->stop);
}

void worker_job_set_progress(struct worker_job *job, uint64_t progress)
{
	atomic_store_explicit(&job->progress, progress, memory_order_relaxed);
}

uint64_t worker_job_progress(const struct worker_job *job)
{
	return atomic_load_explicit(&job->progress, memory_order_relaxed);
}
