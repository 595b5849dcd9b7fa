/* SPDX-License-Identifier: MIT */

/*
 * base/fdpass.c over real sockets. Leaks are found by counting this process's open descriptors.
 */

#include "base/cleanup.h"
#include "base/fdpass.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int pair[2];

static void setup(void)
{
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0));
}

static void teardown(void)
{
	close(pair[0]);
	close(pair[1]);
}

TestSuite(fdpass, .init = setup, .fini = teardown);

static int count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	cr_assert(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void make_fds(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = memfd_create("fdpass", 0);
		cr_assert(fds[i] >= 0);
	}
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino &&
	       x.st_dev == y.st_dev;
}

Test(fdpass, bytes_and_descriptors_arrive_together_in_order_and_close_on_exec)
{
	static const size_t counts[] = {0, 1, 3, FDPASS_FDS_MAX};
	int sent[FDPASS_FDS_MAX], got[FDPASS_FDS_MAX], before = count_open();

	for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		char data[16] = "";
		size_t len, n;

		make_fds(sent, counts[c]);
		cr_assert(eq(int, fdpass_send(pair[0], "hello", 5, sent, counts[c]), 0));
		cr_assert(eq(int, fdpass_receive(pair[1], data, sizeof(data), got, FDPASS_FDS_MAX,
						 &len, &n), 0));
		cr_expect(eq(sz, len, 5));
		cr_expect(eq(str, data, "hello"));
		cr_assert(eq(sz, n, counts[c]));
		for (size_t i = 0; i < n; i++) {
			cr_expect(same_file(sent[i], got[i]));
			cr_expect(eq(int, fcntl(got[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC));
		}
		close_all(sent, n);
		close_all(got, n);
	}
	cr_expect(eq(int, count_open(), before));
}

Test(fdpass, a_datagram_that_does_not_fit_leaves_no_descriptor_behind)
{
	static const struct {
		size_t bytes, fds, room_bytes, room_fds;
	} rows[] = {
		{5, 2, 4, 8},   /* data cut */
		{5, 2, 8, 1},   /* one descriptor too many, which would fit by alignment */
		{5, 1, 8, 0},   /* none wanted */
		{5, 253, 8, 8},
	};
	int fds[FDPASS_FDS_MAX], got[FDPASS_FDS_MAX], before = count_open();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char data[8];
		size_t len = 77, n = 77;

		make_fds(fds, rows[i].fds);
		cr_assert(eq(int, fdpass_send(pair[0], "hello", rows[i].bytes, fds, rows[i].fds), 0));
		close_all(fds, rows[i].fds);
		cr_expect(eq(int, fdpass_receive(pair[1], data, rows[i].room_bytes, got,
						 rows[i].room_fds, &len, &n), FDPASS_TRUNCATED));
		cr_expect(eq(sz, len, 77));
		cr_expect(eq(sz, n, 77));
		cr_expect(eq(int, count_open(), before));
	}
}

Test(fdpass, an_end_and_a_wait_are_conditions)
{
	char data[8], filler[4096] = "";
	size_t len, n;
	int r = 0;

	cr_assert(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
	cr_expect(eq(int, fdpass_receive(pair[0], data, sizeof(data), NULL, 0, &len, &n),
		     FDPASS_AGAIN));
	for (int i = 0; i < 10000 && r == 0; i++)
		r = fdpass_send(pair[0], filler, sizeof(filler), NULL, 0);
	cr_expect(eq(int, r, FDPASS_AGAIN));

	close(pair[1]);
	pair[1] = -1;
	cr_expect(eq(int, fdpass_send(pair[0], "x", 1, NULL, 0), FDPASS_CLOSED));
	/* Unread data made it a reset, and that is an end, too; after it the plain end. */
	cr_expect(eq(int, fdpass_receive(pair[0], data, sizeof(data), NULL, 0, &len, &n),
		     FDPASS_CLOSED));
	cr_expect(eq(int, fdpass_receive(pair[0], data, sizeof(data), NULL, 0, &len, &n),
		     FDPASS_CLOSED));
}

Test(fdpass, a_descriptor_moves_up_and_stays_what_it_was)
{
	int ends[2], high;

	cr_assert(eq(int, pipe2(ends, O_CLOEXEC), 0));
	high = fdpass_move_high(ends[1], 300);
	cr_expect(ge(int, high, 300));
	cr_expect(eq(int, fcntl(ends[1], F_GETFD), -1));
	cr_expect(eq(int, fcntl(high, F_GETFD), FD_CLOEXEC));
	cr_expect(eq(i64, write(high, "x", 1), 1));
	cr_expect(eq(int, fdpass_move_high(high, INT_MAX), high), "there is no such number");
	cr_expect(eq(i64, write(high, "x", 1), 1));
	close(high);
	close(ends[0]);
}
