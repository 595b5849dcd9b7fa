/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/freezer_proto.h"

/*
 * Expedited RCU grace periods, for as long as file systems are being frozen.
 */

/*
 * Opens the kernel's knob in @dir (/sys/kernel). -1 if there is none, or it must not be turned:
 * then the other functions do nothing.
 */
int rcu_open(const char *dir);

/*
 * Expedites, if the record's options ask for it and the kernel does not do so already. The old
 * value is in the record before it is changed. Neither allocates nor opens anything.
 */
void rcu_expedite(struct freezer_record *record, int knob_fd);

/* Sets what the record says again, if it says anything. Any number of times, by anybody. */
void rcu_restore(struct freezer_record *record, int knob_fd);
