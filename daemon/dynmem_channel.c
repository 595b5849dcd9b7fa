/* SPDX-License-Identifier: MIT */

/*
 * The channel of dynamic memory.
 *
 * When it is lost the host forgets what it took. The memory stays out of use, unreported, until the next
 * host asks for some, or the administrator releases it. What is under way is ended:
 *
 *     OPEN --close--> DRAINING --(work done, what was given back is in use)--> IDLE --open--> OPEN
 *
 * A channel that opens while the last one is still being drained waits. The channel of a predecessor that
 * is still open is gone on with, where it was.
 */

#include "daemon/dynmem_binding.h"
#include "daemon/dynmem_status.h"
#include "daemon/journal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"

#include <string.h>

void dynmem_channel_fail(struct bind_dynmem *b, enum dynmem_close_reason reason)
{
	const char *why = dynmem_close_reason_text(reason);
	bool is_final = dynmem_close_is_final(reason);
	struct dynmem_status status;

	dynmem_get_status(b->core, &status);
	if (is_final)
		log_error("memory: closing the channel: %s", why);
	else if (status.unanswered == 1)
		log_warning("memory: %s within 5 s; opening the channel anew, with twice the patience each "
			    "time (said once)", why);
	b->given_up = is_final ? why : NULL;
	b->unanswered = why;
	connection_close_channel(*b->context.connection, b, !is_final);
}

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct bind_dynmem *b = user;
	int r;

	(void)trans_id;
	r = dynmem_receive(b->core, message, size, clock_monotonic_ns());
	if (r < 0)
		log_error("memory: a message is lost: %s", strerror(-r));
	bind_dynmem_commit(b);
	bind_dynmem_step(b);
}

static void on_room(void *user)
{
	bind_dynmem_step(user);
}

static void on_corrupt(void *user)
{
	struct bind_dynmem *b = user;

	log_as(EVENT_RING_CORRUPT, "memory", "memory: the ring is corrupt; opening the channel anew");
	connection_close_channel(*b->context.connection, b, true);
}

static void on_gone(void *user)
{
	struct bind_dynmem *b = user;

	log_warning("memory: the host has taken the channel away");
	connection_close_channel(*b->context.connection, b, true);
}

static const struct link_user link_ops = {
	.on_message = on_message,
	.on_room = on_room,
	.on_corrupt = on_corrupt,
	.on_gone = on_gone,
};

static void start_channel(struct bind_dynmem *b, struct vmbus_port *take_port)
{
	if (link_new(b->context.base, take_port, &link_ops, b, &b->link) ||
	    dynmem_open(b->core, clock_monotonic_ns()))
		connection_close_channel(*b->context.connection, b, true);
	else
		timer_set(b->timer, 0);
}

void dynmem_channel_end_drain(struct bind_dynmem *b)
{
	uint64_t unreported = dynmem_unreported(b->core)->pages;

	if (unreported > 0)
		log_notice("memory: the host is gone; what it had, %s, is for the next one (see hvguestctl "
			   "memory release)", size_format(unreported * DYNMEM_PAGE_SIZE).text);
	b->draining = false;
	if (b->has_waiting) {
		b->has_waiting = false;
		start_channel(b, &b->waiting);
	}
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct bind_dynmem *b = self;

	b->given_up = NULL;
	if (!b->draining) {
		start_channel(b, take_port);
		return;
	}
	b->waiting = *take_port;
	b->has_waiting = true;
}

/* The host is gone, and has forgotten what it had. */
static void end_channel(struct bind_dynmem *b)
{
	dynmem_close(b->core);
	if (b->take_due && !(b->work.running && b->work.kind == WORK_TAKE))
		dynmem_memory_end_take(b, "the channel is gone");
	b->take_due = false; /* of a slice that is under way, slice_taken() takes note */
	b->draining = true;
	timer_set(b->timer, 0);
}

/* Goes on with the channel of a dead predecessor, where it was. */
static bool resume_channel(void *self, struct vmbus_port *take_port)
{
	struct bind_dynmem *b = self;
	uint32_t in, out;

	if (!b->resumable || vmbus_channel_resume(&take_port->channel, b->kept_in)) {
		vmbus_port_fini(take_port);
		return false;
	}
	if (link_new(b->context.base, take_port, &link_ops, b, &b->link))
		return false;
	link_positions(b->link, &in, &out);
	dynmem_resume(b->core, out, clock_monotonic_ns());
	b->resumable = false;
	timer_set(b->timer, 0);
	return true;
}

void bind_dynmem_begin(struct bind_dynmem *b)
{
	struct dynmem_status status;

	b->resumable = false;
	dynmem_get_status(b->core, &status);
	if (b->link || status.state == DYNMEM_STATE_CLOSED)
		return;
	end_channel(b);
}

static void close_channel(void *self, const char *why)
{
	struct bind_dynmem *b = self;

	(void)why;
	if (b->has_waiting)
		vmbus_port_fini(&b->waiting);
	b->has_waiting = false;
	b->link = link_free(b->link);
	end_channel(b);
}

struct service bind_dynmem_service(struct bind_dynmem *b)
{
	return (struct service){
		.name = "dynmem",
		.class_id = &vmbus_class_dynmem,
		.self = b,
		.open = open_channel,
		.close = close_channel,
		.resume = resume_channel,
		.traffic = dynmem_status_traffic,
	};
}
