/* SPDX-License-Identifier: MIT */

/*
 * Dynamic memory, bound to the world.
 *
 * The machine (balloon/dynmem) speaks the protocol and knows which pages the host has; the report
 * (policy/report) says how much there is to give; the pages (daemon/memory_sources) are taken and put
 * back by the worker (daemon/dynmem_memory). Here the machine is asked what it wants, whenever something
 * has happened, and that is done; a message goes out only after the state that it follows from has been
 * recorded. The channel's life is in daemon/dynmem_channel.
 */

#include "daemon/dynmem_binding.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "memhotplug/align.h"
#include "memhotplug/blocks.h"

void bind_dynmem_commit(struct bind_dynmem *b)
{
	struct dynmem_positions positions = {0};

	if (b->link)
		link_positions(b->link, &positions.in, &positions.out);
	dynmem_commit(b->core, &positions);
}

static void set_figures(struct bind_dynmem *b)
{
	const struct report_ballooned taken = dynmem_memory_ballooned(b);
	struct dynmem_status_report figures;

	memory_guard_report(b->guard, &taken, b->take_due, &figures);
	/* It can be given at once, whatever this machine needs. */
	figures.available_pages += dynmem_unreported(b->core)->pages;
	dynmem_set_figures(b->core, &figures);
}

static void send_message(struct bind_dynmem *b, const struct dynmem_message *message)
{
	bind_dynmem_commit(b);
	if (b->link && link_send(b->link, 0, message->bytes, message->size) == LINK_BUSY)
		log_error("memory: a message was made while the last one still waits");
}

static void perform(struct bind_dynmem *b, const struct dynmem_action *action)
{
	switch (action->type) {
	case DYNMEM_ACTION_SEND:
		send_message(b, action->message);
		break;
	case DYNMEM_ACTION_TAKE_PAGES:
		dynmem_memory_begin_take(b, action->pages);
		break;
	case DYNMEM_ACTION_RETURN_PAGES:
		b->return_due = true;
		b->return_ranges = action->ranges;
		b->n_return_ranges = action->n_ranges;
		break;
	case DYNMEM_ACTION_HOT_ADD:
		b->hot_add_due = true;
		hot_add_begin(b->work.hot_add, action);
		break;
	case DYNMEM_ACTION_SAMPLE:
		set_figures(b);
		break;
	case DYNMEM_ACTION_CLOSE_CHANNEL:
		dynmem_channel_fail(b, action->reason);
		break;
	case DYNMEM_ACTION_NOTE:
		log_warning("memory: %s (counted; said once)", dynmem_note_text(action->note));
		break;
	}
}

static bool next_action(struct bind_dynmem *b, struct dynmem_action *ret_action)
{
	if (b->link && link_is_busy(b->link))
		return false;
	return dynmem_next_action(b->core, ret_action) == 0;
}

static uint64_t deadline_ns(const struct bind_dynmem *b)
{
	uint64_t core_ns = dynmem_deadline_ns(b->core);
	bool waits = b->take_due && !b->work.running;

	return waits && b->slice_from_ns < core_ns ? b->slice_from_ns : core_ns;
}

void bind_dynmem_step(struct bind_dynmem *b)
{
	struct dynmem_action action;

	dynmem_tick(b->core, clock_monotonic_ns());
	do {
		while (next_action(b, &action))
			perform(b, &action);
	} while (dynmem_memory_work(b));
	timer_set(b->timer, deadline_ns(b));
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	bind_dynmem_step(user);
}

/* Tells the host how memory would have to be aligned; a size we cannot express stays the default. */
static void read_alignment(uint8_t *alignment)
{
	uint64_t block_bytes;

	if (blocks_read_size(BLOCKS_DIR, &block_bytes) == 0)
		(void)!memhotplug_align_code(block_bytes, alignment);
}

static void on_stall(void *user)
{
	struct bind_dynmem *b = user;

	dynmem_report_soon(b->core, clock_monotonic_ns());
	timer_set(b->timer, 0);
}

static int set_up(struct bind_dynmem *b)
{
	struct dynmem_config *config = &b->core_config;
	struct dynmem_session session;
	int r;

	dynmem_config_init(config);
	r = b->context.session ? hot_add_new(&b->work.hot_add) : 0;
	if (r)
		return r;
	config->can_hot_add = b->work.hot_add && hot_add_is_possible(b->work.hot_add);
	config->capabilities.hot_add = config->can_hot_add;
	read_alignment(&config->capabilities.hot_add_alignment);
	config->first_status_ns = b->context.config->report_delay_ns;
	r = dynmem_session_open(config, b->context.session, NULL, 0, &session);
	if (r)
		return r;
	b->core = session.core;
	b->kept_in = session.in;
	b->resumable = session.resumable;
	r = memory_guard_new(b->context.base, b->context.config, on_stall, b, &b->guard);
	if (r)
		return r;
	b->timer = event_new(b->context.base, -1, 0, on_timer, b);
	if (!b->timer)
		return -ENOMEM;
	return dynmem_memory_open(b);
}

int bind_dynmem_new(const struct bind_dynmem_context *context, struct bind_dynmem **ret_binding)
{
	_cleanup_(cleanup_bind_dynmemp) struct bind_dynmem *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->context = *context;
	b->keeper_fd = -1;
	r = set_up(b);
	if (r)
		return r;

	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_dynmem *bind_dynmem_free(struct bind_dynmem *b)
{
	if (!b)
		return NULL;
	if (b->verified)
		b->verified(b->verified_user, NULL);
	(void)link_free(b->link);
	if (b->has_waiting)
		vmbus_port_fini(&b->waiting);
	if (b->timer)
		event_free(b->timer);
	(void)memory_guard_free(b->guard);
	dynmem_memory_close(b);
	(void)hot_add_free(b->work.hot_add);
	(void)dynmem_free(b->core);
	free(b);
	return NULL;
}

void bind_dynmem_guard_blocks(struct bind_dynmem *b)
{
	if (!b->work.sources || (b->stats.blocks.blocks == 0 && !b->work.running))
		return;
	b->guard_due = true;
	timer_set(b->timer, 0);
}

bool bind_dynmem_verify(struct bind_dynmem *b, void (*done)(void *user, json_t *take_answer),
			void *user)
{
	if (b->verified || !b->work.sources)
		return false;
	b->verified = done;
	b->verified_user = user;
	b->verify_due = true;
	timer_set(b->timer, 0);
	return true;
}

json_t *bind_dynmem_release(struct bind_dynmem *b)
{
	uint64_t pages = dynmem_unreported(b->core)->pages;

	if (dynmem_release(b->core))
		return NULL;
	if (pages > 0)
		log_notice("memory: %s of a host that is gone are put back into use",
			   size_format(pages * DYNMEM_PAGE_SIZE).text);
	timer_set(b->timer, 0);
	return json_pack("{s:i, s:I}", "schema", 1, "released_bytes",
			 (json_int_t)(pages * DYNMEM_PAGE_SIZE));
}

