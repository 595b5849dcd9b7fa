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
 * What a host can repeat as often as it likes is logged once.
 */

#include "daemon/lab_host.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/jobs.h"
#include "base/log.h"
#include "vmbus/transport_shm.h"

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
	c->transport = transport_shm_free(c->transport);
	if (c->state == CONNECTION_CONNECTED)
		log_warning("the host at %s is lost (%s); looking for it", c->socket_path, why);
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
	log_notice("connected to the host at %s as '%s'", c->socket_path, c->name);
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
	r = transport_shm_dispatch(c->transport, &e);
	if (r == TRANSPORT_SHM_AGAIN)
		return;
	if (r)
		lose_host(c, r == TRANSPORT_SHM_LOST ? "it has closed the connection, or broken its protocol"
						     : strerror(-r));
	else
		handle_event(c, &e);
}

static uint64_t memory_pages(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / VMBUS_PAGE_SIZE : 0;
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
	c->event = event_new(c->base, transport_shm_fd(c->transport), EV_READ | EV_PERSIST,
			     on_readable, c);
	if (!c->event || event_add(c->event, NULL) < 0)
		lose_host(c, "no memory");
}

static void on_retry(evutil_socket_t fd, short what, void *user)
{
	struct lab_host *c = user;

	(void)fd;
	(void)what;
	if (c->state == CONNECTION_WAITING) {
		connect_host(c);
		return;
	}
	for (size_t i = 0; i < c->n_services && c->state == CONNECTION_CONNECTED; i++)
		if (c->slots[i].try_ns <= clock_monotonic_ns())
			open_slot(c, i);
	if (c->state == CONNECTION_CONNECTED)
		arm_retry(c);
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
		 const struct service *services, size_t n, struct connection **ret_connection)
{
	_cleanup_(cleanup_lab_hostp) struct lab_host *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->connection.ops = &lab_host_ops;
	c->base = base;
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
	timer_set(c->retry, 0);

	*ret_connection = &steal_ptr(c)->connection;
	return 0;
}
