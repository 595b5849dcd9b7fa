/* SPDX-License-Identifier: MIT */

/*
 * The shm transport, guest's end.
 *
 * Control messages are datagrams on a non-blocking Unix socket; the host is not trusted any more
 * than on real VMBus: a datagram of the wrong size, descriptors where none belong, or memory that
 * is not what was asked for end the connection. There is no state of channels here; whoever
 * dispatches the events holds it. Requests are small and rare, so a socket buffer that is full
 * means that the host has stopped reading, and counts as a lost host too.
 */

#include "vmbus/transport_shm.h"

#include "base/fdpass.h"
#include "base/unixsock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	/* Each ring: room for the largest message (13 KiB) several times over. */
	RING_SIZE = 128 * 1024,
	CONNECT_TIMEOUT_MS = 100,
};

struct transport_shm {
	int socket_fd;
};

static int connect_to(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = unixsock_connect(path, SOCK_SEQPACKET, CONNECT_TIMEOUT_MS, &fd);
	if (r)
		return r == UNIXSOCK_DENIED ? -EACCES : r > 0 ? TRANSPORT_SHM_NO_HOST : r;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return negative_errno();

	*ret_fd = fdpass_move_high(steal_fd(fd), VMBUS_PORT_FD_MIN);
	return 0;
}

static int send_message(struct transport_shm *t, const struct shm_message *message)
{
	uint8_t wire[SHM_MESSAGE_SIZE];
	int r;

	shm_encode(message, wire);
	r = fdpass_send(t->socket_fd, wire, sizeof(wire), NULL, 0);
	return r > 0 ? TRANSPORT_SHM_LOST : r;
}

int transport_shm_new(const char *path, const char *name, uint64_t memory_pages,
		      struct transport_shm **ret_transport)
{
	_cleanup_(cleanup_transport_shmp) struct transport_shm *t = NULL;
	struct shm_message hello = {
		.type = SHM_HELLO,
		.version = SHM_VERSION,
		.memory_pages = memory_pages,
	};
	int r;

	if (!shm_name_is_valid(name))
		return -EINVAL;
	memcpy(hello.name, name, strlen(name));

	t = malloc(sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->socket_fd = -1;
	r = connect_to(path, &t->socket_fd);
	if (r)
		return r;
	r = send_message(t, &hello);
	if (r)
		return r < 0 ? r : TRANSPORT_SHM_NO_HOST;

	*ret_transport = steal_ptr(t);
	return 0;
}

int transport_shm_resume(int take_fd, struct transport_shm **ret_transport)
{
	struct transport_shm *t = malloc(sizeof(*t));

	if (!t) {
		close_fd(take_fd);
		return -ENOMEM;
	}
	t->socket_fd = fdpass_move_high(take_fd, VMBUS_PORT_FD_MIN);
	*ret_transport = t;
	return 0;
}

void transport_shm_end(struct transport_shm *t)
{
	(void)shutdown(t->socket_fd, SHUT_RDWR);
}

struct transport_shm *transport_shm_free(struct transport_shm *t)
{
	if (t) {
		close_fd(t->socket_fd);
		free(t);
	}
	return NULL;
}

int transport_shm_fd(const struct transport_shm *t)
{
	return t->socket_fd;
}

static int handle_opened(const struct shm_message *m, int take_fds[SHM_OPENED_FDS], size_t n_fds,
			 struct transport_shm_event *ret_event)
{
	int r;

	if (m->status != SHM_OK) {
		ret_event->type = TRANSPORT_SHM_REFUSED;
		return n_fds == 0 ? 0 : TRANSPORT_SHM_LOST;
	}
	if (n_fds != SHM_OPENED_FDS || m->ring_size != RING_SIZE)
		return TRANSPORT_SHM_LOST;

	ret_event->type = TRANSPORT_SHM_OPENED;
	r = vmbus_port_adopt(RING_SIZE, take_fds, &ret_event->port);
	return r == VMBUS_PORT_BAD_MEMORY ? TRANSPORT_SHM_LOST : r;
}

static int handle_message(const struct shm_message *m, int take_fds[SHM_OPENED_FDS], size_t n_fds,
			  struct transport_shm_event *ret_event)
{
	ret_event->channel_id = m->channel_id;
	ret_event->status = m->status;
	ret_event->class_id = m->class_id;
	if (n_fds > 0 && m->type != SHM_OPENED)
		return TRANSPORT_SHM_LOST;

	switch (m->type) {
	case SHM_WELCOME:
		ret_event->type = m->status == SHM_OK ? TRANSPORT_SHM_WELCOME
						      : TRANSPORT_SHM_REFUSED;
		return 0;
	case SHM_OFFER:
		ret_event->type = TRANSPORT_SHM_OFFERED;
		return 0;
	case SHM_OPENED:
		return handle_opened(m, take_fds, n_fds, ret_event);
	case SHM_RESCIND:
		ret_event->type = TRANSPORT_SHM_RESCINDED;
		return 0;
	default:
		return TRANSPORT_SHM_LOST;
	}
}

int transport_shm_dispatch(struct transport_shm *t, struct transport_shm_event *ret_event)
{
	struct transport_shm_event event = {.port = VMBUS_PORT_INIT};
	int fds[SHM_OPENED_FDS] = {-1, -1, -1};
	uint8_t wire[SHM_MESSAGE_SIZE];
	struct shm_message m;
	size_t size, n_fds;
	int r;

	r = fdpass_receive(t->socket_fd, wire, sizeof(wire), fds, SHM_OPENED_FDS, &size, &n_fds);
	if (r == FDPASS_AGAIN)
		return TRANSPORT_SHM_AGAIN;
	if (r)
		return r < 0 ? r : TRANSPORT_SHM_LOST;

	r = shm_decode(wire, size, &m) ? TRANSPORT_SHM_LOST
				       : handle_message(&m, fds, n_fds, &event);
	if (r) {
		for (size_t i = 0; i < n_fds; i++)
			close_fd(fds[i]);
		return r;
	}

	*ret_event = event;
	return 0;
}

int transport_shm_open(struct transport_shm *t, uint32_t channel_id)
{
	const struct shm_message m = {
		.type = SHM_OPEN,
		.channel_id = channel_id,
		.ring_size = RING_SIZE,
	};

	return send_message(t, &m);
}

int transport_shm_close(struct transport_shm *t, uint32_t channel_id)
{
	const struct shm_message m = {.type = SHM_CLOSE, .channel_id = channel_id};

	return send_message(t, &m);
}

int transport_shm_release(struct transport_shm *t, uint32_t channel_id)
{
	const struct shm_message m = {.type = SHM_RELEASE, .channel_id = channel_id};

	return send_message(t, &m);
}
