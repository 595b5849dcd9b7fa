/* SPDX-License-Identifier: MIT */

/*
 * Sockets and thawing, for both ends.
 *
 * These run while file systems are frozen, so they use nothing but the stack and the descriptors
 * they are given. Messages are datagrams that keep their order (SOCK_SEQPACKET): a message arrives
 * whole, with its descriptors, or not at all. A message that does not parse has its descriptors
 * closed here, so that nobody else needs to know about them.
 *
 * A daemon that is killed does not close its descriptors first: before that the kernel takes down
 * its memory, which is a quarter of a second for some gigabytes given to the host. So its end is
 * also told by a robust mutex in the record. The kernel passes these on when a thread dies, before
 * it lets go of the memory (Linux kernel/exit.c do_exit(), kernel/fork.c exit_mm_release()).
 */

#include "fsfreeze/freezer_io.h"

#include "base/cleanup.h"
#include "base/fdpass.h"

#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <time.h>

static_assert(sizeof(pthread_mutex_t) <= sizeof(((struct freezer_record *)NULL)->daemon_lives) &&
		      _Alignof(pthread_mutex_t) <= _Alignof(uint64_t),
	      "the room in the record is a mutex");

static pthread_mutex_t *life_of(struct freezer_record *record)
{
	return (pthread_mutex_t *)(void *)record->daemon_lives;
}

int freezer_io_hold_life(struct freezer_record *record)
{
	pthread_mutexattr_t attr;
	int r;

	r = pthread_mutexattr_init(&attr);
	if (r)
		return -r;
	(void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	(void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	r = pthread_mutex_init(life_of(record), &attr);
	(void)pthread_mutexattr_destroy(&attr);
	if (r == 0)
		r = pthread_mutex_lock(life_of(record));
	return -r;
}

void freezer_io_release_life(struct freezer_record *record)
{
	int r = pthread_mutex_unlock(life_of(record));

	assert(r == 0);
	(void)r;
}

void freezer_io_await_death(struct freezer_record *record)
{
	/* Got or refused, whichever: nobody lives who would keep it from us. */
	(void)pthread_mutex_lock(life_of(record));
}

uint64_t freezer_io_now_ns(int clock)
{
	struct timespec ts = {0};

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int freezer_io_send(int socket_fd, const struct freezer_message *message, const int *fds)
{
	int r = fdpass_send(socket_fd, message, sizeof(*message), fds, message->count);

	return r > 0 ? FREEZER_IO_END : r;
}

int freezer_io_receive(int socket_fd, struct freezer_message *ret_message, int *ret_fds)
{
	uint8_t buf[sizeof(struct freezer_message) + 1]; /* so that a longer one shows */
	size_t size, n_fds;
	int r;

	r = fdpass_receive(socket_fd, buf, sizeof(buf), ret_fds, FREEZER_MESSAGE_FDS_MAX, &size,
			   &n_fds);
	if (r == FDPASS_AGAIN)
		return FREEZER_IO_EMPTY;
	if (r == FDPASS_CLOSED)
		return FREEZER_IO_END;
	if (r == FDPASS_TRUNCATED)
		return FREEZER_IO_MALFORMED;
	if (r)
		return r;

	if (freezer_message_check(buf, size, n_fds, ret_message) == 0)
		return 0;
	for (size_t i = 0; i < n_fds; i++)
		(void)close_fd(ret_fds[i]);
	return FREEZER_IO_MALFORMED;
}

int freezer_io_thaw(struct freezer_entry *entry, int fd)
{
	uint64_t begin_ns = freezer_io_now_ns(CLOCK_MONOTONIC);
	bool moved;
	int error;

	/* EINVAL: it was not frozen any more, so that is done too; the record says so. */
	error = ioctl(fd, FITHAW, 0) < 0 ? errno : 0;
	entry->error = error;
	entry->thaw_ns = freezer_io_now_ns(CLOCK_MONOTONIC) - begin_ns;
	entry->thawed_at_ns = freezer_io_now_ns(CLOCK_BOOTTIME);
	if (error == 0 || error == EINVAL) {
		moved = freezer_entry_move(entry, FREEZER_ENTRY_THAWING, FREEZER_ENTRY_THAWED);
		assert(moved);
		return 0;
	}
	moved = freezer_entry_move(entry, FREEZER_ENTRY_THAWING, FREEZER_ENTRY_FROZEN);
	assert(moved);
	return FREEZER_IO_STUCK;
}
