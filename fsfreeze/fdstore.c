/* SPDX-License-Identifier: MIT */

/*
 * The service manager's store.
 *
 * A frozen file system can be thawed by whoever has a descriptor on it, and by nobody else once its
 * mount is gone. So copies are left with the one process that cannot be killed. The protocol is
 * systemd's (sd_notify(3), sd_listen_fds(3)): datagrams of text with descriptors, and on the way
 * back descriptors from number 3 on, which the environment describes.
 *
 * A manager drops what comes from a process that has died meanwhile, so it is waited for before
 * anything is frozen: it is sent the end of a pipe (BARRIER=1) and closes it when it has read all that
 * came before. But not for long, and nothing else waits: a manager that does not read its socket must
 * keep a backup neither from beginning nor from ending.
 */

#include "fsfreeze/fdstore.h"

#include "base/cleanup.h"
#include "base/fdpass.h"
#include "base/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	BARRIER_MS = 200,
	FIRST_FD = 3, /* sd_listen_fds(3): SD_LISTEN_FDS_START */
};

/* Whether the manager has read what was sent to it, in time. */
static bool is_read(int manager)
{
	static const char text[] = "BARRIER=1";
	int fds[2], r;
	struct pollfd end;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	r = fdpass_send(manager, text, sizeof(text) - 1, &fds[1], 1);
	(void)close_fd(fds[1]);
	end = (struct pollfd){.fd = fds[0]};
	if (r == 0)
		r = poll(&end, 1, BARRIER_MS) == 1 ? 0 : FDSTORE_LATE;
	(void)close_fd(fds[0]);
	return r == 0;
}

int fdstore_put(const char *name, const int *fds, size_t n)
{
	_cleanup_close_ int manager = manager_open();
	char text[128];
	int length;

	length = snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	if (manager < 0 || length >= (int)sizeof(text))
		return FDSTORE_NONE;
	for (size_t done = 0; done < n;) {
		size_t part = n - done < FDPASS_FDS_MAX ? n - done : FDPASS_FDS_MAX;

		if (fdpass_send(manager, text, (size_t)length, fds + done, part))
			return FDSTORE_NONE;
		done += part;
	}
	return is_read(manager) ? 0 : FDSTORE_LATE;
}

void fdstore_remove(const char *name)
{
	_cleanup_close_ int manager = manager_open();
	char text[128];
	int length = snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);

	if (manager >= 0 && length < (int)sizeof(text))
		(void)!fdpass_send(manager, text, (size_t)length, NULL, 0);
}

/* How many descriptors the environment says were given to this process. */
static unsigned long count_given(void)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");

	if (!pid || !n || strtoul(pid, NULL, 10) != (unsigned long)getpid())
		return 0;
	return strtoul(n, NULL, 10);
}

size_t fdstore_take(const char *name, int *ret_fds, size_t max)
{
	const char *names = getenv("LISTEN_FDNAMES");
	unsigned long n_given = count_given();
	size_t n = 0;

	for (unsigned long i = 0; names && i < n_given; i++) {
		size_t length = strcspn(names, ":");
		int fd = FIRST_FD + (int)i;

		if (length == strlen(name) && strncmp(names, name, length) == 0 && n < max &&
		    fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			ret_fds[n++] = fd;
		names += length + (names[length] == ':');
	}
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	return n;
}
