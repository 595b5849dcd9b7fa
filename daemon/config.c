/* SPDX-License-Identifier: MIT */

/*
 * Configuration.
 *
 * One table names every setting: its place in the file, its option on the command line, how it is
 * read and what it means. The file's parser, the command line's and the help text are all driven
 * by it, so that they cannot disagree. A value that cannot be read is refused with its place; a
 * setting that is not in the table is refused too, because a misspelt one would otherwise be
 * ignored in silence. So is one that the file gives twice; but a list goes on in each line that
 * gives it or, as inih has it, is indented.
 */

#include "daemon/config.h"

#include "base/cleanup.h"
#include "base/usage.h"
#include "fsfreeze/hook_list.h"
#include "vmbus/shm_wire.h"

#include <getopt.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NS_PER_SECOND UINT64_C(1000000000)

/* Linux drivers/hv/hv_balloon.c waits as long before it reports: a starting guest is no measure. */
#define REPORT_DELAY_NS     (45 * NS_PER_SECOND)
#define REPORT_DELAY_UNSAID UINT64_MAX

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
		{"dynmem", CONFIG_DYNMEM},
		{"shutdown", CONFIG_SHUTDOWN},
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
	c->expedite_said = true;
	return set_bool(&c->expedite, value);
}

static bool set_freeze_mounts(struct config *c, const char *value)
{
	c->freeze_mounts = strcmp(value, "init") == 0 ? MOUNTS_OF_INIT : MOUNTS_OF_SELF;
	c->freeze_mounts_said = true;
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

struct setting {
	const char *section;
	const char *key;
	const char *option; /* on the command line, without the dashes */
	const char *argument;
	const char *help;
	bool (*set)(struct config *config, const char *value);
	void (*forget)(struct config *config); /* a list: what was set before, elsewhere */
};

static const struct setting settings[] = {
	{"daemon", "name", "name", "NAME",
	 "this guest's name, of letters, digits, '.', '_' and '-' (default: the host name)",
	 set_name, NULL},
	{"daemon", "run_dir", "run-dir", "DIR",
	 "folder of the sockets and of the freezer's record, on a tmpfs (default: " CONFIG_RUN_DIR ")",
	 set_run_dir, NULL},
	{"daemon", "log_level", "log-level", "LEVEL",
	 "error, warning, notice, info or debug (default: info)", set_log_level, NULL},
	{"daemon", "state_dir", "state-dir", "DIR",
	 "folder of what is kept over a restart: receipts (default: " HVGUEST_STATEDIR
	 "; with a lab host, state in the run directory)",
	 set_state_dir, NULL},
	{"lab", "socket", "lab", "SOCKET", "connect to the lab host (hvhost serve) at SOCKET", set_lab,
	 NULL},
	{"vmbus", "takeover", "takeover", "SERVICE[,SERVICE...]",
	 "without a lab host, take the VMBus devices of these services (heartbeat, vss, dynmem, shutdown) from "
	 "the kernel's drivers (default: none)",
	 add_takeover, forget_takeover},
	{"vmbus", "vss_device", "vss-device", "PATH",
	 "without a lab host, the kernel's device for backup, which is used unless vss is taken over "
	 "(default: /dev/vmbus/hv_vss)",
	 set_vss_device, NULL},
	{"backup", "freeze_roots", "freeze-roots", "DIR[:DIR...]|all",
	 "freeze only what is mounted at or below these (default: all; with a lab host: nothing)",
	 add_freeze_roots, forget_freeze_roots},
	{"backup", "freeze_include", "freeze-include", "RULE[,RULE...]",
	 "freeze only what a rule names: path:GLOB, type:GLOB, label:GLOB or device:GLOB",
	 add_include, forget_include},
	{"backup", "freeze_exclude", "freeze-exclude", "RULE[,RULE...]",
	 "freeze nothing that a rule names: path:GLOB, type:GLOB, label:GLOB or device:GLOB",
	 add_exclude, forget_exclude},
	{"backup", "freeze_mounts", "freeze-mounts", "init|own",
	 "whose mounts: those of process 1 and of all containers, or of hvguestd only (default: "
	 "init; own with a lab host)",
	 set_freeze_mounts, NULL},
	{"backup", "freeze_policy", "freeze-policy", "strict|best-effort",
	 "what becomes of the rest if a file system cannot be frozen: nothing is frozen, or all that "
	 "can be (default: best-effort)",
	 set_freeze_policy, NULL},
	{"backup", "expedite", "expedite", "yes|no",
	 "have the kernel hurry while file systems are being frozen, by rcu_expedited (default: yes; "
	 "no with a lab host, which shares this machine with others)",
	 set_expedite, NULL},
	{"backup", "freeze_timeout", "freeze-timeout", "SECONDS",
	 "the longest that anything stays frozen, 1 to 900 (default: 20)", set_freeze_timeout, NULL},
	{"backup", "freezer", "freezer", "PROGRAM",
	 "the helper that freezes (default: " HVGUEST_LIBEXECDIR "/hvguest-freezer)", set_freezer, NULL},
	{"backup", "hook_dir", "hook-dir", "DIR",
	 "programs to call before a freeze and after it (default: " HVGUEST_SYSCONFDIR
	 "/freeze-hook.d)",
	 set_hook_dir, NULL},
	{"backup", "hook_layouts", "hook-layouts", "LAYOUT[,LAYOUT...]",
	 "also call the hooks made for these: qemu, vmware, azure (default: none)", add_hook_layouts,
	 forget_hook_layouts},
	{"backup", "hook_timeout", "hook-timeout", "SECONDS",
	 "the longest that one hook may run, 1 to 300 (default: 30)", set_hook_timeout, NULL},
	{"backup", "prepare_timeout", "prepare-timeout", "SECONDS",
	 "the longest that hooks may put off a freeze in all, 1 to 600 (default: 60)",
	 set_prepare_timeout, NULL},
	{"backup", "notify_hold", "notify-hold", "SECONDS",
	 "the longest that a program on the notify socket may put off a freeze, 0 to 120 (default: 10)",
	 set_notify_hold, NULL},
	{"backup", "receipts", "receipts", "NUMBER",
	 "how many receipts of backups are kept, 0 to 1000 (default: 20)", set_receipts, NULL},
	{"shutdown", "command", "shutdown-command", "PROGRAM|default",
	 "takes this machine down, called with poweroff, reboot or hibernate, and force (default: "
	 "systemctl or shutdown; with a lab host nothing, unless default is said)",
	 set_shutdown_command, NULL},
	{"memory", "enabled", "memory", "yes|no", "take part in dynamic memory (default: yes)",
	 set_memory, NULL},
	{"memory", "report_delay", "report-delay", "SECONDS",
	 "from the handshake to the first status report (default: 45; 0 with a lab host)",
	 set_report_delay, NULL},
	{"memory", "huge_pages", "huge-pages", "yes|no",
	 "give 2 MiB pages where there are any (default: yes)", set_huge_pages, NULL},
	{"memory", "huge_page_overcommit", "huge-page-overcommit", "yes|no",
	 "let the kernel make 2 MiB pages beyond its pool: vm.nr_overcommit_hugepages is raised by what "
	 "is given, and lowered by the same (default: yes)",
	 set_overcommit, NULL},
	{"memory", "keeper", "keeper", "PROGRAM",
	 "the helper that holds the memory which the host has (default: " HVGUEST_LIBEXECDIR
	 "/hvguest-keeper)",
	 set_keeper, NULL},
	{"memory", "report", "report", "compat|workingset|psi",
	 "how much memory the host is told that this machine needs: what the kernel's driver would say, "
	 "what is in use and suffered for, or what keeps the time in which tasks wait for memory at "
	 "stall_target (default: compat)",
	 set_report, NULL},
	{"memory", "stall_target", "stall-target", "PERCENT",
	 "for report = psi: tasks may wait for memory for this share of the time, 1 to 50 (default: 1)",
	 set_stall_target, NULL},
	{"memory", "report_cgroup", "report-cgroup", "DIR",
	 "look at the stalls and refaults of this group (cgroup v2) instead of the whole machine's "
	 "(default: none)",
	 set_report_cgroup, NULL},
	{"memory", "floor", "floor", "kernel|workingset|PERCENT%|SIZE",
	 "what stays available to this machine whatever the host asks for: as much as Linux's own "
	 "driver keeps, the same and the active page cache, a share of the memory in use, or an amount "
	 "(default: kernel)",
	 set_floor, NULL},
	{"memory", "stall_limit", "stall-limit", "PERCENT",
	 "give no memory while tasks wait for memory for more than this share of the time, 0 to 100; 0: "
	 "give it all the same (default: 10)",
	 set_stall_limit, NULL},
	{"memory", "reclaim", "reclaim", "yes|no",
	 "have the kernel free memory that is not used before it is given away; needs cgroup v2 (default: "
	 "no)",
	 set_reclaim, NULL},
	{"memory", "memory_blocks", "memory-blocks", "yes|no",
	 "take whole memory blocks offline for large requests; nobody else may bring them online: mind "
	 "udev rules and chmem (default: no)",
	 set_memory_blocks, NULL},
	{"memory", "hotplug", "hotplug", "off|online|online_kernel|online_movable|auto",
	 "how memory blocks that are added, by whomever, are brought online: not at all, where the kernel "
	 "would put them, in its zones, in zone Movable, or there as long as the ratio is kept (default: "
	 "online; with a lab host: off)",
	 set_hotplug, NULL},
	{"memory", "hotplug_ratio", "hotplug-ratio", "MOVABLE:KERNEL",
	 "for hotplug = auto: the most Movable memory, as 3:1 (the default) or 1:2", set_hotplug_ratio,
	 NULL},
};

enum {
	N_SETTINGS = sizeof(settings) / sizeof(settings[0]),
	OPTION_CONFIG = N_SETTINGS,
	OPTION_CHECK,
	OPTION_HELP,
	OPTION_VERSION,
	N_OPTIONS,
};

static void print_help(void)
{
	puts("Usage: hvguestd [OPTION...]\n"
	     "The Hyper-V guest service: dynamic memory, live backup, heartbeat.\n");
	for (size_t i = 0; i < N_SETTINGS; i++) {
		const struct setting *s = &settings[i];

		printf("  --%s %s\n        %s\n", s->option, s->argument, s->help);
	}
	puts("  --config FILE\n        read this file (default: " HVGUEST_SYSCONFDIR "/hvguest.conf)\n"
	     "  --check-config\n        read everything, say what is wrong, and end\n"
	     "  --help, --version\n\n"
	     "Exit codes: 0 ok, 1 error, 2 usage, 4 not on Hyper-V and no lab host given.");
}

/* What the configuration file's parser carries along. */
struct file_context {
	struct config *config;
	FILE *stream;
	int line;            /* that was read last */
	const char *trouble; /* why the reading stopped before the end */
	bool seen[N_SETTINGS];
	const char *complaint; /* what was wrong with the first line that was refused */
};

/* As ini_parse_stream() wants it. inih takes the rest of a long line for the next one. */
static char *read_line(char *buf, int size, void *user)
{
	struct file_context *context = user;
	char *line = context->trouble ? NULL : fgets(buf, size, context->stream);

	context->line++;
	if (!line && ferror(context->stream))
		context->trouble = strerror(errno);
	if (line && !strchr(line, '\n') && !feof(context->stream)) {
		context->trouble = "the line is too long: a list may go on in the next, indented";
		return NULL;
	}
	return line;
}

/* NULL, or what is wrong. */
static const char *take_value(struct file_context *context, size_t i, const char *value)
{
	const struct setting *s = &settings[i];

	if (context->seen[i] && !s->forget)
		return "this setting is given twice";
	if (!context->seen[i] && s->forget)
		s->forget(context->config);
	context->seen[i] = true;
	return s->set(context->config, value) ? NULL : s->help;
}

static int on_ini_value(void *user, const char *section, const char *key, const char *value)
{
	const char *complaint = "there is no such setting: hvguestd --help lists them";
	struct file_context *context = user;

	for (size_t i = 0; i < N_SETTINGS; i++)
		if (!strcmp(section, settings[i].section) && !strcmp(key, settings[i].key))
			complaint = take_value(context, i, value);
	if (!context->complaint)
		context->complaint = complaint;
	return !complaint;
}

static int refuse_file(const char *path, int line, const char *why)
{
	fprintf(stderr, "hvguestd: %s:%d: %s\n", path, line, why);
	return CONFIG_BAD_FILE;
}

static int read_file(struct config *config, const char *path)
{
	struct file_context context = {.config = config, .stream = fopen(path, "re")};
	int line;

	if (!context.stream) {
		fprintf(stderr, "hvguestd: %s cannot be read: %m\n", path);
		return CONFIG_BAD_FILE;
	}
	line = ini_parse_stream(read_line, &context, on_ini_value, &context);
	(void)fclose(context.stream);

	if (line < 0)
		return -ENOMEM;
	if (line > 0)
		return refuse_file(path, line, context.complaint ? context.complaint
								 : "neither [section] nor key = value");
	if (context.trouble)
		return refuse_file(path, context.line, context.trouble);
	return 0;
}

static int set_defaults(struct config *config)
{
	char name[64] = "";

	if (gethostname(name, sizeof(name) - 1) < 0 || !shm_name_is_valid(name))
		strcpy(name, "guest");
	config->name = strdup(name);
	config->run_dir = strdup(CONFIG_RUN_DIR);
	config->freezer = strdup(HVGUEST_LIBEXECDIR "/hvguest-freezer");
	config->log_level = LOG_LEVEL_INFO;
	config->freeze_timeout_ns = 20 * NS_PER_SECOND;
	config->hook_dir = strdup(HVGUEST_SYSCONFDIR "/freeze-hook.d");
	config->hook_timeout_ns = 30 * NS_PER_SECOND;
	config->prepare_timeout_ns = 60 * NS_PER_SECOND;
	config->notify_hold_ns = 10 * NS_PER_SECOND;
	config->n_receipts = 20;
	config->vss_device = strdup("/dev/vmbus/hv_vss");
	config->memory = true;
	config->report_delay_ns = REPORT_DELAY_UNSAID;
	config->huge_pages = true;
	config->overcommit = true;
	config->hotplug = HOTADD_N_POLICIES;
	config->hotplug_ratio_percent = 301;
	config->stall_limit_percent = 10;
	config->stall_target_percent = 1;
	config->keeper = strdup(HVGUEST_LIBEXECDIR "/hvguest-keeper");
	return config->name && config->run_dir && config->freezer && config->hook_dir &&
			       config->vss_device && config->keeper
		       ? 0
		       : -ENOMEM;
}

static bool take_option(struct config *config, const struct setting *s, const char *value)
{
	if (s->forget)
		s->forget(config);
	if (s->set(config, value))
		return true;
	fprintf(stderr, "hvguestd: --%s %s: %s\n", s->option, value, s->help);
	return false;
}

/* One pass over the command line; the file has to be known before its other options count. */
static int read_command_line(int argc, char **argv, struct config *config, const char **ret_file,
			     bool *ret_check)
{
	struct option options[N_OPTIONS + 1] = {
		[OPTION_CONFIG] = {"config", required_argument, NULL, OPTION_CONFIG},
		[OPTION_CHECK] = {"check-config", no_argument, NULL, OPTION_CHECK},
		[OPTION_HELP] = {"help", no_argument, NULL, OPTION_HELP},
		[OPTION_VERSION] = {"version", no_argument, NULL, OPTION_VERSION},
	};
	int o;

	for (int i = 0; i < N_SETTINGS; i++)
		options[i] = (struct option){settings[i].option, required_argument, NULL, i};

	optind = 1;
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (o) {
		case OPTION_CONFIG:
			*ret_file = optarg;
			break;
		case OPTION_CHECK:
			*ret_check = true;
			break;
		case OPTION_HELP:
			print_help();
			return CONFIG_DONE;
		case OPTION_VERSION:
			puts("hvguestd " PACKAGE_VERSION);
			return CONFIG_DONE;
		case ':':
		case '?':
			(void)usage_complain(o, argv, "hvguestd", "hvguestd --help");
			return CONFIG_BAD_USAGE;
		default:
			if (config && !take_option(config, &settings[o], optarg))
				return CONFIG_BAD_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "hvguestd: what is '%s'? see hvguestd --help\n",
			argv[optind]);
		return CONFIG_BAD_USAGE;
	}
	return 0;
}

/* What a lab's guest leaves is of no use when its run directory is gone. */
static int choose_state_dir(struct config *config)
{
	if (config->state_dir)
		return 0;
	if (!config->lab_socket)
		config->state_dir = strdup(HVGUEST_STATEDIR);
	else if (asprintf(&config->state_dir, "%s/state", config->run_dir) < 0)
		config->state_dir = NULL;
	return config->state_dir ? 0 : -ENOMEM;
}

static int load(int argc, char **argv, struct config *config)
{
	static const char default_file[] = HVGUEST_SYSCONFDIR "/hvguest.conf";
	const char *file = NULL;
	bool check = false;
	struct stat st;
	int r;

	r = set_defaults(config);
	if (r)
		return r;
	r = read_command_line(argc, argv, NULL, &file, &check);
	if (r)
		return r;
	if (!file && stat(default_file, &st) == 0)
		file = default_file;
	if (file) {
		r = read_file(config, file);
		if (r)
			return r;
	}
	r = read_command_line(argc, argv, config, &file, &check);
	if (r)
		return r;
	if (config->hotplug == HOTADD_N_POLICIES)
		config->hotplug = config->lab_socket ? HOTADD_OFF : HOTADD_ONLINE;
	if (config->report_delay_ns == REPORT_DELAY_UNSAID)
		config->report_delay_ns = config->lab_socket ? 0 : REPORT_DELAY_NS;
	if (!config->expedite_said)
		config->expedite = !config->lab_socket;
	if (!config->freeze_mounts_said)
		config->freeze_mounts = config->lab_socket ? MOUNTS_OF_SELF : MOUNTS_OF_INIT;
	if (!config->lab_socket && config->n_freeze_roots == 0)
		config->freeze_all = true;
	r = choose_state_dir(config);
	if (r)
		return r;
	return check ? CONFIG_DONE : 0;
}

int config_load(int argc, char **argv, struct config *ret_config)
{
	struct config config = {0};
	int r;

	r = load(argc, argv, &config);
	if (r) {
		config_fini(&config);
		return r;
	}
	*ret_config = config;
	return 0;
}

void config_fini(struct config *config)
{
	free(config->name);
	free(config->run_dir);
	free(config->lab_socket);
	free(config->shutdown_command);
	free(config->freezer);
	free(config->hook_dir);
	free(config->state_dir);
	free(config->vss_device);
	free(config->keeper);
	free(config->report_cgroup);
	forget_freeze_roots(config);
	forget_rules(&config->freeze_include);
	forget_rules(&config->freeze_exclude);
	*config = (struct config){0};
}
