/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/hook_names.c: names and what they mean.
 */

#include "fsfreeze/hook_names.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

static const struct {
	const char *name;
	bool is_hook;
	bool is_optional;
} rows[] = {
	{"10-database", true, false},
	{"10-database.sh", true, false},
	{"a", true, false},
	{"20-cache.optional", true, true},
	{"20-cache.optional.sh", true, true},
	{"20-cache.optionally.sh", true, false},
	{"20-cache.optionally.optional", true, true},
	{"optional", true, false},
	{"my.rpm.sh", true, false},
	{"10-database~", false, false},
	{"10-database.sh.bak", false, false},
	{"10-database.sh.orig", false, false},
	{"10-database.sh.swp", false, false},
	{"fsfreeze.sample", false, false},
	{"10-database.dpkg-old", false, false},
	{"10-database.dpkg-dist", false, false},
	{"10-database.rpmsave", false, false},
	{"10-database.rpmnew", false, false},
	{".hidden", false, false},
	{".10-database.swp", false, false},
	{"", false, false},
};

Test(hook_names, what_editors_and_package_managers_leave_behind_is_no_hook)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert(eq(int, hook_name_is_hook(rows[i].name), rows[i].is_hook), "%s",
			  rows[i].name);
}

Test(hook_names, a_part_between_dots_marks_a_hook_as_optional)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_assert(eq(int, hook_name_is_optional(rows[i].name), rows[i].is_optional), "%s",
			  rows[i].name);
}
