/* SPDX-License-Identifier: MIT */

/*
 * notify-client SOCKET WHAT...: a client of the notify socket, by the C header, for tests.
 *
 *     say TEXT...   sends each as a message, and prints the last answer that comes
 *     long          sends more than a message may have
 *     stale         answers that nobody has asked for, one more than is let pass
 *     flood         the same without end, until it is shown out
 *     many N        N connections at once: "A welcome, B refused"
 *     silent        subscribes and never answers, until it is killed
 *     hold          subscribes, is ready at once, and prints what it was told: "freeze thaw"
 */

#include "fsfreeze/hvguest_notify.h"

#include <stdbool.h>
#include <stdlib.h>

enum {
	MANY_MAX = 100,
	STALE = 17,
};

static int open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

/* Sends @text; false if the other side has hung up. */
static bool say(int fd, const char *text)
{
	return hvguest_notify_send(fd, text) == 0;
}

static void print_answer(int fd)
{
	char text[256];

	if (hvguest_notify_receive(fd, text, sizeof(text)) == 0)
		puts(text);
	else
		puts("nothing");
}

static void say_all(int fd, int n, char **texts)
{
	char text[256];

	for (int i = 0; i < n; i++) {
		(void)!say(fd, texts[i]);
		if (i + 1 < n)
			(void)!hvguest_notify_receive(fd, text, sizeof(text));
	}
	print_answer(fd);
}

static void say_long(int fd)
{
	char text[4000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	(void)!say(fd, text);
	print_answer(fd);
}

static void subscribe(int fd)
{
	char text[256];

	(void)!say(fd, "hello 1 flood 1");
	(void)!hvguest_notify_receive(fd, text, sizeof(text));
}

static void say_stale(int fd)
{
	subscribe(fd);
	for (int i = 0; i < STALE; i++)
		(void)!say(fd, "ready 123");
	print_answer(fd);
}

static void flood(int fd)
{
	subscribe(fd);
	while (say(fd, "ready 123"))
		;
	puts("shown out");
}

static void open_many(const char *path, int n)
{
	int welcome = 0;

	for (int i = 0; i < n && i < MANY_MAX; i++)
		welcome += hvguest_notify_open(path, "many", 1, 0) >= 0;
	printf("%d welcome, %d refused\n", welcome, n - welcome);
}

static int stay_silent(const char *path)
{
	struct hvguest_notice notice;
	int fd = hvguest_notify_open(path, "silent", 1, 0);

	while (fd >= 0 && hvguest_notify_next(fd, &notice) == 0)
		;
	return 1;
}

static int hold(const char *path)
{
	static const char *const words[] = {
		[HVGUEST_FREEZE] = "freeze",
		[HVGUEST_THAW] = "thaw",
		[HVGUEST_ABORT] = "abort",
	};
	int fd = hvguest_notify_open(path, "hold", 5, 1);
	struct hvguest_notice notice;

	if (fd < 0 || hvguest_notify_next(fd, &notice) || notice.event != HVGUEST_FREEZE ||
	    hvguest_notify_ready(fd, notice.id) || hvguest_notify_next(fd, &notice))
		return 1;
	printf("freeze %s\n", words[notice.event]);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";

	if (!strcmp(what, "say") && argc > 3)
		say_all(open_socket(argv[1]), argc - 3, argv + 3);
	else if (!strcmp(what, "long"))
		say_long(open_socket(argv[1]));
	else if (!strcmp(what, "stale"))
		say_stale(open_socket(argv[1]));
	else if (!strcmp(what, "flood"))
		flood(open_socket(argv[1]));
	else if (!strcmp(what, "many") && argc > 3)
		open_many(argv[1], atoi(argv[3]));
	else if (!strcmp(what, "silent"))
		return stay_silent(argv[1]);
	else if (!strcmp(what, "hold"))
		return hold(argv[1]);
	else
		return 2;
	return 0;
}
