/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>

/*
 * Tells at once when tasks begin to wait for memory. Not safe for two threads at a time.
 */

/* The condition of stall_trigger_new(). */
enum {
	STALL_TRIGGER_UNAVAILABLE = 1, /* this kernel does not measure stalls, or not for us */
};

#define STALL_TRIGGER_PATH "/proc/pressure/memory"

struct stall_trigger;

/* @path is STALL_TRIGGER_PATH. STALL_TRIGGER_UNAVAILABLE, -ENOMEM and others. */
_must_check_ int stall_trigger_new(const char *path, struct stall_trigger **ret_trigger);
struct stall_trigger *stall_trigger_free(struct stall_trigger *trigger);
DEFINE_CLEANUP(stall_trigger)

/* Readable when tasks wait for memory; owned by the trigger. */
int stall_trigger_fd(const struct stall_trigger *trigger);

/*
 * To be called whenever the descriptor was readable. True: tasks waited for memory for a tenth of the
 * last half second or more; without CAP_SYS_RESOURCE for a twentieth of two seconds, a while ago.
 * False: the kernel has ended the trigger; it does not come back.
 */
bool stall_trigger_take(struct stall_trigger *trigger);
