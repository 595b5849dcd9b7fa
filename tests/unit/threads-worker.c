/* SPDX-License-Identifier: MIT */

/*
 * base/worker.c under load, for ThreadSanitizer (--enable-sanitizers=thread). It prints TAP by
 * itself, because Criterion 2.4.1 cannot start under that sanitizer: its arena wants addresses
 * that the sanitizer keeps. It runs in every other build, too.
 */

#include "base/worker.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	JOBS = 64,
	ROUNDS = 200,
};

struct fill_job {
	struct worker_job job;
	unsigned char value;
	unsigned char data[512]; /* written by the thread, read by the owner, no lock between them */
};

static struct fill_job jobs[JOBS];

static void fill(struct worker_job *job)
{
	struct fill_job *f = (struct fill_job *)(void *)job;

	memset(f->data, f->value, sizeof(f->data));
	worker_job_set_progress(job, f->value);
}

static bool is_filled(const struct fill_job *f)
{
	for (size_t i = 0; i < sizeof(f->data); i++)
		if (f->data[i] != f->value)
			return false;
	return true;
}

/* All jobs in flight at once; each is submitted again as soon as it is back. */
static bool all_come_back(struct worker *worker)
{
	struct pollfd p = {.fd = worker_fd(worker), .events = POLLIN};
	int done = 0;

	for (int i = 0; i < JOBS; i++) {
		jobs[i].job.run = fill;
		jobs[i].value = (unsigned char)i;
		if (worker_submit(worker, &jobs[i].job) < 0)
			return false;
	}
	while (done < JOBS * ROUNDS && poll(&p, 1, 10000) == 1) {
		struct worker_job *job = worker_next_done(worker);
		struct fill_job *f = (struct fill_job *)(void *)job;

		if (!job || !is_filled(f) || worker_job_progress(job) != f->value)
			return false;
		f->value++;
		if (++done <= JOBS * (ROUNDS - 1) && worker_submit(worker, job) < 0)
			return false;
	}
	return done == JOBS * ROUNDS;
}

static void run_until_stopped(struct worker_job *job)
{
	while (!worker_job_should_stop(job))
		worker_job_set_progress(job, 1);
}

static bool stops_at_once(bool cancel)
{
	struct worker_job running = {.run = run_until_stopped};
	struct worker *worker;

	if (worker_new(&worker) < 0 || worker_submit(worker, &running) < 0)
		return false;
	while (worker_job_progress(&running) == 0)
		usleep(100);
	if (cancel)
		worker_job_cancel(&running);
	worker_free(worker);
	return true;
}

static bool report(int number, bool ok, const char *what)
{
	printf("%s %d - %s\n", ok ? "ok" : "not ok", number, what);
	return ok;
}

int main(void)
{
	_cleanup_(cleanup_workerp) struct worker *worker = NULL;
	bool ok;

	printf("1..3\n");
	ok = report(1, worker_new(&worker) == 0 && all_come_back(worker),
		    "every job comes back, with what the thread wrote");
	ok &= report(2, stops_at_once(true), "a cancelled job stops");
	ok &= report(3, stops_at_once(false), "freeing stops the running job");
	return !ok;
}
