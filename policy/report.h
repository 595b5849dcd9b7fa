/* SPDX-License-Identifier: MIT */
#pragma once

#include "policy/figures.h"
#include "policy/floor.h"

#include <stdint.h>

/*
 * From the kernel's figures to the status report, as a host expects them from Linux. All pages
 * have 4 KiB.
 */

/* What the host has of this machine's memory, by the way it was taken out of use. */
struct report_ballooned {
	uint64_t huge_pages;  /* in huge pages: still in MemTotal, not in Committed_AS */
	uint64_t small_pages; /* in 4 KiB pages: still in MemTotal, and in Committed_AS */
	uint64_t block_pages; /* in whole memory blocks: in neither */
};

struct report {
	/*
	 * Linux reports these two. Committed is what the host compares with what it has assigned;
	 * it has to contain the balloon and a floor, or an idle guest would be drained.
	 * Source: Linux drivers/hv/hv_balloon.c, post_status() and compute_balloon_floor().
	 */
	uint64_t available_pages; /* MemAvailable */
	uint64_t committed_pages; /* Committed_AS, the balloon if it is not in that, the floor */

	/*
	 * Linux leaves these at 0. Where a figure of the same meaning exists it is reported.
	 */
	uint64_t page_file_pages;       /* SwapTotal */
	uint64_t free_pages;            /* MemFree; Linux keeps no pages zeroed in advance */
	uint32_t page_file_write_pages; /* pswpout since the last report */
	uint32_t fault_pages;           /* 0: page-cache refaults count something else */

	/* For the guest's own use. */
	uint64_t floor_pages;    /* what the machine needs for itself */
	uint64_t may_give_pages; /* available above the floor: the most a balloon request gets */
	uint64_t need_pages;     /* in committed_pages, beyond the kernel's formula */
};

/* Why the report asks for more than the kernel's formula does. */
enum report_need {
	REPORT_NEED_NONE,
	REPORT_NEED_AVAILABLE, /* less than half of the floor is available */
	REPORT_NEED_STALLED,   /* all tasks waited for memory for half of the time */
};

/*
 * @swapped_out_before is swapped_out_pages of the figures of the last report; for the first report
 * it is that of @figures.
 */
void report_compose(const struct memory_figures *figures, uint64_t swapped_out_before,
		    const struct report_ballooned *ballooned, const struct floor_rule *rule,
		    struct report *ret_report);

/*
 * Raises committed_pages by need_pages if the machine is in need. @before are the figures of
 * @passed_ns ago, a second or so; not while memory is being taken, which makes tasks wait.
 */
enum report_need report_see_need(struct report *report, const struct memory_figures *now,
				 const struct memory_figures *before, uint64_t passed_ns);

/* For the log and for status. */
const char *report_need_text(enum report_need need);
