/* SPDX-License-Identifier: MIT */
#pragma once

#include "services/kvp_journal.h"

#include <sys/types.h>

/*
 * The journal of services/kvp_journal.h as a file beside the pools.
 */

#define KVP_JOURNAL_NAME ".kvp_journal"

enum {
	KVP_ASIDE_SIZE = 48,
};

/* All @len bytes, or a negative errno. */
_must_check_ int kvp_write_at(int fd, const void *data, size_t len, off_t offset);

/* As many of the @len bytes as there are: their number, or a negative errno. */
_must_check_ ssize_t kvp_read_at(int fd, void *data, size_t len, off_t offset);

/* The condition of kvp_journal_open(). */
enum {
	KVP_JOURNAL_ABSENT = 1, /* there is none, and none was to be made */
};

struct kvp_journal {
	int fd;            /* -1: not open */
	uint64_t number;   /* of the last transaction that is in it, or was to be */
	unsigned int area; /* that it is in */
	size_t last_at;    /* where there */
	size_t end;        /* where the next one of its chain goes; 0: it has no next one */
	char aside[KVP_ASIDE_SIZE]; /* what was there was no journal, and has this name now; "": it was */
};

/* A journal that is not open. */
void kvp_journal_init(struct kvp_journal *j);
void kvp_journal_fini(struct kvp_journal *j);

/*
 * Opens the journal in the folder @dir_fd; one that is not there is made if @make. As long as it is
 * open, no other process can open it: -EBUSY. *ret_txn: the last of what was begun and is not known
 * to be done, the caller's; NULL: nothing. KVP_JOURNAL_ABSENT, negative errno. If it is open already,
 * nothing happens and *ret_txn is NULL.
 */
_must_check_ int kvp_journal_open(struct kvp_journal *j, int dir_fd, bool make,
				  struct kvp_txn **ret_txn);

/* True if @txn may be written behind @last, which was written last; see kvp_txn_may_follow(). */
bool kvp_journal_may_follow(const struct kvp_journal *j, const struct kvp_txn *txn,
			    const struct kvp_txn *last);

/*
 * Gives @txn the next number and puts it on the disk: behind the last one if it @follows, else over
 * the last chain but one, when the last one is in its pool's file, and that on the disk. On failure
 * it is as if it had never been there, unless the disk refuses that, too. Negative errno.
 */
_must_check_ int kvp_journal_write(struct kvp_journal *j, struct kvp_txn *txn, bool follows);

/* Takes back the last transaction, and ends its chain. Negative errno: it may come back. */
_must_check_ int kvp_journal_abort(struct kvp_journal *j);

/* Notes, without waiting for the disk, that the last chain is done up to @number. */
void kvp_journal_done(struct kvp_journal *j, uint64_t number);
