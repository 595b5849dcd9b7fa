/* SPDX-License-Identifier: MIT */

/*
 * The connection to a lab host.
 *
 *     WAITING --connect--> CONNECTING --welcome--> CONNECTED
 *        ^                     |                       |
 *        +------ a second -----+------- lost ----------+
 *
 * For each service there is one slot with the channel that the host offers for it. A channel is
 * opened when it is offered and a service is there for it; a class that nobody serves is left
 * alone, as a kernel leaves a device without a driver alone. A channel that the host refuses to open
 * is tried again after a pause that doubles, up to a minute. When the host is lost every service is
 * told at once, in the order of the table, and the search for a host begins anew.
 *
 * The connection and the channel of dynamic memory outlive the daemon, with the keeper
 * (daemon/kept.c). A successor begins in CONNECTED, with the slots that its predecessor had; the
 * channels of the other services are closed and opened anew.
 *
 * What a host can repeat as often as it likes is logged once.
 */

#include "daemon/lab_host.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "daemon/journal.h"
#include "vmbus/transport_shm.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RETRY_NS     UINT64_C(1000000000)
#define PAUSE_MAX_NS (60 * RETRY_NS)

enum {
	STRANGERS_MAX = 16, /* classes that are remembered as logged */
};

enum connection_state {
	CONNECTION_WAITING,
	CONNECTION_CONNECTING,
	CONNECTION_CONNECTED,
};

enum slot_state {
	SLOT_NONE,
	SLOT_OFFERED, /* not opened yet, or closed by the service */
	SLOT_OPENING,
	SLOT_OPEN,
};

struct slot {
	enum slot_state state;
	uint32_t channel_id;
	uint64_t try_ns;   /* OFFERED: when to open it; UINT64_MAX: not again */
	uint64_t pause_ns; /* before the next try, if it is refused */
};

struct lab_host {
	struct connection connection;
	struct event_base *base;
	const char *socket_path;
	const char *name;
	const struct service *services;
	size_t n_services;
	struct kept *kept;
	char peer[KEPT_PEER_SIZE]; /* which host this is, for the session */
	unsigned depth;               /* of calls that change what the session should know */
	struct slot *slots;
	enum connection_state state;
	bool complained; /* about the host that is not there */
	struct vmbus_guid strangers[STRANGERS_MAX]; /* classes that nothing here serves */
	size_t n_strangers;
	char error[128];
	struct transport_shm *transport;
	struct event *event;
	struct event *retry;
};

static void lose_host(struct lab_host *c, const char *why);

/* Around everything that changes slots, or takes messages from the host. */
static void enter(struct lab_host *c)
{
	if (c->depth++ == 0)
		kept_unsettle(c->kept);
}

static void leave(struct lab_host *c)
{
	struct kept_slot slots[KEPT_SLOTS_MAX];

	if (--c->depth > 0)
		return;
	for (size_t i = 0; i < c->n_services; i++)
		slots[i] = (struct kept_slot){
			.class_id = *c->services[i].class_id,
			.channel_id = c->slots[i].channel_id,
			.state = c->slots[i].state,
		};
	kept_settle(c->kept, slots, c->n_services);
}

/* For the first slot that is to be opened. */
static void arm_retry(struct lab_host *c)
{
	uint64_t first_ns = UINT64_MAX;

	for (size_t i = 0; i < c->n_services; i++)
		if (c->slots[i].state == SLOT_OFFERED && c->slots[i].try_ns < first_ns)
			first_ns = c->slots[i].try_ns;
	timer_set(c->retry, first_ns);
}

static void close_slot(struct lab_host *c, size_t i, const char *why)
{
	bool was_open = c->slots[i].state == SLOT_OPEN;

	c->slots[i] = (struct slot){.state = SLOT_NONE};
	if (was_open && c->services[i].resume)
		kept_forget_channel(c->kept, false);
	if (was_open)
		c->services[i].close(c->services[i].self, why);
}

static void lose_host(struct lab_host *c, const char *why)
{
	for (size_t i = 0; i < c->n_services; i++)
		close_slot(c, i, why);
	if (c->event)
		event_free(c->event);
	c->event = NULL;
	kept_forget_channel(c->kept, true);
	if (c->transport)
		transport_shm_end(c->transport);
	c->transport = transport_shm_free(c->transport);
	if (c->state == CONNECTION_CONNECTED)
		log_as(EVENT_HOST_LOST, c->socket_path, "the host at %s is lost (%s); looking for it",
		       c->socket_path, why);
	c->state = CONNECTION_WAITING;
	snprintf(c->error, sizeof(c->error), "%s", why);
	timer_set(c->retry, clock_monotonic_ns() + RETRY_NS);
}

static void open_slot(struct lab_host *c, size_t i)
{
	struct slot *slot = &c->slots[i];

	if (slot->state != SLOT_OFFERED)
		return;
	slot->state = SLOT_OPENING;
	if (transport_shm_open(c->transport, slot->channel_id))
		lose_host(c, "it does not take messages");
}

static size_t find_service(const struct lab_host *c, const struct vmbus_guid *class_id)
{
	size_t i;

	for (i = 0; i < c->n_services; i++)
		if (vmbus_guid_equal(c->services[i].class_id, class_id))
			break;
	return i;
}

static size_t find_slot(const struct lab_host *c, uint32_t channel_id)
{
	size_t i;

	for (i = 0; i < c->n_services; i++)
		if (c->slots[i].state != SLOT_NONE && c->slots[i].channel_id == channel_id)
			break;
	return i;
}

static void on_stranger(struct lab_host *c, const struct vmbus_guid *class_id)
{
	char guid[VMBUS_GUID_TEXT_SIZE];

	for (size_t i = 0; i < c->n_strangers; i++)
		if (vmbus_guid_equal(&c->strangers[i], class_id))
			return;
	if (c->n_strangers == STRANGERS_MAX)
		return;
	c->strangers[c->n_strangers++] = *class_id;
	vmbus_guid_format(class_id, guid);
	log_info("the host offers class %s, which nothing here serves", guid);
}

static void on_offered(struct lab_host *c, const struct transport_shm_event *e)
{
	size_t i = find_service(c, &e->class_id);

	if (i == c->n_services) {
		on_stranger(c, &e->class_id);
		return;
	}
	if (c->slots[i].state != SLOT_NONE) {
		log_debug("%s: the host offers a second channel; one is enough",
			  c->services[i].name);
		return;
	}
	c->slots[i] = (struct slot){
		.state = SLOT_OFFERED,
		.channel_id = e->channel_id,
		.pause_ns = RETRY_NS,
	};
	open_slot(c, i);
}

static void on_opened(struct lab_host *c, struct transport_shm_event *e)
{
	size_t i = find_slot(c, e->channel_id);

	if (i == c->n_services || c->slots[i].state != SLOT_OPENING) {
		vmbus_port_fini(&e->port);
		return;
	}
	c->slots[i].state = SLOT_OPEN;
	c->slots[i].pause_ns = RETRY_NS;
	log_info("%s: channel %u is open", c->services[i].name, e->channel_id);
	if (c->services[i].resume)
		kept_set_channel(c->kept, KEPT_LAB, c->peer, &e->port);
	c->services[i].open(c->services[i].self, &e->port);
}

static void on_rescinded(struct lab_host *c, uint32_t channel_id)
{
	size_t i = find_slot(c, channel_id);

	if (i < c->n_services) {
		log_info("%s: the host has rescinded channel %u", c->services[i].name, channel_id);
		close_slot(c, i, "the host has rescinded the channel");
	}
	if (transport_shm_release(c->transport, channel_id))
		lose_host(c, "it does not take messages");
}

/* The host does not open a channel that it has offered. */
static void refused(struct lab_host *c, size_t i, enum shm_status status)
{
	struct slot *slot = &c->slots[i];

	if (slot->pause_ns == RETRY_NS)
		log_error("%s: the host does not open channel %u: %s; trying again, less and less often",
			  c->services[i].name, slot->channel_id, shm_status_text(status));
	slot->state = SLOT_OFFERED;
	slot->try_ns = clock_monotonic_ns() + slot->pause_ns;
	slot->pause_ns = slot->pause_ns * 2 < PAUSE_MAX_NS ? slot->pause_ns * 2 : PAUSE_MAX_NS;
	arm_retry(c);
}

static void on_refused(struct lab_host *c, const struct transport_shm_event *e)
{
	size_t i = find_slot(c, e->channel_id);

	if (c->state == CONNECTION_CONNECTING) {
		if (!c->complained)
			log_error("the host at %s refuses this guest: %s", c->socket_path,
				  shm_status_text(e->status));
		c->complained = true;
		lose_host(c, shm_status_text(e->status));
		return;
	}
	/* It may be of a channel that was rescinded while it was being opened. */
	if (i == c->n_services || c->slots[i].state != SLOT_OPENING)
		return;
	refused(c, i, e->status);
}

static void on_welcome(struct lab_host *c)
{
	c->state = CONNECTION_CONNECTED;
	c->complained = false;
	c->error[0] = '\0';
	kept_set_host(c->kept, c->peer, transport_shm_fd(c->transport));
	log_as(EVENT_HOST_FOUND, c->socket_path, "connected to the host at %s as '%s'", c->socket_path,
	       c->name);
}

static void handle_event(struct lab_host *c, struct transport_shm_event *e)
{
	switch (e->type) {
	case TRANSPORT_SHM_WELCOME:
		on_welcome(c);
		break;
	case TRANSPORT_SHM_REFUSED:
		on_refused(c, e);
		break;
	case TRANSPORT_SHM_OFFERED:
		on_offered(c, e);
		break;
	case TRANSPORT_SHM_OPENED:
		on_opened(c, e);
		break;
	case TRANSPORT_SHM_RESCINDED:
		on_rescinded(c, e->channel_id);
		break;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	struct lab_host *c = user;
	struct transport_shm_event e;
	int r;

	(void)fd;
	(void)what;
	enter(c);
	r = transport_shm_dispatch(c->transport, &e);
	if (r == 0)
		handle_event(c, &e);
	else if (r != TRANSPORT_SHM_AGAIN)
		lose_host(c, r == TRANSPORT_SHM_LOST ? "it has closed the connection, or broken its protocol"
						     : strerror(-r));
	leave(c);
}

static uint64_t memory_pages(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / VMBUS_PAGE_SIZE : 0;
}

static void watch_host(struct lab_host *c)
{
	c->event = event_new(c->base, transport_shm_fd(c->transport), EV_READ | EV_PERSIST,
			     on_readable, c);
	if (!c->event || event_add(c->event, NULL) < 0)
		lose_host(c, "no memory");
}

static void connect_host(struct lab_host *c)
{
	int r = transport_shm_new(c->socket_path, c->name, memory_pages(), &c->transport);

	if (r) {
		const char *why = r == TRANSPORT_SHM_NO_HOST ? "nobody listens there" : strerror(-r);

		if (!c->complained)
			log_warning("no host at %s yet (%s); trying once a second", c->socket_path,
				    why);
		c->complained = true;
		lose_host(c, why);
		return;
	}

	c->state = CONNECTION_CONNECTING;
	watch_host(c);
}

static void open_due_slots(struct lab_host *c)
{
	for (size_t i = 0; i < c->n_services && c->state == CONNECTION_CONNECTED; i++)
		if (c->slots[i].try_ns <= clock_monotonic_ns())
			open_slot(c, i);
	if (c->state == CONNECTION_CONNECTED)
		arm_retry(c);
}

static void on_retry(evutil_socket_t fd, short what, void *user)
{
	struct lab_host *c = user;

	(void)fd;
	(void)what;
	enter(c);
	if (c->state == CONNECTION_WAITING)
		connect_host(c);
	else
		open_due_slots(c);
	leave(c);
}

/* True if the service goes on with its channel where its predecessor was. */
static bool resume_channel(struct lab_host *c, size_t i)
{
	struct vmbus_port port;

	if (!c->services[i].resume || kept_take_port(c->kept, &port))
		return false;
	return c->services[i].resume(c->services[i].self, &port);
}

/* Goes on where a predecessor's slot was; a channel that did not outlive it is opened anew. */
static int resume_slot(struct lab_host *c, const struct kept_slot *kept)
{
	size_t i = find_service(c, &kept->class_id);
	bool is_open = kept->state == SLOT_OPEN;

	if (i == c->n_services || kept->state == SLOT_NONE)
		return is_open ? transport_shm_close(c->transport, kept->channel_id) : 0;
	c->slots[i] = (struct slot){
		.state = is_open || kept->state == SLOT_OPENING ? kept->state : SLOT_OFFERED,
		.channel_id = kept->channel_id,
		.pause_ns = RETRY_NS,
	};
	if (!is_open)
		return 0;
	if (resume_channel(c, i)) {
		log_notice("%s: channel %u is still open: going on", c->services[i].name,
			   kept->channel_id);
		return 0;
	}
	if (c->services[i].resume)
		kept_forget_channel(c->kept, false);
	c->slots[i].state = SLOT_OFFERED;
	return transport_shm_close(c->transport, kept->channel_id);
}

/* Goes on with the connection of a predecessor. */
static void resume_host(struct lab_host *c)
{
	struct kept_slot kept[KEPT_SLOTS_MAX];
	int fd, r = 0;

	if (!kept_has(c->kept, KEPT_LAB, c->peer) || kept_take_host(c->kept, &fd) ||
	    transport_shm_resume(fd, &c->transport))
		return;
	enter(c);
	log_notice("the connection to the host at %s as '%s' is still there", c->socket_path,
		   c->name);
	c->state = CONNECTION_CONNECTED;
	watch_host(c);
	for (size_t i = 0, n = kept_slots(c->kept, kept); i < n && c->transport && !r; i++)
		r = resume_slot(c, &kept[i]);
	kept_taken(c->kept);
	if (r && c->transport)
		lose_host(c, "it does not take messages");
	leave(c);
}

static struct lab_host *lab_host_of(struct connection *connection)
{
	return container_of(connection, struct lab_host, connection);
}

static struct lab_host *lab_host_free(struct lab_host *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->n_services; i++)
		close_slot(c, i, "the service ends");
	if (c->event)
		event_free(c->event);
	if (c->retry)
		event_free(c->retry);
	if (c->transport) {
		kept_forget_channel(c->kept, true);
		transport_shm_end(c->transport);
	}
	(void)transport_shm_free(c->transport);
	free(c->slots);
	free(c);
	return NULL;
}
DEFINE_CLEANUP(lab_host)

static void free_connection(struct connection *connection)
{
	(void)lab_host_free(lab_host_of(connection));
}

static void close_channel(struct connection *connection, const void *self, bool again)
{
	struct lab_host *c = lab_host_of(connection);

	for (size_t i = 0; i < c->n_services; i++) {
		uint32_t channel_id = c->slots[i].channel_id;

		if (c->services[i].self != self || c->slots[i].state != SLOT_OPEN)
			continue;
		enter(c);
		close_slot(c, i, "the channel was closed");
		c->slots[i] = (struct slot){
			.state = SLOT_OFFERED,
			.channel_id = channel_id,
			.try_ns = again ? clock_monotonic_ns() + RETRY_NS : UINT64_MAX,
			.pause_ns = RETRY_NS,
		};
		if (transport_shm_close(c->transport, channel_id))
			lose_host(c, "it does not take messages");
		else
			arm_retry(c);
		leave(c);
		return;
	}
}

static json_t *get_status(struct connection *connection)
{
	struct lab_host *c = lab_host_of(connection);
	static const char *const names[] = {
		[CONNECTION_WAITING] = "waiting",
		[CONNECTION_CONNECTING] = "connecting",
		[CONNECTION_CONNECTED] = "connected",
	};

	return json_pack("{s:s, s:s, s:s, s:s*}", "transport", "shm", "state", names[c->state],
			 "socket", c->socket_path, "error", c->error[0] ? c->error : NULL);
}

static const char *channel_state(struct connection *connection, const void *self)
{
	struct lab_host *c = lab_host_of(connection);
	static const char *const names[] = {
		[SLOT_NONE] = "none",
		[SLOT_OFFERED] = "offered",
		[SLOT_OPENING] = "opening",
		[SLOT_OPEN] = "open",
	};

	for (size_t i = 0; i < c->n_services; i++)
		if (c->services[i].self == self)
			return names[c->slots[i].state];
	return names[SLOT_NONE];
}

static const struct connection_ops lab_host_ops = {
	.transport = "shm",
	.free = free_connection,
	.close_channel = close_channel,
	.status = get_status,
	.channel_state = channel_state,
};

int lab_host_new(struct event_base *base, const char *socket_path, const char *name,
		 const struct service *services, size_t n, struct kept *kept_channel,
		 struct connection **ret_connection)
{
	_cleanup_(cleanup_lab_hostp) struct lab_host *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->connection.ops = &lab_host_ops;
	c->base = base;
	assert(n <= KEPT_SLOTS_MAX);
	if (snprintf(c->peer, sizeof(c->peer), "%s %s", name, socket_path) >= (int)sizeof(c->peer))
		return -ENAMETOOLONG;
	c->socket_path = socket_path;
	c->name = name;
	c->services = services;
	c->slots = calloc(n, sizeof(*c->slots));
	if (!c->slots)
		return -ENOMEM;
	c->n_services = n;
	c->retry = event_new(base, -1, 0, on_retry, c);
	if (!c->retry)
		return -ENOMEM;
	c->kept = kept_channel;
	timer_set(c->retry, 0);
	resume_host(c);

	*ret_connection = &steal_ptr(c)->connection;
	return 0;
}
