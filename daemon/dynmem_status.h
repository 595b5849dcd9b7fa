/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem.h"
#include "daemon/memory_work.h"

/*
 * Parts of the memory object in status, and what verifying has found; the caller's. NULL if memory
 * ran out.
 */

/* Where the memory that is out of use comes from. */
json_t *dynmem_status_pages(const struct memory_sources_stats *sources);

/* The running operation of the host's, or the last one. */
json_t *dynmem_status_operation(const struct dynmem_operation *o);

/* What was counted since the daemon started. */
json_t *dynmem_status_counters(const struct dynmem_stats *s);

/* What is held in fact, by VERIFY that went well, against what the host has: the API's answer. */
json_t *dynmem_status_verified(const struct dynmem *core, const struct memory_work *done);
