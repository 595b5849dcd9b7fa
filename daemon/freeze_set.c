/* SPDX-License-Identifier: MIT */

/*
 * From the mount table to the freezer.
 *
 * The table is read for each freeze anew, and everything is opened for it anew: a descriptor that
 * is kept would keep its file system from being unmounted. What is opened is proved to be on the
 * mount that was planned (mounts.c), and stays open until the last file system is thawed.
 */

#include "daemon/freeze_set.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* Labels are asked for only where they matter: each costs an open file. */
static bool name_labels(const struct config_rules *rules)
{
	for (size_t i = 0; i < rules->n; i++)
		if (rules->rules[i].kind == FREEZE_RULE_LABEL)
			return true;
	return false;
}

static int make_plan(struct freeze_set *set, const struct config *config)
{
	const struct freeze_rules rules = {
		.all = config->freeze_all,
		.roots = (const char *const *)config->freeze_roots,
		.n_roots = config->n_freeze_roots,
		.include = config->freeze_include.rules,
		.n_include = config->freeze_include.n,
		.exclude = config->freeze_exclude.rules,
		.n_exclude = config->freeze_exclude.n,
	};
	struct freeze_table table;
	int r = 0;

	if (name_labels(&config->freeze_include) || name_labels(&config->freeze_exclude))
		r = mounts_read_labels(set->mounts);
	if (r)
		return r;
	table = mounts_table(set->mounts);
	r = freeze_plan_new(&table, &rules, &set->plan);
	if (r)
		return r;

	set->fds = malloc((set->plan->n_entries + 1) * sizeof(*set->fds));
	set->given = calloc(set->plan->n_entries + 1, sizeof(*set->given));
	set->errors = calloc(set->plan->n_entries + 1, sizeof(*set->errors));
	if (!set->fds || !set->given || !set->errors)
		return -ENOMEM;
	for (size_t i = 0; i < set->plan->n_entries; i++) {
		const struct freeze_plan_entry *entry = &set->plan->entries[i];

		set->fds[i] = -1;
		if (entry->verdict == FREEZE_VERDICT_FREEZE && !mounts_reach(set->mounts, entry))
			freeze_plan_hide(set->plan, i);
	}
	return 0;
}

const char *freeze_set_plan(struct freeze_set *set, const struct config *config)
{
	int r;

	freeze_set_close(set);
	r = mounts_new(config->freeze_mounts, &set->mounts);
	if (r == MOUNTS_HIDDEN)
		return "the mounts of process 1 cannot be seen: run as root with all capabilities, or "
		       "freeze what this process sees (freeze_mounts = own, --freeze-mounts own)";
	r = r ?: make_plan(set, config);
	if (r == FREEZE_PLAN_TOO_MANY)
		return "there are more than 512 file systems to freeze";
	if (r)
		return r < 0 ? strerror(-r) : "freeze_roots must be absolute paths";
	if (set->plan->n_missing > 0 && config->freeze_strict)
		return "not everything can be frozen, and freeze_policy is strict: see hvguestctl plan";
	if (set->plan->n_freeze == 0)
		return "no mounted file system may be frozen: freeze_roots (--freeze-roots) allows none";
	return NULL;
}

void freeze_set_devices(const struct freeze_set *set, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < set->plan->n_entries && used < size; i++) {
		const struct freeze_plan_entry *entry = &set->plan->entries[i];
		dev_t device = entry->mount->device;

		if (entry->verdict == FREEZE_VERDICT_FREEZE)
			used += (size_t)snprintf(text + used, size - used, "%s%u:%u",
						 used ? " " : "", major(device), minor(device));
	}
}

const char *freeze_set_open(struct freeze_set *set)
{
	for (size_t i = 0; i < set->plan->n_entries; i++) {
		const struct freeze_plan_entry *entry = &set->plan->entries[i];
		int r;

		if (entry->verdict != FREEZE_VERDICT_FREEZE)
			continue;
		r = mounts_open_entry(set->mounts, entry, &set->fds[i]);
		if (r < 0) {
			set->errors[i] = -r;
			snprintf(set->why, sizeof(set->why), "%s could not be opened: %s",
				 entry->mount->target, strerror(-r));
			return set->why;
		}
		set->given[i] = r == 0;
	}
	return NULL;
}

const char *freeze_set_start(const struct freeze_set *set, struct freezer_client *freezer,
			     uint64_t timeout_ns)
{
	struct freezer_target targets[FREEZE_PLAN_MAX];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < set->plan->n_entries; i++) {
		const struct freeze_plan_entry *entry = &set->plan->entries[i];

		if (!set->given[i])
			continue;
		targets[n++] = (struct freezer_target){
			.target = entry->mount->target,
			.type = entry->mount->type,
			.device = entry->mount->device,
			.mount_id = entry->mount->mount_id,
			.level = entry->level,
			.disks = entry->disks,
			.fd = set->fds[i],
		};
	}

	r = freezer_client_freeze(freezer, targets, n, timeout_ns);
	switch (r) {
	case 0:
		return NULL;
	case FREEZER_CLIENT_DOWN:
		return "the freezer is not running";
	case FREEZER_CLIENT_UNFINISHED:
		return "the last freeze has not ended";
	case FREEZER_CLIENT_LONG_TARGET:
		return "a mount point's path is too long for the record";
	default:
		return r < 0 ? strerror(-r) : "there are too many file systems to freeze";
	}
}

void freeze_set_close(struct freeze_set *set)
{
	for (size_t i = 0; set->plan && set->fds && i < set->plan->n_entries; i++)
		(void)close_fd(set->fds[i]);
	free(set->fds);
	free(set->given);
	free(set->errors);
	set->plan = freeze_plan_free(set->plan);
	set->mounts = mounts_free(set->mounts);
	*set = (struct freeze_set){0};
}

static json_t *describe_entry(const struct freeze_plan_entry *entry)
{
	const struct freeze_mount *mount = entry->mount;
	json_t *targets = json_array(), *fs;
	char device[32];

	snprintf(device, sizeof(device), "%u:%u", major(mount->device), minor(mount->device));
	for (size_t i = 0; i < entry->n_mounts; i++)
		json_array_append_new(targets, json_string(entry->mounts[i]->target));
	fs = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "target", mount->target, "type",
		       mount->type, "source", mount->source, "device", device, "verdict",
		       freeze_verdict_name(entry->verdict), "reason", entry->reason, "mounts",
		       targets);
	if (fs && entry->verdict == FREEZE_VERDICT_FREEZE)
		json_object_set_new(fs, "level", json_integer(entry->level));
	return fs;
}

json_t *freeze_set_describe(const struct freeze_set *set, const struct config *config,
			    const char *problem)
{
	const struct freeze_plan *plan = set->plan;
	json_t *list = json_array(), *answer;
	const char *result = "ok";

	for (size_t i = 0; plan && i < plan->n_entries; i++)
		if (plan->entries[i].verdict != FREEZE_VERDICT_PSEUDO)
			json_array_append_new(list, describe_entry(&plan->entries[i]));
	if (problem)
		result = "refused";
	else if (plan && plan->n_missing > 0)
		result = "degraded";
	answer = json_pack("{s:i, s:s, s:s, s:o}", "schema", 1, "result", result, "policy",
			   config->freeze_strict ? "strict" : "best-effort", "file_systems", list);
	if (answer && problem)
		json_object_set_new(answer, "problem", json_string(problem));
	return answer;
}
