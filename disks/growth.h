/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What of a disk could grow into the space behind it, and why not the rest.
 */

enum {
	DISK_PARTITIONS_MAX = 128,
	DISK_NAME_SIZE = 32,
	DISK_CONTENT_SIZE = 32,
	DISK_PATH_SIZE = 256,
	DISK_REASON_SIZE = 200,
	DISK_SLACK_BYTES = 1 << 20, /* less than this is not worth growing for */
};

enum disk_table {
	DISK_TABLE_NONE,
	DISK_TABLE_GPT,
	DISK_TABLE_DOS,
	DISK_TABLE_OTHER, /* a kind that is not known here */
};

/* A partition, or a disk without a partition table as a whole. */
struct disk_part {
	unsigned number;      /* 0: the whole disk */
	uint64_t start_bytes;
	uint64_t size_bytes;  /* as the kernel has it */
	uint64_t table_bytes; /* as the table has it: larger after a growth that was interrupted */
	bool is_nested;       /* in an extended partition, or one itself */
	char content[DISK_CONTENT_SIZE]; /* "ext4", "LVM2_member", ...; "": nothing that is known */
	uint64_t content_bytes;          /* of the file system; 0: not known */
	char mount[DISK_PATH_SIZE];      /* where it is mounted; "": nowhere */
	bool is_elsewhere;               /* ... for process 1, and not for us, or only to be read */
	bool is_read_only;
	char holder[DISK_NAME_SIZE];     /* a device made of it, as dm-0; "": none */
};

struct disk_layout {
	char name[DISK_NAME_SIZE]; /* "sda" */
	uint64_t size_bytes;
	uint32_t sector_bytes;
	bool is_read_only;
	enum disk_table table;
	char problem[DISK_REASON_SIZE]; /* what is wrong with the table; "": nothing */
	uint64_t usable_end_bytes;      /* partitions may go so far; 0 without a table */
	size_t n_parts;
	struct disk_part parts[DISK_PARTITIONS_MAX]; /* without a table: one */
};

enum disk_verdict {
	DISK_FULL,     /* there is nothing to grow into */
	DISK_CAN_GROW,
	DISK_REFUSED,  /* there is space, and a reason why it is not for us to take */
};

struct disk_growth {
	enum disk_verdict verdict;
	uint64_t unused_bytes;   /* behind the last partition, or behind the file system that fills it */
	size_t part;             /* index of what would grow; meaningless if there is nothing */
	uint64_t partition_bytes; /* DISK_CAN_GROW: its new size; 0: it stays, only the content grows */
	char reason[DISK_REASON_SIZE]; /* one clause, unless DISK_CAN_GROW */
};

/*
 * Decides. A layout is simple, and so may grow, if the last partition (or the whole disk, where there is
 * no table) has a mounted file system that can grow while it is used, and nothing is made of it.
 */
void disk_growth_plan(const struct disk_layout *layout, struct disk_growth *ret_growth);

/* Whether this file system grows while it is mounted: ext4, xfs, btrfs. */
bool disk_content_grows(const char *content);

/* "full", "can-grow", "refused"; and "none", "gpt", "dos", "other". */
const char *disk_verdict_name(enum disk_verdict verdict);
const char *disk_table_name(enum disk_table table);
