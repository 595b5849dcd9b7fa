/* SPDX-License-Identifier: MIT */

/*
 * base/unixsock.c in a folder of its own under /tmp.
 */

#include "base/cleanup.h"
#include "base/unixsock.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], path[128];

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/test-unixsock-XXXXXX");
	cr_assert(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/run/s.sock", folder);
}

static void teardown(void)
{
	char run[80];

	unlink(path);
	snprintf(run, sizeof(run), "%s/run", folder);
	rmdir(run);
	rmdir(folder);
}

TestSuite(unixsock, .init = setup, .fini = teardown);

Test(unixsock, listening_makes_the_folder_sets_the_mode_and_takes_the_file_away_at_the_end)
{
	struct unixsock sock;
	struct stat st;
	int fd;

	cr_assert(eq(int, unixsock_listen(&sock, path, SOCK_STREAM, 0660), 0));
	cr_assert(stat(path, &st) == 0);
	cr_expect(eq(int, (int)(st.st_mode & 07777), 0660));
	cr_expect(eq(int, fcntl(sock.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC));
	cr_assert(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), 0));
	close(fd);
	unixsock_fini(&sock);
	cr_expect(stat(path, &st) != 0);
	unixsock_fini(&sock);
}

Test(unixsock, a_second_listener_is_refused_and_the_first_one_stays)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	struct unixsock first, second;
	int fd;

	cr_assert(eq(int, unixsock_listen(&first, path, SOCK_STREAM, 0600), 0));
	for (int i = 0; i < 2; i++) {
		unixsock_init(&second);
		cr_expect(eq(int, unixsock_listen(&second, path, types[i], 0600), UNIXSOCK_IN_USE));
		cr_expect(eq(int, second.fd, -1));
		unixsock_fini(&second);
	}
	cr_assert(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), 0));
	close(fd);
	unixsock_fini(&first);
}

Test(unixsock, a_socket_left_by_a_dead_program_is_replaced)
{
	struct unixsock sock;
	int fd, dead;

	cr_assert(eq(int, unixsock_listen(&sock, path, SOCK_STREAM, 0600), 0));
	/* Closing without unlinking is what a crash leaves behind. */
	dead = steal_fd(sock.fd);
	close(dead);
	free(sock.path);
	cr_expect(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), UNIXSOCK_NOBODY));

	cr_assert(eq(int, unixsock_listen(&sock, path, SOCK_STREAM, 0600), 0));
	cr_assert(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), 0));
	close(fd);
	unixsock_fini(&sock);
}

Test(unixsock, a_file_that_is_not_a_socket_is_never_removed)
{
	struct unixsock sock;
	struct stat st;
	char run[80];
	int fd;

	snprintf(run, sizeof(run), "%s/run", folder);
	cr_assert(mkdir(run, 0755) == 0);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	cr_assert(fd >= 0);
	close(fd);
	cr_expect(eq(int, unixsock_listen(&sock, path, SOCK_STREAM, 0600), -EEXIST));
	cr_expect(stat(path, &st) == 0);
}

Test(unixsock, the_end_leaves_a_successors_socket_alone)
{
	struct unixsock old, new;
	struct stat st;

	cr_assert(eq(int, unixsock_listen(&old, path, SOCK_STREAM, 0600), 0));
	cr_assert(unlink(path) == 0);
	cr_assert(eq(int, unixsock_listen(&new, path, SOCK_STREAM, 0600), 0));
	unixsock_fini(&old);
	cr_expect(stat(path, &st) == 0);
	unixsock_fini(&new);
}

Test(unixsock, a_path_that_no_address_can_hold_is_an_error)
{
	struct unixsock sock;
	char longer[200];
	int fd;

	memset(longer, 'x', sizeof(longer));
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	cr_expect(eq(int, unixsock_listen(&sock, longer, SOCK_STREAM, 0600), -ENAMETOOLONG));
	cr_expect(eq(int, unixsock_connect(longer, SOCK_STREAM, 10, &fd), -ENAMETOOLONG));
}

Test(unixsock, connecting_has_a_condition_for_each_way_to_fail)
{
	struct unixsock sock;
	int fd;

	cr_expect(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), UNIXSOCK_NOBODY));
	cr_assert(eq(int, unixsock_listen(&sock, path, SOCK_STREAM, 0600), 0));
	if (geteuid() == 0) {
		cr_assert(chmod(folder, 0755) == 0);
		cr_assert(seteuid(65534) == 0);
		cr_expect(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd),
			     UNIXSOCK_DENIED));
		cr_assert(seteuid(0) == 0);
	}

	/* Nobody accepts, and the queue for one is full. */
	cr_assert(listen(sock.fd, 0) == 0);
	for (int i = 0, r = 0; i < 10 && r == 0; i++) {
		r = unixsock_connect(path, SOCK_STREAM, 50, &fd);
		cr_expect(r == 0 || r == UNIXSOCK_TIMED_OUT);
		cr_expect(i < 9);
	}
	unixsock_fini(&sock);
}
