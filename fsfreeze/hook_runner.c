/* SPDX-License-Identifier: MIT */

/*
 * hvguest-hook: runs one hook for hvguestd, with the rights that hvguestd does not have.
 *
 * A hook is the administrator's program, and may become a database's user, mount, or compile while it
 * runs. hvguestd needs none of that, and its unit forbids it. So systemd starts this program, in a unit
 * of its own (hvguest-hook@.service), for each connection to a socket that only root can reach; the
 * connection is standard input. It says what to run, brings the descriptor for the output, and is told
 * how it ended (hook_wire.h).
 *
 *     RUN ──► start it ──► NOT_STARTED, the end
 *                  └─────► STARTED ──► (SIGNAL: to the hook's process group)* ──► ENDED, the end
 *
 * If hvguestd dies, the connection is closed. A hook that was to hold something then is killed, before
 * the next hvguestd calls it back; one that is being called back comes to its end, for nobody will call
 * it again. And what was to hold, but whose caller is gone before it was started, is not started.
 *
 * What a hook leaves running when it has ended stays in this unit, and nothing here waits for it.
 */

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "fsfreeze/hook_process.h"
#include "fsfreeze/hook_wire.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

enum {
	CONNECTION_FD = STDIN_FILENO,
	PATIENCE_S = 10, /* RUN is sent when the connection is made */
};

/* Ends this process; what is said goes to the journal. */
static int fail(const char *what, const char *why)
{
	fprintf(stderr, "hvguest-hook: %s: %s\n", what, why);
	return EXIT_FAILURE;
}

/* Only whoever could start the hook itself may have it started. */
static const char *complaint_of_peer(void)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(CONNECTION_FD, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return "there is no connection: systemd starts this, for hvguestd (hvguest-hook.socket)";
	return peer.uid == geteuid() ? NULL : "the other side is somebody else than root";
}

static void say(enum hook_wire_type type, uint32_t value)
{
	uint8_t message[HOOK_WIRE_WORD_SIZE];

	hook_wire_put(message, type, value);
	/* A caller that is gone is noticed in serve(). */
	(void)(fdpass_send(CONNECTION_FD, message, sizeof(message), NULL, 0) == 0);
}

/* Takes RUN, into @buf. */
static const char *receive_run(char *buf, struct hook_wire_run *ret_run, int *ret_output_fd)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	_cleanup_close_ int output_fd = -1;
	size_t len, n_fds;
	int r;

	if (setsockopt(CONNECTION_FD, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		return strerror(errno);
	r = fdpass_receive(CONNECTION_FD, buf, HOOK_WIRE_RUN_MAX, &output_fd, 1, &len, &n_fds);
	if (r)
		return r == FDPASS_CLOSED ? "the caller is gone" :
		       r == FDPASS_AGAIN  ? "the caller says nothing" :
		       r < 0		  ? strerror(-r) : "it is too long";
	if (n_fds != 1 || hook_wire_get_run(buf, len, ret_run))
		return "it is malformed, or of another version: restart hvguestd";
	*ret_output_fd = steal_fd(output_fd);
	return NULL;
}

static bool caller_is_gone(void)
{
	struct pollfd connection = {.fd = CONNECTION_FD};

	return poll(&connection, 1, 0) > 0;
}

/* Does what the caller says; false if it is gone, or says nonsense. */
static bool obey(struct hook_process *p)
{
	uint8_t message[HOOK_WIRE_WORD_SIZE];
	enum hook_wire_type type;
	size_t len, n_fds;
	uint32_t value;

	if (fdpass_receive(CONNECTION_FD, message, sizeof(message), NULL, 0, &len, &n_fds) ||
	    hook_wire_get(message, len, &type, &value) || type != HOOK_WIRE_SIGNAL)
		return false;
	hook_process_kill(p, (int)value);
	return true;
}

/* Until the hook has ended. */
static void serve(struct hook_process *p, bool ends_with_caller)
{
	struct pollfd fds[] = {{.fd = CONNECTION_FD, .events = POLLIN},
			       {.fd = p->end_fd, .events = POLLIN}};
	int status;

	while (!hook_process_reap(p, &status)) {
		if (poll(fds, 2, -1) < 0 || fds[0].revents == 0 || obey(p))
			continue;
		fds[0].fd = -1;
		if (ends_with_caller)
			hook_process_kill(p, SIGKILL);
	}
	say(HOOK_WIRE_ENDED, (uint32_t)status);
}

int main(void)
{
	_cleanup_free_ char *buf = malloc(HOOK_WIRE_RUN_MAX);
	_cleanup_close_ int output_fd = -1;
	const char *complaint = complaint_of_peer();
	struct hook_wire_run run;
	struct hook_process p;
	int r;

	if (complaint)
		return fail("refused", complaint);
	complaint = buf ? receive_run(buf, &run, &output_fd) : strerror(ENOMEM);
	if (complaint)
		return fail("what is to be run cannot be read", complaint);
	if (run.ends_with_caller && caller_is_gone())
		return fail(run.argv[0], "not started: hvguestd has ended");

	r = hook_process_start_to(&p, output_fd, run.argv, run.envp);
	if (r) {
		say(HOOK_WIRE_NOT_STARTED, (uint32_t)-r);
		return EXIT_SUCCESS;
	}
	output_fd = close_fd(output_fd);
	say(HOOK_WIRE_STARTED, (uint32_t)p.pid);
	serve(&p, run.ends_with_caller);
	return EXIT_SUCCESS;
}
