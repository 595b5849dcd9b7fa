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
 * also does not set off an automount on the last component), mount id and device of what was found
 * are compared with the table's, and only then is that very object opened for reading.
 *
 * A service may run with mounts of its own, and a container always does. What a backup has to cover
 * is what process 1 sees, and besides that what is mounted in other namespaces only. A path of
 * another namespace is looked up through /proc/PID/root, which leads into it. Mount ids are never
 * the same in two namespaces, so the proof is the same.
 */

#include "fsfreeze/mounts.h"

#include "base/cleanup.h"
#include "fsfreeze/devices.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <libmount.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

static bool has_option(const char *options, const char *name)
{
	return options && mnt_optstr_get_option(options, name, NULL, NULL) == 0;
}

/* libmount knows some of the types whose data is with a process ("fuse.sshfs"), but anybody has more. */
static bool is_by_process(const char *type)
{
	return strncmp(type, "fuse.", 5) == 0;
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
		.is_network = mnt_fs_is_netfs(fs),
	};
	entry->is_pseudo = mnt_fs_is_pseudofs(fs) ||
			   (is_by_process(entry->type) && !entry->is_network);
}

/* The mount namespace of process @pid. False: the process is gone, or not ours to ask. */
static bool read_namespace_id(const char *pid, uint64_t *ret_id)
{
	char path[64];
	struct stat st;

	if (snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid) >= (int)sizeof(path) ||
	    stat(path, &st) < 0)
		return false;
	*ret_id = st.st_ino;
	return true;
}

static bool knows_namespace(const struct mounts *mounts, uint64_t id)
{
	for (size_t i = 0; i < mounts->n_namespaces; i++)
		if (mounts->namespaces[i].id == id)
			return true;
	return false;
}

static bool knows_device(const struct mounts *mounts, uint64_t device, size_t n_entries)
{
	for (size_t i = 0; i < n_entries; i++)
		if (mounts->entries[i].device == device)
			return true;
	return false;
}

/* Makes room for @n more entries. */
static int grow(struct mounts *mounts, size_t n)
{
	struct freeze_mount *entries;
	uint32_t *spaces;

	entries = reallocarray(mounts->entries, mounts->n_entries + n + 1, sizeof(*entries));
	if (entries)
		mounts->entries = entries;
	spaces = reallocarray(mounts->spaces, mounts->n_entries + n + 1, sizeof(*spaces));
	if (spaces)
		mounts->spaces = spaces;
	return entries && spaces ? 0 : -ENOMEM;
}

/*
 * Takes over what @table lists. Of a namespace other than the first only the file systems that no
 * earlier one has: a superblock is the same wherever it is mounted.
 */
static int add_entries(struct mounts *mounts, struct libmnt_table *table, size_t space)
{
	const size_t n_before = mounts->n_entries;
	struct freeze_mount entry;
	struct libmnt_iter *iter;
	struct libmnt_fs *fs;

	if (grow(mounts, (size_t)mnt_table_get_nents(table)))
		return -ENOMEM;
	iter = mnt_new_iter(MNT_ITER_FORWARD);
	if (!iter)
		return -ENOMEM;
	while (mnt_table_next_fs(table, iter, &fs) == 0) {
		read_entry(fs, &entry);
		entry.is_elsewhere = space > 0;
		if (space > 0 && (entry.is_pseudo || knows_device(mounts, entry.device, n_before)))
			continue;
		mounts->spaces[mounts->n_entries] = (uint32_t)space;
		mounts->entries[mounts->n_entries++] = entry;
	}
	mnt_free_iter(iter);
	return 0;
}

/* Adds the namespace of process @pid. Its paths are looked up from that process's root. */
static int add_namespace(struct mounts *mounts, const char *pid, uint64_t id)
{
	struct mounts_namespace *namespaces, *space;
	char path[64];
	int r;

	namespaces = reallocarray(mounts->namespaces, mounts->n_namespaces + 1,
				  sizeof(*namespaces));
	if (!namespaces)
		return -ENOMEM;
	mounts->namespaces = namespaces;
	space = &namespaces[mounts->n_namespaces];
	*space = (struct mounts_namespace){.id = id, .table = mnt_new_table()};
	if (!space->table)
		return -ENOMEM;
	mounts->n_namespaces++;
	if (strcmp(pid, "self") != 0)
		(void)snprintf(space->root, sizeof(space->root), "/proc/%.10s/root", pid);

	(void)snprintf(path, sizeof(path), "/proc/%.10s/mountinfo", pid);
	r = mnt_table_parse_file(space->table, path);
	if (r)
		return r < 0 ? r : -EIO;
	return add_entries(mounts, space->table, mounts->n_namespaces - 1);
}

/* Adds the namespaces of all processes. One that ends meanwhile takes its own with it. */
static int add_others(struct mounts *mounts)
{
	struct dirent *entry;
	uint64_t id;
	DIR *proc;
	int r = 0;

	proc = opendir("/proc");
	if (!proc)
		return negative_errno();
	while (r == 0 && (entry = readdir(proc))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    !read_namespace_id(entry->d_name, &id) || knows_namespace(mounts, id))
			continue;
		r = add_namespace(mounts, entry->d_name, id);
		if (r < 0 && r != -ENOMEM)
			r = 0;
	}
	(void)closedir(proc);
	return r;
}

int mounts_new(enum mounts_of whose, struct mounts **ret_mounts)
{
	_cleanup_(cleanup_mountsp) struct mounts *mounts = NULL;
	const char *pid = whose == MOUNTS_OF_INIT ? "1" : "self";
	struct devices_system system = {.sysfs = "/sys", .dev = "/dev"};
	uint64_t own, id;
	int r;

	mounts = calloc(1, sizeof(*mounts));
	if (!mounts)
		return -ENOMEM;
	if (!read_namespace_id("self", &own))
		return negative_errno();
	if (!read_namespace_id(pid, &id))
		return MOUNTS_HIDDEN;
	r = add_namespace(mounts, id == own ? "self" : pid, id);
	if (r == 0 && whose == MOUNTS_OF_INIT)
		r = add_others(mounts);
	if (r)
		return r;
	system.root = mounts->namespaces[0].root;
	r = devices_find_links(&system, mounts->entries, mounts->n_entries, &mounts->links,
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
	for (size_t i = 0; i < mounts->n_namespaces; i++)
		mnt_unref_table(mounts->namespaces[i].table);
	free(mounts->namespaces);
	for (size_t i = 0; i < mounts->n_entries; i++)
		free((char *)(uintptr_t)mounts->entries[i].label);
	free(mounts->entries);
	free(mounts->spaces);
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

/*
 * Is what @fd is open on a part of the superblock that the table has? The id of a mount that is gone
 * can pass to another. btrfs has a device number for each subvolume, so its magic has to do.
 */
static bool is_on_superblock(int fd, const struct statx *sx, const struct freeze_mount *mount)
{
	struct statfs fs;

	if (makedev(sx->stx_dev_major, sx->stx_dev_minor) == mount->device)
		return true;
	return strcmp(mount->type, "btrfs") == 0 && fstatfs(fd, &fs) == 0 &&
	       (unsigned long)fs.f_type == BTRFS_SUPER_MAGIC;
}

/* As mounts_open(), but what it opens is the place only (O_PATH). */
static int find(const struct mounts *mounts, const struct freeze_mount *mount, int *ret_fd)
{
	const char *root = mounts->namespaces[mounts->spaces[mount - mounts->entries]].root;
	_cleanup_close_ int path_fd = -1;
	char path[PATH_MAX];
	struct statx sx;

	if (snprintf(path, sizeof(path), "%s%s", root, mount->target) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	path_fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (path_fd < 0)
		return lookup_lost(errno) ? MOUNTS_VANISHED : negative_errno();
	if (statx(path_fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_MNT_ID, &sx) < 0)
		return negative_errno();
	if (!(sx.stx_mask & STATX_MNT_ID))
		return -EOPNOTSUPP;
	if (sx.stx_mnt_id != mount->mount_id || !is_on_superblock(path_fd, &sx, mount) ||
	    !(S_ISDIR(sx.stx_mode) || S_ISREG(sx.stx_mode)))
		return MOUNTS_VANISHED;

	*ret_fd = steal_fd(path_fd);
	return 0;
}

int mounts_open(const struct mounts *mounts, const struct freeze_mount *mount, int *ret_fd)
{
	_cleanup_close_ int path_fd = -1, fd = -1;
	char reopen[64];
	int r;

	r = find(mounts, mount, &path_fd);
	if (r)
		return r;
	(void)snprintf(reopen, sizeof(reopen), "/proc/self/fd/%d", path_fd);
	fd = open(reopen, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return negative_errno();

	*ret_fd = steal_fd(fd);
	return 0;
}

bool mounts_reach(const struct mounts *mounts, const struct freeze_plan_entry *entry)
{
	for (size_t i = 0; i < entry->n_mounts; i++) {
		_cleanup_close_ int fd = -1;

		if (find(mounts, entry->mounts[i], &fd) != MOUNTS_VANISHED)
			return true;
	}
	return false;
}

int mounts_open_entry(const struct mounts *mounts, const struct freeze_plan_entry *entry,
		      int *ret_fd)
{
	int r;

	r = mounts_open(mounts, entry->mount, ret_fd);
	for (size_t i = 0; r == MOUNTS_VANISHED && i < entry->n_mounts; i++)
		if (entry->mounts[i] != entry->mount)
			r = mounts_open(mounts, entry->mounts[i], ret_fd);
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
		    mounts_open(mounts, mount, &fd))
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
