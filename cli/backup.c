/* SPDX-License-Identifier: MIT */

/*
 * Backup.
 *
 * A receipt says of each file system what became of it, and of the whole whether the copy is
 * consistent. That is also in the exit code, so that a script need not read the table.
 */

#include "cli/cli.h"

#include <stdio.h>

/* No backup is nothing wrong. */
static int receipt_code(const json_t *receipt)
{
	return json_is_false(json_object_get(receipt, "consistent")) ? EXIT_DEGRADED : EXIT_OK;
}

static struct size_text micro_of(const json_t *object, const char *key)
{
	struct size_text none = {"-"};
	const json_t *value = json_object_get(object, key);

	return value ? duration_format((uint64_t)json_integer_value(value) * 1000) : none;
}

static void print_file_systems(const json_t *list)
{
	const json_t *fs;
	size_t i;

	printf("  %-28s %-8s %-12s %10s %10s  %s\n", "MOUNT", "TYPE", "RESULT", "FREEZE", "THAW",
	       "WHY");
	json_array_foreach(list, i, fs)
		printf("  %-28s %-8s %-12s %10s %10s  %s\n", text_of(fs, "target"),
		       text_of(fs, "type"), text_of(fs, "state"), micro_of(fs, "freeze_us").text,
		       micro_of(fs, "thaw_us").text, text_of(fs, "reason"));
}

/* Each call of a hook, with what it has written. */
static void print_hooks(const json_t *hooks)
{
	const json_t *hook, *run;
	size_t i, k;

	if (json_array_size(hooks) > 0)
		printf("  %-28s %-8s %-12s %10s\n", "HOOK", "EVENT", "RESULT", "TOOK");
	json_array_foreach(hooks, i, hook) {
		json_array_foreach(json_object_get(hook, "runs"), k, run) {
			printf("  %-28s %-8s %-12s %10s\n", text_of(hook, "name"),
			       text_of(run, "event"), text_of(run, "outcome"),
			       micro_of(run, "duration_us").text);
			if (json_object_get(run, "output"))
				printf("%s\n", text_of(run, "output"));
		}
		if (json_object_get(hook, "refused"))
			printf("    refused: %s\n", text_of(hook, "refused"));
	}
}

static void print_receipt(const json_t *receipt)
{
	if (!json_object_get(receipt, "result")) {
		puts("No backup has been made since hvguestd started.");
		return;
	}
	printf("backup at %s, for %s: %s\n", text_of(receipt, "started"),
	       text_of(receipt, "requester"), text_of(receipt, "result"));
	printf("  consistent: %s (%s), frozen for %s, writers held up to %s\n",
	       json_is_true(json_object_get(receipt, "consistent")) ? "yes" : "no",
	       text_of(receipt, "class"), micro_of(receipt, "frozen_us").text,
	       micro_of(receipt, "window_us").text);
	print_file_systems(json_object_get(receipt, "file_systems"));
	print_hooks(json_object_get(receipt, "hooks"));
}

int verb_receipt(const struct cli *cli)
{
	return cli_show(cli, "/v1/backup/last", print_receipt, receipt_code);
}
