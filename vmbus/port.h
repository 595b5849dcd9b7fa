/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/channel.h"

/*
 * A port: an open channel together with its memory and its doorbells. What the event loop needs to
 * know of a transport ends here.
 */

enum vmbus_port_kind {
	VMBUS_PORT_SHM, /* an eventfd for each direction */
	VMBUS_PORT_UIO, /* one descriptor of uio_hv_generic for everything */
};

struct vmbus_port {
	struct vmbus_channel channel;
	enum vmbus_port_kind kind;
	void *map;
	size_t map_size;
	int memory_fd; /* of the rings over shared memory, so that they can be handed on; else -1 */
	int wait_fd;   /* readable when the other side has rung */
	int signal_fd; /* where to ring the other side; -1: wait_fd */
};

/* The conditions of ports. */
enum {
	VMBUS_PORT_BAD_MEMORY = 1, /* the memory is of another size, or can be resized under us */
	VMBUS_PORT_PAGE_SIZE,      /* this machine's pages are not of 4096 bytes */
	VMBUS_PORT_GONE,           /* the host has taken the channel away; nothing is mapped now */
};

enum {
	/*
	 * What keeps a channel open has numbers from here on, above what holds the memory that its host
	 * has: whoever dies closes the channel first.
	 */
	VMBUS_PORT_FD_MIN = 256,
};

/* A port that holds nothing. */
#define VMBUS_PORT_INIT {.map = NULL, .memory_fd = -1, .wait_fd = -1, .signal_fd = -1}

/*
 * The host's end of a new channel with two rings of @ring_size bytes, and the three descriptors
 * for the guest (memory, the guest's doorbell, the host's doorbell; the caller closes them after
 * sending). -EINVAL, -ENOMEM, -EMFILE.
 */
_must_check_ int vmbus_port_create(size_t ring_size, struct vmbus_port *ret_port, int ret_fds[3]);

/*
 * The guest's end, from what the host has sent; takes the descriptors in any case.
 * VMBUS_PORT_BAD_MEMORY, -ENOMEM.
 */
_must_check_ int vmbus_port_adopt(size_t ring_size, int take_fds[3], struct vmbus_port *ret_port);

/*
 * The guest's end over uio_hv_generic: takes the descriptor @take_fd, which has just been opened and
 * does not block, in any case. @memory_fd is mapped for the two rings, @map_bytes together, and
 * only used here; with a real device it is the same descriptor.
 * VMBUS_PORT_BAD_MEMORY, VMBUS_PORT_PAGE_SIZE, negative errno.
 */
_must_check_ int vmbus_port_adopt_uio(size_t map_bytes, int memory_fd, int take_fd,
				      struct vmbus_port *ret_port);

/* Unmaps and closes; the port then holds nothing. Fine on a port that holds nothing. */
void vmbus_port_fini(struct vmbus_port *port);

/*
 * Call when wait_fd is readable, before reading the channel. VMBUS_PORT_GONE, never with shared
 * memory: all that is left to do is vmbus_port_fini().
 */
_must_check_ int vmbus_port_wake(struct vmbus_port *port);

/* Rings the other side if the channel asks for it. */
void vmbus_port_flush(struct vmbus_port *port);
