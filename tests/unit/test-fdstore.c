/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/fdstore.c against a socket of this test's own; taking is shown by test-freeze-faults.sh,
 * with a process that begins anew.
 */

#include "fsfreeze/fdstore.h"

#include "base/cleanup.h"
#include "base/fdpass.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { N = 300 }; /* more than go with one message */

static char dir[] = "/tmp/hvguest-fdstore-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int manager;
static int fds[N];

static void listen_at(const char *path, size_t length)
{
	memcpy(address.sun_path, path, length);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, bind(manager, (struct sockaddr *)&address,
			       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)), 0));
}

static void init(void)
{
	char path[64];

	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(path, sizeof(path), "%s/notify", dir);
	listen_at(path, strlen(path));
	setenv("NOTIFY_SOCKET", path, 1);
	for (size_t i = 0; i < N; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_assert(fds[N - 1] >= 0);
}

static void fini(void)
{
	(void)unlink(address.sun_path);
	(void)rmdir(dir);
}

TestSuite(fdstore, .init = init, .fini = fini);

/* The next message must be @text; returns how many descriptors came with it. */
static size_t expect_message(const char *text)
{
	char buf[256] = "";
	int got[FDPASS_FDS_MAX];
	size_t length, n;

	cr_assert(eq(int, fdpass_receive(manager, buf, sizeof(buf) - 1, got, FDPASS_FDS_MAX, &length,
					 &n), 0));
	cr_expect(eq(str, buf, (char *)(uintptr_t)text));
	for (size_t i = 0; i < n; i++)
		(void)close_fd(got[i]);
	return n;
}

static void expect_nothing(void)
{
	char buf[8];

	cr_expect(eq(int, (int)recv(manager, buf, sizeof(buf), 0), -1));
}

/* A manager that takes its time: what it must have read before it lets the writer go on. */
static void *read_all_at_last(void *arg)
{
	struct pollfd there = {.fd = manager, .events = POLLIN};

	usleep(20000);
	(void)poll(&there, 1, -1);
	cr_expect(eq(sz, expect_message("FDSTORE=1\nFDPOLL=0\nFDNAME=name"), FDPASS_FDS_MAX));
	cr_expect(eq(sz, expect_message("FDSTORE=1\nFDPOLL=0\nFDNAME=name"), N - FDPASS_FDS_MAX));
	(void)poll(&there, 1, -1);
	cr_expect(eq(sz, expect_message("BARRIER=1"), 1));
	return arg;
}

Test(fdstore, puts_any_number_of_descriptors_and_has_them_removed_by_name)
{
	pthread_t reader;

	cr_assert(eq(int, pthread_create(&reader, NULL, read_all_at_last, NULL), 0));
	cr_assert(eq(int, fdstore_put("name", fds, N), 0), "when it has been read");
	pthread_join(reader, NULL);
	fdstore_remove("name");
	cr_expect(eq(sz, expect_message("FDSTOREREMOVE=1\nFDNAME=name"), 0));
	expect_nothing();
}

Test(fdstore, without_a_manager_nothing_is_stored)
{
	unsetenv("NOTIFY_SOCKET");
	cr_expect(eq(int, fdstore_put("name", fds, 1), FDSTORE_NONE));
	fdstore_remove("name");
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	cr_expect(eq(int, fdstore_put("name", fds, 1), FDSTORE_NONE));
	setenv("NOTIFY_SOCKET", "relative", 1);
	cr_expect(eq(int, fdstore_put("name", fds, 1), FDSTORE_NONE));
	expect_nothing();
}

Test(fdstore, a_manager_that_does_not_read_is_not_waited_for_long, .timeout = 30)
{
	static const char text[] = "x";
	int full = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	cr_expect(eq(int, fdstore_put("name", fds, 1), FDSTORE_LATE));
	cr_expect(eq(sz, expect_message("FDSTORE=1\nFDPOLL=0\nFDNAME=name"), 1));
	cr_expect(eq(sz, expect_message("BARRIER=1"), 1));

	cr_assert(eq(int, connect(full, (struct sockaddr *)&address, sizeof(address)), 0));
	while (send(full, text, sizeof(text), 0) > 0)
		;
	cr_expect(eq(int, fdstore_put("name", fds, 1), FDSTORE_NONE));
	(void)close_fd(full);
}

Test(fdstore, takes_nothing_that_was_given_to_another_process)
{
	int taken[4];

	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_FDNAMES", "name:name", 1);
	cr_expect(eq(sz, fdstore_take("name", taken, 4), 0));
	cr_expect(eq(ptr, getenv("LISTEN_FDS"), NULL));
}
