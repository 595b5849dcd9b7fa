/* SPDX-License-Identifier: MIT */

/*
 * Disks, as the kernel has them now: sizes and partitions by sysfs (always in units of 512 bytes there),
 * what is on them by libblkid, where that is mounted by the mount table.
 *
 * Nodes are taken to be /dev/NAME, as devtmpfs makes them; names with a '!' in sysfs have a '/' there.
 */

#include "disks/survey.h"

#include "base/cleanup.h"
#include "disks/content.h"
#include "disks/table.h"

#include <blkid.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SYSFS "/sys/class/block"

static bool read_word(const char *folder, const char *file, char *buf, size_t size)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

static uint64_t read_number(const char *folder, const char *file)
{
	char text[32];

	return read_word(folder, file, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

static void node_of(const char *name, char path[DISK_PATH_SIZE])
{
	snprintf(path, DISK_PATH_SIZE, "/dev/%s", name);
	for (char *p = path; *p; p++)
		if (*p == '!')
			*p = '/';
}

int disk_find(const char *what, char ret_name[DISK_NAME_SIZE])
{
	char path[PATH_MAX], target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (*what != '/') {
		if (strlen(what) >= DISK_NAME_SIZE || strchr(what, '/') || *what == '.')
			return DISK_SURVEY_NONE;
		snprintf(path, sizeof(path), SYSFS "/%s", what);
		if (access(path, F_OK) < 0)
			return DISK_SURVEY_NONE;
		strcpy(ret_name, what);
		return 0;
	}
	if (stat(what, &st) < 0 || !S_ISBLK(st.st_mode))
		return DISK_SURVEY_NONE;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(st.st_rdev), minor(st.st_rdev));
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return DISK_SURVEY_NONE;
	target[n] = '\0';
	what = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
	if (strlen(what) >= DISK_NAME_SIZE)
		return DISK_SURVEY_NONE;
	strcpy(ret_name, what);
	return 0;
}

/* Takes what libblkid says; *ret_table is "" if there is no partition table. */
static void probe(const char *path, char *content, char *ret_table, size_t table_size)
{
	blkid_probe probe = blkid_new_probe_from_filename(path);
	const char *value;

	content[0] = ret_table[0] = '\0';
	if (!probe)
		return;
	(void)blkid_probe_enable_superblocks(probe, 1);
	(void)blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE);
	(void)blkid_probe_enable_partitions(probe, 1);
	if (blkid_do_safeprobe(probe) == 0) {
		if (blkid_probe_lookup_value(probe, "TYPE", &value, NULL) == 0)
			snprintf(content, DISK_CONTENT_SIZE, "%s", value);
		if (blkid_probe_lookup_value(probe, "PTTYPE", &value, NULL) == 0)
			snprintf(ret_table, table_size, "%s", value);
	}
	blkid_free_probe(probe);
}

/* The first device that is made of the one in @folder. */
static void find_holder(const char *folder, char holder[DISK_NAME_SIZE])
{
	char path[PATH_MAX];
	const struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/holders", folder);
	dir = opendir(path);
	while (dir && !holder[0] && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			snprintf(holder, DISK_NAME_SIZE, "%.31s", entry->d_name);
	if (dir)
		(void)closedir(dir);
}

/* Looks at what is on a part; its sysfs folder is @folder. */
static void look_at_part(const struct disk_layout *l, const char *folder, struct disk_part *part)
{
	char path[DISK_PATH_SIZE], table[32];
	dev_t device;

	find_holder(folder, part->holder);
	if (!disk_part_node(l, part, path, &device))
		return;
	probe(path, part->content, table, sizeof(table));
	content_find(part, path, device);
}

static void list_parts(struct disk_layout *l, const char *folder)
{
	const struct dirent *entry;
	DIR *dir = opendir(folder);
	char path[PATH_MAX + 300];

	while (dir && l->n_parts < DISK_PARTITIONS_MAX && (entry = readdir(dir))) {
		struct disk_part *part = &l->parts[l->n_parts];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		part->number = (unsigned)read_number(path, "partition");
		if (part->number == 0)
			continue;
		part->start_bytes = read_number(path, "start") * 512;
		part->size_bytes = read_number(path, "size") * 512;
		l->n_parts++;
		look_at_part(l, path, part);
	}
	if (dir)
		(void)closedir(dir);
}

bool disk_part_node(const struct disk_layout *layout, const struct disk_part *part,
		    char path[DISK_PATH_SIZE], dev_t *ret_device)
{
	char name[DISK_NAME_SIZE + 16], folder[PATH_MAX], text[32];
	size_t length = strlen(layout->name);
	bool ends_in_digit = length > 0 && strchr("0123456789", layout->name[length - 1]);
	unsigned ma, mi;

	/* Linux block/partitions/core.c: "sda1", "nvme0n1p1". */
	if (part->number == 0)
		snprintf(name, sizeof(name), "%s", layout->name);
	else
		snprintf(name, sizeof(name), "%s%s%u", layout->name, ends_in_digit ? "p" : "",
			 part->number);
	snprintf(folder, sizeof(folder), SYSFS "/%s", name);
	if (!read_word(folder, "dev", text, sizeof(text)) || sscanf(text, "%u:%u", &ma, &mi) != 2)
		return false;
	*ret_device = makedev(ma, mi);
	node_of(name, path);
	return true;
}

int disk_survey(const char *name, struct disk_layout *ret_layout)
{
	struct disk_layout *l = ret_layout;
	char folder[PATH_MAX], path[DISK_PATH_SIZE], table[32], content[DISK_CONTENT_SIZE];
	_cleanup_close_ int fd = -1;

	memset(l, 0, sizeof(*l));
	snprintf(l->name, sizeof(l->name), "%s", name);
	snprintf(folder, sizeof(folder), SYSFS "/%s", name);
	if (access(folder, F_OK) < 0)
		return DISK_SURVEY_NONE;
	l->size_bytes = read_number(folder, "size") * 512;
	l->sector_bytes = (uint32_t)read_number(folder, "queue/logical_block_size");
	l->is_read_only = read_number(folder, "ro") != 0;
	if (l->sector_bytes < 512)
		return DISK_SURVEY_NONE;
	node_of(name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return negative_errno();
	probe(path, content, table, sizeof(table));
	list_parts(l, folder);
	if (l->n_parts == 0 && content[0]) {
		l->parts[0].size_bytes = l->size_bytes;
		l->n_parts = 1;
		look_at_part(l, folder, &l->parts[0]);
	}
	return table_read(fd, table[0] ? table : NULL, l);
}

size_t disk_list(char (*names)[DISK_NAME_SIZE], size_t max)
{
	const struct dirent *entry;
	DIR *dir = opendir(SYSFS);
	char path[PATH_MAX];
	size_t n = 0;

	while (dir && n < max && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strlen(entry->d_name) >= DISK_NAME_SIZE)
			continue;
		snprintf(path, sizeof(path), SYSFS "/%s/device", entry->d_name);
		if (access(path, F_OK) < 0)
			continue;
		snprintf(path, sizeof(path), SYSFS "/%s", entry->d_name);
		if (read_number(path, "partition") == 0 && read_number(path, "size") > 0 &&
		    read_number(path, "removable") == 0)
			strcpy(names[n++], entry->d_name);
	}
	if (dir)
		(void)closedir(dir);
	return n;
}
