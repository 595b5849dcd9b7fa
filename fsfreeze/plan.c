/* SPDX-License-Identifier: MIT */

/*
 * The freeze plan.
 *
 * A freeze belongs to a superblock, the mount table lists mounts. So mounts are first gathered by
 * the superblock's device number; bind mounts and btrfs subvolumes fall together there. Each
 * superblock gets exactly one entry and one verdict, also those that are left out: what a backup
 * does not cover has to be visible.
 *
 * Order. A file system must be frozen before the one that holds its image, because freezing it
 * writes to the image. The device graph (graph.c) says which these are; whatever has nothing to do
 * with each other has the same level and is frozen at the same time. What is mounted at / has a
 * level of its own, the last. Within a level the youngest is first, which nothing depends on.
 * Thawing is the exact reverse, level by level.
 *
 * Namespaces. A file system that is mounted only in the mount namespace of some container is one
 * like any other, but its path is the container's: no allowed root means it, and its / is not ours.
 *
 * Permission. Freezing through any mount stops the whole file system, so one allowed mount is not
 * enough: a directory of the root file system, bound to a place below an allowed root, would stop
 * the machine. A superblock is allowed if the whole of it is mounted at or below an allowed root,
 * or if every mount of it is; and if it is mounted at / as well, only if / itself is allowed.
 */

#include "fsfreeze/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Source: Linux fs/<type>/super.c, those with a freeze_fs or freeze_super operation. */
static const char *const freezable_types[] = {
	"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "gfs2", "jfs", "nilfs2", "xfs",
};

static const char *const verdict_names[] = {
	[FREEZE_VERDICT_FREEZE] = "freeze",
	[FREEZE_VERDICT_UNSUPPORTED] = "unsupported",
	[FREEZE_VERDICT_CYCLE] = "cycle",
	[FREEZE_VERDICT_HIDDEN] = "hidden",
	[FREEZE_VERDICT_NETWORK] = "network",
	[FREEZE_VERDICT_PSEUDO] = "pseudo",
	[FREEZE_VERDICT_READ_ONLY] = "read-only",
	[FREEZE_VERDICT_NOT_ALLOWED] = "not-allowed",
	[FREEZE_VERDICT_EXCLUDED] = "excluded",
};

static const char *const verdict_reasons[] = {
	[FREEZE_VERDICT_FREEZE] = "will be frozen",
	[FREEZE_VERDICT_UNSUPPORTED] = "this type of file system cannot be frozen",
	[FREEZE_VERDICT_CYCLE] = "its data is kept on itself, so freezing it would never end",
	[FREEZE_VERDICT_HIDDEN] = "another mount covers it: no path leads to it",
	[FREEZE_VERDICT_NETWORK] = "its data is kept on another machine",
	[FREEZE_VERDICT_PSEUDO] = "it has no disk",
	[FREEZE_VERDICT_READ_ONLY] = "it is read-only, so it does not change anyway",
	[FREEZE_VERDICT_NOT_ALLOWED] = "no mount of it is at or below an allowed path",
	[FREEZE_VERDICT_EXCLUDED] = "freeze_exclude names it",
};

const char *freeze_verdict_name(enum freeze_verdict verdict)
{
	return verdict_names[verdict];
}

bool freeze_verdict_is_missing(enum freeze_verdict verdict)
{
	return verdict == FREEZE_VERDICT_UNSUPPORTED || verdict == FREEZE_VERDICT_CYCLE ||
	       verdict == FREEZE_VERDICT_HIDDEN;
}

static bool type_can_freeze(const char *type)
{
	for (size_t i = 0; i < sizeof(freezable_types) / sizeof(freezable_types[0]); i++)
		if (strcmp(type, freezable_types[i]) == 0)
			return true;
	return false;
}

/* True if @path is @root or lies below it, component by component. */
static bool path_is_below(const char *path, const char *root)
{
	size_t len = strlen(root);

	while (len > 0 && root[len - 1] == '/')
		len--;
	return strncmp(path, root, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool rules_allow(const struct freeze_rules *rules, const struct freeze_mount *mount)
{
	if (rules->all)
		return true;
	for (size_t i = 0; i < rules->n_roots && !mount->is_elsewhere; i++)
		if (path_is_below(mount->target, rules->roots[i]))
			return true;
	return false;
}

static bool rules_valid(const struct freeze_rules *rules)
{
	for (size_t i = 0; i < rules->n_roots; i++)
		if (rules->roots[i][0] != '/')
			return false;
	return true;
}

static bool is_root_target(const struct freeze_mount *mount)
{
	return strcmp(mount->target, "/") == 0 && !mount->is_elsewhere;
}

static bool entry_is_root(const struct freeze_plan_entry *entry)
{
	for (size_t i = 0; i < entry->n_mounts; i++)
		if (is_root_target(entry->mounts[i]))
			return true;
	return false;
}

/* NULL if the whole superblock may be frozen, else why not. */
static const char *why_not_allowed(const struct freeze_plan_entry *entry,
				   const struct freeze_rules *rules)
{
	size_t n_allowed = 0;
	bool whole = false;

	for (size_t i = 0; i < entry->n_mounts; i++) {
		const struct freeze_mount *mount = entry->mounts[i];
		bool allowed = rules_allow(rules, mount);

		if (is_root_target(mount) && !allowed)
			return "it is mounted at /, which is not allowed";
		n_allowed += allowed;
		whole |= allowed && mount->is_fs_root;
	}
	if (n_allowed == 0)
		return verdict_reasons[FREEZE_VERDICT_NOT_ALLOWED];
	if (!whole && n_allowed < entry->n_mounts)
		return "only a part of it is mounted below an allowed path";
	return NULL;
}

static const char *text_for(const struct freeze_mount *mount, enum freeze_rule_kind kind)
{
	switch (kind) {
	case FREEZE_RULE_PATH:
		return mount->target;
	case FREEZE_RULE_TYPE:
		return mount->type;
	case FREEZE_RULE_LABEL:
		return mount->label;
	case FREEZE_RULE_DEVICE:
		return mount->source;
	case FREEZE_RULE_KINDS:
		break;
	}
	return NULL;
}

static bool has_whole_mount(const struct freeze_plan_entry *entry)
{
	for (size_t i = 0; i < entry->n_mounts; i++)
		if (entry->mounts[i]->is_fs_root)
			return true;
	return false;
}

/*
 * Does one of the rules name the file system? A directory of it that is bound to some other place
 * does not speak for it, if all of it is mounted somewhere.
 */
static bool is_named(const struct freeze_plan_entry *entry, const struct freeze_rule *rules,
		     size_t n_rules)
{
	bool whole = has_whole_mount(entry);

	for (size_t i = 0; i < entry->n_mounts; i++) {
		const struct freeze_mount *mount = entry->mounts[i];

		for (size_t k = 0; k < n_rules && mount->is_fs_root == whole; k++)
			if (freeze_rule_matches(rules[k].pattern, text_for(mount, rules[k].kind)))
				return true;
	}
	return false;
}

/* NULL if the rules want the file system, else why not. */
static const char *why_excluded(const struct freeze_plan_entry *entry,
				const struct freeze_rules *rules)
{
	if (is_named(entry, rules->exclude, rules->n_exclude))
		return verdict_reasons[FREEZE_VERDICT_EXCLUDED];
	if (rules->n_include > 0 && !is_named(entry, rules->include, rules->n_include))
		return "freeze_include does not name it";
	return NULL;
}

/* The mount by which the file system is opened: one that is allowed and whole, if there is one. */
static const struct freeze_mount *choose_mount(const struct freeze_plan_entry *entry,
					       const struct freeze_rules *rules)
{
	const struct freeze_mount *best = entry->mounts[0];
	int best_score = -1;

	for (size_t i = 0; i < entry->n_mounts; i++) {
		const struct freeze_mount *mount = entry->mounts[i];
		int score = 2 * rules_allow(rules, mount) + mount->is_fs_root;

		if (score > best_score) {
			best = mount;
			best_score = score;
		}
	}
	return best;
}

static void judge(struct freeze_plan_entry *entry, const struct freeze_rules *rules)
{
	const char *why_not = why_not_allowed(entry, rules), *why_out = why_excluded(entry, rules);

	entry->mount = choose_mount(entry, rules);
	if (entry->mount->is_pseudo)
		entry->verdict = FREEZE_VERDICT_PSEUDO;
	else if (entry->mount->is_network)
		entry->verdict = FREEZE_VERDICT_NETWORK;
	else if (entry->mount->read_only)
		entry->verdict = FREEZE_VERDICT_READ_ONLY;
	else if (why_not)
		entry->verdict = FREEZE_VERDICT_NOT_ALLOWED;
	else if (why_out)
		entry->verdict = FREEZE_VERDICT_EXCLUDED;
	else if (!type_can_freeze(entry->mount->type))
		entry->verdict = FREEZE_VERDICT_UNSUPPORTED;
	else if (entry->in_cycle)
		entry->verdict = FREEZE_VERDICT_CYCLE;
	else
		entry->verdict = FREEZE_VERDICT_FREEZE;

	entry->reason = verdict_reasons[entry->verdict];
	if (entry->verdict == FREEZE_VERDICT_NOT_ALLOWED)
		entry->reason = why_not;
	else if (entry->verdict == FREEZE_VERDICT_EXCLUDED)
		entry->reason = why_out;
}

/* By superblock, then in mount order: all mounts come from one array. */
static int compare_mounts(const void *a, const void *b)
{
	const struct freeze_mount *x = *(const struct freeze_mount *const *)a;
	const struct freeze_mount *y = *(const struct freeze_mount *const *)b;

	if (x->device != y->device)
		return x->device > y->device ? 1 : -1;
	return (x > y) - (x < y);
}

/* / last, and otherwise by level, the youngest first. */
static int compare_entries(const void *a, const void *b)
{
	const struct freeze_plan_entry *x = a, *y = b;
	bool x_root = entry_is_root(x), y_root = entry_is_root(y);

	if (x_root != y_root)
		return x_root ? 1 : -1;
	if (x->level != y->level)
		return x->level > y->level ? 1 : -1;
	return (x->mounts[0] < y->mounts[0]) - (x->mounts[0] > y->mounts[0]);
}

static size_t gather(struct freeze_plan *plan, size_t n_mounts)
{
	size_t n = 0;

	for (size_t i = 0; i < n_mounts; i++) {
		if (i == 0 || plan->mounts[i]->device != plan->mounts[i - 1]->device)
			plan->entries[n++].mounts = &plan->mounts[i];
		plan->entries[n - 1].n_mounts++;
	}
	return n;
}

static int rank(struct freeze_plan *plan, const struct freeze_table *table)
{
	_cleanup_free_ uint64_t *superblocks = calloc(plan->n_entries + 1, sizeof(*superblocks));
	_cleanup_free_ struct freeze_rank *ranks = calloc(plan->n_entries + 1, sizeof(*ranks));
	int r;

	if (!superblocks || !ranks)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_entries; i++)
		superblocks[i] = plan->entries[i].mounts[0]->device;
	r = freeze_graph_rank(table->links, table->n_links, superblocks, plan->n_entries, ranks);
	if (r)
		return r;
	for (size_t i = 0; i < plan->n_entries; i++) {
		plan->entries[i].level = ranks[i].level;
		plan->entries[i].in_cycle = ranks[i].in_cycle;
		plan->entries[i].disks = ranks[i].disks;
	}
	return 0;
}

/* Numbers the levels of what is frozen without gaps, / apart from all others. */
static void number_levels(struct freeze_plan *plan)
{
	const struct freeze_plan_entry *before = NULL;
	unsigned int level = 0, last_rank = 0;

	for (size_t i = 0; i < plan->n_entries; i++) {
		struct freeze_plan_entry *entry = &plan->entries[i];
		unsigned int this_rank = entry->level;

		entry->level = 0;
		if (entry->verdict != FREEZE_VERDICT_FREEZE)
			continue;
		if (before && (this_rank != last_rank || entry_is_root(entry)))
			level++;
		entry->level = level;
		last_rank = this_rank;
		before = entry;
	}
}

/* Gathers the mounts into entries, in the order of freezing, as far as they are frozen. */
static int arrange(struct freeze_plan *plan, const struct freeze_table *table)
{
	int r;

	for (size_t i = 0; i < table->n_mounts; i++)
		plan->mounts[i] = &table->mounts[i];
	qsort(plan->mounts, table->n_mounts, sizeof(*plan->mounts), compare_mounts);
	plan->n_entries = gather(plan, table->n_mounts);
	r = rank(plan, table);
	if (r)
		return r;
	qsort(plan->entries, plan->n_entries, sizeof(*plan->entries), compare_entries);
	return 0;
}

int freeze_plan_new(const struct freeze_table *table, const struct freeze_rules *rules,
		    struct freeze_plan **ret_plan)
{
	_cleanup_(cleanup_freeze_planp) struct freeze_plan *plan = NULL;
	int r;

	if (!rules_valid(rules))
		return FREEZE_PLAN_BAD_ROOT;

	plan = calloc(1, sizeof(*plan));
	if (!plan)
		return -ENOMEM;
	plan->mounts = calloc(table->n_mounts + 1, sizeof(const struct freeze_mount *));
	plan->entries = calloc(table->n_mounts + 1, sizeof(*plan->entries));
	if (!plan->mounts || !plan->entries)
		return -ENOMEM;

	r = arrange(plan, table);
	if (r)
		return r;
	for (size_t i = 0; i < plan->n_entries; i++) {
		struct freeze_plan_entry *entry = &plan->entries[i];

		judge(entry, rules);
		plan->n_freeze += entry->verdict == FREEZE_VERDICT_FREEZE;
		plan->n_missing += freeze_verdict_is_missing(entry->verdict);
	}
	if (plan->n_freeze > FREEZE_PLAN_MAX)
		return FREEZE_PLAN_TOO_MANY;
	number_levels(plan);

	*ret_plan = steal_ptr(plan);
	return 0;
}

void freeze_plan_hide(struct freeze_plan *plan, size_t i)
{
	struct freeze_plan_entry *entry = &plan->entries[i];

	assert(entry->verdict == FREEZE_VERDICT_FREEZE);
	entry->verdict = FREEZE_VERDICT_HIDDEN;
	entry->reason = verdict_reasons[FREEZE_VERDICT_HIDDEN];
	plan->n_freeze--;
	plan->n_missing++;
	number_levels(plan);
}

struct freeze_plan *freeze_plan_free(struct freeze_plan *plan)
{
	if (!plan)
		return NULL;
	free(plan->entries);
	free(plan->mounts);
	free(plan);
	return NULL;
}
