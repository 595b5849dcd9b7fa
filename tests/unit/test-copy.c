/* SPDX-License-Identifier: MIT */

/*
 * base/copy.c on tmpfs, and as root on file systems of its own: a small tmpfs that gets full and an
 * xfs that can share blocks. These are mounted in a mount namespace of the test's process, so they
 * are gone with it whatever happens.
 */

#include "base/cleanup.h"
#include "base/copy.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MIB = 1024 * 1024,
};

static char folder[64], source[128], target[128];

static void use_folder(const char *path)
{
	snprintf(source, sizeof(source), "%s/source", path);
	snprintf(target, sizeof(target), "%s/target", path);
}

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/dev/shm/test-copy-XXXXXX");
	cr_assert(mkdtemp(folder) != NULL);
	use_folder(folder);
}

static void teardown(void)
{
	unlink(source);
	unlink(target);
	rmdir(folder);
}

TestSuite(copy, .init = setup, .fini = teardown, .timeout = 120);

/* Bytes that differ from place to place, so that a piece in the wrong place is noticed. */
static void put_data(int fd, uint64_t offset, size_t len)
{
	_cleanup_free_ uint8_t *data = malloc(len + 1);

	for (size_t i = 0; i < len; i++) {
		uint64_t at = (offset + i) * UINT64_C(0x9e3779b97f4a7c15);

		data[i] = (uint8_t)(at >> 56) | 1;
	}
	cr_assert(eq(sz, (size_t)pwrite(fd, data, len, (off_t)offset), len));
}

static void make_source(const struct extent *extents, size_t n, uint64_t size)
{
	_cleanup_close_ int fd = open(source, O_CREAT | O_TRUNC | O_RDWR, 0640);

	cr_assert(fd >= 0);
	cr_assert(ftruncate(fd, (off_t)size) == 0);
	for (size_t i = 0; i < n; i++)
		put_data(fd, extents[i].offset, extents[i].len);
}

static bool same_contents(void)
{
	static uint8_t a[MIB], b[MIB];
	_cleanup_close_ int x = open(source, O_RDONLY), y = open(target, O_RDONLY);
	ssize_t n;

	cr_assert(x >= 0 && y >= 0);
	while ((n = read(x, a, sizeof(a))) > 0)
		if (read(y, b, (size_t)n) != n || memcmp(a, b, (size_t)n) != 0)
			return false;
	return n == 0 && read(y, b, 1) == 0;
}

static int count_files(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int n = 0;

	cr_assert(dir != NULL);
	while ((entry = readdir(dir)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return n;
}

static uint64_t allocated(const char *path)
{
	struct stat st;

	cr_assert(stat(path, &st) == 0);
	return (uint64_t)st.st_blocks * 512;
}

static const struct {
	uint64_t size;
	struct extent extents[3];
} shapes[] = {
	{0, {{0, 0}}},
	{1, {{0, 1}}},
	{4096, {{0, 4096}}},
	{4097, {{0, 4097}}},
	{MIB, {{0, MIB}}},
	{20 * MIB + 13, {{0, 20 * MIB + 13}}},
	{64 * MIB, {{0, 0}}},                                       /* one hole */
	{64 * MIB + 5, {{0, 1}, {10 * MIB + 77, 2 * MIB}, {64 * MIB, 5}}},
	{32 * MIB + 100, {{4095, 2}, {3 * MIB, 4096}, {5 * MIB + 1, 1}}}, /* ends in a hole */
};

static void copy_all_shapes(bool no_reflink, enum copy_method expected)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		struct copy_options options = {.no_reflink = no_reflink};
		struct copy_result result;
		struct stat st;

		make_source(shapes[i].extents, 3, shapes[i].size);
		cr_assert(eq(int, copy_file(source, target, &options, &result), 0), "shape %zu", i);
		cr_expect(eq(int, (int)result.method, (int)expected), "shape %zu", i);
		cr_expect(eq(u64, result.size_bytes, shapes[i].size));
		cr_expect(same_contents(), "shape %zu", i);
		cr_expect(allocated(target) <= allocated(source), "shape %zu", i);
		cr_expect(result.data_bytes <= allocated(source), "shape %zu", i);
		cr_assert(stat(target, &st) == 0);
		cr_expect(eq(int, (int)(st.st_mode & 07777), 0640));
		cr_assert(unlink(target) == 0);
	}
}

/* Older kernels refuse O_DIRECT on tmpfs. */
static enum copy_method expected_on(const char *path)
{
	_cleanup_close_ int fd = open(path, O_CREAT | O_RDWR | O_DIRECT, 0600);

	unlink(path);
	return fd >= 0 ? COPY_DIRECT : COPY_BUFFERED;
}

Test(copy, files_of_all_shapes_arrive_whole_and_holes_stay_holes)
{
	copy_all_shapes(false, expected_on(source));
	cr_expect(eq(int, count_files(folder), 1));
}

Test(copy, an_existing_target_is_replaced_only_when_asked_for)
{
	struct copy_options options = {0};
	struct copy_result result;
	struct extent all = {0, 5000};

	make_source(&all, 1, 5000);
	cr_assert(symlink("/nowhere", target) == 0);
	cr_expect(eq(int, copy_file(source, target, &options, &result), COPY_EXISTS));
	cr_expect(eq(int, count_files(folder), 2));
	options.replace = true;
	cr_expect(eq(int, copy_file(source, target, &options, &result), 0));
	cr_expect(same_contents());
	cr_expect(eq(int, count_files(folder), 2));
}

static bool appear(void *user, uint64_t done, uint64_t total)
{
	int fd = open(target, O_CREAT | O_WRONLY, 0600);

	(void)user;
	cr_assert(fd >= 0 && done <= total);
	close(fd);
	return true;
}

Test(copy, a_target_that_appears_meanwhile_is_not_replaced)
{
	struct copy_options options = {.keep_going = appear};
	struct copy_result result;
	struct extent all = {0, 5000};
	struct stat st;

	make_source(&all, 1, 5000);
	cr_expect(eq(int, copy_file(source, target, &options, &result), COPY_EXISTS));
	cr_assert(stat(target, &st) == 0);
	cr_expect(eq(int, (int)st.st_size, 0));
	cr_expect(eq(int, count_files(folder), 2));
}

struct watch {
	uint64_t last;
	uint64_t stop_at;
	bool backwards;
};

static bool watch(void *user, uint64_t done, uint64_t total)
{
	struct watch *w = user;

	w->backwards |= done < w->last || done > total;
	w->last = done;
	return done < w->stop_at;
}

Test(copy, progress_only_grows_and_a_cancelled_copy_leaves_nothing)
{
	struct watch w = {.stop_at = UINT64_MAX};
	struct copy_options options = {.keep_going = watch, .user = &w};
	struct copy_result result;
	struct extent all = {0, 40 * MIB};

	make_source(&all, 1, 40 * MIB);
	cr_expect(eq(int, copy_file(source, target, &options, &result), 0));
	cr_expect(eq(u64, w.last, 40 * MIB));
	cr_expect(not(w.backwards));
	cr_assert(unlink(target) == 0);

	w = (struct watch){.stop_at = 16 * MIB};
	cr_expect(eq(int, copy_file(source, target, &options, &result), COPY_CANCELLED));
	cr_expect(w.last >= 16 * MIB && w.last < 40 * MIB);
	cr_expect(eq(int, count_files(folder), 1));
}

static bool shorten(void *user, uint64_t done, uint64_t total)
{
	(void)user;
	(void)done;
	(void)total;
	cr_assert(truncate(source, 12 * MIB + 1) == 0);
	return true;
}

Test(copy, a_source_that_becomes_shorter_is_an_error_and_leaves_nothing)
{
	struct copy_options options = {.keep_going = shorten};
	struct copy_result result;
	struct extent all = {0, 40 * MIB};

	make_source(&all, 1, 40 * MIB);
	cr_expect(eq(int, copy_file(source, target, &options, &result), -EIO));
	cr_expect(eq(int, count_files(folder), 1));
}

Test(copy, what_cannot_be_copied_is_refused)
{
	struct copy_options options = {0};
	struct copy_result result;
	char nowhere[256];

	cr_expect(eq(int, copy_file(source, target, &options, &result), -ENOENT));
	cr_expect(eq(int, copy_file(folder, target, &options, &result), COPY_NOT_A_FILE));
	cr_expect(eq(int, copy_file("/dev/zero", target, &options, &result), COPY_NOT_A_FILE));
	cr_assert(mkfifo(source, 0600) == 0);
	cr_expect(eq(int, copy_file(source, target, &options, &result), COPY_NOT_A_FILE));
	unlink(source);
	make_source(NULL, 0, 10);
	snprintf(nowhere, sizeof(nowhere), "%s/no/where", folder);
	cr_expect(eq(int, copy_file(source, nowhere, &options, &result), -ENOENT));
	cr_expect(eq(int, count_files(folder), 1));
}

/* Overwrites @len bytes of @path at @offset, as a disk does that goes bad. */
static void spoil(const char *path, uint64_t offset, size_t len)
{
	_cleanup_close_ int fd = open(path, O_RDWR);
	uint8_t zeros[16] = {0};

	cr_assert(fd >= 0 && len <= sizeof(zeros));
	cr_assert(pwrite(fd, zeros, len, (off_t)offset) == (ssize_t)len);
}

Test(copy, what_was_written_can_be_verified)
{
	struct watch w = {.stop_at = UINT64_MAX};
	struct copy_options watched = {.keep_going = watch, .user = &w};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		const struct extent *last = &shapes[i].extents[2];
		struct copy_sums sums = {0};
		struct copy_options options = {.sums = &sums};
		struct copy_result result;

		make_source(shapes[i].extents, 3, shapes[i].size);
		cr_assert(eq(int, copy_file(source, target, &options, &result), 0), "shape %zu", i);
		w.last = 0;
		cr_expect(eq(int, copy_verify(target, &sums, &watched), 0), "shape %zu", i);
		cr_expect(eq(u64, w.last, result.data_bytes), "shape %zu", i);
		if (last->len > 0) {
			spoil(target, last->offset + last->len - 1, 1);
			cr_expect(eq(int, copy_verify(target, &sums, &options), COPY_DIFFERS));
		}
		if (result.data_bytes > 0) {
			cr_assert(truncate(target, 0) == 0);
			cr_expect(eq(int, copy_verify(target, &sums, &options), COPY_DIFFERS));
		}
		copy_sums_fini(&sums);
		cr_assert(unlink(target) == 0);
	}
}

Test(copy, verifying_can_be_cancelled)
{
	struct watch w = {.stop_at = 2 * MIB};
	struct copy_options watched = {.keep_going = watch, .user = &w};
	struct copy_sums sums = {0};
	struct copy_options options = {.sums = &sums};
	struct copy_result result;
	struct extent all = {0, 8 * MIB};

	make_source(&all, 1, 8 * MIB);
	cr_assert(eq(int, copy_file(source, target, &options, &result), 0));
	cr_expect(eq(int, copy_verify(target, &sums, &watched), COPY_CANCELLED));
	copy_sums_fini(&sums);
}

/* An earlier copy, and what was written to the source, longer or shorter now, since. */
static void copy_changes(uint64_t size, const struct extent *changed, size_t n_changed)
{
	struct extent all = {0, 10 * MIB + 100};
	struct copy_options options = {0};
	struct copy_result result;
	char base[160];
	int fd;

	make_source(&all, 1, all.len);
	snprintf(base, sizeof(base), "%s.base", target);
	cr_assert(eq(int, copy_file(source, base, &options, &result), 0));
	cr_assert(truncate(source, (off_t)size) == 0);
	fd = open(source, O_RDWR);
	for (size_t i = 0; i < n_changed; i++) {
		_cleanup_free_ uint8_t *data = malloc(changed[i].len);

		memset(data, 0xa5, changed[i].len);
		cr_assert(pwrite(fd, data, changed[i].len, (off_t)changed[i].offset) ==
			  (ssize_t)changed[i].len);
	}
	close(fd);

	options = (struct copy_options){.base = base, .changed = changed, .n_changed = n_changed};
	cr_assert(eq(int, copy_file(source, target, &options, &result), 0));
	cr_expect(same_contents());
	cr_expect(eq(u64, result.size_bytes, size));
	cr_assert(unlink(base) == 0 && unlink(target) == 0);
}

Test(copy, only_what_has_changed_is_read_when_there_is_an_earlier_copy)
{
	static const struct extent some[] = {{0, 1}, {4096, 4096}, {9000, 10}, {3 * MIB - 5, 2 * MIB}};
	static const struct extent grown[] = {{10 * MIB + 50, 2 * MIB}};

	copy_changes(10 * MIB + 100, NULL, 0);
	copy_changes(10 * MIB + 100, some, 4);
	copy_changes(6 * MIB + 1, some, 4);
	copy_changes(12 * MIB + 50, grown, 1);
}

/* A mount namespace that nothing leaves; skips the test if that cannot be had. */
static void enter_namespace(void)
{
	if (geteuid() != 0)
		cr_skip("needs root to mount a file system of its own");
	if (unshare(CLONE_NEWNS) < 0)
		cr_skip("may not make a mount namespace");
	cr_assert(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

Test(copy, a_full_file_system_is_said_and_leaves_nothing)
{
	struct copy_options options = {0};
	struct copy_result result;
	struct extent all = {0, 16 * MIB};
	char small[128];

	enter_namespace();
	make_source(&all, 1, 16 * MIB);
	snprintf(small, sizeof(small), "%s/small", folder);
	cr_assert(mkdir(small, 0700) == 0);
	cr_assert(mount("test-copy", small, "tmpfs", 0, "size=8m") == 0);
	snprintf(target, sizeof(target), "%s/small/target", folder);
	cr_expect(eq(int, copy_file(source, target, &options, &result), -ENOSPC));
	cr_expect(eq(int, count_files(small), 0));
	cr_assert(umount(small) == 0);
	rmdir(small);
}

/* A loop device on the source, in place of it: a disk. */
static bool make_disk(char *ret_device, int size)
{
	char command[256];
	FILE *pipe;
	bool ok;

	snprintf(command, sizeof(command), "losetup --find --show %s 2>/dev/null", source);
	pipe = popen(command, "r");
	ok = pipe && fgets(ret_device, size, pipe);
	if (pipe)
		pclose(pipe);
	ret_device[ok ? strcspn(ret_device, "\n") : 0] = '\0';
	return ok;
}

Test(copy, of_a_disk_what_is_zero_becomes_a_hole)
{
	const struct extent some[] = {{3 * MIB + 4096, 4096}, {12 * MIB - 512, 512}};
	struct copy_sums sums = {0};
	struct copy_options options = {.sums = &sums};
	struct copy_result result;
	char device[64], command[128];
	uint64_t size;
	int r, fd;

	if (geteuid() != 0)
		cr_skip("needs root to make a loop device");
	make_source(some, 2, 12 * MIB);
	if (!make_disk(device, sizeof(device)))
		cr_skip("there is no loop device");
	r = copy_file(device, target, &options, &result);
	cr_expect(eq(int, copy_size(device, &size), 0));
	cr_expect(eq(u64, size, 12 * MIB));
	snprintf(command, sizeof(command), "losetup --detach %s", device);
	cr_expect(eq(int, system(command), 0));
	cr_assert(eq(int, r, 0));
	cr_expect(same_contents());
	cr_expect(eq(u64, result.size_bytes, 12 * MIB));
	cr_expect(eq(u64, result.data_bytes, 2 * MIB));
	cr_expect(le(u64, allocated(target), 2 * MIB));
	cr_expect(eq(int, copy_verify(target, &sums, &options), 0));
	fd = open(target, O_RDWR);
	put_data(fd, 5 * MIB, 1); /* a hole is verified, too */
	close(fd);
	cr_expect(eq(int, copy_verify(target, &sums, &options), COPY_DIFFERS));
	copy_sums_fini(&sums);
}

static bool mount_xfs(const char *image)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "mkfs.xfs -q -f -m reflink=1 %s >/dev/null 2>&1 && mount -o loop %s %s 2>/dev/null",
		 image, image, folder);
	return system(command) == 0;
}

Test(copy, on_xfs_blocks_are_shared_and_a_real_copy_bypasses_the_page_cache)
{
	char image[64] = "/tmp/test-copy-xfs-XXXXXX";
	bool mounted;
	int fd;

	enter_namespace();
	fd = mkstemp(image);
	cr_assert(fd >= 0);
	cr_assert(ftruncate(fd, (off_t)512 * MIB) == 0);
	close(fd);
	mounted = mount_xfs(image);
	unlink(image);
	if (!mounted)
		cr_skip("cannot make or mount an xfs");

	copy_all_shapes(false, COPY_REFLINK);
	copy_all_shapes(true, COPY_DIRECT);
	cr_assert(umount(folder) == 0);
}
