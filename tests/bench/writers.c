/* SPDX-License-Identifier: MIT */

/*
 * Writers on file systems that are about to be frozen. Their pauses grow with their number: however
 * many they are, they write as often altogether, and 128 do not fill two processors by themselves.
 */

#include "tests/bench/writers.h"

#include "base/clock.h"
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	STACK_BYTES = 65536,
	APPEND_BYTES = 512,
	PROBE_BYTES = 64,
	FEW = 8, /* file systems; fewer are not written to more often */
	APPEND_MAX_BYTES = 1 << 20, /* then it begins anew */
};

struct writer {
	struct writers *writers;
	pthread_t thread;
	bool appends; /* with fsync; else it rewrites */
	int fd;
	_Atomic uint64_t longest_ns;
	_Atomic uint64_t slow_begin_ns; /* of the longest write */
	_Atomic uint64_t slow_end_ns;
};

struct writers {
	size_t n;
	_Atomic bool stop;
	useconds_t append_pause_us;
	useconds_t probe_pause_us;
	struct writer each[];
};

static void write_once(struct writer *w, uint64_t count)
{
	static const char block[APPEND_BYTES];
	off_t at = w->appends ? (off_t)(count * APPEND_BYTES % APPEND_MAX_BYTES) : 0;
	size_t size = w->appends ? APPEND_BYTES : PROBE_BYTES;

	if (pwrite(w->fd, block, size, at) != (ssize_t)size ||
	    (w->appends && fsync(w->fd) < 0))
		bench_die("a writer's write", errno);
}

static void *writer_main(void *user)
{
	struct writer *w = user;

	for (uint64_t count = 0; !atomic_load(&w->writers->stop); count++) {
		uint64_t begin_ns = clock_monotonic_ns(), end_ns;

		write_once(w, count);
		end_ns = clock_monotonic_ns();
		if (end_ns - begin_ns > atomic_load(&w->longest_ns)) {
			atomic_store(&w->longest_ns, end_ns - begin_ns);
			atomic_store(&w->slow_begin_ns, begin_ns);
			atomic_store(&w->slow_end_ns, end_ns);
		}
		usleep(w->appends ? w->writers->append_pause_us : w->writers->probe_pause_us);
	}
	return NULL;
}

static void start(struct writer *w, const char *folder)
{
	pthread_attr_t attr;
	char path[256];
	int r;

	snprintf(path, sizeof(path), "%s/%s", folder, w->appends ? "appended" : "probe");
	w->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (w->fd < 0)
		bench_die(path, errno);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&w->thread, &attr, writer_main, w);
	(void)pthread_attr_destroy(&attr);
	if (r)
		bench_die("a writer's thread", r);
}

struct writers *writers_new(const char *const *folders, size_t n)
{
	struct writers *writers = calloc(1, sizeof(*writers) + 2 * n * sizeof(writers->each[0]));
	size_t scale = n > FEW ? n : FEW;

	if (!writers)
		bench_die("writers", ENOMEM);
	writers->n = 2 * n;
	writers->append_pause_us = (useconds_t)(scale * 500);
	writers->probe_pause_us = (useconds_t)(scale * 125);
	for (size_t i = 0; i < writers->n; i++) {
		writers->each[i].writers = writers;
		writers->each[i].appends = i % 2;
		start(&writers->each[i], folders[i / 2]);
	}
	return writers;
}

struct writers *writers_free(struct writers *writers)
{
	if (!writers)
		return NULL;
	atomic_store(&writers->stop, true);
	for (size_t i = 0; i < writers->n; i++) {
		(void)pthread_join(writers->each[i].thread, NULL);
		(void)close(writers->each[i].fd);
	}
	free(writers);
	return NULL;
}

void writers_reset(struct writers *writers)
{
	for (size_t i = 0; i < writers->n; i++) {
		atomic_store(&writers->each[i].longest_ns, 0);
		atomic_store(&writers->each[i].slow_begin_ns, 0);
		atomic_store(&writers->each[i].slow_end_ns, 0);
	}
}

static uint64_t longest_of(const struct writers *writers, size_t step)
{
	uint64_t longest_ns = 0;

	for (size_t i = 0; i < writers->n; i += step) {
		uint64_t ns = atomic_load(&writers->each[i].longest_ns);

		longest_ns = ns > longest_ns ? ns : longest_ns;
	}
	return longest_ns;
}

uint64_t writers_longest_ns(const struct writers *writers)
{
	return longest_of(writers, 1);
}

uint64_t writers_longest_buffered_ns(const struct writers *writers)
{
	/* Every second one appends with fsync. */
	return longest_of(writers, 2);
}

uint64_t writers_last_end_ns(const struct writers *writers, uint64_t ns)
{
	uint64_t last_ns = 0;

	for (size_t i = 0; i < writers->n; i++) {
		uint64_t end_ns = atomic_load(&writers->each[i].slow_end_ns);

		if (atomic_load(&writers->each[i].slow_begin_ns) < ns && end_ns > last_ns)
			last_ns = end_ns;
	}
	return last_ns;
}
