/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "fsfreeze/freezer_proto.h"
#include "fsfreeze/mounts.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The daemon's end of the freezer: starts it, asks it, and thaws in its place if it dies.
 *
 * Each freeze that freezer_client_freeze() accepts ends with exactly one of the events FAILED,
 * THAWED and LOST; FROZEN may come before. One thread, the one that called freezer_client_new(),
 * and it must live as long as the client: its death is the daemon's death for the helper.
 */

/* The conditions of freezer_client_new() and _respawn(). */
enum {
	/* Another daemon runs, or its freezer is not done yet. */
	FREEZER_CLIENT_BUSY = 1,
	/* The run directory is not in memory (tmpfs): the record could be frozen with the rest. */
	FREEZER_CLIENT_NOT_IN_MEMORY,
	/* The helper did not start, or not in time. */
	FREEZER_CLIENT_NO_HELPER,

	/* The conditions of freezer_client_freeze(). */
	FREEZER_CLIENT_DOWN,        /* the freezer is gone: respawn it first */
	FREEZER_CLIENT_UNFINISHED,  /* the last freeze is not over, or would not thaw */
	FREEZER_CLIENT_TOO_MANY,    /* more than FREEZER_ENTRIES_MAX */
	FREEZER_CLIENT_LONG_TARGET, /* a path does not fit into the record */

	/* The condition of freezer_client_dispatch(). */
	FREEZER_CLIENT_NO_EVENT,
};

struct freezer_client_config {
	const char *helper;  /* path of hvguest-freezer; NULL = where it is installed */
	const char *run_dir; /* on a tmpfs; the record is kept there */
	uint64_t lock_timeout_ns; /* wait for a predecessor's freezer; 0 = 5 s */
	uint32_t options;         /* enum freezer_option, for every freeze */
	enum mounts_of whose;     /* mounts to look for what a predecessor left frozen */
	const char *kernel_dir;   /* where rcu_expedited is; NULL = /sys/kernel */
};

enum freezer_event_type {
	FREEZER_EVENT_FROZEN, /* everything that can be frozen is */
	FREEZER_EVENT_FAILED, /* it ended before FROZEN; nothing is frozen */
	FREEZER_EVENT_THAWED, /* as asked (also before FROZEN), or FROZEN ended by itself */
	FREEZER_EVENT_LOST,   /* the freezer died, and the client has thawed; respawn it */
};

struct freezer_event {
	enum freezer_event_type type;
	enum freezer_reason reason;
	int error;        /* FAILED: errno, positive */
	size_t failed;    /* FAILED: index of the result that failed, or the number of results */
	bool was_frozen;  /* LOST: a freeze ended by this */
	size_t n_pending; /* not yet known to be thawed: a system call has not returned */
	size_t n_stuck;   /* refused to be thawed: still frozen */
	size_t n_foreign_thaws; /* had been thawed by somebody else: the copy is not consistent */
};

struct freezer_client;

/*
 * Takes the record in config->run_dir for this process alone, thaws what a predecessor left frozen,
 * and starts the helper. Waits for the lock (5 s unless configured) and for the helper (5 s).
 * FREEZER_CLIENT_BUSY, FREEZER_CLIENT_NOT_IN_MEMORY, FREEZER_CLIENT_NO_HELPER.
 */
_must_check_ int freezer_client_new(const struct freezer_client_config *config,
				    struct freezer_client **ret_client);

/* Ends the helper and leaves nothing frozen. Takes NULL; returns NULL. */
struct freezer_client *freezer_client_free(struct freezer_client *client);
DEFINE_CLEANUP(freezer_client)

/*
 * What freezer_client_new() found possibly frozen: valid as long as the client. State THAWED: it
 * is not frozen now (error EINVAL: it was not frozen any more). State FROZEN: it may still be,
 * and error says why (ENOENT: it is mounted nowhere in sight).
 */
const struct freezer_result *freezer_client_recovered(const struct freezer_client *client,
						      size_t *ret_n);

/* Readable when freezer_client_dispatch() has something to do. Borrowed; the same for ever. */
int freezer_client_fd(const struct freezer_client *client);

/*
 * Freezes @targets level by level, those of one level at the same time; they thaw in reverse,
 * @timeout_ns (> 0) from now at the latest. They must be in the order of their levels. The descriptors stay the caller's. FREEZER_CLIENT_DOWN, FREEZER_CLIENT_UNFINISHED,
 * FREEZER_CLIENT_TOO_MANY, FREEZER_CLIENT_LONG_TARGET; then nothing has been begun.
 */
_must_check_ int freezer_client_freeze(struct freezer_client *client,
				       const struct freezer_target *targets, size_t n,
				       uint64_t timeout_ns);

/* Asks for the thaw, if a freeze is under way. The event THAWED (or another end) follows. */
void freezer_client_thaw(struct freezer_client *client);

/* True from an accepted freeze to the event that ends it. */
bool freezer_client_is_active(const struct freezer_client *client);

/* The next event. FREEZER_CLIENT_NO_EVENT. */
_must_check_ int freezer_client_dispatch(struct freezer_client *client,
					 struct freezer_event *ret_event);

/* Starts a new helper after LOST. FREEZER_CLIENT_BUSY (the old one is not gone yet), _NO_HELPER. */
_must_check_ int freezer_client_respawn(struct freezer_client *client);

/* The file systems of the last freeze, in freeze order. */
size_t freezer_client_n_results(const struct freezer_client *client);
void freezer_client_result(const struct freezer_client *client, size_t i,
			   struct freezer_result *ret_result);

/* The helper's process id, for status; 0 if there is none. */
int freezer_client_helper_pid(const struct freezer_client *client);
