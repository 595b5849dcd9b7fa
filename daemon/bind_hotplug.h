/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "daemon/config.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * Memory blocks that come and go: new ones are brought online by policy, whoever adds them; and
 * somebody is told of each that comes online.
 */

struct bind_hotplug;

/* What the binding works with; all borrowed. */
struct bind_hotplug_context {
	struct event_base *base;
	const struct config *config;
	/* A block has come online, or more has happened than could be followed. */
	void (*on_online)(void *user);
	void *user;
};

/* A machine without memory blocks or netlink is no error: status says so. Negative errno. */
_must_check_ int bind_hotplug_new(const struct bind_hotplug_context *context,
				  struct bind_hotplug **ret_binding);

/* A block that is being brought online is waited for. */
struct bind_hotplug *bind_hotplug_free(struct bind_hotplug *b);
DEFINE_CLEANUP(bind_hotplug)

/* For status: policy, what was added and what became of it, the kernel's own balloon. */
json_t *bind_hotplug_status(const struct bind_hotplug *b);
