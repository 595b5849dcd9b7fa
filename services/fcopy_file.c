/* SPDX-License-Identifier: MIT */

/*
 * A file that arrives in small fragments.
 *
 *     event loop:  fragments -> the piece that is being filled -> SHA-256
 *     thread:      full pieces -> stream to the disk
 *
 * A host waits for the answer to each fragment, so a fragment costs one copy in memory and nothing
 * else before it is answered. It is summed up behind the answer, while the host makes the next one:
 * that time is there anyway, and the fragment is still in the cache. All that may block (a folder on
 * a slow disk, a frozen file system) is done by the thread, one job after the other: open, pieces,
 * finish or discard. So an end that is asked for at any moment comes after all that was asked for
 * before it.
 *
 * Pieces are N_PIECES. Of these the stream has half of STREAM_IN_FLIGHT_MAX on their way at most
 * when a job is done, and one is being filled: if there is no free one now, a job will end that
 * frees one. Then, and only then, a fragment waits.
 *
 * The library of SHA-256 is loaded with the first file, and the memory of the pieces is there only
 * while one is copied.
 */

#include "services/fcopy_file.h"

#include "base/container.h"
#include "base/jobs.h"
#include "base/stream.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum {
	N_PIECES = STREAM_IN_FLIGHT_MAX,
	BUFFERS_BYTES = N_PIECES * STREAM_PIECE_BYTES,
	LARGE_PAGE_BYTES = 2 * 1024 * 1024,
};

struct piece {
	struct job job;
	struct fcopy_file *file;
	struct stream_piece stream;
	bool queued; /* its job has not come back */
	enum fcopy_result result;
};

/* Members up to the empty line are the event loop's, those behind it the thread's while it has jobs. */
struct fcopy_file {
	struct event_base *base;
	const struct fcopy_file_user *ops;
	void *self;
	struct jobs *jobs;
	struct piece *filling; /* NULL: a free one is needed first */
	size_t filled;
	size_t summed;     /* of that, in `sha` */
	uint64_t position; /* in the file, of the first byte of `filling` */
	const uint8_t *rest; /* of a fragment that waits for room */
	size_t n_rest;
	bool failed;     /* and told */
	enum fcopy_result outcome; /* of the open or finish job */
	struct fcopy_start start;
	struct piece pieces[N_PIECES];
	struct sha256 *sha; /* made and ended by the thread, when nothing is being filled */

	struct job open_job, finish_job, discard_job, sweep_job;
	struct fcopy_place place;
	struct stream *stream;
	uint8_t *buffers;
	atomic_bool stop; /* nothing more is to be written */
	bool swept;
	struct fcopy_receipt receipt;
};

/* The thread's side. */

static void drop_buffers(struct fcopy_file *f)
{
	if (f->buffers)
		(void)munmap(f->buffers, BUFFERS_BYTES);
	f->buffers = NULL;
	f->sha = sha256_free(f->sha);
}

/* NULL: no memory. What the alignment leaves over at both ends is given back. */
static uint8_t *map_buffers(void)
{
	size_t bytes = BUFFERS_BYTES + LARGE_PAGE_BYTES, before;
	uint8_t *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)map % LARGE_PAGE_BYTES;
	if (before > 0)
		(void)munmap(map, before);
	if (before < LARGE_PAGE_BYTES)
		(void)munmap(map + before + BUFFERS_BYTES, LARGE_PAGE_BYTES - before);
	return map + before;
}

static int take_buffers(struct fcopy_file *f)
{
	f->buffers = map_buffers();
	if (!f->buffers)
		return -ENOMEM;
	for (size_t i = 0; i < N_PIECES; i++) {
		f->pieces[i].stream.buf = f->buffers + i * STREAM_PIECE_BYTES;
		atomic_store(&f->pieces[i].stream.done, true);
	}
	return f->stream ? 0 : stream_new(&f->stream);
}

/*
 * Large pages if there are any, and all that the file will need of them, before its first fragment.
 * Otherwise there is a fault for each small page while a host waits, and the kernel looks each of
 * them up for the disk. A file of one piece is better off with the few small pages that it touches.
 */
static void populate(const struct fcopy_file *f)
{
	uint64_t size = f->start.size_bytes;

	if (size <= STREAM_PIECE_BYTES)
		return;
	(void)madvise(f->buffers, BUFFERS_BYTES, MADV_HUGEPAGE);
	(void)madvise(f->buffers, size < BUFFERS_BYTES ? (size_t)size : BUFFERS_BYTES,
		      MADV_POPULATE_WRITE);
}

static enum fcopy_result open_file(struct fcopy_file *f)
{
	enum fcopy_result result;
	int r = take_buffers(f);

	if (r)
		return fcopy_place_fail(&f->place, "no memory for a copy", r);
	r = sha256_new(&f->sha);
	if (r)
		return fcopy_place_fail(&f->place, "libcrypto is needed for SHA-256: install libssl3", r);
	result = fcopy_place_open(&f->place, &f->start);
	if (result != FCOPY_OK)
		return result;
	r = stream_begin(f->stream, f->place.file_fd, f->start.size_bytes);
	if (r) {
		fcopy_place_discard(&f->place);
		return fcopy_place_fail(&f->place, "no room for a file of the announced size", r);
	}
	populate(f);
	return FCOPY_OK;
}

static void run_open(struct worker_job *work)
{
	struct fcopy_file *f = container_of(container_of(work, struct job, work), struct fcopy_file,
					    open_job);

	f->outcome = open_file(f);
	if (f->outcome != FCOPY_OK)
		drop_buffers(f);
}

static void run_piece(struct worker_job *work)
{
	struct piece *p = container_of(container_of(work, struct job, work), struct piece, job);
	struct fcopy_file *f = p->file;
	int r;

	p->result = FCOPY_OK;
	if (atomic_load(&f->stop)) {
		atomic_store(&p->stream.done, true);
		return;
	}
	r = stream_put(f->stream, &p->stream);
	if (r) {
		p->result = fcopy_place_fail(&f->place, "data cannot be written", r);
		atomic_store(&f->stop, true);
	}
}

static enum fcopy_result finish(struct fcopy_file *f)
{
	enum fcopy_result result;
	int r = stream_end(f->stream);

	if (r)
		return fcopy_place_fail(&f->place, "data cannot be written", r);
	if (atomic_load(&f->stop))
		return FCOPY_FAILED;
	result = fcopy_place_publish(&f->place);
	if (result != FCOPY_OK)
		return result;
	sha256_finish(f->sha, f->receipt.sha256);
	snprintf(f->receipt.path, sizeof(f->receipt.path), "%s", f->place.path);
	f->receipt.bytes = f->start.size_bytes;
	drop_buffers(f);
	return FCOPY_OK;
}

static void run_finish(struct worker_job *work)
{
	struct fcopy_file *f = container_of(container_of(work, struct job, work), struct fcopy_file,
					    finish_job);

	f->outcome = finish(f);
}

static void discard_now(struct fcopy_file *f)
{
	if (f->stream)
		stream_drop(f->stream);
	fcopy_place_discard(&f->place);
	drop_buffers(f);
}

static void run_discard(struct worker_job *work)
{
	discard_now(container_of(container_of(work, struct job, work), struct fcopy_file,
				 discard_job));
}

static void run_sweep(struct worker_job *work)
{
	struct fcopy_file *f = container_of(container_of(work, struct job, work), struct fcopy_file,
					    sweep_job);

	f->swept = fcopy_place_sweep(&f->place);
}

/* The event loop's side. */

static int submit(struct fcopy_file *f, struct job *job, void (*run)(struct worker_job *work),
		  void (*done)(struct job *job))
{
	job->work.run = run;
	job->done = done;
	return jobs_submit(f->jobs, job);
}

static void on_swept(struct job *job)
{
	struct fcopy_file *f = container_of(job, struct fcopy_file, sweep_job);

	if (f->swept)
		f->ops->on_swept(f->self, f->place.why);
}

static void on_opened(struct job *job)
{
	struct fcopy_file *f = container_of(job, struct fcopy_file, open_job);

	f->ops->on_opened(f->self, f->outcome);
}

static void on_discarded(struct job *job)
{
	struct fcopy_file *f = container_of(job, struct fcopy_file, discard_job);

	f->ops->on_discarded(f->self);
}

static void on_finished(struct job *job)
{
	struct fcopy_file *f = container_of(job, struct fcopy_file, finish_job);

	/* What is in its place is told of, even if it was to be discarded meanwhile. */
	if (!f->failed || f->outcome == FCOPY_OK)
		f->ops->on_finished(f->self, f->outcome);
}

static void fail(struct fcopy_file *f, enum fcopy_result result)
{
	if (f->failed)
		return;
	f->failed = true;
	f->ops->on_failed(f->self, result);
}

/* A piece that neither the thread nor the disk has any more; NULL: there is none. */
static struct piece *find_free(struct fcopy_file *f)
{
	for (size_t i = 0; i < N_PIECES; i++)
		if (!f->pieces[i].queued &&
		    atomic_load_explicit(&f->pieces[i].stream.done, memory_order_acquire))
			return &f->pieces[i];
	return NULL;
}

/* Copies as much as there is room for in the present piece; false: there is none. */
static bool fill(struct fcopy_file *f)
{
	size_t n;

	if (!f->filling)
		f->filling = find_free(f);
	if (!f->filling)
		return false;
	n = STREAM_PIECE_BYTES - f->filled;
	if (n > f->n_rest)
		n = f->n_rest;
	memcpy(f->filling->stream.buf + f->filled, f->rest, n);
	f->filled += n;
	f->rest += n;
	f->n_rest -= n;
	return true;
}

void fcopy_file_sum(struct fcopy_file *f)
{
	if (f->failed || !f->filling || f->summed == f->filled)
		return;
	sha256_add(f->sha, f->filling->stream.buf + f->summed, f->filled - f->summed);
	f->summed = f->filled;
}

static void on_piece(struct job *job);

static int send_piece(struct fcopy_file *f)
{
	struct piece *p = f->filling;
	int r;

	fcopy_file_sum(f);
	p->stream.len = f->filled;
	p->stream.offset = f->position;
	atomic_store(&p->stream.done, false);
	p->queued = true;
	f->position += f->filled;
	f->filled = f->summed = 0;
	f->filling = NULL;
	r = submit(f, &p->job, run_piece, on_piece);
	if (r) {
		p->queued = false;
		atomic_store(&p->stream.done, true);
	}
	return r;
}

/* FCOPY_FILE_WAIT, or a negative errno. */
static int take(struct fcopy_file *f)
{
	int r = 0;

	while (f->n_rest > 0 && fill(f) && r == 0)
		if (f->filled == STREAM_PIECE_BYTES)
			r = send_piece(f);
	if (r == 0 && f->n_rest > 0)
		return FCOPY_FILE_WAIT;
	return r;
}

static void on_piece(struct job *job)
{
	struct piece *p = container_of(job, struct piece, job);
	struct fcopy_file *f = p->file;

	int r;

	p->queued = false;
	if (p->result != FCOPY_OK)
		fail(f, p->result);
	if (f->n_rest == 0 || f->failed)
		return;
	r = take(f);
	if (r == 0)
		f->ops->on_taken(f->self);
	else if (r != FCOPY_FILE_WAIT)
		fail(f, FCOPY_FAILED);
}

int fcopy_file_open(struct fcopy_file *f, const struct fcopy_start *start)
{
	f->start = *start;
	f->filling = NULL;
	f->filled = f->summed = f->n_rest = 0;
	f->position = 0;
	f->failed = false;
	atomic_store(&f->stop, false);
	return submit(f, &f->open_job, run_open, on_opened);
}

int fcopy_file_write(struct fcopy_file *f, const void *data, size_t size)
{
	assert(f->n_rest == 0 && size <= FCOPY_FRAGMENT_MAX);
	f->rest = data;
	f->n_rest = size;
	return take(f);
}

int fcopy_file_finish(struct fcopy_file *f)
{
	int r = f->filled > 0 ? send_piece(f) : 0;

	return r ? r : submit(f, &f->finish_job, run_finish, on_finished);
}

int fcopy_file_discard(struct fcopy_file *f)
{
	f->n_rest = 0;
	f->failed = true; /* nobody wants to know any more */
	atomic_store(&f->stop, true);
	return submit(f, &f->discard_job, run_discard, on_discarded);
}

const char *fcopy_file_why(const struct fcopy_file *f)
{
	return f->place.why;
}

const struct fcopy_receipt *fcopy_file_receipt(const struct fcopy_file *f)
{
	return &f->receipt;
}

int fcopy_file_new(struct event_base *base, const struct fcopy_place_config *config,
		   const struct fcopy_file_user *ops, void *self, struct fcopy_file **ret_file)
{
	_cleanup_(cleanup_fcopy_filep) struct fcopy_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->base = base;
	f->ops = ops;
	f->self = self;
	for (size_t i = 0; i < N_PIECES; i++)
		f->pieces[i].file = f;
	fcopy_place_init(&f->place, config);
	r = jobs_new(base, &f->jobs);
	if (r)
		return r;
	if (access(config->record, F_OK) == 0) {
		r = submit(f, &f->sweep_job, run_sweep, on_swept);
		if (r)
			return r;
	}
	*ret_file = steal_ptr(f);
	return 0;
}

struct fcopy_file *fcopy_file_free(struct fcopy_file *f)
{
	if (!f)
		return NULL;
	atomic_store(&f->stop, true);
	(void)jobs_free(f->jobs);
	discard_now(f);
	(void)stream_free(f->stream);
	free(f);
	return NULL;
}
