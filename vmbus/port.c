/* SPDX-License-Identifier: MIT */

/*
 * Ports over shared memory: one memfd with both rings, the guest's outbound ring first as VMBus
 * has it, and one eventfd for each direction.
 *
 * Each side maps memory that the other side could shrink, which would turn our next access into
 * SIGBUS. So the host seals the size before it hands the memfd over, and the guest refuses one that
 * is not sealed or not of the size it asked for.
 */

#include "vmbus/port.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
	SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW,
};

static int create_memory(size_t size, int *ret_fd)
{
	_cleanup_close_ int fd = memfd_create("vmbus-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, SIZE_SEALS | F_SEAL_SEAL) < 0)
		return negative_errno();

	*ret_fd = steal_fd(fd);
	return 0;
}

static bool memory_is_good(int fd, size_t size)
{
	struct stat st;
	int seals;

	seals = fcntl(fd, F_GET_SEALS);
	return seals >= 0 && (seals & SIZE_SEALS) == SIZE_SEALS && fstat(fd, &st) == 0 &&
	       (size_t)st.st_size == size;
}

/* Maps the memory and splits it into the guest's and the host's outbound ring. */
static int map_rings(int fd, size_t ring_size, struct vmbus_port *port,
		     struct vmbus_ring_memory *ret_guest, struct vmbus_ring_memory *ret_host)
{
	void *map = mmap(NULL, 2 * ring_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int r;

	if (map == MAP_FAILED)
		return negative_errno();
	port->map = map;
	port->map_size = 2 * ring_size;

	r = vmbus_ring_memory_init(ret_guest, map, ring_size);
	if (r)
		return r;
	return vmbus_ring_memory_init(ret_host, (uint8_t *)map + ring_size, ring_size);
}

static int create(struct vmbus_port *port, size_t ring_size, int fds[3])
{
	struct vmbus_ring_memory guest, host;
	int r;

	r = create_memory(2 * ring_size, &fds[0]);
	if (r)
		return r;
	fds[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fds[1] < 0 || fds[2] < 0)
		return negative_errno();

	port->signal_fd = fcntl(fds[1], F_DUPFD_CLOEXEC, 3);
	port->wait_fd = fcntl(fds[2], F_DUPFD_CLOEXEC, 3);
	if (port->signal_fd < 0 || port->wait_fd < 0)
		return negative_errno();

	r = map_rings(fds[0], ring_size, port, &guest, &host);
	if (r)
		return r;
	vmbus_ring_format(&guest);
	vmbus_ring_format(&host);
	vmbus_channel_init(&port->channel, &host, &guest);
	return 0;
}

int vmbus_port_create(size_t ring_size, struct vmbus_port *ret_port, int ret_fds[3])
{
	struct vmbus_port port = VMBUS_PORT_INIT;
	int fds[3] = {-1, -1, -1};
	int r;

	r = create(&port, ring_size, fds);
	if (r) {
		vmbus_port_fini(&port);
		for (int i = 0; i < 3; i++)
			close_fd(fds[i]);
		return r;
	}

	*ret_port = port;
	for (int i = 0; i < 3; i++)
		ret_fds[i] = fds[i];
	return 0;
}

static int adopt(struct vmbus_port *port, size_t ring_size, int memory_fd)
{
	struct vmbus_ring_memory guest, host;
	int r;

	if (!memory_is_good(memory_fd, 2 * ring_size))
		return VMBUS_PORT_BAD_MEMORY;

	/* What the host calls a doorbell must never make us wait. */
	if (fcntl(port->wait_fd, F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(port->signal_fd, F_SETFL, O_NONBLOCK) < 0)
		return negative_errno();
	r = map_rings(memory_fd, ring_size, port, &guest, &host);
	if (r)
		return r;
	vmbus_channel_init(&port->channel, &guest, &host);
	return 0;
}

int vmbus_port_adopt(size_t ring_size, int take_fds[3], struct vmbus_port *ret_port)
{
	_cleanup_close_ int memory_fd = steal_fd(take_fds[0]);
	struct vmbus_port port = VMBUS_PORT_INIT;
	int r;

	port.wait_fd = steal_fd(take_fds[1]);
	port.signal_fd = steal_fd(take_fds[2]);
	r = adopt(&port, ring_size, memory_fd);
	if (r) {
		vmbus_port_fini(&port);
		return r;
	}

	*ret_port = port;
	return 0;
}

void vmbus_port_fini(struct vmbus_port *port)
{
	if (port->map)
		(void)munmap(port->map, port->map_size);
	close_fd(port->wait_fd);
	close_fd(port->signal_fd);
	*port = (struct vmbus_port)VMBUS_PORT_INIT;
}

void vmbus_port_wake(struct vmbus_port *port)
{
	uint64_t rings;
	ssize_t n = read(port->wait_fd, &rings, sizeof(rings));

	/* Nothing to read means that somebody else's event woke us: look at the channel anyway. */
	if (n != sizeof(rings) && !(n < 0 && errno == EAGAIN))
		port->channel.corrupt = true; /* no eventfd, and it might wake us for ever */
	vmbus_channel_wake(&port->channel);
}

void vmbus_port_flush(struct vmbus_port *port)
{
	uint64_t one = 1;

	/* An eventfd that is full has rung already. */
	if (vmbus_channel_take_signal(&port->channel))
		(void)!write(port->signal_fd, &one, sizeof(one));
}
