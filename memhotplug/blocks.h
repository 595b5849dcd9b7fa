/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The memory blocks of this machine, as the kernel lists them: reading, onlining, offlining.
 * Source: Linux Documentation/admin-guide/mm/memory-hotplug.rst, drivers/base/memory.c.
 */

#define BLOCKS_DIR "/sys/devices/system/memory"

/* The conditions of this object; blocks_condition_text() has words for each. */
enum {
	BLOCKS_BAD = 1,   /* the size of a block is not a power of two, or no number */
	BLOCKS_GONE,      /* there is no such block */
	BLOCKS_ALREADY,   /* it is in the wanted state */
	BLOCKS_UNFIT,     /* it has holes, or lies in more than one zone; or the zone is not possible */
	BLOCKS_BUSY,      /* something in it can neither be moved nor freed */
	BLOCKS_TIMED_OUT, /* its pages could not be moved in time */
	BLOCKS_DENIED,    /* we may not, or sysfs is read-only */
	BLOCKS_REFUSED,   /* a driver has a say in this, and said no; or no memory for the block */
};

enum block_state {
	BLOCK_ONLINE,
	BLOCK_OFFLINE,
	BLOCK_UNSETTLED, /* on its way offline, or gone while we looked */
};

enum block_zone {
	BLOCK_ZONE_NONE, /* an online block that cannot be taken offline */
	BLOCK_ZONE_DMA32, /* or DMA */
	BLOCK_ZONE_NORMAL,
	BLOCK_ZONE_MOVABLE,
	BLOCK_ZONE_OTHER,
	BLOCK_N_ZONES,
};

/* How to bring a block online. */
enum block_online {
	BLOCK_ONLINE_DEFAULT, /* as the kernel's own policy has it */
	BLOCK_ONLINE_KERNEL,
	BLOCK_ONLINE_MOVABLE,
};

struct block {
	uint64_t number; /* N of memoryN: its address in units of the block size */
	enum block_state state;
	enum block_zone zone; /* where it is; NONE for one that is not online */
};

struct blocks {
	uint64_t block_bytes;
	struct block *list; /* by number */
	size_t n;
};

/* Reads the block size below @dir. BLOCKS_BAD. */
_must_check_ int blocks_read_size(const char *dir, uint64_t *ret_block_bytes);

/* Reads the block size and all blocks below @dir; to be freed by blocks_fini(). BLOCKS_BAD. */
_must_check_ int blocks_read(const char *dir, struct blocks *ret_blocks);
void blocks_fini(struct blocks *blocks);

/* How many of the list are in @state. */
size_t blocks_count(const struct blocks *blocks, enum block_state state);

/* The one with this number, or NULL. */
const struct block *blocks_find(const struct blocks *blocks, uint64_t number);

/* Reads one block anew. BLOCKS_GONE. */
_must_check_ int block_read(const char *dir, uint64_t number, struct block *ret_block);

/*
 * Which zones an offline block could be brought online in. Only for blocks whose adding has ended
 * for certain, such as one that was written to: see blocks.c. False: it cannot be read.
 */
bool block_read_choices(const char *dir, uint64_t number, bool *ret_kernel, bool *ret_movable);

/*
 * Brings a block online. It may take as long as the kernel's lock on memory hotplug is held.
 * BLOCKS_GONE, BLOCKS_ALREADY, BLOCKS_UNFIT, BLOCKS_DENIED, BLOCKS_REFUSED.
 */
_must_check_ int block_online(const char *dir, uint64_t number, enum block_online how);

/*
 * Takes a block offline: the kernel moves what is in it elsewhere. By itself it would try for ever,
 * so after @limit_ns (at least 1) this thread interrupts itself by a signal (SIGRTMAX, whose
 * handler this sets for the whole process). The block then stays online, though some of its pages
 * may have moved. Nothing is zeroed.
 * BLOCKS_GONE, BLOCKS_ALREADY, BLOCKS_UNFIT, BLOCKS_BUSY, BLOCKS_TIMED_OUT, BLOCKS_DENIED,
 * BLOCKS_REFUSED; negative errno if no timer can be had.
 */
_must_check_ int block_offline(const char *dir, uint64_t number, uint64_t limit_ns);

/* Words for people: what a condition means. */
const char *blocks_condition_text(int condition);

/* "DMA32", "online_movable" and so on: the kernel's words. */
const char *block_zone_name(enum block_zone zone);
const char *block_online_name(enum block_online how);
