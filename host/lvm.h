/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Snapshots of logical volumes, by LVM's own command. What says that it runs a command waits for
 * it, which can take a second and longer.
 */

enum {
	LVM_NAME_SIZE = 128, /* of a group or a volume, with the end */
	LVM_WHY_SIZE = 320,
};

/* The condition of these functions; why is in ret_why, LVM_WHY_SIZE bytes. */
enum {
	LVM_FAILED = 1,
};

/* A volume, and its snapshot if there is one. */
struct lvm_volume {
	char group[LVM_NAME_SIZE];
	char name[LVM_NAME_SIZE];
	char snapshot[LVM_NAME_SIZE];  /* its name */
	char path[2 * LVM_NAME_SIZE + 8]; /* the snapshot as a device */
	bool is_thin;       /* so is the snapshot, which then needs no room of its own */
	uint64_t cow_bytes; /* else what may be written to the volume before the snapshot is lost */
};

/* Whether @path is a logical volume, by what the kernel says of it. Runs nothing. */
bool lvm_is_volume(const char *path);

/*
 * What there is to know before a snapshot of @path is made, by backup @id of this process. Of
 * @cow_bytes, 0: as lvm_choose_cow() says. Runs a command. LVM_FAILED, also when there is no room.
 */
_must_check_ int lvm_look(const char *path, unsigned int id, uint64_t cow_bytes,
			  struct lvm_volume *ret_volume, char *ret_why);

/* Makes the snapshot: what the volume is now. Runs a command. LVM_FAILED: there is none. */
_must_check_ int lvm_snapshot(const struct lvm_volume *volume, char *ret_why);

/* True if more was written to the volume than its snapshot holds, which is of no use then. Runs a command. */
bool lvm_is_full(const struct lvm_volume *volume);

/* Removes the snapshot, if there is one. Runs a command. LVM_FAILED: it is still there. */
_must_check_ int lvm_remove(const struct lvm_volume *volume, char *ret_why);

/*
 * Removes the snapshots that a process has left which is no more, of any group. Runs commands, if
 * @always or the kernel has a device that could be one.
 */
void lvm_remove_left(bool always);

/* What the commands say, taken apart; public for tests. */

/*
 * The room for a snapshot of a volume of @size_bytes in a group with @free_bytes: @wanted_bytes,
 * or, if that is 0, a fifth of the volume, 64 MiB at least, and what is free at most. 0: there is
 * not so much.
 */
uint64_t lvm_choose_cow(uint64_t size_bytes, uint64_t free_bytes, uint64_t wanted_bytes);

/* The volume in what lvs says of one (see lvm.c for the columns). False: it is something else. */
_must_check_ bool lvm_read_volume(const json_t *report, struct lvm_volume *ret_volume,
				  uint64_t *ret_size_bytes, uint64_t *ret_free_bytes);

/* The owner in a snapshot's tags, as lvs lists them: process and when it was started. False: none. */
_must_check_ bool lvm_read_owner(const char *tags, pid_t *ret_pid, uint64_t *ret_start);
