/* SPDX-License-Identifier: MIT */

/*
 * Lets time pass at once for one program, by LD_PRELOAD.
 *
 * QEMU's hv-balloon is silent for 50 seconds after each handshake (hw/hyperv/hv-balloon.c,
 * HV_BALLOON_POST_INIT_WAIT). A VM test does not wait for that: it writes a number of seconds, as an
 * int64_t, into the file that CLOCK_SHIFT_FILE names, and from then on CLOCK_MONOTONIC is that much
 * later. The guest does not notice: its clock is the processor's.
 *
 * The file is mapped once, so it must be there at the start, must not shrink, and should only grow
 * in value. Without it the clock is as it is. Only calls through libc are shifted, not the time-outs
 * of system calls.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift_seconds;

__attribute__((constructor)) static void map_shift(void)
{
	const char *path = getenv("CLOCK_SHIFT_FILE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*shift_seconds), PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		shift_seconds = map;
	close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	if (syscall(SYS_clock_gettime, clock, ret_time) < 0)
		return -1;
	if (clock == CLOCK_MONOTONIC && shift_seconds)
		ret_time->tv_sec += *shift_seconds;
	return 0;
}
