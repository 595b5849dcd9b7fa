/* SPDX-License-Identifier: MIT */

/*
 * A clock of its own for one program that sets the clock, by LD_PRELOAD: this machine's clock is not
 * touched, whatever the program does.
 *
 * The file that CLOCK_STAND_IN names has an int64_t, the nanoseconds that its clock is ahead of this
 * machine's. A test writes it to make the clock wrong, and reads it to see what became of that. It is
 * mapped, so it must be there at the start and must not shrink. Without it the clock cannot be set.
 *
 * Only what hvguestd uses is here: clock_gettime() and adjtimex().
 */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND INT64_C(1000000000)

static _Atomic int64_t *ahead_ns;

__attribute__((constructor)) static void map_offset(void)
{
	const char *path = getenv("CLOCK_STAND_IN");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*ahead_ns), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		ahead_ns = map;
	close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	int64_t now_ns;

	if (syscall(SYS_clock_gettime, clock, ret_time) < 0)
		return -1;
	if (clock != CLOCK_REALTIME || !ahead_ns)
		return 0;
	now_ns = ret_time->tv_sec * NS_PER_SECOND + ret_time->tv_nsec + atomic_load(ahead_ns);
	ret_time->tv_sec = now_ns / NS_PER_SECOND;
	ret_time->tv_nsec = now_ns % NS_PER_SECOND;
	return 0;
}

int adjtimex(struct timex *change)
{
	int64_t unit_ns = change->modes & ADJ_NANO ? 1 : 1000;

	if (change->modes == 0)
		return (int)syscall(SYS_adjtimex, change);
	if (!ahead_ns || (change->modes & ~(unsigned int)ADJ_NANO) != ADJ_SETOFFSET) {
		errno = EPERM;
		return -1;
	}
	atomic_fetch_add(ahead_ns, change->time.tv_sec * NS_PER_SECOND + change->time.tv_usec * unit_ns);
	return TIME_OK;
}
