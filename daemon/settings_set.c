/* SPDX-License-Identifier: MIT */

/*
 * How the values of the settings are read.
 *
 * A value is refused as a whole if any part of it is wrong, and what it can be is said by the help of
 * its setting, so nothing is logged here. What has been set may be half of a value then: whoever reads
 * a configuration gives it up with the first mistake.
 */

#include "daemon/settings_set.h"

#include "base/cleanup.h"
#include "fsfreeze/hook_list.h"
#include "services/fcopy_place.h"
#include "vmbus/shm_wire.h"

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

bool settings_set_name(struct config *c, const char *value)
{
	return shm_name_is_valid(value) && set_text(&c->name, value);
}

bool settings_set_run_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->run_dir, value);
}

bool settings_set_lab(struct config *c, const char *value)
{
	return set_text(&c->lab_socket, value);
}

bool settings_set_read_group(struct config *c, const char *value)
{
	return set_text(&c->read_group, value);
}

bool settings_set_metrics_listen(struct config *c, const char *value)
{
	return strchr(value, ':') && set_text(&c->metrics_listen, value);
}

bool settings_set_page(struct config *c, const char *value)
{
	return set_bool(&c->page, value);
}

void settings_forget_takeover(struct config *c)
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

bool settings_add_takeover(struct config *c, const char *value)
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

bool settings_set_freezer(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->freezer, value);
}

bool settings_set_log_level(struct config *c, const char *value)
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

bool settings_set_freeze_timeout(struct config *c, const char *value)
{
	return set_seconds(&c->freeze_timeout_ns, value, 900) && c->freeze_timeout_ns > 0;
}

void settings_forget_freeze_roots(struct config *c)
{
	while (c->n_freeze_roots > 0)
		free(c->freeze_roots[--c->n_freeze_roots]);
	c->freeze_all = false;
}

/* Adds "all", or absolute paths with colons in between. */
bool settings_add_freeze_roots(struct config *c, const char *value)
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

void settings_forget_fcopy_roots(struct config *c)
{
	while (c->n_fcopy_roots > 0)
		free(c->fcopy_roots[--c->n_fcopy_roots]);
}

/* Adds absolute paths with colons in between. */
bool settings_add_fcopy_roots(struct config *c, const char *value)
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
bool settings_set_fcopy_mode(struct config *c, const char *value)
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
bool settings_set_fcopy_owner(struct config *c, const char *value)
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

bool settings_set_fcopy_receipts(struct config *c, const char *value)
{
	uint64_t n;

	if (!set_seconds(&n, value, 1000))
		return false;
	c->n_fcopy_receipts = (unsigned)(n / NS_PER_SECOND);
	return true;
}

bool settings_set_fcopy_device(struct config *c, const char *value)
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

void settings_forget_include(struct config *c)
{
	forget_rules(&c->freeze_include);
}

bool settings_add_include(struct config *c, const char *value)
{
	return add_rules(&c->freeze_include, value);
}

void settings_forget_exclude(struct config *c)
{
	forget_rules(&c->freeze_exclude);
}

bool settings_add_exclude(struct config *c, const char *value)
{
	return add_rules(&c->freeze_exclude, value);
}

bool settings_set_expedite(struct config *c, const char *value)
{
	return set_bool(&c->expedite, value);
}

bool settings_set_freeze_mounts(struct config *c, const char *value)
{
	c->freeze_mounts = strcmp(value, "init") == 0 ? MOUNTS_OF_INIT : MOUNTS_OF_SELF;
	return c->freeze_mounts == MOUNTS_OF_INIT || strcmp(value, "own") == 0;
}

bool settings_set_freeze_policy(struct config *c, const char *value)
{
	c->freeze_strict = strcmp(value, "strict") == 0;
	return c->freeze_strict || strcmp(value, "best-effort") == 0;
}

bool settings_set_hook_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->hook_dir, value);
}

bool settings_set_hook_runner(struct config *c, const char *value)
{
	return *value == '/' && strlen(value) < 108 && set_text(&c->hook_runner, value);
}

bool settings_set_notify_hold(struct config *c, const char *value)
{
	return set_seconds(&c->notify_hold_ns, value, 120);
}

bool settings_set_state_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->state_dir, value);
}

bool settings_set_receipts(struct config *c, const char *value)
{
	uint64_t n;

	if (!set_seconds(&n, value, 1000))
		return false;
	c->n_receipts = n / NS_PER_SECOND;
	return true;
}

bool settings_set_vss_device(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->vss_device, value);
}

bool settings_set_kvp_device(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->kvp_device, value);
}

bool settings_set_kvp(struct config *c, const char *value)
{
	return set_bool(&c->kvp, value);
}

bool settings_set_kvp_dir(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->kvp_dir, value);
}

void settings_forget_hook_layouts(struct config *c)
{
	c->hook_layouts = 0;
}

bool settings_add_hook_layouts(struct config *c, const char *value)
{
	static const struct bit_name names[] = {
		{"qemu", HOOK_LAYOUT_QEMU},
		{"vmware", HOOK_LAYOUT_VMWARE},
		{"azure", HOOK_LAYOUT_AZURE},
		{NULL, 0},
	};

	return add_bits(&c->hook_layouts, names, value);
}

bool settings_set_hook_timeout(struct config *c, const char *value)
{
	return set_seconds(&c->hook_timeout_ns, value, 300) && c->hook_timeout_ns > 0;
}

bool settings_set_prepare_timeout(struct config *c, const char *value)
{
	return set_seconds(&c->prepare_timeout_ns, value, 600) && c->prepare_timeout_ns > 0;
}

bool settings_set_shutdown_command(struct config *c, const char *value)
{
	c->shutdown_by_init = strcmp(value, "default") == 0;
	if (c->shutdown_by_init) {
		free(c->shutdown_command);
		c->shutdown_command = NULL;
		return true;
	}
	return *value == '/' && strlen(value) < 256 && set_text(&c->shutdown_command, value);
}

bool settings_set_time_sync(struct config *c, const char *value)
{
	for (int mode = 0; mode < TIMESYNC_N_MODES; mode++) {
		c->time_sync = mode;
		if (strcmp(value, timesync_mode_name(mode)) == 0)
			return true;
	}
	return false;
}

bool settings_set_chrony_socket(struct config *c, const char *value)
{
	return *value == '/' && strlen(value) < 108 && set_text(&c->chrony_socket, value);
}

bool settings_set_memory(struct config *c, const char *value)
{
	return set_bool(&c->memory, value);
}

bool settings_set_report_delay(struct config *c, const char *value)
{
	return set_seconds(&c->report_delay_ns, value, 600);
}

bool settings_set_overcommit(struct config *c, const char *value)
{
	return set_bool(&c->overcommit, value);
}

bool settings_set_keeper(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->keeper, value);
}

bool settings_set_huge_pages(struct config *c, const char *value)
{
	return set_bool(&c->huge_pages, value);
}

bool settings_set_hotplug(struct config *c, const char *value)
{
	return hotadd_policy_parse(value, &c->hotplug);
}

/* "MOVABLE:KERNEL", each 1 to 100. */
bool settings_set_hotplug_ratio(struct config *c, const char *value)
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

bool settings_set_memory_blocks(struct config *c, const char *value)
{
	return set_bool(&c->memory_blocks, value);
}

bool settings_set_floor(struct config *c, const char *value)
{
	return floor_parse(value, &c->floor) == 0;
}

bool settings_set_report(struct config *c, const char *value)
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

bool settings_set_stall_target(struct config *c, const char *value)
{
	return set_percent(&c->stall_target_percent, value, 50) && c->stall_target_percent > 0;
}

bool settings_set_report_cgroup(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->report_cgroup, value);
}

bool settings_set_stall_limit(struct config *c, const char *value)
{
	return set_percent(&c->stall_limit_percent, value, 100);
}

bool settings_set_reclaim(struct config *c, const char *value)
{
	return set_bool(&c->reclaim, value);
}

bool settings_set_ip_injection(struct config *c, const char *value)
{
	return set_bool(&c->ip_injection, value);
}

bool settings_set_disks_grow(struct config *c, const char *value)
{
	c->disks_grow = strcmp(value, "auto") == 0;
	return c->disks_grow || strcmp(value, "off") == 0;
}

void settings_forget_disks(struct config *c)
{
	while (c->n_disks > 0)
		free(c->disks[--c->n_disks]);
}

/* Adds names ("sda") or paths ("/dev/disk/by-id/..."), with commas in between. */
bool settings_add_disks(struct config *c, const char *value)
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

bool settings_set_disks_helper(struct config *c, const char *value)
{
	return *value == '/' && set_text(&c->disks_helper, value);
}
