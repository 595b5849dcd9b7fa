/* SPDX-License-Identifier: MIT */

/*
 * File systems that are in use.
 *
 *     ext4     size: superblock on the device; growing: EXT4_IOC_RESIZE_FS, in blocks
 *     xfs      size: XFS_IOC_FSGEOMETRY_V1; growing: XFS_IOC_FSGROWFSDATA, in blocks
 *     btrfs    size: BTRFS_IOC_DEV_INFO of the device; growing: BTRFS_IOC_RESIZE, "ID:max"
 *
 * All three grow while they are mounted for writing, are journalled, and go on by themselves after a
 * crash. Nothing is done to one that is not mounted. A mount may have been put over by another, so the
 * folder that is opened must be on the device that is meant.
 * Sources: Linux fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h, include/uapi/linux/btrfs.h.
 */

#include "disks/content.h"

#include "base/bytes.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <libmount.h>
#include <linux/btrfs.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* fs/ext4/ext4.h */
#define EXT4_RESIZE_FS _IOW('f', 16, uint64_t)

/* fs/xfs/libxfs/xfs_fs.h: of struct xfs_fsop_geom_v1 what comes first. */
struct xfs_geometry {
	uint32_t block_bytes, rt_extent, ag_blocks, ag_count, log_blocks, sector_bytes, inode_bytes;
	uint32_t inode_max_percent;
	uint64_t data_blocks, rt_blocks, rt_extents, log_start;
	uint8_t uuid[16];
	uint32_t rest[7];
};
_Static_assert(sizeof(struct xfs_geometry) == 112, "struct xfs_fsop_geom_v1");

struct xfs_grow {
	uint64_t new_blocks;
	uint32_t inode_max_percent;
};
_Static_assert(sizeof(struct xfs_grow) == 16, "struct xfs_growfs_data");

#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry)
#define XFS_GROW     _IOW('X', 110, struct xfs_grow)

/* --- sizes */

/* Of the superblock: magic, blocks (low and high word) and the size of a block. */
static int read_ext4(const char *path, uint64_t *ret_bytes, uint32_t *ret_block_bytes)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t blocks, shift, incompat, high;
	struct bytes_reader in;
	uint8_t super[1024];

	if (fd < 0 || pread(fd, super, sizeof(super), 1024) != sizeof(super))
		return negative_errno();
	bytes_reader_init(&in, super, sizeof(super));
	bytes_skip(&in, 0x04);
	blocks = bytes_get_u32(&in);
	bytes_skip(&in, 0x18 - 0x08);
	shift = bytes_get_u32(&in);
	bytes_skip(&in, 0x38 - 0x1c);
	if (bytes_get_u16(&in) != 0xef53 || shift > 6)
		return -EINVAL;
	bytes_skip(&in, 0x60 - 0x3a);
	incompat = bytes_get_u32(&in);
	bytes_skip(&in, 0x150 - 0x64);
	high = bytes_get_u32(&in);
	*ret_block_bytes = UINT32_C(1024) << shift;
	*ret_bytes = (((incompat & 0x80) ? (uint64_t)high << 32 : 0) | blocks) * *ret_block_bytes;
	return 0;
}

static int read_xfs(int fd, struct xfs_geometry *ret_geometry)
{
	return ioctl(fd, XFS_GEOMETRY, ret_geometry) < 0 ? negative_errno() : 0;
}

/* The device of a btrfs that is @device: it may have several. */
static int read_btrfs(int fd, dev_t device, struct btrfs_ioctl_dev_info_args *ret_info)
{
	struct btrfs_ioctl_fs_info_args fs = {0};

	if (ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0)
		return negative_errno();
	for (uint64_t id = 1; id <= fs.max_id && id <= 1024; id++) {
		struct btrfs_ioctl_dev_info_args info = {.devid = id};
		struct stat st;

		if (ioctl(fd, BTRFS_IOC_DEV_INFO, &info) < 0 ||
		    stat((const char *)info.path, &st) < 0 || st.st_rdev != device)
			continue;
		*ret_info = info;
		return 0;
	}
	return -ENODEV;
}

static uint64_t size_of(const struct disk_part *part, int fd, const char *path, dev_t device)
{
	struct btrfs_ioctl_dev_info_args info;
	struct xfs_geometry geometry;
	uint32_t block_bytes;
	uint64_t bytes = 0;

	if (strcmp(part->content, "ext4") == 0)
		return read_ext4(path, &bytes, &block_bytes) ? 0 : bytes;
	if (strcmp(part->content, "xfs") == 0)
		return read_xfs(fd, &geometry) ? 0 : geometry.data_blocks * geometry.block_bytes;
	return read_btrfs(fd, device, &info) ? 0 : info.total_bytes;
}

/* --- mounts */

/*
 * A unit can have mounts of its own, in which some can only be read; so what is not to be had there is
 * looked for where process 1 has it.
 */
static const struct {
	const char *table;
	const char *root;
} places[] = {
	{"/proc/self/mountinfo", ""},
	{"/proc/1/mountinfo", "/proc/1/root"},
};

/* Opens where @part is mounted, and proves that the folder is on it. Negative errno. */
static int open_mount(const char *root, const char *mount, const char *content, dev_t device,
		      int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct btrfs_ioctl_dev_info_args info;
	char path[DISK_PATH_SIZE + 16];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s%s", root, mount);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return negative_errno();
	if (strcmp(content, "btrfs") == 0) {
		if (read_btrfs(fd, device, &info))
			return -ENODEV;
	} else if (st.st_dev != device) {
		return -ENODEV;
	}
	*ret_fd = steal_fd(fd);
	return 0;
}

static bool is_of(struct libmnt_fs *fs, const char *content, dev_t device)
{
	const char *type = mnt_fs_get_fstype(fs), *source = mnt_fs_get_srcpath(fs);
	struct stat st;

	if (!type || strcmp(type, content) != 0)
		return false;
	if (mnt_fs_get_devno(fs) == device)
		return true;
	/* A btrfs has a number of its own. */
	return source && stat(source, &st) == 0 && S_ISBLK(st.st_mode) && st.st_rdev == device;
}

/* Takes on one mount, if it is the first or better than that before. */
static void take_mount(struct disk_part *part, size_t place, const char *target, const char *path,
		       dev_t device)
{
	_cleanup_close_ int fd = -1;
	struct statvfs vfs;

	if (!target || strlen(target) >= sizeof(part->mount) || (part->mount[0] && !part->is_read_only) ||
	    open_mount(places[place].root, target, part->content, device, &fd))
		return;
	strcpy(part->mount, target);
	part->is_elsewhere = place > 0;
	part->is_read_only = fstatvfs(fd, &vfs) < 0 || (vfs.f_flag & ST_RDONLY);
	part->content_bytes = size_of(part, fd, path, device);
}

static void find_in(struct disk_part *part, size_t place, const char *path, dev_t device)
{
	struct libmnt_table *table = mnt_new_table_from_file(places[place].table);
	struct libmnt_iter *iter = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;

	while (table && iter && mnt_table_next_fs(table, iter, &fs) == 0)
		if (is_of(fs, part->content, device))
			take_mount(part, place, mnt_fs_get_target(fs), path, device);
	mnt_free_iter(iter);
	mnt_unref_table(table);
}

void content_find(struct disk_part *part, const char *path, dev_t device)
{
	if (!disk_content_grows(part->content))
		return;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		find_in(part, i, path, device);
}

/* --- growing */

/* Whether this process has the capability of this number. */
static bool has_capability(unsigned number)
{
	unsigned long long effective = 0;
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	if (file)
		(void)fclose(file);
	return effective >> number & 1;
}

/* All of them ask for CAP_SYS_ADMIN, and who has not got it cannot open the disk. */
const char *content_forbidden(const struct disk_part *part)
{
	if (strcmp(part->content, "ext4") == 0 && !has_capability(CAP_SYS_RESOURCE))
		return "an ext4 is made larger by who has CAP_SYS_RESOURCE, and this process has not";
	return NULL;
}

static int grow_ext4(int fd, const char *path, uint64_t size_bytes)
{
	uint32_t block_bytes;
	uint64_t blocks, now;
	int r = read_ext4(path, &now, &block_bytes);

	if (r)
		return r;
	blocks = size_bytes / block_bytes;
	return ioctl(fd, EXT4_RESIZE_FS, &blocks) < 0 ? negative_errno() : 0;
}

static int grow_xfs(int fd, uint64_t size_bytes)
{
	struct xfs_geometry geometry;
	struct xfs_grow grow = {0};
	int r = read_xfs(fd, &geometry);

	if (r)
		return r;
	grow.new_blocks = size_bytes / geometry.block_bytes;
	grow.inode_max_percent = geometry.inode_max_percent;
	return ioctl(fd, XFS_GROW, &grow) < 0 ? negative_errno() : 0;
}

static int grow_btrfs(int fd, dev_t device)
{
	struct btrfs_ioctl_dev_info_args info;
	struct btrfs_ioctl_vol_args args = {0};
	int r = read_btrfs(fd, device, &info);

	if (r)
		return r;
	snprintf(args.name, sizeof(args.name), "%llu:max", (unsigned long long)info.devid);
	return ioctl(fd, BTRFS_IOC_RESIZE, &args) < 0 ? negative_errno() : 0;
}

int content_grow(const struct disk_part *part, const char *path, dev_t device, uint64_t size_bytes)
{
	_cleanup_close_ int fd = -1;
	int r = open_mount(places[part->is_elsewhere].root, part->mount, part->content, device, &fd);

	if (r)
		return r;
	if (strcmp(part->content, "ext4") == 0)
		return grow_ext4(fd, path, size_bytes);
	if (strcmp(part->content, "xfs") == 0)
		return grow_xfs(fd, size_bytes);
	return grow_btrfs(fd, device);
}
