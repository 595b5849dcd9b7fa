/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "vmbus/port.h"

/*
 * Opens the channel of a device that is bound to uio_hv_generic. docs/PROTOCOL-vmbus.md section 11.
 */

/* The conditions of transport_uio_open(). */
enum {
	TRANSPORT_UIO_LOCKED = 1, /* another hvguestd has the node open */
	TRANSPORT_UIO_REFUSED,    /* the host does not open the channel */
	TRANSPORT_UIO_NOT_READY,  /* the channel is open already, without a descriptor of ours */
	TRANSPORT_UIO_GONE,       /* the host has taken the channel away */
	TRANSPORT_UIO_QUOTA,      /* the host takes no more shared memory */
	TRANSPORT_UIO_BAD_RINGS,  /* the size of the map is not that of two rings */
	TRANSPORT_UIO_PAGE_SIZE,  /* this machine's pages are not of 4096 bytes */
};

/* What is wrong and what helps, in one line, for each condition. */
const char *transport_uio_text(int condition);

/*
 * Opens the device node @path, whose map 0 has @map_bytes. Waits for the host to answer: not for an
 * event loop. All conditions, negative errno.
 */
_must_check_ int transport_uio_open(const char *path, size_t map_bytes,
				    struct vmbus_port *ret_port);
