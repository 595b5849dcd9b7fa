/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/pages.h"

/*
 * What the daemon and the keeper say to each other, and the record that a dead keeper leaves.
 *
 * The daemon asks and the keeper answers, one message at a time, on a SOCK_SEQPACKET socket below
 * the run directory. Both are built together, so layout and byte order are the machine's own; but
 * the keeper may be the older of the two, so its version is asked first, and RELEASE is the same in
 * all versions.
 */

enum {
	KEEPER_VERSION = 1,
	KEEPER_RANGES_MAX = 8192, /* of one message: 128 KiB, less than a socket takes at once */
	KEEPER_BOOT_ID_SIZE = 40,

	/* The keeper's inherited descriptor: its first connection. */
	KEEPER_SOCKET_FD = 3,
};

#define KEEPER_SOCKET_NAME "keeper.sock"
#define KEEPER_RECORD_NAME "keeper.record"

/*
 * What the keeper holds, in the order of the descriptors of a message. The channel comes last, for
 * a process that dies lets go of the highest numbers first: the host has to learn that the channel
 * is closed before the memory is free (Linux kernel/task_work.c runs the newest work first).
 */
enum keeper_fd {
	KEEPER_FD_LEDGER,  /* the memory */
	KEEPER_FD_HUGE,
	KEEPER_FD_SMALL,
	KEEPER_FD_AREA,    /* the session's state, which is the daemon's alone to read and write */
	KEEPER_FD_HOST,    /* the connection to a lab host */
	KEEPER_FD_RINGS,   /* the channel: the device node, or the memory of a lab's rings */
	KEEPER_FD_WAIT,    /* a lab's doorbells */
	KEEPER_FD_SIGNAL,
	KEEPER_N_FDS,
};

#define KEEPER_FD_BIT(fd) (1u << (fd))

/* The descriptors that a dead daemon's channel consists of. */
#define KEEPER_CHANNEL_FDS \
	(KEEPER_FD_BIT(KEEPER_FD_HOST) | KEEPER_FD_BIT(KEEPER_FD_RINGS) | \
	 KEEPER_FD_BIT(KEEPER_FD_WAIT) | KEEPER_FD_BIT(KEEPER_FD_SIGNAL))
#define KEEPER_MEMORY_FDS \
	(KEEPER_FD_BIT(KEEPER_FD_LEDGER) | KEEPER_FD_BIT(KEEPER_FD_HUGE) | \
	 KEEPER_FD_BIT(KEEPER_FD_SMALL) | KEEPER_FD_BIT(KEEPER_FD_AREA))

/* Each request is answered by one message of its type. */
enum keeper_message_type {
	/* Frees everything, the channel first, and ends. */
	KEEPER_RELEASE = 1,
	/* flags, value: KEEPER_VERSION, size of a new area in pages_seen; with the memory of a dead
	 * keeper, or without. Answer: all descriptors; of a keeper that is dead and whose memory is
	 * free: its process in value, its pages in pages_seen, its share in pages_moved. */
	KEEPER_HELLO,
	KEEPER_TAKE,   /* value: pages. Answer: source, ranges; error PAGES_EXHAUSTED */
	KEEPER_RETURN, /* ranges. Answer: value pages accepted */
	KEEPER_LIST,   /* value: 0, or that of the last answer. Answer: ranges; none: the end */
	KEEPER_VERIFY, /* value: the same. Answer: pages_seen, pages_moved; flags: more */
	KEEPER_PARK,   /* descriptors of a channel, which replace those of the same kinds */
	KEEPER_DROP,   /* closes all of a channel */
	KEEPER_N_MESSAGES,
};

enum keeper_flag {
	KEEPER_ALLOW_HUGE = 1,
	KEEPER_ALLOW_SMALL = 2,
	KEEPER_ALLOW_OVERCOMMIT = 4,
	KEEPER_MORE = 8, /* VERIFY */
	KEEPER_FLAGS = 15,
};

struct keeper_message {
	uint32_t type;     /* enum keeper_message_type */
	int32_t error;     /* answers: as the function returned it that did the work */
	uint32_t flags;    /* enum keeper_flag */
	uint32_t fds;      /* bits: which descriptors come with the message */
	uint64_t value;
	uint64_t pages_seen;
	uint64_t pages_moved;
	uint32_t source;   /* enum pages_source */
	uint32_t n_ranges; /* behind this */
	struct pages_stats stats; /* answers */
};

/* A message with room for all ranges. */
struct keeper_packet {
	struct keeper_message message;
	struct page_range ranges[KEEPER_RANGES_MAX];
};

#define KEEPER_RECORD_MAGIC   0x5045454bu /* "KEEP" */
#define KEEPER_RECORD_VERSION 1u

/* What a keeper that died has left, in a file of the run directory. */
struct keeper_record {
	uint32_t magic;
	uint32_t version;
	char boot_id[KEEPER_BOOT_ID_SIZE];
	uint32_t pid;
	uint32_t reserved;
	uint64_t held_pages;
	struct overcommit_share share;
};

/* The conditions. */
enum {
	KEEPER_MALFORMED = 1, /* message: lengths, descriptors or numbers that cannot be */
	KEEPER_RECORD_NONE,   /* record: nothing, or not of this boot: nothing to learn */
};

/* Bytes of a message with its ranges. */
size_t keeper_message_bytes(const struct keeper_message *message);

/* Checks a message of @size bytes at @packet that came with @n_fds descriptors. KEEPER_MALFORMED. */
_must_check_ int keeper_message_check(const struct keeper_packet *packet, size_t size,
				      size_t n_fds);

/* Puts the @n descriptors at @fds, which came with @message, to their places; the others are -1. */
void keeper_message_sort_fds(const struct keeper_message *message, const int *fds,
			     int ret_fds[KEEPER_N_FDS]);

/* Makes the record of process @pid, which holds nothing yet. */
void keeper_record_init(struct keeper_record *record, const char *boot_id, uint32_t pid);

/* Was this left by a keeper of this boot? KEEPER_RECORD_NONE. */
_must_check_ int keeper_record_check(const struct keeper_record *record, const char *boot_id);
