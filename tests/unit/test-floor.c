/* SPDX-License-Identifier: MIT */

/*
 * policy/floor.c against what the kernel's own driver was seen to keep, and how rules are written.
 */

#include "policy/floor.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#define MIB(x) (UINT64_C(256) * (x)) /* in pages */

static const struct memory_figures figures = {.active_file_kb = 40000};

Test(floor, the_kernels_rule_is_to_the_page)
{
	static const struct floor_rule rule = {.kind = FLOOR_KERNEL};
	static const struct {
		uint64_t total_pages, floor_pages;
	} rows[] = {
		{0, MIB(8)},
		{MIB(16), MIB(16)},
		{MIB(128) - 2, MIB(72) - 1},
		{MIB(128), MIB(72)},
		{MIB(512), MIB(168)},
		{MIB(2048), MIB(360)},
		{MIB(8192), MIB(744)},
		{MIB(32768), MIB(1512)},
		{MIB(65536), MIB(2536)},
		{MIB(131072), MIB(4584)},
		{199325, 51539}, /* MemTotal 797300 kB */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(u64, floor_pages(&rule, &figures, rows[i].total_pages),
			     rows[i].floor_pages));
}

Test(floor, no_rule_falls_when_memory_grows)
{
	static const struct floor_rule rules[] = {
		{.kind = FLOOR_KERNEL},
		{.kind = FLOOR_WORKINGSET},
		{.kind = FLOOR_ABSOLUTE, .pages = 1000},
		{.kind = FLOOR_PERCENT, .percent = 33},
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		for (uint64_t pages = 0; pages < MIB(10000); pages += 371)
			cr_assert(le(u64, floor_pages(&rules[i], &figures, pages),
				     floor_pages(&rules[i], &figures, pages + 371)));
}

Test(floor, rules_are_read_as_people_write_them)
{
	static const struct {
		const char *text;
		enum floor_kind kind;
		uint64_t floor_pages; /* of 1000 MiB */
	} rows[] = {
		{"kernel", FLOOR_KERNEL, MIB(229)},
		{"workingset", FLOOR_WORKINGSET, MIB(229) + 10000},
		{"512M", FLOOR_ABSOLUTE, MIB(512)},
		{"4096", FLOOR_ABSOLUTE, 1},
		{"20%", FLOOR_PERCENT, MIB(200)},
		{"1%", FLOOR_PERCENT, MIB(10)},
		{"99%", FLOOR_PERCENT, MIB(990)},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct floor_rule rule;

		cr_assert(eq(int, floor_parse(rows[i].text, &rule), 0), "%s", rows[i].text);
		cr_expect(eq(int, rule.kind, rows[i].kind), "%s", rows[i].text);
		cr_expect(eq(u64, floor_pages(&rule, &figures, MIB(1000)), rows[i].floor_pages), "%s",
			  rows[i].text);
	}
}

Test(floor, what_is_no_rule_is_refused)
{
	static const char *const texts[] = {
		"", "%", "0%", "100%", "20 %", "-5%", "20%%", "2O%", "kernels", "512MB", "much", " 5%",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct floor_rule rule = {.percent = 7};

		cr_expect(eq(int, floor_parse(texts[i], &rule), FLOOR_MALFORMED), "'%s'", texts[i]);
		cr_expect(eq(u32, rule.percent, 7), "'%s'", texts[i]);
	}
}

Test(floor, every_kind_has_a_name_and_a_text)
{
	for (int kind = FLOOR_KERNEL; kind <= FLOOR_PERCENT; kind++) {
		cr_expect(strlen(floor_kind_name(kind)) > 0);
		cr_expect(strlen(floor_kind_text(kind)) > 0);
	}
}
