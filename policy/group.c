/* SPDX-License-Identifier: MIT */

/*
 * Reads memory.current, memory.max, memory.high, memory.stat and memory.pressure of one group.
 *
 * The limits are not there in the root group, and the stalls not with psi=0: then there are none.
 * The other two have to be there, or the group is not one whose memory is counted.
 */

#include "policy/group.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	BUFFER_SIZE = 16 * 1024, /* memory.stat, the largest, has two KiB */
};

static const struct group_file {
	const char *name;
	bool must_be;
	int (*parse)(const char *text, size_t len, struct memory_group *ret_group);
} files[] = {
	{"memory.current", true, figures_parse_group_current},
	{"memory.stat", true, figures_parse_group_stat},
	{"memory.max", false, figures_parse_group_limit},
	{"memory.high", false, figures_parse_group_limit},
	{"memory.pressure", false, figures_parse_group_pressure},
};

enum {
	N_FILES = sizeof(files) / sizeof(files[0]),
};

struct group {
	int fds[N_FILES]; /* -1: not there */
	char buffer[BUFFER_SIZE];
};

int group_new(const char *path, struct group **ret_group)
{
	_cleanup_close_ int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(cleanup_groupp) struct group *group = NULL;

	if (dir_fd < 0)
		return GROUP_UNAVAILABLE;
	group = malloc(sizeof(*group));
	if (!group)
		return -ENOMEM;
	for (size_t i = 0; i < N_FILES; i++)
		group->fds[i] = openat(dir_fd, files[i].name, O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < N_FILES; i++)
		if (group->fds[i] < 0 && files[i].must_be)
			return GROUP_UNAVAILABLE;

	*ret_group = steal_ptr(group);
	return 0;
}

struct group *group_free(struct group *group)
{
	if (!group)
		return NULL;
	for (size_t i = 0; i < N_FILES; i++)
		close_fd(group->fds[i]);
	free(group);
	return NULL;
}

int group_read(struct group *group, struct memory_group *ret_figures)
{
	struct memory_group figures = {.limit_bytes = UINT64_MAX};

	for (size_t i = 0; i < N_FILES; i++) {
		ssize_t n;

		if (group->fds[i] < 0)
			continue;
		/* What does not fit is cut, and the figures come first. */
		n = pread(group->fds[i], group->buffer, BUFFER_SIZE, 0);
		if (n < 0 && files[i].must_be)
			return negative_errno();
		if (n >= 0 && files[i].parse(group->buffer, n, &figures) && files[i].must_be)
			return GROUP_BAD;
	}
	*ret_figures = figures;
	return 0;
}
