/* SPDX-License-Identifier: MIT */

/*
 * A pool's file, and those who share it.
 *
 * Others read and write it, too: cloud-init appends under flock(), Microsoft's programs and the stock
 * daemon take fcntl() locks, all on the same inode. So both locks are held, on the inode that the name
 * leads to. The fcntl() lock is one of the open file description, which conflicts with the others' in
 * the same way and is not lost when something else in this process closes the file.
 *
 * Whoever may read a file may lock it, so nobody is waited for without end. When the time is over, who
 * can only read is passed over, for that is no writer to keep clear of; what he reads may then be half
 * a change. That all can only read is told by a lease, which the kernel gives on a file that nobody has
 * open for writing. A writer who comes later meets the same lock.
 *
 * Whether somebody else has changed the file is told by its inode, size and time of modification.
 * That time comes from a clock that ticks every few milliseconds, which is too coarse to tell a
 * foreign write right behind one of ours; so after ours it is set from the fine clock, to a value
 * that nobody else's write will have.
 */

#include "services/kvp_pool_file.h"

#include "base/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum {
	OPEN_FLAGS = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
	FIRST_WAIT_US = 500,
	LAST_WAIT_US = 20000,
};

void kvp_pool_file_init(struct kvp_pool_file *p, unsigned int pool)
{
	*p = (struct kvp_pool_file){.fd = -1};
	snprintf(p->name, sizeof(p->name), KVP_POOL_NAME, pool);
}

void kvp_pool_file_close(struct kvp_pool_file *p)
{
	p->fd = close_fd(p->fd);
	p->locked = false;
}

/* --- what others have changed --- */

static struct kvp_file_state state_of(const struct stat *st)
{
	return (struct kvp_file_state){st->st_dev, st->st_ino, st->st_size, st->st_mtim};
}

void kvp_pool_file_forget(struct kvp_pool_file *p)
{
	p->seen = (struct kvp_file_state){0};
}

void kvp_pool_file_remember(struct kvp_pool_file *p)
{
	struct stat st;

	kvp_pool_file_forget(p);
	if (fstat(p->fd, &st) == 0)
		p->seen = state_of(&st);
}

void kvp_pool_file_remember_own(struct kvp_pool_file *p)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};

	(void)clock_gettime(CLOCK_REALTIME, &times[1]);
	(void)futimens(p->fd, times);
	kvp_pool_file_remember(p);
}

bool kvp_pool_file_has_changed(const struct kvp_pool_file *p, int dir_fd)
{
	const struct kvp_file_state *seen = &p->seen;
	struct kvp_file_state now;
	struct stat st;

	if (fstatat(dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return p->fd >= 0;
	now = state_of(&st);
	return now.dev != seen->dev || now.ino != seen->ino || now.size != seen->size ||
	       now.time.tv_sec != seen->time.tv_sec || now.time.tv_nsec != seen->time.tv_nsec;
}

/* --- opening --- */

/* Opens what is there; makes it if there is nothing. */
static int open_file(struct kvp_pool_file *p, int dir_fd)
{
	struct stat st;
	bool make;

	make = fstatat(dir_fd, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	p->open_error = 0;
	p->fd = openat(dir_fd, p->name, O_RDWR | OPEN_FLAGS | (make ? O_CREAT : 0), 0644);
	if (p->fd < 0) {
		p->open_error = negative_errno();
		p->fd = openat(dir_fd, p->name, O_RDONLY | OPEN_FLAGS);
	}
	if (p->fd < 0)
		return p->open_error;
	if (fstat(p->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		kvp_pool_file_close(p);
		return -EINVAL;
	}
	if (make && (fsync(p->fd) < 0 || fsync(dir_fd) < 0))
		p->open_error = negative_errno();
	return 0;
}

/* 0 if the name still leads to what is open; else -EBUSY, and it is closed. */
static int check_current(struct kvp_pool_file *p, int dir_fd)
{
	struct stat by_name, open_one;

	if (fstatat(dir_fd, p->name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstat(p->fd, &open_one) == 0 && by_name.st_dev == open_one.st_dev &&
	    by_name.st_ino == open_one.st_ino)
		return 0;
	kvp_pool_file_unlock(p);
	kvp_pool_file_close(p);
	return -EBUSY;
}

/* --- locks --- */

static int take_flock(const struct kvp_pool_file *p)
{
	if (flock(p->fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : negative_errno();
}

static int take_fcntl_lock(const struct kvp_pool_file *p)
{
	struct flock whole = {.l_type = p->open_error ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(p->fd, F_OFD_SETLK, &whole) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : negative_errno();
}

void kvp_pool_file_unlock(struct kvp_pool_file *p)
{
	struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (!p->locked)
		return;
	(void)fcntl(p->fd, F_OFD_SETLK, &whole);
	(void)flock(p->fd, LOCK_UN);
	p->locked = false;
}

static int take_both(struct kvp_pool_file *p)
{
	int r = take_flock(p);

	if (r)
		return r;
	r = take_fcntl_lock(p);
	if (r)
		(void)flock(p->fd, LOCK_UN);
	p->locked = r == 0;
	return r;
}

int kvp_pool_file_try_lock(struct kvp_pool_file *p, int dir_fd)
{
	int r;

	if (p->open_error) /* perhaps it can be written by now */
		kvp_pool_file_close(p);
	r = p->fd < 0 ? open_file(p, dir_fd) : 0;
	if (!r)
		r = take_both(p);
	return r ? r : check_current(p, dir_fd);
}

/* Whether nobody has the file open for writing, us included: so it is closed. */
static bool has_only_readers(struct kvp_pool_file *p, int dir_fd)
{
	_cleanup_close_ int fd = -1;

	kvp_pool_file_close(p);
	fd = openat(dir_fd, p->name, O_RDONLY | OPEN_FLAGS);
	/* A writer who comes before it is closed waits for that, and we get a signal that is ignored. */
	return fd >= 0 && fcntl(fd, F_SETSIG, SIGURG) == 0 && fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
}

/* As much of the locks as readers leave. */
static int lock_beside_readers(struct kvp_pool_file *p, int dir_fd)
{
	int r = open_file(p, dir_fd);

	if (r)
		return r;
	r = take_flock(p);
	if (take_fcntl_lock(p))
		r = -EBUSY;
	p->locked = true;
	if (check_current(p, dir_fd))
		return -EBUSY;
	return r ? KVP_POOL_FILE_READERS : 0;
}

int kvp_pool_file_lock(struct kvp_pool_file *p, int dir_fd, int wait_ms)
{
	uint64_t end_ns = clock_monotonic_ns() + (uint64_t)wait_ms * 1000000u;
	useconds_t wait_us = FIRST_WAIT_US;
	int r;

	while ((r = kvp_pool_file_try_lock(p, dir_fd)) == -EBUSY && clock_monotonic_ns() < end_ns) {
		usleep(wait_us);
		if (wait_us < LAST_WAIT_US)
			wait_us *= 2;
	}
	return r == -EBUSY && has_only_readers(p, dir_fd) ? lock_beside_readers(p, dir_fd) : r;
}
