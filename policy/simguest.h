/* SPDX-License-Identifier: MIT */
#pragma once

#include "policy/figures.h"
#include "policy/fleet.h"

/*
 * The memory of a simulated guest: what is resident, what has to be read again, and for how long its
 * tasks wait for that. docs/POLICY.md has the model and where its numbers come from.
 */

/* What memory costs; the same for every policy. */
enum {
	SIMGUEST_TAKE_PAGES_PER_S = 262144,     /* 1 GiB: memory taken out of use */
	SIMGUEST_GIVE_PAGES_PER_S = 8 * 262144, /* 8 GiB: memory put back into use */
	SIMGUEST_FAULT_NS = 13750,              /* a page that has to be read again */
	SIMGUEST_TOUCH_S = 10,                  /* in which every hot page is used */
};

struct simguest {
	uint64_t maximum_pages;  /* what the guest sees: it gave the rest */
	uint64_t assigned_pages;

	struct fleet_load load;
	uint64_t needed_pages;   /* kernel, hot private memory and files */
	uint64_t resident_pages; /* of those */
	uint64_t cold_pages;     /* resident, of the load's */
	uint64_t cache_pages;    /* of files that were read once */
	uint64_t stalled_us;     /* in the last second */

	/* Since the start, as the kernel counts. */
	uint64_t refaults;
	uint64_t swapped_out_pages;
	uint64_t some_us;
	uint64_t full_us;
};

/* With everything resident that @assigned_pages have room for. */
void simguest_init(struct simguest *g, uint64_t maximum_pages, uint64_t assigned_pages,
		   const struct fleet_load *load);

/*
 * A second passes with @load. @absent_permille of its memory is not there, because the host gave
 * more than it has.
 */
void simguest_step(struct simguest *g, const struct fleet_load *load, uint32_t absent_permille);

/* What it needs so that nobody waits, with what the kernel keeps free. */
uint64_t simguest_wanted_pages(const struct simguest *g);

/* What its kernel would say, with the balloon in huge pages. */
void simguest_figures(const struct simguest *g, struct memory_figures *ret_figures);
