/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/zones.c on files that stand for the kernel's.
 */

#include "tests/unit/tree.h"

#include "memhotplug/zones.h"

#include <stdint.h>

TestSuite(zones, .init = tree_init, .fini = tree_fini);

Test(zones, the_zones_of_all_nodes_are_added_up)
{
	struct zones zones;

	cr_expect(lt(int, zones_read(tree_path("zoneinfo"), &zones), 0));
	tree_file("zoneinfo", "Node 0, zone      DMA\n  per-node stats\n      nr_active 5\n"
			      "  pages free     3840\n        present  3998\n        managed  3840\n"
			      "Node 0, zone    DMA32\n        present  1000\n"
			      "Node 0, zone   Normal\n        present  20000\n        managed  1\n"
			      "Node 0, zone  Movable\n        present  300\n"
			      "Node 0, zone   Device\n        present  7000000\n"
			      "Node 1, zone   Normal\n        present  400000\n"
			      "Node 1, zone  Movable\n        present  5000\n");
	cr_assert(eq(int, zones_read(tree_path("zoneinfo"), &zones), 0));
	cr_expect(eq(u64, zones.kernel_pages, 424998));
	cr_expect(eq(u64, zones.movable_pages, 5300));
	tree_file("zoneinfo", "something else\n");
	cr_expect(eq(int, zones_read(tree_path("zoneinfo"), &zones), ZONES_BAD));
}
