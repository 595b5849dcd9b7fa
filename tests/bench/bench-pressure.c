/* SPDX-License-Identifier: MIT */

/*
 * bench-pressure: what one look at this machine's memory costs, as it is made for each report: all
 * figures of /proc/meminfo, /proc/vmstat and /proc/pressure/memory.
 *
 *   pressure_sample_us    policy/meminfo: the files are held open
 *   ..._stdio             each is opened, read line by line with fgets() and sscanf(), and closed
 *
 * Most of the time is the kernel's, which writes the texts anew for each reader.
 */

#include "base/clock.h"
#include "policy/meminfo.h"
#include "tests/bench/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* As many programs do it. The sum keeps a compiler from leaving it out. */
static uint64_t read_by_lines(const char *path, const char *const *names, size_t n)
{
	FILE *file = fopen(path, "re");
	char line[512], name[128];
	uint64_t sum = 0, value;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%127s %" SCNu64, name, &value) != 2)
			continue;
		for (size_t i = 0; i < n; i++)
			if (!strcmp(name, names[i]))
				sum += value;
	}
	if (file)
		(void)fclose(file);
	return sum;
}

static uint64_t sample_by_stdio(void)
{
	static const char *const meminfo[] = {
		"MemTotal:", "MemFree:", "MemAvailable:", "Committed_AS:", "SwapTotal:", "SwapFree:",
		"Active(file):",
	};
	static const char *const vmstat[] = {
		"pswpout", "workingset_refault_anon", "workingset_refault_file", "oom_kill",
	};
	FILE *file = fopen("/proc/pressure/memory", "re");
	uint64_t sum = 0, total;
	char line[256];
	float avg10;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s avg10=%f avg60=%*f avg300=%*f total=%" SCNu64, &avg10,
			   &total) == 2)
			sum += total;
	if (file)
		(void)fclose(file);
	return sum + read_by_lines("/proc/meminfo", meminfo, sizeof(meminfo) / sizeof(meminfo[0])) +
	       read_by_lines("/proc/vmstat", vmstat, sizeof(vmstat) / sizeof(vmstat[0]));
}

static double microseconds(uint64_t begin_ns, uint64_t times)
{
	return (double)(clock_monotonic_ns() - begin_ns) / 1e3 / (double)times;
}

int main(void)
{
	struct bench_series ours = {0}, theirs = {0};
	uint64_t rounds = bench_choose(21, 11, 2), times = bench_choose(2000, 500, 20), sum = 0;
	struct memory_figures figures;
	struct meminfo *meminfo;
	int r = meminfo_new("/proc", &meminfo);

	if (r)
		bench_die("/proc", -r);
	for (uint64_t round = 0; round < rounds; round++) {
		uint64_t begin_ns = clock_monotonic_ns();

		for (uint64_t i = 0; i < times; i++)
			if (meminfo_read(meminfo, &figures))
				bench_die("/proc/meminfo", EIO);
		bench_add(&ours, microseconds(begin_ns, times));
		begin_ns = clock_monotonic_ns();
		for (uint64_t i = 0; i < times; i++)
			sum += sample_by_stdio();
		bench_add(&theirs, microseconds(begin_ns, times));
	}
	if (sum == 0)
		bench_die("/proc", EIO);
	bench_print_pair("pressure_sample_us", "stdio", &ours, &theirs, "us", BENCH_SMALLER);
	(void)meminfo_free(meminfo);
	return 0;
}
