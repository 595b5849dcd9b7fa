/* SPDX-License-Identifier: MIT */

/*
 * A guest's dynamic memory at the host.
 *
 * The machine (host/dynmem_host) speaks the protocol; the host's balancer (host/balance) is told what
 * the guest reports and has, and orders what is to be moved. In the lab the host cannot see what a guest
 * really has, so "assigned" is what it was started with and what was added, less what it has given. A
 * guest that needs more is first given back what it gave; then memory is added, if there is a window
 * for it.
 */

#include "host/guest_memory.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/size.h"
#include "host/dynmem_host.h"
#include "vmbus/link.h"

#include <stdio.h>
#include <string.h>

struct guest_memory {
	struct guest_service_context context;
	struct balance *balance;
	uint32_t id; /* of this guest, there */
	uint64_t startup_pages;
	struct dynmem_host *core;
	struct link *link;
	struct event *timer;
	uint64_t reports_seen;
	bool told_violation;
};

static json_int_t bytes(uint64_t pages)
{
	return pages * VMBUS_PAGE_SIZE;
}

static const struct balancer_guest *place(const struct guest_memory *g)
{
	return balancer_get(balance_core(g->balance), g->id);
}

static uint64_t assigned_pages(const struct guest_memory *g, const struct dynmem_host_status *s)
{
	uint64_t pages = g->startup_pages + s->added_pages;

	return pages > s->ballooned_pages ? pages - s->ballooned_pages : 0;
}

/* By what a guest with @ballooned_pages is changed. */
static enum dynmem_host_operation_kind kind_of(enum balancer_kind kind, uint64_t ballooned_pages)
{
	if (kind == BALANCER_SHRINK)
		return DYNMEM_HOST_BALLOON;
	return ballooned_pages > 0 ? DYNMEM_HOST_UNBALLOON : DYNMEM_HOST_HOT_ADD;
}

/* Tells the balancer what the guest has by now. */
static void book(struct guest_memory *g, uint64_t now)
{
	struct balancer *b = balance_core(g->balance);
	uint64_t booked = place(g)->assigned_pages, has;
	enum balancer_kind running = place(g)->running;
	struct dynmem_host_status s;

	dynmem_host_get_status(g->core, &s);
	has = assigned_pages(g, &s);
	if (has < booked && running == BALANCER_SHRINK)
		(void)balancer_moved(b, g->id, running, booked - has, now);
	else if (has > booked && running == BALANCER_GROW)
		(void)balancer_moved(b, g->id, running, has - booked, now);
	else
		balancer_set_assigned(b, g->id, has, now);
}

/* Reasons of the host's to leave the guest alone. */
static void guard(struct guest_memory *g, uint64_t now)
{
	struct dynmem_host_status s;
	unsigned int guards = 0;

	dynmem_host_get_status(g->core, &s);
	if (!g->link || s.state < DYNMEM_HOST_STATE_READY)
		guards |= BALANCER_GUARD_NOT_READY;
	if (g->context.backup_runs(g->context.guest))
		guards |= BALANCER_GUARD_BACKUP;
	balancer_guard(balance_core(g->balance), g->id, guards, now);
}

static void operation_ended(struct guest_memory *g, uint64_t now)
{
	struct dynmem_host_status s;
	const struct dynmem_host_operation *o = &s.operation;

	book(g, now);
	if (place(g)->running == BALANCER_NONE)
		return;
	guard(g, now);
	dynmem_host_get_status(g->core, &s);
	(void)balancer_ended(balance_core(g->balance), g->id, now);
	log_info("%s: %s %s of %s", g->context.guest_name,
		 o->kind == DYNMEM_HOST_BALLOON ? "took" : "gave",
		 size_format(o->done_pages * VMBUS_PAGE_SIZE).text,
		 size_format(o->asked_pages * VMBUS_PAGE_SIZE).text);
}

static void perform(struct guest_memory *g, const struct dynmem_host_action *action, uint64_t now)
{
	switch (action->type) {
	case DYNMEM_HOST_ACTION_SEND:
		if (g->link)
			(void)!link_send(g->link, 0, action->message->bytes, action->message->size);
		break;
	case DYNMEM_HOST_ACTION_READY:
		log_info("%s: dynamic memory is ready", g->context.guest_name);
		break;
	case DYNMEM_HOST_ACTION_ENDED:
		operation_ended(g, now);
		break;
	case DYNMEM_HOST_ACTION_OVERDUE:
		log_warning("%s: does not answer a memory request", g->context.guest_name);
		break;
	}
}

static void perform_all(struct guest_memory *g, uint64_t now)
{
	struct dynmem_host_action action;

	while (!(g->link && link_is_busy(g->link)) &&
	       dynmem_host_next_action(g->core, &action) == 0)
		perform(g, &action, now);
}

static void step(struct guest_memory *g)
{
	uint64_t now = clock_monotonic_ns();

	dynmem_host_tick(g->core, now);
	perform_all(g, now);
	book(g, now);
	guard(g, now);
	balance_kick(g->balance);
	timer_set(g->timer, dynmem_host_deadline_ns(g->core));
}

/* What the balancer orders. */
static void move(void *self, const struct balancer_order *order)
{
	struct guest_memory *g = self;
	uint64_t now = clock_monotonic_ns();
	struct dynmem_host_status s;

	dynmem_host_get_status(g->core, &s);
	/* During a backup the guest would refuse, and then be left alone for a while after it. */
	if ((order->kind == BALANCER_SHRINK && g->context.backup_runs(g->context.guest)) ||
	    dynmem_host_request(g->core, kind_of(order->kind, s.ballooned_pages), order->pages,
				now)) {
		(void)balancer_cancelled(balance_core(g->balance), g->id, now);
		return;
	}
	log_info("%s: %s %s: %s", g->context.guest_name,
		 order->kind == BALANCER_GROW ? "giving" : "taking",
		 size_format(order->pages * VMBUS_PAGE_SIZE).text,
		 balancer_reason_text(order->reason));
	step(g);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	step(user);
}

/* Tells the balancer of a report that has come. */
static void take_report(struct guest_memory *g, uint64_t now)
{
	struct dynmem_host_status s;
	struct balancer_report report;

	dynmem_host_get_status(g->core, &s);
	if (s.stats.status_reports == g->reports_seen)
		return;
	g->reports_seen = s.stats.status_reports;
	report = (struct balancer_report){
		.committed_pages = s.report.committed_pages,
		.available_pages = s.report.available_pages,
		.ballooned_pages = s.ballooned_pages,
		/* What it gave comes back first; then memory is added. */
		.growable_pages = s.ballooned_pages > 0 ? s.ballooned_pages : s.growable_pages,
		.swapped_pages = s.report.page_file_write_pages,
	};
	(void)balancer_report(balance_core(g->balance), g->id, &report, now);
}

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct guest_memory *g = user;
	uint64_t now = clock_monotonic_ns();
	int r;

	(void)trans_id;
	r = dynmem_host_receive(g->core, message, size, now);
	if (r == DYNMEM_HOST_VIOLATION && !g->told_violation)
		log_warning("%s: gave pages that it must not give (counted; said once)",
			    g->context.guest_name);
	g->told_violation |= r == DYNMEM_HOST_VIOLATION;
	if (r < 0)
		log_error("%s: a memory message is lost: %s", g->context.guest_name, strerror(-r));
	take_report(g, now);
	step(g);
}

static void on_room(void *user)
{
	step(user);
}

static void on_corrupt(void *user)
{
	struct guest_memory *g = user;

	g->context.rescind(g->context.guest, &vmbus_class_dynmem);
}

static const struct link_user link_ops = {
	.on_message = on_message,
	.on_room = on_room,
	.on_corrupt = on_corrupt,
};

static void describe_services(const void *self, struct board_services *ret_services)
{
	const struct guest_memory *g = self;

	g->context.describe(g->context.guest, ret_services);
}

static struct guest_memory *guest_memory_free(struct guest_memory *g)
{
	if (!g)
		return NULL;
	(void)link_free(g->link);
	if (g->timer)
		event_free(g->timer);
	(void)dynmem_host_free(g->core);
	free(g);
	return NULL;
}

DEFINE_CLEANUP(guest_memory)

int guest_memory_new(const struct guest_service_context *context, struct balance *balance,
		     uint32_t id, uint64_t window_pfn, struct guest_memory **ret_memory)
{
	_cleanup_(cleanup_guest_memoryp) struct guest_memory *g = calloc(1, sizeof(*g));
	const struct balancer_limits *limits = &balancer_get(balance_core(balance), id)->limits;
	struct dynmem_host_config config;
	int r;

	if (!g)
		return -ENOMEM;
	g->context = *context;
	g->balance = balance;
	g->id = id;
	g->startup_pages = limits->startup_pages;
	dynmem_host_config_init(&config);
	if (window_pfn > 0 && limits->maximum_pages > limits->startup_pages)
		config.window = (struct page_range){
			.first = window_pfn,
			.count = limits->maximum_pages - limits->startup_pages,
		};
	r = dynmem_host_new(&config, &g->core);
	if (r)
		return r;
	g->timer = event_new(context->base, -1, 0, on_timer, g);
	if (!g->timer)
		return -ENOMEM;
	balance_take_orders(balance, id,
			    &(struct balance_member){.move = move, .describe = describe_services, .self = g});
	balancer_guard(balance_core(balance), id, BALANCER_GUARD_NOT_READY, clock_monotonic_ns());

	*ret_memory = steal_ptr(g);
	return 0;
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct guest_memory *g = self;

	/* What was assigned by hand stays so; all that was known of demand is of the last channel. */
	balancer_restarted(balance_core(g->balance), g->id, clock_monotonic_ns());
	if (link_new(g->context.base, take_port, &link_ops, g, &g->link)) {
		g->context.rescind(g->context.guest, &vmbus_class_dynmem);
		return;
	}
	dynmem_host_open(g->core);
	step(g);
}

static void close_channel(void *self)
{
	struct guest_memory *g = self;
	uint64_t now = clock_monotonic_ns();

	g->link = link_free(g->link);
	dynmem_host_close(g->core, now);
	perform_all(g, now);
	step(g);
}

void guest_memory_assign(struct guest_memory *g, uint64_t pages)
{
	balancer_set_manual(balance_core(g->balance), g->id, pages);
	balance_decide(g->balance);
}

void guest_memory_assign_by_demand(struct guest_memory *g)
{
	balancer_set_automatic(balance_core(g->balance), g->id);
	balance_decide(g->balance);
}

int guest_memory_fault(struct guest_memory *g, enum dynmem_fault fault)
{
	if (dynmem_host_inject(g->core, fault, clock_monotonic_ns()))
		return GUEST_MEMORY_BUSY;
	log_notice("%s: doing wrong, as told: %s", g->context.guest_name, dynmem_fault_name(fault));
	step(g);
	return 0;
}

static json_t *operation_status(const struct dynmem_host_operation *o)
{
	static const char *const names[] = {
		[DYNMEM_HOST_OPERATION_NONE] = "none",
		[DYNMEM_HOST_BALLOON] = "balloon",
		[DYNMEM_HOST_UNBALLOON] = "unballoon",
		[DYNMEM_HOST_HOT_ADD] = "hot-add",
		[DYNMEM_HOST_FAULT] = "fault",
	};

	return json_pack("{s:s, s:I, s:I, s:b, s:b}", "kind", names[o->kind], "asked_bytes",
			 bytes(o->asked_pages), "done_bytes", bytes(o->done_pages), "running",
			 o->kind != DYNMEM_HOST_OPERATION_NONE && o->ended_ns == 0, "overdue",
			 o->overdue);
}

/* What the guest said last, and what follows from it. */
static void add_report(json_t *status, const struct guest_memory *g,
		       const struct dynmem_host_status *s)
{
	uint64_t now = clock_monotonic_ns();

	json_object_set_new(status, "committed_bytes", json_integer(bytes(s->report.committed_pages)));
	json_object_set_new(status, "available_bytes", json_integer(bytes(s->report.available_pages)));
	json_object_set_new(status, "swapped_bytes",
			    json_integer(bytes(s->report.page_file_write_pages)));
	json_object_set_new(status, "demand_bytes", json_integer(bytes(place(g)->demand_pages)));
	json_object_set_new(status, "pressure_percent", json_integer(place(g)->decision.pressure_percent));
	json_object_set_new(status, "wanted_bytes", json_integer(bytes(place(g)->decision.wanted_pages)));
	json_object_set_new(status, "report_age_seconds",
			    json_real(now > s->report_ns ? (now - s->report_ns) / 1e9 : 0));
}

static void add_settings(json_t *status, const struct guest_memory *g,
			 const struct dynmem_host_status *s)
{
	json_object_set_new(status, "added_bytes", json_integer(bytes(s->added_pages)));
	json_object_set_new(status, "growable_bytes", json_integer(bytes(s->growable_pages)));
	json_object_set_new(status, "unexpected", json_integer(s->stats.unexpected));
	json_object_set_new(status, "faults", json_integer(s->stats.faults));
	json_object_set_new(status, "minimum_bytes", json_integer(bytes(place(g)->limits.minimum_pages)));
	json_object_set_new(status, "maximum_bytes", json_integer(bytes(place(g)->limits.maximum_pages)));
	json_object_set_new(status, "startup_bytes", json_integer(bytes(place(g)->limits.startup_pages)));
	json_object_set_new(status, "buffer_percent", json_integer(place(g)->limits.buffer_percent));
	json_object_set_new(status, "weight", json_integer(place(g)->limits.weight));
	if (place(g)->manual)
		json_object_set_new(status, "by_hand_bytes",
				    json_integer(bytes(place(g)->manual_pages)));
}

json_t *guest_memory_status(const struct guest_memory *g)
{
	struct dynmem_host_status s;
	char version[16];
	json_t *status;

	dynmem_host_get_status(g->core, &s);
	snprintf(version, sizeof(version), "%u.%u", s.version >> 16, s.version & 0xffff);
	status = json_pack("{s:s, s:s*, s:I, s:I, s:I, s:s, s:b, s:b, s:o, s:I, s:I}", "state",
			   dynmem_host_state_name(s.state), "version", s.version ? version : NULL,
			   "assigned_bytes", bytes(assigned_pages(g, &s)),
			   "target_bytes", bytes(place(g)->decision.target_pages), "ballooned_bytes",
			   bytes(s.ballooned_pages), "why", balancer_reason_text(place(g)->decision.reason),
			   "by_hand", place(g)->manual, "obeying", s.obeying, "operation",
			   operation_status(&s.operation), "status_reports",
			   (json_int_t)s.stats.status_reports, "violations",
			   (json_int_t)s.stats.violations);
	if (status)
		add_settings(status, g, &s);
	if (status && s.has_report)
		add_report(status, g, &s);
	return status;
}

static json_t *describe(const void *self)
{
	return guest_memory_status(self);
}

static void destroy(void *self)
{
	(void)guest_memory_free(self);
}

struct guest_service guest_memory_service(struct guest_memory *g)
{
	return (struct guest_service){
		.class_id = &vmbus_class_dynmem,
		.status_name = "memory",
		.self = g,
		.open = open_channel,
		.close = close_channel,
		.status = describe,
		.free = destroy,
	};
}
