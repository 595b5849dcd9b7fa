/* SPDX-License-Identifier: MIT */

/*
 * balloon/keeper_client.c and the program hvguest-keeper: real memory, 64 MiB at most, of 4 KiB
 * pages. A daemon that dies is a child that ends without a word; a keeper that dies is killed.
 */

#include "balloon/keeper_client.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MIB_PAGES = 256,
	AREA_BYTES = 8192,
	TRIES = 500,
	TRY_US = 10000,
};

static char run_dir[] = "/dev/shm/hvguest-keeper-XXXXXX";
static struct keeper_client_report report;
static struct keeper_client *client;
static pid_t keeper_pid;

static int make_client(struct keeper_client **ret_client)
{
	const char *build = getenv("builddir");
	char helper[512];
	struct keeper_client_config config = {
		.helper = helper,
		.run_dir = run_dir,
		.allowed = {[PAGES_SMALL] = true},
		.area_bytes = AREA_BYTES,
	};

	snprintf(helper, sizeof(helper), "%s/balloon/hvguest-keeper", build ? build : ".");
	return keeper_client_new(&config, &report, ret_client);
}

static void set_up(void)
{
	int r;

	cr_assert(ne(ptr, mkdtemp(run_dir), NULL));
	r = make_client(&client);
	if (r == -EPERM || r == -EACCES)
		cr_skip_test("needs CAP_SYS_ADMIN to read page frame numbers");
	cr_assert(eq(int, r, 0));
	keeper_pid = keeper_client_pid(client);
}

static void await_end(pid_t pid)
{
	(void)waitpid(pid, NULL, 0);
	for (int i = 0; i < TRIES && kill(pid, 0) == 0; i++)
		usleep(TRY_US);
	cr_expect(ne(int, kill(pid, 0), 0));
}

static void tear_down(void)
{
	char path[256];

	if (client) {
		keeper_client_release(client);
		client = keeper_client_free(client);
	}
	snprintf(path, sizeof(path), "%s/%s", run_dir, KEEPER_RECORD_NAME);
	(void)unlink(path);
	cr_expect(eq(int, rmdir(run_dir), 0), "nothing else is left");
}

TestSuite(keeper_client, .init = set_up, .fini = tear_down, .timeout = 120);

/* Takes @pages into @set. */
static void take(uint64_t pages, struct rangeset *set)
{
	struct page_range *ranges = calloc(KEEPER_RANGES_MAX, sizeof(*ranges));
	enum pages_source source;
	size_t n;

	cr_assert(ne(ptr, ranges, NULL));
	while (pages > 0) {
		cr_assert(eq(int, keeper_client_take(client, pages, ranges, &n, &source), 0));
		cr_assert(eq(int, source, PAGES_SMALL));
		cr_assert(eq(int, rangeset_add(set, ranges, n), 0));
		pages -= page_ranges_count(ranges, n);
	}
	free(ranges);
}

static void expect_held(const struct rangeset *set)
{
	struct page_range *ranges = NULL;
	uint64_t pages, moved;
	size_t n;

	cr_assert(eq(int, keeper_client_list(client, &ranges, &n), 0));
	cr_expect(eq(u64, page_ranges_count(ranges, n), set->pages));
	for (size_t i = 0; i < n; i++)
		cr_assert(rangeset_contains(set, ranges[i]));
	free(ranges);
	cr_assert(eq(int, keeper_client_verify(client, &pages, &moved), 0));
	cr_expect(eq(u64, pages, set->pages));
	cr_expect(eq(u64, moved, 0));
}

static void give_back(struct rangeset *set, uint64_t pages)
{
	while (pages > 0) {
		struct page_range range = set->ranges[0];
		uint64_t accepted, removed;

		range.count = range.count < pages ? range.count : pages;
		cr_assert(eq(int, keeper_client_return(client, &range, 1, &accepted), 0));
		cr_assert(eq(u64, accepted, range.count));
		cr_assert(eq(int, rangeset_remove(set, range, &removed), 0));
		pages -= range.count;
	}
}

Test(keeper_client, takes_lists_verifies_and_returns)
{
	struct pages_stats stats;
	struct rangeset set;
	uint64_t accepted;

	cr_expect(not(report.found));
	rangeset_init(&set, 1 << 20);
	take(64 * MIB_PAGES, &set);
	expect_held(&set);
	give_back(&set, 1000);
	expect_held(&set);
	keeper_client_get_stats(client, &stats);
	cr_expect(eq(u64, stats.source[PAGES_SMALL].bytes, set.pages * 4096));
	cr_assert(eq(int, keeper_client_return(client, set.ranges, set.n_ranges, &accepted), 0));
	cr_expect(eq(u64, accepted, set.pages));
	rangeset_clear(&set);
	expect_held(&set);
	rangeset_fini(&set);
}

Test(keeper_client, a_keeper_that_holds_nothing_ends_with_its_daemon)
{
	client = keeper_client_free(client);
	await_end(keeper_pid);
}

/* What the next daemon finds of the one before it. */
static void be_a_daemon_and_die(const int fds[KEEPER_N_FDS], struct rangeset *set)
{
	size_t bytes;

	take(16 * MIB_PAGES, set);
	give_back(set, 5);
	strcpy(keeper_client_area(client, &bytes), "what was");
	cr_assert(eq(int, keeper_client_park(client, fds), 0));
	client = keeper_client_free(client);
}

Test(keeper_client, the_next_daemon_finds_memory_area_and_channel)
{
	int fds[KEEPER_N_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1};
	struct rangeset set;
	uint64_t count = 0;
	size_t bytes;

	rangeset_init(&set, 1 << 20);
	fds[KEEPER_FD_WAIT] = eventfd(0, EFD_CLOEXEC);
	be_a_daemon_and_die(fds, &set);
	cr_assert(eq(int, make_client(&client), 0));
	cr_expect(report.found);
	cr_expect(eq(int, keeper_client_pid(client), keeper_pid));
	cr_expect(eq(str, (char *)keeper_client_area(client, &bytes), "what was"));
	cr_expect(eq(sz, bytes, AREA_BYTES));
	expect_held(&set);

	cr_expect(eq(int, keeper_client_fd(client, KEEPER_FD_RINGS), -1));
	cr_assert(ge(int, keeper_client_fd(client, KEEPER_FD_WAIT), 0));
	cr_assert(eq(int, eventfd_write(keeper_client_fd(client, KEEPER_FD_WAIT), 7), 0));
	cr_assert(eq(int, eventfd_read(fds[KEEPER_FD_WAIT], &count), 0));
	cr_expect(eq(u64, count, 7), "it is the same object");
	keeper_client_drop(client);
	cr_expect(eq(int, keeper_client_fd(client, KEEPER_FD_WAIT), -1));
	rangeset_fini(&set);
}

/* A pipe tells when the last copy of its end is closed. */
static bool is_closed(int read_fd, int timeout_ms)
{
	struct pollfd p = {.fd = read_fd};

	return poll(&p, 1, timeout_ms) == 1 && p.revents & POLLHUP;
}

Test(keeper_client, the_channel_is_open_until_it_is_dropped)
{
	int fds[KEEPER_N_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1}, ends[2];

	cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
	fds[KEEPER_FD_RINGS] = ends[1];
	cr_assert(eq(int, keeper_client_park(client, fds), 0));
	close(ends[1]);
	client = keeper_client_free(client);
	cr_expect(not(is_closed(ends[0], 200)), "its daemon is gone");
	cr_assert(eq(int, make_client(&client), 0));
	keeper_client_drop(client);
	cr_expect(is_closed(ends[0], 5000));
}

Test(keeper_client, a_dead_keeper_is_replaced_and_no_page_moves)
{
	int fds[KEEPER_N_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1}, ends[2];
	struct page_range range;
	struct pages_stats stats;
	enum pages_source source;
	struct rangeset set;
	size_t n;

	rangeset_init(&set, 1 << 20);
	cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
	fds[KEEPER_FD_RINGS] = ends[1];
	cr_assert(eq(int, keeper_client_park(client, fds), 0));
	close(ends[1]);
	for (int round = 0; round < 3; round++) {
		take(8 * MIB_PAGES, &set);
		give_back(&set, 77);
		cr_assert(eq(int, kill(keeper_client_pid(client), SIGKILL), 0));
		while (keeper_client_take(client, 1, &range, &n, &source) == 0)
			cr_assert(eq(int, rangeset_add(&set, &range, 1), 0));
		cr_assert(eq(int, keeper_client_revive(client), 0));
		expect_held(&set);
		keeper_client_get_stats(client, &stats);
		cr_expect(eq(u64, stats.lost_pages, 0));
	}
	cr_expect(not(is_closed(ends[0], 100)), "the channel was open all the time");
	keeper_client_release(client);
	cr_expect(is_closed(ends[0], 5000));
	client = keeper_client_free(client);
	rangeset_fini(&set);
}

Test(keeper_client, when_both_die_the_next_one_says_what_there_was)
{
	struct rangeset set;

	rangeset_init(&set, 1 << 20);
	take(4 * MIB_PAGES, &set);
	cr_assert(eq(int, kill(keeper_pid, SIGKILL), 0));
	client = keeper_client_free(client);
	await_end(keeper_pid);
	cr_assert(eq(int, make_client(&client), 0));
	cr_expect(not(report.found));
	cr_expect(eq(int, report.dead_pid, keeper_pid));
	cr_expect(eq(u64, report.freed_pages, 4 * MIB_PAGES));
	rangeset_clear(&set);
	expect_held(&set);
	rangeset_fini(&set);
}

Test(keeper_client, a_keeper_ends_in_order_at_SIGTERM)
{
	int fds[KEEPER_N_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1}, ends[2];
	struct rangeset set;

	rangeset_init(&set, 1 << 20);
	take(4 * MIB_PAGES, &set);
	cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
	fds[KEEPER_FD_RINGS] = ends[1];
	cr_assert(eq(int, keeper_client_park(client, fds), 0));
	close(ends[1]);
	client = keeper_client_free(client);
	cr_assert(eq(int, kill(keeper_pid, SIGTERM), 0));
	cr_expect(is_closed(ends[0], 5000));
	await_end(keeper_pid);
	cr_assert(eq(int, make_client(&client), 0));
	cr_expect(not(report.found));
	cr_expect(eq(u64, report.freed_pages, 0));
	rangeset_fini(&set);
}

Test(keeper_client, SIGTERM_means_nothing_to_a_keeper_whose_daemon_lives)
{
	struct rangeset set;

	rangeset_init(&set, 1 << 20);
	take(MIB_PAGES, &set);
	cr_assert(eq(int, kill(keeper_pid, SIGTERM), 0));
	take(MIB_PAGES, &set);
	expect_held(&set);
	cr_expect(eq(int, kill(keeper_pid, 0), 0));
	client = keeper_client_free(client);
	cr_assert(eq(int, make_client(&client), 0));
	cr_expect(report.found);
	expect_held(&set);
	rangeset_fini(&set);
}

Test(keeper_client, a_keeper_without_a_daemon_ends_with_its_lab_host_unless_it_has_memory)
{
	int fds[KEEPER_N_FDS] = {-1, -1, -1, -1, -1, -1, -1, -1}, ends[2];
	struct rangeset set;

	rangeset_init(&set, 1 << 20);
	for (int round = 0; round < 2; round++) {
		if (round == 0)
			take(MIB_PAGES, &set);
		else
			give_back(&set, set.pages);
		cr_assert(eq(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0));
		fds[KEEPER_FD_HOST] = ends[0];
		cr_assert(eq(int, keeper_client_park(client, fds), 0));
		close(ends[0]);
		client = keeper_client_free(client);
		close(ends[1]);
		if (round == 1)
			break;
		usleep(100000);
		cr_assert(eq(int, make_client(&client), 0));
		cr_expect(report.found);
		cr_expect(eq(int, keeper_client_fd(client, KEEPER_FD_HOST), -1));
		expect_held(&set);
	}
	await_end(keeper_pid);
	rangeset_fini(&set);
}
