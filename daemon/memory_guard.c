/* SPDX-License-Identifier: MIT */

/*
 * The machine's memory figures, read for two purposes: a report to the host each second, and the
 * question before each slice whether it may be taken. The rules are in policy/; here is what they
 * work on, and what they said last, so that it can be asked for afterwards: `hvguestctl why` shows
 * the inputs, the rule and the outcome, and what would have changed it.
 *
 * A second is long for a machine that runs out of memory, so when tasks begin to wait the report is
 * made at once; a trigger of the kernel tells, and nobody has to look.
 *
 * A machine in need is said once when it begins and once when it is over, not each second.
 */

#include "daemon/memory_guard.h"

#include "base/clock.h"
#include "base/size.h"
#include "policy/meminfo.h"
#include "policy/stall_trigger.h"

#include <stdlib.h>

#define BYTES_PER_KB UINT64_C(1024)

struct memory_guard {
	struct floor_rule rule;
	struct guard guard;
	struct meminfo *meminfo;
	struct stall_trigger *trigger; /* NULL: this kernel has none */
	struct event *stalled;
	void (*on_stall)(void *user);
	void *user;
	uint64_t stalls; /* times that it was called */

	struct memory_figures figures; /* the last that were read */
	struct report report;          /* composed of them */
	bool has_report;
	struct memory_figures reported; /* those of the last report to the host */
	uint64_t reported_ns;
	enum report_need need;

	struct {
		bool is_there;
		bool is_running;
		uint64_t want_pages;
		uint64_t got_pages;
		const char *why; /* it got less; NULL: all */
	} request; /* the last */
};

static void on_trigger(evutil_socket_t fd, short what, void *user)
{
	struct memory_guard *guard = user;

	(void)fd;
	(void)what;
	if (!stall_trigger_take(guard->trigger))
		return;
	guard->stalls++;
	guard->on_stall(guard->user);
}

/* A machine without the trigger reports once a second all the same. */
static int open_trigger(struct memory_guard *guard, struct event_base *base)
{
	int r = stall_trigger_new(STALL_TRIGGER_PATH, &guard->trigger);

	if (r)
		return r < 0 ? r : 0;
	guard->stalled = event_new(base, stall_trigger_fd(guard->trigger), EV_READ | EV_PERSIST,
				   on_trigger, guard);
	return guard->stalled && event_add(guard->stalled, NULL) == 0 ? 0 : -ENOMEM;
}

int memory_guard_new(struct event_base *base, const struct config *config,
		     void (*on_stall)(void *user), void *user, struct memory_guard **ret_guard)
{
	_cleanup_(cleanup_memory_guardp) struct memory_guard *guard = calloc(1, sizeof(*guard));
	struct guard_config guard_config;
	int r;

	if (!guard)
		return -ENOMEM;
	guard_config_init(&guard_config);
	guard_config.stall_percent = config->stall_limit_percent;
	guard_init(&guard->guard, &guard_config);
	guard->rule = config->floor;
	guard->on_stall = on_stall;
	guard->user = user;
	r = meminfo_new("/proc", &guard->meminfo);
	if (r)
		return r;
	r = open_trigger(guard, base);
	if (r)
		return r;

	*ret_guard = steal_ptr(guard);
	return 0;
}

struct memory_guard *memory_guard_free(struct memory_guard *guard)
{
	if (!guard)
		return NULL;
	if (guard->stalled)
		event_free(guard->stalled);
	(void)stall_trigger_free(guard->trigger);
	(void)meminfo_free(guard->meminfo);
	free(guard);
	return NULL;
}

static bool sample(struct memory_guard *guard, const struct report_ballooned *ballooned)
{
	if (meminfo_read(guard->meminfo, &guard->figures)) {
		log_error("memory: /proc/meminfo cannot be read; reporting the last figures");
		return false;
	}
	if (guard->reported_ns == 0)
		guard->reported = guard->figures;
	report_compose(&guard->figures, guard->reported.swapped_out_pages, ballooned, &guard->rule,
		       &guard->report);
	guard->has_report = true;
	return true;
}

static void see_need(struct memory_guard *guard, bool is_taking, uint64_t now_ns)
{
	enum report_need before = guard->need;
	uint64_t passed_ns = is_taking || guard->reported_ns == 0 ? 0 : now_ns - guard->reported_ns;

	guard->need = report_see_need(&guard->report, &guard->figures, &guard->reported, passed_ns);
	if (guard->need && !before)
		log_warning("memory: this machine is in need, %s: asking the host for %s more",
			    report_need_text(guard->need),
			    size_format(guard->report.need_pages * DYNMEM_PAGE_SIZE).text);
	else if (!guard->need && before)
		log_notice("memory: this machine is in need no more");
}

void memory_guard_report(struct memory_guard *guard, const struct report_ballooned *ballooned,
			 bool is_taking, struct dynmem_status_report *ret_figures)
{
	uint64_t now_ns = clock_monotonic_ns();
	const struct report *report = &guard->report;

	if (sample(guard, ballooned)) {
		see_need(guard, is_taking, now_ns);
		guard->reported = guard->figures;
		guard->reported_ns = now_ns;
	}
	*ret_figures = (struct dynmem_status_report){
		.available_pages = report->available_pages,
		.committed_pages = report->committed_pages,
		.page_file_pages = report->page_file_pages,
		.free_pages = report->free_pages,
		.page_file_write_pages = report->page_file_write_pages,
		.fault_pages = report->fault_pages,
	};
}

void memory_guard_begin(struct memory_guard *guard, uint64_t want_pages)
{
	guard_begin(&guard->guard);
	guard->request.is_there = true;
	guard->request.is_running = true;
	guard->request.want_pages = want_pages;
	guard->request.got_pages = 0;
	guard->request.why = NULL;
}

struct guard_decision memory_guard_ask(struct memory_guard *guard,
				       const struct report_ballooned *ballooned, uint64_t want_pages)
{
	(void)sample(guard, ballooned);
	return guard_ask(&guard->guard, &guard->figures, guard->report.may_give_pages, want_pages,
			 clock_monotonic_ns());
}

void memory_guard_end(struct memory_guard *guard, uint64_t got_pages, const char *why)
{
	guard->request.is_running = false;
	guard->request.got_pages = got_pages;
	guard->request.why = why;
}

bool memory_guard_is_tight(const struct memory_guard *guard, uint64_t bytes)
{
	return guard->figures.free_kb * BYTES_PER_KB < bytes;
}

static json_int_t bytes(uint64_t pages)
{
	return pages * DYNMEM_PAGE_SIZE;
}

void memory_guard_add_status(const struct memory_guard *guard, json_t *status)
{
	const struct report *r = &guard->report;

	if (!status || !guard->has_report)
		return;
	json_object_set_new(status, "committed_bytes", json_integer(bytes(r->committed_pages)));
	json_object_set_new(status, "available_bytes", json_integer(bytes(r->available_pages)));
	json_object_set_new(status, "floor_bytes", json_integer(bytes(r->floor_pages)));
	json_object_set_new(status, "floor_rule", json_string(floor_kind_name(guard->rule.kind)));
	if (guard->need)
		json_object_set_new(status, "need", json_string(report_need_text(guard->need)));
}

static json_t *inputs_why(const struct memory_figures *f)
{
	json_t *inputs = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "mem_total_bytes",
		(json_int_t)(f->total_kb * BYTES_PER_KB), "mem_free_bytes",
		(json_int_t)(f->free_kb * BYTES_PER_KB), "mem_available_bytes",
		(json_int_t)(f->available_kb * BYTES_PER_KB), "committed_as_bytes",
		(json_int_t)(f->committed_kb * BYTES_PER_KB), "active_file_bytes",
		(json_int_t)(f->active_file_kb * BYTES_PER_KB), "swap_total_bytes",
		(json_int_t)(f->swap_total_kb * BYTES_PER_KB), "swap_free_bytes",
		(json_int_t)(f->swap_free_kb * BYTES_PER_KB), "refaults", (json_int_t)f->refaults,
		"oom_kills", (json_int_t)f->oom_kills);

	if (inputs && f->has_stalls) {
		json_object_set_new(inputs, "stall_some_avg10_percent",
				    json_real(f->some.avg10_centipercent / 100.0));
		json_object_set_new(inputs, "stall_full_avg10_percent",
				    json_real(f->full.avg10_centipercent / 100.0));
	}
	return inputs;
}

static json_t *report_why(const struct memory_guard *guard)
{
	const struct report *r = &guard->report;

	return json_pack("{s:s, s:I, s:I, s:I, s:s, s:b, s:I}", "rule",
			 "committed = Committed_AS + balloon outside of it + floor + need",
			 "committed_bytes", bytes(r->committed_pages), "available_bytes",
			 bytes(r->available_pages), "need_bytes", bytes(r->need_pages), "need",
			 report_need_text(guard->need), "sees_stalls", guard->trigger != NULL,
			 "urgent", (json_int_t)guard->stalls);
}

static json_t *floor_why(const struct memory_guard *guard)
{
	return json_pack("{s:s, s:s, s:I, s:I}", "rule", floor_kind_name(guard->rule.kind), "text",
			 floor_kind_text(guard->rule.kind), "bytes", bytes(guard->report.floor_pages),
			 "may_give_bytes", bytes(guard->report.may_give_pages));
}

static json_t *stops_why(const struct guard *guard)
{
	json_t *stops = json_object();

	for (int reason = GUARD_FLOOR; reason < GUARD_N_REASONS; reason++)
		json_object_set_new(stops, guard_reason_name(reason),
				    json_integer(guard->stops[reason]));
	return stops;
}

static json_t *request_why(const struct memory_guard *guard)
{
	const struct guard *g = &guard->guard;

	if (!guard->request.is_there)
		return json_null();
	return json_pack("{s:I, s:I, s:b, s:s, s:i, s:i}", "asked_bytes",
			 bytes(guard->request.want_pages), "given_bytes",
			 bytes(guard->request.got_pages), "running", guard->request.is_running, "why",
			 guard->request.why ? guard->request.why : guard_reason_text(GUARD_PLENTY),
			 "stall_limit_percent", (int)g->config.stall_percent, "stall_seen_percent",
			 (int)g->seen_percent);
}

json_t *memory_guard_why(const struct memory_guard *guard)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "inputs", inputs_why(&guard->figures), "report",
			 report_why(guard), "floor", floor_why(guard), "last_request",
			 request_why(guard), "requests_cut_short", stops_why(&guard->guard));
}
