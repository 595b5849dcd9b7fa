/* SPDX-License-Identifier: MIT */

/*
 * Proactive reclaim by memory.reclaim of the root cgroup.
 *
 * A large allocation on a machine whose memory is full of page cache makes the kernel free memory
 * in a hurry, and everybody who allocates meanwhile waits. Asked beforehand it frees what is used
 * least, a piece at a time, and only the one who asks waits. The file is there since Linux 5.19, and
 * only with cgroup v2; there is no other way but to drop all caches, which nobody wants.
 *
 * The kernel's answer is all or nothing: EAGAIN says that less was freed, not how much. That is no
 * error, the caller looks at the figures anyway.
 */

#include "policy/reclaim.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct reclaim {
	int fd;
};

int reclaim_new(const char *path, struct reclaim **ret_reclaim)
{
	_cleanup_close_ int fd = -1;
	struct reclaim *reclaim;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? RECLAIM_UNAVAILABLE : negative_errno();
	reclaim = malloc(sizeof(*reclaim));
	if (!reclaim)
		return -ENOMEM;
	reclaim->fd = steal_fd(fd);
	*ret_reclaim = reclaim;
	return 0;
}

struct reclaim *reclaim_free(struct reclaim *reclaim)
{
	if (!reclaim)
		return NULL;
	close_fd(reclaim->fd);
	free(reclaim);
	return NULL;
}

int reclaim_ask(struct reclaim *reclaim, uint64_t bytes)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%" PRIu64, bytes);

	if (pwrite(reclaim->fd, text, len, 0) == len)
		return 0;
	return errno == EAGAIN || errno == EINTR ? RECLAIM_LITTLE : negative_errno();
}
