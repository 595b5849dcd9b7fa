/* SPDX-License-Identifier: MIT */

/*
 * /dev/vmbus/hv_kvp for a daemon on a machine without it: preloaded, it answers open() of that
 * path with the descriptor that HV_KVP_FD names, a SOCK_SEQPACKET socket whose other end plays the
 * kernel's driver (tests/bench/bench-kvp.c). The stock hv_kvp_daemon has the folder of its pools
 * compiled in, so /var/lib/hyperv is taken for the folder that HV_KVP_DIR names. Nothing else is
 * touched.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char device[] = "/dev/vmbus/hv_kvp";
static const char folder[] = "/var/lib/hyperv";

/* The path to use in place of @path; in a buffer of the caller. */
static const char *redirect(const char *path, char buf[512])
{
	const char *dir = getenv("HV_KVP_DIR");

	if (!dir || strncmp(path, folder, sizeof(folder) - 1) != 0)
		return path;
	snprintf(buf, 512, "%s%s", dir, path + sizeof(folder) - 1);
	return buf;
}

int open(const char *path, int flags, ...)
{
	int (*next)(const char *, int, mode_t) =
		(int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, "open");
	const char *fd = getenv("HV_KVP_FD");
	char buf[512];
	mode_t mode = 0;
	va_list args;

	if (fd && strcmp(path, device) == 0)
		return dup(atoi(fd));
	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return next(redirect(path, buf), flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
	FILE *(*next)(const char *, const char *) =
		(FILE * (*)(const char *, const char *))dlsym(RTLD_NEXT, "fopen");
	char buf[512];

	return next(redirect(path, buf), mode);
}

int mkdir(const char *path, mode_t mode)
{
	int (*next)(const char *, mode_t) = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
	char buf[512];

	return next(redirect(path, buf), mode);
}

int access(const char *path, int mode)
{
	int (*next)(const char *, int) = (int (*)(const char *, int))dlsym(RTLD_NEXT, "access");
	char buf[512];

	if (strcmp(path, device) == 0)
		return 0;
	return next(redirect(path, buf), mode);
}
