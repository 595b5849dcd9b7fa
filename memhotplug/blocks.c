/* SPDX-License-Identifier: MIT */

/*
 * Reads /sys/devices/system/memory.
 *
 * Each block is a directory memoryN with a file `state`. Blocks can come and go while they are
 * counted; one that has no readable state any more is counted as neither online nor offline.
 * Source: Linux Documentation/admin-guide/mm/memory-hotplug.rst.
 */

#include "memhotplug/blocks.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
	TEXT_SIZE = 64,
};

static void cleanup_dirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Reads a short file below @dir_fd as a string without its newline. */
static int read_text(int dir_fd, const char *name, char *text)
{
	_cleanup_close_ int fd = -1;
	ssize_t n;

	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	n = read(fd, text, TEXT_SIZE - 1);
	if (n < 0)
		return negative_errno();
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

/* Reads the number that the kernel writes in hexadecimal without a prefix. */
static int read_block_bytes(int dir_fd, uint64_t *ret_bytes)
{
	char text[TEXT_SIZE], *end;
	uint64_t bytes;
	int r;

	r = read_text(dir_fd, "block_size_bytes", text);
	if (r)
		return r;
	errno = 0;
	bytes = strtoull(text, &end, 16);
	if (errno || end == text || *end || bytes == 0 || text[0] == '-')
		return MEMHOTPLUG_BLOCKS_BAD;
	*ret_bytes = bytes;
	return 0;
}

/* True for memoryN. */
static bool is_block(const char *name)
{
	static const char prefix[] = "memory";
	size_t digits = strspn(name + strcspn(name, "0123456789"), "0123456789");

	return strncmp(name, prefix, sizeof(prefix) - 1) == 0 && digits > 0 &&
	       strlen(name) == sizeof(prefix) - 1 + digits;
}

static void count_block(int dir_fd, const char *name, struct memhotplug_blocks *blocks)
{
	char path[TEXT_SIZE], state[TEXT_SIZE];

	if (snprintf(path, sizeof(path), "%s/state", name) >= (int)sizeof(path) ||
	    read_text(dir_fd, path, state))
		blocks->n_other++;
	else if (strcmp(state, "online") == 0)
		blocks->n_online++;
	else if (strcmp(state, "offline") == 0)
		blocks->n_offline++;
	else
		blocks->n_other++;
}

int memhotplug_blocks_read(const char *dir, struct memhotplug_blocks *ret_blocks)
{
	_cleanup_(cleanup_dirp) DIR *stream = NULL;
	struct memhotplug_blocks blocks = {0};
	struct dirent *entry;
	int r;

	stream = opendir(dir);
	if (!stream)
		return negative_errno();
	r = read_block_bytes(dirfd(stream), &blocks.block_bytes);
	if (r)
		return r;
	while ((errno = 0, entry = readdir(stream)))
		if (is_block(entry->d_name))
			count_block(dirfd(stream), entry->d_name, &blocks);
	if (errno)
		return negative_errno();

	*ret_blocks = blocks;
	return 0;
}
