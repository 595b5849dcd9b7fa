/* SPDX-License-Identifier: MIT */

/*
 * Partition tables.
 *
 * libfdisk knows how to change them, but writes a GPT in pieces, and who dies between them leaves a
 * primary table that does not match its own check sum: Linux then finds no partitions at all, unless
 * it was booted with "gpt". So libfdisk works on a copy in memory: a file as large as the disk, with
 * holes, that has the beginning of the disk, the end and the old backup. What it has changed there is
 * then written to the disk in two writes, each of a few adjacent sectors and past the page cache, so
 * that a signal cannot come in between:
 *
 *   1. the backup, at the new end of the disk. The old table is still all there, with its own backup
 *   2. the beginning: protective MBR, header, entries. From here on the new table counts
 *
 * A table of DOS is one sector, so there is the second write only.
 *
 * Looking at a table needs no libfdisk.
 */

#include "disks/table.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "disks/gpt.h"

#include <fcntl.h>
#include <libfdisk/libfdisk.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

enum {
	WINDOW = 1 << 20, /* bytes of the disk that are copied, at each place */
	ALIGNMENT = 4096, /* of memory for writes past the page cache */
	MBR_ENTRIES = 446,
	MBR_TYPE_GPT = 0xee,
};

/* --- looking */

static int read_at(int fd, void *buf, size_t size, uint64_t offset)
{
	ssize_t n = pread(fd, buf, size, (off_t)offset);

	if (n < 0)
		return negative_errno();
	return (size_t)n == size ? 0 : -EIO;
}

static void set_problem(struct disk_layout *l, const char *text)
{
	snprintf(l->problem, sizeof(l->problem), "%s", text);
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

/* What the four entries of an MBR say: lengths, and whether any is of another kind. */
static int read_mbr(int fd, struct disk_layout *l, unsigned *ret_gpt, unsigned *ret_others)
{
	uint8_t sector[512];
	int r = read_at(fd, sector, sizeof(sector), 0);

	if (r)
		return r;
	*ret_gpt = *ret_others = 0;
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *entry = sector + MBR_ENTRIES + i * 16;
		struct bytes_reader in;
		uint32_t start, sectors;

		bytes_reader_init(&in, entry + 8, 8);
		start = bytes_get_u32(&in);
		sectors = bytes_get_u32(&in);
		if (entry[4] == 0 || sectors == 0)
			continue;
		*(entry[4] == MBR_TYPE_GPT ? ret_gpt : ret_others) += 1;
		for (size_t p = 0; p < l->n_parts; p++) {
			struct disk_part *part = &l->parts[p];

			if (part->number == i + 1 &&
			    part->start_bytes == (uint64_t)start * l->sector_bytes) {
				part->table_bytes = (uint64_t)sectors * l->sector_bytes;
				part->is_nested = is_extended(entry[4]);
			}
		}
	}
	for (size_t p = 0; p < l->n_parts; p++)
		l->parts[p].is_nested |= l->parts[p].number > 4;
	return 0;
}

static int read_dos(int fd, struct disk_layout *l)
{
	unsigned gpt, others;
	int r = read_mbr(fd, l, &gpt, &others);

	l->usable_end_bytes = l->size_bytes;
	for (size_t p = 0; p < l->n_parts; p++)
		if (l->parts[p].is_nested)
			set_problem(l, "it has an extended partition");
	return r;
}

/* Reads a header and its entries; true if they are sound. */
static bool read_copy(int fd, const struct disk_layout *l, uint64_t lba, struct gpt_header *ret_header,
		      uint8_t *entries)
{
	uint8_t sector[4096];

	return l->sector_bytes <= sizeof(sector) && lba < l->size_bytes / l->sector_bytes &&
	       read_at(fd, sector, l->sector_bytes, lba * l->sector_bytes) == 0 &&
	       gpt_read_header(sector, l->sector_bytes, lba, ret_header) == 0 &&
	       ret_header->entries_lba < l->size_bytes / l->sector_bytes &&
	       read_at(fd, entries, ret_header->entries_bytes,
		       ret_header->entries_lba * l->sector_bytes) == 0 &&
	       gpt_check_entries(ret_header, entries, ret_header->entries_bytes) == 0;
}

static void take_lengths(struct disk_layout *l, const uint8_t *entries,
			 const struct gpt_header *header)
{
	for (size_t p = 0; p < l->n_parts; p++) {
		struct disk_part *part = &l->parts[p];
		size_t offset = (size_t)(part->number - 1) * header->entry_bytes;
		struct bytes_reader in;
		uint64_t first, last;

		if (part->number == 0 || offset + header->entry_bytes > header->entries_bytes)
			continue;
		bytes_reader_init(&in, entries + offset + 32, 16);
		first = bytes_get_u64(&in);
		last = bytes_get_u64(&in);
		if (first * l->sector_bytes == part->start_bytes && last >= first)
			part->table_bytes = (last - first + 1) * l->sector_bytes;
	}
}

static int read_gpt(int fd, struct disk_layout *l)
{
	_cleanup_free_ uint8_t *entries = malloc(GPT_ENTRIES_MAX_BYTES);
	_cleanup_free_ uint8_t *other_entries = malloc(GPT_ENTRIES_MAX_BYTES);
	uint64_t sectors = l->size_bytes / l->sector_bytes;
	struct gpt_header header, other;
	unsigned gpt, others;
	int r;

	if (!entries || !other_entries)
		return -ENOMEM;
	r = read_mbr(fd, l, &gpt, &others);
	if (r)
		return r;
	if (others > 0)
		set_problem(l, "it has a table of DOS beside its GPT (a hybrid MBR)");
	if (!read_copy(fd, l, 1, &header, entries)) {
		set_problem(l, "its GPT is damaged: repair it first, by fdisk or sgdisk");
		return 0;
	}
	if (!read_copy(fd, l, header.other_lba, &other, other_entries) ||
	    other.entries_crc != header.entries_crc || other.other_lba != 1)
		set_problem(l, "the backup of its GPT is damaged: repair it first, by fdisk or sgdisk");
	/* Backup of the entries and of the header come last. */
	l->usable_end_bytes = (sectors - 1) * l->sector_bytes -
			      (header.entries_bytes + l->sector_bytes - 1) / l->sector_bytes *
				      l->sector_bytes;
	take_lengths(l, entries, &header);
	return 0;
}

int table_read(int fd, const char *kind, struct disk_layout *layout)
{
	for (size_t p = 0; p < layout->n_parts; p++)
		layout->parts[p].table_bytes = layout->parts[p].size_bytes;
	layout->usable_end_bytes = 0;
	if (!kind) {
		layout->table = DISK_TABLE_NONE;
		return 0;
	}
	/* "PMBR": a protective MBR, and no header that is one. */
	if (strcmp(kind, "gpt") == 0 || strcmp(kind, "PMBR") == 0) {
		layout->table = DISK_TABLE_GPT;
		return read_gpt(fd, layout);
	}
	if (strcmp(kind, "dos") == 0) {
		layout->table = DISK_TABLE_DOS;
		return read_dos(fd, layout);
	}
	layout->table = DISK_TABLE_OTHER;
	return 0;
}

/* --- extending */

/* Some bytes of the disk, as they are and as they are to be. */
struct window {
	uint64_t offset;
	size_t size;
	uint8_t *before;
	uint8_t *after;
};

static void window_fini(struct window *w)
{
	free(w->before);
	free(w->after);
}

/* Copies a window of the disk into the copy. */
static int window_init(struct window *w, int disk, int copy, uint64_t offset, size_t size)
{
	int r;

	w->offset = offset;
	w->size = size;
	w->before = aligned_alloc(ALIGNMENT, WINDOW);
	w->after = aligned_alloc(ALIGNMENT, WINDOW);
	if (!w->before || !w->after)
		return -ENOMEM;
	r = read_at(disk, w->before, size, offset);
	if (r)
		return r;
	return pwrite(copy, w->before, size, (off_t)offset) == (ssize_t)size ? 0 : -EIO;
}

/* Writes what is new in the window, in one write of whole sectors. */
static int window_write(struct window *w, int disk, int copy, size_t sector)
{
	size_t first = 0, end = w->size;
	int r = read_at(copy, w->after, w->size, w->offset);

	if (r)
		return r;
	while (first < end && memcmp(w->before + first, w->after + first, sector) == 0)
		first += sector;
	while (end > first && memcmp(w->before + end - sector, w->after + end - sector, sector) == 0)
		end -= sector;
	if (first == end)
		return 0;
	/* Memory has to be aligned as the sectors are. */
	memmove(w->after, w->after + first, end - first);
	if (pwrite(disk, w->after, end - first, (off_t)(w->offset + first)) != (ssize_t)(end - first))
		return negative_errno();
	return 0;
}

/* Whatever libfdisk says is about a backup that is not at the end; what would be damage was looked for. */
static int on_ask(struct fdisk_context *context, struct fdisk_ask *ask, void *user)
{
	(void)context;
	(void)ask;
	(void)user;
	return 0;
}

static int set_size(struct fdisk_context *context, const struct disk_layout *l, unsigned number,
		    uint64_t size_bytes)
{
	struct fdisk_partition *p = fdisk_new_partition();
	int r;

	if (!p)
		return -ENOMEM;
	r = fdisk_partition_size_explicit(p, 1);
	r = r ? r : fdisk_partition_set_size(p, size_bytes / l->sector_bytes);
	r = r ? r : fdisk_set_partition(context, number - 1, p);
	fdisk_unref_partition(p);
	return r;
}

/* Has libfdisk change the copy. */
static int change_copy(int copy, const struct disk_layout *l, unsigned number, uint64_t size_bytes)
{
	struct fdisk_context *context = fdisk_new_context();
	int r;

	if (!context)
		return -ENOMEM;
	(void)fdisk_set_ask(context, on_ask, NULL);
	r = fdisk_save_user_sector_size(context, l->sector_bytes, l->sector_bytes);
	r = r ? r : fdisk_assign_device_by_fd(context, copy, "copy", 0);
	if (r == 0 && !fdisk_has_label(context))
		r = -EINVAL;
	r = r ? r : set_size(context, l, number, size_bytes);
	r = r ? r : fdisk_write_disklabel(context);
	(void)fdisk_deassign_device(context, 1);
	fdisk_unref_context(context);
	return r;
}

/* The old backup of a GPT has to be in the copy, or libfdisk takes the table to be damaged. */
static int copy_old_backup(int disk, int copy, const struct disk_layout *l)
{
	_cleanup_free_ uint8_t *buf = aligned_alloc(ALIGNMENT, WINDOW);
	struct gpt_header header;
	uint64_t end, start;
	int r;

	if (l->table != DISK_TABLE_GPT)
		return 0;
	if (!buf)
		return -ENOMEM;
	r = read_at(disk, buf, l->sector_bytes, l->sector_bytes);
	if (r)
		return r;
	if (gpt_read_header(buf, l->sector_bytes, 1, &header))
		return -EINVAL;
	end = (header.other_lba + 1) * l->sector_bytes;
	start = end > WINDOW ? end - WINDOW : 0;
	r = read_at(disk, buf, end - start, start);
	if (r)
		return r;
	return pwrite(copy, buf, end - start, (off_t)start) == (ssize_t)(end - start) ? 0 : -EIO;
}

static int extend(int disk, const struct disk_layout *l, unsigned number, uint64_t size_bytes,
		  struct window *head, struct window *tail)
{
	_cleanup_close_ int copy = memfd_create("partition-table", MFD_CLOEXEC);
	int r;

	if (copy < 0 || ftruncate(copy, (off_t)l->size_bytes) < 0)
		return negative_errno();
	r = copy_old_backup(disk, copy, l);
	r = r ? r : window_init(head, disk, copy, 0, WINDOW);
	r = r ? r : window_init(tail, disk, copy, l->size_bytes - WINDOW, WINDOW);
	r = r ? r : change_copy(copy, l, number, size_bytes);
	if (r)
		return r;
	r = window_write(tail, disk, copy, l->sector_bytes);
	return r ? r : window_write(head, disk, copy, l->sector_bytes);
}

int table_extend(const char *path, const struct disk_layout *layout, unsigned number,
		 uint64_t size_bytes, char *ret_why)
{
	_cleanup_close_ int disk = open(path, O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
	struct window head = {0}, tail = {0};
	int r;

	if (disk < 0)
		return negative_errno();
	/* As systemd has it (BLOCK_DEVICE_LOCKING): udev does not look while somebody has the lock. */
	if (flock(disk, LOCK_EX | LOCK_NB) < 0) {
		snprintf(ret_why, DISK_REASON_SIZE, "somebody else has the disk locked");
		return TABLE_REFUSED;
	}
	if (layout->size_bytes < 4 * WINDOW || layout->sector_bytes > 4096) {
		snprintf(ret_why, DISK_REASON_SIZE, "the disk is too small, or its sectors too large");
		return TABLE_REFUSED;
	}
	r = extend(disk, layout, number, size_bytes, &head, &tail);
	window_fini(&head);
	window_fini(&tail);
	return r;
}
