/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What every benchmark needs: samples, their median, and the lines that tests/bench/run collects:
 *
 *     NAME VALUE UNIT (MIN..MAX, N) larger is better
 *     skip NAME: REASON
 *
 * VALUE is the median of N samples. A ratio is ours / theirs, the median of the ratios of each round,
 * in which both were measured one right after the other: what disturbs one disturbs the other.
 */

/* How much is measured: the environment's BENCH_MODE, "full" unless set. */
enum bench_mode {
	BENCH_FULL,
	BENCH_QUICK,   /* for developers: all of it in under two minutes */
	BENCH_MINIMAL, /* only shows that the benchmarks work; the figures mean nothing */
};

enum bench_better {
	BENCH_LARGER,
	BENCH_SMALLER,
};

enum {
	BENCH_SAMPLES_MAX = 64,
	BENCH_PATH_MAX = 80, /* leaves room for a name in the address of a socket */
	BENCH_DEVICE_FD = 9, /* where the stand-ins for character devices (standin/) have theirs */
};

struct bench_series {
	size_t n;
	double samples[BENCH_SAMPLES_MAX];
};

/* The mode, checked. */
enum bench_mode bench_mode(void);

/* One of the three, by the mode. */
uint64_t bench_choose(uint64_t full, uint64_t quick, uint64_t minimal);

/* Adds a sample; a series that is full ignores it. */
void bench_add(struct bench_series *series, double sample);

/* The median; 0 if there are no samples. */
double bench_median(const struct bench_series *series);

/* Prints the line of a series; none if it has no samples. */
void bench_print(const char *name, const struct bench_series *series, const char *unit,
		 enum bench_better better);

/* Prints NAME_ratio: the samples of both, taken by pairs. */
void bench_print_ratio(const char *name, const struct bench_series *ours,
		       const struct bench_series *theirs, enum bench_better better);

/* Prints NAME, NAME_PEER and NAME_ratio. */
void bench_print_pair(const char *name, const char *peer, const struct bench_series *ours,
		      const struct bench_series *theirs, const char *unit,
		      enum bench_better better);

/*
 * Makes a folder for files, on a disk: below BENCH_DIR, or else /var/tmp; or in memory: below
 * BENCH_MEMORY_DIR, or else /dev/shm. Writes its path to @ret_path.
 */
void bench_make_dir(bool in_memory, char ret_path[BENCH_PATH_MAX]);

/* Removes it with all that is in it. */
void bench_remove_dir(const char *path);

/*
 * Starts a program, argv[0], with its output going to the end of the file @log. @fd (or -1) becomes
 * its BENCH_DEVICE_FD. It gets @end_signal when this process ends. Safe with threads; ends this
 * program if it cannot.
 */
pid_t bench_spawn(const char *const *argv, const char *log, int fd, int end_signal);

/* Ends it with SIGTERM and waits for that. */
void bench_end(pid_t pid);

/* Says that a line is missing, and why. */
void bench_skip(const char *name, const char *reason);

/* The first two processors that this process may use; false: there is only one. */
bool bench_find_cpus(int ret_cpus[2]);

/* This process, and what it starts from now on, runs on @cpu only. */
void bench_use_cpu(int cpu);

/* Prints why on standard error and ends the program. */
_Noreturn void bench_die(const char *what, int error);
