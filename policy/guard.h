/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "policy/figures.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * May this machine give more memory just now? Asked before each slice that is taken for the host.
 * All amounts are pages of 4 KiB; every _now_ns is the same monotonic clock.
 */

enum guard_verdict {
	GUARD_GO,   /* `pages` may be taken */
	GUARD_WAIT, /* take nothing, and ask again at `until_ns` */
	GUARD_STOP, /* no more for this request */
};

/* Why less is given than was wanted. */
enum guard_reason {
	GUARD_PLENTY,   /* all may be given */
	GUARD_FLOOR,    /* no more is available above the floor */
	GUARD_STALLED,  /* tasks of this machine waited for memory */
	GUARD_OOM,      /* the kernel has killed a task for want of memory */
	GUARD_RECOVERS, /* one of the last two, not long ago */
	GUARD_N_REASONS,
};

struct guard_config {
	uint32_t stall_percent; /* tasks may wait for such a share of the time; 0: not looked at */
	uint64_t look_ns;       /* how long to look when in doubt, at least 1 */
	uint64_t recover_ns;    /* give nothing for so long after a stall */
};

struct guard_decision {
	enum guard_verdict verdict;
	enum guard_reason reason;
	uint64_t pages;    /* GO: 1 to what was wanted */
	uint64_t until_ns; /* WAIT */
};

struct guard {
	struct guard_config config;
	bool has_request;
	bool looking;
	uint64_t look_began_ns;
	uint64_t stall_us;  /* at the last slice's start, or when the look began */
	uint64_t refaults;  /* at the last slice's start */
	uint64_t oom_kills; /* at the request's beginning */
	uint64_t recovers_until_ns;

	uint32_t seen_percent; /* what the last look found */
	uint64_t stops[GUARD_N_REASONS]; /* requests that got less, by reason */
};

/* 10 percent, a tenth of a second, a minute. */
void guard_config_init(struct guard_config *config);
void guard_init(struct guard *guard, const struct guard_config *config);

/* Another request of the host begins. */
void guard_begin(struct guard *guard);

/* May @want_pages (at least 1) be taken, when @may_give_pages are available above the floor? */
struct guard_decision guard_ask(struct guard *guard, const struct memory_figures *figures,
				uint64_t may_give_pages, uint64_t want_pages, uint64_t now_ns);

/* For the log and for status. */
const char *guard_reason_name(enum guard_reason reason);
const char *guard_reason_text(enum guard_reason reason);
