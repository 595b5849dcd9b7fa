/* SPDX-License-Identifier: MIT */
#ifndef HVGUEST_NOTIFY_H
#define HVGUEST_NOTIFY_H

/*
 * For programs that want to be told before this machine is frozen for a backup, and after.
 * Installed as <hvguest_notify.h>; there is no library to link.
 *
 *     int fd = hvguest_notify_open(NULL, "my-database", 10, 0);
 *     struct hvguest_notice notice;
 *
 *     while (fd >= 0 && hvguest_notify_next(fd, &notice) == 0) {
 *             if (notice.event == HVGUEST_FREEZE && hold_everything())
 *                     hvguest_notify_ready(fd, notice.id);
 *             else if (notice.event == HVGUEST_FREEZE)
 *                     hvguest_notify_fail(fd, notice.id, "busy");
 *             else
 *                     let_go();
 *     }
 *     let_go(); // hvguestd is gone, and nothing stays frozen without it: open again, later
 *
 * The descriptor may be polled. While everything is frozen, writing to a disk waits.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HVGUEST_NOTIFY_SOCKET "/run/hvguest/notify.sock"

enum hvguest_event {
	HVGUEST_FREEZE, /* hold, then answer by hvguest_notify_ready() or _fail() */
	HVGUEST_THAW,   /* the copy has been taken */
	HVGUEST_ABORT,  /* there is none, or it is not consistent */
};

struct hvguest_notice {
	enum hvguest_event event;
	unsigned int id;      /* of the freeze */
	unsigned int seconds; /* FREEZE: how long the answer is waited for */
};

/* Sends @text as one message. 0, or a negative errno. */
static inline int hvguest_notify_send(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Receives one message as text. 0, or a negative errno; -ECONNRESET: hvguestd is gone. */
static inline int hvguest_notify_receive(int fd, char *text, size_t size)
{
	ssize_t n = recv(fd, text, size - 1, 0);

	if (n < 0)
		return -errno;
	if (n == 0)
		return -ECONNRESET;
	text[n] = '\0';
	return 0;
}

static inline int hvguest_notify_hello(int fd, const char *name, unsigned int hold_seconds,
				       int required)
{
	char text[256];
	int r;

	snprintf(text, sizeof(text), "hello 1 %.47s %u%s", name, hold_seconds,
		 required ? " required" : "");
	r = hvguest_notify_send(fd, text);
	if (!r)
		r = hvguest_notify_receive(fd, text, sizeof(text));
	if (!r && strncmp(text, "welcome ", 8) != 0)
		r = -EACCES;
	return r;
}

/*
 * Subscribes at @path (NULL: HVGUEST_NOTIFY_SOCKET) as @name, of letters, digits and "-_.@", which
 * needs up to @hold_seconds to get ready. If @required, there is no freeze without it; only root may
 * be. Returns a descriptor, or a negative errno; -EACCES: hvguestd refuses.
 */
static inline int hvguest_notify_open(const char *path, const char *name,
				      unsigned int hold_seconds, int required)
{
	struct sockaddr_un address;
	int fd, r;

	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	if (!path)
		path = HVGUEST_NOTIFY_SOCKET;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	if (!r)
		r = hvguest_notify_hello(fd, name, hold_seconds, required);
	if (r) {
		close(fd);
		return r;
	}
	return fd;
}

/* Waits for the next notice. 0, or a negative errno; -ECONNRESET: hvguestd is gone. */
static inline int hvguest_notify_next(int fd, struct hvguest_notice *ret_notice)
{
	char text[256];
	int r;

	while ((r = hvguest_notify_receive(fd, text, sizeof(text))) == 0) {
		if (sscanf(text, "freeze %u %u", &ret_notice->id, &ret_notice->seconds) == 2)
			ret_notice->event = HVGUEST_FREEZE;
		else if (sscanf(text, "thaw %u", &ret_notice->id) == 1)
			ret_notice->event = HVGUEST_THAW;
		else if (sscanf(text, "abort %u", &ret_notice->id) == 1)
			ret_notice->event = HVGUEST_ABORT;
		else
			continue;
		return 0;
	}
	return r;
}

/* Everything is held. 0, or a negative errno. */
static inline int hvguest_notify_ready(int fd, unsigned int id)
{
	char text[32];

	snprintf(text, sizeof(text), "ready %u", id);
	return hvguest_notify_send(fd, text);
}

/* It cannot be held, because of @why. 0, or a negative errno. */
static inline int hvguest_notify_fail(int fd, unsigned int id, const char *why)
{
	char text[200];

	snprintf(text, sizeof(text), "fail %u %.120s", id, why);
	return hvguest_notify_send(fd, text);
}

#endif
