/* SPDX-License-Identifier: MIT */

/*
 * A stand-in for the service manager, with a store of descriptors.
 *
 *     notified SOCKET TIMES PROGRAM ARGUMENT...
 *
 * Runs the program so many times, one after the other, with SOCKET as its NOTIFY_SOCKET, and gives
 * each run what is in the store, as systemd does (sd_listen_fds(3)). Each thing that happens is one
 * line on standard output:
 *
 *     run PID GIVEN      the program runs, and was given so many descriptors
 *     store NAME N       it has put something into the store, which now has so many
 *     remove NAME N      it has had something removed
 *     ended STATUS       the program has ended; -1: by a signal
 */

#include "base/cleanup.h"
#include "base/fdpass.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum {
	STORE_MAX = 1024,
	HIGH_FD = 100, /* where the store keeps them, out of the way of what a run is given */
};

struct store {
	char name[64]; /* one is enough here */
	size_t n;
	int fds[STORE_MAX];
};

static int open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
}

static void become(const struct store *store, char **argv)
{
	char names[64 * 64] = "", number[16];

	for (size_t i = 0; i < store->n; i++) {
		(void)dup2(store->fds[i], 3 + (int)i); /* without close-on-exec */
		if (strlen(names) + strlen(store->name) + 2 < sizeof(names))
			strcat(strcat(names, i ? ":" : ""), store->name);
	}
	snprintf(number, sizeof(number), "%d", (int)getpid());
	setenv("LISTEN_PID", number, 1);
	snprintf(number, sizeof(number), "%zu", store->n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	execv(argv[0], argv);
	_exit(127);
}

static void on_message(struct store *store, int socket_fd)
{
	char text[256];
	int fds[FDPASS_FDS_MAX];
	size_t length, n;

	if (fdpass_receive(socket_fd, text, sizeof(text) - 1, fds, FDPASS_FDS_MAX, &length, &n))
		return;
	text[length] = '\0';
	if (strncmp(text, "FDSTORE=1\nFDPOLL=0\nFDNAME=", 26) == 0) {
		snprintf(store->name, sizeof(store->name), "%.63s", text + 26);
		for (size_t i = 0; i < n && store->n < STORE_MAX; i++)
			store->fds[store->n++] = fcntl(fds[i], F_DUPFD_CLOEXEC, HIGH_FD);
		printf("store %s %zu\n", store->name, store->n);
	} else if (strncmp(text, "FDSTOREREMOVE=1\nFDNAME=", 23) == 0 &&
		   strcmp(text + 23, store->name) == 0) {
		while (store->n > 0)
			(void)close_fd(store->fds[--store->n]);
		printf("remove %s %zu\n", store->name, store->n);
	}
	for (size_t i = 0; i < n; i++)
		(void)close_fd(fds[i]);
}

static void run(struct store *store, int socket_fd, char **argv)
{
	struct pollfd polls[2] = {{.fd = socket_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0)
		become(store, argv);
	printf("run %d %zu\n", (int)pid, store->n);
	polls[1].fd = pidfd_open(pid, 0);
	while (poll(polls, 2, -1) > 0 && (polls[0].revents || !polls[1].revents))
		if (polls[0].revents)
			on_message(store, socket_fd);
	(void)close_fd(polls[1].fd);
	(void)waitpid(pid, &status, 0);
	printf("ended %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

int main(int argc, char **argv)
{
	static struct store store;
	int socket_fd;

	if (argc < 4) {
		fputs("usage: notified SOCKET TIMES PROGRAM ARGUMENT...\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	socket_fd = open_socket(argv[1]);
	if (socket_fd < 0 || setenv("NOTIFY_SOCKET", argv[1], 1) < 0) {
		perror(argv[1]);
		return 1;
	}
	for (int i = atoi(argv[2]); i > 0; i--)
		run(&store, socket_fd, argv + 3);
	return 0;
}
