/* SPDX-License-Identifier: MIT */

/*
 * Ports: both rings in one mapping, the guest's outbound ring first as VMBus has it.
 *
 * Over shared memory there is one memfd with the rings, and one eventfd for each direction. *
 * Each side maps memory that the other side could shrink, which would turn our next access into
 * SIGBUS. So the host seals the size before it hands the memfd over, and the guest refuses one that
 * is not sealed or not of the size it asked for.
 *
 * Over uio_hv_generic one descriptor is the memory and both doorbells. Reading it gives a count of
 * interrupts; writing 1 to it signals the host, which is a hypercall, so it is done only when the
 * channel asks. Masks are stored in the rings by the channel, not through the descriptor. When the
 * host rescinds the channel, the kernel may free the rings under the mapping (docs/PROTOCOL-vmbus.md
 * section 11), so it goes away in the same call in which the descriptor tells.
 */

#include "vmbus/port.h"

#include "base/cleanup.h"
#include "base/fdpass.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
	SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW,
};

/* Bytes that a doorbell is read and written by. */
static const size_t doorbell_bytes[] = {
	[VMBUS_PORT_SHM] = sizeof(uint64_t),
	[VMBUS_PORT_UIO] = sizeof(uint32_t),
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

static int adopt(struct vmbus_port *port, size_t ring_size)
{
	struct vmbus_ring_memory guest, host;
	int r;

	if (!memory_is_good(port->memory_fd, 2 * ring_size))
		return VMBUS_PORT_BAD_MEMORY;

	/* What the host calls a doorbell must never make us wait. */
	if (fcntl(port->wait_fd, F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(port->signal_fd, F_SETFL, O_NONBLOCK) < 0)
		return negative_errno();
	r = map_rings(port->memory_fd, ring_size, port, &guest, &host);
	if (r)
		return r;
	vmbus_channel_init(&port->channel, &guest, &host);
	return 0;
}

int vmbus_port_adopt(size_t ring_size, int take_fds[3], struct vmbus_port *ret_port)
{
	struct vmbus_port port = VMBUS_PORT_INIT;
	int r;

	port.memory_fd = steal_fd(take_fds[0]);
	port.wait_fd = steal_fd(take_fds[1]);
	port.signal_fd = steal_fd(take_fds[2]);
	r = adopt(&port, ring_size);
	if (r) {
		vmbus_port_fini(&port);
		return r;
	}

	*ret_port = port;
	return 0;
}

static int adopt_uio(struct vmbus_port *port, size_t map_bytes, int memory_fd)
{
	struct vmbus_ring_memory guest, host;
	int r;

	if (sysconf(_SC_PAGESIZE) != VMBUS_PAGE_SIZE)
		return VMBUS_PORT_PAGE_SIZE;
	if (map_bytes % (2 * VMBUS_PAGE_SIZE) != 0 || map_bytes < 4 * VMBUS_PAGE_SIZE ||
	    map_bytes / 2 > INT32_MAX)
		return VMBUS_PORT_BAD_MEMORY;
	r = map_rings(memory_fd, map_bytes / 2, port, &guest, &host);
	if (r)
		return r;
	vmbus_channel_init(&port->channel, &guest, &host);
	return 0;
}

int vmbus_port_adopt_uio(size_t map_bytes, int memory_fd, int take_fd, struct vmbus_port *ret_port)
{
	struct vmbus_port port = VMBUS_PORT_INIT;
	int r;

	port.kind = VMBUS_PORT_UIO;
	port.wait_fd = take_fd;
	r = adopt_uio(&port, map_bytes, memory_fd);
	port.wait_fd = fdpass_move_high(port.wait_fd, VMBUS_PORT_FD_MIN);
	if (r) {
		vmbus_port_fini(&port);
		return r;
	}

	*ret_port = port;
	return 0;
}

static void unmap(struct vmbus_port *port)
{
	if (port->map)
		(void)munmap(port->map, port->map_size);
	port->map = NULL;
}

void vmbus_port_fini(struct vmbus_port *port)
{
	unmap(port);
	close_fd(port->memory_fd);
	close_fd(port->wait_fd);
	close_fd(port->signal_fd);
	*port = (struct vmbus_port)VMBUS_PORT_INIT;
}

int vmbus_port_wake(struct vmbus_port *port)
{
	size_t size = doorbell_bytes[port->kind];
	uint64_t rings;
	ssize_t n = read(port->wait_fd, &rings, size);

	/* Nothing to read means that somebody else's event woke us: look at the channel anyway. */
	if (n != (ssize_t)size && !(n < 0 && errno == EAGAIN)) {
		/* It might wake us for ever, and is the end of the channel. */
		vmbus_channel_abandon(&port->channel);
		if (port->kind == VMBUS_PORT_UIO) {
			unmap(port);
			return VMBUS_PORT_GONE;
		}
	}
	vmbus_channel_wake(&port->channel);
	return 0;
}

void vmbus_port_flush(struct vmbus_port *port)
{
	/* Wide enough for every kind, and 1 in the first bytes of it: all of VMBus is little-endian. */
	uint64_t one = 1;
	int fd = port->signal_fd >= 0 ? port->signal_fd : port->wait_fd;

	/* An eventfd that is full has rung already; a channel that is gone is found by reading. */
	if (vmbus_channel_take_signal(&port->channel))
		(void)!write(fd, &one, doorbell_bytes[port->kind]);
}
