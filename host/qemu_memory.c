/* SPDX-License-Identifier: MIT */

/*
 * A VM's memory.
 *
 * The balancer orders so many pages to be taken or given; QEMU is told a size, and the guest makes it
 * true in its own time, or does not. So an order is under way until the size is reached, or nothing
 * has moved for a while:
 *
 *     RESTING --order--> MOVING --size reached, or no progress--> RESTING
 *
 * The two balloons differ in one thing that matters. A guest of hv-balloon refuses what it cannot give:
 * it is told the whole size at once. A guest of virtio-balloon gives until its kernel kills for want of
 * memory. So it is asked in steps, each at most half of what was available above its floor (see
 * qemu_figures) in a report that is newer than the order and the last step; when there is nothing above
 * the floor the order has ended. And what it was asked for and did not give is not asked for any more: the size is set
 * to what it has, or its driver would go on trying.
 *
 * QEMU's hv-balloon is silent for 50 s after the guest's driver has connected, and that is not to be
 * seen from outside; so the first operation is waited for that long. And QEMU 10.0 aborts if the size is
 * set while a packet of the guest lies unread in the ring (hw/hyperv/hv-balloon.c; the ring is read
 * outside of the bracket that the signal sets up). A guest sends once a second and is silent in
 * between, so the size is set right after a report.
 */

#include "host/qemu_memory.h"

#include "base/amount.h"
#include "base/log.h"
#include "base/size.h"

#include <stdlib.h>

#define SECOND_NS      UINT64_C(1000000000)
#define PATIENCE_NS    (5 * SECOND_NS)
#define HV_SILENCE_NS  (60 * SECOND_NS) /* the first time; see above */
#define NOT_SENT_NS    (10 * SECOND_NS) /* for a quiet moment, or a report to decide by */

enum {
	PAGE_BYTES = 4096,
	STEP_MIN_PAGES = 512, /* 2 MiB: less above the floor is nothing */
};

struct qemu_memory {
	struct qemu_memory_config config;
	uint32_t id;
	uint64_t actual_pages;
	bool has_report;
	struct qemu_report report; /* the last one */
	uint64_t report_ns;
	bool has_moved; /* ever, by an order of ours */

	enum balancer_kind moving; /* NONE: resting */
	uint64_t target_pages;     /* MOVING */
	uint64_t told_pages;       /* the size that QEMU was told last; 0: none */
	bool tell;                 /* ... is to be told */
	uint64_t progress_ns;
	uint64_t step_ended_ns;
};

static struct balancer *core(const struct qemu_memory *m)
{
	return balance_core(m->config.balance);
}

/* The balancer has an order. */
static void on_order(void *self, const struct balancer_order *order)
{
	struct qemu_memory *m = self;

	m->moving = order->kind;
	m->target_pages = order->kind == BALANCER_GROW
				  ? m->actual_pages + order->pages
				  : sub_u64(m->actual_pages, order->pages);
	m->told_pages = 0;
	m->tell = false;
	m->progress_ns = balancer_get(core(m), m->id)->started_ns;
	m->step_ended_ns = m->progress_ns;
	log_info("%s: %s %s: %s", m->config.name, order->kind == BALANCER_GROW ? "giving" : "taking",
		 size_format(order->pages * PAGE_BYTES).text, balancer_reason_text(order->reason));
}

int qemu_memory_new(const struct qemu_memory_config *config, uint64_t actual_pages,
		    struct qemu_memory **ret_memory)
{
	struct qemu_memory *m = calloc(1, sizeof(*m));
	struct balance_member member = {.move = on_order, .self = m};
	int r;

	if (!m)
		return -ENOMEM;
	m->config = *config;
	m->actual_pages = actual_pages;
	r = balance_join_running(config->balance, config->name, &config->limits, actual_pages, &m->id);
	if (r) {
		free(m);
		return r;
	}
	balance_take_orders(config->balance, m->id, &member);
	*ret_memory = m;
	return 0;
}

struct qemu_memory *qemu_memory_free(struct qemu_memory *m)
{
	if (!m)
		return NULL;
	balance_leave(m->config.balance, m->id);
	free(m);
	return NULL;
}

/* The order is over, whatever has come of it. */
static void end_order(struct qemu_memory *m, uint64_t now_ns)
{
	uint64_t moved = balancer_get(core(m), m->id)->moved_pages;

	log_info("%s: %s %s", m->config.name, m->moving == BALANCER_GROW ? "gave" : "took",
		 size_format(moved * PAGE_BYTES).text);
	m->has_moved |= moved > 0;
	m->moving = BALANCER_NONE;
	m->tell = false;
	(void)balancer_ended(core(m), m->id, now_ns);
	balance_kick(m->config.balance);
}

static bool is_reached(const struct qemu_memory *m)
{
	return m->moving == BALANCER_GROW ? m->actual_pages >= m->target_pages
					  : m->actual_pages <= m->target_pages;
}

/* Books the way from what it had to @pages. */
static void book(struct qemu_memory *m, uint64_t pages, uint64_t now_ns)
{
	if (m->moving == BALANCER_GROW && pages > m->actual_pages)
		(void)balancer_moved(core(m), m->id, m->moving, pages - m->actual_pages, now_ns);
	else if (m->moving == BALANCER_SHRINK && pages < m->actual_pages)
		(void)balancer_moved(core(m), m->id, m->moving, m->actual_pages - pages, now_ns);
	else
		balancer_set_assigned(core(m), m->id, pages, now_ns);
}

void qemu_memory_has(struct qemu_memory *m, uint64_t pages, uint64_t now_ns)
{
	if (pages == m->actual_pages)
		return;
	book(m, pages, now_ns);
	m->actual_pages = pages;
	m->progress_ns = now_ns;
	if (m->moving != BALANCER_NONE && is_reached(m))
		end_order(m, now_ns);
	else if (m->told_pages >= pages)
		m->step_ended_ns = now_ns;
}

static uint64_t ballooned_pages(const struct qemu_memory *m)
{
	return sub_u64(m->config.boot_pages, m->actual_pages);
}

void qemu_memory_report(struct qemu_memory *m, const struct qemu_report *report, uint64_t now_ns)
{
	struct balancer_report told = {
		.committed_pages = report->committed_pages,
		.available_pages = report->available_pages,
		.ballooned_pages = ballooned_pages(m),
		.growable_pages = sub_u64(m->config.boot_pages + m->config.growable_pages,
					   m->actual_pages),
	};

	if (m->has_report && report->updated > 0 && report->updated == m->report.updated)
		return;
	if (m->has_report)
		told.swapped_pages = sub_u64(report->swapped_out_pages, m->report.swapped_out_pages);
	m->has_report = true;
	m->report = *report;
	m->report_ns = now_ns;
	(void)balancer_report(core(m), m->id, &told, now_ns);
	balance_kick(m->config.balance);
}

void qemu_memory_guard(struct qemu_memory *m, unsigned int guards, uint64_t now_ns)
{
	balancer_guard(core(m), m->id, guards, now_ns);
	balance_kick(m->config.balance);
}

void qemu_memory_restarted(struct qemu_memory *m, uint64_t now_ns)
{
	m->has_report = m->has_moved = false;
	balancer_restarted(core(m), m->id, now_ns);
	balance_kick(m->config.balance);
}

/* What a guest of virtio can be asked for now; 0: nothing, false: that is not known yet. */
static bool may_take(const struct qemu_memory *m, uint64_t *ret_pages)
{
	uint64_t above;

	if (!m->has_report || m->report_ns <= m->step_ended_ns)
		return false;
	above = sub_u64(m->report.available_pages, m->report.floor_pages) / 2;
	*ret_pages = above < STEP_MIN_PAGES ? 0 : min_u64(above, m->actual_pages - m->target_pages);
	return true;
}

/* The next step of taking from a guest that gives until it dies. */
static void step_down(struct qemu_memory *m, uint64_t now_ns)
{
	uint64_t pages;

	if ((m->told_pages > 0 && m->actual_pages > m->told_pages) || !may_take(m, &pages))
		return;
	if (pages == 0) {
		log_info("%s: no more is available above its floor", m->config.name);
		end_order(m, now_ns);
		return;
	}
	m->told_pages = m->actual_pages - pages;
	m->tell = true;
	m->progress_ns = now_ns;
}

static void start_moving(struct qemu_memory *m, uint64_t now_ns)
{
	if (m->config.balloon == QEMU_BALLOON_VIRTIO && m->moving == BALANCER_SHRINK) {
		step_down(m, now_ns);
	} else if (m->told_pages == 0) {
		m->told_pages = m->target_pages;
		m->tell = true;
	}
}

static uint64_t patience_ns(const struct qemu_memory *m)
{
	if (m->tell || m->told_pages == 0 || m->actual_pages == m->told_pages)
		return NOT_SENT_NS;
	return m->config.balloon == QEMU_BALLOON_HV && !m->has_moved ? HV_SILENCE_NS : PATIENCE_NS;
}

static void see_progress(struct qemu_memory *m, uint64_t now_ns)
{
	bool was_told = m->told_pages > 0 && !m->tell;

	if (sub_u64(now_ns, m->progress_ns) < patience_ns(m))
		return;
	log_info("%s: no progress from %s on", m->config.name,
		 size_format(m->actual_pages * PAGE_BYTES).text);
	end_order(m, now_ns);
	if (m->config.balloon != QEMU_BALLOON_VIRTIO || !was_told)
		return;
	m->told_pages = m->actual_pages;
	m->tell = true;
}

bool qemu_memory_next(struct qemu_memory *m, bool is_quiet, uint64_t now_ns, uint64_t *ret_pages)
{
	if (m->moving != BALANCER_NONE)
		start_moving(m, now_ns);
	if (m->moving != BALANCER_NONE)
		see_progress(m, now_ns);
	if (!m->tell || (m->config.balloon == QEMU_BALLOON_HV && !is_quiet))
		return false;
	m->tell = false;
	m->progress_ns = now_ns;
	*ret_pages = m->told_pages;
	return true;
}

bool qemu_memory_is_urgent(const struct qemu_memory *m)
{
	return m->moving != BALANCER_NONE ||
	       (m->has_report && m->report.available_pages < m->report.floor_pages);
}

uint32_t qemu_memory_id(const struct qemu_memory *m)
{
	return m->id;
}

static json_int_t bytes(uint64_t pages)
{
	return (json_int_t)(pages * PAGE_BYTES);
}

json_t *qemu_memory_status(const struct qemu_memory *m)
{
	const struct balancer_guest *g = balancer_get(core(m), m->id);
	const struct balancer_decision *d = &g->decision;
	json_t *status = json_pack(
		"{s:s, s:I, s:I, s:I, s:s, s:b, s:b, s:b, s:I, s:I}", "state",
		m->moving == BALANCER_NONE ? "resting"
		: m->moving == BALANCER_GROW ? "giving" : "taking",
		"assigned_bytes", bytes(m->actual_pages), "target_bytes",
		bytes(m->moving == BALANCER_NONE ? m->actual_pages : m->target_pages),
		"ballooned_bytes", bytes(ballooned_pages(m)), "why", balancer_reason_text(d->reason),
		"by_hand", g->manual, "obeying", g->obeying, "is_moving", m->moving != BALANCER_NONE,
		"minimum_bytes", bytes(g->limits.minimum_pages), "maximum_bytes",
		bytes(g->limits.maximum_pages));

	if (!status || !m->has_report)
		return status;
	json_object_set_new(status, "committed_bytes", json_integer(bytes(m->report.committed_pages)));
	json_object_set_new(status, "available_bytes", json_integer(bytes(m->report.available_pages)));
	json_object_set_new(status, "demand_bytes", json_integer(bytes(g->demand_pages)));
	json_object_set_new(status, "wanted_bytes", json_integer(bytes(d->wanted_pages)));
	json_object_set_new(status, "pressure_percent", json_integer((json_int_t)d->pressure_percent));
	json_object_set_new(status, "status_reports", json_integer((json_int_t)g->stats.reports));
	if (g->manual)
		json_object_set_new(status, "by_hand_bytes", json_integer(bytes(g->manual_pages)));
	return status;
}
