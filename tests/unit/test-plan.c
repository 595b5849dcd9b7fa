/* SPDX-License-Identifier: MIT */

/*
 * fsfreeze/plan.c: mount tables in, plans out.
 */

#include "fsfreeze/plan.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct freeze_rules allow_all = {.all = true};

/* Renders a plan as "target verdict; ..." in freeze order. */
static void render(const struct freeze_plan *plan, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < plan->n_entries; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s %s; ",
					 plan->entries[i].mount->target,
					 freeze_verdict_name(plan->entries[i].verdict));
}

static int make_plan(const struct freeze_mount *mounts, size_t n, const struct freeze_rules *rules,
		     struct freeze_plan **ret_plan)
{
	const struct freeze_table table = {.mounts = mounts, .n_mounts = n};

	return freeze_plan_new(&table, rules, ret_plan);
}

static void expect_plan(const struct freeze_mount *mounts, size_t n,
			const struct freeze_rules *rules, const char *expected)
{
	_cleanup_(cleanup_freeze_planp) struct freeze_plan *plan = NULL;
	char buf[1024];

	cr_assert(eq(int, make_plan(mounts, n, rules, &plan), 0));
	render(plan, buf, sizeof(buf));
	cr_expect(eq(str, buf, (char *)(uintptr_t)expected));
}

static struct freeze_mount disk(const char *target, const char *type, uint64_t device)
{
	return (struct freeze_mount){
		.target = target,
		.source = "/dev/x",
		.type = type,
		.device = device,
		.is_fs_root = true,
	};
}

Test(plan, freezes_the_latest_mount_first_and_the_root_last)
{
	struct freeze_mount mounts[] = {
		disk("/", "ext4", 1),
		disk("/srv", "xfs", 2),
		disk("/srv/loop", "btrfs", 3),
		disk("/home", "f2fs", 4),
	};

	expect_plan(mounts, 4, &allow_all,
		    "/home freeze; /srv/loop freeze; /srv freeze; / freeze; ");

	/* Even if the root comes late in the table. */
	mounts[0].target = "/home";
	mounts[3].target = "/";
	expect_plan(mounts, 4, &allow_all,
		    "/srv/loop freeze; /srv freeze; /home freeze; / freeze; ");
}

Test(plan, a_bind_mount_made_later_does_not_move_its_file_system_forward)
{
	struct freeze_mount mounts[] = {
		disk("/srv", "ext4", 1),
		disk("/srv/loop", "xfs", 2),
		disk("/bound", "ext4", 1),
	};
	struct freeze_plan *plan;

	expect_plan(mounts, 3, &allow_all, "/srv/loop freeze; /srv freeze; ");
	cr_assert(eq(int, make_plan(mounts, 3, &allow_all, &plan), 0));
	cr_expect(eq(sz, plan->entries[1].n_mounts, 2));
	cr_expect(eq(ptr, (void *)(uintptr_t)plan->entries[1].mounts[1], &mounts[2]));
	cr_expect(eq(sz, plan->n_freeze, 2));
	plan = freeze_plan_free(plan);
}

Test(plan, says_why_a_file_system_is_left_out)
{
	struct freeze_mount mounts[] = {
		disk("/a", "vfat", 1), disk("/b", "ext4", 2), disk("/c", "nfs4", 3),
		disk("/d", "tmpfs", 4), disk("/e", "zfs", 5), disk("/f", "squashfs", 6),
	};

	mounts[1].read_only = true;
	mounts[2].is_network = true;
	mounts[3].is_pseudo = true;
	mounts[5].read_only = true;
	expect_plan(mounts, 6, &allow_all,
		    "/f read-only; /e unsupported; /d pseudo; /c network; /b read-only; "
		    "/a unsupported; ");
}

Test(plan, allowed_roots_are_compared_by_component)
{
	static const struct {
		const char *root;
		const char *target;
		bool allowed;
	} rows[] = {
		{"/srv", "/srv", true},      {"/srv", "/srv/a", true},   {"/srv/", "/srv/a", true},
		{"/srv", "/srvx", false},    {"/srv/a", "/srv", false},  {"/srv", "/sr", false},
		{"/", "/anything", true},    {"/", "/", true},           {"/srv", "/", false},
		{"/srv//", "/srv", true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct freeze_rules rules = {.roots = &rows[i].root, .n_roots = 1};
		struct freeze_mount mount = disk(rows[i].target, "ext4", 1);
		struct freeze_plan *plan;

		cr_assert(eq(int, make_plan(&mount, 1, &rules, &plan), 0));
		cr_expect(eq(int, plan->entries[0].verdict == FREEZE_VERDICT_FREEZE,
			     rows[i].allowed),
			  "%s below %s", rows[i].target, rows[i].root);
		plan = freeze_plan_free(plan);
	}
}

Test(plan, without_an_allowed_root_nothing_is_frozen)
{
	const struct freeze_rules none = {0};
	struct freeze_mount mounts[] = {disk("/", "ext4", 1), disk("/srv", "xfs", 2)};

	expect_plan(mounts, 2, &none, "/srv not-allowed; / not-allowed; ");
}

Test(plan, a_part_of_the_root_bound_below_an_allowed_path_does_not_freeze_the_root)
{
	const char *const roots[] = {"/srv"};
	const struct freeze_rules rules = {.roots = roots, .n_roots = 1};
	struct freeze_mount mounts[] = {disk("/", "ext4", 1), disk("/srv/part", "ext4", 1)};

	mounts[1].is_fs_root = false;
	expect_plan(mounts, 2, &rules, "/srv/part not-allowed; ");

	/* Nor does the whole of it, mounted there once more. */
	mounts[1].is_fs_root = true;
	expect_plan(mounts, 2, &rules, "/srv/part not-allowed; ");
}

Test(plan, subvolumes_are_allowed_together_or_not_at_all)
{
	const char *const home[] = {"/home"}, *const both[] = {"/home", "/var"};
	const struct freeze_rules rules_home = {.roots = home, .n_roots = 1};
	const struct freeze_rules rules_both = {.roots = both, .n_roots = 2};
	struct freeze_mount mounts[] = {disk("/var", "btrfs", 1), disk("/home", "btrfs", 1)};

	mounts[0].is_fs_root = mounts[1].is_fs_root = false;
	expect_plan(mounts, 2, &rules_home, "/home not-allowed; ");
	expect_plan(mounts, 2, &rules_both, "/var freeze; ");
}

Test(plan, a_file_system_bound_to_other_places_may_be_frozen_by_its_own_mount)
{
	const char *const roots[] = {"/srv"};
	const struct freeze_rules rules = {.roots = roots, .n_roots = 1};
	struct freeze_mount mounts[] = {disk("/var/lib/pod", "ext4", 1), disk("/srv", "ext4", 1)};

	mounts[0].is_fs_root = false;
	expect_plan(mounts, 2, &rules, "/srv freeze; ");
}

Test(plan, a_relative_root_and_too_many_file_systems_are_conditions)
{
	const char *const roots[] = {"srv"};
	const struct freeze_rules relative = {.roots = roots, .n_roots = 1};
	struct freeze_mount mounts[FREEZE_PLAN_MAX + 1];
	struct freeze_plan *plan = NULL;

	for (size_t i = 0; i < FREEZE_PLAN_MAX + 1; i++)
		mounts[i] = disk("/x", "ext4", i);
	cr_expect(eq(int, make_plan(mounts, 1, &relative, &plan), FREEZE_PLAN_BAD_ROOT));
	cr_expect(eq(int, make_plan(mounts, FREEZE_PLAN_MAX + 1, &allow_all, &plan),
		     FREEZE_PLAN_TOO_MANY));
	cr_assert(eq(ptr, plan, NULL));
	cr_expect(eq(int, make_plan(mounts, FREEZE_PLAN_MAX, &allow_all, &plan), 0));
	plan = freeze_plan_free(plan);

	/* Those that are not frozen do not count. */
	mounts[7].is_pseudo = true;
	cr_expect(eq(int, make_plan(mounts, FREEZE_PLAN_MAX + 1, &allow_all, &plan), 0));
	plan = freeze_plan_free(plan);
}

Test(plan, an_empty_table_makes_an_empty_plan)
{
	expect_plan(NULL, 0, &allow_all, "");
}

Test(plan, every_superblock_has_one_entry_and_every_mount_is_in_one)
{
	enum { N = 64 };
	struct freeze_mount mounts[N];
	unsigned int seed = 20260102;

	for (int round = 0; round < 200; round++) {
		struct freeze_plan *plan;
		size_t seen[N] = {0};

		for (size_t i = 0; i < N; i++)
			mounts[i] = disk("/m", "ext4", (uint64_t)rand_r(&seed) % 20);
		cr_assert(eq(int, make_plan(mounts, N, &allow_all, &plan), 0));
		for (size_t i = 0; i < plan->n_entries; i++) {
			const struct freeze_plan_entry *entry = &plan->entries[i];

			for (size_t j = 0; j < entry->n_mounts; j++) {
				cr_assert(eq(u64, entry->mounts[j]->device,
					     entry->mounts[0]->device));
				seen[entry->mounts[j] - mounts]++;
			}
			for (size_t k = 0; k < i; k++)
				cr_assert(ne(u64, plan->entries[k].mount->device,
					     entry->mount->device));
			if (i > 0)
				cr_assert(plan->entries[i - 1].mounts[0] > entry->mounts[0]);
		}
		for (size_t i = 0; i < N; i++)
			cr_assert(eq(sz, seen[i], 1));
		plan = freeze_plan_free(plan);
	}
}

Test(plan, what_is_kept_on_another_file_system_has_a_lower_level_and_the_root_is_alone)
{
	static const struct freeze_link links[] = {
		{{FREEZE_NODE_FS, 3}, {FREEZE_NODE_BLOCK, 7}},
		{{FREEZE_NODE_BLOCK, 7}, {FREEZE_NODE_FS, 2}},
	};
	struct freeze_mount mounts[] = {
		disk("/", "ext4", 1),
		disk("/srv/inner", "xfs", 3), /* in the wrong order, to show that it does not matter */
		disk("/srv", "ext4", 2),
		disk("/home", "ext4", 4),
		disk("/boot", "vfat", 5),
	};
	const struct freeze_table table = {
		.mounts = mounts, .n_mounts = 5, .links = links, .n_links = 2,
	};
	static const struct {
		const char *target;
		unsigned int level;
	} wanted[] = {{"/boot", 0}, {"/home", 0}, {"/srv/inner", 0}, {"/srv", 1}, {"/", 2}};
	struct freeze_plan *plan;

	cr_assert(eq(int, freeze_plan_new(&table, &allow_all, &plan), 0));
	for (size_t i = 0; i < 5; i++) {
		cr_expect(eq(int, strcmp(plan->entries[i].mount->target, wanted[i].target), 0));
		cr_expect(eq(uint, plan->entries[i].level, wanted[i].level), "%s",
			  wanted[i].target);
	}
	cr_expect(eq(sz, plan->n_missing, 1));
	plan = freeze_plan_free(plan);
}

Test(plan, levels_have_no_gaps_where_something_is_not_frozen)
{
	static const struct freeze_link links[] = {
		{{FREEZE_NODE_FS, 3}, {FREEZE_NODE_BLOCK, 7}}, {{FREEZE_NODE_BLOCK, 7}, {FREEZE_NODE_FS, 2}},
		{{FREEZE_NODE_FS, 2}, {FREEZE_NODE_BLOCK, 8}}, {{FREEZE_NODE_BLOCK, 8}, {FREEZE_NODE_FS, 1}},
	};
	struct freeze_mount mounts[] = {
		disk("/a", "ext4", 1), disk("/b", "vfat", 2), disk("/c", "ext4", 3),
	};
	const struct freeze_table table = {
		.mounts = mounts, .n_mounts = 3, .links = links, .n_links = 4,
	};
	struct freeze_plan *plan;

	cr_assert(eq(int, freeze_plan_new(&table, &allow_all, &plan), 0));
	cr_expect(eq(uint, plan->entries[0].level, 0));
	cr_expect(eq(int, plan->entries[1].verdict, FREEZE_VERDICT_UNSUPPORTED));
	cr_expect(eq(uint, plan->entries[2].level, 1));
	plan = freeze_plan_free(plan);
}

Test(plan, what_is_kept_on_itself_is_not_frozen_and_the_rest_is)
{
	static const struct freeze_link links[] = {
		{{FREEZE_NODE_FS, 2}, {FREEZE_NODE_BLOCK, 7}},
		{{FREEZE_NODE_BLOCK, 7}, {FREEZE_NODE_FS, 2}},
		{{FREEZE_NODE_BLOCK, 7}, {FREEZE_NODE_FS, 1}},
	};
	struct freeze_mount mounts[] = {disk("/", "ext4", 1), disk("/srv", "xfs", 2)};
	const struct freeze_table table = {
		.mounts = mounts, .n_mounts = 2, .links = links, .n_links = 3,
	};
	struct freeze_plan *plan;
	char buf[256];

	cr_assert(eq(int, freeze_plan_new(&table, &allow_all, &plan), 0));
	render(plan, buf, sizeof(buf));
	cr_expect(eq(int, strcmp(buf, "/srv cycle; / freeze; "), 0));
	cr_expect(eq(sz, plan->n_missing, 1));
	plan = freeze_plan_free(plan);
}

Test(plan, what_is_hidden_is_missing_and_leaves_no_gap_between_levels)
{
	static const struct freeze_link links[] = {
		{{FREEZE_NODE_FS, 3}, {FREEZE_NODE_FS, 2}},
		{{FREEZE_NODE_FS, 2}, {FREEZE_NODE_FS, 1}},
	};
	struct freeze_mount mounts[] = {
		disk("/a", "ext4", 1), disk("/b", "xfs", 2), disk("/c", "btrfs", 3),
	};
	const struct freeze_table table = {
		.mounts = mounts, .n_mounts = 3, .links = links, .n_links = 2,
	};
	struct freeze_plan *plan;
	char buf[256];

	cr_assert(eq(int, freeze_plan_new(&table, &allow_all, &plan), 0));
	cr_assert(eq(u32, plan->entries[2].level, 2));
	freeze_plan_hide(plan, 1);
	render(plan, buf, sizeof(buf));
	cr_expect(eq(str, buf, (char *)"/c freeze; /b hidden; /a freeze; "));
	cr_expect(eq(u32, plan->entries[2].level, 1));
	cr_expect(eq(sz, plan->n_missing, 1));
	cr_expect(eq(sz, plan->n_freeze, 2));
	plan = freeze_plan_free(plan);
}

Test(plan, rules_include_and_exclude_by_path_type_label_and_device)
{
	static const struct {
		struct freeze_rule include, exclude; /* no pattern: there is none */
		const char *expected;
	} rows[] = {
		{{0}, {FREEZE_RULE_TYPE, "xfs"}, "/var/c freeze; /b excluded; /a freeze; "},
		{{0}, {FREEZE_RULE_PATH, "/var*"}, "/var/c excluded; /b freeze; /a freeze; "},
		{{0}, {FREEZE_RULE_LABEL, "DATA?"}, "/var/c freeze; /b freeze; /a excluded; "},
		{{0}, {FREEZE_RULE_DEVICE, "/dev/sd*"}, "/var/c excluded; /b freeze; /a freeze; "},
		{{FREEZE_RULE_PATH, "/?"}, {0}, "/var/c excluded; /b freeze; /a freeze; "},
		{{FREEZE_RULE_PATH, "/?"}, {FREEZE_RULE_TYPE, "ext*"},
		 "/var/c excluded; /b freeze; /a excluded; "},
	};
	struct freeze_mount mounts[] = {
		disk("/a", "ext4", 1), disk("/b", "xfs", 2), disk("/var/c", "ext4", 3),
	};

	mounts[0].label = "DATA1";
	mounts[2].source = "/dev/sdb1";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct freeze_rules rules = {
			.all = true,
			.include = &rows[i].include,
			.n_include = rows[i].include.pattern != NULL,
			.exclude = &rows[i].exclude,
			.n_exclude = rows[i].exclude.pattern != NULL,
		};

		expect_plan(mounts, 3, &rules, rows[i].expected);
	}
}

Test(plan, what_is_excluded_is_not_missing)
{
	static const struct freeze_rule vfat = {FREEZE_RULE_TYPE, "vfat"};
	const struct freeze_rules rules = {.all = true, .exclude = &vfat, .n_exclude = 1};
	struct freeze_mount mounts[] = {disk("/a", "ext4", 1), disk("/boot", "vfat", 2)};
	struct freeze_plan *plan;

	cr_assert(eq(int, make_plan(mounts, 2, &rules, &plan), 0));
	cr_expect(eq(sz, plan->n_missing, 0));
	plan = freeze_plan_free(plan);
}

Test(plan, a_directory_bound_to_an_excluded_path_does_not_exclude_the_whole)
{
	static const struct freeze_rule pods = {FREEZE_RULE_PATH, "/pods/*"};
	const struct freeze_rules rules = {.all = true, .exclude = &pods, .n_exclude = 1};
	struct freeze_mount mounts[] = {disk("/", "ext4", 1), disk("/pods/a", "ext4", 1)};

	mounts[1].is_fs_root = false;
	expect_plan(mounts, 2, &rules, "/ freeze; ");
	/* Without a mount of the whole, its parts speak for it. */
	mounts[0].is_fs_root = false;
	mounts[0].target = "/home";
	expect_plan(mounts, 2, &rules, "/home excluded; ");
}

Test(plan, no_allowed_path_means_what_is_mounted_in_another_namespace)
{
	const char *const roots[] = {"/srv", "/"};
	const struct freeze_rules srv = {.roots = roots, .n_roots = 1};
	struct freeze_mount mounts[] = {disk("/srv", "ext4", 1), disk("/srv/a", "xfs", 2)};

	mounts[1].is_elsewhere = true;
	expect_plan(mounts, 2, &srv, "/srv/a not-allowed; /srv freeze; ");
	expect_plan(mounts, 2, &allow_all, "/srv/a freeze; /srv freeze; ");
	/* A container's / is not frozen last, for it is not the machine's. */
	mounts[1].target = "/";
	expect_plan(mounts, 2, &allow_all, "/ freeze; /srv freeze; ");
}
