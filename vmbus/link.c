/* SPDX-License-Identifier: MIT */

/*
 * Links: channels in an event loop.
 *
 * The doorbell is level-triggered: reading the eventfd first and the ring afterwards cannot miss
 * anything. A round sends what was kept, if it fits by now, and reads the ring until it is empty.
 * It reads even while a message is kept: two sides that both stop reading until the other has made
 * room would wait for each other for ever. To keep one busy channel from starving the others, a
 * round ends after a bounded number of messages and is continued from the loop: by a timer, because
 * an event that is made active inside its own call comes again before the loop looks at others.
 *
 * A wake-up costs a hundred times what a message costs. So when the other side answers quickly, a
 * round does not end with an empty ring: it looks for the next message for as long as one wake-up
 * takes, with signals still masked, and most of an active exchange needs no wake-up at all. Whether
 * it does is decided anew at each doorbell, by how soon it came after the last message; an idle
 * channel, or one with a message now and then, sleeps at once, and nothing here wakes by a timer.
 * With a single processor there is nobody to wait for.
 *
 * A host has thousands of links, so an idle one has no buffers: what is received lies on the stack of
 * the round, and memory for a message that waits is taken when one does.
 *
 * The user may free the link from inside any call that the link makes; the round notices, because
 * freeing marks the link and the memory goes when the round is over.
 */

#include "vmbus/link.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
	MESSAGES_PER_ROUND = 64,
	LIVELY_NS = 150000, /* a doorbell so soon after the last message begins an active exchange */
	SPIN_NS = 25000,    /* about what a wake-up takes */
	LOOKS_PER_CLOCK = 64,
};

struct link {
	struct vmbus_port port;
	struct event *event;
	struct event *again; /* continues a round */
	const struct link_user *ops;
	void *user;

	bool running; /* a round is on the stack */
	bool freed;
	bool dead_told;

	bool may_spin; /* there is another processor */
	bool lively;   /* the next message is likely to come at once */
	uint64_t last_message_ns;

	size_t kept_size; /* 0: none is kept */
	uint64_t kept_trans_id;
	uint8_t *kept;
};

/* Sends the kept message, if it fits by now. */
static void send_kept(struct link *link)
{
	if (link->kept_size == 0 ||
	    vmbus_channel_send(&link->port.channel, link->kept_trans_id, link->kept,
			       link->kept_size) == VMBUS_CHANNEL_FULL)
		return;

	link->kept_size = 0;
	free(link->kept);
	link->kept = NULL;
	if (!link->port.channel.corrupt)
		link->ops->on_room(link->user);
}

static void relax_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Looks for the next message for a moment, if it is likely to come. True if there is one. */
static bool spin(struct link *link)
{
	uint64_t now_ns, end_ns = 0;

	if (!link->lively || link->kept_size > 0)
		return false;
	do {
		for (int look = 0; look < LOOKS_PER_CLOCK; look++) {
			if (vmbus_channel_poll(&link->port.channel))
				return true;
			vmbus_port_flush(&link->port);
			relax_cpu();
		}
		now_ns = clock_monotonic_ns();
		end_ns = end_ns ?: now_ns + SPIN_NS;
	} while (now_ns < end_ns);
	link->lively = false;
	return false;
}

/* Takes the next message out, or waits for it a moment. */
static int receive(struct link *link, uint8_t buf[LINK_MESSAGE_MAX],
		   struct vmbus_message *ret_message)
{
	struct vmbus_channel *ch = &link->port.channel;
	int r = vmbus_channel_receive(ch, buf, LINK_MESSAGE_MAX, ret_message);

	if (r == VMBUS_CHANNEL_EMPTY && spin(link))
		r = vmbus_channel_receive(ch, buf, LINK_MESSAGE_MAX, ret_message);
	return r;
}

/* Reads what is there. True if it stopped because of the bound, not because of the ring. */
static bool read_messages(struct link *link)
{
	_Alignas(8) uint8_t buf[LINK_MESSAGE_MAX];
	struct vmbus_message message;
	int n;

	for (n = 0; n < MESSAGES_PER_ROUND && receive(link, buf, &message) == 0; n++) {
		link->ops->on_message(link->user, buf, message.size, message.trans_id);
		if (link->freed)
			return false;
	}
	if (n > 0)
		link->last_message_ns = clock_monotonic_ns();
	return n == MESSAGES_PER_ROUND;
}

/* Says once that the link is dead. */
static void tell_dead(struct link *link, void (*tell)(void *user))
{
	if (link->dead_told)
		return;
	link->dead_told = true;
	(void)event_del(link->event);
	(void)event_del(link->again);
	tell(link->user);
}

static void run_again(struct link *link)
{
	static const struct timeval at_once = {0};

	(void)event_add(link->again, &at_once);
}

/* One round, and what follows from it. */
static void run_round(struct link *link)
{
	bool more;

	send_kept(link);
	if (link->freed)
		return;
	more = read_messages(link);
	if (link->freed)
		return;

	more |= !vmbus_channel_sleep(&link->port.channel);
	vmbus_port_flush(&link->port);
	if (link->port.channel.corrupt)
		tell_dead(link, link->ops->on_corrupt);
	else if (more)
		run_again(link);
}

static void on_doorbell(evutil_socket_t fd, short what, void *user)
{
	struct link *link = user;

	(void)fd;
	(void)what;
	link->running = true;
	link->lively = link->may_spin &&
		       clock_monotonic_ns() - link->last_message_ns < LIVELY_NS;
	if (vmbus_port_wake(&link->port))
		tell_dead(link, link->ops->on_gone);
	else
		run_round(link);
	link->running = false;
	if (link->freed)
		(void)link_free(link);
}

int link_new(struct event_base *base, struct vmbus_port *take_port, const struct link_user *ops,
	     void *user, struct link **ret_link)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link) {
		vmbus_port_fini(take_port);
		return -ENOMEM;
	}
	link->port = *take_port;
	*take_port = (struct vmbus_port)VMBUS_PORT_INIT;
	link->ops = ops;
	link->user = user;
	link->may_spin = sysconf(_SC_NPROCESSORS_ONLN) > 1;
	link->event = event_new(base, link->port.wait_fd, EV_READ | EV_PERSIST, on_doorbell, link);
	link->again = event_new(base, -1, 0, on_doorbell, link);
	if (!link->event || !link->again || event_add(link->event, NULL) < 0) {
		(void)link_free(link);
		return -ENOMEM;
	}

	/* Something may be in the ring already. */
	run_again(link);
	*ret_link = link;
	return 0;
}

struct link *link_free(struct link *link)
{
	if (!link)
		return NULL;
	if (link->running) {
		link->freed = true;
		return NULL;
	}
	if (link->event)
		event_free(link->event);
	if (link->again)
		event_free(link->again);
	vmbus_port_fini(&link->port);
	free(link->kept);
	free(link);
	return NULL;
}

int link_send(struct link *link, uint64_t trans_id, const void *message, size_t size)
{
	int r;

	if (link->kept_size > 0)
		return LINK_BUSY;

	r = vmbus_channel_queue(&link->port.channel, trans_id, message, size);
	if (r == VMBUS_CHANNEL_FULL && size <= LINK_MESSAGE_MAX)
		link->kept = malloc(size);
	if (link->kept) {
		memcpy(link->kept, message, size);
		link->kept_size = size;
		link->kept_trans_id = trans_id;
	} else if (r) {
		/* A message that can never fit, or nowhere be kept, is as final as corruption. */
		link->port.channel.corrupt = true;
		run_again(link);
		return LINK_DEAD;
	}

	/* Inside a round the flush at its end is enough. */
	if (!link->running)
		vmbus_port_flush(&link->port);
	return 0;
}

void link_flush(struct link *link)
{
	vmbus_port_flush(&link->port);
}

bool link_is_busy(const struct link *link)
{
	return link->kept_size > 0;
}

void link_positions(struct link *link, uint32_t *ret_in, uint32_t *ret_out)
{
	if (!link->port.channel.corrupt)
		vmbus_channel_publish(&link->port.channel);
	*ret_in = link->port.channel.in.read_index;
	*ret_out = link->port.channel.out.write_index;
}

const struct vmbus_channel_stats *link_stats(const struct link *link)
{
	return &link->port.channel.stats;
}
