/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/backup.h"
#include "host/board.h"
#include "host/guest_kvp.h"

/*
 * The backups of this host: those under way, and the last that have ended, each with the receipt that
 * its guest has written about it. They are on the board, too. For the event loop's thread.
 */

struct backups;

enum {
	BACKUPS_MAX = 32,
};

struct backups_config {
	struct event_base *base;
	struct board *board; /* borrowed, as base is */
	/* The guest's key-value exchange; NULL: it is not there (any more). */
	struct guest_kvp *(*find_kvp)(void *user, const char *guest);
	void *user;
};

/* None yet. -ENOMEM. */
_must_check_ int backups_new(const struct backups_config *config, struct backups **ret_backups);

/* When no guest is there any more and no worker runs. Takes NULL; returns NULL. */
struct backups *backups_free(struct backups *b);
DEFINE_CLEANUP(backups)

/* Forgets the oldest that has ended, if that is needed. False: as many as there can be are under way. */
bool backups_make_room(struct backups *b);

/* For the next one. */
unsigned int backups_next_id(struct backups *b);

/* Keeps one that is to begin, which is its own after 0; after backups_make_room(). -ENOMEM. */
_must_check_ int backups_add(struct backups *b, const char *guest, struct backup *backup);

/* The one that was added last could not begin: it is freed. */
void backups_refused(struct backups *b);

/* What backup_status() has, "started" and, if it is known, "receipt"; NULL: there is none of this number. */
json_t *backups_get(struct backups *b, unsigned int id);

/* All, the newest first: {"schema", "backups": [...]}, with a sum in place of each one's images. */
json_t *backups_list(const struct backups *b);
