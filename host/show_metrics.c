/* SPDX-License-Identifier: MIT */

/*
 * hvhost's metrics, off the board.
 *
 * What Hyper-V's own counters have is called as windows_exporter calls it
 * (windows_hyperv_dynamic_memory_vm_* and _balancer_*, in its collector hyperv), with hvhost_ in front
 * and the label vm, so that one dashboard shows both kinds of host. With thousands of guests the text
 * is megabytes; so it is written straight from the numbers, a family at a time.
 */

#include "host/show.h"

#include "base/clock.h"
#include "services/heartbeat_wire.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096.0
#define UNKNOWN    (-1.0)

/* The board, copied. */
struct row {
	char name[BALANCER_NAME_MAX + 1];
	struct board_guest guest;
};

struct rows {
	struct row *rows;
	size_t n, capacity;
};

static void add_row(void *user, const char *name, const struct board_guest *guest)
{
	struct rows *all = user;

	if (all->n == all->capacity) {
		size_t capacity = all->capacity ? 2 * all->capacity : 64;
		struct row *more = reallocarray(all->rows, capacity, sizeof(*more));

		if (!more)
			return;
		all->rows = more;
		all->capacity = capacity;
	}
	snprintf(all->rows[all->n].name, sizeof(all->rows[0].name), "%s", name);
	all->rows[all->n++].guest = *guest;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

/* Each gives one guest's value; UNKNOWN: it has none. */

static double assigned(const struct board_guest *g)
{
	return g->assigned_pages * PAGE_BYTES;
}

static double available(const struct board_guest *g)
{
	return g->available_pages == UINT64_MAX ? UNKNOWN : g->available_pages * PAGE_BYTES;
}

static double pressure(const struct board_guest *g)
{
	return g->assigned_pages > 0 && g->report_ns > 0
		       ? (double)g->demand_pages / (double)g->assigned_pages
		       : UNKNOWN;
}

static double demand(const struct board_guest *g)
{
	return g->report_ns > 0 ? g->demand_pages * PAGE_BYTES : UNKNOWN;
}

static double wanted(const struct board_guest *g)
{
	return g->decision.wanted_pages > 0 ? g->decision.wanted_pages * PAGE_BYTES : UNKNOWN;
}

static double target(const struct board_guest *g)
{
	return g->decision.target_pages * PAGE_BYTES;
}

static double ballooned(const struct board_guest *g)
{
	return g->ballooned_pages * PAGE_BYTES;
}

static double minimum(const struct board_guest *g)
{
	return g->minimum_pages * PAGE_BYTES;
}

static double maximum(const struct board_guest *g)
{
	return g->maximum_pages * PAGE_BYTES;
}

static double obeying(const struct board_guest *g)
{
	return (double)g->obeying;
}

static double grown(const struct board_guest *g)
{
	return g->grown_pages * PAGE_BYTES;
}

static double shrunk(const struct board_guest *g)
{
	return g->shrunk_pages * PAGE_BYTES;
}

static double reports(const struct board_guest *g)
{
	return (double)g->reports;
}

static double odd_reports(const struct board_guest *g)
{
	return (double)g->lies;
}

static double refusals(const struct board_guest *g)
{
	return (double)g->refusals;
}

static double report_age(const struct board_guest *g)
{
	return g->report_ns > 0 ? (double)(clock_monotonic_ns() - g->report_ns) / 1e9 : UNKNOWN;
}

static double waiting(const struct board_guest *g)
{
	return g->services.stall_centipercent == BOARD_UNKNOWN
		       ? UNKNOWN
		       : (double)g->services.stall_centipercent / HEARTBEAT_STALL_MAX;
}

static double heartbeats(const struct board_guest *g)
{
	return (double)g->services.heartbeats_answered;
}

static double heartbeats_missed(const struct board_guest *g)
{
	return (double)g->services.heartbeats_missed;
}

static const struct {
	const char *name, *help;
	enum metric_type type;
	double (*value)(const struct board_guest *g);
} guest_metrics[] = {
	{"hvhost_dynamic_memory_vm_physical_bytes", "Memory that is assigned.", METRIC_GAUGE, assigned},
	{"hvhost_dynamic_memory_vm_guest_available_bytes",
	 "Available memory, as the guest has reported it.", METRIC_GAUGE, available},
	{"hvhost_dynamic_memory_vm_pressure_current_ratio", "Demand to assigned memory.", METRIC_GAUGE,
	 pressure},
	{"hvhost_dynamic_memory_vm_added_bytes", "Memory given to the guest.", METRIC_COUNTER, grown},
	{"hvhost_dynamic_memory_vm_removed_bytes", "Memory taken from the guest.", METRIC_COUNTER, shrunk},
	{"hvhost_memory_demand_bytes", "Memory that the guest needs.", METRIC_GAUGE, demand},
	{"hvhost_memory_wanted_bytes", "Its demand and its buffer, within its limits.", METRIC_GAUGE,
	 wanted},
	{"hvhost_memory_target_bytes", "Memory that it is to have.", METRIC_GAUGE, target},
	{"hvhost_memory_ballooned_bytes", "Memory that it has given.", METRIC_GAUGE, ballooned},
	{"hvhost_memory_minimum_bytes", "The least that it is assigned.", METRIC_GAUGE, minimum},
	{"hvhost_memory_maximum_bytes", "The most that it is assigned.", METRIC_GAUGE, maximum},
	{"hvhost_memory_obeying", "1: it does what it is asked.", METRIC_GAUGE, obeying},
	{"hvhost_memory_status_reports", "Its status reports.", METRIC_COUNTER, reports},
	{"hvhost_memory_odd_reports", "Reports that cannot be true, or not in full.", METRIC_COUNTER,
	 odd_reports},
	{"hvhost_memory_refusals", "Operations that moved nothing.", METRIC_COUNTER, refusals},
	{"hvhost_memory_report_age_seconds", "Since its last status report.", METRIC_GAUGE, report_age},
	{"hvhost_memory_waiting_ratio",
	 "Share of the last ten seconds in which tasks of the guest waited for memory, as it says itself.",
	 METRIC_GAUGE, waiting},
	{"hvhost_heartbeats", "Heartbeats that it answered.", METRIC_COUNTER, heartbeats},
	{"hvhost_heartbeats_missed", "Heartbeats that it did not answer in time.", METRIC_COUNTER,
	 heartbeats_missed},
};

static void write_guests(FILE *to, enum metrics_format format, const struct rows *all)
{
	for (size_t i = 0; i < sizeof(guest_metrics) / sizeof(guest_metrics[0]); i++) {
		bool has_head = false;

		for (size_t k = 0; k < all->n; k++) {
			double value = guest_metrics[i].value(&all->rows[k].guest);

			if (value < 0)
				continue;
			if (!has_head)
				metrics_write_family(to, format, guest_metrics[i].type,
						     guest_metrics[i].name, guest_metrics[i].help);
			has_head = true;
			metrics_write_sample(to, guest_metrics[i].type, guest_metrics[i].name, "vm",
					     all->rows[k].name, value);
		}
	}
}

static const char *heartbeat_state(const struct board_guest *g)
{
	return g->services.heartbeat;
}

static const char *backup_state(const struct board_guest *g)
{
	return g->services.backup;
}

static const char *reason(const struct board_guest *g)
{
	return balancer_reason_text(g->decision.reason);
}

static void write_texts(FILE *to, enum metrics_format format, const struct rows *all)
{
	static const struct {
		const char *name, *help;
		const char *(*value)(const struct board_guest *g);
	} texts[] = {
		{"hvhost_heartbeat_state", "Whether the guest answers.", heartbeat_state},
		{"hvhost_backup_state", "The step of a backup.", backup_state},
		{"hvhost_memory_reason", "Why it has the memory that it has.", reason},
	};

	for (size_t i = 0; all->n > 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
		metrics_write_family(to, format, METRIC_TEXT, texts[i].name, texts[i].help);
		for (size_t k = 0; k < all->n; k++)
			metrics_write_text(to, texts[i].name, "vm", all->rows[k].name,
					   texts[i].value(&all->rows[k].guest));
	}
}

static void write_one(FILE *to, enum metrics_format format, enum metric_type type, const char *name,
		      const char *help, double value)
{
	metrics_write_family(to, format, type, name, help);
	metrics_write_sample(to, type, name, NULL, NULL, value);
}

static void write_balancer(FILE *to, enum metrics_format format, const struct board_host *h)
{
	const struct balancer_totals *t = &h->totals;
	const struct {
		const char *name, *help;
		bool is_known;
		double value;
	} gauges[] = {
		{"budget_bytes", "Memory for guests, the reserve included.", t->budget_pages > 0,
		 t->budget_pages * PAGE_BYTES},
		{"available_memory_for_balancing_bytes", "Memory that can be given now.",
		 t->free_pages != UINT64_MAX, t->free_pages * PAGE_BYTES},
		{"reserve_bytes", "Memory that the host keeps for itself.", true,
		 t->reserve_pages * PAGE_BYTES},
		{"assigned_bytes", "Memory that guests have.", true, t->assigned_pages * PAGE_BYTES},
		{"held_bytes", "Memory that is held for guests that are to start.", true,
		 t->held_pages * PAGE_BYTES},
		{"over_bytes", "Memory that guests have beyond the budget.", true,
		 t->over_pages * PAGE_BYTES},
		{"demand_bytes", "Memory that guests need.", true, t->demand_pages * PAGE_BYTES},
		{"missing_bytes", "Memory that guests want and could not be given in the last pass.", true,
		 t->missing_pages * PAGE_BYTES},
		{"average_pressure_ratio", "Demand to assigned memory, of all guests.",
		 t->assigned_pages > 0, (double)t->demand_pages / (double)(t->assigned_pages ?: 1)},
		{"starving", "Guests with less than their demand.", true, (double)t->n_starving},
		{"not_obeying", "Guests that do not do what they are asked.", true,
		 (double)t->n_not_obeying},
		{"paused", "1: nothing is moved.", true, (double)h->paused},
		{"dry_run", "1: everything is decided, and nothing moved.", true, (double)h->dry_run},
		{"pass_seconds", "How long the last pass over all guests took.", true,
		 (double)h->pass_ns / 1e9},
		{"effect_age_seconds", "Since memory was last moved.", t->last_effect_ns > 0,
		 (double)(clock_monotonic_ns() - t->last_effect_ns) / 1e9},
	};
	char name[96];

	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
		snprintf(name, sizeof(name), "hvhost_dynamic_memory_balancer_%s", gauges[i].name);
		if (gauges[i].is_known)
			write_one(to, format, METRIC_GAUGE, name, gauges[i].help, gauges[i].value);
	}
	write_one(to, format, METRIC_COUNTER, "hvhost_dynamic_memory_balancer_passes",
		  "Passes over all guests.", (double)t->passes);
	write_one(to, format, METRIC_COUNTER, "hvhost_dynamic_memory_balancer_orders",
		  "Times that memory was to be moved.", (double)t->orders);
}

void show_write_metrics(FILE *to, enum metrics_format format, void *board)
{
	struct board_host host;
	struct rows all = {0};

	board_get_host(board, &host);
	board_each(board, add_row, &all);
	if (all.n > 0)
		qsort(all.rows, all.n, sizeof(all.rows[0]), by_name);
	metrics_write_family(to, format, METRIC_TEXT, "hvhost_build_info", "The version of hvhost.");
	metrics_write_text(to, "hvhost_build_info", NULL, NULL, PACKAGE_VERSION);
	write_one(to, format, METRIC_GAUGE, "hvhost_guests", "Guests that are there.", (double)all.n);
	write_balancer(to, format, &host);
	write_guests(to, format, &all);
	write_texts(to, format, &all);
	free(all.rows);
}
