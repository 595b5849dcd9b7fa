/* SPDX-License-Identifier: MIT */

/*
 * Finding hooks.
 *
 * A hook is run by root, so whoever can change it is root. Looked at is the file that would be
 * executed, behind all symbolic links, and every folder above it: who may write to a folder may
 * put another file there. A folder like /tmp, where the sticky bit keeps people from each other's
 * files, counts as safe.
 *
 * Nothing is cached. The list is made anew for each freeze, so that what an administrator has just
 * changed counts.
 */

#include "fsfreeze/hook_list.h"

#include "base/cleanup.h"
#include "fsfreeze/hook_names.h"

#include <dirent.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void hook_list_init(struct hook_list *list)
{
	list->n = 0;
}

static void hook_fini(struct hook *hook)
{
	free(hook->name);
	free(hook->refused);
	for (size_t e = 0; e < HOOK_EVENTS; e++)
		for (size_t i = 0; i < HOOK_ARGS_MAX; i++)
			free(hook->commands[e].argv[i]);
}

void hook_list_fini(struct hook_list *list)
{
	while (list->n > 0)
		hook_fini(&list->hooks[--list->n]);
}

static char *format(const char *text, ...) _printf_(1, 2);

static char *format(const char *text, ...)
{
	char *result;
	va_list args;
	int n;

	va_start(args, text);
	n = vasprintf(&result, text, args);
	va_end(args);
	return n < 0 ? NULL : result;
}

static const char *complaint_of(const struct stat *st, bool is_folder)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "does not belong to root";
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) && !(is_folder && (st->st_mode & S_ISVTX)))
		return "can be changed by others than its owner (chmod go-w)";
	return NULL;
}

char *hook_file_complaint(const char *path)
{
	_cleanup_free_ char *real = realpath(path, NULL);
	bool is_folder = false;
	struct stat st;

	if (!real)
		return format("%s cannot be looked at: %m", path);
	while (true) {
		const char *complaint;
		char *slash;

		if (stat(real, &st) < 0)
			return format("%s cannot be looked at: %m", real);
		if (!is_folder && !S_ISREG(st.st_mode))
			return format("%s is no file", real);
		complaint = complaint_of(&st, is_folder);
		if (complaint)
			return format("%s %s", real, complaint);
		slash = strrchr(real, '/');
		if (real[1] == '\0')
			return NULL;
		slash[slash == real] = '\0';
		is_folder = true;
	}
}

/* A hook with nothing in it; NULL if there is no room. */
static struct hook *add_hook(struct hook_list *list, const char *name, const char *layout)
{
	struct hook *hook = &list->hooks[list->n];

	if (list->n == HOOKS_MAX)
		return NULL;
	*hook = (struct hook){.name = strdup(name), .layout = layout};
	if (hook->name)
		list->n++;
	return hook->name ? hook : NULL;
}

/* Makes @hook call the file at @path for @event, with one argument or none. */
static int set_command(struct hook *hook, enum hook_event event, const char *path,
		       const char *argument)
{
	struct hook_command *command = &hook->commands[event];

	command->argv[0] = strdup(path);
	command->argv[1] = argument ? strdup(argument) : NULL;
	if (!command->argv[0] || (argument && !command->argv[1]))
		return -ENOMEM;
	if (!hook->refused)
		hook->refused = hook_file_complaint(path);
	return 0;
}

/* A hook that is one file, called with a word for each event. */
static int add_file(struct hook_list *list, const char *name, const char *path, const char *layout,
		    const char *const words[HOOK_EVENTS])
{
	struct hook *hook = add_hook(list, name, layout);
	int r = 0;

	if (!hook)
		return HOOK_LIST_TOO_MANY;
	hook->optional = hook_name_is_optional(name);
	for (enum hook_event e = HOOK_FREEZE; e < HOOK_EVENTS && r == 0; e++)
		r = set_command(hook, e, path, words[e]);
	return r;
}

static int is_hook_file(const struct dirent *entry)
{
	return hook_name_is_hook(entry->d_name);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

/* Adds each executable file of @folder. */
static int add_folder(struct hook_list *list, const char *folder, const char *layout,
		      const char *const words[HOOK_EVENTS])
{
	struct dirent **entries;
	int n, r = 0;

	n = scandir(folder, &entries, is_hook_file, by_name);
	if (n < 0)
		return errno == ENOENT ? 0 : negative_errno();
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *path = format("%s/%s", folder, entries[i]->d_name);

		if (r == 0 && !path)
			r = -ENOMEM;
		if (r == 0 && is_executable(path))
			r = add_file(list, entries[i]->d_name, path, layout, words);
		free(entries[i]);
	}
	free(entries);
	return r;
}

static int add_own(struct hook_list *list, const char *folder)
{
	static const char *const words[] = {"freeze", "thaw", "abort"};

	return add_folder(list, folder, "hvguest", words);
}

/* qemu-ga knows one hook, which by custom runs those of a folder; it has no word for an abort. */
static int add_qemu(struct hook_list *list, const char *root)
{
	static const char *const words[] = {"freeze", "thaw", "thaw"};
	_cleanup_free_ char *one = format("%s/etc/qemu/fsfreeze-hook", root);
	_cleanup_free_ char *folder = format("%s/etc/qemu/fsfreeze-hook.d", root);

	if (!one || !folder)
		return -ENOMEM;
	if (is_executable(one))
		return add_file(list, "fsfreeze-hook", one, "qemu", words);
	return add_folder(list, folder, "qemu", words);
}

/* The pair of older VMware Tools, which NAKIVO looks for as well; either half may be missing. */
static int add_pair(struct hook_list *list, const char *root)
{
	_cleanup_free_ char *before = format("%s/usr/sbin/pre-freeze-script", root);
	_cleanup_free_ char *after = format("%s/usr/sbin/post-thaw-script", root);
	bool has_before, has_after;
	struct hook *hook;
	int r = 0;

	if (!before || !after)
		return -ENOMEM;
	has_before = is_executable(before);
	has_after = is_executable(after);
	if (!has_before && !has_after)
		return 0;
	hook = add_hook(list, "pre-freeze-script", "vmware");
	if (!hook)
		return HOOK_LIST_TOO_MANY;
	if (has_before)
		r = set_command(hook, HOOK_FREEZE, before, NULL);
	if (has_after)
		r = r ?: set_command(hook, HOOK_THAW, after, NULL);
	if (has_after)
		r = r ?: set_command(hook, HOOK_ABORT, after, NULL);
	return r;
}

static int add_vmware(struct hook_list *list, const char *root)
{
	static const char *const words[] = {"freeze", "thaw", "freezeFail"};
	_cleanup_free_ char *folder = format("%s/etc/vmware-tools/backupScripts.d", root);
	int r;

	if (!folder)
		return -ENOMEM;
	r = add_pair(list, root);
	return r ?: add_folder(list, folder, "vmware", words);
}

/* Sets a command of Azure's configuration: a path and its parameters. */
static int set_azure_command(struct hook *hook, enum hook_event event, const json_t *config,
			     const char *location_key, const char *params_key)
{
	const char *path = json_string_value(json_object_get(config, location_key));
	const json_t *params = json_object_get(config, params_key), *param;
	struct hook_command *command = &hook->commands[event];
	size_t i;
	int r;

	if (!path || path[0] != '/')
		return 0;
	r = set_command(hook, event, path, NULL);
	json_array_foreach(params, i, param) {
		if (r || i + 2 >= HOOK_ARGS_MAX || !json_is_string(param))
			break;
		command->argv[i + 1] = strdup(json_string_value(param));
		if (!command->argv[i + 1])
			r = -ENOMEM;
	}
	return r;
}

static int add_azure(struct hook_list *list, const char *root)
{
	_cleanup_free_ char *path =
		format("%s/etc/azure/VMSnapshotScriptPluginConfig.json", root);
	json_error_t error;
	struct hook *hook;
	json_t *config;
	int r;

	if (!path)
		return -ENOMEM;
	if (access(path, F_OK) < 0)
		return 0;
	hook = add_hook(list, "VMSnapshotScriptPluginConfig", "azure");
	if (!hook)
		return HOOK_LIST_TOO_MANY;
	hook->refused = hook_file_complaint(path);
	if (hook->refused)
		return 0;
	config = json_load_file(path, 0, &error);
	if (!config) {
		hook->refused = format("%s:%d: %s", path, error.line, error.text);
		return hook->refused ? 0 : -ENOMEM;
	}

	hook->optional = json_is_true(json_object_get(config, "continueBackupOnFailure"));
	hook->limit_ns = 1000000000u * (uint64_t)json_integer_value(
					       json_object_get(config, "timeoutInSeconds"));
	r = set_azure_command(hook, HOOK_FREEZE, config, "preScriptLocation", "preScriptParams");
	r = r ?: set_azure_command(hook, HOOK_THAW, config, "postScriptLocation",
				   "postScriptParams");
	r = r ?: set_azure_command(hook, HOOK_ABORT, config, "postScriptLocation",
				   "postScriptParams");
	json_decref(config);
	return r;
}

int hook_list_find(struct hook_list *list, const struct hook_places *places)
{
	int r = add_own(list, places->folder);

	if (r == 0 && (places->layouts & HOOK_LAYOUT_QEMU))
		r = add_qemu(list, places->root);
	if (r == 0 && (places->layouts & HOOK_LAYOUT_VMWARE))
		r = add_vmware(list, places->root);
	if (r == 0 && (places->layouts & HOOK_LAYOUT_AZURE))
		r = add_azure(list, places->root);
	return r;
}
