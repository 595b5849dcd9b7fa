/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/onliner.c on a tree that stands for the kernel's: each policy, and what is said when
 * things are otherwise.
 */

#include "tests/unit/tree.h"

#include "memhotplug/onliner.h"

#include <stdint.h>

TestSuite(onliner, .init = tree_init, .fini = tree_fini);

/* A block of 128 MiB that was just added; with 1 GiB of kernel memory and @movable_mib beside. */
static void add(const char *state, const char *zones, unsigned movable_mib)
{
	char text[256];

	tree_file("sys/block_size_bytes", "8000000\n");
	tree_file("sys/auto_online_blocks", "offline\n");
	tree_file("sys/memory40/state", state);
	tree_file("sys/memory40/valid_zones", zones);
	snprintf(text, sizeof(text),
		 "Node 0, zone   Normal\n        present  262144\n"
		 "Node 0, zone  Movable\n        present  %u\n", movable_mib * 256);
	tree_file("zoneinfo", text);
}

static struct onliner_result bring(enum hotadd_policy policy)
{
	struct onliner_config config = {
		.dir = tree_path("sys"),
		.zoneinfo = tree_path("zoneinfo"),
		.policy = policy,
		.ratio_percent = 301,
	};
	struct onliner_result result;

	onliner_bring(&config, 40, &result);
	return result;
}

Test(onliner, each_policy_has_its_word)
{
	static const struct {
		enum hotadd_policy policy;
		unsigned movable_mib;
		const char *zones, *want;
		enum onliner_outcome outcome;
	} rows[] = {
		{HOTADD_OFF, 0, "Normal Movable\n", "offline\n", ONLINER_LEFT},
		{HOTADD_ONLINE, 0, "Normal Movable\n", "online", ONLINER_ONLINED},
		{HOTADD_KERNEL, 0, "Normal Movable\n", "online_kernel", ONLINER_ONLINED},
		{HOTADD_MOVABLE, 0, "Normal Movable\n", "online_movable", ONLINER_ONLINED},
		{HOTADD_AUTO, 0, "Normal Movable\n", "online_movable", ONLINER_ONLINED},
		{HOTADD_AUTO, 2900, "Normal Movable\n", "online_movable", ONLINER_ONLINED},
		{HOTADD_AUTO, 3000, "Normal Movable\n", "online_kernel", ONLINER_ONLINED},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct onliner_result result;

		add("offline\n", rows[i].zones, rows[i].movable_mib);
		result = bring(rows[i].policy);
		cr_expect(eq(int, result.outcome, rows[i].outcome), "row %zu", i);
		expect_text(tree_text("sys/memory40/state"), rows[i].want);
		expect_text(result.text, "");
	}
}

Test(onliner, without_figures_a_block_is_the_kernel_s)
{
	add("offline\n", "Normal Movable\n", 0);
	tree_remove("zoneinfo");
	cr_expect(eq(int, bring(HOTADD_AUTO).outcome, ONLINER_ONLINED));
	expect_text(tree_text("sys/memory40/state"), "online_kernel");
}

Test(onliner, a_block_that_is_online_is_left_where_it_is)
{
	struct onliner_result result;

	add("online\n", "Normal\n", 0);
	result = bring(HOTADD_ONLINE);
	cr_expect(eq(int, result.outcome, ONLINER_BY_KERNEL));
	cr_expect(eq(int, result.zone, BLOCK_ZONE_NORMAL));
	expect_text(result.text, "");
	result = bring(HOTADD_MOVABLE);
	cr_expect(eq(int, result.outcome, ONLINER_BY_KERNEL));
	cr_expect(eq(int, strstr(result.text, "udev rule") != NULL, 1));
	tree_file("sys/auto_online_blocks", "online_kernel\n");
	result = bring(HOTADD_MOVABLE);
	cr_expect(eq(int, strstr(result.text, "zone Normal (auto_online_blocks is online_kernel)") != NULL,
		     1), "%s", result.text);
	expect_text(tree_text("sys/memory40/state"), "online\n");
}

Test(onliner, a_block_that_is_gone_is_no_failure)
{
	cr_expect(eq(int, bring(HOTADD_ONLINE).outcome, ONLINER_GONE));
}

Test(onliner, a_failure_is_explained)
{
	struct onliner_result result;

	add("offline\n", "Normal Movable\n", 0);
	tree_link("sys/memory40/state", "/dev/full");
	result = bring(HOTADD_ONLINE);
	cr_expect(eq(int, result.outcome, ONLINER_FAILED));
	cr_expect(eq(int, strstr(result.text, "online: a driver refuses") != NULL, 1), "%s", result.text);
}

Test(onliner, every_outcome_has_a_name)
{
	for (int outcome = 0; outcome < ONLINER_N_OUTCOMES; outcome++)
		cr_expect(gt(sz, strlen(onliner_outcome_name(outcome)), 3));
}
