/* SPDX-License-Identifier: MIT */

/*
 * The record of taken blocks.
 *
 *     hvguest-blocks 1 8000000 BOOT-ID
 *     33 Normal
 *     34 Movable
 *
 * Lines of text, so that an administrator can read and undo it by hand. A block is named before the
 * attempt to take it offline and until it is online again, so a reader has to look at its state:
 * one that is online is not taken. At no moment is a block offline because of us and not named.
 *
 * The first line has the block size and the kernel's boot id: numbers of another boot mean nothing.
 * The file is replaced by rename(). It is not synced: what it says does not outlive the machine's
 * memory either.
 */

#include "memhotplug/block_record.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

enum {
	ID_SIZE = 64,
	LINE_SIZE = 160,
	PATH_SIZE = 512,
};

static void cleanup_filep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

/* An empty id where the kernel has none: then records are told apart by the tmpfs they are on. */
static void read_boot_id(char id[ID_SIZE])
{
	_cleanup_(cleanup_filep) FILE *f = fopen(BOOT_ID, "re");

	if (!f || !fgets(id, ID_SIZE, f))
		strcpy(id, "unknown");
	id[strcspn(id, "\n")] = '\0';
}

/* Writes everything to a new file. */
static int write_all(const char *path, uint64_t block_bytes, const struct block_mark *marks,
		     size_t n)
{
	FILE *f = fopen(path, "we");
	char id[ID_SIZE];
	int r = 0;

	if (!f)
		return negative_errno();
	read_boot_id(id);
	fprintf(f, "hvguest-blocks 1 %" PRIx64 " %s\n", block_bytes, id);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%" PRIu64 " %s\n", marks[i].number, block_zone_name(marks[i].zone));
	if (ferror(f))
		r = -EIO;
	if (fclose(f) != 0 && r == 0)
		r = negative_errno();
	return r;
}

int block_record_write(const char *path, uint64_t block_bytes, const struct block_mark *marks,
		       size_t n)
{
	char fresh[PATH_SIZE];
	int r;

	if (n > BLOCK_RECORD_MAX)
		return BLOCK_RECORD_FULL;
	if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	r = write_all(fresh, block_bytes, marks, n);
	if (r == 0 && rename(fresh, path) < 0)
		r = negative_errno();
	if (r)
		(void)unlink(fresh);
	return r;
}

static bool read_mark(const char *line, struct block_mark *ret_mark)
{
	char name[16], rest;
	uint64_t number;

	if (sscanf(line, "%" SCNu64 " %15s %c", &number, name, &rest) != 2)
		return false;
	for (int zone = 0; zone < BLOCK_N_ZONES; zone++) {
		if (strcmp(name, block_zone_name(zone)) == 0) {
			*ret_mark = (struct block_mark){.number = number, .zone = zone};
			return true;
		}
	}
	return false;
}

/* 0 if the first line is that of a record of this boot. */
static int check_heading(FILE *f, uint64_t block_bytes)
{
	char line[LINE_SIZE], id[ID_SIZE], its_id[ID_SIZE];
	uint64_t bytes;

	if (!fgets(line, sizeof(line), f) ||
	    sscanf(line, "hvguest-blocks 1 %" SCNx64 " %63s", &bytes, its_id) != 2)
		return BLOCK_RECORD_BAD;
	read_boot_id(id);
	if (strcmp(id, its_id) != 0)
		return BLOCK_RECORD_NONE;
	return bytes == block_bytes ? 0 : BLOCK_RECORD_BAD;
}

int block_record_read(const char *path, uint64_t block_bytes, struct block_mark **ret_marks,
		      size_t *ret_n)
{
	_cleanup_(cleanup_filep) FILE *f = fopen(path, "re");
	_cleanup_free_ struct block_mark *marks = NULL;
	char line[LINE_SIZE];
	size_t n = 0;
	int r;

	if (!f)
		return errno == ENOENT ? BLOCK_RECORD_NONE : negative_errno();
	r = check_heading(f, block_bytes);
	if (r)
		return r;
	marks = calloc(BLOCK_RECORD_MAX, sizeof(*marks));
	if (!marks)
		return -ENOMEM;
	while (fgets(line, sizeof(line), f))
		if (n == BLOCK_RECORD_MAX || !read_mark(line, &marks[n++]))
			return BLOCK_RECORD_BAD;
	if (ferror(f))
		return -EIO;

	*ret_marks = steal_ptr(marks);
	*ret_n = n;
	return 0;
}
