/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The way to the host over a character device of a stock kernel, such as /dev/vmbus/hv_vss: the kernel
 * keeps the ring, the framing and the negotiation, and hands on requests. It is opened again and again
 * for as long as this lives.
 */

struct device_link;

enum {
	DEVICE_MESSAGE_MAX = 8192, /* bytes; none of the kernel's devices has longer ones */
};

enum device_event {
	DEVICE_REGISTERED, /* the kernel has seen our registration; never to be answered */
	DEVICE_REQUEST,    /* to be answered once */
	DEVICE_UNKNOWN,    /* neither: the device is opened anew */
};

/* What one kind of device is. */
struct device_kind {
	const char *service; /* what log lines begin with */
	const char *daemon;  /* who else may have it, and how that is stopped: for the remedy */
	const char *offer;   /* what the host has to offer for it to be there: "backup" */
	/* Writes the registration, of the returned size. */
	size_t (*put_registration)(uint8_t ret_message[DEVICE_MESSAGE_MAX]);
	/* What it is that was read. */
	enum device_event (*event)(const void *message, size_t size);
	/* How long the kernel waits for the answer to a request, seconds; a little less. */
	unsigned int (*limit_s)(const void *message, size_t size);
};

struct device_link_user {
	/* The device is open; @message is the kernel's to our registration. May be NULL. */
	void (*on_open)(void *self, const void *message, size_t size);
	/* A request; answer with device_link_answer(), now or later. */
	void (*on_request)(void *self, const void *message, size_t size);
	/* The device is closed: what was asked before is void, and the host may be gone. */
	void (*on_closed)(void *self);
};

/* The condition of device_link_answer(). */
enum {
	DEVICE_LINK_LOST = 1,
};

/* @kind and @path are borrowed; @self is handed to the calls of @ops. -ENOMEM. */
_must_check_ int device_link_new(struct event_base *base, const struct device_kind *kind,
				 const char *path, const struct device_link_user *ops, void *self,
				 struct device_link **ret_link);
struct device_link *device_link_free(struct device_link *l);
DEFINE_CLEANUP(device_link)

/*
 * Answers the open request. DEVICE_LINK_LOST: there is none any more, or the kernel does not wait for
 * it; the host does not get this answer, and on_closed() follows from the event loop.
 */
_must_check_ int device_link_answer(struct device_link *l, const void *message, size_t size);

/* "closed", "registering" or "open"; whether it is that; and why it is not, NULL if it is. */
const char *device_link_state(const struct device_link *l);
bool device_link_is_open(const struct device_link *l);
const char *device_link_problem(const struct device_link *l);
