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
 * If a group of processes is named (report_cgroup), what is suffered is looked at there and not in the
 * whole machine. Groups come and go with services: while it is not there, the machine's figures count.
 *
 * A machine in need is said once when it begins and once when it is over, not each second.
 */

#include "daemon/memory_guard.h"

#include "base/clock.h"
#include "base/size.h"
#include "daemon/journal.h"
#include "policy/group.h"
#include "policy/meminfo.h"
#include "policy/stall_trigger.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define BYTES_PER_KB UINT64_C(1024)

struct memory_guard {
	struct event_base *base;
	struct report_basis basis;
	struct guard guard;
	struct strain strain;
	struct meminfo *meminfo;
	const char *group_path; /* of the configuration; NULL: none is looked at */
	struct group *group;    /* NULL: it is not there */
	bool told_group;        /* that it is not */
	struct memory_group group_figures;  /* the last that were read */
	struct memory_group group_reported; /* those of the last report */
	bool has_group_reported;
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

static void close_trigger(struct memory_guard *guard)
{
	if (guard->stalled)
		event_free(guard->stalled);
	guard->stalled = NULL;
	guard->trigger = stall_trigger_free(guard->trigger);
}

/* A machine without the trigger reports once a second all the same. */
static int open_trigger(struct memory_guard *guard)
{
	char path[PATH_MAX] = STALL_TRIGGER_PATH;
	int r;

	if (guard->group)
		snprintf(path, sizeof(path), "%s/memory.pressure", guard->group_path);
	close_trigger(guard);
	r = stall_trigger_new(path, &guard->trigger);
	if (r)
		return r < 0 ? r : 0;
	guard->stalled = event_new(guard->base, stall_trigger_fd(guard->trigger),
				   EV_READ | EV_PERSIST, on_trigger, guard);
	return guard->stalled && event_add(guard->stalled, NULL) == 0 ? 0 : -ENOMEM;
}

/* The group has come or gone. */
static void switch_group(struct memory_guard *guard)
{
	guard->has_group_reported = false;
	if (open_trigger(guard))
		log_error("memory: no trigger for stalls can be had: reports come once a second only");
}

static void look_for_group(struct memory_guard *guard)
{
	int r = group_new(guard->group_path, &guard->group);

	if (r == 0) {
		log_notice("memory: reporting by what %s suffers", guard->group_path);
		guard->told_group = false;
		switch_group(guard);
	} else if (!guard->told_group) {
		guard->told_group = true;
		log_warning("memory: %s is no group with a memory controller of cgroup v2: reporting by what "
			    "the whole machine suffers until it is (report_cgroup)",
			    guard->group_path);
	}
}

static void sample_group(struct memory_guard *guard)
{
	if (!guard->group_path)
		return;
	if (!guard->group)
		look_for_group(guard);
	if (!guard->group || group_read(guard->group, &guard->group_figures) == 0)
		return;
	log_notice("memory: %s is gone", guard->group_path);
	guard->group = group_free(guard->group);
	switch_group(guard);
}

static void set_up_rules(struct memory_guard *guard, const struct config *config)
{
	struct guard_config guard_config;
	struct strain_config strain_config;

	guard_config_init(&guard_config);
	guard_config.stall_percent = config->stall_limit_percent;
	guard_init(&guard->guard, &guard_config);
	strain_config_init(&strain_config);
	strain_config.target_percent = config->stall_target_percent;
	strain_config.page_pages = (uint32_t)sysconf(_SC_PAGESIZE) / DYNMEM_PAGE_SIZE;
	strain_init(&guard->strain, &strain_config);
	guard->basis.rule = config->report;
	guard->basis.floor = config->floor;
	guard->group_path = config->report_cgroup;
}

int memory_guard_new(struct event_base *base, const struct config *config,
		     void (*on_stall)(void *user), void *user, struct memory_guard **ret_guard)
{
	_cleanup_(cleanup_memory_guardp) struct memory_guard *guard = calloc(1, sizeof(*guard));
	int r;

	if (!guard)
		return -ENOMEM;
	guard->base = base;
	set_up_rules(guard, config);
	guard->on_stall = on_stall;
	guard->user = user;
	r = meminfo_new("/proc", &guard->meminfo);
	if (r)
		return r;
	r = open_trigger(guard);
	if (r)
		return r;

	*ret_guard = steal_ptr(guard);
	return 0;
}

struct memory_guard *memory_guard_free(struct memory_guard *guard)
{
	if (!guard)
		return NULL;
	close_trigger(guard);
	(void)group_free(guard->group);
	(void)meminfo_free(guard->meminfo);
	free(guard);
	return NULL;
}

static void compose(struct memory_guard *guard, const struct report_ballooned *ballooned)
{
	report_compose(&guard->basis, &guard->figures, guard->reported.swapped_out_pages, ballooned,
		       &guard->strain, &guard->report);
	guard->has_report = true;
}

static bool sample(struct memory_guard *guard)
{
	if (meminfo_read(guard->meminfo, &guard->figures)) {
		log_error("memory: /proc/meminfo cannot be read; reporting the last figures");
		return false;
	}
	if (guard->reported_ns == 0)
		guard->reported = guard->figures;
	return true;
}

/* What was suffered since the last report, in the group if one is looked at. */
static void observe(struct memory_guard *guard, uint64_t in_use_pages, bool is_taking,
		    uint64_t now_ns)
{
	uint64_t passed_ns = guard->reported_ns ? now_ns - guard->reported_ns : 0;
	struct strain_seen seen;

	sample_group(guard);
	if (guard->group && guard->has_group_reported)
		seen = strain_of_group(&guard->group_figures, &guard->group_reported, passed_ns);
	else if (guard->group)
		seen = (struct strain_seen){0};
	else
		seen = strain_between(&guard->figures, &guard->reported, passed_ns);
	if (!is_taking)
		strain_observe(&guard->strain, &seen, in_use_pages);
	guard->group_reported = guard->group_figures;
	guard->has_group_reported = guard->group != NULL;
}

static void see_need(struct memory_guard *guard, bool is_taking, uint64_t now_ns)
{
	enum report_need before = guard->need;
	uint64_t passed_ns = is_taking || guard->reported_ns == 0 ? 0 : now_ns - guard->reported_ns;

	guard->need = report_see_need(&guard->report, &guard->figures, &guard->reported, passed_ns);
	if (guard->need && !before)
		log_as(EVENT_IN_NEED, NULL, "memory: this machine is in need, %s: asking the host for %s more",
		       report_need_text(guard->need),
		       size_format(guard->report.need_pages * DYNMEM_PAGE_SIZE).text);
	else if (!guard->need && before)
		log_as(EVENT_IN_NEED_NO_MORE, NULL, "memory: this machine is in need no more");
}

void memory_guard_report(struct memory_guard *guard, const struct report_ballooned *ballooned,
			 bool is_taking, struct dynmem_status_report *ret_figures)
{
	uint64_t now_ns = clock_monotonic_ns();
	const struct report *report = &guard->report;

	if (sample(guard)) {
		compose(guard, ballooned);
		observe(guard, report->in_use_pages, is_taking, now_ns);
		compose(guard, ballooned);
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
	if (sample(guard))
		compose(guard, ballooned);
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
	json_object_set_new(status, "floor_rule", json_string(floor_kind_name(guard->basis.floor.kind)));
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

static json_t *group_why(const struct memory_guard *guard)
{
	const struct memory_group *g = &guard->group_figures;

	if (!guard->group_path)
		return NULL;
	return json_pack("{s:s, s:b, s:I, s:I, s:b}", "path", guard->group_path, "is_there",
			 guard->group != NULL, "current_bytes", (json_int_t)g->current_bytes,
			 "refaults", (json_int_t)g->refaults, "at_limit", guard->strain.seen.at_limit);
}

/* What was suffered since the report before: the input of the shares. */
static json_t *strain_why(const struct memory_guard *guard)
{
	const struct strain_seen *seen = &guard->strain.seen;
	double percent = seen->passed_us ? 100.0 * seen->stalled_us / seen->passed_us : 0;

	return json_pack("{s:f, s:f, s:I, s:i, s:o*}", "seconds", seen->passed_us / 1e6,
			 "stalled_percent", percent, "refaults", (json_int_t)seen->refaults,
			 "stall_target_percent", (int)guard->strain.config.target_percent, "group",
			 group_why(guard));
}

/* The terms that are in the rule; their sum is the committed memory. */
static json_t *terms_why(const struct report *r)
{
	json_t *list = json_array();

	for (int term = 0; term < REPORT_N_TERMS; term++)
		if (r->terms[term] > 0)
			json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name",
							      report_term_name(term), "bytes",
							      bytes(r->terms[term]), "text",
							      report_term_text(term)));
	return list;
}

/* What would have changed the outcome: another rule, and what would begin or end a need. */
static json_t *otherwise_why(const struct report *r)
{
	json_t *rules = json_object();

	for (int rule = 0; rule < REPORT_N_RULES; rule++)
		json_object_set_new(rules, report_rule_name(rule),
				    json_integer(bytes(r->by_rule[rule])));
	return json_pack("{s:o, s:I, s:i}", "by_rule", rules, "need_below_available_bytes",
			 bytes(r->floor_pages / 2), "need_from_full_stall_percent",
			 REPORT_NEED_FULL_PERCENT);
}

static json_t *report_why(const struct memory_guard *guard)
{
	const struct report *r = &guard->report;

	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:b, s:I, s:o, s:o, s:o}", "rule",
			 report_rule_name(guard->basis.rule), "formula",
			 report_rule_formula(guard->basis.rule), "committed_bytes",
			 bytes(r->committed_pages), "available_bytes", bytes(r->available_pages),
			 "need_bytes", bytes(r->need_pages), "need", report_need_text(guard->need),
			 "sees_stalls", guard->trigger != NULL, "urgent",
			 (json_int_t)guard->stalls, "terms", terms_why(r), "suffered",
			 strain_why(guard), "otherwise", otherwise_why(r));
}

static json_t *floor_why(const struct memory_guard *guard)
{
	return json_pack("{s:s, s:s, s:I, s:I}", "rule", floor_kind_name(guard->basis.floor.kind), "text",
			 floor_kind_text(guard->basis.floor.kind), "bytes", bytes(guard->report.floor_pages),
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
