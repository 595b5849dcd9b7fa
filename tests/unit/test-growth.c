/* SPDX-License-Identifier: MIT */

/*
 * disks/growth.c: which layouts may grow, and the reason of each that may not.
 */

#include "disks/growth.h"
#include "tests/unit/tree.h"

#define MIB (UINT64_C(1) << 20)

/* A disk of 100 MiB with a GPT, whose last partition is an ext4 in use from 11 MiB to 61 MiB. */
static struct disk_layout *simple(void)
{
	static struct disk_layout l;

	l = (struct disk_layout){
		.name = "sda",
		.size_bytes = 100 * MIB,
		.sector_bytes = 512,
		.table = DISK_TABLE_GPT,
		.usable_end_bytes = 100 * MIB - 33 * 512,
		.n_parts = 2,
		.parts = {
			{.number = 2, .start_bytes = 11 * MIB, .size_bytes = 50 * MIB,
			 .table_bytes = 50 * MIB, .content = "ext4", .content_bytes = 50 * MIB,
			 .mount = "/"},
			{.number = 1, .start_bytes = MIB, .size_bytes = 10 * MIB,
			 .table_bytes = 10 * MIB, .content = "vfat"},
		},
	};
	return &l;
}

static struct disk_growth plan(const struct disk_layout *l)
{
	struct disk_growth g;

	memset(&g, 0x55, sizeof(g));
	disk_growth_plan(l, &g);
	return g;
}

Test(growth, the_last_partition_grows_to_the_end_by_whole_pages)
{
	struct disk_growth g = plan(simple());
	uint64_t end = 100 * MIB - 20480; /* 33 sectors less, cut to 4 KiB */

	cr_expect(eq(int, g.verdict, DISK_CAN_GROW));
	cr_expect(eq(sz, g.part, 0));
	cr_expect(eq(u64, g.partition_bytes, end - 11 * MIB));
	cr_expect(eq(u64, g.unused_bytes, end - 61 * MIB));
	expect_text(g.reason, "");
}

Test(growth, a_file_system_that_is_shorter_than_its_partition_grows_alone)
{
	struct disk_layout *l = simple();
	struct disk_growth g;

	l->parts[0].size_bytes = l->parts[0].table_bytes = 89 * MIB - 20480;
	g = plan(l);
	cr_expect(eq(int, g.verdict, DISK_CAN_GROW));
	cr_expect(eq(u64, g.partition_bytes, 0));
	cr_expect(eq(u64, g.unused_bytes, 39 * MIB - 20480));
}

Test(growth, a_growth_that_was_interrupted_after_the_table_goes_on)
{
	struct disk_layout *l = simple();

	l->parts[0].table_bytes = 89 * MIB - 20480;
	cr_expect(eq(int, plan(l).verdict, DISK_CAN_GROW));
	cr_expect(eq(u64, plan(l).partition_bytes, 89 * MIB - 20480));
}

Test(growth, a_disk_without_a_table_grows_its_file_system)
{
	struct disk_layout *l = simple();

	l->table = DISK_TABLE_NONE;
	l->usable_end_bytes = 0;
	l->n_parts = 1;
	l->parts[0].number = 0;
	l->parts[0].start_bytes = 0;
	l->parts[0].size_bytes = l->parts[0].table_bytes = 100 * MIB;
	cr_expect(eq(int, plan(l).verdict, DISK_CAN_GROW));
	cr_expect(eq(u64, plan(l).partition_bytes, 0));
	cr_expect(eq(u64, plan(l).unused_bytes, 50 * MIB));
	l->parts[0].content_bytes = 100 * MIB;
	cr_expect(eq(int, plan(l).verdict, DISK_FULL));
}

Test(growth, less_than_a_mebibyte_is_nothing)
{
	struct disk_layout *l = simple();

	l->parts[0].size_bytes = l->parts[0].table_bytes = 88 * MIB;
	l->parts[0].content_bytes = 88 * MIB - MIB + 1;
	cr_expect(eq(int, plan(l).verdict, DISK_FULL));
	cr_expect(eq(u64, plan(l).unused_bytes, 0));
	l->parts[0].content_bytes = 87 * MIB;
	cr_expect(eq(int, plan(l).verdict, DISK_CAN_GROW));
}

Test(growth, a_table_of_dos_ends_at_two_tebibytes)
{
	struct disk_layout *l = simple();

	l->table = DISK_TABLE_DOS;
	l->size_bytes = l->usable_end_bytes = UINT64_C(3) << 40;
	cr_expect(eq(u64, plan(l).partition_bytes, (UINT64_C(2) << 40) - 4096 - 11 * MIB));
}

static void no_parts(struct disk_layout *l) { l->n_parts = 0; }
static void other_table(struct disk_layout *l) { l->table = DISK_TABLE_OTHER; }
static void problem(struct disk_layout *l) { strcpy(l->problem, "its GPT is damaged"); }
static void overlap(struct disk_layout *l) { l->parts[1].size_bytes = 10 * MIB + 512; }
static void outside(struct disk_layout *l) { l->parts[0].size_bytes = 90 * MIB; }
static void wraps(struct disk_layout *l) { l->parts[0].size_bytes = UINT64_MAX - MIB; }
static void nested(struct disk_layout *l) { l->parts[0].is_nested = true; }
static void held(struct disk_layout *l) { strcpy(l->parts[0].holder, "dm-0"); }
static void empty(struct disk_layout *l) { l->parts[0].content[0] = '\0'; }
static void lvm(struct disk_layout *l) { strcpy(l->parts[0].content, "LVM2_member"); }
static void unmounted(struct disk_layout *l) { l->parts[0].mount[0] = '\0'; }
static void read_only(struct disk_layout *l) { l->parts[0].is_read_only = true; }
static void unknown(struct disk_layout *l) { l->parts[0].content_bytes = 0; }
static void protected(struct disk_layout *l) { l->is_read_only = true; }
static void other_last(struct disk_layout *l) { l->parts[1].start_bytes = 61 * MIB; }

Test(growth, what_is_not_simple_is_refused_and_the_reason_is_said)
{
	static const struct {
		void (*change)(struct disk_layout *l);
		enum disk_verdict verdict;
		const char *reason;
	} rows[] = {
		{no_parts, DISK_FULL, "there is nothing on it"},
		{other_table, DISK_REFUSED, "its partition table is of a kind that is not known here"},
		{problem, DISK_REFUSED, "its GPT is damaged"},
		{overlap, DISK_REFUSED, "its partitions overlap, or reach out of it"},
		{outside, DISK_REFUSED, "its partitions overlap, or reach out of it"},
		{wraps, DISK_REFUSED, "its partitions overlap, or reach out of it"},
		{nested, DISK_REFUSED, "partition 2 is an extended one, or in one"},
		{held, DISK_REFUSED,
		 "partition 2 is used by dm-0: make that larger with its own tools"},
		{empty, DISK_REFUSED, "partition 2 has nothing on it that is known"},
		{lvm, DISK_REFUSED, "partition 2 has LVM2_member, which is not made larger here"},
		{unmounted, DISK_REFUSED, "the ext4 of partition 2 is not mounted"},
		{read_only, DISK_REFUSED, "the ext4 of partition 2 is mounted for reading only"},
		{unknown, DISK_REFUSED, "the size of the ext4 of partition 2 cannot be read"},
		{protected, DISK_REFUSED, "the disk can only be read"},
		{other_last, DISK_REFUSED, "partition 1 has vfat, which is not made larger here"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct disk_layout *l = simple();
		struct disk_growth g;

		rows[i].change(l);
		g = plan(l);
		cr_expect(eq(int, g.verdict, rows[i].verdict), "row %zu", i);
		expect_text(g.reason, rows[i].reason);
	}
}
