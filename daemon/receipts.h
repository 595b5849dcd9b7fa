/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "daemon/config.h"
#include "daemon/journal.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * The last receipts: in memory, in files of the state directory, and in the journal.
 */

struct receipts;

/* What receipts are of. */
struct receipts_kind {
	const char *subject;    /* what a message about one begins with */
	const char *folder;     /* in the state directory */
	enum event_name event;  /* the journal's */
	const char *field;      /* begins the names of the journal's fields */
	unsigned (*n_kept)(const struct config *config);
};

extern const struct receipts_kind receipts_of_backups, receipts_of_copies;

/*
 * Reads what is in the state directory and starts a thread that writes. A directory that cannot be
 * used is no error: it is logged, and receipts are kept in memory. Only when nothing is frozen by
 * us. @config and @kind must outlive it. Negative errno.
 */
_must_check_ int receipts_new(struct event_base *base, const struct config *config,
			      const struct receipts_kind *kind, struct receipts **ret_receipts);

/* Writes what has not been written yet. */
struct receipts *receipts_free(struct receipts *r);
DEFINE_CLEANUP(receipts)

/* Gives @take_receipt its number ("id"), keeps it, and has it written by the thread. */
void receipts_add(struct receipts *r, json_t *take_receipt);

/* @on_added is called with each receipt that is added, borrowed for the call; NULL: nobody is. */
void receipts_watch(struct receipts *r, void (*on_added)(void *self, const json_t *receipt), void *self);

/* The @n-th newest, from 1 on, as a new reference; NULL: there are not so many. */
json_t *receipts_get(const struct receipts *r, size_t n);

/* Since the daemon's start: {"classes": {class: number}, and how long writers and hooks took}. */
json_t *receipts_totals(const struct receipts *r);

/* The list, newest first, each with what it takes to choose one. */
json_t *receipts_list(const struct receipts *r);
