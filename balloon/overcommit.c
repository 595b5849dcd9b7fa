/* SPDX-License-Identifier: MIT */

/*
 * Our share of vm.nr_overcommit_hugepages.
 *
 * Where the administrator has no pool of huge pages the kernel makes them on demand, up to this
 * number, and gives them back to the system when they are freed. Reading the number, adding to it
 * and writing it back is a race with everybody else who does so; nothing better exists. So it is
 * done seldom, and what is undone is the difference, not the number.
 *
 * A process can be killed between its note and its write. Therefore the note says both numbers, and
 * whoever reads it looks which of them it is. If it is neither, somebody has changed it meanwhile,
 * after us more likely than in between.
 */

#include "balloon/overcommit.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

static const char limit_name[] = "nr_overcommit_hugepages";

static int open_file(const char *dir, const char *name, int flags)
{
	char path[256];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -1;
	return open(path, flags | O_CLOEXEC);
}

static int read_number(const char *dir, const char *name, uint64_t *ret_number)
{
	_cleanup_close_ int fd = open_file(dir, name, O_RDONLY);
	char text[32];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return OVERCOMMIT_NONE;
	text[n] = '\0';
	*ret_number = strtoull(text, NULL, 10);
	return 0;
}

static int write_number(const char *dir, const char *name, uint64_t number)
{
	_cleanup_close_ int fd = open_file(dir, name, O_WRONLY);
	char text[32];
	int n = snprintf(text, sizeof(text), "%" PRIu64 "\n", number);

	return fd >= 0 && write(fd, text, n) == n ? 0 : OVERCOMMIT_NONE;
}

/* Whatever a predecessor was about to do: finds out whether it was done. */
static int settle(const char *dir, struct overcommit_share *share)
{
	uint64_t now;

	if (!share->changing)
		return 0;
	if (read_number(dir, limit_name, &now))
		return OVERCOMMIT_NONE;
	if (now != share->from)
		share->share = share->next;
	share->changing = 0;
	return 0;
}

/* Keeps the stores to the record in order for whoever reads it after our death. */
static void order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static int change(const char *dir, struct overcommit_share *share, uint64_t from, uint64_t to,
		  uint64_t next)
{
	int r;

	share->from = from;
	share->to = to;
	share->next = next;
	order();
	share->changing = 1;
	order();
	r = write_number(dir, limit_name, to);
	if (r == 0)
		share->share = next;
	order();
	share->changing = 0;
	return r;
}

int overcommit_raise(const char *dir, struct overcommit_share *share, uint64_t n)
{
	uint64_t limit, surplus, free_pages, reserved, room;

	if (settle(dir, share) || read_number(dir, limit_name, &limit) ||
	    read_number(dir, "surplus_hugepages", &surplus) ||
	    read_number(dir, "free_hugepages", &free_pages) ||
	    read_number(dir, "resv_hugepages", &reserved))
		return OVERCOMMIT_NONE;

	room = (limit > surplus ? limit - surplus : 0) +
	       (free_pages > reserved ? free_pages - reserved : 0);
	if (room >= n)
		return 0;
	return change(dir, share, limit, limit + (n - room), share->share + (n - room));
}

int overcommit_lower(const char *dir, struct overcommit_share *share, uint64_t n)
{
	uint64_t limit, less;

	if (settle(dir, share))
		return OVERCOMMIT_NONE;
	if (share->share <= n)
		return 0;
	if (read_number(dir, limit_name, &limit))
		return OVERCOMMIT_NONE;
	less = share->share - n;
	return change(dir, share, limit, limit > less ? limit - less : 0, n);
}
