/* SPDX-License-Identifier: MIT */

/*
 * The benchmarks' samples and lines. The form of the lines is read by tests/bench/run.
 */

#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const better_text[] = {
	[BENCH_LARGER] = "larger is better",
	[BENCH_SMALLER] = "smaller is better",
};

enum bench_mode bench_mode(void)
{
	const char *mode = getenv("BENCH_MODE");

	if (!mode || strcmp(mode, "full") == 0)
		return BENCH_FULL;
	if (strcmp(mode, "quick") == 0)
		return BENCH_QUICK;
	if (strcmp(mode, "minimal") == 0)
		return BENCH_MINIMAL;
	fprintf(stderr, "BENCH_MODE is full, quick or minimal, not %s\n", mode);
	exit(2);
}

uint64_t bench_choose(uint64_t full, uint64_t quick, uint64_t minimal)
{
	switch (bench_mode()) {
	case BENCH_FULL:
		return full;
	case BENCH_QUICK:
		return quick;
	case BENCH_MINIMAL:
		return minimal;
	}
	abort();
}

void bench_add(struct bench_series *series, double sample)
{
	if (series->n < BENCH_SAMPLES_MAX)
		series->samples[series->n++] = sample;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct bench_series sorted(const struct bench_series *series)
{
	struct bench_series copy = *series;

	qsort(copy.samples, copy.n, sizeof(copy.samples[0]), compare);
	return copy;
}

double bench_median(const struct bench_series *series)
{
	struct bench_series s = sorted(series);

	if (s.n == 0)
		return 0;
	return (s.samples[(s.n - 1) / 2] + s.samples[s.n / 2]) / 2;
}

void bench_print(const char *name, const struct bench_series *series, const char *unit,
		 enum bench_better better)
{
	struct bench_series s = sorted(series);

	if (s.n == 0)
		return;
	printf("%s %.4g %s (%.4g..%.4g, %zu) %s\n", name, bench_median(&s), unit, s.samples[0],
	       s.samples[s.n - 1], s.n, better_text[better]);
	fflush(stdout);
}

void bench_print_ratio(const char *name, const struct bench_series *ours,
		       const struct bench_series *theirs, enum bench_better better)
{
	size_t n = ours->n < theirs->n ? ours->n : theirs->n;
	struct bench_series ratios = {0};
	char line[128];

	for (size_t i = 0; i < n; i++)
		if (theirs->samples[i] > 0)
			bench_add(&ratios, ours->samples[i] / theirs->samples[i]);
	snprintf(line, sizeof(line), "%s_ratio", name);
	bench_print(line, &ratios, "x", better);
}

void bench_print_pair(const char *name, const char *peer, const struct bench_series *ours,
		      const struct bench_series *theirs, const char *unit, enum bench_better better)
{
	char line[128];

	bench_print(name, ours, unit, better);
	snprintf(line, sizeof(line), "%s_%s", name, peer);
	bench_print(line, theirs, unit, better);
	bench_print_ratio(name, ours, theirs, better);
}

void bench_make_dir(bool in_memory, char ret_path[BENCH_PATH_MAX])
{
	const char *parent = getenv(in_memory ? "BENCH_MEMORY_DIR" : "BENCH_DIR");

	if (!parent)
		parent = in_memory ? "/dev/shm" : "/var/tmp";
	if (snprintf(ret_path, BENCH_PATH_MAX, "%s/bench.XXXXXX", parent) >= BENCH_PATH_MAX)
		bench_die(parent, ENAMETOOLONG);
	if (!mkdtemp(ret_path))
		bench_die(ret_path, errno);
}

void bench_remove_dir(const char *path)
{
	const char *const argv[] = {"/bin/rm", "-rf", path, NULL};

	(void)waitpid(bench_spawn(argv, "/dev/null", -1, 0), NULL, 0);
}

pid_t bench_spawn(const char *const *argv, const char *log, int fd, int end_signal)
{
	union {
		const char *const *in;
		char *const *out;
	} arguments = {.in = argv};
	pid_t pid = fork();
	int out;

	if (pid < 0)
		bench_die("fork", errno);
	if (pid > 0)
		return pid;

	/* There may be threads: nothing up to execv() takes a lock. */
	(void)prctl(PR_SET_PDEATHSIG, end_signal);
	out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	(void)dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	(void)dup2(out, STDOUT_FILENO);
	(void)dup2(out, STDERR_FILENO);
	if (fd >= 0)
		(void)dup2(fd, BENCH_DEVICE_FD);
	execv(argv[0], arguments.out);
	_exit(127);
}

void bench_end(pid_t pid)
{
	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, NULL, 0);
}

void bench_skip(const char *name, const char *reason)
{
	printf("skip %s: %s\n", name, reason);
	fflush(stdout);
}

bool bench_find_cpus(int ret_cpus[2])
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return false;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			ret_cpus[n++] = cpu;
	return n == 2;
}

void bench_use_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		bench_die("sched_setaffinity", errno);
}

_Noreturn void bench_die(const char *what, int error)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(abs(error)));
	exit(1);
}
