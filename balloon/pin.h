/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Long-term pins on memory of this process: while one lasts, the kernel does not move the pages to
 * other frames. Not safe for two threads at a time.
 */

/* The conditions of this object. */
enum {
	PIN_UNAVAILABLE = 1, /* new: this kernel, or its administrator, has no io_uring for us */
	PIN_REFUSED,         /* memory: it may not be locked, or cannot leave where nothing is pinned */
};

#define PIN_BYTES_MAX (UINT64_C(1) << 30) /* one pin; Linux io_uring/rsrc.c */

struct pin;

/* PIN_UNAVAILABLE, -ENOMEM. */
_must_check_ int pin_new(struct pin **ret_pin);

/* Ends all pins. */
struct pin *pin_free(struct pin *pin);
DEFINE_CLEANUP(pin)

/*
 * Pins @bytes (1..PIN_BYTES_MAX) of readable and writable memory at @address. The pages may move
 * to other frames while the pin is made, and no more after it. The memory may be pinned by other
 * pins as well. Needs CAP_IPC_LOCK or a sufficient RLIMIT_MEMLOCK. PIN_REFUSED, negative errno.
 */
_must_check_ int pin_memory(struct pin *pin, void *address, size_t bytes, uint32_t *ret_slot);

/* Ends one pin. If it fails the pin is still there. */
_must_check_ int pin_release(struct pin *pin, uint32_t slot);
