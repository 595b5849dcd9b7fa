/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/channel.h"

/*
 * A port: an open channel together with its memory and its two doorbells. What the event loop
 * needs to know of a transport ends here.
 */

struct vmbus_port {
	struct vmbus_channel channel;
	void *map;
	size_t map_size;
	int wait_fd;   /* readable when the other side has rung */
	int signal_fd; /* where to ring the other side */
};

/* The condition of vmbus_port_adopt(). */
enum {
	VMBUS_PORT_BAD_MEMORY = 1, /* the memory is of another size, or can be resized under us */
};

/* A port that holds nothing. */
#define VMBUS_PORT_INIT {.map = NULL, .wait_fd = -1, .signal_fd = -1}

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

/* Unmaps and closes; the port then holds nothing. Fine on a port that holds nothing. */
void vmbus_port_fini(struct vmbus_port *port);

/* Call when wait_fd is readable, before reading the channel. */
void vmbus_port_wake(struct vmbus_port *port);

/* Rings the other side if the channel asks for it. */
void vmbus_port_flush(struct vmbus_port *port);
