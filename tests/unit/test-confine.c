/* SPDX-License-Identifier: MIT */

/* base/confine.c, each case in a process of its own: what is given up is gone for good. */

#include "base/confine.h"

#include "base/cleanup.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A set of /proc/self/status or of another thread's, such as "CapEff". */
static uint64_t capabilities(const char *file, const char *which)
{
	unsigned long long set = 0;
	FILE *status = fopen(file, "re");
	char line[256];

	cr_assert(ne(ptr, status, NULL));
	while (fgets(line, sizeof(line), status))
		if (strncmp(line, which, strlen(which)) == 0)
			(void)sscanf(line + strlen(which) + 1, "%llx", &set);
	(void)fclose(status);
	return set;
}

static void need_root(void)
{
	if (!confine_has_capability(CAP_SETPCAP) || !confine_has_capability(CAP_KILL))
		cr_skip_test("needs root");
}

static const unsigned keep[] = {CAP_KILL, CAP_SYS_ADMIN};

/* As far as they were there. */
static uint64_t wanted(uint64_t before)
{
	return before & (UINT64_C(1) << CAP_KILL | UINT64_C(1) << CAP_SYS_ADMIN);
}

Test(confine, capabilities_that_are_not_kept_are_gone)
{
	uint64_t before = capabilities("/proc/self/status", "CapPrm");
	uint64_t bounds = capabilities("/proc/self/status", "CapBnd");

	need_root();
	cr_assert(eq(int, confine_capabilities(keep, 2, false), 0));
	cr_expect(eq(u64, capabilities("/proc/self/status", "CapEff"), wanted(before)));
	cr_expect(eq(u64, capabilities("/proc/self/status", "CapPrm"), wanted(before)));
	cr_expect(eq(u64, capabilities("/proc/self/status", "CapInh"), 0));
	cr_expect(eq(u64, capabilities("/proc/self/status", "CapBnd"), bounds));
}

Test(confine, for_good_means_that_no_program_gets_them_back)
{
	uint64_t before = capabilities("/proc/self/status", "CapPrm");
	uint64_t bounds = capabilities("/proc/self/status", "CapBnd");
	FILE *child;
	char line[64] = "";

	need_root();
	cr_assert(eq(int, confine_capabilities(keep, 2, true), 0));
	cr_expect(eq(u64, capabilities("/proc/self/status", "CapEff"), wanted(before)));
	cr_expect(eq(u64, capabilities("/proc/self/status", "CapBnd"), wanted(bounds)));
	child = popen("grep CapEff /proc/self/status", "re");
	cr_assert(ne(ptr, fgets(line, sizeof(line), child), NULL));
	(void)pclose(child);
	cr_expect(eq(u64, strtoull(line + strlen("CapEff:"), NULL, 16), wanted(before & bounds)));
}

Test(confine, what_was_not_there_does_not_come)
{
	need_root();
	cr_assert(eq(int, confine_capabilities(keep, 1, false), 0));
	cr_assert(eq(int, confine_capabilities(keep, 2, false), 0));
	cr_expect(eq(u64, capabilities("/proc/self/status", "CapPrm"), UINT64_C(1) << CAP_KILL));
	cr_expect(confine_has_capability(CAP_KILL));
	cr_expect(not(confine_has_capability(CAP_SYS_ADMIN)));
}

/* Sanitizers and Criterion make calls of their own, so a process that only tries has the filter. */
enum {
	UNAVAILABLE = 77,
	FAILED = 1,
};

static atomic_int thread_saw = -1;
static atomic_bool runs, go;

static void *try_in_a_thread(void *arg)
{
	(void)arg;
	atomic_store(&runs, true);
	while (!atomic_load(&go))
		;
	atomic_store(&thread_saw, syscall(SYS_getppid) < 0 ? errno : 0);
	while (atomic_load(&go))
		;
	return NULL;
}

static int try_calls(void)
{
	static const struct confine_call calls[] = {
		CONFINE_CALL(read),
		CONFINE_CALL_WITH(ioctl, 1, FIFREEZE),
		CONFINE_CALL_WITH(ioctl, 1, FITHAW),
		CONFINE_CALL(close),
		CONFINE_CALL(exit_group),
	};
	pthread_t thread;
	int r;

	/* There is a thread before there is a filter. */
	if (pthread_create(&thread, NULL, try_in_a_thread, NULL))
		return FAILED;
	while (!atomic_load(&runs)) /* the C library has made its own calls by then */
		;
	r = confine_calls(calls, sizeof(calls) / sizeof(calls[0]));
	if (r)
		return r == CONFINE_UNAVAILABLE ? UNAVAILABLE : FAILED;
	if (syscall(SYS_close, -1) != -1 || errno != EBADF)
		return 2;
	if (syscall(SYS_ioctl, -1, FIFREEZE, 0) != -1 || errno != EBADF)
		return 3;
	if (syscall(SYS_ioctl, -1, FITHAW, 0) != -1 || errno != EBADF)
		return 4;
	if (syscall(SYS_ioctl, -1, BLKFLSBUF, 0) != -1 || errno != EPERM)
		return 5;
	/* The number that was loaded last is not that of the argument. */
	if (syscall(SYS_close, -1) != -1 || errno != EBADF)
		return 6;
	if (syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) != -1 || errno != EPERM)
		return 7;
	if (syscall(SYS_execve, "/bin/true", NULL, NULL) != -1 || errno != EPERM)
		return 8;
#ifdef __x86_64__
	/* By the other numbers of this processor. */
	if (syscall(0x40000000 | SYS_close, -1) != -1 || errno != EPERM)
		return 9;
#endif
	atomic_store(&go, true);
	while (atomic_load(&thread_saw) < 0)
		;
	return atomic_load(&thread_saw) == EPERM ? 0 : 10;
}

Test(confine, calls_that_are_not_allowed_fail_in_all_threads)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		syscall(SYS_exit_group, try_calls());
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(eq(int, WIFEXITED(status) ? 0 : status, 0));
	if (WEXITSTATUS(status) == UNAVAILABLE)
		cr_skip_test("there are no filters here");
	cr_expect(eq(int, WEXITSTATUS(status), 0));
}
