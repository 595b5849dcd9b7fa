/* SPDX-License-Identifier: MIT */

/*
 * The settings.
 *
 * One table names every setting: its place in the file, its option on the command line, what it is
 * unless somebody says it, how it is read and what it means. The parsers, the help text, the dump of
 * the configuration, the example file and the manual page are all driven by it, so that they cannot
 * disagree. A value that cannot be read is refused; the help is what it is refused with.
 */

#include "daemon/settings.h"

#include "daemon/settings_set.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const struct setting settings[] = {
	{
		.section = "daemon",
		.key = "name",
		.option = "name",
		.argument = "NAME",
		.help = "this guest's name, of letters, digits, '.', '_' and '-'",
		.value_help = "the host name",
		.set = settings_set_name,
	},
	{
		.section = "daemon",
		.key = "run_dir",
		.option = "run-dir",
		.argument = "DIR",
		.help = "folder of the sockets and of the freezer's record, on a tmpfs",
		.value = CONFIG_RUN_DIR,
		.set = settings_set_run_dir,
	},
	{
		.section = "daemon",
		.key = "state_dir",
		.option = "state-dir",
		.argument = "DIR",
		.help = "folder of what is kept over a restart: receipts",
		.value_help = HVGUEST_STATEDIR "; with a lab host state in the run directory",
		.set = settings_set_state_dir,
	},
	{
		.section = "daemon",
		.key = "log_level",
		.option = "log-level",
		.argument = "LEVEL",
		.help = "error, warning, notice, info or debug",
		.value = "info",
		.reloads = true,
		.set = settings_set_log_level,
	},
	{
		.section = "api",
		.key = "read_group",
		.option = "read-group",
		.argument = "GROUP",
		.help = "who may look, and change nothing: the members of this group, by read.sock in the "
			"run directory",
		.value_help = "root",
		.set = settings_set_read_group,
	},
	{
		.section = "api",
		.key = "metrics_listen",
		.option = "metrics-listen",
		.argument = "ADDRESS:PORT",
		.help = "let Prometheus, and whoever can reach this address, look at /metrics and at all "
			"that read.sock shows, without a password",
		.value_help = "no TCP",
		.set = settings_set_metrics_listen,
	},
	{
		.section = "api",
		.key = "page",
		.option = "page",
		.argument = "yes|no",
		.help = "show a page for browsers, live, at / of read.sock and metrics_listen",
		.value = "no",
		.reloads = true,
		.set = settings_set_page,
	},
	{
		.section = "lab",
		.key = "socket",
		.option = "lab",
		.argument = "SOCKET",
		.help = "connect to the lab host (hvhost serve) at SOCKET",
		.value_help = "none: the host is Hyper-V",
		.set = settings_set_lab,
	},
	{
		.section = "vmbus",
		.key = "takeover",
		.option = "takeover",
		.argument = "SERVICE[,SERVICE...]",
		.help = "without a lab host, take the VMBus devices of these services (heartbeat, "
			"vss, kvp, fcopy, dynmem, shutdown, timesync) from the kernel's drivers; they are "
			"given back when hvguestd ends",
		.value_help = "none",
		.set = settings_add_takeover,
		.forget = settings_forget_takeover,
	},
	{
		.section = "vmbus",
		.key = "vss_device",
		.option = "vss-device",
		.argument = "PATH",
		.help = "without a lab host, the kernel's device for backup, which is used unless "
			"vss is taken over",
		.value = "/dev/vmbus/hv_vss",
		.set = settings_set_vss_device,
	},
	{
		.section = "vmbus",
		.key = "kvp_device",
		.option = "kvp-device",
		.argument = "PATH",
		.help = "without a lab host, the kernel's device for key-value exchange, which is "
			"used unless kvp is taken over",
		.value = "/dev/vmbus/hv_kvp",
		.set = settings_set_kvp_device,
	},
	{
		.section = "backup",
		.key = "freeze_roots",
		.option = "freeze-roots",
		.argument = "DIR[:DIR...]|all",
		.help = "freeze only what is mounted at or below these",
		.value = "all",
		.lab_value = "",
		.reloads = true,
		.set = settings_add_freeze_roots,
		.forget = settings_forget_freeze_roots,
	},
	{
		.section = "backup",
		.key = "freeze_include",
		.option = "freeze-include",
		.argument = "RULE[,RULE...]",
		.help = "freeze only what a rule names: path:GLOB, type:GLOB, label:GLOB or "
			"device:GLOB",
		.value_help = "everything",
		.reloads = true,
		.set = settings_add_include,
		.forget = settings_forget_include,
	},
	{
		.section = "backup",
		.key = "freeze_exclude",
		.option = "freeze-exclude",
		.argument = "RULE[,RULE...]",
		.help = "freeze nothing that a rule names: path:GLOB, type:GLOB, label:GLOB or "
			"device:GLOB",
		/* The EFI system partition: vfat, which Linux cannot freeze, and hardly ever written. */
		.value = "path:/boot/efi,path:/efi",
		.reloads = true,
		.set = settings_add_exclude,
		.forget = settings_forget_exclude,
	},
	{
		.section = "backup",
		.key = "freeze_mounts",
		.option = "freeze-mounts",
		.argument = "init|own",
		.help = "whose mounts: those of process 1 and of all containers, or of hvguestd "
			"only",
		.value = "init",
		.lab_value = "own",
		.set = settings_set_freeze_mounts,
	},
	{
		.section = "backup",
		.key = "freeze_policy",
		.option = "freeze-policy",
		.argument = "strict|best-effort",
		.help = "what becomes of the rest if a file system cannot be frozen: nothing is "
			"frozen, or all that can be",
		.value = "best-effort",
		.reloads = true,
		.set = settings_set_freeze_policy,
	},
	{
		.section = "backup",
		.key = "expedite",
		.option = "expedite",
		.argument = "yes|no",
		.help = "have the kernel hurry while file systems are being frozen, by "
			"rcu_expedited: they stand still a tenth of the time; a lab host shares its"
			" machine with others",
		.value = "yes",
		.lab_value = "no",
		.reloads = true,
		.set = settings_set_expedite,
	},
	{
		.section = "backup",
		.key = "freeze_timeout",
		.option = "freeze-timeout",
		.argument = "SECONDS",
		.help = "the longest that anything stays frozen, 1 to 900",
		.value = "20",
		.reloads = true,
		.set = settings_set_freeze_timeout,
	},
	{
		.section = "backup",
		.key = "freezer",
		.option = "freezer",
		.argument = "PROGRAM",
		.help = "the helper that freezes",
		.value = HVGUEST_LIBEXECDIR "/hvguest-freezer",
		.set = settings_set_freezer,
	},
	{
		.section = "backup",
		.key = "hook_dir",
		.option = "hook-dir",
		.argument = "DIR",
		.help = "programs to call with freeze before a freeze, and with thaw or abort after"
			" it",
		.value = HVGUEST_SYSCONFDIR "/freeze-hook.d",
		.reloads = true,
		.set = settings_set_hook_dir,
	},
	{
		.section = "backup",
		.key = "hook_layouts",
		.option = "hook-layouts",
		.argument = "LAYOUT[,LAYOUT...]",
		.help = "also call the hooks made for these: qemu, vmware, azure",
		.value_help = "none",
		.reloads = true,
		.set = settings_add_hook_layouts,
		.forget = settings_forget_hook_layouts,
	},
	{
		.section = "backup",
		.key = "hook_runner",
		.option = "hook-runner",
		.argument = "SOCKET",
		.help = "who runs the hooks, with more rights than hvguestd: hvguest-hook.socket",
		.value_help = "hvguestd itself; the unit names the socket",
		.set = settings_set_hook_runner,
	},
	{
		.section = "backup",
		.key = "hook_timeout",
		.option = "hook-timeout",
		.argument = "SECONDS",
		.help = "the longest that one hook may run, 1 to 300",
		.value = "30",
		.reloads = true,
		.set = settings_set_hook_timeout,
	},
	{
		.section = "backup",
		.key = "prepare_timeout",
		.option = "prepare-timeout",
		.argument = "SECONDS",
		.help = "the longest that hooks may put off a freeze in all, 1 to 600",
		.value = "60",
		.reloads = true,
		.set = settings_set_prepare_timeout,
	},
	{
		.section = "backup",
		.key = "notify_hold",
		.option = "notify-hold",
		.argument = "SECONDS",
		.help = "the longest that a program on the notify socket may put off a freeze, 0 to"
			" 120",
		.value = "10",
		.reloads = true,
		.set = settings_set_notify_hold,
	},
	{
		.section = "backup",
		.key = "receipts",
		.option = "receipts",
		.argument = "NUMBER",
		.help = "how many receipts of backups are kept, 0 to 1000",
		.value = "20",
		.reloads = true,
		.set = settings_set_receipts,
	},
	{
		.section = "shutdown",
		.key = "command",
		.option = "shutdown-command",
		.argument = "PROGRAM|default",
		.help = "takes this machine down, with the rights of hvguestd; called with poweroff, "
			"reboot or hibernate, and force if nobody is to be asked",
		.value_help = "systemd-logind, systemctl or shutdown; with a lab host nothing, unless default is said",
		.reloads = true,
		.set = settings_set_shutdown_command,
	},
	{
		.section = "time",
		.key = "sync",
		.option = "time-sync",
		.argument = "off|sample|step|catch-up",
		.help = "what the host may do with this machine's clock: nothing; give samples to "
			"chronyd; besides, set it when it asks for that, after a start or a resume; "
			"or also when a sample shows that it is 5 s behind",
		.value = "step",
		.lab_value = "off",
		.reloads = true,
		.set = settings_set_time_sync,
	},
	{
		.section = "time",
		.key = "chrony_socket",
		.option = "chrony-socket",
		.argument = "SOCKET",
		.help = "where chronyd takes samples (refclock SOCK); if there is none they are left out",
		.value = "/run/chrony/hvguest.sock",
		.reloads = true,
		.set = settings_set_chrony_socket,
	},
	{
		.section = "memory",
		.key = "enabled",
		.option = "memory",
		.argument = "yes|no",
		.help = "take part in dynamic memory",
		.value = "yes",
		.set = settings_set_memory,
	},
	{
		.section = "memory",
		.key = "report_delay",
		.option = "report-delay",
		.argument = "SECONDS",
		.help = "from the handshake to the first status report",
		.value = "45",
		.lab_value = "0",
		.reloads = true,
		.set = settings_set_report_delay,
	},
	{
		.section = "memory",
		.key = "huge_pages",
		.option = "huge-pages",
		.argument = "yes|no",
		.help = "give 2 MiB pages where there are any",
		.value = "yes",
		.set = settings_set_huge_pages,
	},
	{
		.section = "memory",
		.key = "huge_page_overcommit",
		.option = "huge-page-overcommit",
		.argument = "yes|no",
		.help = "let the kernel make 2 MiB pages beyond its pool: "
			"vm.nr_overcommit_hugepages is raised by what is given, and lowered by the "
			"same",
		.value = "yes",
		.set = settings_set_overcommit,
	},
	{
		.section = "memory",
		.key = "keeper",
		.option = "keeper",
		.argument = "PROGRAM",
		.help = "the helper that holds the memory which the host has",
		.value = HVGUEST_LIBEXECDIR "/hvguest-keeper",
		.set = settings_set_keeper,
	},
	{
		.section = "memory",
		.key = "floor",
		.option = "floor",
		.argument = "kernel|workingset|PERCENT%|SIZE",
		.help = "what stays available to this machine whatever the host asks for: as much "
			"as Linux's own driver keeps, the same and the active page cache, a share "
			"of the memory in use, or an amount",
		.value = "kernel",
		.set = settings_set_floor,
	},
	{
		.section = "memory",
		.key = "report",
		.option = "report",
		.argument = "compat|workingset|psi",
		.help = "how much memory the host is told that this machine needs: what the kernel's driver "
			"would say, what is in use and suffered for, or what keeps the time in which tasks "
			"wait for memory at stall_target",
		.value = "compat",
		.set = settings_set_report,
	},
	{
		.section = "memory",
		.key = "stall_target",
		.option = "stall-target",
		.argument = "PERCENT",
		.help = "for report = psi: tasks may wait for memory for this share of the time, 1 to 50",
		.value = "1",
		.set = settings_set_stall_target,
	},
	{
		.section = "memory",
		.key = "report_cgroup",
		.option = "report-cgroup",
		.argument = "DIR",
		.help = "look at the stalls and refaults of this group (cgroup v2) instead of the whole "
			"machine's",
		.value_help = "none",
		.set = settings_set_report_cgroup,
	},
	{
		.section = "memory",
		.key = "stall_limit",
		.option = "stall-limit",
		.argument = "PERCENT",
		.help = "give no memory while tasks wait for memory for more than this share of the"
			" time, 0 to 100; 0: give it all the same",
		.value = "10",
		.set = settings_set_stall_limit,
	},
	{
		.section = "memory",
		.key = "reclaim",
		.option = "reclaim",
		.argument = "yes|no",
		.help = "have the kernel free memory that is not used before it is given away; "
			"needs cgroup v2",
		.value = "no",
		.reloads = true,
		.set = settings_set_reclaim,
	},
	{
		.section = "memory",
		.key = "memory_blocks",
		.option = "memory-blocks",
		.argument = "yes|no",
		.help = "take whole memory blocks offline for large requests; nobody else may bring"
			" them online: mind udev rules and chmem",
		.value = "no",
		.set = settings_set_memory_blocks,
	},
	{
		.section = "memory",
		.key = "hotplug",
		.option = "hotplug",
		.argument = "off|online|online_kernel|online_movable|auto",
		.help = "how memory blocks that are added, by whomever, are brought online: not at "
			"all, where the kernel would put them, in its zones, in zone Movable, or "
			"there as long as the ratio is kept",
		.value = "online",
		.lab_value = "off",
		.set = settings_set_hotplug,
	},
	{
		.section = "memory",
		.key = "hotplug_ratio",
		.option = "hotplug-ratio",
		.argument = "MOVABLE:KERNEL",
		.help = "for hotplug = auto: the most Movable memory to the kernel's, as 3:1 or 1:2",
		.value = "3:1",
		.set = settings_set_hotplug_ratio,
	},
	{
		.section = "kvp",
		.key = "enabled",
		.option = "kvp",
		.argument = "yes|no",
		.help = "take part in the key-value exchange",
		.value = "yes",
		.set = settings_set_kvp,
	},
	{
		.section = "kvp",
		.key = "dir",
		.option = "kvp-dir",
		.argument = "DIR",
		.help = "folder of the pools, in the format of the stock daemon",
		.value_help = CONFIG_KVP_DIR "; with a lab host kvp in the run directory",
		.set = settings_set_kvp_dir,
	},
	{
		.section = "kvp",
		.key = "ip_injection",
		.option = "ip-injection",
		.argument = "yes|no",
		.help = "let the host set the addresses of this machine's adapters, by the network "
			"manager that has them; what they are is told in any case",
		.value = "no",
		.set = settings_set_ip_injection,
	},
	{
		.section = "disks",
		.key = "grow",
		.option = "disks-grow",
		.argument = "off|auto",
		.help = "when the host has made a listed disk larger, make its last partition and the "
			"file system on it larger, too",
		.value = "off",
		.set = settings_set_disks_grow,
	},
	{
		.section = "disks",
		.key = "list",
		.option = "disks",
		.argument = "DISK[,DISK...]",
		.help = "disks for grow = auto: a name as sda, or a path as /dev/disk/by-id/...",
		.value_help = "none",
		.set = settings_add_disks,
		.forget = settings_forget_disks,
	},
	{
		.section = "disks",
		.key = "helper",
		.option = "disks-helper",
		.argument = "PROGRAM",
		.help = "the helper that looks at disks and makes them larger",
		.value = HVGUEST_LIBEXECDIR "/hvguest-disks",
		.set = settings_set_disks_helper,
	},
	{
		.section = "fcopy",
		.key = "fcopy_roots",
		.option = "fcopy-roots",
		.argument = "DIR[:DIR...]",
		.help = "the host may put files into these folders and beneath them, and nowhere else; "
			"absolute paths",
		.value_help = "none: the host cannot copy files",
		.set = settings_add_fcopy_roots,
		.forget = settings_forget_fcopy_roots,
	},
	{
		.section = "fcopy",
		.key = "fcopy_mode",
		.option = "fcopy-mode",
		.argument = "MODE",
		.help = "permissions of files that the host puts there, in octal, at most 777",
		.value = "644",
		.set = settings_set_fcopy_mode,
	},
	{
		.section = "fcopy",
		.key = "fcopy_owner",
		.option = "fcopy-owner",
		.argument = "USER[:GROUP]",
		.help = "whose these files and the folders made for them are, by name or by number",
		.value_help = "hvguestd's own user, root",
		.set = settings_set_fcopy_owner,
	},
	{
		.section = "fcopy",
		.key = "fcopy_receipts",
		.option = "fcopy-receipts",
		.argument = "NUMBER",
		.help = "how many receipts of such files are kept, 0 to 1000",
		.value = "100",
		.reloads = true,
		.set = settings_set_fcopy_receipts,
	},
	{
		.section = "fcopy",
		.key = "fcopy_device",
		.option = "fcopy-device",
		.argument = "PATH",
		.help = "the kernel's device for file copy, which is used before Linux 6.10 unless fcopy is "
			"taken over",
		.value = "/dev/vmbus/hv_fcopy",
		.set = settings_set_fcopy_device,
	},
};
const size_t n_settings = sizeof(settings) / sizeof(settings[0]);

static_assert(sizeof(settings) / sizeof(settings[0]) <= SETTINGS_MAX, "room for all");

size_t setting_find(const char *section, const char *key)
{
	size_t i = 0;

	while (i < n_settings &&
	       (strcmp(section, settings[i].section) != 0 || strcmp(key, settings[i].key) != 0))
		i++;
	return i;
}

void settings_fini(struct config *config)
{
	for (size_t i = 0; i < n_settings; i++)
		if (settings[i].forget)
			settings[i].forget(config);
	free(config->name);
	free(config->run_dir);
	free(config->lab_socket);
	free(config->shutdown_command);
	free(config->freezer);
	free(config->hook_dir);
	free(config->hook_runner);
	free(config->state_dir);
	free(config->vss_device);
	free(config->kvp_device);
	free(config->kvp_dir);
	free(config->keeper);
	free(config->disks_helper);
	free(config->chrony_socket);
	free(config->report_cgroup);
	free(config->read_group);
	free(config->metrics_listen);
	free(config->fcopy_device);
}
