/* SPDX-License-Identifier: MIT */
#pragma once

#include "daemon/config.h"
#include "fsfreeze/freezer_client.h"
#include "fsfreeze/mounts.h"

#include <jansson.h>

/*
 * What one freeze is about: the plan, made for it alone, and what was opened for it.
 */

struct freeze_set {
	struct mounts *mounts;
	struct freeze_plan *plan;
	int *fds;    /* for each entry of the plan; -1: not opened */
	bool *given; /* for each entry of the plan: the freezer was given it */
	int *errors; /* for each entry of the plan: why it could not be opened; errno, positive */
	char why[FREEZER_TARGET_SIZE + 128];
};

/*
 * Reads the mount table and makes the plan that @config asks for, in the place of what is in @set.
 * Nothing but the plan is made. NULL, or why nothing can be frozen; there may be a plan even then.
 * The text is static, or strerror()'s.
 */
const char *freeze_set_plan(struct freeze_set *set, const struct config *config);

/* Writes the numbers of what is planned to be frozen, "8:1 253:0"; cut if it does not fit. */
void freeze_set_devices(const struct freeze_set *set, char *text, size_t size);

/*
 * Opens what is to be frozen; what was unmounted meanwhile needs no freezing. NULL, or why not: the
 * text is part of @set.
 */
const char *freeze_set_open(struct freeze_set *set);

/* Has the freezer begin with what is open. NULL, or why it does not. */
const char *freeze_set_start(const struct freeze_set *set, struct freezer_client *freezer,
			     uint64_t timeout_ns);

/* Closes everything, and forgets the plan. */
void freeze_set_close(struct freeze_set *set);

/*
 * The plan for people and programs: an object with one line for each file system, and what it
 * amounts to: "ok", "degraded" (not everything can be frozen) or "refused". @problem: why nothing
 * can be frozen at all, or NULL. NULL if memory ran out.
 */
json_t *freeze_set_describe(const struct freeze_set *set, const struct config *config,
			    const char *problem);
