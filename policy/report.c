/* SPDX-License-Identifier: MIT */

/*
 * The figures of a status report.
 *
 * The kernel's driver lowers MemTotal page by page as it balloons. Pages that are taken in user
 * space stay in it, so the memory in use, from which the floor is computed, is MemTotal less these;
 * whole blocks that are offline have left it. And the kernel adds all ballooned pages to
 * Committed_AS; small pages are anonymous memory of this process and are in it already, so only
 * huge ones and blocks are added here. A host subtracts the whole
 * balloon from the report again: a page that is counted twice, or not at all, makes it give or
 * take another one.
 *
 * The kernel's rule, "compat", is what a host expects of Linux. It counts what was promised to
 * programs, whether they use it or not, and no page cache. The other two begin with what is in use,
 * which is what is not available, and add what policy/strain finds lacking. They keep the floor in the
 * sum: this machine does not give below it, and a host that is told less would only be refused.
 *
 * Whatever the rule, all three are computed, so that it can be seen what the others would have said.
 *
 * An emergency is a machine in need although it has given all that it was asked for: less than
 * half of the floor is available, or tasks have waited for memory most of the time. The protocol has
 * no message for that. But the host compares the committed memory with what it has assigned, so
 * committing more than there is makes it give; that is what is done, by what the floor lacks or a
 * tenth of the memory, and it is said in status.
 */

#include "policy/report.h"

#include "base/amount.h"

#include <string.h>

enum {
	KB_PER_PAGE = 4,
};

static const struct {
	const char *name;
	const char *formula;
	unsigned terms; /* those it is the sum of, as bits */
} rules[] = {
	[REPORT_COMPAT] = {"compat", "Committed_AS + balloon outside of it + floor",
			   1 << REPORT_TERM_COMMITTED_AS | 1 << REPORT_TERM_BALLOON |
				   1 << REPORT_TERM_FLOOR},
	[REPORT_WORKINGSET] = {"workingset",
			       "MemTotal - MemAvailable + balloon outside of it + floor + refault share "
			       "+ stall share",
			       1 << REPORT_TERM_USED | 1 << REPORT_TERM_BALLOON |
				       1 << REPORT_TERM_FLOOR | 1 << REPORT_TERM_REFAULTS |
				       1 << REPORT_TERM_STALLS},
	[REPORT_PSI] = {"psi",
			"MemTotal - MemAvailable + balloon outside of it + floor + target share",
			1 << REPORT_TERM_USED | 1 << REPORT_TERM_BALLOON | 1 << REPORT_TERM_FLOOR |
				1 << REPORT_TERM_TARGET},
};

static const struct {
	const char *name;
	const char *text;
} terms[] = {
	[REPORT_TERM_COMMITTED_AS] = {"committed_as", "promised to programs (Committed_AS)"},
	[REPORT_TERM_USED] = {"used", "in use: MemTotal less MemAvailable and the balloon"},
	[REPORT_TERM_BALLOON] = {"balloon", "the host has it, and no other term contains it"},
	[REPORT_TERM_FLOOR] = {"floor", "what stays available here whatever the host asks for"},
	[REPORT_TERM_REFAULTS] = {"refaults", "dropped too early and read again, in half a minute"},
	[REPORT_TERM_STALLS] = {"stalls", "by the share of time in which tasks waited for memory"},
	[REPORT_TERM_TARGET] = {"target", "what it takes that tasks wait no longer than the target"},
	[REPORT_TERM_NEED] = {"need", "an emergency, beyond the rule"},
};

int report_rule_parse(const char *text, enum report_rule *ret_rule)
{
	for (int rule = 0; rule < REPORT_N_RULES; rule++) {
		if (!strcmp(text, rules[rule].name)) {
			*ret_rule = rule;
			return 0;
		}
	}
	return REPORT_NO_RULE;
}

/* Each term as it is in @rule. */
static uint64_t term_of(enum report_rule rule, enum report_term term, const struct report *report,
			const struct memory_figures *figures,
			const struct report_ballooned *ballooned, const struct strain *strain)
{
	if (!(rules[rule].terms & 1u << term))
		return 0;
	switch (term) {
	case REPORT_TERM_COMMITTED_AS:
		return figures->committed_kb / KB_PER_PAGE;
	case REPORT_TERM_USED:
		return sub_u64(report->in_use_pages, report->available_pages);
	case REPORT_TERM_BALLOON:
		return ballooned->huge_pages + ballooned->block_pages +
		       (rule == REPORT_COMPAT ? 0 : ballooned->small_pages);
	case REPORT_TERM_FLOOR:
		return report->floor_pages;
	case REPORT_TERM_REFAULTS:
		return strain->refault_pages;
	case REPORT_TERM_STALLS:
		return strain->stall_pages;
	case REPORT_TERM_TARGET:
		return strain->target_pages;
	case REPORT_TERM_NEED:
	case REPORT_N_TERMS:
		break;
	}
	return 0;
}

static void sum_up(enum report_rule chosen, const struct memory_figures *figures,
		   const struct report_ballooned *ballooned, const struct strain *strain,
		   struct report *report)
{
	for (int rule = 0; rule < REPORT_N_RULES; rule++) {
		for (int term = 0; term < REPORT_N_TERMS; term++) {
			uint64_t pages = term_of(rule, term, report, figures, ballooned, strain);

			report->by_rule[rule] += pages;
			if (rule == (int)chosen)
				report->terms[term] = pages;
		}
	}
	report->committed_pages = report->by_rule[chosen];
}

void report_compose(const struct report_basis *basis, const struct memory_figures *figures,
		    uint64_t swapped_out_before, const struct report_ballooned *ballooned,
		    const struct strain *strain, struct report *ret_report)
{
	uint64_t in_use_pages = sub_u64(figures->total_kb / KB_PER_PAGE,
					 ballooned->huge_pages + ballooned->small_pages);
	uint64_t floor = floor_pages(&basis->floor, figures, in_use_pages);
	uint64_t available_pages = figures->available_kb / KB_PER_PAGE;
	uint64_t written_pages = sub_u64(figures->swapped_out_pages, swapped_out_before);

	*ret_report = (struct report){
		.available_pages = available_pages,
		.page_file_pages = figures->swap_total_kb / KB_PER_PAGE,
		.free_pages = figures->free_kb / KB_PER_PAGE,
		.page_file_write_pages = written_pages < UINT32_MAX ? written_pages : UINT32_MAX,
		.in_use_pages = in_use_pages,
		.floor_pages = floor,
		.may_give_pages = sub_u64(available_pages, floor),
	};
	sum_up(basis->rule, figures, ballooned, strain, ret_report);
}

/* The share of the time since @before in which all tasks waited for memory, in percent. */
static uint64_t full_percent(const struct memory_figures *now, const struct memory_figures *before,
			     uint64_t passed_ns)
{
	uint64_t passed_us = passed_ns / 1000;

	if (!now->has_stalls || !before->has_stalls || passed_us == 0)
		return 0;
	return sub_u64(now->full.total_us, before->full.total_us) * 100 / passed_us;
}

enum report_need report_see_need(struct report *report, const struct memory_figures *now,
				 const struct memory_figures *before, uint64_t passed_ns)
{
	uint64_t lacking_pages = sub_u64(report->floor_pages, report->available_pages);
	uint64_t tenth_pages = now->total_kb / KB_PER_PAGE / 10;
	enum report_need need = REPORT_NEED_NONE;

	if (report->available_pages < report->floor_pages / 2)
		need = REPORT_NEED_AVAILABLE;
	else if (full_percent(now, before, passed_ns) >= REPORT_NEED_FULL_PERCENT)
		need = REPORT_NEED_STALLED;
	if (need == REPORT_NEED_NONE)
		return need;

	report->need_pages = lacking_pages > tenth_pages ? lacking_pages : tenth_pages;
	report->terms[REPORT_TERM_NEED] = report->need_pages;
	report->committed_pages += report->need_pages;
	return need;
}

const char *report_rule_name(enum report_rule rule)
{
	return rules[rule].name;
}

const char *report_rule_formula(enum report_rule rule)
{
	return rules[rule].formula;
}

const char *report_term_name(enum report_term term)
{
	return terms[term].name;
}

const char *report_term_text(enum report_term term)
{
	return terms[term].text;
}

const char *report_need_text(enum report_need need)
{
	static const char *const texts[] = {
		[REPORT_NEED_NONE] = "none",
		[REPORT_NEED_AVAILABLE] = "less than half of the floor is available",
		[REPORT_NEED_STALLED] = "all tasks wait for memory most of the time",
	};

	return texts[need];
}
