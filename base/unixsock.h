/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <sys/types.h>

/*
 * Unix sockets in the file system: making one to listen on, and connecting to one.
 */

/* The conditions of unixsock_listen() and unixsock_connect(). */
enum {
	UNIXSOCK_IN_USE = 1, /* listen: somebody listens there already */
	UNIXSOCK_NOBODY,     /* connect: there is no such socket, or nobody listens on it */
	UNIXSOCK_DENIED,     /* connect: we have no permission */
	UNIXSOCK_TIMED_OUT,  /* connect: the listener is there and accepts nobody */
};

struct unixsock {
	int fd;     /* the listening socket, close-on-exec, not blocking; -1 if there is none */
	char *path; /* NULL if there is none */
	dev_t dev;
	ino_t ino;
};

/* A struct that unixsock_fini() may be given. */
void unixsock_init(struct unixsock *sock);

/*
 * Listens at @path with permissions @mode for connections of @type (SOCK_STREAM,
 * SOCK_SEQPACKET). A socket that nobody listens on any more is replaced; the folder is made with
 * mode 0755 if only that is missing. On failure @sock is as unixsock_init() left it.
 * UNIXSOCK_IN_USE, negative errno.
 */
_must_check_ int unixsock_listen(struct unixsock *sock, const char *path, int type, mode_t mode);

/* Closes the socket, unless its descriptor was stolen, and removes its file if it is still ours. */
void unixsock_fini(struct unixsock *sock);

/*
 * Connects to @path within @timeout_ms. The descriptor blocks and has close-on-exec set.
 * UNIXSOCK_NOBODY, UNIXSOCK_DENIED, UNIXSOCK_TIMED_OUT, negative errno.
 */
_must_check_ int unixsock_connect(const char *path, int type, int timeout_ms, int *ret_fd);
