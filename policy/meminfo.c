/* SPDX-License-Identifier: MIT */

/*
 * Reads /proc/meminfo, /proc/vmstat and /proc/pressure/memory.
 *
 * A kernel without pressure stall information, or booted with it switched off, has no
 * /proc/pressure; then the stalls are simply not known. The other two files have to be there.
 */

#include "policy/meminfo.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	BUFFER_SIZE = 32 * 1024, /* vmstat, the largest, has a few KiB */
};

struct meminfo {
	int meminfo_fd;
	int vmstat_fd;
	int pressure_fd; /* -1: not measured */
	char buffer[BUFFER_SIZE];
};

static int open_below(int dir_fd, const char *name, int *ret_fd)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return negative_errno();
	*ret_fd = fd;
	return 0;
}

int meminfo_new(const char *proc, struct meminfo **ret_meminfo)
{
	_cleanup_(cleanup_meminfop) struct meminfo *meminfo = NULL;
	_cleanup_close_ int dir_fd = -1;
	int r;

	meminfo = malloc(sizeof(*meminfo));
	if (!meminfo)
		return -ENOMEM;
	meminfo->meminfo_fd = meminfo->vmstat_fd = meminfo->pressure_fd = -1;

	dir_fd = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return negative_errno();
	r = open_below(dir_fd, "meminfo", &meminfo->meminfo_fd);
	if (r)
		return r;
	r = open_below(dir_fd, "vmstat", &meminfo->vmstat_fd);
	if (r)
		return r;
	meminfo->pressure_fd = openat(dir_fd, "pressure/memory", O_RDONLY | O_CLOEXEC);

	*ret_meminfo = steal_ptr(meminfo);
	return 0;
}

struct meminfo *meminfo_free(struct meminfo *meminfo)
{
	if (!meminfo)
		return NULL;
	close_fd(meminfo->meminfo_fd);
	close_fd(meminfo->vmstat_fd);
	close_fd(meminfo->pressure_fd);
	free(meminfo);
	return NULL;
}

/* Reads a whole file from its beginning into the buffer. */
static int read_all(struct meminfo *meminfo, int fd, size_t *ret_len)
{
	size_t len = 0;
	ssize_t n;

	do {
		n = pread(fd, meminfo->buffer + len, BUFFER_SIZE - len, len);
		if (n < 0)
			return negative_errno();
		len += n;
	} while (n > 0 && len < BUFFER_SIZE);

	*ret_len = len;
	return 0;
}

/* The kernel may have stall information and yet refuse to read it; then it is not known. */
static void read_stalls(struct meminfo *meminfo, struct memory_figures *figures)
{
	size_t len;

	figures->has_stalls = false;
	if (meminfo->pressure_fd < 0 || read_all(meminfo, meminfo->pressure_fd, &len))
		return;
	figures->has_stalls = figures_parse_pressure(meminfo->buffer, len, figures) == 0;
}

int meminfo_read(struct meminfo *meminfo, struct memory_figures *ret_figures)
{
	struct memory_figures figures = {0};
	size_t len;
	int r;

	r = read_all(meminfo, meminfo->meminfo_fd, &len);
	if (r)
		return r;
	if (figures_parse_meminfo(meminfo->buffer, len, &figures))
		return MEMINFO_BAD;
	r = read_all(meminfo, meminfo->vmstat_fd, &len);
	if (r)
		return r;
	if (figures_parse_vmstat(meminfo->buffer, len, &figures))
		return MEMINFO_BAD;
	read_stalls(meminfo, &figures);

	*ret_figures = figures;
	return 0;
}
