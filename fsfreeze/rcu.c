/* SPDX-License-Identifier: MIT */

/*
 * Expedited grace periods.
 *
 * Freezing one file system waits for three RCU grace periods (Linux fs/super.c sb_wait_write()),
 * 5 to 10 ms each: nearly all of the time that it takes on an idle machine, and writers wait with
 * it. Expedited, a grace period takes a fraction of a millisecond at the price of an interrupt on
 * each processor. The knob is for the whole machine, so it is turned for the freeze only, never if
 * somebody has turned it already, and not where rcu_normal is set: that is how a real-time system
 * says that it wants no such interrupts.
 *
 * The value before is written to the record first and erased there last. So whoever thaws after a
 * crash also puts the knob back.
 */

#include "fsfreeze/rcu.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <stdio.h>

/* The number in a file of sysfs; -1 if it cannot be read or is negative. */
static int read_number(int fd)
{
	char text[12];
	ssize_t n = pread(fd, text, sizeof(text), 0);
	int value = 0;

	if (n <= 0 || text[0] < '0' || text[0] > '9')
		return -1;
	for (ssize_t i = 0; i < n && i < 9 && text[i] >= '0' && text[i] <= '9'; i++)
		value = 10 * value + (text[i] - '0');
	return value;
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[256];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -1;
	return open(path, flags | O_CLOEXEC);
}

int rcu_open(const char *dir)
{
	_cleanup_close_ int normal_fd = open_in(dir, "rcu_normal", O_RDONLY);

	if (normal_fd >= 0 && read_number(normal_fd) > 0)
		return -1;
	return open_in(dir, "rcu_expedited", O_RDWR);
}

void rcu_expedite(struct freezer_record *record, int knob_fd)
{
	if (!(record->options & FREEZER_OPTION_EXPEDITE) || read_number(knob_fd) != 0)
		return;
	atomic_store(&record->rcu_before, 0);
	(void)!pwrite(knob_fd, "1\n", 2, 0);
}

void rcu_restore(struct freezer_record *record, int knob_fd)
{
	if (atomic_load(&record->rcu_before) < 0)
		return;
	/* It was 0: nothing else is ever changed. */
	if (pwrite(knob_fd, "0\n", 2, 0) == 2)
		atomic_store(&record->rcu_before, -1);
}
