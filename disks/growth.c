/* SPDX-License-Identifier: MIT */

/*
 * What of a disk could grow.
 *
 * Only what can be done without taking anything apart: the last partition becomes longer and starts
 * where it did, and the file system that is mounted from it becomes as long. Everything between
 * partition and file system (LVM, encryption, RAID) has a size of its own, that its own tools change, so
 * it is refused and named. A table that is damaged or contradicts itself is refused too: to extend it
 * would make the damage look sound.
 *
 * A partition that is longer in the table than in the kernel was being grown when somebody ended that;
 * it goes on from there, and so does a file system that is shorter than its partition.
 */

#include "disks/growth.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Tables of DOS count sectors in 32 bits. */
#define DOS_SECTORS_MAX UINT64_C(0xffffffff)

bool disk_content_grows(const char *content)
{
	return strcmp(content, "ext4") == 0 || strcmp(content, "xfs") == 0 ||
	       strcmp(content, "btrfs") == 0;
}

static void refuse(struct disk_growth *g, const char *format, ...) _printf_(2, 3);

static void refuse(struct disk_growth *g, const char *format, ...)
{
	va_list args;

	g->verdict = DISK_REFUSED;
	va_start(args, format);
	(void)vsnprintf(g->reason, sizeof(g->reason), format, args);
	va_end(args);
}

static const struct disk_part *last_part(const struct disk_layout *l, size_t *ret_index)
{
	const struct disk_part *last = NULL;

	for (size_t i = 0; i < l->n_parts; i++) {
		if (last && l->parts[i].start_bytes < last->start_bytes)
			continue;
		last = &l->parts[i];
		*ret_index = i;
	}
	return last;
}

/* Whether a partition other than the last reaches into it, or out of the disk. */
static bool is_contradictory(const struct disk_layout *l, size_t last)
{
	for (size_t i = 0; i < l->n_parts; i++) {
		const struct disk_part *p = &l->parts[i];

		if (p->start_bytes > l->size_bytes || p->size_bytes > l->size_bytes - p->start_bytes)
			return true;
		if (i != last && p->start_bytes + p->size_bytes > l->parts[last].start_bytes)
			return true;
	}
	return false;
}

/* Where the last partition may end: on a boundary of 4 KiB, which all file systems can use. */
static uint64_t end_for(const struct disk_layout *l)
{
	uint64_t end = l->usable_end_bytes;

	if (l->table == DISK_TABLE_DOS && end / l->sector_bytes > DOS_SECTORS_MAX)
		end = DOS_SECTORS_MAX * l->sector_bytes;
	return end & ~UINT64_C(4095);
}

static void judge_part(struct disk_growth *g, const struct disk_part *p)
{
	char what[48] = "the disk";

	if (p->number > 0)
		snprintf(what, sizeof(what), "partition %u", p->number);
	if (p->is_nested)
		refuse(g, "%s is an extended one, or in one", what);
	else if (p->holder[0])
		refuse(g, "%s is used by %s: make that larger with its own tools", what, p->holder);
	else if (!p->content[0])
		refuse(g, "%s has nothing on it that is known", what);
	else if (!disk_content_grows(p->content))
		refuse(g, "%s has %s, which is not made larger here", what, p->content);
	else if (!p->mount[0])
		refuse(g, "the %s of %s is not mounted", p->content, what);
	else if (p->is_read_only)
		refuse(g, "the %s of %s is mounted for reading only", p->content, what);
	else if (p->content_bytes == 0)
		refuse(g, "the size of the %s of %s cannot be read", p->content, what);
}

static void plan_part(const struct disk_layout *l, const struct disk_part *p, struct disk_growth *g)
{
	uint64_t end = p->start_bytes + p->size_bytes, room = 0, slack = 0;

	if (l->table != DISK_TABLE_NONE && end_for(l) > end)
		room = end_for(l) - end;
	if (p->content_bytes > 0 && p->content_bytes < p->size_bytes)
		slack = p->size_bytes - p->content_bytes;
	if (room < DISK_SLACK_BYTES && p->table_bytes <= p->size_bytes)
		room = 0;
	if (slack < DISK_SLACK_BYTES)
		slack = 0;
	g->unused_bytes = room + slack;
	if (g->unused_bytes == 0) {
		snprintf(g->reason, sizeof(g->reason), "it fills the disk");
		return;
	}
	g->verdict = DISK_CAN_GROW;
	g->partition_bytes = room > 0 ? p->size_bytes + room : 0;
	judge_part(g, p);
}

void disk_growth_plan(const struct disk_layout *layout, struct disk_growth *ret_growth)
{
	struct disk_growth *g = ret_growth;
	const struct disk_part *last;

	*g = (struct disk_growth){.verdict = DISK_FULL};
	last = last_part(layout, &g->part);
	if (layout->problem[0])
		refuse(g, "%.150s", layout->problem);
	else if (layout->table == DISK_TABLE_OTHER)
		refuse(g, "its partition table is of a kind that is not known here");
	else if (!last)
		snprintf(g->reason, sizeof(g->reason), "there is nothing on it");
	else if (is_contradictory(layout, g->part))
		refuse(g, "its partitions overlap, or reach out of it");
	else
		plan_part(layout, last, g);
	if (g->verdict == DISK_CAN_GROW && layout->is_read_only)
		refuse(g, "the disk can only be read");
}

const char *disk_verdict_name(enum disk_verdict verdict)
{
	switch (verdict) {
	case DISK_FULL:
		return "full";
	case DISK_CAN_GROW:
		return "can-grow";
	case DISK_REFUSED:
		return "refused";
	}
	return "invalid";
}

const char *disk_table_name(enum disk_table table)
{
	switch (table) {
	case DISK_TABLE_NONE:
		return "none";
	case DISK_TABLE_GPT:
		return "gpt";
	case DISK_TABLE_DOS:
		return "dos";
	case DISK_TABLE_OTHER:
		return "other";
	}
	return "invalid";
}
