/* SPDX-License-Identifier: MIT */

/*
 * What this system is.
 *
 * The kernel tells of a new host name by POLLERR and POLLPRI on /proc/sys/kernel/hostname, which is
 * readable besides, always: an event loop that asks for what is readable would never rest. So the file
 * is in an epoll set of its own that asks for POLLPRI alone, and this set is what others watch. The
 * kernel remembers of the open file which change it has told, so it stays open.
 * Source: Linux fs/proc/proc_sysctl.c, proc_sys_poll(); kernel/utsname_sysctl.c.
 */

#include "services/osinfo.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/epoll.h>

static bool read_text(const char *root, const char *path, char *buf, size_t size)
{
	_cleanup_close_ int fd = -1;
	char whole[512];
	size_t used = 0;
	ssize_t n;

	if (snprintf(whole, sizeof(whole), "%s%s", root, path) >= (int)sizeof(whole))
		return false;
	fd = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	while (used + 1 < size && (n = read(fd, buf + used, size - 1 - used)) > 0)
		used += (size_t)n;
	buf[used] = '\0';
	return true;
}

void osinfo_read(const char *root, struct osinfo *ret_info)
{
	if (uname(&ret_info->uname) < 0)
		ret_info->uname = (struct utsname){0};
	ret_info->os_release[0] = '\0';
	if (!read_text(root, "/etc/os-release", ret_info->os_release, OSINFO_FILE_MAX))
		(void)read_text(root, "/usr/lib/os-release", ret_info->os_release, OSINFO_FILE_MAX);
}

int osinfo_watch_init(struct osinfo_watch *watch)
{
	struct epoll_event event = {.events = EPOLLPRI};
	int r = 0;

	watch->file = open("/proc/sys/kernel/hostname", O_RDONLY | O_CLOEXEC);
	watch->fd = epoll_create1(EPOLL_CLOEXEC);
	if (watch->file < 0 || watch->fd < 0 ||
	    epoll_ctl(watch->fd, EPOLL_CTL_ADD, watch->file, &event) < 0) {
		r = negative_errno();
		osinfo_watch_fini(watch);
	}
	return r;
}

void osinfo_watch_fini(struct osinfo_watch *watch)
{
	watch->fd = close_fd(watch->fd);
	watch->file = close_fd(watch->file);
}

void osinfo_watch_seen(struct osinfo_watch *watch)
{
	struct epoll_event event;

	(void)epoll_wait(watch->fd, &event, 1, 0);
}
