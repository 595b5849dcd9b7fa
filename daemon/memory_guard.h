/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/dynmem_wire.h"
#include "base/cleanup.h"
#include "daemon/config.h"
#include "policy/guard.h"
#include "policy/report.h"

#include <event2/event.h>
#include <jansson.h>

/*
 * This machine's memory figures: what is reported of them, and what may be given by them.
 */

struct memory_guard;

/*
 * @on_stall is called from the event loop when tasks begin to wait for memory, twice a second at
 * most; not at all where the kernel does not tell. Negative errno: /proc cannot be read.
 */
_must_check_ int memory_guard_new(struct event_base *base, const struct config *config,
				  void (*on_stall)(void *user), void *user,
				  struct memory_guard **ret_guard);
struct memory_guard *memory_guard_free(struct memory_guard *guard);
DEFINE_CLEANUP(memory_guard)

/*
 * Reads the figures for a status report. @is_taking: memory is being taken just now, so that tasks
 * which wait prove nothing. What cannot be read leaves the last figures.
 */
void memory_guard_report(struct memory_guard *guard, const struct report_ballooned *ballooned,
			 bool is_taking, struct dynmem_status_report *ret_figures);

/* Another request of the host begins, for @want_pages. */
void memory_guard_begin(struct memory_guard *guard, uint64_t want_pages);

/* Reads the figures and says what may be taken of @want_pages more (at least 1) just now. */
struct guard_decision memory_guard_ask(struct memory_guard *guard,
				       const struct report_ballooned *ballooned,
				       uint64_t want_pages);

/* The request has ended with @got_pages; @why is a text of a literal, or NULL: it got them all. */
void memory_guard_end(struct memory_guard *guard, uint64_t got_pages, const char *why);

/* Less than @bytes are free: it would help to make some free in advance. */
bool memory_guard_is_tight(const struct memory_guard *guard, uint64_t bytes);

/* Adds what the last report said to the status of dynamic memory; nothing before the first. */
void memory_guard_add_status(const struct memory_guard *guard, json_t *status);

/* Every number of the last report and of the last request: inputs, rule, outcome. */
json_t *memory_guard_why(const struct memory_guard *guard);
