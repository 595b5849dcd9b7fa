/* SPDX-License-Identifier: MIT */

/*
 * base/worker.c with real threads; meant to be run under ThreadSanitizer, too.
 */

#include "base/worker.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

struct sum_job {
	struct worker_job job;
	int a;
	int b;
	int sum;
};

static void add(struct worker_job *job)
{
	struct sum_job *s = (struct sum_job *)(void *)job;

	s->sum = s->a + s->b;
	worker_job_set_progress(job, 100);
}

static struct worker_job *wait_done(struct worker *worker)
{
	struct pollfd p = {.fd = worker_fd(worker), .events = POLLIN};
	struct worker_job *job;

	cr_assert(eq(int, poll(&p, 1, 10000), 1));
	job = worker_next_done(worker);
	cr_assert(job != NULL);
	return job;
}

Test(worker, jobs_come_back_once_each_in_order_with_their_results)
{
	enum { JOBS = 1000 };
	static struct sum_job jobs[JOBS];
	struct worker *worker;

	cr_assert(eq(int, worker_new(&worker), 0));
	cr_expect(worker_next_done(worker) == NULL);
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct sum_job){.job.run = add, .a = i, .b = 1};
		cr_assert(eq(int, worker_submit(worker, &jobs[i].job), 0));
	}
	for (int i = 0; i < JOBS; i++) {
		cr_assert(wait_done(worker) == &jobs[i].job);
		cr_assert(eq(int, jobs[i].sum, i + 1));
		cr_assert(eq(u64, worker_job_progress(&jobs[i].job), 100));
	}
	cr_expect(worker_next_done(worker) == NULL);
	worker_free(worker);
}

Test(worker, a_job_that_came_back_may_be_submitted_again)
{
	struct sum_job s = {.job.run = add, .a = 1, .b = 2};
	struct worker *worker;

	cr_assert(eq(int, worker_new(&worker), 0));
	for (int i = 0; i < 100; i++) {
		s.sum = 0;
		cr_assert(eq(int, worker_submit(worker, &s.job), 0));
		cr_assert(wait_done(worker) == &s.job);
		cr_assert(eq(int, s.sum, 3));
	}
	worker_free(worker);
}

/* Runs until it is asked to stop, and counts. */
static void spin(struct worker_job *job)
{
	uint64_t rounds = 0;

	while (!worker_job_should_stop(job)) {
		worker_job_set_progress(job, ++rounds);
		usleep(1000);
	}
}

static void wait_started(const struct worker_job *job)
{
	for (int i = 0; i < 10000 && worker_job_progress(job) == 0; i++)
		usleep(1000);
	cr_assert(worker_job_progress(job) > 0);
}

Test(worker, a_cancelled_job_returns_early_and_the_next_one_runs)
{
	struct worker_job long_job = {.run = spin};
	struct sum_job next = {.job.run = add, .a = 20, .b = 22};
	struct worker *worker;

	cr_assert(eq(int, worker_new(&worker), 0));
	cr_assert(eq(int, worker_submit(worker, &long_job), 0));
	cr_assert(eq(int, worker_submit(worker, &next.job), 0));
	wait_started(&long_job);
	worker_job_cancel(&long_job);
	cr_expect(wait_done(worker) == &long_job);
	cr_expect(wait_done(worker) == &next.job);
	cr_expect(eq(int, next.sum, 42));
	worker_free(worker);
}

Test(worker, freeing_stops_the_running_job_and_never_runs_the_waiting_one)
{
	struct worker_job running = {.run = spin};
	struct sum_job waiting = {.job.run = add, .a = 1, .b = 1};
	struct worker *worker;

	cr_assert(eq(int, worker_new(&worker), 0));
	cr_assert(eq(int, worker_submit(worker, &running), 0));
	cr_assert(eq(int, worker_submit(worker, &waiting.job), 0));
	wait_started(&running);
	cr_expect(worker_free(worker) == NULL);
	cr_expect(eq(int, waiting.sum, 0));
	cr_expect(worker_free(NULL) == NULL);
}

static void look_at_mask(struct worker_job *job)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	worker_job_set_progress(job, sigismember(&mask, SIGTERM) == 1);
}

Test(worker, signals_are_left_to_the_owner)
{
	struct worker_job job = {.run = look_at_mask};
	struct worker *worker;
	sigset_t mask;

	cr_assert(eq(int, worker_new(&worker), 0));
	cr_assert(eq(int, worker_submit(worker, &job), 0));
	cr_assert(wait_done(worker) == &job);
	cr_expect(eq(u64, worker_job_progress(&job), 1));
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	cr_expect(eq(int, sigismember(&mask, SIGTERM), 0));
	worker_free(worker);
}
