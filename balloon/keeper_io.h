/* SPDX-License-Identifier: MIT */
#pragma once

#include "balloon/keeper_proto.h"

/*
 * Sending and receiving the keeper's messages, for both ends.
 */

/* The condition of both. */
enum {
	KEEPER_IO_END = 1, /* the other side is gone, or speaks another language */
};

/* Sends @packet, with the descriptors of @fds that its message.fds names. KEEPER_IO_END. */
_must_check_ int keeper_io_send(int socket_fd, const struct keeper_packet *packet,
				const int fds[KEEPER_N_FDS]);

/* Waits for a message and its descriptors, the caller's: -1 where there is none. KEEPER_IO_END. */
_must_check_ int keeper_io_receive(int socket_fd, struct keeper_packet *ret_packet,
				   int ret_fds[KEEPER_N_FDS]);
