/* SPDX-License-Identifier: MIT */

/*
 * From file systems down to disks.
 *
 * The superblock's device number is the block device, but btrfs and others that can have several
 * have one that means nothing; these are found by the name that they were mounted by, and btrfs
 * lists the rest in sysfs. A partition is a folder in its disk's; dm and md have slaves/; a loop
 * device has a backing file. The path of that file is what it is called in some mount namespace, so
 * it is believed only if the loop device itself confirms the file's device and inode.
 *
 * Some block devices are served by a process that may be on this machine, and may keep the data in
 * a file here; of that the kernel knows nothing (nbd, ublk, iSCSI, NVMe over a network). The file
 * system that holds the file was mounted before the device could be served. So such a device is
 * taken to be kept on everything that was mounted before the first file system on it: too much, but
 * then it is frozen while all that may serve it still runs.
 */

#include "fsfreeze/devices.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct finder {
	const struct devices_system *system;
	const struct freeze_mount *mounts;
	size_t n_mounts;
	struct freeze_link *links;
	size_t n_links;
	size_t room;
};

static int add_link(struct finder *f, struct freeze_node upper, struct freeze_node lower)
{
	struct freeze_link *links;
	size_t room;

	if (f->n_links == f->room) {
		room = f->room ? 2 * f->room : 64;
		links = reallocarray(f->links, room, sizeof(*links));
		if (!links)
			return -ENOMEM;
		f->links = links;
		f->room = room;
	}
	f->links[f->n_links++] = (struct freeze_link){.upper = upper, .lower = lower};
	return 0;
}

static struct freeze_node fs_node(uint64_t device)
{
	return (struct freeze_node){FREEZE_NODE_FS, device};
}

static struct freeze_node block_node(uint64_t device)
{
	return (struct freeze_node){FREEZE_NODE_BLOCK, device};
}

/* True if something is known of what is below @block already. */
static bool has_links(const struct finder *f, uint64_t block)
{
	for (size_t i = 0; i < f->n_links; i++)
		if (f->links[i].upper.kind == FREEZE_NODE_BLOCK &&
		    f->links[i].upper.device == block)
			return true;
	return false;
}

/* Reads the first line of DIR/NAME. False: there is none. */
static bool read_line(const char *dir, const char *name, char *ret_line, size_t size)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	ssize_t n;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, ret_line, size - 1);
	if (n <= 0)
		return false;
	ret_line[n] = '\0';
	ret_line[strcspn(ret_line, "\n")] = '\0';
	return true;
}

static bool read_device(const char *dir, const char *name, uint64_t *ret_device)
{
	unsigned int major_number, minor_number;
	char line[32];

	if (!read_line(dir, name, line, sizeof(line)) ||
	    sscanf(line, "%u:%u", &major_number, &minor_number) != 2)
		return false;
	*ret_device = makedev(major_number, minor_number);
	return true;
}

/* The kernel's name of a block device; its folder in sysfs, resolved, is *ret_dir. */
static const char *name_of(const struct finder *f, uint64_t block, char ret_dir[PATH_MAX])
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/dev/block/%u:%u", f->system->sysfs, major(block),
		     minor(block)) >= (int)sizeof(path) ||
	    !realpath(path, ret_dir))
		return NULL;
	return strrchr(ret_dir, '/') + 1;
}

static int link_block(struct finder *f, struct freeze_node upper, uint64_t block, size_t mount);

/* Links @upper to each device that is a folder in DIR/NAME with a file "dev". */
static int link_folder(struct finder *f, struct freeze_node upper, const char *dir,
		       const char *name, size_t mount)
{
	char path[PATH_MAX], file[NAME_MAX + 8];
	struct dirent *entry;
	uint64_t device;
	DIR *folder;
	int r = 0;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return 0;
	folder = opendir(path);
	if (!folder)
		return 0;
	while (r == 0 && (entry = readdir(folder))) {
		snprintf(file, sizeof(file), "%s/dev", entry->d_name);
		if (entry->d_name[0] != '.' && read_device(path, file, &device))
			r = link_block(f, upper, device, mount);
	}
	(void)closedir(folder);
	return r;
}

/* The superblock on which the mount with this id is; false if it is not in the table. */
static bool find_mount_id(const struct finder *f, uint64_t mount_id, uint64_t *ret_device)
{
	for (size_t i = 0; i < f->n_mounts; i++) {
		if (f->mounts[i].mount_id != mount_id)
			continue;
		*ret_device = f->mounts[i].device;
		return true;
	}
	return false;
}

static bool find_superblock(const struct finder *f, uint64_t device)
{
	for (size_t i = 0; i < f->n_mounts; i++)
		if (f->mounts[i].device == device)
			return true;
	return false;
}

/* What the loop device says of its file. False: it cannot be asked. */
static bool ask_loop(const struct finder *f, const char *name, uint64_t block,
		     struct loop_info64 *ret_info)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s/%s", f->system->dev, name) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 && fstat(fd, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == block &&
	       ioctl(fd, LOOP_GET_STATUS64, ret_info) == 0;
}

/* What is known of where a loop device's file is. */
enum backing {
	BACKING_FOUND,
	BACKING_ELSEWHERE, /* on a file system that is not in the table, but has this block device */
	BACKING_UNKNOWN,
};

/* The superblock, or the block device, that holds the backing file of a loop device. */
static enum backing find_backing(const struct finder *f, const char *dir, const char *name,
				 uint64_t block, uint64_t *ret_device)
{
	char file[PATH_MAX], path[PATH_MAX];
	struct loop_info64 info;
	struct statx sx;
	bool asked = ask_loop(f, name, block, &info);
	bool found = read_line(dir, "loop/backing_file", file, sizeof(file)) &&
		     snprintf(path, sizeof(path), "%s%s", f->system->root ?: "", file) < (int)sizeof(path) &&
		     statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_INO | STATX_MNT_ID, &sx) == 0;

	if (found && asked)
		found = sx.stx_ino == info.lo_inode &&
			makedev(sx.stx_dev_major, sx.stx_dev_minor) == info.lo_device;
	if (found && find_mount_id(f, sx.stx_mnt_id, ret_device))
		return BACKING_FOUND;
	if (!asked)
		return BACKING_UNKNOWN;
	*ret_device = info.lo_device;
	if (find_superblock(f, info.lo_device))
		return BACKING_FOUND;
	/* The number of a block device is its superblock's, too; others need not mean anything. */
	return major(info.lo_device) != 0 ? BACKING_ELSEWHERE : BACKING_UNKNOWN;
}

/* Is the device served by a process or a machine of which the kernel does not know where it is? */
static bool is_served(const char *dir, const char *name)
{
	char line[32];

	if (strncmp(name, "nbd", 3) == 0 || strncmp(name, "ublkb", 5) == 0 ||
	    strncmp(name, "rbd", 3) == 0 || strncmp(name, "drbd", 4) == 0)
		return true;
	if (strstr(dir, "/session"))
		return true; /* iSCSI */
	return strncmp(name, "nvme", 4) == 0 && read_line(dir, "device/transport", line, sizeof(line)) &&
	       strcmp(line, "pcie") != 0;
}

/* Everything mounted before the first mount of the file system that is mount number @mount. */
static int link_to_earlier(struct finder *f, struct freeze_node upper, size_t mount)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < mount; i++)
		if (!f->mounts[i].is_pseudo && !f->mounts[i].is_network)
			r = add_link(f, upper, fs_node(f->mounts[i].device));
	return r;
}

static int link_loop(struct finder *f, const char *dir, const char *name, uint64_t block,
		     size_t mount)
{
	uint64_t device;

	switch (find_backing(f, dir, name, block, &device)) {
	case BACKING_FOUND:
		return add_link(f, block_node(block), fs_node(device));
	case BACKING_ELSEWHERE:
		return link_block(f, block_node(block), device, mount);
	case BACKING_UNKNOWN:
		break;
	}
	return link_to_earlier(f, block_node(block), mount);
}

/* Links a block device to what is below it. */
static int link_below(struct finder *f, uint64_t block, size_t mount)
{
	struct freeze_node node = block_node(block);
	char dir[PATH_MAX], line[32];
	const char *name = name_of(f, block, dir);
	uint64_t device;
	int r;

	if (!name)
		return 0;
	if (read_line(dir, "partition", line, sizeof(line)) && read_device(dir, "../dev", &device))
		return link_block(f, node, device, mount);
	if (strncmp(name, "loop", 4) == 0)
		return link_loop(f, dir, name, block, mount);
	r = link_folder(f, node, dir, "slaves", mount);
	if (r == 0 && is_served(dir, name))
		r = link_to_earlier(f, node, mount);
	return r;
}

/* @mount: the first of the file system that this was found for. */
static int link_block(struct finder *f, struct freeze_node upper, uint64_t block, size_t mount)
{
	bool known = has_links(f, block);
	int r = add_link(f, upper, block_node(block));

	return r || known ? r : link_below(f, block, mount);
}

/* All devices of the btrfs to which the device @name belongs. */
static int link_btrfs(struct finder *f, struct freeze_node upper, const char *name, size_t mount)
{
	char path[PATH_MAX], devices[NAME_MAX + 16];
	struct dirent *entry;
	struct stat st;
	DIR *folder;
	int r = 0;

	if (snprintf(path, sizeof(path), "%s/fs/btrfs", f->system->sysfs) >= (int)sizeof(path))
		return 0;
	folder = opendir(path);
	if (!folder)
		return 0;
	while (r == 0 && (entry = readdir(folder))) {
		snprintf(devices, sizeof(devices), "%s/devices", entry->d_name);
		if (snprintf(path, sizeof(path), "%s/fs/btrfs/%s/%s", f->system->sysfs, devices,
			     name) < (int)sizeof(path) &&
		    stat(path, &st) == 0) {
			path[strlen(path) - strlen(name) - strlen(devices) - 2] = '\0';
			r = link_folder(f, upper, path, devices, mount);
			break;
		}
	}
	(void)closedir(folder);
	return r;
}

/* A superblock without a block device of its own: by the name that it was mounted by. */
static int link_named(struct finder *f, struct freeze_node node, size_t mount)
{
	const struct freeze_mount *m = &f->mounts[mount];
	char dir[PATH_MAX];
	const char *name = strrchr(m->source, '/');
	struct stat st;
	int r;

	if (m->source[0] != '/' || !name)
		return 0;
	name++;
	if (stat(m->source, &st) == 0 && S_ISBLK(st.st_mode)) {
		r = link_block(f, node, st.st_rdev, mount);
		if (r)
			return r;
		name = name_of(f, st.st_rdev, dir) ?: name;
	}
	return strcmp(m->type, "btrfs") == 0 ? link_btrfs(f, node, name, mount) : 0;
}

static bool is_first_mount(const struct finder *f, size_t mount)
{
	for (size_t i = 0; i < mount; i++)
		if (f->mounts[i].device == f->mounts[mount].device)
			return false;
	return true;
}

static int link_file_system(struct finder *f, size_t mount)
{
	const struct freeze_mount *m = &f->mounts[mount];
	struct freeze_node node = fs_node(m->device);

	if (m->is_pseudo || m->is_network || !is_first_mount(f, mount))
		return 0;
	if (major(m->device) != 0)
		return link_block(f, node, m->device, mount);
	return link_named(f, node, mount);
}

int devices_find_links(const struct devices_system *system, const struct freeze_mount *mounts,
		       size_t n_mounts, struct freeze_link **ret_links, size_t *ret_n)
{
	struct finder f = {.system = system, .mounts = mounts, .n_mounts = n_mounts};
	int r = 0;

	for (size_t i = 0; r == 0 && i < n_mounts; i++)
		r = link_file_system(&f, i);
	if (r) {
		free(f.links);
		return r;
	}
	*ret_links = f.links;
	*ret_n = f.n_links;
	return 0;
}
