/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One run of a hook: a process in a session and process group of its own, with /dev/null to read
 * from, its output caught in memory, and no descriptor of ours besides. It is our child, or that of a
 * runner (hook_runner.c) which was asked to start it because it has more rights.
 */

enum {
	HOOK_OUTPUT_MAX = 4096, /* bytes of output that are kept; the rest is read and dropped */
};

/* The condition of hook_process_ask(). */
enum {
	HOOK_PROCESS_NO_RUNNER = 1, /* nobody listens there */
};

struct hook_process {
	pid_t pid;     /* and its process group; 0: there is none, or its runner has not said yet */
	int end_fd;    /* readable when hook_process_reap() has something to look at; -1: no process */
	int output_fd; /* readable when it has written; does not block; -1: there is none */
	bool has_runner;  /* end_fd is the connection to it */
	bool lost_runner; /* ... which was closed before the end of the hook was told */
	int not_started;  /* errno that the runner tells: nothing was executed */
	bool was_killed;
	size_t n_output;
	uint64_t n_dropped;
	char output[HOOK_OUTPUT_MAX];
};

/* No process. */
void hook_process_init(struct hook_process *p);

/*
 * Starts @argv[0], a path, in "/" with the environment @envp (both end with NULL). Negative errno:
 * nothing was executed.
 */
_must_check_ int hook_process_start(struct hook_process *p, char *const argv[],
				    char *const envp[]);

/*
 * The same, but what it writes goes to @output_fd, which stays the caller's, and is not read here.
 */
_must_check_ int hook_process_start_to(struct hook_process *p, int output_fd, char *const argv[],
				       char *const envp[]);

/*
 * Has it started by the runner that listens at @runner, a Unix socket. What became of that is known when
 * end_fd is readable. With @ends_with_us the runner kills the hook's process group if this process ends
 * or hook_process_leave() is called before the hook has ended; else the hook goes on then.
 * HOOK_PROCESS_NO_RUNNER, negative errno: nothing was asked for.
 */
_must_check_ int hook_process_ask(struct hook_process *p, const char *runner, char *const argv[],
				  char *const envp[], bool ends_with_us);

/* Reads what it has written, up to 64 KiB at once. At the end of the output output_fd becomes -1. */
void hook_process_read(struct hook_process *p);

/* Sends @signal to the whole process group. */
void hook_process_kill(struct hook_process *p, int signal);

/*
 * True if it is over: *ret_status is its exit status, or 128 and the signal's number; or `not_started`
 * is set. If its runner is lost it has been killed, as far as that is allowed. False: not yet, but a
 * runner may have told `pid`. What is left in the pipe is read at the end. If hook_process_kill() was called, the rest of its group is killed;
 * else what it has started (a session that holds a lock, say) goes on, with its output dropped.
 */
bool hook_process_reap(struct hook_process *p, int *ret_status);

/* Forgets the process, whether it has ended or not, and closes the descriptors; keeps the output. */
void hook_process_leave(struct hook_process *p);

/* Where the system has the program @name, in @size bytes. False: nowhere that is known. */
_must_check_ bool hook_process_find(const char *name, char *ret_path, size_t size);

/* When process @pid was started, in the kernel's ticks since boot; 0: there is no such process. */
uint64_t hook_process_start_time(pid_t pid);
