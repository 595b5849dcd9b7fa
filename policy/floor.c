/* SPDX-License-Identifier: MIT */

/*
 * The floor.
 *
 * The kernel's rule is continuous and piecewise linear, a larger share for a small machine. It knows
 * nothing of what the machine does: MemAvailable takes about half of the page cache for available,
 * and a file server that is drained to the kernel's floor reads its files from the disk again. The
 * working set adds the active half of the cache, which is what was read more than once.
 *
 * All rules look at the memory in use, without what the host has: else the floor would not fall
 * when the host takes memory, and a machine could be drained less the more it had given.
 */

#include "policy/floor.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

enum {
	KB_PER_PAGE = 4,
	BYTES_PER_PAGE = 4096,
	PAGES_PER_MIB = 256,
	PERCENT_MAX = 99,
};

/* One piece of the kernel's floor: below @below_mib it is @base_mib plus the total over @divisor. */
struct floor_piece {
	uint64_t below_mib;
	uint64_t base_mib;
	uint64_t divisor;
};

/* Source: Linux drivers/hv/hv_balloon.c, compute_balloon_floor(). */
static const struct floor_piece pieces[] = {
	{128, 8, 2},
	{512, 40, 4},
	{2048, 104, 8},
	{8192, 232, 16},
	{UINT64_MAX, 488, 32},
};

static const struct {
	const char *name;
	const char *text;
} kinds[] = {
	[FLOOR_KERNEL] = {"kernel", "the share that Linux's own driver keeps"},
	[FLOOR_WORKINGSET] = {"workingset",
			      "the share that Linux's own driver keeps, and the active page cache"},
	[FLOOR_ABSOLUTE] = {"absolute", "the configured amount"},
	[FLOOR_PERCENT] = {"percent", "the configured share of the memory in use"},
};

static uint64_t kernel_floor(uint64_t total_pages)
{
	const struct floor_piece *piece = pieces;

	while (total_pages / PAGES_PER_MIB >= piece->below_mib)
		piece++;
	return piece->base_mib * PAGES_PER_MIB + total_pages / piece->divisor;
}

static bool parse_percent(const char *text, uint32_t *ret_percent)
{
	unsigned long percent;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	percent = strtoul(text, &end, 10);
	if (strcmp(end, "%") != 0 || percent < 1 || percent > PERCENT_MAX)
		return false;
	*ret_percent = percent;
	return true;
}

int floor_parse(const char *text, struct floor_rule *ret_rule)
{
	struct floor_rule rule = {.kind = FLOOR_ABSOLUTE};
	uint64_t bytes;

	if (!strcmp(text, "kernel"))
		rule.kind = FLOOR_KERNEL;
	else if (!strcmp(text, "workingset"))
		rule.kind = FLOOR_WORKINGSET;
	else if (parse_percent(text, &rule.percent))
		rule.kind = FLOOR_PERCENT;
	else if (size_parse(text, &bytes) == 0)
		rule.pages = bytes / BYTES_PER_PAGE;
	else
		return FLOOR_MALFORMED;

	*ret_rule = rule;
	return 0;
}

uint64_t floor_pages(const struct floor_rule *rule, const struct memory_figures *figures,
		     uint64_t in_use_pages)
{
	switch (rule->kind) {
	case FLOOR_KERNEL:
		return kernel_floor(in_use_pages);
	case FLOOR_WORKINGSET:
		return kernel_floor(in_use_pages) + figures->active_file_kb / KB_PER_PAGE;
	case FLOOR_ABSOLUTE:
		return rule->pages;
	case FLOOR_PERCENT:
		return in_use_pages / 100 * rule->percent;
	}
	return kernel_floor(in_use_pages);
}

const char *floor_kind_name(enum floor_kind kind)
{
	return kinds[kind].name;
}

const char *floor_kind_text(enum floor_kind kind)
{
	return kinds[kind].text;
}
