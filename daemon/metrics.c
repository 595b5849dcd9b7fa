/* SPDX-License-Identifier: MIT */

/*
 * hvguestd's metrics.
 *
 * They are read off what the API tells as JSON, by the table below. Names follow Prometheus' rules,
 * and those that have a twin at a Hyper-V host are called as windows_exporter calls it there
 * (windows_hyperv_dynamic_memory_vm_*, in collector hyperv), with hvguest_ in front: a panel can show
 * what the host believes beside what the guest knows.
 *
 * The kernel's stall times are read when they are asked for. All else is in memory, so that metrics
 * come also while everything is frozen.
 */

#include "daemon/metrics.h"

#include "base/metrics.h"
#include "daemon/vmbus_list.h"
#include "vmbus/discover.h"

#include <stdio.h>
#include <string.h>

static const struct metric metrics[] = {
	{.path = "version", .name = "hvguest_build_info", .help = "The version of hvguestd.",
	 .type = METRIC_TEXT},
	{.path = "host.state", .name = "hvguest_host_state", .help = "The connection to the host.",
	 .type = METRIC_TEXT},

	/* Channels. */
	{.path = "channels[].state", .name = "hvguest_channel_state", .label = "service",
	 .key = "service", .help = "The state of a service's channel.", .type = METRIC_TEXT},
	{.path = "channels[].opens", .name = "hvguest_channel_opens", .label = "service",
	 .key = "service", .help = "Times that the channel was opened.", .type = METRIC_COUNTER},
	{.path = "channels[].requests", .name = "hvguest_channel_requests", .label = "service",
	 .key = "service", .help = "Requests of the host.", .type = METRIC_COUNTER},
	{.path = "channels[].negotiations", .name = "hvguest_channel_negotiations", .label = "service",
	 .key = "service", .help = "Times that the host has agreed on versions.",
	 .type = METRIC_COUNTER},
	{.path = "channels[].errors", .name = "hvguest_channel_errors", .label = "service",
	 .key = "service", .help = "Messages of the host that were wrong, and answers that it lost.",
	 .type = METRIC_COUNTER},
	{.path = "channels[].quiet_seconds", .name = "hvguest_channel_quiet_seconds",
	 .label = "service", .key = "service", .help = "Since the host's last request.",
	 .type = METRIC_GAUGE},

	/* Dynamic memory. */
	{.path = "memory.state", .name = "hvguest_memory_state", .help = "Dynamic memory.",
	 .type = METRIC_TEXT},
	{.path = "memory.states[]", .name = "hvguest_memory_states_entered", .label = "state",
	 .help = "State changes of dynamic memory.", .type = METRIC_COUNTER},
	{.path = "memory.effect_age_seconds", .name = "hvguest_memory_effect_age_seconds",
	 .help = "Since memory was last moved.", .type = METRIC_GAUGE},
	{.path = "assigned_bytes", .name = "hvguest_dynamic_memory_vm_physical_bytes",
	 .help = "Memory that the host has assigned: what this machine sees, without what it has given.",
	 .type = METRIC_GAUGE},
	{.path = "memory.available_bytes", .name = "hvguest_dynamic_memory_vm_guest_available_bytes",
	 .help = "Available memory, as reported to the host.", .type = METRIC_GAUGE},
	{.path = "why.inputs.mem_total_bytes",
	 .name = "hvguest_dynamic_memory_vm_guest_visible_physical_memory_bytes",
	 .help = "Memory that this machine sees (MemTotal).", .type = METRIC_GAUGE},
	{.path = "memory.hot_add.added_bytes", .name = "hvguest_dynamic_memory_vm_added_bytes",
	 .help = "Memory that the host has added beyond the start.", .type = METRIC_GAUGE},
	{.path = "memory.ballooned_bytes", .name = "hvguest_memory_ballooned_bytes",
	 .help = "Memory that this machine has given to the host.", .type = METRIC_GAUGE},
	{.path = "memory.committed_bytes", .name = "hvguest_memory_committed_bytes",
	 .help = "Memory that this machine needs, as reported to the host.", .type = METRIC_GAUGE},
	{.path = "memory.floor_bytes", .name = "hvguest_memory_floor_bytes",
	 .help = "Memory that stays available here whatever the host asks for.",
	 .type = METRIC_GAUGE},
	{.path = "memory.pages.huge_bytes", .name = "hvguest_memory_held_huge_bytes",
	 .help = "Given as 2 MiB pages.", .type = METRIC_GAUGE},
	{.path = "memory.pages.small_bytes", .name = "hvguest_memory_held_small_bytes",
	 .help = "Given as 4 KiB pages.", .type = METRIC_GAUGE},
	{.path = "memory.pages.block_bytes", .name = "hvguest_memory_held_block_bytes",
	 .help = "Given as whole memory blocks.", .type = METRIC_GAUGE},
	{.path = "memory.counters.status_reports", .name = "hvguest_memory_status_reports",
	 .help = "Status reports sent.", .type = METRIC_COUNTER},
	{.path = "memory.counters.balloon_requests", .name = "hvguest_memory_balloon_requests",
	 .help = "Requests for memory.", .type = METRIC_COUNTER},
	{.path = "memory.counters.unballoon_requests", .name = "hvguest_memory_unballoon_requests",
	 .help = "Requests that gave memory back.", .type = METRIC_COUNTER},
	{.path = "memory.counters.hot_add_requests", .name = "hvguest_memory_hot_add_requests",
	 .help = "Requests that added memory.", .type = METRIC_COUNTER},
	{.path = "memory.counters.malformed", .name = "hvguest_memory_malformed_messages",
	 .help = "Messages of the host that were wrong.", .type = METRIC_COUNTER},
	{.path = "memory.counters.foreign_pages", .name = "hvguest_memory_foreign_pages",
	 .help = "Pages that the host gave back without having had them.", .type = METRIC_COUNTER},
	{.path = "why.requests_cut_short[]", .name = "hvguest_memory_requests_cut_short",
	 .label = "reason", .help = "Requests that got less than they asked for.",
	 .type = METRIC_COUNTER},
	{.path = "why.inputs.refaults", .name = "hvguest_memory_refaults",
	 .help = "Pages that were read again soon after they had been dropped.",
	 .type = METRIC_COUNTER},
	{.path = "why.inputs.oom_kills", .name = "hvguest_memory_oom_kills",
	 .help = "Processes that the kernel has killed for want of memory.", .type = METRIC_COUNTER},
	{.path = "why.inputs.stall_some_avg10_percent", .name = "hvguest_memory_stall_some_ratio",
	 .help = "Share of the last ten seconds in which some tasks waited for memory.",
	 .scale = 0.01, .type = METRIC_GAUGE},
	{.path = "why.inputs.stall_full_avg10_percent", .name = "hvguest_memory_stall_full_ratio",
	 .help = "Share of the last ten seconds in which all tasks waited for memory.",
	 .scale = 0.01, .type = METRIC_GAUGE},
	{.path = "pressure.some", .name = "hvguest_pressure_memory_waiting_seconds",
	 .help = "Time in which some tasks waited for memory.", .type = METRIC_COUNTER},
	{.path = "pressure.full", .name = "hvguest_pressure_memory_stalled_seconds",
	 .help = "Time in which all tasks waited for memory.", .type = METRIC_COUNTER},
	{.path = "hotplug.onlined", .name = "hvguest_hotplug_onlined_blocks",
	 .help = "Memory blocks brought online.", .type = METRIC_COUNTER},
	{.path = "hotplug.failed", .name = "hvguest_hotplug_failed_blocks",
	 .help = "Memory blocks that would not come online.", .type = METRIC_COUNTER},

	/* Backup. */
	{.path = "backup.phase", .name = "hvguest_backup_phase", .help = "What a backup is doing.",
	 .type = METRIC_TEXT},
	{.path = "backup.states[]", .name = "hvguest_backup_states_entered", .label = "state",
	 .help = "State changes of backups by the host.", .type = METRIC_COUNTER},
	{.path = "backup.malformed", .name = "hvguest_backup_malformed_messages",
	 .help = "Messages of the host that were wrong.", .type = METRIC_COUNTER},
	{.path = "backup.freezes", .name = "hvguest_backup_freezes", .help = "Freezes of the host.",
	 .type = METRIC_COUNTER},
	{.path = "backup.ended_early", .name = "hvguest_backup_ended_early",
	 .help = "Freezes that ended before the host's thaw.", .type = METRIC_COUNTER},
	{.path = "receipts.classes[]", .name = "hvguest_backups", .label = "class",
	 .help = "Backups, by the class that they reached.", .type = METRIC_COUNTER},
	{.path = "receipts.window_seconds", .name = "hvguest_backup_window_seconds",
	 .help = "How long writers stood still.", .type = METRIC_HISTOGRAM},
	{.path = "receipts.hook_seconds", .name = "hvguest_backup_hook_seconds",
	 .help = "How long hooks ran.", .type = METRIC_HISTOGRAM},
	{.path = "receipts.last_age_seconds", .name = "hvguest_backup_last_age_seconds",
	 .help = "Since the last backup, of any class, that this process has seen.",
	 .type = METRIC_GAUGE},

	/* The small services. */
	{.path = "heartbeat.answered", .name = "hvguest_heartbeats", .help = "Heartbeats answered.",
	 .type = METRIC_COUNTER},
	{.path = "heartbeat.application", .name = "hvguest_application_health",
	 .help = "What the host is told of the applications.", .type = METRIC_TEXT},
	{.path = "shutdown.requests", .name = "hvguest_shutdown_requests",
	 .help = "Requests to go down.", .type = METRIC_COUNTER},
	{.path = "time.last.offset_seconds", .name = "hvguest_time_sync_offset_seconds",
	 .help = "The host's clock less this machine's, at the last message.", .type = METRIC_GAUGE},
	{.path = "time.last.seconds_ago", .name = "hvguest_time_sync_last_age_seconds",
	 .help = "Since the host last told the time.", .type = METRIC_GAUGE},
	{.path = "time.messages", .name = "hvguest_time_sync_messages",
	 .help = "Times that the host has told the time.", .type = METRIC_COUNTER},
	{.path = "time.samples_taken", .name = "hvguest_time_sync_samples",
	 .help = "Samples of the host's clock that chronyd has taken.", .type = METRIC_COUNTER},
	{.path = "time.steps", .name = "hvguest_time_sync_steps",
	 .help = "Times that the clock was set, as the host asked.", .type = METRIC_COUNTER},
	{.path = "kvp.keys[]", .name = "hvguest_kvp_keys", .label = "pool", .help = "Keys in a pool.",
	 .type = METRIC_GAUGE},
	{.path = "kvp.requests[]", .name = "hvguest_kvp_requests", .label = "operation",
	 .help = "Requests of the host for keys and addresses.", .type = METRIC_COUNTER},
	{.path = "kvp.states[]", .name = "hvguest_kvp_states_entered", .label = "state",
	 .help = "State changes of key-value exchange.", .type = METRIC_COUNTER},
	{.path = "kvp.refused", .name = "hvguest_kvp_refused_requests",
	 .help = "Those of them that failed.", .type = METRIC_COUNTER},
	{.path = "copy.states[]", .name = "hvguest_file_copy_states_entered", .label = "state",
	 .help = "State changes of file copy.", .type = METRIC_COUNTER},
	{.path = "copy.copied", .name = "hvguest_file_copies", .help = "Files that have arrived.",
	 .type = METRIC_COUNTER},
	{.path = "copy.refused", .name = "hvguest_file_copies_refused",
	 .help = "Files that the host was refused at their beginning.", .type = METRIC_COUNTER},
	{.path = "copy.discarded", .name = "hvguest_file_copies_discarded",
	 .help = "Files that were begun and given up.", .type = METRIC_COUNTER},
	{.path = "copy.bytes", .name = "hvguest_file_copy_bytes",
	 .help = "Bytes of files that have arrived.", .type = METRIC_COUNTER},
	{.path = "kvp.ip_injection.changes", .name = "hvguest_address_changes",
	 .help = "Times that the host has set addresses, well or not.", .type = METRIC_COUNTER},
	{.path = "kvp.ip_injection.failures", .name = "hvguest_address_changes_failed",
	 .help = "Those of them that were taken back.", .type = METRIC_COUNTER},
	{.path = "disks.resizes", .name = "hvguest_disk_resizes",
	 .help = "Times that the kernel told of a disk of another size.", .type = METRIC_COUNTER},
	{.path = "disks.grown", .name = "hvguest_disks_grown",
	 .help = "Disks whose contents were made as large.", .type = METRIC_COUNTER},
	{.path = "disks.refused", .name = "hvguest_disks_refused",
	 .help = "Disks that are not simple, and were left alone.", .type = METRIC_COUNTER},
	{.path = "disks.failed", .name = "hvguest_disks_failed",
	 .help = "Disks that could not be made as large.", .type = METRIC_COUNTER},
	{0},
};

/* Stall times in seconds since the machine's start; an empty object without them. */
static json_t *read_pressure(void)
{
	FILE *file = fopen("/proc/pressure/memory", "re");
	json_t *pressure = json_object();
	unsigned long long us;
	char line[128], kind[8];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%7s avg10=%*f avg60=%*f avg300=%*f total=%llu", kind, &us) == 2)
			json_object_set_new(pressure, kind, json_real(us / 1e6));
	if (file)
		(void)fclose(file);
	return pressure;
}

/* What of its memory the machine has: blocks that are offline are not in what it sees. */
static json_t *assigned(const json_t *why, const json_t *memory)
{
	const json_t *total = json_object_get(json_object_get(why, "inputs"), "mem_total_bytes");
	const json_t *pages = json_object_get(memory, "pages");

	if (!total)
		return json_null();
	return json_integer(json_integer_value(total) -
			    json_integer_value(json_object_get(pages, "huge_bytes")) -
			    json_integer_value(json_object_get(pages, "small_bytes")));
}

json_t *metrics_facts(struct api *api)
{
	json_t *all = api_status(api);
	json_t *why = bind_dynmem_why(api->dynmem);

	json_object_set_new(all, "assigned_bytes", assigned(why, json_object_get(all, "memory")));
	json_object_set_new(all, "why", why);
	json_object_set_new(all, "pressure", read_pressure());
	json_object_set_new(all, "channels",
			    channel_list(*api->connection, api->services, api->n_services));
	json_object_set_new(all, "receipts", receipts_totals(api->receipts));
	return all;
}

static void get_metrics(struct httpd_request *request, void *user)
{
	metrics_reply(request, metrics, metrics_facts(user));
}

int metrics_add_route(struct api *api, struct httpd *httpd)
{
	return httpd_route(httpd, "GET", "/metrics", get_metrics, api);
}
