/* SPDX-License-Identifier: MIT */
#pragma once

#include "policy/figures.h"
#include "policy/floor.h"
#include "policy/strain.h"

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

/* By which rule the committed memory is reported. docs/POLICY.md has the formulas. */
enum report_rule {
	REPORT_COMPAT,     /* as the kernel's driver does */
	REPORT_WORKINGSET, /* what is in use, and what came back or was waited for */
	REPORT_PSI,        /* what is in use, and what it takes that tasks wait no longer than the target */
	REPORT_N_RULES,
};

/* What the committed memory is the sum of; each rule has some of them, the others are 0. */
enum report_term {
	REPORT_TERM_COMMITTED_AS, /* the kernel's sum of what was promised to programs */
	REPORT_TERM_USED,         /* MemTotal less MemAvailable and less the balloon */
	REPORT_TERM_BALLOON,      /* what the host has, as far as it is in no other term */
	REPORT_TERM_FLOOR,
	REPORT_TERM_REFAULTS,
	REPORT_TERM_STALLS,
	REPORT_TERM_TARGET,
	REPORT_TERM_NEED,
	REPORT_N_TERMS,
};

struct report {
	/*
	 * Linux reports these two. Committed is what the host compares with what it has assigned;
	 * it has to contain the balloon and a floor, or an idle guest would be drained. By the rule
	 * REPORT_COMPAT they are what the kernel's driver would say.
	 * Source: Linux drivers/hv/hv_balloon.c, post_status() and compute_balloon_floor().
	 */
	uint64_t available_pages; /* MemAvailable */
	uint64_t committed_pages; /* the sum of the terms */

	/*
	 * Linux leaves these at 0. Where a figure of the same meaning exists it is reported.
	 */
	uint64_t page_file_pages;       /* SwapTotal */
	uint64_t free_pages;            /* MemFree; Linux keeps no pages zeroed in advance */
	uint32_t page_file_write_pages; /* pswpout since the last report */
	uint32_t fault_pages;           /* 0: page-cache refaults count something else */

	/* For the guest's own use. */
	uint64_t in_use_pages;   /* MemTotal less what of it the host has */
	uint64_t floor_pages;    /* what the machine needs for itself */
	uint64_t may_give_pages; /* available above the floor: the most a balloon request gets */
	uint64_t need_pages;     /* in committed_pages, beyond the rule */
	uint64_t terms[REPORT_N_TERMS];
	uint64_t by_rule[REPORT_N_RULES]; /* what each rule comes to, without a need */
};

/* Why the report asks for more than its rule does. */
enum report_need {
	REPORT_NEED_NONE,
	REPORT_NEED_AVAILABLE, /* less than half of the floor is available */
	REPORT_NEED_STALLED,   /* all tasks waited for memory for half of the time */
};

enum {
	REPORT_NEED_FULL_PERCENT = 50, /* of REPORT_NEED_STALLED */
};

/* The condition of report_rule_parse(). */
enum {
	REPORT_NO_RULE = 1,
};

/* "compat", "workingset" or "psi". REPORT_NO_RULE. */
_must_check_ int report_rule_parse(const char *text, enum report_rule *ret_rule);

/* What a report is made from besides the figures. */
struct report_basis {
	enum report_rule rule;
	struct floor_rule floor;
};

/*
 * @swapped_out_before is swapped_out_pages of the figures of the last report; for the first report
 * it is that of @figures. @strain is what was observed so far.
 */
void report_compose(const struct report_basis *basis, const struct memory_figures *figures,
		    uint64_t swapped_out_before, const struct report_ballooned *ballooned,
		    const struct strain *strain, struct report *ret_report);

/*
 * Raises committed_pages by need_pages if the machine is in need. @before are the figures of
 * @passed_ns ago, a second or so; not while memory is being taken, which makes tasks wait.
 */
enum report_need report_see_need(struct report *report, const struct memory_figures *now,
				 const struct memory_figures *before, uint64_t passed_ns);

/* For the log and for status: the name of a rule, its formula; a term's name and meaning. */
const char *report_rule_name(enum report_rule rule);
const char *report_rule_formula(enum report_rule rule);
const char *report_term_name(enum report_term term);
const char *report_term_text(enum report_term term);
const char *report_need_text(enum report_need need);
