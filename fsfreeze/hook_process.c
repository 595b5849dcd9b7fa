/* SPDX-License-Identifier: MIT */

/*
 * Processes of hooks.
 *
 * A hook is over when the process that was started has ended, not when its output has: a hook may
 * leave something running that holds a lock until it is called back, and that has its output still.
 * The output is read without end, so that a hook which floods it is not stopped by a full pipe but
 * by its time limit; of what is read only the beginning is kept.
 *
 * Nobody waits here. The process is watched by its pidfd, which cannot come to mean another one; or, if
 * a runner has it, by the connection, over which the runner tells the same.
 */

#include "fsfreeze/hook_process.h"

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "base/unixsock.h"
#include "fsfreeze/hook_wire.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
	READ_AT_ONCE = 64 * 1024,
	CONNECT_MS = 1000, /* whoever listens has only to let it queue */
};

void hook_process_init(struct hook_process *p)
{
	p->pid = 0;
	p->end_fd = p->output_fd = -1;
	p->has_runner = p->lost_runner = p->was_killed = false;
	p->not_started = 0;
	p->n_output = 0;
	p->n_dropped = 0;
}

static int set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	(void)posix_spawnattr_setsigmask(attr, &none);
	(void)posix_spawnattr_setsigdefault(attr, &all);
	return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						      POSIX_SPAWN_SETSID);
}

static int spawn_with(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, int output_fd,
		      char *const argv[], char *const envp[], pid_t *ret_pid)
{
	int r = set_attributes(attr);

	r = r ?: posix_spawn_file_actions_adddup2(actions, output_fd, 1);
	r = r ?: posix_spawn_file_actions_adddup2(actions, output_fd, 2);
	r = r ?: posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
	r = r ?: posix_spawn_file_actions_addclosefrom_np(actions, 3);
	r = r ?: posix_spawn_file_actions_addchdir_np(actions, "/");
	r = r ?: posix_spawn(ret_pid, argv[0], actions, attr, argv, envp);
	return -r;
}

static int spawn(int output_fd, char *const argv[], char *const envp[], pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int r;

	r = posix_spawnattr_init(&attr);
	if (r)
		return -r;
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0) {
		r = -spawn_with(&actions, &attr, output_fd, argv, envp, ret_pid);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	(void)posix_spawnattr_destroy(&attr);
	return -r;
}

int hook_process_start_to(struct hook_process *p, int output_fd, char *const argv[],
			  char *const envp[])
{
	int r;

	hook_process_init(p);
	r = spawn(output_fd, argv, envp, &p->pid);
	if (r) {
		p->pid = 0;
		return r;
	}
	p->end_fd = pidfd_open(p->pid, 0);
	if (p->end_fd < 0) {
		/* It runs, but nobody could tell when it ends: it must not. */
		r = negative_errno();
		(void)kill(-p->pid, SIGKILL);
		(void)waitpid(p->pid, NULL, 0);
		p->pid = 0;
		return r;
	}
	return 0;
}

/* A pipe for the output, of which the reading end does not block. */
static int make_pipe(int *ret_ours, int *ret_theirs)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return negative_errno();
	ours = ends[0];
	theirs = ends[1];
	if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
		return negative_errno();
	*ret_ours = steal_fd(ours);
	*ret_theirs = steal_fd(theirs);
	return 0;
}

int hook_process_start(struct hook_process *p, char *const argv[], char *const envp[])
{
	_cleanup_close_ int ours = -1, theirs = -1;
	int r;

	hook_process_init(p);
	r = make_pipe(&ours, &theirs);
	r = r ?: hook_process_start_to(p, theirs, argv, envp);
	if (r)
		return r;
	p->output_fd = steal_fd(ours);
	return 0;
}

static int ask(int socket_fd, int output_fd, char *const argv[], char *const envp[], bool ends_with_us)
{
	_cleanup_free_ uint8_t *message = malloc(HOOK_WIRE_RUN_MAX);
	size_t len;
	int r;

	if (!message)
		return -ENOMEM;
	if (hook_wire_put_run(message, HOOK_WIRE_RUN_MAX, argv, envp, ends_with_us, &len))
		return -E2BIG;
	if (fcntl(socket_fd, F_SETFL, O_NONBLOCK) < 0)
		return negative_errno();
	r = fdpass_send(socket_fd, message, len, &output_fd, 1);
	return r > 0 ? HOOK_PROCESS_NO_RUNNER : r;
}

int hook_process_ask(struct hook_process *p, const char *runner, char *const argv[],
		     char *const envp[], bool ends_with_us)
{
	_cleanup_close_ int ours = -1, theirs = -1, socket_fd = -1;
	int r;

	hook_process_init(p);
	r = unixsock_connect(runner, SOCK_SEQPACKET, CONNECT_MS, &socket_fd);
	if (r > 0)
		return HOOK_PROCESS_NO_RUNNER;
	r = r ?: make_pipe(&ours, &theirs);
	r = r ?: ask(socket_fd, theirs, argv, envp, ends_with_us);
	if (r)
		return r;
	p->has_runner = true;
	p->end_fd = steal_fd(socket_fd);
	p->output_fd = steal_fd(ours);
	return 0;
}

static void take_output(struct hook_process *p, const char *data, size_t n)
{
	size_t room = sizeof(p->output) - p->n_output;
	size_t kept = n < room ? n : room;

	memcpy(p->output + p->n_output, data, kept);
	p->n_output += kept;
	p->n_dropped += n - kept;
}

void hook_process_read(struct hook_process *p)
{
	char buf[4096];
	ssize_t n;

	for (size_t total = 0; p->output_fd >= 0 && total < READ_AT_ONCE; total += (size_t)n) {
		n = read(p->output_fd, buf, sizeof(buf));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			p->output_fd = close_fd(p->output_fd);
			return;
		}
		take_output(p, buf, (size_t)n);
	}
}

void hook_process_kill(struct hook_process *p, int signal)
{
	uint8_t message[HOOK_WIRE_WORD_SIZE];

	if (p->end_fd < 0)
		return;
	p->was_killed = true;
	if (!p->has_runner) {
		(void)kill(-p->pid, signal);
		return;
	}
	hook_wire_put(message, HOOK_WIRE_SIGNAL, (uint32_t)signal);
	(void)(fdpass_send(p->end_fd, message, sizeof(message), NULL, 0) == 0);
}

static bool reap_child(struct hook_process *p, int *ret_status)
{
	struct pollfd ended = {.fd = p->end_fd, .events = POLLIN};
	siginfo_t info = {0};

	if (poll(&ended, 1, 0) <= 0)
		return false;
	/* As long as it has not been waited for, its process group's number means nobody else. */
	if (p->was_killed)
		(void)kill(-p->pid, SIGKILL);
	(void)waitid(P_PIDFD, (id_t)p->end_fd, &info, WEXITED);
	*ret_status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	return true;
}

/* The runner is gone or speaks nonsense: the hook, if it runs, has nobody who would end it. */
static void lose_runner(struct hook_process *p, int *ret_status)
{
	p->lost_runner = true;
	if (p->pid)
		(void)kill(-p->pid, SIGKILL);
	*ret_status = 128 + SIGKILL;
}

static bool hear_runner(struct hook_process *p, int *ret_status)
{
	uint8_t message[HOOK_WIRE_WORD_SIZE];
	enum hook_wire_type type;
	size_t len, n_fds;
	uint32_t value;
	int r;

	while (true) {
		r = fdpass_receive(p->end_fd, message, sizeof(message), NULL, 0, &len, &n_fds);
		if (r == FDPASS_AGAIN)
			return false;
		if (r || hook_wire_get(message, len, &type, &value))
			break;
		if (type == HOOK_WIRE_STARTED && p->pid == 0) {
			p->pid = (pid_t)value;
		} else if (type == HOOK_WIRE_NOT_STARTED && p->pid == 0) {
			p->not_started = (int)value;
			*ret_status = 0;
			return true;
		} else if (type == HOOK_WIRE_ENDED && p->pid > 0) {
			*ret_status = (int)value;
			return true;
		} else {
			break;
		}
	}
	lose_runner(p, ret_status);
	return true;
}

bool hook_process_reap(struct hook_process *p, int *ret_status)
{
	int status;

	if (p->end_fd < 0 || !(p->has_runner ? hear_runner(p, &status) : reap_child(p, &status)))
		return false;
	hook_process_read(p);
	hook_process_leave(p);
	*ret_status = status;
	return true;
}

void hook_process_leave(struct hook_process *p)
{
	p->output_fd = close_fd(p->output_fd);
	p->end_fd = close_fd(p->end_fd);
	p->pid = 0;
}

bool hook_process_find(const char *name, char *ret_path, size_t size)
{
	static const char *const folders[] = {"/usr/bin", "/usr/sbin", "/bin", "/sbin"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(ret_path, size, "%s/%s", folders[i], name);
		if (access(ret_path, X_OK) == 0)
			return true;
	}
	return false;
}

uint64_t hook_process_start_time(pid_t pid)
{
	unsigned long long start = 0;
	char path[32], text[1024];
	const char *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	(void)close_fd(fd);
	text[n > 0 ? n : 0] = '\0';
	/* Behind the name, which may hold anything; proc(5), fields 3 to 22. */
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
				"%*d %*d %*d %*d %llu", &start) != 1)
		return 0;
	return start;
}
