/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * What the kernel says when memory blocks come, go and change.
 */

enum {
	UEVENT_SIZE_MAX = 8192, /* bytes of a message; Linux include/linux/kobject.h, UEVENT_BUFFER_SIZE
				 * and the header */
	UEVENT_BEGINNINGS_MAX = 4,
	UEVENT_BEGINNING_MAX = 40, /* bytes */
};

/* The conditions of this object. */
enum {
	UEVENT_OTHER = 1, /* parse: it is not about a memory block */
	UEVENT_AGAIN,     /* receive: there is no message now */
	UEVENT_LOST,      /* receive: there were more than could be kept: look at all blocks */
};

enum uevent_action {
	UEVENT_ADD,     /* a block is there that was not */
	UEVENT_REMOVE,
	UEVENT_ONLINE,  /* it is online, whoever did that */
	UEVENT_OFFLINE,
};

struct uevent {
	enum uevent_action action;
	uint64_t block; /* its number */
};

/* Reads one message of @size bytes. UEVENT_OTHER. */
_must_check_ int uevent_parse(const char *message, size_t size, struct uevent *ret_event);

/*
 * A socket that is readable while the kernel has something to say that begins with one of the
 * @n_beginnings strings, each "ACTION@PATH" as far as it matters; other messages wake nobody. Not
 * blocking. @n_beginnings is UEVENT_BEGINNINGS_MAX at most, each of UEVENT_BEGINNING_MAX bytes.
 * Negative errno.
 */
_must_check_ int uevent_open(const char *const *beginnings, size_t n_beginnings, int *ret_fd);

/* The same for what uevent_receive() takes. */
_must_check_ int uevent_open_memory(int *ret_fd);

/*
 * The next message about a memory block; others are passed over. What does not come from the
 * kernel is ignored. UEVENT_AGAIN, UEVENT_LOST; negative errno.
 */
_must_check_ int uevent_receive(int fd, struct uevent *ret_event);
