/* SPDX-License-Identifier: MIT */

/*
 * balloon/overcommit.c on a folder of ordinary files that stands for sysfs.
 */

#include "balloon/overcommit.h"

#include "tests/unit/tree.h"

#include <inttypes.h>

static void set(const char *name, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64 "\n", number);
	tree_file(name, text);
}

static uint64_t limit(void)
{
	FILE *f = fopen(tree_path("nr_overcommit_hugepages"), "re");
	uint64_t number;

	cr_assert(ne(ptr, f, NULL));
	cr_assert(eq(int, fscanf(f, "%" SCNu64, &number), 1));
	fclose(f);
	return number;
}

static void set_all(uint64_t overcommit, uint64_t surplus, uint64_t free_pages, uint64_t reserved)
{
	set("nr_overcommit_hugepages", overcommit);
	set("surplus_hugepages", surplus);
	set("free_hugepages", free_pages);
	set("resv_hugepages", reserved);
}

TestSuite(overcommit, .init = tree_init, .fini = tree_fini);

Test(overcommit, it_is_raised_by_what_is_missing_only)
{
	static const struct {
		uint64_t overcommit, surplus, free_pages, reserved, wanted, raised;
	} rows[] = {
		{0, 0, 0, 0, 10, 10},  {10, 0, 0, 0, 10, 0},  {10, 4, 0, 0, 10, 4},
		{0, 0, 10, 0, 10, 0},  {0, 0, 10, 7, 10, 7},  {5, 9, 3, 5, 10, 10},
		{20, 5, 3, 1, 10, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct overcommit_share share = {0};

		set_all(rows[i].overcommit, rows[i].surplus, rows[i].free_pages, rows[i].reserved);
		cr_assert(eq(int, overcommit_raise(tree, &share, rows[i].wanted), 0));
		cr_expect(eq(u64, share.share, rows[i].raised), "row %zu", i);
		cr_expect(eq(u64, limit(), rows[i].overcommit + rows[i].raised), "row %zu", i);
		cr_expect(eq(u32, share.changing, 0));
	}
}

Test(overcommit, what_others_have_changed_meanwhile_stays_changed)
{
	struct overcommit_share share = {0};

	set_all(3, 3, 0, 0);
	cr_assert(eq(int, overcommit_raise(tree, &share, 8), 0));
	cr_expect(eq(u64, limit(), 11));
	set("nr_overcommit_hugepages", 111);
	cr_assert(eq(int, overcommit_lower(tree, &share, 5), 0));
	cr_expect(eq(u64, limit(), 108));
	cr_assert(eq(int, overcommit_lower(tree, &share, 7), 0));
	cr_expect(eq(u64, limit(), 108), "it is not more than 7");
	set("nr_overcommit_hugepages", 2);
	cr_assert(eq(int, overcommit_lower(tree, &share, 0), 0));
	cr_expect(eq(u64, limit(), 0));
	cr_expect(eq(u64, share.share, 0));
}

Test(overcommit, a_note_of_a_killed_process_is_read_by_the_number_that_is_there)
{
	const struct overcommit_share note = {
		.share = 4, .next = 10, .from = 5, .to = 11, .changing = 1,
	};
	struct overcommit_share share = note;

	set_all(5, 0, 0, 0);
	cr_assert(eq(int, overcommit_lower(tree, &share, 0), 0));
	cr_expect(eq(u64, limit(), 1), "killed before the write: the share was 4");
	share = note;
	set_all(11, 0, 0, 0);
	cr_assert(eq(int, overcommit_lower(tree, &share, 0), 0));
	cr_expect(eq(u64, limit(), 1), "killed after it: the share was 10");
}

Test(overcommit, without_such_pages_nothing_is_done)
{
	struct overcommit_share share = {0};

	cr_expect(eq(int, overcommit_raise(tree, &share, 8), OVERCOMMIT_NONE));
	cr_expect(eq(u64, share.share, 0));
}
