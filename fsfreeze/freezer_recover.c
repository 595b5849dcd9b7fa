/* SPDX-License-Identifier: MIT */

/*
 * Taking over the record.
 *
 * Whoever holds the lock on the record is the only one who freezes on this machine. The freezer
 * inherits the very same open file description, so the lock lives until both are dead, a freezer
 * that hangs in the kernel included: who gets it knows that nobody works on the record any more,
 * and that no FIFREEZE is still under way.
 *
 * The record must be in memory. On a disk it could be on a file system that is frozen, and the
 * first write to it would stop the freezer for good.
 *
 * What the record leaves in doubt is thawed. For an entry in state FREEZING this may undo a freeze
 * by somebody else, if the freezer was killed after the kernel had said so and before the record
 * did; a file system that nobody will ever thaw is the worse of the two.
 */

#include "fsfreeze/freezer_recover.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "fsfreeze/fdstore.h"
#include "fsfreeze/freezer_io.h"
#include "fsfreeze/mounts.h"
#include "fsfreeze/rcu.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

enum {
	LOCK_RETRY_NS = 20 * 1000 * 1000,
};

static int read_boot_id(char *ret_boot_id)
{
	_cleanup_close_ int fd = -1;
	ssize_t n;

	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	n = read(fd, ret_boot_id, FREEZER_BOOT_ID_SIZE - 1);
	if (n < 0)
		return negative_errno();
	ret_boot_id[n] = '\0';
	ret_boot_id[strcspn(ret_boot_id, "\n")] = '\0';
	return 0;
}

static int open_record(const char *run_dir, int *ret_fd)
{
	_cleanup_close_ int dir_fd = -1, fd = -1;
	struct statfs fs;

	dir_fd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return negative_errno();
	if (fstatfs(dir_fd, &fs) < 0)
		return negative_errno();
	if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC)
		return FREEZER_RECOVER_NOT_IN_MEMORY;
	fd = openat(dir_fd, "freezer.record", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return negative_errno();

	*ret_fd = steal_fd(fd);
	return 0;
}

static int lock_record(int fd, uint64_t timeout_ns)
{
	uint64_t end_ns = clock_monotonic_ns() + timeout_ns;
	const struct timespec pause = {.tv_nsec = LOCK_RETRY_NS};

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return negative_errno();
		if (clock_monotonic_ns() >= end_ns)
			return FREEZER_RECOVER_BUSY;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* Gives the file its size and its memory, and maps it. */
static int map_record(int fd, struct freezer_record **ret_record)
{
	struct freezer_record *record;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return negative_errno();
	if (st.st_size > (off_t)sizeof(*record) && ftruncate(fd, sizeof(*record)) < 0)
		return negative_errno();
	r = posix_fallocate(fd, 0, sizeof(*record));
	if (r)
		return -r;
	record = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		      0);
	if (record == MAP_FAILED)
		return negative_errno();

	*ret_record = record;
	return 0;
}

int freezer_recover_open(const char *run_dir, uint64_t lock_timeout_ns, int *ret_fd,
			 struct freezer_record **ret_record)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = open_record(run_dir, &fd);
	r = r ?: lock_record(fd, lock_timeout_ns);
	r = r ?: map_record(fd, ret_record);
	if (r)
		return r;

	*ret_fd = steal_fd(fd);
	return 0;
}

/*
 * Opens the recorded file system: by the recorded mount if it is still there, else by any other
 * mount of the same superblock. A frozen superblock stays alive without a mount, and keeps its
 * device number, so that number cannot have passed to another one.
 */
static int open_recorded(const struct mounts *mounts, const struct freezer_entry *entry,
			 int *ret_fd)
{
	int r = MOUNTS_VANISHED;

	for (int same_mount = 1; same_mount >= 0; same_mount--) {
		for (size_t i = 0; r == MOUNTS_VANISHED && i < mounts->n_entries; i++) {
			const struct freeze_mount *mount = &mounts->entries[i];

			if (mount->device == entry->device &&
			    (mount->mount_id == entry->mount_id) == same_mount &&
			    strcmp(mount->type, entry->type) == 0)
				r = mounts_open(mounts, mount, ret_fd);
		}
	}
	return r;
}

/* What the service manager has kept for us. */
struct stored {
	size_t n;
	int fds[FREEZER_ENTRIES_MAX];
};

/* A descriptor on the recorded mount, which need not be in sight any more. Borrowed; -1: none. */
static int find_stored(const struct stored *stored, const struct freezer_entry *entry)
{
	struct statx sx;

	for (size_t i = 0; i < stored->n; i++)
		if (statx(stored->fds[i], "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) == 0 &&
		    sx.stx_mnt_id == entry->mount_id)
			return stored->fds[i];
	return -1;
}

static void recover_entry(const struct mounts *mounts, const struct stored *stored,
			  struct freezer_entry *entry)
{
	_cleanup_close_ int opened = -1;
	int fd = find_stored(stored, entry), r = 0;

	(void)!freezer_entry_move(entry, FREEZER_ENTRY_FREEZING, FREEZER_ENTRY_THAWING);
	(void)!freezer_entry_move(entry, FREEZER_ENTRY_FROZEN, FREEZER_ENTRY_THAWING);
	if (fd < 0) {
		r = open_recorded(mounts, entry, &opened);
		fd = opened;
	}
	if (r == 0) {
		(void)!freezer_io_thaw(entry, fd);
		return;
	}
	entry->error = r < 0 ? -r : ENOENT;
	(void)!freezer_entry_move(entry, FREEZER_ENTRY_THAWING, FREEZER_ENTRY_FROZEN);
}

/* Thaws what is in doubt, in the order in which it would have been thawed. */
static int recover_entries(struct freezer_record *record, enum mounts_of whose,
			   const struct stored *stored, struct freezer_result **ret_results,
			   size_t *ret_n)
{
	_cleanup_(cleanup_mountsp) struct mounts *mounts = NULL;
	_cleanup_free_ struct freezer_result *results = NULL;
	size_t n = 0;
	int r;

	results = calloc(record->n_entries + 1, sizeof(*results));
	if (!results)
		return -ENOMEM;
	r = mounts_new(whose, &mounts);
	if (r == MOUNTS_HIDDEN) /* then nothing was frozen there either */
		r = mounts_new(MOUNTS_OF_SELF, &mounts);
	if (r)
		return r;
	for (size_t i = record->n_entries; i-- > 0;) {
		struct freezer_entry *entry = &record->entries[i];

		if (!freezer_entry_may_be_frozen(freezer_entry_state(entry)))
			continue;
		recover_entry(mounts, stored, entry);
		freezer_result_read(entry, &results[n++]);
	}

	*ret_results = steal_ptr(results);
	*ret_n = n;
	return 0;
}

/* After the thaw, so that nobody keeps the file systems from being unmounted. */
static void close_stored(struct stored *stored)
{
	if (stored->n > 0)
		fdstore_remove(FREEZER_STORE_NAME);
	while (stored->n > 0)
		(void)close_fd(stored->fds[--stored->n]);
}

int freezer_recover(struct freezer_record *record, int rcu_fd, enum mounts_of whose,
		    struct freezer_result **ret_results, size_t *ret_n)
{
	struct freezer_result *results = NULL;
	char boot_id[FREEZER_BOOT_ID_SIZE];
	struct stored stored;
	size_t n = 0;
	int r;

	r = read_boot_id(boot_id);
	if (r)
		return r;
	stored.n = fdstore_take(FREEZER_STORE_NAME, stored.fds, FREEZER_ENTRIES_MAX);
	if (freezer_record_check(record, boot_id) == 0) {
		r = recover_entries(record, whose, &stored, &results, &n);
		rcu_restore(record, rcu_fd);
	}
	close_stored(&stored);
	if (r)
		return r;
	freezer_record_init(record, boot_id);

	*ret_results = results;
	*ret_n = n;
	return 0;
}

int freezer_recover_now(const char *run_dir, enum mounts_of whose,
			struct freezer_result **ret_results, size_t *ret_n)
{
	_cleanup_close_ int fd = -1, rcu_fd = -1;
	struct freezer_record *record;
	int r;

	r = freezer_recover_open(run_dir, 0, &fd, &record);
	if (r)
		return r;
	rcu_fd = rcu_open("/sys/kernel");
	r = freezer_recover(record, rcu_fd, whose, ret_results, ret_n);
	(void)munmap(record, sizeof(*record));
	return r;
}
