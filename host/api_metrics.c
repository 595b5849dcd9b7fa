/* SPDX-License-Identifier: MIT */

/*
 * hvhost's metrics.
 *
 * As hvguestd's (daemon/metrics.c), they are read off the status by a table. What Hyper-V's own
 * counters have is called as windows_exporter calls it (windows_hyperv_dynamic_memory_vm_* and
 * _balancer_*, in its collector hyperv), with hvhost_ in front and the label vm, so that one
 * dashboard shows both kinds of host.
 */

#include "base/metrics.h"
#include "host/api.h"

#define VM .label = "vm"

static const struct metric metrics[] = {
	{.path = "version", .name = "hvhost_build_info", .help = "The version of hvhost.",
	 .type = METRIC_TEXT},
	{.path = "n_guests", .name = "hvhost_guests", .help = "Guests that are connected.",
	 .type = METRIC_GAUGE},

	/* Each guest's memory. */
	{.path = "guests[].memory.assigned_bytes", .name = "hvhost_dynamic_memory_vm_physical_bytes", VM,
	 .help = "Memory that is assigned.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.available_bytes",
	 .name = "hvhost_dynamic_memory_vm_guest_available_bytes", VM,
	 .help = "Available memory, as the guest has reported it.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.pressure_percent",
	 .name = "hvhost_dynamic_memory_vm_pressure_current_ratio", VM, .scale = 0.01,
	 .help = "Demand to assigned memory.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.added_bytes", .name = "hvhost_dynamic_memory_vm_added_bytes", VM,
	 .help = "Memory added since the guest's start.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.demand_bytes", .name = "hvhost_memory_demand_bytes", VM,
	 .help = "Memory that the guest needs, as the balancer believes.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.target_bytes", .name = "hvhost_memory_target_bytes", VM,
	 .help = "Memory that the guest is to have.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.minimum_bytes", .name = "hvhost_memory_minimum_bytes", VM,
	 .help = "The least that it is assigned.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.maximum_bytes", .name = "hvhost_memory_maximum_bytes", VM,
	 .help = "The most that it is assigned.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.ballooned_bytes", .name = "hvhost_memory_ballooned_bytes", VM,
	 .help = "Memory that the guest has given.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.obeying", .name = "hvhost_memory_obeying", VM,
	 .help = "1: the guest does what it is asked.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.status_reports", .name = "hvhost_memory_status_reports", VM,
	 .help = "Status reports.", .type = METRIC_COUNTER},
	{.path = "guests[].memory.report_age_seconds", .name = "hvhost_memory_report_age_seconds", VM,
	 .help = "Since the last status report.", .type = METRIC_GAUGE},
	{.path = "guests[].memory.violations", .name = "hvhost_memory_violations", VM,
	 .help = "Messages of the guest that break the protocol.", .type = METRIC_COUNTER},

	/* Its other services. */
	{.path = "guests[].heartbeat.state", .name = "hvhost_heartbeat_state", VM,
	 .help = "Whether the guest answers.", .type = METRIC_TEXT},
	{.path = "guests[].heartbeat.answered", .name = "hvhost_heartbeats", VM,
	 .help = "Heartbeats answered.", .type = METRIC_COUNTER},
	{.path = "guests[].heartbeat.missed", .name = "hvhost_heartbeats_missed", VM,
	 .help = "Heartbeats not answered in time.", .type = METRIC_COUNTER},
	{.path = "guests[].heartbeat.answer_seconds", .name = "hvhost_heartbeat_answer_seconds", VM,
	 .help = "How long the last answer took.", .type = METRIC_GAUGE},
	{.path = "guests[].backup.state", .name = "hvhost_backup_state", VM,
	 .help = "The step of a backup.", .type = METRIC_TEXT},

	/* The balancer. */
	{.path = "balance.budget_bytes", .name = "hvhost_dynamic_memory_balancer_budget_bytes",
	 .help = "Memory for guests, the reserve included.", .type = METRIC_GAUGE},
	{.path = "balance.free_bytes",
	 .name = "hvhost_dynamic_memory_balancer_available_memory_for_balancing_bytes",
	 .help = "Memory that no guest has and that is not reserved.", .type = METRIC_GAUGE},
	{.path = "balance.reserve_bytes", .name = "hvhost_dynamic_memory_balancer_reserve_bytes",
	 .help = "Memory that the host keeps for itself.", .type = METRIC_GAUGE},
	{.path = "balance.held_bytes", .name = "hvhost_dynamic_memory_balancer_held_bytes",
	 .help = "Memory that guests have, or have been promised.", .type = METRIC_GAUGE},
	{.path = "balance.demand_bytes", .name = "hvhost_dynamic_memory_balancer_demand_bytes",
	 .help = "Memory that guests need.", .type = METRIC_GAUGE},
	{.path = "balance.missing_bytes", .name = "hvhost_dynamic_memory_balancer_missing_bytes",
	 .help = "Memory that guests need and the host does not have.", .type = METRIC_GAUGE},
	{.path = "balance.paused", .name = "hvhost_dynamic_memory_balancer_paused",
	 .help = "1: nothing is moved.", .type = METRIC_GAUGE},
	{.path = "balance.effect_age_seconds",
	 .name = "hvhost_dynamic_memory_balancer_effect_age_seconds",
	 .help = "Since memory was last moved.", .type = METRIC_GAUGE},
	{.path = "balance.passes", .name = "hvhost_dynamic_memory_balancer_passes",
	 .help = "Passes over all guests.", .type = METRIC_COUNTER},
	{.path = "balance.pass_seconds", .name = "hvhost_dynamic_memory_balancer_pass_seconds",
	 .help = "How long the last pass took.", .type = METRIC_GAUGE},
	{0},
};

static void get_metrics(struct httpd_request *request, void *user)
{
	struct host *h = user;
	json_t *facts = api_host_status(h);

	json_object_set_new(facts, "n_guests",
			    json_integer((json_int_t)json_array_size(json_object_get(facts, "guests"))));
	json_object_set_new(facts, "balance", balance_status(h->balance));
	metrics_reply(request, metrics, facts);
}

const struct api_route api_metrics_routes[] = {
	{"GET", "/metrics", get_metrics},
	{0},
};
