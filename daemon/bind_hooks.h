/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "daemon/config.h"
#include "fsfreeze/hook_sequence.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * Hooks, bound to the event loop: finds them, runs them in their order, and keeps the record.
 */

struct bind_hooks;

struct bind_hooks_user {
	/* All hooks hold (@why NULL), or one has failed and all are being called back. */
	void (*on_ready)(void *self, const char *why);
	/* No hook holds anything any more. */
	void (*on_back)(void *self);
};

/* @config must outlive it; @self is handed to the calls of @ops. -ENOMEM. */
_must_check_ int bind_hooks_new(struct event_base *base, const struct config *config,
				const struct bind_hooks_user *ops, void *self,
				struct bind_hooks **ret_hooks);

/* Runs nothing any more. What hooks hold is for the next daemon to end; the record is kept. */
struct bind_hooks *bind_hooks_free(struct bind_hooks *h);
DEFINE_CLEANUP(bind_hooks)

/*
 * Calls back what a predecessor's hooks hold, with ABORT. True: there are some, and on_back() comes
 * when it is done. Only before the first bind_hooks_freeze().
 */
bool bind_hooks_recover(struct bind_hooks *h);

/*
 * Finds the hooks and runs FREEZE. on_ready() follows, at once if there are none. They are told
 * @timeout_ns, after which everything thaws by itself, and @devices, the numbers of what is to be
 * frozen: "8:1 253:0".
 */
void bind_hooks_freeze(struct bind_hooks *h, uint64_t timeout_ns, const char *devices);

/*
 * Calls the hooks back with THAW or ABORT; the one that runs FREEZE now is ended first. on_back()
 * follows, at once if none has begun.
 */
void bind_hooks_back(struct bind_hooks *h, enum hook_event event);

/*
 * The hooks that a freeze would call now, in their order, for the plan. @why becomes "", or why they
 * would end it: one that is not optional must not be run, they cannot be listed, or nobody runs them.
 */
json_t *bind_hooks_plan(const struct bind_hooks *h, char *why, size_t size);

/* The hooks of the last freeze, for the receipt; their outputs are text. */
json_t *bind_hooks_report(const struct bind_hooks *h);

/* How many there were, and how many of them did not do what they should have. */
size_t bind_hooks_count(const struct bind_hooks *h);
size_t bind_hooks_count_failed(const struct bind_hooks *h);
