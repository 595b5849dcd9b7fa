/* SPDX-License-Identifier: MIT */

/*
 * /dev/vmbus/hv_vss for the stock hv_vss_daemon on a machine without it: preloaded, it answers the
 * daemon's open() with the descriptor that HV_VSS_FD names, a SOCK_SEQPACKET socket whose other end
 * plays the kernel's driver (tests/bench/peers.c). Nothing else of the daemon is touched, but for
 * one lie: it leaves loop devices alone, and here they stand for disks, so it is told that there is
 * no "loop" folder in sysfs.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

int open(const char *path, int flags, ...)
{
	int (*next)(const char *, int, mode_t) =
		(int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, "open");
	const char *fd = getenv("HV_VSS_FD");
	mode_t mode = 0;
	va_list args;

	if (fd && strcmp(path, "/dev/vmbus/hv_vss") == 0)
		return dup(atoi(fd));
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
	size_t n = strlen(path);

	if (n > 5 && strcmp(path + n - 5, "/loop") == 0) {
		errno = ENOENT;
		return -1;
	}
	return next(path, mode);
}
