/* SPDX-License-Identifier: MIT */

/*
 * The lab.
 *
 * Each connection is one guest; each guest has a small table of channels, which it may open and
 * close again and again. A channel's id is its place in the table plus one, so that an id is looked
 * up without trusting it. The socket belongs to the guest, and whatever comes through it is
 * checked: a datagram that cannot be, a first message that is no HELLO, or a guest that does not
 * read its socket ends the connection. The end of the connection is the end of the guest, whatever
 * its channels were doing: on_gone() tells the services at once. A channel that is rescinded is
 * closed at once, too: the guest keeps its number until it has released it, but could otherwise hold
 * the old channel open beside a new one of the same class.
 *
 * A guest that cannot be let in because this process has no descriptor left stays in the queue of
 * the socket, and would wake the loop for ever. So the socket is left alone for a while.
 */

#include "host/lab.h"

#include "base/fdpass.h"
#include "base/log.h"
#include "base/unixsock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum {
	CHANNELS_MAX = 16,
	ACCEPT_PAUSE_SECONDS = 1,
};

enum channel_state {
	CHANNEL_FREE,
	CHANNEL_OFFERED,
	CHANNEL_OPEN,
	CHANNEL_RESCINDED,
};

struct lab_channel {
	enum channel_state state;
	struct vmbus_guid class_id;
};

struct lab_guest {
	struct lab *lab;
	LIST_ENTRY(lab_guest) in_lab;
	int fd;
	struct event *event;
	bool introduced;
	bool doomed; /* to be dropped at the next turn */
	void *context;
	struct lab_channel channels[CHANNELS_MAX];
};

struct lab {
	struct event_base *base;
	struct unixsock socket;
	struct event *event;
	struct event *pause; /* no guest can be let in: until the next try */
	bool complained;     /* about that */
	const struct lab_ops *ops;
	void *user;
	LIST_HEAD(, lab_guest) guests;
};

static void guest_free(struct lab_guest *guest)
{
	LIST_REMOVE(guest, in_lab);
	if (guest->introduced)
		guest->lab->ops->on_gone(guest->context);
	if (guest->event)
		event_free(guest->event);
	close_fd(guest->fd);
	free(guest);
}

/* Ends the connection at the next turn of the loop; on_gone() follows. */
static void drop(struct lab_guest *guest)
{
	guest->doomed = true;
	event_active(guest->event, EV_READ, 0);
}

static void send_message(struct lab_guest *guest, const struct shm_message *m, const int *fds,
			 size_t n_fds)
{
	uint8_t wire[SHM_MESSAGE_SIZE];

	shm_encode(m, wire);
	if (fdpass_send(guest->fd, wire, sizeof(wire), fds, n_fds))
		drop(guest);
}

/* The channel with this id, if the guest may name it. */
static struct lab_channel *find_channel(struct lab_guest *guest, uint32_t id)
{
	if (id == 0 || id > CHANNELS_MAX || guest->channels[id - 1].state == CHANNEL_FREE)
		return NULL;
	return &guest->channels[id - 1];
}

static uint32_t id_of(const struct lab_guest *guest, const struct lab_channel *channel)
{
	return channel - guest->channels + 1;
}

int lab_offer(struct lab_guest *guest, const struct vmbus_guid *class_id)
{
	struct lab_channel *channel = NULL;
	struct shm_message m = {.type = SHM_OFFER, .class_id = *class_id};

	for (size_t i = 0; i < CHANNELS_MAX && !channel; i++)
		if (guest->channels[i].state == CHANNEL_FREE)
			channel = &guest->channels[i];
	if (!channel)
		return -ENOSPC;

	channel->state = CHANNEL_OFFERED;
	channel->class_id = *class_id;
	m.channel_id = id_of(guest, channel);
	/* One device of each class for a guest, so its number makes the instance unique. */
	m.instance_id = *class_id;
	m.instance_id.bytes[15] ^= m.channel_id;
	send_message(guest, &m, NULL, 0);
	return 0;
}

int lab_rescind(struct lab_guest *guest, const struct vmbus_guid *class_id)
{
	struct shm_message m = {.type = SHM_RESCIND};

	for (size_t i = 0; i < CHANNELS_MAX; i++) {
		struct lab_channel *channel = &guest->channels[i];
		bool was_open = channel->state == CHANNEL_OPEN;

		if ((was_open || channel->state == CHANNEL_OFFERED) &&
		    vmbus_guid_equal(&channel->class_id, class_id)) {
			channel->state = CHANNEL_RESCINDED;
			m.channel_id = id_of(guest, channel);
			send_message(guest, &m, NULL, 0);
			if (was_open)
				guest->lab->ops->on_close(guest->context, &channel->class_id);
			return 0;
		}
	}
	return LAB_NOT_OFFERED;
}

static void handle_hello(struct lab_guest *guest, const struct shm_message *m)
{
	struct shm_message welcome = {
		.type = SHM_WELCOME,
		.version = SHM_VERSION,
		.status = SHM_OK,
	};

	if (m->version != SHM_VERSION)
		welcome.status = SHM_BAD_VERSION;
	else if (!shm_name_is_valid(m->name))
		welcome.status = SHM_BAD_NAME;
	if (welcome.status != SHM_OK) {
		send_message(guest, &welcome, NULL, 0);
		drop(guest);
		return;
	}

	welcome.status = guest->lab->ops->on_hello(guest->lab->user, guest, m->name,
						   m->memory_pages, &guest->context);
	guest->introduced = welcome.status == SHM_OK;
	send_message(guest, &welcome, NULL, 0);
	if (guest->introduced)
		guest->lab->ops->on_ready(guest->context);
	else
		drop(guest);
}

static enum shm_status open_channel(struct lab_channel *channel, uint32_t ring_size,
				    struct vmbus_port *ret_port, int ret_fds[3])
{
	if (!channel || channel->state == CHANNEL_RESCINDED)
		return SHM_NO_SUCH_CHANNEL;
	if (channel->state == CHANNEL_OPEN)
		return SHM_ALREADY_OPEN;
	if (ring_size < SHM_RING_SIZE_MIN || ring_size > SHM_RING_SIZE_MAX ||
	    ring_size % VMBUS_PAGE_SIZE != 0)
		return SHM_BAD_RING_SIZE;
	if (vmbus_port_create(ring_size, ret_port, ret_fds))
		return SHM_NO_MEMORY;

	channel->state = CHANNEL_OPEN;
	return SHM_OK;
}

static void handle_open(struct lab_guest *guest, const struct shm_message *m)
{
	struct lab_channel *channel = find_channel(guest, m->channel_id);
	struct vmbus_port port = VMBUS_PORT_INIT;
	int fds[SHM_OPENED_FDS] = {-1, -1, -1};
	struct shm_message opened = {
		.type = SHM_OPENED,
		.channel_id = m->channel_id,
		.ring_size = m->ring_size,
	};

	opened.status = open_channel(channel, m->ring_size, &port, fds);
	send_message(guest, &opened, fds, opened.status == SHM_OK ? SHM_OPENED_FDS : 0);
	if (opened.status != SHM_OK)
		return;

	for (size_t i = 0; i < SHM_OPENED_FDS; i++)
		close_fd(fds[i]);
	guest->lab->ops->on_open(guest->context, &channel->class_id, &port);
}

static void handle_close(struct lab_guest *guest, const struct shm_message *m)
{
	struct lab_channel *channel = find_channel(guest, m->channel_id);

	if (!channel || channel->state != CHANNEL_OPEN)
		return;
	channel->state = CHANNEL_OFFERED;
	guest->lab->ops->on_close(guest->context, &channel->class_id);
}

static void handle_release(struct lab_guest *guest, const struct shm_message *m)
{
	struct lab_channel *channel = find_channel(guest, m->channel_id);

	if (!channel || channel->state != CHANNEL_RESCINDED)
		return;
	channel->state = CHANNEL_FREE;
	if (guest->lab->ops->on_release)
		guest->lab->ops->on_release(guest->context);
}

/* False if the guest does what no guest does. */
static bool handle_message(struct lab_guest *guest, const struct shm_message *m)
{
	if (!guest->introduced && m->type != SHM_HELLO)
		return false;

	switch (m->type) {
	case SHM_HELLO:
		if (guest->introduced)
			return false;
		handle_hello(guest, m);
		return true;
	case SHM_OPEN:
		handle_open(guest, m);
		return true;
	case SHM_CLOSE:
		handle_close(guest, m);
		return true;
	case SHM_RELEASE:
		handle_release(guest, m);
		return true;
	default:
		return false;
	}
}

static void on_guest_readable(evutil_socket_t fd, short what, void *user)
{
	struct lab_guest *guest = user;
	uint8_t wire[SHM_MESSAGE_SIZE];
	struct shm_message m;
	size_t size, n_fds;
	int r;

	(void)fd;
	(void)what;
	if (guest->doomed) {
		guest_free(guest);
		return;
	}

	r = fdpass_receive(guest->fd, wire, sizeof(wire), NULL, 0, &size, &n_fds);
	if (r == FDPASS_AGAIN)
		return;
	if (r || shm_decode(wire, size, &m) || !handle_message(guest, &m))
		guest_free(guest);
}

/* accept() has failed, by errno: is it worth another try at once? */
static void pause_accepting(struct lab *lab)
{
	static const struct timeval pause = {.tv_sec = ACCEPT_PAUSE_SECONDS};

	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	if (!lab->complained)
		log_warning("no guest can be let in (%m): let this process open more files "
			    "(ulimit -n, LimitNOFILE=); trying once a second");
	lab->complained = true;
	(void)event_del(lab->event);
	(void)event_add(lab->pause, &pause);
}

static void on_pause_over(evutil_socket_t fd, short what, void *user)
{
	struct lab *lab = user;

	(void)fd;
	(void)what;
	(void)event_add(lab->event, NULL);
}

static void on_connection(evutil_socket_t listen_fd, short what, void *user)
{
	struct lab *lab = user;
	_cleanup_close_ int fd = -1;
	struct lab_guest *guest;

	(void)what;
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		pause_accepting(lab);
		return;
	}
	lab->complained = false;
	guest = calloc(1, sizeof(*guest));
	if (!guest)
		return;

	guest->lab = lab;
	guest->event = event_new(lab->base, fd, EV_READ | EV_PERSIST, on_guest_readable, guest);
	if (!guest->event || event_add(guest->event, NULL) < 0) {
		if (guest->event)
			event_free(guest->event);
		free(guest);
		return;
	}
	guest->fd = steal_fd(fd);
	LIST_INSERT_HEAD(&lab->guests, guest, in_lab);
}

int lab_new(struct event_base *base, const char *path, const struct lab_ops *ops, void *user,
	    struct lab **ret_lab)
{
	_cleanup_(cleanup_labp) struct lab *lab = calloc(1, sizeof(*lab));
	int r;

	if (!lab)
		return -ENOMEM;
	lab->base = base;
	lab->ops = ops;
	lab->user = user;
	unixsock_init(&lab->socket);

	r = unixsock_listen(&lab->socket, path, SOCK_SEQPACKET, 0600);
	if (r)
		return r == UNIXSOCK_IN_USE ? LAB_IN_USE : r;
	lab->event = event_new(base, lab->socket.fd, EV_READ | EV_PERSIST, on_connection, lab);
	lab->pause = event_new(base, -1, 0, on_pause_over, lab);
	if (!lab->pause || !lab->event || event_add(lab->event, NULL) < 0)
		return -ENOMEM;

	*ret_lab = steal_ptr(lab);
	return 0;
}

struct lab *lab_free(struct lab *lab)
{
	if (!lab)
		return NULL;
	while (!LIST_EMPTY(&lab->guests))
		guest_free(LIST_FIRST(&lab->guests));
	if (lab->event)
		event_free(lab->event);
	if (lab->pause)
		event_free(lab->pause);
	unixsock_fini(&lab->socket);
	free(lab);
	return NULL;
}
