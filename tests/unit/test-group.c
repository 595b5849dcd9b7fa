/* SPDX-License-Identifier: MIT */

/*
 * policy/group.c on folders that stand for groups: the texts are those of Linux 6.12.
 */

#include "policy/group.h"
#include "tests/unit/tree.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

static const char pressure[] = "some avg10=1.25 avg60=0.00 avg300=0.00 total=4711\n"
			       "full avg10=0.10 avg60=0.00 avg300=0.00 total=815\n";
static const char counters[] = "anon 1048576\nfile 4096\nworkingset_refault_anon 3\n"
			   "workingset_refault_file 40\nworkingset_activate_anon 0\n";

static void setup(void)
{
	tree_init();
	tree_file("memory.current", "2097152\n");
	tree_file("memory.stat", counters);
	tree_file("memory.max", "max\n");
	tree_file("memory.high", "4194304\n");
	tree_file("memory.pressure", pressure);
}

TestSuite(group, .init = setup, .fini = tree_fini);

Test(group, all_that_there_is_is_read_anew_each_time)
{
	struct memory_group f;
	struct group *group;

	cr_assert(eq(int, group_new(tree, &group), 0));
	cr_assert(eq(int, group_read(group, &f), 0));
	cr_expect(eq(u64, f.current_bytes, 2097152));
	cr_expect(eq(u64, f.limit_bytes, 4194304));
	cr_expect(eq(u64, f.refaults, 43));
	cr_expect(f.has_stalls);
	cr_expect(eq(u64, f.some.total_us, 4711));
	cr_expect(eq(u64, f.full.total_us, 815));
	cr_assert(eq(int, truncate(tree_path("memory.current"), 1), 0));
	cr_assert(eq(int, group_read(group, &f), 0));
	cr_expect(eq(u64, f.current_bytes, 2));
	group_free(group);
}

Test(group, limits_and_stalls_may_be_missing)
{
	struct memory_group f;
	struct group *group;

	tree_remove("memory.max");
	tree_remove("memory.high");
	tree_remove("memory.pressure");
	cr_assert(eq(int, group_new(tree, &group), 0));
	cr_assert(eq(int, group_read(group, &f), 0));
	cr_expect(eq(u64, f.limit_bytes, UINT64_MAX));
	cr_expect(not(f.has_stalls));
	group_free(group);
}

Test(group, a_folder_without_counted_memory_is_none)
{
	struct group *group;

	cr_expect(eq(int, group_new(tree_path("nothing"), &group), GROUP_UNAVAILABLE));
	tree_remove("memory.current");
	cr_expect(eq(int, group_new(tree, &group), GROUP_UNAVAILABLE));
}

Test(group, text_that_is_none_of_the_kernels_is_refused)
{
	static const struct {
		const char *file, *text;
		int result;
	} rows[] = {
		{"memory.current", "", GROUP_BAD},
		{"memory.current", "-1\n", GROUP_BAD},
		{"memory.current", "99999999999999999999999\n", GROUP_BAD},
		{"memory.stat", "workingset_refault_anon 3\n", GROUP_BAD},
		{"memory.max", "minimum\n", 0},
		{"memory.pressure", "some avg10=\n", 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_group f;
		struct group *group;

		tree_fini();
		strcpy(tree, "/tmp/hvguest-tree-XXXXXX");
		setup();
		tree_file(rows[i].file, rows[i].text);
		cr_assert(eq(int, group_new(tree, &group), 0));
		cr_expect(eq(int, group_read(group, &f), rows[i].result), "row %zu", i);
		group_free(group);
	}
}
