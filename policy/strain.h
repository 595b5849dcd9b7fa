/* SPDX-License-Identifier: MIT */
#pragma once

#include "policy/figures.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * How much more memory a machine would need, by what it suffers: pages that were dropped and had to
 * be read again, and tasks that waited for memory. All amounts are pages of 4 KiB.
 */

struct strain_config {
	uint32_t target_percent; /* tasks may wait for such a share of the time, 1 to 50 */
	uint32_t page_pages;     /* pages of 4 KiB in one of this machine's, at least 1 */
};

/* What happened since the last look. */
struct strain_seen {
	uint64_t passed_us;
	uint64_t stalled_us; /* in which some task waited for memory, at most passed_us */
	uint64_t refaults;   /* pages of this machine's size that came back */
	bool at_limit; /* the group that is looked at suffers of its own limit, not for want of memory */
};

struct strain {
	struct strain_config config;
	struct strain_seen seen; /* the last one */
	uint64_t refault_pages;  /* came back within half a minute or so */
	uint64_t stall_pages;    /* in proportion to the waiting, falling within some ten seconds */
	uint64_t target_pages;   /* what a controller that aims at target_percent has come to */
};

/* 1 percent, pages of 4 KiB. */
void strain_config_init(struct strain_config *config);
void strain_init(struct strain *strain, const struct strain_config *config);

/*
 * What happened between two readings, @passed_ns apart. Counters that went backwards, and stalls that
 * one of the two does not have, count as nothing.
 */
struct strain_seen strain_between(const struct memory_figures *now,
				  const struct memory_figures *before, uint64_t passed_ns);

/* The same of a group, where its counters and its limit are known. */
struct strain_seen strain_of_group(const struct memory_group *now, const struct memory_group *before,
				   uint64_t passed_ns);

/*
 * Takes one more look into account, for a machine that has @in_use_pages. Not of a time in which
 * memory was being taken for the host, which makes tasks wait.
 */
void strain_observe(struct strain *strain, const struct strain_seen *seen, uint64_t in_use_pages);
