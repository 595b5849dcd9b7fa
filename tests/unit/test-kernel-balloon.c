/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/kernel_balloon.c on files that stand for the kernel's.
 */

#include "tests/unit/tree.h"

#include "memhotplug/kernel_balloon.h"

#include <stdint.h>

TestSuite(kernel_balloon, .init = tree_init, .fini = tree_fini);

Test(kernel_balloon, the_driver_s_figures_are_read)
{
	struct kernel_balloon b;

	cr_expect(eq(int, kernel_balloon_read(tree_path("hv-balloon"), &b), KERNEL_BALLOON_NONE));
	/* As Linux 6.12 writes it. */
	tree_file("hv-balloon", "host_version          : 2.0\n"
				"capabilities          : enabled hot_add\n"
				"state                 : 1 (Initialized)\n"
				"page_size             : 4096\n"
				"pages_added           : 65536\n"
				"pages_onlined         : 32768\n"
				"pages_ballooned       : 1234\n"
				"total_pages_committed : 977790\n"
				"max_dynamic_page_count: 268435456\n");
	cr_assert(eq(int, kernel_balloon_read(tree_path("hv-balloon"), &b), 0));
	expect_text(b.version, "2.0");
	expect_text(b.state, "Initialized");
	cr_expect(b.can_balloon && b.can_hot_add);
	cr_expect(eq(u64, b.added_pages, 65536));
	cr_expect(eq(u64, b.onlined_pages, 32768));
	cr_expect(eq(u64, b.ballooned_pages, 1234));
	cr_expect(eq(u64, b.committed_pages, 977790));
	cr_expect(eq(u64, b.max_pages, 268435456));
}

Test(kernel_balloon, what_is_missing_or_unknown_is_passed_over)
{
	struct kernel_balloon b;

	tree_file("hv-balloon", "capabilities:\nno colon\n: 5\nnew_figure : 7\nstate : 9\n");
	cr_assert(eq(int, kernel_balloon_read(tree_path("hv-balloon"), &b), 0));
	cr_expect(not(b.can_balloon || b.can_hot_add));
	expect_text(b.state, "9");
	expect_text(b.version, "");
	cr_expect(eq(u64, b.ballooned_pages, 0));
	tree_file("hv-balloon", "nothing that : is known\n");
	cr_expect(eq(int, kernel_balloon_read(tree_path("hv-balloon"), &b), KERNEL_BALLOON_UNKNOWN));
	tree_file("hv-balloon", "");
	cr_expect(eq(int, kernel_balloon_read(tree_path("hv-balloon"), &b), KERNEL_BALLOON_UNKNOWN));
}

Test(kernel_balloon, a_driver_with_a_device_is_bound)
{
	cr_expect(not(kernel_balloon_is_bound(tree_path("hv_balloon"))));
	tree_file("hv_balloon/unbind", "");
	tree_file("hv_balloon/new_id", "");
	cr_expect(not(kernel_balloon_is_bound(tree_path("hv_balloon"))));
	tree_link("hv_balloon/1eccfd72-4b41-45ef-b73a-4a6e44c12924", "/nowhere");
	cr_expect(kernel_balloon_is_bound(tree_path("hv_balloon")));
}
