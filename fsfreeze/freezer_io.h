/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "fsfreeze/freezer_proto.h"

/*
 * The system calls that the daemon and the freezer have in common. None of them allocates, logs,
 * or opens anything.
 */

/* The conditions. */
enum {
	FREEZER_IO_EMPTY = 1, /* nothing to receive (non-blocking sockets only) */
	FREEZER_IO_END,       /* the other side is gone, or does not read any more */
	FREEZER_IO_MALFORMED,
	FREEZER_IO_STUCK,     /* the kernel refused: the file system is still frozen */
};

/* The time of @clock (CLOCK_...) in ns. */
uint64_t freezer_io_now_ns(int clock);

/*
 * Sends @message with its message->count descriptors @fds, which stay the caller's. The socket is
 * a SOCK_SEQPACKET. FREEZER_IO_END.
 */
_must_check_ int freezer_io_send(int socket_fd, const struct freezer_message *message,
				 const int *fds);

/*
 * Receives one message. Its descriptors are the caller's, close-on-exec, in ret_fds, which has
 * room for FREEZER_MESSAGE_FDS_MAX of them. FREEZER_IO_EMPTY, FREEZER_IO_END, FREEZER_IO_MALFORMED.
 */
_must_check_ int freezer_io_receive(int socket_fd, struct freezer_message *ret_message,
				    int *ret_fds);

/*
 * Makes the record's lock, which this thread then holds as long as it lives, or until
 * freezer_io_release_life(). For the daemon's main thread, before the freezer starts.
 */
_must_check_ int freezer_io_hold_life(struct freezer_record *record);
void freezer_io_release_life(struct freezer_record *record);

/* Waits until nobody holds the record's lock any more. */
void freezer_io_await_death(struct freezer_record *record);

/*
 * Thaws the file system of @entry, which the caller has moved to THAWING, through @fd, and moves
 * it on: to THAWED, or back to FROZEN. May block as long as the kernel does. FREEZER_IO_STUCK.
 */
_must_check_ int freezer_io_thaw(struct freezer_entry *entry, int fd);
