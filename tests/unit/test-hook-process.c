/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/hook_process.c: real processes, each of which does one thing.
 */

#include "fsfreeze/hook_process.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct hook_process p;

static void start(const char *script)
{
	char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, (char *)(uintptr_t)script, NULL};
	char *envp[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"WORD=here"}, NULL};

	cr_assert(eq(int, hook_process_start(&p, argv, envp), 0));
}

/* Reads until it has ended, as an event loop does. */
static int finish(void)
{
	struct pollfd fds[] = {{.fd = p.pid_fd, .events = POLLIN}, {.events = POLLIN}};
	int status;

	while (!hook_process_reap(&p, &status)) {
		fds[1].fd = p.output_fd;
		cr_assert(gt(int, poll(fds, 2, 20000), 0), "it does not end");
		hook_process_read(&p);
	}
	cr_assert(eq(int, p.output_fd, -1));
	cr_assert(eq(int, p.pid_fd, -1));
	return status;
}

static void expect(const char *script, int status, const char *output)
{
	start(script);
	cr_assert(eq(int, finish(), status), "%s", script);
	cr_assert(eq(sz, p.n_output, strlen(output)), "%s: '%.*s'", script, (int)p.n_output, p.output);
	cr_assert(eq(int, memcmp(p.output, output, p.n_output), 0), "%s", script);
}

Test(hook_process, status_and_output_come_back)
{
	expect("echo out; echo err >&2", 0, "out\nerr\n");
	expect("exit 7", 7, "");
	expect("kill -SEGV $$", 128 + SIGSEGV, "");
	expect("echo $WORD; pwd; cat", 0, "here\n/\n");
}

Test(hook_process, it_has_no_descriptor_of_ours)
{
	int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */

	cr_assert(ge(int, leak, 0));
	expect("for n in 3 4 5 6 7 8 9 10 11 12; do [ ! -e /proc/$$/fd/$n ] || ls -l /proc/$$/fd/$n; done",
	       0, "");
	(void)close(leak);
}

Test(hook_process, what_cannot_be_executed_is_an_error)
{
	char *argv[] = {(char[]){"/nowhere/at/all"}, NULL}, *envp[] = {NULL};

	cr_assert(eq(int, hook_process_start(&p, argv, envp), -ENOENT));
	cr_assert(eq(int, p.pid, 0));
	cr_assert(eq(int, p.output_fd, -1));
}

Test(hook_process, of_a_flood_the_beginning_is_kept_and_the_rest_counted)
{
	start("head -c 1000000 /dev/zero");
	cr_assert(eq(int, finish(), 0));
	cr_assert(eq(sz, p.n_output, HOOK_OUTPUT_MAX));
	cr_assert(eq(u64, p.n_dropped, 1000000 - HOOK_OUTPUT_MAX));
}

Test(hook_process, a_kill_ends_the_whole_group)
{
	pid_t pid;

	start("sleep 300 & trap '' TERM; echo ready; wait; sleep 300");
	pid = p.pid;
	while (p.n_output == 0) {
		struct pollfd f = {.fd = p.output_fd, .events = POLLIN};

		cr_assert(gt(int, poll(&f, 1, 20000), 0));
		hook_process_read(&p);
	}
	hook_process_kill(&p, SIGTERM);
	hook_process_kill(&p, SIGKILL);
	cr_assert(eq(int, finish(), 128 + SIGKILL));
	/* What is left of the group is being reaped by somebody else. */
	for (int i = 0; i < 1000 && kill(-pid, 0) == 0; i++)
		(void)usleep(10000);
	cr_assert(ne(int, kill(-pid, 0), 0));
}

Test(hook_process, it_is_over_when_it_has_ended_whoever_has_its_output_still)
{
	start("setsid sleep 5 & echo done");
	cr_assert(eq(int, finish(), 0));
	cr_assert(eq(int, memcmp(p.output, "done\n", 5), 0));
}

Test(hook_process, a_start_time_tells_a_process_from_another_with_its_number)
{
	uint64_t ours = hook_process_start_time(getpid());

	cr_assert(gt(u64, ours, 0));
	cr_assert(eq(u64, hook_process_start_time(getpid()), ours));
	cr_assert(eq(u64, hook_process_start_time(0x7ffffff0), 0));
}
