/* SPDX-License-Identifier: MIT */

/*
 * Descriptor passing.
 *
 * A datagram of bytes and its descriptors arrive together or not at all, which is why the sockets
 * are SOCK_SEQPACKET: a stream could be read in the middle. An empty datagram looks like the end of
 * the connection to the receiver, so none is ever sent.
 *
 * The receiver always has control room for the most that the kernel passes at once. It can then
 * count what has come and close all of it when that is more than was asked for, instead of being
 * left with as many as happened to fit. A peer cannot make us leak descriptors or take a part of a
 * message for the whole.
 */

#include "base/fdpass.h"
#include "base/cleanup.h"

#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for one SCM_RIGHTS message, aligned as cmsg(3) wants it. */
union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(FDPASS_FDS_MAX * sizeof(int))];
};

int fdpass_send(int socket_fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control;
	struct cmsghdr *cmsg;
	ssize_t n;

	assert(len > 0 && n_fds <= FDPASS_FDS_MAX);
	if (n_fds > 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}

	do
		n = sendmsg(socket_fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno == EAGAIN)
		return FDPASS_AGAIN;
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
		return FDPASS_CLOSED;
	return negative_errno();
}

/* Copies every descriptor that came with @msg to @ret_fds; returns how many. */
static size_t take_fds(struct msghdr *msg, int ret_fds[FDPASS_FDS_MAX])
{
	size_t n_fds = 0, n;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		assert(n_fds + n <= FDPASS_FDS_MAX);
		memcpy(ret_fds + n_fds, CMSG_DATA(c), n * sizeof(int));
		n_fds += n;
	}
	return n_fds;
}

int fdpass_receive(int socket_fd, void *ret_data, size_t size, int *ret_fds, size_t max_fds,
		   size_t *ret_len, size_t *ret_n_fds)
{
	struct iovec iov = {.iov_base = ret_data, .iov_len = size};
	union control control;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	int fds[FDPASS_FDS_MAX];
	size_t n_fds;
	ssize_t n;

	do
		n = recvmsg(socket_fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return FDPASS_AGAIN;
	if (n < 0 && errno == ECONNRESET)
		return FDPASS_CLOSED;
	if (n < 0)
		return negative_errno();

	n_fds = take_fds(&msg, fds);
	if (n == 0 || n_fds > max_fds || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		for (size_t i = 0; i < n_fds; i++)
			close_fd(fds[i]);
		return n == 0 ? FDPASS_CLOSED : FDPASS_TRUNCATED;
	}

	if (n_fds > 0)
		memcpy(ret_fds, fds, n_fds * sizeof(int));
	*ret_len = (size_t)n;
	*ret_n_fds = n_fds;
	return 0;
}

int fdpass_move_high(int take_fd, int min)
{
	int high = fcntl(take_fd, F_DUPFD_CLOEXEC, min);

	if (high < 0)
		return take_fd;
	close_fd(take_fd);
	return high;
}
