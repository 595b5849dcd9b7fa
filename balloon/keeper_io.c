/* SPDX-License-Identifier: MIT */

/*
 * The keeper's messages on a socket.
 *
 * A message and its descriptors arrive together or not at all. One that does not pass its check has
 * its descriptors closed here, and counts as the end of the connection: whoever speaks another
 * language has nothing more to say. Both functions wait; neither allocates.
 */

#include "balloon/keeper_io.h"

#include "base/cleanup.h"
#include "base/fdpass.h"

int keeper_io_send(int socket_fd, const struct keeper_packet *packet, const int fds[KEEPER_N_FDS])
{
	int list[KEEPER_N_FDS];
	size_t n = 0;
	int r;

	for (int i = 0; i < KEEPER_N_FDS; i++)
		if (packet->message.fds & KEEPER_FD_BIT(i))
			list[n++] = fds[i];
	r = fdpass_send(socket_fd, packet, keeper_message_bytes(&packet->message), list, n);
	return r > 0 ? KEEPER_IO_END : r;
}

int keeper_io_receive(int socket_fd, struct keeper_packet *ret_packet, int ret_fds[KEEPER_N_FDS])
{
	int list[KEEPER_N_FDS];
	size_t size, n;
	int r;

	r = fdpass_receive(socket_fd, ret_packet, sizeof(*ret_packet), list, KEEPER_N_FDS, &size,
			   &n);
	if (r)
		return r > 0 ? KEEPER_IO_END : r;
	if (keeper_message_check(ret_packet, size, n)) {
		for (size_t i = 0; i < n; i++)
			(void)close_fd(list[i]);
		return KEEPER_IO_END;
	}
	keeper_message_sort_fds(&ret_packet->message, list, ret_fds);
	return 0;
}
