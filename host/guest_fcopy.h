/* SPDX-License-Identifier: MIT */
#pragma once

#include "host/file_copy.h"
#include "host/guest_service.h"

/*
 * A guest's file copy: the channel, and the copy that uses it.
 */

struct guest_fcopy;

/* The conditions of guest_fcopy_start(). */
enum {
	GUEST_FCOPY_NOT_READY = 1, /* the guest has no channel for it, or is not through negotiating */
	GUEST_FCOPY_RUNNING,       /* one is under way */
	GUEST_FCOPY_BAD_NAME,      /* the protocol has no way to say such a name */
};

/* -ENOMEM. */
_must_check_ int guest_fcopy_new(const struct guest_service_context *context,
				 struct guest_fcopy **ret_fcopy);

/* As the guest sees it; valid as long as @g is. When it is freed, a copy under way fails. */
struct guest_service guest_fcopy_service(struct guest_fcopy *g);

/* Begins @copy, which is borrowed until it has ended. The conditions above, negative errno. */
_must_check_ int guest_fcopy_start(struct guest_fcopy *g, struct file_copy *copy);

/* Has the guest forget @copy, if it is under way here. */
void guest_fcopy_cancel(struct guest_fcopy *g, const struct file_copy *copy);
