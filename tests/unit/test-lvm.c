/* SPDX-License-Identifier: MIT */

/* What LVM's commands say, taken apart; that they do what they should is shown by the VM test disks. */

#include "host/lvm.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

static const uint64_t MIB = UINT64_C(1) << 20, GIB = UINT64_C(1) << 30;

Test(lvm, a_snapshot_has_a_fifth_of_its_volume_unless_another_size_is_wanted)
{
	static const struct {
		uint64_t size_mib, free_mib, wanted_mib, expected_mib;
	} rows[] = {
		{10240, 100000, 0, 2048},
		{10240, 1000, 0, 1000}, /* what there is */
		{100, 1000, 0, 64},     /* a small volume can be overwritten in a moment */
		{100, 8, 0, 8},
		{10240, 0, 0, 0},
		{10240, 1000, 500, 500},
		{10240, 1000, 1000, 1000},
		{10240, 1000, 1001, 0}, /* less than was asked for is no use */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(eq(u64,
			     lvm_choose_cow(rows[i].size_mib * MIB, rows[i].free_mib * MIB,
					    rows[i].wanted_mib * MIB),
			     rows[i].expected_mib * MIB),
			  "row %zu", i);
}

static bool read_row(const char *row, struct lvm_volume *ret_volume, uint64_t *ret_size, uint64_t *ret_free)
{
	json_t *report = json_pack("{s:[{s:[o*]}]}", "report", "lv", json_loads(row, 0, NULL));
	bool ok = lvm_read_volume(report, ret_volume, ret_size, ret_free);

	json_decref(report);
	return ok;
}

Test(lvm, what_lvs_says_of_a_volume_is_taken)
{
	struct lvm_volume volume;
	uint64_t size, free_bytes;

	cr_assert(read_row("{\"vg_name\":\"vg0\", \"lv_name\":\"web-1\", \"lv_size\":\"10737418240\", "
			   "\"vg_free\":\"1073741824\", \"lv_layout\":\"linear\"}",
			   &volume, &size, &free_bytes));
	cr_expect(eq(str, volume.group, "vg0"));
	cr_expect(eq(str, volume.name, "web-1"));
	cr_expect(eq(u64, size, 10 * GIB));
	cr_expect(eq(u64, free_bytes, GIB));
	cr_expect(not(volume.is_thin));
	cr_assert(read_row("{\"vg_name\":\"vg0\", \"lv_name\":\"t\", \"lv_size\":\"4194304\", "
			   "\"vg_free\":\"0\", \"lv_layout\":\"thin,sparse\"}",
			   &volume, &size, &free_bytes));
	cr_expect(volume.is_thin);
	/* The pool of thin volumes is none itself. */
	cr_assert(read_row("{\"vg_name\":\"vg0\", \"lv_name\":\"p\", \"lv_size\":\"4194304\", "
			   "\"vg_free\":\"0\", \"lv_layout\":\"thin,pool\"}",
			   &volume, &size, &free_bytes));
	cr_expect(not(volume.is_thin));
}

Test(lvm, an_answer_that_lacks_something_is_none)
{
	static const char *const rows[] = {
		"{\"lv_name\":\"x\", \"lv_size\":\"1\", \"vg_free\":\"1\"}",
		"{\"vg_name\":\"v\", \"lv_size\":\"1\", \"vg_free\":\"1\"}",
		"{\"vg_name\":\"v\", \"lv_name\":\"x\", \"vg_free\":\"1\"}",
		"{\"vg_name\":\"v\", \"lv_name\":\"x\", \"lv_size\":\"1.00g\", \"vg_free\":\"1\"}",
		"{\"vg_name\":\"v\", \"lv_name\":\"x\", \"lv_size\":1, \"vg_free\":\"1\"}",
		"[]",
	};
	struct lvm_volume volume;
	uint64_t size, free_bytes;
	json_t *empty = json_object();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect(not(read_row(rows[i], &volume, &size, &free_bytes)), "row %zu", i);
	cr_expect(not(lvm_read_volume(empty, &volume, &size, &free_bytes)));
	json_decref(empty);
}

Test(lvm, a_snapshot_of_ours_tells_whose_it_is)
{
	uint64_t start;
	pid_t pid;

	cr_assert(lvm_read_owner("hvguest-backup,hvguest-backup.4711.123456789012", &pid, &start));
	cr_expect(eq(int, pid, 4711));
	cr_expect(eq(u64, start, 123456789012));
	cr_assert(lvm_read_owner("a,hvguest-backup.1.2,hvguest-backup,z", &pid, &start));
	cr_expect(eq(int, pid, 1));
	cr_expect(not(lvm_read_owner("", &pid, &start)));
	cr_expect(not(lvm_read_owner("hvguest-backup", &pid, &start)));
	cr_expect(not(lvm_read_owner("hvguest-backup,hvguest-backup.x.1", &pid, &start)));
	cr_expect(not(lvm_read_owner("hvguest-backup.-1.1", &pid, &start)));
}

Test(lvm, a_file_and_a_device_of_another_kind_are_no_volumes)
{
	cr_expect(not(lvm_is_volume("/dev/null")));
	cr_expect(not(lvm_is_volume("/etc/passwd")));
	cr_expect(not(lvm_is_volume("/nowhere")));
}
