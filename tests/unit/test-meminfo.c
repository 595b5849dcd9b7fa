/* SPDX-License-Identifier: MIT */

/*
 * policy/meminfo.c on this machine's /proc, and on a directory that stands for one.
 */

#include "policy/meminfo.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <sys/stat.h>

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	cr_assert(ne(ptr, f, NULL));
	cr_assert(ge(int, fputs(text, f), 0));
	fclose(f);
}

static void remove_file(const char *dir, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)remove(path);
}

static void remove_proc(const char *dir)
{
	remove_file(dir, "meminfo");
	remove_file(dir, "vmstat");
	remove_file(dir, "pressure/memory");
	remove_file(dir, "pressure");
	cr_assert(eq(int, rmdir(dir), 0));
}

Test(meminfo, this_machine_has_figures_that_make_sense)
{
	struct meminfo *meminfo;
	struct memory_figures f;

	cr_assert(eq(int, meminfo_new("/proc", &meminfo), 0));
	for (int i = 0; i < 3; i++) {
		cr_assert(eq(int, meminfo_read(meminfo, &f), 0));
		cr_expect(gt(u64, f.total_kb, 0));
		cr_expect(gt(u64, f.committed_kb, 0));
		cr_expect(le(u64, f.free_kb, f.total_kb));
		cr_expect(le(u64, f.available_kb, f.total_kb));
		cr_expect(le(u64, f.swap_free_kb, f.swap_total_kb));
	}
	meminfo_free(meminfo);
}

Test(meminfo, files_are_read_anew_and_stalls_may_be_missing)
{
	char dir[] = "/tmp/test-meminfo-XXXXXX", pressure[64];
	struct meminfo *meminfo;
	struct memory_figures f;

	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	cr_expect(lt(int, meminfo_new(dir, &meminfo), 0));
	write_file(dir, "meminfo", "MemTotal: 4 kB\nMemFree: 3 kB\nMemAvailable: 2 kB\n"
				   "Committed_AS: 1 kB\n");
	cr_expect(lt(int, meminfo_new(dir, &meminfo), 0));
	write_file(dir, "vmstat", "pswpout 5\n");

	cr_assert(eq(int, meminfo_new(dir, &meminfo), 0));
	cr_assert(eq(int, meminfo_read(meminfo, &f), 0));
	cr_expect(not(f.has_stalls));
	write_file(dir, "vmstat", "pswpout 6\n");
	cr_assert(eq(int, meminfo_read(meminfo, &f), 0));
	cr_expect(eq(u64, f.swapped_out_pages, 6));
	write_file(dir, "vmstat", "pswpout\n");
	cr_expect(eq(int, meminfo_read(meminfo, &f), MEMINFO_BAD));
	write_file(dir, "vmstat", "pswpout 7\n");
	write_file(dir, "meminfo", "MemTotal:\n");
	cr_expect(eq(int, meminfo_read(meminfo, &f), MEMINFO_BAD));
	meminfo_free(meminfo);

	snprintf(pressure, sizeof(pressure), "%s/pressure", dir);
	cr_assert(eq(int, mkdir(pressure, 0700), 0));
	write_file(dir, "meminfo", "MemTotal: 4 kB\nMemFree: 3 kB\nMemAvailable: 2 kB\n"
				   "Committed_AS: 1 kB\n");
	write_file(dir, "pressure/memory", "some avg10=1.00 total=2\nfull avg10=0.50 total=1\n");
	cr_assert(eq(int, meminfo_new(dir, &meminfo), 0));
	cr_assert(eq(int, meminfo_read(meminfo, &f), 0));
	cr_expect(f.has_stalls);
	cr_expect(eq(u32, f.some.avg10_centipercent, 100));
	write_file(dir, "pressure/memory", "");
	cr_assert(eq(int, meminfo_read(meminfo, &f), 0));
	cr_expect(not(f.has_stalls));
	meminfo_free(meminfo);
	remove_proc(dir);
}
