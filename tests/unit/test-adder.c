/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/adder.c on trees that stand for the kernel's. Blocks have 128 MiB; memory is at blocks 0
 * and 1; a window of soft-reserved memory, where there is one, at blocks 256 to 263. No kernel makes
 * blocks here of what is written, so what is seen is the words, and that nothing is promised that
 * did not come; memory that really is added is for the VM tests.
 */

#include "tests/unit/tree.h"

#include "memhotplug/adder.h"

#include <stdint.h>

#define BLOCK_PAGES UINT64_C(32768)

static char blocks_dir[PATH_MAX], dax_dir[PATH_MAX], iomem[PATH_MAX];

static void init(void)
{
	tree_init();
	strcpy(blocks_dir, tree_path("memory"));
	strcpy(dax_dir, tree_path("dax"));
	strcpy(iomem, tree_path("iomem"));
	tree_file("memory/block_size_bytes", "8000000\n");
	tree_file("memory/memory0/state", "online\n");
	tree_file("memory/memory1/state", "online\n");
	tree_file("iomem", "00000000-0fffffff : System RAM\n");
}

TestSuite(adder, .init = init, .fini = tree_fini);

static struct adder *open_adder(enum adder_method want)
{
	const struct adder_config config = {
		.blocks_dir = blocks_dir, .dax_dir = dax_dir, .iomem = iomem,
	};
	struct adder *adder;

	cr_assert(eq(int, adder_new(&config, &adder), 0));
	cr_assert(eq(int, adder_method(adder), want), "%s", adder_method_name(adder_method(adder)));
	return adder;
}

static struct adder_result add(struct adder *adder, uint64_t first_block, uint64_t n_pages)
{
	const struct hotadd_request request = {.range = {first_block * BLOCK_PAGES, n_pages}};
	struct adder_result result;

	adder_add(adder, &request, false, &result);
	return result;
}

static bool says(const struct adder_result *result, const char *what)
{
	return result->why && strstr(result->why, what);
}

static void make_window(void)
{
	tree_file("iomem", "00000000-0fffffff : System RAM\n"
			   "  01000000-01ffffff : Kernel code\n"
			   "8000000000-8000000fff : Soft Reserved\n"
			   "800000000-83fffffff : Soft Reserved\n"
			   "  840000000-87fffffff : Soft Reserved\n");
	/* The region is beside the devices that are in it. */
	tree_file("platform/hmem.0/dax0.0/size", "1073741824\n");
	tree_file("platform/hmem.0/dax0.0/mapping", "");
	tree_file("platform/hmem.0/dax_region/create", "");
	tree_file("dax/devices/other", "");
	tree_link("dax/devices/dax0.0", tree_path("platform/hmem.0/dax0.0"));
	tree_file("dax/drivers/kmem/bind", "");
	tree_file("dax/drivers/device_dax/unbind", "");
	tree_file("dax/drivers/device_dax/dax0.0", "");
}

Test(adder, a_machine_that_cannot_says_why)
{
	struct adder *adder = open_adder(ADDER_NONE);
	struct adder_result result = add(adder, 256, BLOCK_PAGES);

	cr_expect(eq(u64, result.pages, 0));
	cr_expect(says(&result, "memmap="), "%s", result.why);
	adder_free(adder);

	make_window();
	tree_remove("dax/drivers/kmem");
	adder = open_adder(ADDER_NONE);
	result = add(adder, 256, BLOCK_PAGES);
	cr_expect(eq(u64, result.pages, 0));
	cr_expect(says(&result, "kmem is missing"), "%s", result.why);
	adder_free(adder);
}

Test(adder, the_probe_file_is_given_addresses)
{
	struct adder_result result;
	struct adder *adder;

	tree_file("memory/probe", "");
	adder = open_adder(ADDER_PROBE);
	result = add(adder, 256, BLOCK_PAGES);
	expect_text(tree_text("memory/probe"), "0x800000000");
	cr_expect(eq(u64, result.pages, 0)); /* this kernel makes no block of it */
	cr_expect(says(&result, "see its log"), "%s", result.why);
	result = add(adder, 1, BLOCK_PAGES);
	cr_expect(says(&result, "there is memory"), "%s", result.why);
	result = add(adder, 256, BLOCK_PAGES - 1);
	cr_expect(says(&result, "does not fill"), "%s", result.why);
	adder_free(adder);
}

Test(adder, a_piece_of_the_window_is_mapped_and_bound)
{
	struct adder_result result;
	struct adder *adder;

	make_window();
	adder = open_adder(ADDER_DAX);
	result = add(adder, 258, 2 * BLOCK_PAGES + 1);
	expect_text(tree_text("dax/drivers/device_dax/unbind"), "dax0.0");
	expect_text(tree_text("platform/hmem.0/dax0.0/size"), "0");
	expect_text(tree_text("platform/hmem.0/dax0.0/mapping"), "810000000-81fffffff");
	expect_text(tree_text("dax/drivers/kmem/bind"), "dax0.0");
	cr_expect(eq(u64, result.pages, 0)); /* as above */
	adder_free(adder);
}

Test(adder, a_device_of_kmem_is_left_alone_and_another_one_asked_for)
{
	struct adder_result result;
	struct adder *adder;

	make_window();
	tree_file("dax/drivers/kmem/dax0.0", "");
	adder = open_adder(ADDER_NONE);
	result = add(adder, 258, BLOCK_PAGES);
	cr_expect(says(&result, "taken all of it at boot"), "%s", result.why);
	adder_free(adder);
	tree_file("platform/hmem.0/dax_region/available_size", "268435456\n");
	adder = open_adder(ADDER_DAX);
	result = add(adder, 258, BLOCK_PAGES);
	expect_text(tree_text("platform/hmem.0/dax_region/create"), "1");
	expect_text(tree_text("platform/hmem.0/dax0.0/size"), "1073741824\n");
	cr_expect(says(&result, "no room"), "%s", result.why);
	/* The kernel has made one. */
	tree_file("platform/hmem.0/dax0.1/size", "0\n");
	tree_file("platform/hmem.0/dax0.1/mapping", "");
	tree_link("dax/devices/dax0.1", tree_path("platform/hmem.0/dax0.1"));
	result = add(adder, 258, BLOCK_PAGES);
	expect_text(tree_text("dax/drivers/kmem/bind"), "dax0.1");
	expect_text(tree_text("platform/hmem.0/dax0.1/mapping"), "810000000-817ffffff");
	adder_free(adder);
}

Test(adder, outside_of_the_window_nothing_is_tried)
{
	struct adder_result result;
	struct adder *adder;

	make_window();
	adder = open_adder(ADDER_DAX);
	result = add(adder, 300, BLOCK_PAGES);
	cr_expect(eq(u64, result.pages, 0));
	cr_expect(says(&result, "memmap="), "%s", result.why);
	expect_text(tree_text("platform/hmem.0/dax0.0/mapping"), "");
	adder_free(adder);
}

Test(adder, what_a_daemon_that_died_had_added_counts)
{
	const struct hotadd_request request = {.range = {256 * BLOCK_PAGES, 2 * BLOCK_PAGES}};
	struct adder_result result;
	struct adder *adder;

	tree_file("memory/probe", "");
	tree_file("memory/memory256/state", "online\n");
	adder = open_adder(ADDER_PROBE);
	adder_add(adder, &request, false, &result);
	cr_expect(eq(u64, result.pages, 0));
	cr_expect(says(&result, "there is memory"), "%s", result.why);
	adder_add(adder, &request, true, &result);
	cr_expect(eq(u64, result.pages, BLOCK_PAGES));
	expect_text(tree_text("memory/probe"), "0x808000000");
	tree_file("memory/memory257/state", "offline\n");
	adder_add(adder, &request, true, &result);
	cr_expect(eq(u64, result.pages, 2 * BLOCK_PAGES));
	cr_expect(eq(int, result.why == NULL, 1), "%s", result.why);
	adder_free(adder);
}
