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

#include "base/cleanup.h"
#include "fsfreeze/hook_list.h"
#include "services/fcopy_place.h"
#include "vmbus/shm_wire.h"

#include <assert.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SECOND UINT64_C(1000000000)

static bool set_text(char **field, const char *value)
{
	char *copy;

	if (*value == '\0')
		return false;
	copy = strdup(value);
	if (!copy)
		return false;
	free(*field);
	*field = copy;
	return true;
}

static bool set_bool(bool *field, const char *value)
{
	bool yes = !strcmp(value, "yes") || !strcmp(value, "true") || !strcmp(value, "on") ||
		   !strcmp(value, "1");
	bool no = !strcmp(value, "no") || !strcmp(value, "false") || !strcmp(value, "off") ||
		  !strcmp(value, "0");

	*field = yes;
	return yes || no;
}

/* Whole seconds from 0, at most @max. */
static bool set_seconds(uint64_t *field, const char *value, unsigned long max)
{
	unsigned long seconds;
	char *end;

	if (*value < '0' || *value > '9')
		return false;
	errno = 0;
	seconds = strtoul(value, &end, 10);
	if (errno || *end != '\0' || seconds > max)
		return false;
	*field = seconds * NS_PER_SECOND;
	return true;
}

static bool set_name(struct config *c, const char *value)
{
	return shm_name_is_valid(value) && set_text(&c->name, value);
}

static bool set_run_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->run_dir, value);
}

static bool set_lab(struct config *c, const char *value)
{
	return set_text(&c->lab_socket, value);
}

static bool set_read_group(struct config *c, const char *value)
{
	return set_text(&c->read_group, value);
}

static bool set_metrics_listen(struct config *c, const char *value)
{
	return strchr(value, ':') && set_text(&c->metrics_listen, value);
}

static bool set_page(struct config *c, const char *value)
{
	return set_bool(&c->page, value);
}

static void forget_takeover(struct config *c)
{
	c->takeover = 0;
}

struct bit_name {
	const char *name;
	unsigned bit;
};

/* Adds the bits of names with commas in between; the table ends with NULL. */
static bool add_bits(unsigned *field, const struct bit_name *names, const char *value)
{
	while (*value) {
		size_t length = strcspn(value, ",");
		const struct bit_name *n = names;

		while (n->name && (strlen(n->name) != length || strncmp(value, n->name, length) != 0))
			n++;
		if (!n->name)
			return false;
		*field |= n->bit;
		value += length + (value[length] == ',');
	}
	return true;
}

static bool add_takeover(struct config *c, const char *value)
{
	static const struct bit_name names[] = {
		{"heartbeat", CONFIG_HEARTBEAT},
		{"vss", CONFIG_VSS},
		{"kvp", CONFIG_KVP},
		{"dynmem", CONFIG_DYNMEM},
		{"shutdown", CONFIG_SHUTDOWN},
		{"fcopy", CONFIG_FCOPY},
		{"timesync", CONFIG_TIMESYNC},
		{NULL, 0},
	};

	return add_bits(&c->takeover, names, value);
}

static bool set_freezer(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->freezer, value);
}

static bool set_log_level(struct config *c, const char *value)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{"error", LOG_LEVEL_ERROR},   {"warning", LOG_LEVEL_WARNING},
		{"notice", LOG_LEVEL_NOTICE}, {"info", LOG_LEVEL_INFO},
		{"debug", LOG_LEVEL_DEBUG},
	};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (!strcmp(value, levels[i].name)) {
			c->log_level = levels[i].level;
			return true;
		}
	}
	return false;
}

static bool set_freeze_timeout(struct config *c, const char *value)
{
	return set_seconds(&c->freeze_timeout_ns, value, 900) && c->freeze_timeout_ns > 0;
}

static void forget_freeze_roots(struct config *c)
{
	while (c->n_freeze_roots > 0)
		free(c->freeze_roots[--c->n_freeze_roots]);
	c->freeze_all = false;
}

/* Adds "all", or absolute paths with colons in between. */
static bool add_freeze_roots(struct config *c, const char *value)
{
	_cleanup_free_ char *copy = strdup(value);
	char *save = NULL;

	if (!copy)
		return false;
	if (!strcmp(value, "all")) {
		c->freeze_all = true;
		return true;
	}

	for (char *p = strtok_r(copy, ":", &save); p; p = strtok_r(NULL, ":", &save)) {
		if (*p != '/' || c->n_freeze_roots == CONFIG_ROOTS_MAX)
			return false;
		c->freeze_roots[c->n_freeze_roots] = strdup(p);
		if (!c->freeze_roots[c->n_freeze_roots])
			return false;
		c->n_freeze_roots++;
	}
	return true;
}

static void forget_fcopy_roots(struct config *c)
{
	while (c->n_fcopy_roots > 0)
		free(c->fcopy_roots[--c->n_fcopy_roots]);
}

/* Adds absolute paths with colons in between. */
static bool add_fcopy_roots(struct config *c, const char *value)
{
	_cleanup_free_ char *copy = strdup(value);
	char *save = NULL;

	for (char *p = copy ? strtok_r(copy, ":", &save) : NULL; p; p = strtok_r(NULL, ":", &save)) {
		if (!fcopy_place_is_root(p) || c->n_fcopy_roots == CONFIG_ROOTS_MAX)
			return false;
		c->fcopy_roots[c->n_fcopy_roots] = strdup(p);
		if (!c->fcopy_roots[c->n_fcopy_roots])
			return false;
		c->n_fcopy_roots++;
	}
	return copy != NULL;
}

/* Octal, read, write and execute only: a host gets no file with the rights of its owner. */
static bool set_fcopy_mode(struct config *c, const char *value)
{
	char *end;

	if (*value < '0' || *value > '7')
		return false;
	c->fcopy_mode = (unsigned)strtoul(value, &end, 8);
	return *end == '\0' && c->fcopy_mode <= 0777;
}

static bool take_id(const char *text, unsigned *ret_id)
{
	unsigned long id;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	id = strtoul(text, &end, 10);
	*ret_id = (unsigned)id;
	return *end == '\0' && id < UINT32_MAX;
}

/* "USER:GROUP" or "USER", each a name or a number; a user's group is the one it has by itself. */
static bool set_fcopy_owner(struct config *c, const char *value)
{
	_cleanup_free_ char *user = strdup(value);
	char *group = user ? strchr(user, ':') : NULL;
	const struct passwd *p;
	const struct group *g;

	if (!user)
		return false;
	if (group)
		*group++ = '\0';
	c->fcopy_has_owner = true;
	p = getpwnam(user);
	if (!p && take_id(user, &c->fcopy_uid))
		p = group ? NULL : getpwuid(c->fcopy_uid);
	else if (!p)
		return false;
	if (p) {
		c->fcopy_uid = p->pw_uid;
		c->fcopy_gid = p->pw_gid;
	}
	if (!group)
		return p != NULL;
	g = getgrnam(group);
	if (g)
		c->fcopy_gid = g->gr_gid;
	return g || take_id(group, &c->fcopy_gid);
}

static bool set_fcopy_receipts(struct config *c, const char *value)
{
	uint64_t n;

	if (!set_seconds(&n, value, 1000))
		return false;
	c->n_fcopy_receipts = (unsigned)(n / NS_PER_SECOND);
	return true;
}

static bool set_fcopy_device(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->fcopy_device, value);
}

static void forget_rules(struct config_rules *rules)
{
	while (rules->n > 0)
		free(rules->texts[--rules->n]);
}

/* Adds rules with commas in between. */
static bool add_rules(struct config_rules *rules, const char *value)
{
	while (*value) {
		size_t length = strcspn(value, ",");
		char *text;

		if (rules->n == CONFIG_RULES_MAX)
			return false;
		text = strndup(value, length);
		if (!text || freeze_rule_parse(text, &rules->rules[rules->n])) {
			free(text);
			return false;
		}
		rules->texts[rules->n++] = text;
		value += length + (value[length] == ',');
	}
	return true;
}

static void forget_include(struct config *c)
{
	forget_rules(&c->freeze_include);
}

static bool add_include(struct config *c, const char *value)
{
	return add_rules(&c->freeze_include, value);
}

static void forget_exclude(struct config *c)
{
	forget_rules(&c->freeze_exclude);
}

static bool add_exclude(struct config *c, const char *value)
{
	return add_rules(&c->freeze_exclude, value);
}

static bool set_expedite(struct config *c, const char *value)
{
	return set_bool(&c->expedite, value);
}

static bool set_freeze_mounts(struct config *c, const char *value)
{
	c->freeze_mounts = strcmp(value, "init") == 0 ? MOUNTS_OF_INIT : MOUNTS_OF_SELF;
	return c->freeze_mounts == MOUNTS_OF_INIT || strcmp(value, "own") == 0;
}

static bool set_freeze_policy(struct config *c, const char *value)
{
	c->freeze_strict = strcmp(value, "strict") == 0;
	return c->freeze_strict || strcmp(value, "best-effort") == 0;
}

static bool set_hook_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->hook_dir, value);
}

static bool set_notify_hold(struct config *c, const char *value)
{
	return set_seconds(&c->notify_hold_ns, value, 120);
}

static bool set_state_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->state_dir, value);
}

static bool set_receipts(struct config *c, const char *value)
{
	uint64_t n;

	if (!set_seconds(&n, value, 1000))
		return false;
	c->n_receipts = n / NS_PER_SECOND;
	return true;
}

static bool set_vss_device(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->vss_device, value);
}

static bool set_kvp_device(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->kvp_device, value);
}

static bool set_kvp(struct config *c, const char *value)
{
	return set_bool(&c->kvp, value);
}

static bool set_kvp_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->kvp_dir, value);
}

static void forget_hook_layouts(struct config *c)
{
	c->hook_layouts = 0;
}

static bool add_hook_layouts(struct config *c, const char *value)
{
	static const struct bit_name names[] = {
		{"qemu", HOOK_LAYOUT_QEMU},
		{"vmware", HOOK_LAYOUT_VMWARE},
		{"azure", HOOK_LAYOUT_AZURE},
		{NULL, 0},
	};

	return add_bits(&c->hook_layouts, names, value);
}

static bool set_hook_timeout(struct config *c, const char *value)
{
	return set_seconds(&c->hook_timeout_ns, value, 300) && c->hook_timeout_ns > 0;
}

static bool set_prepare_timeout(struct config *c, const char *value)
{
	return set_seconds(&c->prepare_timeout_ns, value, 600) && c->prepare_timeout_ns > 0;
}

static bool set_shutdown_command(struct config *c, const char *value)
{
	c->shutdown_by_init = strcmp(value, "default") == 0;
	if (c->shutdown_by_init) {
		free(c->shutdown_command);
		c->shutdown_command = NULL;
		return true;
	}
	return *value == '/' && strlen(value) < 256 && set_text(&c->shutdown_command, value);
}

static bool set_time_sync(struct config *c, const char *value)
{
	for (int mode = 0; mode < TIMESYNC_N_MODES; mode++) {
		c->time_sync = mode;
		if (strcmp(value, timesync_mode_name(mode)) == 0)
			return true;
	}
	return false;
}

static bool set_chrony_socket(struct config *c, const char *value)
{
	return *value == '/' && strlen(value) < 108 && set_text(&c->chrony_socket, value);
}

static bool set_memory(struct config *c, const char *value)
{
	return set_bool(&c->memory, value);
}

static bool set_report_delay(struct config *c, const char *value)
{
	return set_seconds(&c->report_delay_ns, value, 600);
}

static bool set_overcommit(struct config *c, const char *value)
{
	return set_bool(&c->overcommit, value);
}

static bool set_keeper(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->keeper, value);
}

static bool set_huge_pages(struct config *c, const char *value)
{
	return set_bool(&c->huge_pages, value);
}

static bool set_hotplug(struct config *c, const char *value)
{
	return hotadd_policy_parse(value, &c->hotplug);
}

/* "MOVABLE:KERNEL", each 1 to 100. */
static bool set_hotplug_ratio(struct config *c, const char *value)
{
	unsigned movable, kernel;
	char rest;

	if (sscanf(value, "%3u:%3u%c", &movable, &kernel, &rest) != 2 || movable == 0 ||
	    movable > 100 || kernel == 0 || kernel > 100)
		return false;
	/* One more: it is compared with sums of whole blocks. Linux has 301 for three to one. */
	c->hotplug_ratio_percent = movable * 100 / kernel + 1;
	return true;
}

static bool set_memory_blocks(struct config *c, const char *value)
{
	return set_bool(&c->memory_blocks, value);
}

static bool set_floor(struct config *c, const char *value)
{
	return floor_parse(value, &c->floor) == 0;
}

static bool set_report(struct config *c, const char *value)
{
	return report_rule_parse(value, &c->report) == 0;
}

/* A share of time in whole percent, 0 to @max. */
static bool set_percent(uint32_t *field, const char *value, unsigned long max)
{
	unsigned long percent;
	char *end;

	if (*value < '0' || *value > '9')
		return false;
	percent = strtoul(value, &end, 10);
	if (*end != '\0' || percent > max)
		return false;
	*field = percent;
	return true;
}

static bool set_stall_target(struct config *c, const char *value)
{
	return set_percent(&c->stall_target_percent, value, 50) && c->stall_target_percent > 0;
}

static bool set_report_cgroup(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->report_cgroup, value);
}

static bool set_stall_limit(struct config *c, const char *value)
{
	return set_percent(&c->stall_limit_percent, value, 100);
}

static bool set_reclaim(struct config *c, const char *value)
{
	return set_bool(&c->reclaim, value);
}

static bool set_ip_injection(struct config *c, const char *value)
{
	return set_bool(&c->ip_injection, value);
}

static bool set_disks_grow(struct config *c, const char *value)
{
	c->disks_grow = strcmp(value, "auto") == 0;
	return c->disks_grow || strcmp(value, "off") == 0;
}

static void forget_disks(struct config *c)
{
	while (c->n_disks > 0)
		free(c->disks[--c->n_disks]);
}

/* Adds names ("sda") or paths ("/dev/disk/by-id/..."), with commas in between. */
static bool add_disks(struct config *c, const char *value)
{
	while (*value) {
		size_t length = strcspn(value, ",");

		if (length == 0 || *value == '-' || c->n_disks == CONFIG_DISKS_MAX)
			return false;
		c->disks[c->n_disks] = strndup(value, length);
		if (!c->disks[c->n_disks])
			return false;
		c->n_disks++;
		value += length + (value[length] == ',');
	}
	return true;
}

static bool set_disks_helper(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->disks_helper, value);
}

const struct setting settings[] = {
	{
		.section = "daemon",
		.key = "name",
		.option = "name",
		.argument = "NAME",
		.help = "this guest's name, of letters, digits, '.', '_' and '-'",
		.value_help = "the host name",
		.set = set_name,
	},
	{
		.section = "daemon",
		.key = "run_dir",
		.option = "run-dir",
		.argument = "DIR",
		.help = "folder of the sockets and of the freezer's record, on a tmpfs",
		.value = CONFIG_RUN_DIR,
		.set = set_run_dir,
	},
	{
		.section = "daemon",
		.key = "state_dir",
		.option = "state-dir",
		.argument = "DIR",
		.help = "folder of what is kept over a restart: receipts",
		.value_help = HVGUEST_STATEDIR "; with a lab host state in the run directory",
		.set = set_state_dir,
	},
	{
		.section = "daemon",
		.key = "log_level",
		.option = "log-level",
		.argument = "LEVEL",
		.help = "error, warning, notice, info or debug",
		.value = "info",
		.reloads = true,
		.set = set_log_level,
	},
	{
		.section = "api",
		.key = "read_group",
		.option = "read-group",
		.argument = "GROUP",
		.help = "who may look, and change nothing: the members of this group, by read.sock in the "
			"run directory",
		.value_help = "root",
		.set = set_read_group,
	},
	{
		.section = "api",
		.key = "metrics_listen",
		.option = "metrics-listen",
		.argument = "ADDRESS:PORT",
		.help = "let Prometheus, and whoever can reach this address, look at /metrics and at all "
			"that read.sock shows, without a password",
		.value_help = "no TCP",
		.set = set_metrics_listen,
	},
	{
		.section = "api",
		.key = "page",
		.option = "page",
		.argument = "yes|no",
		.help = "show a page for browsers, live, at / of read.sock and metrics_listen",
		.value = "no",
		.reloads = true,
		.set = set_page,
	},
	{
		.section = "lab",
		.key = "socket",
		.option = "lab",
		.argument = "SOCKET",
		.help = "connect to the lab host (hvhost serve) at SOCKET",
		.value_help = "none: the host is Hyper-V",
		.set = set_lab,
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
		.set = add_takeover,
		.forget = forget_takeover,
	},
	{
		.section = "vmbus",
		.key = "vss_device",
		.option = "vss-device",
		.argument = "PATH",
		.help = "without a lab host, the kernel's device for backup, which is used unless "
			"vss is taken over",
		.value = "/dev/vmbus/hv_vss",
		.set = set_vss_device,
	},
	{
		.section = "vmbus",
		.key = "kvp_device",
		.option = "kvp-device",
		.argument = "PATH",
		.help = "without a lab host, the kernel's device for key-value exchange, which is "
			"used unless kvp is taken over",
		.value = "/dev/vmbus/hv_kvp",
		.set = set_kvp_device,
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
		.set = add_freeze_roots,
		.forget = forget_freeze_roots,
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
		.set = add_include,
		.forget = forget_include,
	},
	{
		.section = "backup",
		.key = "freeze_exclude",
		.option = "freeze-exclude",
		.argument = "RULE[,RULE...]",
		.help = "freeze nothing that a rule names: path:GLOB, type:GLOB, label:GLOB or "
			"device:GLOB",
		.value_help = "nothing",
		.reloads = true,
		.set = add_exclude,
		.forget = forget_exclude,
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
		.set = set_freeze_mounts,
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
		.set = set_freeze_policy,
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
		.set = set_expedite,
	},
	{
		.section = "backup",
		.key = "freeze_timeout",
		.option = "freeze-timeout",
		.argument = "SECONDS",
		.help = "the longest that anything stays frozen, 1 to 900",
		.value = "20",
		.reloads = true,
		.set = set_freeze_timeout,
	},
	{
		.section = "backup",
		.key = "freezer",
		.option = "freezer",
		.argument = "PROGRAM",
		.help = "the helper that freezes",
		.value = HVGUEST_LIBEXECDIR "/hvguest-freezer",
		.set = set_freezer,
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
		.set = set_hook_dir,
	},
	{
		.section = "backup",
		.key = "hook_layouts",
		.option = "hook-layouts",
		.argument = "LAYOUT[,LAYOUT...]",
		.help = "also call the hooks made for these: qemu, vmware, azure",
		.value_help = "none",
		.reloads = true,
		.set = add_hook_layouts,
		.forget = forget_hook_layouts,
	},
	{
		.section = "backup",
		.key = "hook_timeout",
		.option = "hook-timeout",
		.argument = "SECONDS",
		.help = "the longest that one hook may run, 1 to 300",
		.value = "30",
		.reloads = true,
		.set = set_hook_timeout,
	},
	{
		.section = "backup",
		.key = "prepare_timeout",
		.option = "prepare-timeout",
		.argument = "SECONDS",
		.help = "the longest that hooks may put off a freeze in all, 1 to 600",
		.value = "60",
		.reloads = true,
		.set = set_prepare_timeout,
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
		.set = set_notify_hold,
	},
	{
		.section = "backup",
		.key = "receipts",
		.option = "receipts",
		.argument = "NUMBER",
		.help = "how many receipts of backups are kept, 0 to 1000",
		.value = "20",
		.reloads = true,
		.set = set_receipts,
	},
	{
		.section = "shutdown",
		.key = "command",
		.option = "shutdown-command",
		.argument = "PROGRAM|default",
		.help = "takes this machine down, called with poweroff, reboot or hibernate, and "
			"force if nobody is to be asked",
		.value_help = "systemd-logind, systemctl or shutdown; with a lab host nothing, unless default is said",
		.reloads = true,
		.set = set_shutdown_command,
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
		.set = set_time_sync,
	},
	{
		.section = "time",
		.key = "chrony_socket",
		.option = "chrony-socket",
		.argument = "SOCKET",
		.help = "where chronyd takes samples (refclock SOCK); if there is none they are left out",
		.value = "/run/chrony/hvguest.sock",
		.reloads = true,
		.set = set_chrony_socket,
	},
	{
		.section = "memory",
		.key = "enabled",
		.option = "memory",
		.argument = "yes|no",
		.help = "take part in dynamic memory",
		.value = "yes",
		.set = set_memory,
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
		.set = set_report_delay,
	},
	{
		.section = "memory",
		.key = "huge_pages",
		.option = "huge-pages",
		.argument = "yes|no",
		.help = "give 2 MiB pages where there are any",
		.value = "yes",
		.set = set_huge_pages,
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
		.set = set_overcommit,
	},
	{
		.section = "memory",
		.key = "keeper",
		.option = "keeper",
		.argument = "PROGRAM",
		.help = "the helper that holds the memory which the host has",
		.value = HVGUEST_LIBEXECDIR "/hvguest-keeper",
		.set = set_keeper,
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
		.set = set_floor,
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
		.set = set_report,
	},
	{
		.section = "memory",
		.key = "stall_target",
		.option = "stall-target",
		.argument = "PERCENT",
		.help = "for report = psi: tasks may wait for memory for this share of the time, 1 to 50",
		.value = "1",
		.set = set_stall_target,
	},
	{
		.section = "memory",
		.key = "report_cgroup",
		.option = "report-cgroup",
		.argument = "DIR",
		.help = "look at the stalls and refaults of this group (cgroup v2) instead of the whole "
			"machine's",
		.value_help = "none",
		.set = set_report_cgroup,
	},
	{
		.section = "memory",
		.key = "stall_limit",
		.option = "stall-limit",
		.argument = "PERCENT",
		.help = "give no memory while tasks wait for memory for more than this share of the"
			" time, 0 to 100; 0: give it all the same",
		.value = "10",
		.set = set_stall_limit,
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
		.set = set_reclaim,
	},
	{
		.section = "memory",
		.key = "memory_blocks",
		.option = "memory-blocks",
		.argument = "yes|no",
		.help = "take whole memory blocks offline for large requests; nobody else may bring"
			" them online: mind udev rules and chmem",
		.value = "no",
		.set = set_memory_blocks,
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
		.set = set_hotplug,
	},
	{
		.section = "memory",
		.key = "hotplug_ratio",
		.option = "hotplug-ratio",
		.argument = "MOVABLE:KERNEL",
		.help = "for hotplug = auto: the most Movable memory to the kernel's, as 3:1 or 1:2",
		.value = "3:1",
		.set = set_hotplug_ratio,
	},
	{
		.section = "kvp",
		.key = "enabled",
		.option = "kvp",
		.argument = "yes|no",
		.help = "take part in the key-value exchange",
		.value = "yes",
		.set = set_kvp,
	},
	{
		.section = "kvp",
		.key = "dir",
		.option = "kvp-dir",
		.argument = "DIR",
		.help = "folder of the pools, in the format of the stock daemon",
		.value_help = CONFIG_KVP_DIR "; with a lab host kvp in the run directory",
		.set = set_kvp_dir,
	},
	{
		.section = "kvp",
		.key = "ip_injection",
		.option = "ip-injection",
		.argument = "yes|no",
		.help = "let the host set the addresses of this machine's adapters, by the network "
			"manager that has them; what they are is told in any case",
		.value = "no",
		.set = set_ip_injection,
	},
	{
		.section = "disks",
		.key = "grow",
		.option = "disks-grow",
		.argument = "off|auto",
		.help = "when the host has made a listed disk larger, make its last partition and the "
			"file system on it larger, too",
		.value = "off",
		.set = set_disks_grow,
	},
	{
		.section = "disks",
		.key = "list",
		.option = "disks",
		.argument = "DISK[,DISK...]",
		.help = "disks for grow = auto: a name as sda, or a path as /dev/disk/by-id/...",
		.value_help = "none",
		.set = add_disks,
		.forget = forget_disks,
	},
	{
		.section = "disks",
		.key = "helper",
		.option = "disks-helper",
		.argument = "PROGRAM",
		.help = "the helper that looks at disks and makes them larger",
		.value = HVGUEST_LIBEXECDIR "/hvguest-disks",
		.set = set_disks_helper,
	},
	{
		.section = "fcopy",
		.key = "fcopy_roots",
		.option = "fcopy-roots",
		.argument = "DIR[:DIR...]",
		.help = "the host may put files into these folders and beneath them, and nowhere else; "
			"absolute paths",
		.value_help = "none: the host cannot copy files",
		.set = add_fcopy_roots,
		.forget = forget_fcopy_roots,
	},
	{
		.section = "fcopy",
		.key = "fcopy_mode",
		.option = "fcopy-mode",
		.argument = "MODE",
		.help = "permissions of files that the host puts there, in octal, at most 777",
		.value = "644",
		.set = set_fcopy_mode,
	},
	{
		.section = "fcopy",
		.key = "fcopy_owner",
		.option = "fcopy-owner",
		.argument = "USER[:GROUP]",
		.help = "whose these files and the folders made for them are, by name or by number",
		.value_help = "hvguestd's own user, root",
		.set = set_fcopy_owner,
	},
	{
		.section = "fcopy",
		.key = "fcopy_receipts",
		.option = "fcopy-receipts",
		.argument = "NUMBER",
		.help = "how many receipts of such files are kept, 0 to 1000",
		.value = "100",
		.reloads = true,
		.set = set_fcopy_receipts,
	},
	{
		.section = "fcopy",
		.key = "fcopy_device",
		.option = "fcopy-device",
		.argument = "PATH",
		.help = "the kernel's device for file copy, which is used before Linux 6.10 unless fcopy is "
			"taken over",
		.value = "/dev/vmbus/hv_fcopy",
		.set = set_fcopy_device,
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
