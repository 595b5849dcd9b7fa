/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "daemon/config.h"
#include "fsfreeze/notify.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * The notify socket: notify.sock in the run directory.
 */

struct bind_notify;

struct bind_notify_user {
	/* All have answered or had their time (@why NULL), or one that is required does not hold. */
	void (*on_ready)(void *self, const char *why);
};

/*
 * Listens. A socket that cannot be made is no error, it is logged. @config must outlive it; @self is
 * handed to the calls of @ops. -ENOMEM.
 */
_must_check_ int bind_notify_new(struct event_base *base, const struct config *config,
				 const struct bind_notify_user *ops, void *self,
				 struct bind_notify **ret_notify);
struct bind_notify *bind_notify_free(struct bind_notify *b);
DEFINE_CLEANUP(bind_notify)

/* Tells all of a freeze. on_ready() follows, at once if there is nobody, unless _back() comes first. */
void bind_notify_freeze(struct bind_notify *b);

/* Tells those that were told how it has ended; nothing is waited for. */
void bind_notify_back(struct bind_notify *b, enum notify_end end);

/* Those that were told of the last freeze, for the receipt. */
json_t *bind_notify_report(const struct bind_notify *b);
size_t bind_notify_count(const struct bind_notify *b);
size_t bind_notify_count_failed(const struct bind_notify *b);
