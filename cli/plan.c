/* SPDX-License-Identifier: MIT */

/*
 * The freeze plan.
 *
 * To be looked at, or run by a timer, before the backup window: what would be frozen, level after
 * level, and for each of the others the reason. The exit code says whether anything is missing.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void print_order(const json_t *fs)
{
	const json_t *level = json_object_get(fs, "level");

	if (level)
		printf("  %5" JSON_INTEGER_FORMAT, json_integer_value(level) + 1);
	else
		printf("  %5s", "-");
}

static void print_hooks(const json_t *hooks)
{
	const json_t *hook;
	size_t i;

	if (json_array_size(hooks) > 0)
		printf("  %5s %-28s %-8s %-20s %s\n", "", "HOOK", "LAYOUT", "TIME LIMIT", "");
	json_array_foreach(hooks, i, hook)
		printf("  %5zu %-28s %-8s %-20s %s%s%s\n", i + 1, text_of(hook, "name"),
		       text_of(hook, "layout"), seconds_of(hook, "timeout_seconds").text,
		       json_is_true(json_object_get(hook, "optional")) ? "optional" : "",
		       json_object_get(hook, "refused") ? "REFUSED: " : "",
		       json_object_get(hook, "refused") ? text_of(hook, "refused") : "");
}

static void print_plan(const json_t *plan)
{
	const json_t *list = json_object_get(plan, "file_systems"), *fs;
	size_t i;

	printf("  %5s %-28s %-8s %-20s %-12s %s\n", "ORDER", "MOUNT", "TYPE", "SOURCE", "VERDICT",
	       "WHY");
	json_array_foreach(list, i, fs) {
		print_order(fs);
		printf(" %-28s %-8s %-20s %-12s %s\n", text_of(fs, "target"), text_of(fs, "type"),
		       text_of(fs, "source"), text_of(fs, "verdict"), text_of(fs, "reason"));
	}
	print_hooks(json_object_get(plan, "hooks"));
	if (json_object_get(plan, "problem"))
		printf("Nothing would be frozen: %s.\n", text_of(plan, "problem"));
	else if (strcmp(text_of(plan, "result"), "ok") != 0)
		puts("Not everything can be frozen.");
}

static int plan_code(const json_t *plan)
{
	const char *result = text_of(plan, "result");

	if (strcmp(result, "ok") == 0)
		return EXIT_OK;
	return strcmp(result, "degraded") == 0 ? EXIT_DEGRADED : EXIT_ERROR;
}

int verb_plan(const struct cli *cli)
{
	return cli_show(cli, "/v1/backup/plan", print_plan, plan_code);
}
