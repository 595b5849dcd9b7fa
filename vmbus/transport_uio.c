/* SPDX-License-Identifier: MIT */

/*
 * The uio transport.
 *
 * The kernel opens the channel at the host with the first descriptor of a node and closes it with
 * the last. Opening is not exclusive there: a second process would share the rings and tear them
 * apart. So a lock on the descriptor keeps out others that lock it too; that nobody else has the
 * node open is for the takeover to check. What open() says are the answers of the host and of the
 * kernel's bookkeeping, which this file puts into words.
 * Sources: Linux drivers/uio/uio_hv_generic.c, drivers/hv/channel.c.
 */

#include "vmbus/transport_uio.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <sys/file.h>

const char *transport_uio_text(int condition)
{
	switch (condition) {
	case TRANSPORT_UIO_LOCKED:
		return "another hvguestd has the device open: stop that one";
	case TRANSPORT_UIO_REFUSED:
		return "the host does not open the channel: see the host's event log";
	case TRANSPORT_UIO_NOT_READY:
		return "the channel was left open by an unbind: restart this guest";
	case TRANSPORT_UIO_GONE:
		return "the host has taken the device away";
	case TRANSPORT_UIO_QUOTA:
		return "the host takes no more shared memory: take over fewer devices";
	case TRANSPORT_UIO_BAD_RINGS:
		return "the map of its rings is of an odd size: this kernel cannot be used for takeover";
	case TRANSPORT_UIO_PAGE_SIZE:
		return "this machine's pages are not of 4096 bytes: takeover works with those only";
	default:
		return "failed";
	}
}

static int open_node(const char *path, int *ret_fd)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	switch (errno) {
	case EAGAIN:
		return TRANSPORT_UIO_REFUSED;
	case EINVAL:
		return TRANSPORT_UIO_NOT_READY;
	case ENODEV:
		return TRANSPORT_UIO_GONE;
	case EDQUOT:
		return TRANSPORT_UIO_QUOTA;
	default:
		return negative_errno();
	}
}

int transport_uio_open(const char *path, size_t map_bytes, struct vmbus_port *ret_port)
{
	_cleanup_close_ int fd = -1;
	int memory_fd, r;

	r = open_node(path, &fd);
	if (r)
		return r;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? TRANSPORT_UIO_LOCKED : negative_errno();

	memory_fd = fd;
	r = vmbus_port_adopt_uio(map_bytes, memory_fd, steal_fd(fd), ret_port);
	if (r == VMBUS_PORT_BAD_MEMORY)
		return TRANSPORT_UIO_BAD_RINGS;
	return r == VMBUS_PORT_PAGE_SIZE ? TRANSPORT_UIO_PAGE_SIZE : r;
}
