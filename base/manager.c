/* SPDX-License-Identifier: MIT */

/*
 * Words for the service manager.
 *
 * It reads a datagram socket, and is not to be relied on: while a backup has frozen / it may itself
 * stand still, or be under so much load that its queue is full. So each sending says for how long it can
 * wait, and mostly that is not at all.
 */

#include "base/manager.h"

#include "base/cleanup.h"

#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int manager_open(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	size_t length;

	if (!path || (path[0] != '/' && path[0] != '@'))
		return -1;
	length = strlen(path);
	if (length >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* the abstract namespace */

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		return -1;
	return steal_fd(fd);
}

int manager_tell(const char *lines, int timeout_ms)
{
	_cleanup_close_ int fd = manager_open();
	struct pollfd room = {.fd = fd, .events = POLLOUT};

	if (fd < 0)
		return MANAGER_NONE;
	if (send(fd, lines, strlen(lines), MSG_NOSIGNAL) >= 0)
		return 0;
	if (errno != EAGAIN)
		return MANAGER_NONE;
	if (timeout_ms == 0 || poll(&room, 1, timeout_ms) != 1)
		return MANAGER_BUSY;
	return send(fd, lines, strlen(lines), MSG_NOSIGNAL) < 0 ? MANAGER_BUSY : 0;
}

uint64_t manager_watchdog_us(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!us || (pid && strtoul(pid, NULL, 10) != (unsigned long)getpid()))
		return 0;
	return strtoull(us, NULL, 10);
}
