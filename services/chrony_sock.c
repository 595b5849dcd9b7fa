/* SPDX-License-Identifier: MIT */

/*
 * chronyd's reference clock SOCK.
 *
 * chronyd makes a datagram socket and takes samples from whoever may write to it: one struct a
 * datagram, of native layout, known by a number at its end. What it does with them is its business;
 * there is no answer. Source: chrony's documentation of `refclock SOCK`.
 *
 * The socket is named anew with each sample, so chronyd may come, go and come again.
 */

#include "services/chrony_sock.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define NS_PER_SECOND INT64_C(1000000000)
#define MAGIC         0x534f434b

struct sock_sample {
	struct timeval tv; /* of the sample, by the system's clock */
	double offset;     /* seconds that the system's clock is behind */
	int pulse;         /* 0: the offset is whole, not only its part below a second */
	int leap;
	int pad;
	int magic;
};
static_assert(sizeof(struct sock_sample) == sizeof(struct timeval) + 24, "");

int chrony_sock_open(int *ret_fd)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return negative_errno();
	*ret_fd = fd;
	return 0;
}

int chrony_sock_send(int fd, const char *path, const struct chrony_sample *sample)
{
	const struct sock_sample message = {
		.tv.tv_sec = sample->real_ns / NS_PER_SECOND,
		.tv.tv_usec = sample->real_ns % NS_PER_SECOND / 1000,
		/* The clock is read to the microsecond above; what that cuts off is put back here. */
		.offset = (double)(sample->offset_ns + sample->real_ns % 1000) / 1e9,
		.leap = sample->leap,
		.magic = MAGIC,
	};
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	strcpy(to.sun_path, path);
	if (sendto(fd, &message, sizeof(message), 0, (const struct sockaddr *)&to, sizeof(to)) >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
	case ECONNREFUSED:
		return CHRONY_SOCK_NOBODY;
	case EAGAIN:
	case ENOBUFS:
		return CHRONY_SOCK_FULL;
	}
	return negative_errno();
}
