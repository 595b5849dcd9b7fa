/* SPDX-License-Identifier: MIT */

/*
 * /dev/vmbus/hv_fcopy on a machine without it: preloaded into a program, it answers the program's
 * open() with the descriptor that HV_FCOPY_FD names, a SOCK_SEQPACKET socket whose other end plays
 * the kernel's driver. The driver ignores offsets, and the stock daemon uses pread() and pwrite(),
 * which a socket refuses; so those are passed on as what they are there. Nothing else is touched.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int device = -1;

int open(const char *path, int flags, ...)
{
	int (*next)(const char *, int, mode_t) =
		(int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, "open");
	const char *fd = getenv("HV_FCOPY_FD");
	mode_t mode = 0;
	va_list args;

	if (fd && strcmp(path, "/dev/vmbus/hv_fcopy") == 0)
		return device = dup(atoi(fd));
	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return next(path, flags, mode);
}

int access(const char *path, int mode)
{
	int (*next)(const char *, int) = (int (*)(const char *, int))dlsym(RTLD_NEXT, "access");

	if (getenv("HV_FCOPY_FD") && strcmp(path, "/dev/vmbus/hv_fcopy") == 0)
		return 0;
	return next(path, mode);
}

ssize_t pread(int fd, void *buf, size_t n, off_t offset)
{
	static ssize_t (*next)(int, void *, size_t, off_t);

	if (fd == device && device >= 0)
		return read(fd, buf, n);
	if (!next)
		next = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
	return next(fd, buf, n, offset);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t offset)
{
	static ssize_t (*next)(int, const void *, size_t, off_t);

	if (fd == device && device >= 0)
		return write(fd, buf, n);
	if (!next)
		next = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
	return next(fd, buf, n, offset);
}
