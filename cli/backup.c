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

static void print_receipt(const json_t *receipt)
{
	const json_t *list = json_object_get(receipt, "file_systems"), *fs;
	size_t i;

	if (!json_object_get(receipt, "result")) {
		puts("No backup has been made since hvguestd started.");
		return;
	}
	printf("backup at %s: %s\n", text_of(receipt, "started"), text_of(receipt, "result"));
	printf("  consistent: %s, frozen for %s\n",
	       json_is_true(json_object_get(receipt, "consistent")) ? "yes" : "no",
	       seconds_of(receipt, "frozen_seconds").text);
	printf("  %-28s %-8s %-12s %10s %10s  %s\n", "MOUNT", "TYPE", "RESULT", "FREEZE", "THAW",
	       "WHY");
	json_array_foreach(list, i, fs) {
		bool frozen = json_is_number(json_object_get(fs, "freeze_seconds"));

		printf("  %-28s %-8s %-12s %10s %10s  %s\n", text_of(fs, "target"),
		       text_of(fs, "type"), text_of(fs, "state"),
		       frozen ? seconds_of(fs, "freeze_seconds").text : "-",
		       frozen ? seconds_of(fs, "thaw_seconds").text : "-", text_of(fs, "reason"));
	}
}

int verb_receipt(const struct cli *cli)
{
	return cli_show(cli, "/v1/backup/last", print_receipt, receipt_code);
}
