/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/hook_process.c: real processes, each of which does one thing; and a runner's end of the
 * connection, which says what a real one never would (the real one is in tests/system/test-hooks-runner.sh).
 */

#include "base/fdpass.h"
#include "base/unixsock.h"
#include "fsfreeze/hook_process.h"
#include "fsfreeze/hook_wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
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
	struct pollfd fds[] = {{.fd = p.end_fd, .events = POLLIN}, {.events = POLLIN}};
	int status;

	while (!hook_process_reap(&p, &status)) {
		fds[1].fd = p.output_fd;
		cr_assert(gt(int, poll(fds, 2, 20000), 0), "it does not end");
		hook_process_read(&p);
	}
	cr_assert(eq(int, p.output_fd, -1));
	cr_assert(eq(int, p.end_fd, -1));
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

/* Has a command run by a runner, and is that runner: its end of the connection, and of the output. */
static int ask(int *ret_output_fd)
{
	static char buf[HOOK_WIRE_RUN_MAX];
	char *argv[] = {(char[]){"/bin/hook"}, (char[]){"freeze"}, NULL}, *envp[] = {NULL};
	char dir[] = "/tmp/hvguest-test.XXXXXX", path[64];
	struct hook_wire_run run;
	struct unixsock sock;
	size_t len, n_fds;
	int fd;

	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(path, sizeof(path), "%s/sock", dir);
	unixsock_init(&sock);
	cr_assert(eq(int, unixsock_listen(&sock, path, SOCK_SEQPACKET, 0600), 0));
	cr_assert(eq(int, hook_process_ask(&p, path, argv, envp, true), 0));
	fd = accept4(sock.fd, NULL, NULL, SOCK_CLOEXEC);
	cr_assert(ge(int, fd, 0));
	unixsock_fini(&sock);
	(void)rmdir(dir);
	cr_assert(eq(int, fdpass_receive(fd, buf, sizeof(buf), ret_output_fd, 1, &len, &n_fds), 0));
	cr_assert(eq(sz, n_fds, 1));
	cr_assert(eq(int, hook_wire_get_run(buf, len, &run), 0));
	cr_assert(run.ends_with_caller);
	cr_assert(eq(str, run.argv[0], "/bin/hook"));
	cr_assert(eq(str, run.argv[1], "freeze"));
	return fd;
}

static void say(int fd, enum hook_wire_type type, uint32_t value)
{
	uint8_t message[HOOK_WIRE_WORD_SIZE];

	hook_wire_put(message, type, value);
	cr_assert(eq(int, fdpass_send(fd, message, sizeof(message), NULL, 0), 0));
}

Test(hook_process, a_runner_tells_start_and_end_and_is_told_of_kills)
{
	int output_fd, fd = ask(&output_fd), status = -1;
	uint8_t message[HOOK_WIRE_WORD_SIZE];
	enum hook_wire_type type;
	size_t len, n_fds;
	uint32_t value;

	cr_expect(not(hook_process_reap(&p, &status)));
	cr_expect(eq(int, p.pid, 0));
	say(fd, HOOK_WIRE_STARTED, 4711);
	cr_expect(not(hook_process_reap(&p, &status)));
	cr_expect(eq(int, p.pid, 4711));

	hook_process_kill(&p, SIGTERM);
	cr_assert(eq(int, fdpass_receive(fd, message, sizeof(message), NULL, 0, &len, &n_fds), 0));
	cr_assert(eq(int, hook_wire_get(message, len, &type, &value), 0));
	cr_expect(type == HOOK_WIRE_SIGNAL && value == SIGTERM);

	cr_assert(eq(int, (int)write(output_fd, "words", 5), 5));
	say(fd, HOOK_WIRE_ENDED, 143);
	cr_assert(hook_process_reap(&p, &status));
	cr_expect(eq(int, status, 143));
	cr_expect(eq(sz, p.n_output, 5));
	cr_expect(not(p.lost_runner));
	cr_expect(eq(int, p.end_fd, -1));
	(void)close(output_fd);
	(void)close(fd);
}

Test(hook_process, a_runner_tells_that_nothing_was_executed)
{
	int output_fd, fd = ask(&output_fd), status = -1;

	say(fd, HOOK_WIRE_NOT_STARTED, ENOEXEC);
	cr_assert(hook_process_reap(&p, &status));
	cr_expect(eq(int, p.not_started, ENOEXEC));
	cr_expect(not(p.lost_runner));
	(void)close(output_fd);
	(void)close(fd);
}

/* What a runner says before it is gone, or says nothing sensible any more; 0: nothing. */
static const struct lost_row {
	const char *name;
	enum hook_wire_type types[3];
} lost_rows[] = {
	{"nothing", {0}},
	{"end without start", {HOOK_WIRE_ENDED}},
	{"a message of ours", {HOOK_WIRE_SIGNAL}},
	{"an unknown message", {HOOK_WIRE_TYPES}},
};

Test(hook_process, a_runner_that_is_lost_is_a_hook_that_was_killed)
{
	for (size_t i = 0; i < sizeof(lost_rows) / sizeof(lost_rows[0]); i++) {
		int output_fd, fd = ask(&output_fd), status = -1;

		for (size_t m = 0; m < 3 && lost_rows[i].types[m]; m++)
			say(fd, lost_rows[i].types[m], 9);
		(void)close(fd);
		cr_assert(hook_process_reap(&p, &status), "%s", lost_rows[i].name);
		cr_expect(p.lost_runner && status == 128 + SIGKILL && p.end_fd == -1, "%s",
			  lost_rows[i].name);
		(void)close(output_fd);
	}
}

Test(hook_process, a_runner_that_is_lost_takes_the_hook_along)
{
	int output_fd, fd = ask(&output_fd), status = -1, wait_status;
	pid_t hook = fork();

	if (hook == 0) {
		(void)close(fd);
		(void)setsid();
		(void)write(output_fd, "", 1);
		(void)pause();
		_exit(0);
	}
	while (p.n_output == 0)
		hook_process_read(&p);
	say(fd, HOOK_WIRE_STARTED, (uint32_t)hook);
	cr_expect(not(hook_process_reap(&p, &status)));
	(void)close(fd);
	cr_assert(hook_process_reap(&p, &status));
	cr_assert(eq(int, waitpid(hook, &wait_status, 0), hook));
	cr_expect(eq(int, WTERMSIG(wait_status), SIGKILL));
	(void)close(output_fd);
}

Test(hook_process, nobody_listens)
{
	char *argv[] = {(char[]){"/bin/true"}, NULL}, *envp[] = {NULL};

	cr_expect(eq(int, hook_process_ask(&p, "/nowhere/at/all", argv, envp, true), HOOK_PROCESS_NO_RUNNER));
	cr_expect(eq(int, p.end_fd, -1));
	cr_expect(eq(int, p.output_fd, -1));
}
