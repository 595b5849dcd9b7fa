/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "vmbus/port.h"
#include "vmbus/shm_wire.h"

#include <event2/event.h>

/*
 * The lab: the host's end of the shm transport. It listens for guests on this machine, offers them
 * channels, and hands over the rings when a guest opens one. docs/PROTOCOL-vmbus.md section 10.
 */

struct lab;
struct lab_guest;

/* The conditions. */
enum {
	LAB_IN_USE = 1,  /* lab_new(): another host listens at this path */
	LAB_NOT_OFFERED, /* lab_rescind(): the guest has no such channel */
};

/* What the user of a lab is told; @user is what lab_new() was given. */
struct lab_ops {
	/*
	 * A guest has introduced itself. Anything but SHM_OK turns it away; with SHM_OK,
	 * *ret_context goes to the later calls.
	 */
	enum shm_status (*on_hello)(void *user, struct lab_guest *guest, const char *name,
				    uint64_t memory_pages, void **ret_context);
	/* The guest knows that it is welcome: the time for lab_offer(). */
	void (*on_ready)(void *context);
	/* A guest has opened a channel; the port is the callee's. */
	void (*on_open)(void *context, const struct vmbus_guid *class_id,
			struct vmbus_port *take_port);
	/* A guest has closed a channel (it may open it again), or lab_rescind() has. */
	void (*on_close)(void *context, const struct vmbus_guid *class_id);
	/* The guest is gone, with all its channels. The handle is invalid after this call. */
	void (*on_gone)(void *context);
	/* A guest has let go of a rescinded channel: there is room for another one. May be NULL. */
	void (*on_release)(void *context);
};

/* Listens at @path (mode 0600). LAB_IN_USE, negative errno. */
_must_check_ int lab_new(struct event_base *base, const char *path, const struct lab_ops *ops,
			 void *user, struct lab **ret_lab);

/* Drops all guests, telling on_gone() for each, and stops listening. */
struct lab *lab_free(struct lab *lab);
DEFINE_CLEANUP(lab)

/*
 * Offers one channel of @class_id to the guest. -ENOMEM; -ENOSPC until the guest has let go of others
 * that were taken from it.
 */
_must_check_ int lab_offer(struct lab_guest *guest, const struct vmbus_guid *class_id);

/* Takes an offered channel back; if it was open, calls on_close(). LAB_NOT_OFFERED. */
_must_check_ int lab_rescind(struct lab_guest *guest, const struct vmbus_guid *class_id);
