/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>

/*
 * Datagrams with file descriptors, over a SOCK_SEQPACKET Unix socket.
 */

enum {
	FDPASS_FDS_MAX = 253, /* SCM_MAX_FD, Linux include/net/scm.h */
};

/* The conditions of fdpass_send() and fdpass_receive(). */
enum {
	FDPASS_CLOSED = 1, /* the other side is gone */
	FDPASS_AGAIN,      /* the socket does not block, and would have to */
	FDPASS_TRUNCATED,  /* the datagram had more bytes or descriptors than there was room for */
};

/*
 * Sends @len bytes (at least 1) and copies of the @n_fds descriptors at @fds, whole or not at all.
 * FDPASS_CLOSED, FDPASS_AGAIN.
 */
_must_check_ int fdpass_send(int socket_fd, const void *data, size_t len, const int *fds,
			     size_t n_fds);

/*
 * Receives one datagram: its bytes into the @size bytes at @ret_data, its descriptors, which are
 * then the caller's and have close-on-exec set, into the @max_fds places at @ret_fds. On any other
 * return than 0 no descriptor is left open and what @ret_data and @ret_fds hold means nothing; a
 * truncated datagram is lost. FDPASS_CLOSED, FDPASS_AGAIN, FDPASS_TRUNCATED.
 */
_must_check_ int fdpass_receive(int socket_fd, void *ret_data, size_t size, int *ret_fds,
				size_t max_fds, size_t *ret_len, size_t *ret_n_fds);

/*
 * Moves @take_fd to a number of @min or higher, if there is one: the new number, else the old one.
 * A process that dies lets go of its highest numbers first (Linux kernel/task_work.c runs the newest
 * work first), so this says what is closed before something else is.
 */
int fdpass_move_high(int take_fd, int min);
