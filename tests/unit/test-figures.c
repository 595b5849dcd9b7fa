/* SPDX-License-Identifier: MIT */

/*
 * policy/figures.c: real texts of the kernel, and texts that lack something or lie. Each text is
 * parsed in a buffer of its exact size.
 */

#include "policy/figures.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const char meminfo[] =
	"MemTotal:         797300 kB\n"
	"MemFree:          655012 kB\n"
	"MemAvailable:     669508 kB\n"
	"Buffers:            2384 kB\n"
	"Active(file):      41232 kB\n"
	"SwapCached:            0 kB\n"
	"SwapTotal:       1048572 kB\n"
	"SwapFree:        1040380 kB\n"
	"CommitLimit:     1447220 kB\n"
	"Committed_AS:       4816 kB\n"
	"HugePages_Total:       0\n";

static const char vmstat[] =
	"nr_free_pages 163753\n"
	"zswpout 7\n"
	"pswpin 12\n"
	"pswpout 4711\n"
	"pgmajfault 99\n"
	"workingset_refault_anon 3\n"
	"workingset_refault_file 40\n"
	"oom_kill 2\n";

static const char pressure[] =
	"some avg10=3.44 avg60=0.87 avg300=0.20 total=335120\n"
	"full avg10=12.05 avg60=0.66 avg300=0.15 total=255004\n";

typedef int parser(const char *text, size_t len, struct memory_figures *ret_figures);

/* Parses a copy of exactly @len bytes on the heap, without a NUL behind it. */
static int parse_exact(parser *parse, const char *text, size_t len, struct memory_figures *figures)
{
	char *copy = malloc(len ? len : 1);
	int r;

	cr_assert(ne(ptr, copy, NULL));
	memcpy(copy, text, len);
	r = parse(copy, len, figures);
	free(copy);
	return r;
}

Test(figures, the_files_of_a_kernel_are_understood)
{
	struct memory_figures f = {0};

	cr_assert(eq(int, parse_exact(figures_parse_meminfo, meminfo, strlen(meminfo), &f), 0));
	cr_assert(eq(int, parse_exact(figures_parse_vmstat, vmstat, strlen(vmstat), &f), 0));
	cr_assert(eq(int, parse_exact(figures_parse_pressure, pressure, strlen(pressure), &f), 0));
	cr_expect(eq(u64, f.total_kb, 797300));
	cr_expect(eq(u64, f.free_kb, 655012));
	cr_expect(eq(u64, f.available_kb, 669508));
	cr_expect(eq(u64, f.committed_kb, 4816));
	cr_expect(eq(u64, f.swap_total_kb, 1048572));
	cr_expect(eq(u64, f.swap_free_kb, 1040380));
	cr_expect(eq(u64, f.swapped_out_pages, 4711));
	cr_expect(eq(u64, f.active_file_kb, 41232));
	cr_expect(eq(u64, f.refaults, 43));
	cr_expect(eq(u64, f.oom_kills, 2));
	cr_expect(f.has_stalls);
	cr_expect(eq(u32, f.some.avg10_centipercent, 344));
	cr_expect(eq(u64, f.some.total_us, 335120));
	cr_expect(eq(u32, f.full.avg10_centipercent, 1205));
	cr_expect(eq(u64, f.full.total_us, 255004));
}

Test(figures, a_text_that_ends_early_never_yields_half_a_set)
{
	static const struct {
		parser *parse;
		const char *text;
	} rows[] = {
		{figures_parse_meminfo, meminfo},
		{figures_parse_vmstat, vmstat},
		{figures_parse_pressure, pressure},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t len = 0; len < strlen(rows[i].text); len++) {
			struct memory_figures f = {0};
			const struct memory_figures untouched = {0};
			int r = parse_exact(rows[i].parse, rows[i].text, len, &f);

			cr_assert(r == 0 || r == FIGURES_BAD);
			if (r)
				cr_assert(eq(int, memcmp(&f, &untouched, sizeof(f)), 0));
		}
	}
}

Test(figures, a_figure_that_is_missing_or_no_number_is_bad)
{
	static const struct {
		const char *name;
		parser *parse;
		const char *text;
	} rows[] = {
		{"nothing", figures_parse_meminfo, ""},
		{"garbage", figures_parse_meminfo, "\n\n\xff\xfe:::\nMemTotal"},
		{"no available", figures_parse_meminfo,
		 "MemTotal: 1 kB\nMemFree: 1 kB\nCommitted_AS: 1 kB\n"},
		{"a word", figures_parse_meminfo,
		 "MemTotal: many kB\nMemFree: 1 kB\nMemAvailable: 1 kB\nCommitted_AS: 1 kB\n"},
		{"negative", figures_parse_meminfo,
		 "MemTotal: -1 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\nCommitted_AS: 1 kB\n"},
		{"beyond 64 bits", figures_parse_meminfo,
		 "MemTotal: 18446744073709551616 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\n"
		 "Committed_AS: 1 kB\n"},
		{"beyond 64 bits of bytes", figures_parse_meminfo,
		 "MemTotal: 1 kB\nMemFree: 1 kB\nMemAvailable: 1 kB\n"
		 "Committed_AS: 18014398509481984 kB\n"},
		{"other counters", figures_parse_vmstat, "pswpin 3\npswpoutx 4\n"},
		{"no full line", figures_parse_pressure,
		 "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"},
		{"no total", figures_parse_pressure,
		 "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00\n"},
		{"more than all the time", figures_parse_pressure,
		 "some avg10=101.00 total=0\nfull avg10=0.00 total=0\n"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memory_figures f = {0};

		cr_expect(eq(int, parse_exact(rows[i].parse, rows[i].text, strlen(rows[i].text), &f),
			     FIGURES_BAD),
			  "%s", rows[i].name);
		cr_expect(not(f.has_stalls));
	}
}

Test(figures, a_machine_without_swap_has_none)
{
	const char text[] = "Committed_AS: 4 kB\nMemAvailable: 3 kB\nMemFree: 2 kB\nMemTotal: 1 kB";
	struct memory_figures f = {.swap_total_kb = 77};

	cr_assert(eq(int, parse_exact(figures_parse_meminfo, text, strlen(text), &f), 0));
	cr_expect(eq(u64, f.total_kb, 1));
	cr_expect(eq(u64, f.committed_kb, 4));
	cr_expect(eq(u64, f.swap_total_kb, 0));
}
