/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem.h"
#include "memhotplug/adder.h"

#include <jansson.h>

/*
 * The host's hot-add requests, carried out. The worker runs; everything else is for the event loop,
 * and not while the worker runs.
 */

struct hot_add;

/* Finds out how this machine can add memory, if it can; logs. Loads modules. -ENOMEM. */
_must_check_ int hot_add_new(struct hot_add **ret_hot_add);
struct hot_add *hot_add_free(struct hot_add *h);
DEFINE_CLEANUP(hot_add)

/* Whether the host should be told that memory can be added. */
bool hot_add_is_possible(const struct hot_add *h);

/* Takes note of what DYNMEM_ACTION_HOT_ADD asks for. */
void hot_add_begin(struct hot_add *h, const struct dynmem_action *action);

/* In the worker's thread: adds the memory. */
void hot_add_run(struct hot_add *h);

/* Tells @core what came of it; logs. */
void hot_add_finish(struct hot_add *h, struct dynmem *core);

/* For status: {"method", "added_bytes", "problem"}. */
json_t *hot_add_status(const struct hot_add *h);
