/* SPDX-License-Identifier: MIT */

/*
 * base/extents.c, as root on an xfs and a btrfs of its own: after any writes to a file, what differs
 * from its snapshot is always among what is said to have changed, and not much else is.
 */

#include "base/cleanup.h"
#include "base/extents.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MIB = 1024 * 1024,
	SIZE = 16 * MIB,
	BLOCK = 4096,
};

static char folder[64] = "/tmp/test-extents-XXXXXX";
static uint8_t before[SIZE], after[SIZE];

/* A file system of @type at the folder, in a mount namespace of this process, or the test is skipped. */
static void mount_one(const char *type, const char *mkfs_options)
{
	char image[] = "/tmp/test-extents-image-XXXXXX", command[512];
	int fd;

	if (geteuid() != 0)
		cr_skip("needs root to mount a file system of its own");
	if (unshare(CLONE_NEWNS) < 0)
		cr_skip("may not make a mount namespace");
	cr_assert(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
	cr_assert(mkdtemp(folder) != NULL);
	fd = mkstemp(image);
	cr_assert(fd >= 0 && ftruncate(fd, (off_t)512 * MIB) == 0);
	close(fd);
	snprintf(command, sizeof(command),
		 "mkfs.%s %s %s >/dev/null 2>&1 && mount -o loop %s %s 2>/dev/null", type, mkfs_options,
		 image, image, folder);
	fd = system(command);
	unlink(image);
	if (fd != 0) {
		rmdir(folder);
		cr_skip("cannot make or mount such a file system");
	}
}

static void unmount(void)
{
	cr_assert(umount(folder) == 0);
	rmdir(folder);
}

static int open_file(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	cr_assert(fd >= 0);
	return fd;
}

static uint32_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33);
}

/* Writes, punches holes, or writes again what is there, at random places. */
static void change(int fd, uint64_t *random, int n)
{
	static uint8_t data[16 * BLOCK];

	for (int i = 0; i < n; i++) {
		size_t len = 1 + next_random(random) % sizeof(data);
		off_t offset = (off_t)(next_random(random) % (SIZE - sizeof(data)));

		memset(data, (int)(next_random(random) % 255) + 1, len);
		if (next_random(random) % 4 == 0)
			cr_assert(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
					    (off_t)len) == 0);
		else
			cr_assert(pwrite(fd, data, len, offset) == (ssize_t)len);
	}
}

static void check_list(const struct extent *extents, size_t n, uint64_t *ret_listed)
{
	uint64_t end = 0;

	*ret_listed = 0;
	for (size_t i = 0; i < n; i++) {
		cr_assert(extents[i].len > 0);
		cr_assert(i == 0 || extents[i].offset > end);
		end = extents[i].offset + extents[i].len;
		*ret_listed += extents[i].len;
	}
	cr_assert(le(u64, end, SIZE));
}

static bool is_listed(const struct extent *extents, size_t n, uint64_t offset)
{
	for (size_t i = 0; i < n; i++)
		if (offset >= extents[i].offset && offset < extents[i].offset + extents[i].len)
			return true;
	return false;
}

static uint64_t count_different(const struct extent *extents, size_t n)
{
	uint64_t different = 0;

	for (uint64_t at = 0; at < SIZE; at += BLOCK) {
		if (memcmp(before + at, after + at, BLOCK) == 0)
			continue;
		different += BLOCK;
		cr_assert(is_listed(extents, n, at), "block at %llu", (unsigned long long)at);
	}
	return different;
}

static void changes_are_found(void)
{
	_cleanup_close_ int file_fd = open_file("file");
	uint64_t random = 42, listed;

	cr_assert(ftruncate(file_fd, SIZE) == 0);
	change(file_fd, &random, 200);
	for (int round = 0; round < 12; round++) {
		_cleanup_close_ int old_fd = open_file("old"), new_fd = open_file("new");
		_cleanup_free_ struct extent *extents = NULL;
		size_t n;

		cr_assert(ioctl(old_fd, FICLONE, file_fd) == 0);
		change(file_fd, &random, round);
		cr_assert(ioctl(new_fd, FICLONE, file_fd) == 0);
		cr_assert(eq(int, extents_changed(old_fd, new_fd, SIZE, &extents, &n), 0));
		check_list(extents, n, &listed);
		cr_assert(pread(old_fd, before, SIZE, 0) == SIZE && pread(new_fd, after, SIZE, 0) == SIZE);
		/* Each change touches whole blocks, at both of its ends. */
		cr_expect(le(u64, count_different(extents, n), listed));
		cr_expect(le(u64, listed, (uint64_t)round * 18 * BLOCK));
	}
}

TestSuite(extents, .timeout = 120);

Test(extents, on_xfs_what_differs_is_listed_and_little_else)
{
	mount_one("xfs", "-q -f -m reflink=1");
	changes_are_found();
	unmount();
}

Test(extents, on_btrfs_what_differs_is_listed_and_little_else)
{
	mount_one("btrfs", "-q -f");
	changes_are_found();
	unmount();
}

Test(extents, a_file_system_that_does_not_tell_says_so)
{
	char one[] = "/dev/shm/test-extents-XXXXXX";
	_cleanup_close_ int fd = mkstemp(one);
	struct extent *extents;
	size_t n;

	cr_assert(fd >= 0);
	unlink(one);
	cr_assert(ftruncate(fd, MIB) == 0);
	cr_expect(eq(int, extents_changed(fd, fd, MIB, &extents, &n), EXTENTS_UNKNOWN));
	cr_expect(eq(int, extents_changed(fd, fd, 0, &extents, &n), 0));
	cr_expect(eq(sz, n, 0));
}
