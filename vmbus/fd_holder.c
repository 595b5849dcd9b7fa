/* SPDX-License-Identifier: MIT */

/*
 * Looks for a process that has a file open.
 *
 * There is no other way to ask: the links below /proc/PID/fd are compared with the path. Processes
 * come and go meanwhile, and those of other users can be hidden; so "nobody" means that no holder
 * was seen, and is not a lock.
 */

#include "vmbus/fd_holder.h"

#include "base/cleanup.h"
#include "vmbus/sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void cleanup_dirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static DIR *open_dir(int dir_fd, const char *path)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		close_fd(fd);
	return dir;
}

static bool has_open(int proc_fd, const char *pid, const char *path)
{
	char name[64], target[sizeof(((struct fd_holder *)0)->path) + 1];
	_cleanup_(cleanup_dirp) DIR *dir = NULL;
	struct dirent *entry;

	if (snprintf(name, sizeof(name), "%s/fd", pid) >= (int)sizeof(name))
		return false;
	dir = open_dir(proc_fd, name);
	while (dir && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));

		if (n > 0 && (size_t)n == strlen(path) && memcmp(target, path, n) == 0)
			return true;
	}
	return false;
}

int fd_holder_find(const char *proc, const char *path, struct fd_holder *ret_holder)
{
	_cleanup_(cleanup_dirp) DIR *dir = open_dir(AT_FDCWD, proc);
	struct fd_holder holder = {0};
	struct dirent *entry;
	char name[64];

	if (snprintf(holder.path, sizeof(holder.path), "%s", path) >= (int)sizeof(holder.path))
		return FD_HOLDER_NONE;
	while (dir && (entry = readdir(dir))) {
		holder.pid = strtol(entry->d_name, NULL, 10);
		if (holder.pid <= 0 || !has_open(dirfd(dir), entry->d_name, path))
			continue;
		snprintf(name, sizeof(name), "%d/comm", (int)holder.pid);
		if (sysfs_read_text(dirfd(dir), name, holder.name, sizeof(holder.name)))
			holder.name[0] = '\0';
		*ret_holder = holder;
		return 0;
	}
	return FD_HOLDER_NONE;
}
