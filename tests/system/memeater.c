/* SPDX-License-Identifier: MIT */

/*
 * Makes memory scarce on purpose: takes SIZE bytes, touches every page of them, holds them, and
 * gives them back at SIGTERM, after --hold seconds, or when the process that started it ends.
 *
 * With --step it takes that much at a time with a tenth of a second in between, so that whoever
 * watches demand sees it rise. It refuses more than 2 GiB, and it is the first that the kernel
 * ends should memory run out.
 */

#include "base/error.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
	DEFAULT_HOLD_SECONDS = 600,
	STEP_PAUSE_NS = 100000000,
	EXIT_USAGE = 2,
};

#define SIZE_LIMIT_BYTES (UINT64_C(2) << 30)

/* A number with an optional K, M or G behind it, in powers of 1024. */
static bool parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMG";
	unsigned long long number;
	const char *unit;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno || end == text || text[0] == '-')
		return false;
	if (*end) {
		unit = strchr(units, *end++);
		if (!unit || *end || number > SIZE_LIMIT_BYTES)
			return false;
		number <<= 10 * (unit - units + 1);
	}
	*ret_bytes = number;
	return true;
}

static bool parse_options(int argc, char **argv, uint64_t *ret_bytes, uint64_t *ret_step_bytes,
			  uint64_t *ret_hold_seconds)
{
	static const struct option longs[] = {
		{"hold", required_argument, NULL, 'h'},
		{"step", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	bool good = true;
	int c;

	while (good && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'h')
			good = parse_size(optarg, ret_hold_seconds);
		else if (c == 's')
			good = parse_size(optarg, ret_step_bytes) && *ret_step_bytes > 0;
		else
			good = false;
	}
	return good && optind == argc - 1 && parse_size(argv[optind], ret_bytes) && *ret_bytes > 0;
}

/* The kernel's first choice when memory runs out. Without /proc this is not possible, and skipped. */
static void volunteer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1000", 4) < 0)
		perror("memeater: oom_score_adj");
	close(fd);
}

/* Waits for a signal for at most the given time; true if one came. */
static bool wait_for_signal(const sigset_t *signals, uint64_t seconds, long ns)
{
	struct timespec limit = {.tv_sec = (time_t)seconds, .tv_nsec = ns};

	return sigtimedwait(signals, NULL, &limit) > 0;
}

static void touch(uint8_t *memory, uint64_t bytes)
{
	long page_bytes = sysconf(_SC_PAGESIZE);

	for (uint64_t at = 0; at < bytes; at += (uint64_t)page_bytes)
		memory[at] = 1;
}

/* Takes the memory step by step; true if a signal came before all of it was taken. */
static bool eat(uint8_t *memory, uint64_t bytes, uint64_t step_bytes, const sigset_t *signals)
{
	for (uint64_t at = 0; at < bytes; at += step_bytes) {
		uint64_t part = bytes - at < step_bytes ? bytes - at : step_bytes;

		touch(memory + at, part);
		if (at + part < bytes && wait_for_signal(signals, 0, STEP_PAUSE_NS))
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	uint64_t bytes, step_bytes = SIZE_LIMIT_BYTES, hold_seconds = DEFAULT_HOLD_SECONDS;
	sigset_t signals;
	uint8_t *memory;

	if (!parse_options(argc, argv, &bytes, &step_bytes, &hold_seconds)) {
		fputs("usage: memeater SIZE[K|M|G] [--hold SECONDS] [--step SIZE]\n", stderr);
		return EXIT_USAGE;
	}
	if (bytes > SIZE_LIMIT_BYTES) {
		fputs("memeater: 2G is the most it takes\n", stderr);
		return EXIT_USAGE;
	}

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	volunteer();

	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("memeater");
		return EXIT_FAILURE;
	}
	if (!eat(memory, bytes, step_bytes, &signals)) {
		printf("holding %llu bytes\n", (unsigned long long)bytes);
		fflush(stdout);
		(void)wait_for_signal(&signals, hold_seconds, 0);
	}
	munmap(memory, bytes);
	return EXIT_SUCCESS;
}
