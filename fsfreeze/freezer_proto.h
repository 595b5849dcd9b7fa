/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the daemon and the freezer share: the record in memory, and the messages between them.
 * Both are built together, so layout and byte order are the machine's own.
 */

enum {
	FREEZER_ENTRIES_MAX = 512,
	FREEZER_TARGET_SIZE = 512, /* bytes of a path, with the terminator */
	FREEZER_TYPE_SIZE = 32,
	FREEZER_BOOT_ID_SIZE = 40,

	/* The freezer's inherited descriptors. */
	FREEZER_SOCKET_FD = 3,
	FREEZER_RECORD_FD = 4,
	FREEZER_RCU_FD = 5, /* /sys/kernel/rcu_expedited, or /dev/null */

	/* Descriptors that go with one message. Linux include/net/scm.h, SCM_MAX_FD is 253. */
	FREEZER_MESSAGE_FDS_MAX = 250,
};

/* What descriptors on frozen file systems are called in the service manager's store. */
#define FREEZER_STORE_NAME "hvguest-frozen"

#define FREEZER_RECORD_MAGIC   0x5a524648u /* "HFRZ" */
#define FREEZER_RECORD_VERSION 2u

/* The conditions of freezer_record_check(), freezer_record_add() and freezer_message_check(). */
enum {
	FREEZER_RECORD_INVALID = 1, /* not a record of this version, or damaged: nothing to learn */
	FREEZER_RECORD_OTHER_BOOT,  /* nothing in it can be frozen any more */
	FREEZER_RECORD_FULL,
	FREEZER_RECORD_LONG_TARGET, /* the path does not fit */
	FREEZER_MESSAGE_MALFORMED,
};

enum freezer_entry_state {
	FREEZER_ENTRY_IDLE,        /* never frozen, or given up before its turn */
	FREEZER_ENTRY_QUEUED,      /* will be frozen */
	FREEZER_ENTRY_FREEZING,    /* FIFREEZE is in the kernel: frozen any moment */
	FREEZER_ENTRY_FROZEN,      /* by us; with an error: a thaw was tried and failed */
	FREEZER_ENTRY_THAWING,     /* being thawed, or to be thawed as soon as FIFREEZE returns */
	FREEZER_ENTRY_THAWED,      /* with error EINVAL: somebody else had thawed it before us */
	FREEZER_ENTRY_FAILED,      /* could not be frozen */
	FREEZER_ENTRY_FOREIGN,     /* somebody else had frozen it: never thawed by us */
	FREEZER_ENTRY_UNSUPPORTED, /* the kernel cannot freeze it, and best effort was asked for */
	FREEZER_ENTRY_STATES,
};

/* Why a freeze ended. */
enum freezer_reason {
	FREEZER_REASON_NONE, /* it has not */
	FREEZER_REASON_ASKED,
	FREEZER_REASON_DEADLINE,
	FREEZER_REASON_DAEMON_LOST,
	FREEZER_REASON_SIGNAL,
	FREEZER_REASON_FAILED,       /* one file system could not be frozen */
	FREEZER_REASON_FREEZER_LOST, /* thawed by the daemon */
	FREEZER_REASONS,
};

/*
 * One file system. Who moves `state` writes the other fields before; who reads them reads `state`
 * first. Times are ns: frozen_at and thawed_at of CLOCK_BOOTTIME, which nobody sets while something is
 * frozen; the others are durations.
 */
struct freezer_entry {
	char target[FREEZER_TARGET_SIZE];
	char type[FREEZER_TYPE_SIZE];
	uint64_t device; /* of the superblock, as in mountinfo */
	uint64_t mount_id;
	uint32_t level;         /* 0 freezes first and thaws last; one level at a time */
	uint32_t disks;         /* the same for those that share disks */
	_Atomic uint32_t state; /* enum freezer_entry_state */
	int32_t error;          /* errno, positive; 0 = none */
	uint64_t freeze_ns;     /* how long FIFREEZE took */
	uint64_t thaw_ns;       /* how long FITHAW took */
	uint64_t frozen_at_ns;
	uint64_t thawed_at_ns;
};
static_assert(sizeof(struct freezer_entry) == 608, "the record's layout is versioned");

/* How a freeze is to be done: bits of freezer_record.options. */
enum freezer_option {
	FREEZER_OPTION_EXPEDITE = 1, /* have the kernel hurry its grace periods meanwhile */
	FREEZER_OPTION_STRICT = 2,   /* what cannot be frozen makes the freeze fail */
};

struct freezer_record {
	uint32_t magic;
	uint32_t version;
	char boot_id[FREEZER_BOOT_ID_SIZE];
	uint64_t generation; /* counts freezes */
	uint32_t n_entries;
	_Atomic uint32_t reason; /* enum freezer_reason */
	uint64_t daemon_lives[8]; /* a lock that the daemon holds: freezer_io.h */
	_Atomic int32_t rcu_before; /* what rcu_expedited must be set to again; -1: nothing */
	uint32_t options;           /* enum freezer_option */
	struct freezer_entry entries[FREEZER_ENTRIES_MAX]; /* in freeze order */
};
static_assert(offsetof(struct freezer_record, entries) == 136, "the record's layout is versioned");

/* A copy of an entry, for those who only want to know what became of it. */
struct freezer_result {
	char target[FREEZER_TARGET_SIZE];
	char type[FREEZER_TYPE_SIZE];
	uint64_t device;
	uint32_t level;
	enum freezer_entry_state state;
	int error;             /* errno, positive; 0 = none */
	uint64_t freeze_ns;    /* how long FIFREEZE took */
	uint64_t thaw_ns;      /* how long FITHAW took */
	uint64_t frozen_at_ns; /* CLOCK_BOOTTIME; 0 = never */
	uint64_t thawed_at_ns; /* CLOCK_BOOTTIME; 0 = not yet */
};

enum freezer_message_type {
	/* Daemon to freezer. */
	FREEZER_MESSAGE_FREEZE = 1, /* `count` descriptors, for the entries from `first` on */
	FREEZER_MESSAGE_THAW,
	/* Freezer to daemon. */
	FREEZER_MESSAGE_READY,   /* error: why it cannot work */
	FREEZER_MESSAGE_FROZEN,  /* all that can be is frozen */
	FREEZER_MESSAGE_THAWED,  /* once per freeze: nothing is frozen but what `stuck` says */
	FREEZER_MESSAGE_SETTLED, /* after THAWED with `pending`: the kernel has returned */
};

struct freezer_message {
	uint32_t type;
	uint32_t reason; /* THAWED: enum freezer_reason */
	uint64_t generation;
	uint64_t deadline_ns; /* FREEZE: on CLOCK_BOOTTIME */
	uint32_t first;       /* FREEZE: index of an entry; THAWED because it failed: which one */
	uint32_t count;       /* FREEZE: descriptors that come with the message */
	int32_t error;        /* READY, THAWED: errno, positive; 0 = none */
	uint32_t pending;     /* THAWED: not 0 = a system call has not returned yet */
	uint32_t stuck;       /* THAWED: file systems that refused to be thawed */
	uint32_t reserved;
};
static_assert(sizeof(struct freezer_message) == 48, "");

/* Makes @record empty, for this boot. */
void freezer_record_init(struct freezer_record *record, const char *boot_id);

/*
 * Is @record (of sizeof(*record) bytes, from whoever wrote the file) one that can be read?
 * FREEZER_RECORD_INVALID, FREEZER_RECORD_OTHER_BOOT.
 */
_must_check_ int freezer_record_check(const struct freezer_record *record, const char *boot_id);

/* Forgets the entries, for the next freeze. @options: of enum freezer_option. */
void freezer_record_begin(struct freezer_record *record, uint32_t options);

/* One file system to freeze, as the record wants it. */
struct freezer_target {
	const char *target;
	const char *type;
	uint64_t device;
	uint64_t mount_id;
	unsigned int level; /* not less than that of the one before it */
	unsigned int disks; /* the same for those that share disks */
	int fd;             /* on the mount, verified */
};

/* Appends an entry in state QUEUED. FREEZER_RECORD_FULL, FREEZER_RECORD_LONG_TARGET. */
_must_check_ int freezer_record_add(struct freezer_record *record,
				    const struct freezer_target *target);

/* The state, read once; FREEZER_ENTRY_IDLE for a number that is none. */
enum freezer_entry_state freezer_entry_state(const struct freezer_entry *entry);

/*
 * Moves @entry from @from to @to if it is in @from, atomically; false if it is not. That a state
 * may follow the other is asserted. Any thread of either process.
 */
_must_check_ bool freezer_entry_move(struct freezer_entry *entry, enum freezer_entry_state from,
				     enum freezer_entry_state to);

/* Takes away the right to be frozen from an entry that has not had its turn. False: it had. */
bool freezer_entry_cancel(struct freezer_entry *entry);

/* True if FITHAW may be needed on a file system found in @state when nobody works on it. */
bool freezer_entry_may_be_frozen(enum freezer_entry_state state);

/* Copies what a record says of one file system. */
void freezer_result_read(const struct freezer_entry *entry, struct freezer_result *ret_result);

/*
 * Checks a message of @size bytes at @buf that came with @n_fds descriptors, and copies it out.
 * FREEZER_MESSAGE_MALFORMED.
 */
_must_check_ int freezer_message_check(const void *buf, size_t size, size_t n_fds,
				       struct freezer_message *ret_message);

/* Names for machines: "frozen", "thawed", ...; "deadline", "asked", ... */
const char *freezer_entry_state_name(enum freezer_entry_state state);
const char *freezer_reason_name(enum freezer_reason reason);
