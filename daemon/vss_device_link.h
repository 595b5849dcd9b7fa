/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The way to the host over /dev/vmbus/hv_vss: the kernel keeps the ring, the framing and the
 * negotiation, and hands on requests. It is opened again and again for as long as this lives.
 */

struct vss_device_link;

struct vss_device_link_user {
	/* A request; answer with vss_device_link_answer(), now or later. */
	void (*on_request)(void *self, const void *message, size_t size);
	/* The device is closed: what was asked before is void, and the host may be gone. */
	void (*on_closed)(void *self);
};

/* The condition of vss_device_link_answer(). */
enum {
	VSS_DEVICE_LINK_LOST = 1,
};

/* @path is borrowed; @self is handed to the calls of @ops. -ENOMEM. */
_must_check_ int vss_device_link_new(struct event_base *base, const char *path,
				     const struct vss_device_link_user *ops, void *self,
				     struct vss_device_link **ret_link);
struct vss_device_link *vss_device_link_free(struct vss_device_link *l);
DEFINE_CLEANUP(vss_device_link)

/*
 * Answers the open request. VSS_DEVICE_LINK_LOST: there is none any more, or the kernel does not
 * wait for it; the host does not get this answer, and on_closed() follows from the event loop.
 */
_must_check_ int vss_device_link_answer(struct vss_device_link *l, uint32_t status);

/* "closed", "registering" or "open"; and why it is not open, NULL if it is. */
const char *vss_device_link_state(const struct vss_device_link *l);
const char *vss_device_link_problem(const struct vss_device_link *l);
