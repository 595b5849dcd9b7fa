/* SPDX-License-Identifier: MIT */

/*
 * Attributes in sysfs.
 *
 * One read gives an attribute's whole text, and one write is one command to the kernel, whose
 * answer is the write's error. Nothing here retries, creates or truncates: a command that was
 * written twice would be given twice.
 */

#include "vmbus/sysfs.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum {
	NUMBER_SIZE = 32,
};

int sysfs_read_text(int dir_fd, const char *path, char *ret_text, size_t size)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return negative_errno();
	n = read(fd, ret_text, size - 1);
	if (n < 0) {
		ret_text[0] = '\0';
		return negative_errno();
	}
	ret_text[n] = '\0';
	ret_text[strcspn(ret_text, "\n")] = '\0';
	return 0;
}

int64_t sysfs_read_number(int dir_fd, const char *path, int base)
{
	char text[NUMBER_SIZE], *end;
	long long number;

	if (sysfs_read_text(dir_fd, path, text, sizeof(text)))
		return -1;
	errno = 0;
	number = strtoll(text, &end, base);
	return errno || end == text || *end || number < 0 ? -1 : number;
}

int sysfs_read_link(int dir_fd, const char *path, char *ret_name, size_t size)
{
	char target[PATH_MAX];
	const char *name;
	ssize_t n = readlinkat(dir_fd, path, target, sizeof(target) - 1);

	if (n < 0)
		return negative_errno();
	target[n] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	if (strlen(name) >= size)
		return -ENAMETOOLONG;
	strcpy(ret_name, name);
	return 0;
}

int sysfs_write_text(int dir_fd, const char *path, const char *text)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
	size_t size = strlen(text);
	ssize_t n;

	if (fd < 0)
		return negative_errno();
	n = write(fd, text, size);
	if (n < 0)
		return negative_errno();
	return (size_t)n == size ? 0 : -EIO;
}
