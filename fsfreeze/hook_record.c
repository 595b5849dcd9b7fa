/* SPDX-License-Identifier: MIT */

/*
 * The hooks' record.
 *
 * A database that a hook has locked stays locked if nobody calls the hook back. So before a hook
 * runs FREEZE, the command that calls it back is in a file; and as soon as that has been started,
 * it is out of it. If the daemon is killed, or the command cannot be started, the next one reads
 * the file. Between starting the command and taking it out there is a moment in which a kill leads
 * to a second call; the other order would lead to none, which is worse.
 *
 *     {"version": 1, "running": {"pid": 123, "start_time": 456},
 *      "hooks": [{"name": "10-db", "layout": "hvguest", "limit_ns": 0, "abort": ["/...", "abort"]}]}
 *
 * The file is replaced as a whole, by renaming; the run directory is on a tmpfs, so no disk is
 * waited for, and no reboot is survived: what a hook holds ends with the machine.
 */

#include "fsfreeze/hook_record.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
	RECORD_VERSION = 1,
};

static int make_path(char path[PATH_MAX], const char *run_dir, const char *ending)
{
	int n = snprintf(path, PATH_MAX, "%s/hooks.json%s", run_dir, ending);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static json_t *words_of(const struct hook_command *command)
{
	json_t *words = json_array();

	for (size_t i = 0; command->argv[i]; i++)
		json_array_append_new(words, json_string(command->argv[i]));
	return words;
}

static bool is_open(const struct hook_item *item)
{
	return item->begun && (item->back.outcome == HOOK_NOT_RUN || item->back.outcome == HOOK_NOT_STARTED);
}

static json_t *open_hooks(const struct hook_list *list, const struct hook_item *items)
{
	json_t *hooks = json_array();

	for (size_t i = 0; i < list->n; i++) {
		const struct hook *hook = &list->hooks[i];

		if (is_open(&items[i]) && hook->commands[HOOK_ABORT].argv[0])
			json_array_append_new(
				hooks, json_pack("{s:s, s:s, s:I, s:o}", "name", hook->name,
						 "layout", hook->layout, "limit_ns",
						 (json_int_t)hook->limit_ns, "abort",
						 words_of(&hook->commands[HOOK_ABORT])));
	}
	return hooks;
}

static int replace(const char *run_dir, const json_t *record)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	int r;

	r = make_path(path, run_dir, "");
	r = r ?: make_path(fresh, run_dir, ".new");
	if (r)
		return r;
	errno = 0;
	if (json_dump_file(record, fresh, JSON_COMPACT) < 0 || rename(fresh, path) < 0) {
		r = negative_errno();
		(void)unlink(fresh);
	}
	return r;
}

int hook_record_write(const char *run_dir, const struct hook_list *list,
		      const struct hook_item *items, const struct hook_trace *running)
{
	json_t *hooks = open_hooks(list, items), *record;
	char path[PATH_MAX];
	int r;

	if (json_array_size(hooks) == 0) {
		json_decref(hooks);
		r = make_path(path, run_dir, "");
		if (r == 0 && unlink(path) < 0 && errno != ENOENT)
			r = negative_errno();
		return r;
	}
	record = json_pack("{s:i, s:{s:i, s:I}, s:o}", "version", RECORD_VERSION, "running", "pid",
			   (int)running->pid, "start_time", (json_int_t)running->start_time, "hooks",
			   hooks);
	if (!record)
		return -ENOMEM;
	r = replace(run_dir, record);
	json_decref(record);
	return r;
}

static const char *known_layout(const char *name)
{
	static const char *const layouts[] = {"hvguest", "qemu", "vmware", "azure"};

	for (size_t i = 0; name && i < sizeof(layouts) / sizeof(layouts[0]); i++)
		if (!strcmp(name, layouts[i]))
			return layouts[i];
	return NULL;
}

static int read_hook(const json_t *from, struct hook_list *list)
{
	const char *name = json_string_value(json_object_get(from, "name"));
	const char *layout = known_layout(json_string_value(json_object_get(from, "layout")));
	const json_t *words = json_object_get(from, "abort"), *word;
	struct hook *hook = &list->hooks[list->n];
	char **argv = hook->commands[HOOK_ABORT].argv;
	size_t i;

	if (!name || !layout || list->n == HOOKS_MAX || json_array_size(words) == 0 ||
	    json_array_size(words) >= HOOK_ARGS_MAX)
		return 0;
	*hook = (struct hook){.name = strdup(name), .layout = layout};
	list->n++;
	hook->limit_ns = (uint64_t)json_integer_value(json_object_get(from, "limit_ns"));
	json_array_foreach(words, i, word) {
		argv[i] = strdup(json_string_value(word) ?: "");
		if (!argv[i])
			return -ENOMEM;
	}
	hook->refused = hook_file_complaint(argv[0]);
	return hook->name ? 0 : -ENOMEM;
}

int hook_record_read(const char *run_dir, struct hook_list *list, struct hook_trace *ret_running)
{
	struct hook_trace running = {0};
	const json_t *hook, *trace;
	char path[PATH_MAX];
	json_t *record;
	size_t i;
	int r;

	r = make_path(path, run_dir, "");
	if (r)
		return r;
	record = json_load_file(path, 0, NULL);
	if (json_integer_value(json_object_get(record, "version")) == RECORD_VERSION) {
		trace = json_object_get(record, "running");
		running.pid = (pid_t)json_integer_value(json_object_get(trace, "pid"));
		running.start_time = (uint64_t)json_integer_value(json_object_get(trace, "start_time"));
		json_array_foreach(json_object_get(record, "hooks"), i, hook)
			r = r ?: read_hook(hook, list);
	}
	json_decref(record);
	if (r == 0)
		*ret_running = running;
	return r;
}
