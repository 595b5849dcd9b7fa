/* SPDX-License-Identifier: MIT */

/*
 * The mount table, by libmount.
 *
 * The device number is the one in mountinfo: it is the superblock's own (Linux
 * fs/proc_namespace.c, show_mountinfo()). stat() would give the same for most types, but for btrfs
 * it gives a number per subvolume, and two subvolumes of one file system would look like two.
 *
 * Between reading the table and opening a path the mount can go away, and the path then leads to
 * the directory below it, on another file system, often the root. Freezing that one is the worst
 * thing this program could do. So a path is first resolved without opening anything (O_PATH, which
 * also does not set off an automount on the last component), the mount id of what was found is
 * compared with the table's, and only then is that very object opened for reading.
 */

#include "fsfreeze/mounts.h"

#include "base/cleanup.h"
#include "fsfreeze/devices.h"

#include <assert.h>
#include <fcntl.h>
#include <libmount.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static const struct devices_system real_system = {.sysfs = "/sys", .dev = "/dev"};

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

static bool has_option(const char *options, const char *name)
{
	return options && mnt_optstr_get_option(options, name, NULL, NULL) == 0;
}

static void read_entry(struct libmnt_fs *fs, struct freeze_mount *entry)
{
	*entry = (struct freeze_mount){
		.target = or_empty(mnt_fs_get_target(fs)),
		.source = or_empty(mnt_fs_get_source(fs)),
		.type = or_empty(mnt_fs_get_fstype(fs)),
		.mount_id = (uint64_t)mnt_fs_get_id(fs),
		.device = mnt_fs_get_devno(fs),
		.read_only = has_option(mnt_fs_get_fs_options(fs), "ro"),
		.is_fs_root = strcmp(or_empty(mnt_fs_get_root(fs)), "/") == 0,
		.is_pseudo = mnt_fs_is_pseudofs(fs),
		.is_network = mnt_fs_is_netfs(fs),
	};
}

int mounts_new(struct mounts **ret_mounts)
{
	_cleanup_(cleanup_mountsp) struct mounts *mounts = NULL;
	struct libmnt_iter *iter;
	struct libmnt_fs *fs;
	int r;

	mounts = calloc(1, sizeof(*mounts));
	if (!mounts)
		return -ENOMEM;
	mounts->table = mnt_new_table();
	if (!mounts->table)
		return -ENOMEM;
	r = mnt_table_parse_file(mounts->table, "/proc/self/mountinfo");
	if (r)
		return r < 0 ? r : -EIO;

	mounts->entries = calloc((size_t)mnt_table_get_nents(mounts->table) + 1,
				 sizeof(*mounts->entries));
	iter = mnt_new_iter(MNT_ITER_FORWARD);
	if (!mounts->entries || !iter) {
		mnt_free_iter(iter);
		return -ENOMEM;
	}
	while (mnt_table_next_fs(mounts->table, iter, &fs) == 0)
		read_entry(fs, &mounts->entries[mounts->n_entries++]);
	mnt_free_iter(iter);
	r = devices_find_links(&real_system, mounts->entries, mounts->n_entries, &mounts->links,
			       &mounts->n_links);
	if (r)
		return r;

	*ret_mounts = steal_ptr(mounts);
	return 0;
}

struct freeze_table mounts_table(const struct mounts *mounts)
{
	return (struct freeze_table){
		.mounts = mounts->entries,
		.n_mounts = mounts->n_entries,
		.links = mounts->links,
		.n_links = mounts->n_links,
	};
}

struct mounts *mounts_free(struct mounts *mounts)
{
	if (!mounts)
		return NULL;
	mnt_unref_table(mounts->table);
	for (size_t i = 0; i < mounts->n_entries; i++)
		free((char *)(uintptr_t)mounts->entries[i].label);
	free(mounts->entries);
	free(mounts->links);
	free(mounts);
	return NULL;
}

/* True if the lookup itself says that the way to the mount is gone. */
static bool lookup_lost(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == EACCES ||
	       error == ESTALE || error == ENODEV;
}

int mounts_open(const struct freeze_mount *mount, int *ret_fd)
{
	_cleanup_close_ int path_fd = -1, fd = -1;
	char reopen[64];
	struct statx sx;

	path_fd = open(mount->target, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (path_fd < 0)
		return lookup_lost(errno) ? MOUNTS_VANISHED : negative_errno();
	if (statx(path_fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MNT_ID, &sx) < 0)
		return negative_errno();
	if (!(sx.stx_mask & STATX_MNT_ID))
		return -EOPNOTSUPP;
	if (sx.stx_mnt_id != mount->mount_id || !(S_ISDIR(sx.stx_mode) || S_ISREG(sx.stx_mode)))
		return MOUNTS_VANISHED;

	(void)snprintf(reopen, sizeof(reopen), "/proc/self/fd/%d", path_fd);
	fd = open(reopen, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return negative_errno();

	*ret_fd = steal_fd(fd);
	return 0;
}

int mounts_open_entry(const struct freeze_plan_entry *entry, int *ret_fd)
{
	int r;

	r = mounts_open(entry->mount, ret_fd);
	for (size_t i = 0; r == MOUNTS_VANISHED && i < entry->n_mounts; i++)
		if (entry->mounts[i] != entry->mount)
			r = mounts_open(entry->mounts[i], ret_fd);
	return r;
}

/* The label of the file system on which @fd is; empty if it has none. */
static void read_label(int fd, char ret_label[FSLABEL_MAX + 1])
{
	ret_label[0] = ret_label[FSLABEL_MAX] = '\0';
	if (ioctl(fd, FS_IOC_GETFSLABEL, ret_label) < 0)
		ret_label[0] = '\0';
}

int mounts_read_labels(struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->n_entries; i++) {
		struct freeze_mount *mount = &mounts->entries[i];
		_cleanup_close_ int fd = -1;
		char label[FSLABEL_MAX + 1];

		if (mount->is_pseudo || mount->is_network || mount->label ||
		    mounts_open(mount, &fd))
			continue;
		read_label(fd, label);
		if (label[0] == '\0')
			continue;
		mount->label = strdup(label);
		if (!mount->label)
			return -ENOMEM;
	}
	return 0;
}
