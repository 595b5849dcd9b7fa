/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/devices.c on a made-up sysfs.
 */

#include "fsfreeze/devices.h"
#include "tests/unit/tree.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

static struct freeze_mount mounts[8];
static size_t n_mounts;
static struct freeze_link *links;
static size_t n_links;

static void find(void)
{
	const struct devices_system system = {.sysfs = tree, .dev = tree_path("dev-nodes")};

	free(links);
	cr_assert(eq(int, devices_find_links(&system, mounts, n_mounts, &links, &n_links), 0));
}

static void add_mount(const char *type, const char *source, uint64_t device)
{
	mounts[n_mounts] = (struct freeze_mount){
		.target = "/nowhere",
		.source = source,
		.type = type,
		.device = device,
		.mount_id = 1000000 + n_mounts,
		.is_fs_root = true,
	};
	n_mounts++;
}

/* A block device: its folder below devices/, and the link to it by number. */
static void add_block(const char *folder, unsigned int major_number, unsigned int minor_number)
{
	char path[300], text[32], target[300];

	snprintf(text, sizeof(text), "%u:%u\n", major_number, minor_number);
	snprintf(path, sizeof(path), "devices/%s/dev", folder);
	tree_file(path, text);
	snprintf(path, sizeof(path), "dev/block/%u:%u", major_number, minor_number);
	snprintf(target, sizeof(target), "../../devices/%s", folder);
	tree_link(path, target);
}

static bool has(enum freeze_node_kind upper_kind, uint64_t upper, enum freeze_node_kind lower_kind,
		uint64_t lower)
{
	for (size_t i = 0; i < n_links; i++)
		if (links[i].upper.kind == upper_kind && links[i].upper.device == upper &&
		    links[i].lower.kind == lower_kind && links[i].lower.device == lower)
			return true;
	return false;
}

#define FS    FREEZE_NODE_FS
#define BLOCK FREEZE_NODE_BLOCK

static void fini(void)
{
	free(links);
	tree_fini();
}

TestSuite(devices, .init = tree_init, .fini = fini);

Test(devices, a_partition_is_kept_on_its_disk)
{
	add_block("pci/sda", 8, 0);
	add_block("pci/sda/sda1", 8, 1);
	tree_file("devices/pci/sda/sda1/partition", "1\n");
	add_mount("ext4", "/dev/sda1", makedev(8, 1));
	find();
	cr_expect(eq(sz, n_links, 2));
	cr_expect(has(FS, makedev(8, 1), BLOCK, makedev(8, 1)));
	cr_expect(has(BLOCK, makedev(8, 1), BLOCK, makedev(8, 0)));
}

Test(devices, a_mapped_device_is_kept_on_all_its_slaves_and_each_is_followed_once)
{
	add_block("pci/sda", 8, 0);
	add_block("pci/sdb", 8, 16);
	add_block("virtual/dm-0", 253, 0);
	add_block("virtual/dm-1", 253, 1);
	tree_link("devices/virtual/dm-0/slaves/sda", "../../../pci/sda");
	tree_link("devices/virtual/dm-0/slaves/sdb", "../../../pci/sdb");
	tree_link("devices/virtual/dm-1/slaves/dm-0", "../../dm-0");
	add_mount("xfs", "/dev/mapper/a", makedev(253, 1));
	add_mount("ext4", "/dev/mapper/b", makedev(253, 0));
	find();
	cr_expect(has(BLOCK, makedev(253, 1), BLOCK, makedev(253, 0)));
	cr_expect(has(BLOCK, makedev(253, 0), BLOCK, makedev(8, 0)));
	cr_expect(has(BLOCK, makedev(253, 0), BLOCK, makedev(8, 16)));
	cr_expect(has(FS, makedev(253, 0), BLOCK, makedev(253, 0)));
	cr_expect(eq(sz, n_links, 5));
}

Test(devices, a_btrfs_is_kept_on_all_devices_that_the_kernel_lists_for_it)
{
	add_block("pci/nowhere1", 8, 32);
	add_block("pci/nowhere2", 8, 48);
	tree_link("fs/btrfs/01234567/devices/nowhere1", "../../../../devices/pci/nowhere1");
	tree_link("fs/btrfs/01234567/devices/nowhere2", "../../../../devices/pci/nowhere2");
	tree_link("fs/btrfs/89abcdef/devices/other", "../../../../devices/pci/nowhere1");
	tree_file("fs/btrfs/features/mixed", "1\n");
	add_mount("btrfs", "/dev/nowhere1", makedev(0, 40));
	find();
	cr_expect(has(FS, makedev(0, 40), BLOCK, makedev(8, 32)));
	cr_expect(has(FS, makedev(0, 40), BLOCK, makedev(8, 48)));
	cr_expect(eq(sz, n_links, 2));
}

Test(devices, a_loop_device_is_kept_on_the_file_system_of_its_file)
{
	struct statx sx;

	cr_assert(eq(int, statx(AT_FDCWD, tree, 0, STATX_MNT_ID, &sx), 0));
	add_mount("ext4", "/dev/sda", makedev(8, 0));
	mounts[0].mount_id = sx.stx_mnt_id;
	add_block("virtual/loop3", 7, 3);
	tree_file("image", "");
	tree_file("devices/virtual/loop3/loop/backing_file", tree_path("image"));
	add_mount("xfs", "/dev/loop3", makedev(7, 3));
	find();
	cr_expect(has(BLOCK, makedev(7, 3), FS, makedev(8, 0)));
}

Test(devices, a_loop_device_whose_file_is_not_in_sight_is_kept_on_all_that_was_there_before)
{
	add_mount("ext4", "/dev/sda", makedev(8, 0));
	add_mount("tmpfs", "tmpfs", makedev(0, 30));
	mounts[1].is_pseudo = true;
	add_block("virtual/loop3", 7, 3);
	tree_file("devices/virtual/loop3/loop/backing_file", "/nowhere/image\n");
	add_mount("xfs", "/dev/loop3", makedev(7, 3));
	add_mount("ext4", "/dev/sdb", makedev(8, 16));
	find();
	cr_expect(has(BLOCK, makedev(7, 3), FS, makedev(8, 0)));
	cr_expect(not(has(BLOCK, makedev(7, 3), FS, makedev(0, 30))));
	cr_expect(not(has(BLOCK, makedev(7, 3), FS, makedev(8, 16))));
}

Test(devices, what_a_process_here_may_serve_is_kept_on_all_that_was_there_before)
{
	static const char *const folders[] = {
		"virtual/nbd0", "virtual/ublkb0", "platform/host3/session1/target/sdz",
	};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		n_mounts = 0;
		add_mount("ext4", "/dev/sda", makedev(8, 0));
		add_block(folders[i], 43, i);
		add_mount("xfs", "/dev/served", makedev(43, i));
		find();
		cr_expect(has(BLOCK, makedev(43, i), FS, makedev(8, 0)), "%s", folders[i]);
	}
}

Test(devices, network_and_pseudo_file_systems_and_what_sysfs_does_not_know_have_no_trouble)
{
	add_mount("nfs4", "server:/export", makedev(0, 50));
	mounts[0].is_network = true;
	add_mount("zfs", "pool/data", makedev(0, 51));
	add_mount("ext4", "/dev/gone", makedev(8, 99));
	add_mount("btrfs", "/dev/gone", makedev(0, 52));
	find();
	cr_expect(eq(sz, n_links, 1));
	cr_expect(has(FS, makedev(8, 99), BLOCK, makedev(8, 99)));
}
