/* SPDX-License-Identifier: MIT */

/*
 * Backup.
 *
 * A receipt says of each file system what became of it, and of the whole whether the copy is
 * consistent. That is also in the exit code, so that a script need not read the table.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	FREEZE_TIMEOUT_MS = 2400 * 1000, /* longer than all hooks and file systems may take */
};

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

static void print_clients(const json_t *clients)
{
	const json_t *c;
	size_t i;

	if (json_array_size(clients) > 0)
		printf("  %-28s %-8s %-12s %10s  %s\n", "CLIENT", "UID", "ANSWER", "TOOK", "WHY");
	json_array_foreach(clients, i, c)
		printf("  %-28s %-8" JSON_INTEGER_FORMAT " %-12s %10s  %s\n", text_of(c, "name"),
		       number_of(c, "uid"), text_of(c, "outcome"), micro_of(c, "duration_us").text,
		       text_of(c, "reason"));
}

static void print_notes(const json_t *notes)
{
	const json_t *note;
	size_t i;

	json_array_foreach(notes, i, note)
		printf("%s%s", i == 0 ? "  notes: " : ", ", json_string_value(note));
	if (json_array_size(notes) > 0)
		putchar('\n');
}

static void print_receipt(const json_t *receipt)
{
	if (!json_object_get(receipt, "result")) {
		puts("No backup has been made.");
		return;
	}
	printf("backup at %s, for %s: %s\n", text_of(receipt, "started"),
	       text_of(receipt, "requester"), text_of(receipt, "result"));
	printf("  consistent: %s (%s), frozen for %s, writers held up to %s\n",
	       json_is_true(json_object_get(receipt, "consistent")) ? "yes" : "no",
	       text_of(receipt, "class"), micro_of(receipt, "frozen_us").text,
	       micro_of(receipt, "window_us").text);
	print_notes(json_object_get(receipt, "notes"));
	print_file_systems(json_object_get(receipt, "file_systems"));
	print_hooks(json_object_get(receipt, "hooks"));
	print_clients(json_object_get(receipt, "clients"));
}

int verb_receipt(const struct cli *cli)
{
	char path[64];

	if (cli->n_operands == 0)
		return cli_show(cli, "/v1/backup/last", print_receipt, receipt_code);
	snprintf(path, sizeof(path), "/v1/backup/receipts/%.20s", cli->operands[0]);
	return cli_show(cli, path, print_receipt, receipt_code);
}

static void print_receipts(const json_t *answer)
{
	const json_t *receipt;
	size_t i;

	if (json_array_size(json_object_get(answer, "receipts")) == 0) {
		puts("No backup has been made.");
		return;
	}
	printf("%4s %8s %-24s %-10s %-12s %s\n", "N", "ID", "STARTED", "FOR", "CLASS", "RESULT");
	json_array_foreach(json_object_get(answer, "receipts"), i, receipt)
		printf("%4zu %8" JSON_INTEGER_FORMAT " %-24s %-10s %-12s %s\n", i + 1,
		       number_of(receipt, "id"), text_of(receipt, "started"),
		       text_of(receipt, "requester"), text_of(receipt, "class"),
		       text_of(receipt, "result"));
}

int verb_receipts(const struct cli *cli)
{
	return cli_show(cli, "/v1/backup/receipts", print_receipts, NULL);
}

static void print_frozen(const json_t *answer)
{
	printf("Frozen. Thaws by itself in %s.\n", seconds_of(answer, "deadline_seconds").text);
}

int verb_freeze(const struct cli *cli)
{
	const char *deadline = cli->values[0];
	json_t *body = NULL;
	double seconds;
	char *end;

	if (deadline) {
		seconds = strtod(deadline, &end);
		if (end == deadline || *end != '\0') {
			fprintf(stderr, "hvguestctl: --deadline %s: a number of seconds\n", deadline);
			return EXIT_USAGE;
		}
		body = json_pack("{s:f}", "deadline_seconds", seconds);
	}
	return cli_do(cli, "POST", "/v1/backup/freeze", body, FREEZE_TIMEOUT_MS, print_frozen, NULL);
}

static void print_thawed(const json_t *answer)
{
	printf("%s: %s.\n", json_is_true(json_object_get(answer, "consistent")) ? "Consistent"
										  : "NOT CONSISTENT",
	       text_of(answer, "result"));
}

static int thaw_code(const json_t *answer)
{
	if (json_is_true(json_object_get(answer, "timed_out")))
		return EXIT_TIMED_OUT;
	return receipt_code(answer);
}

int verb_thaw(const struct cli *cli)
{
	return cli_do(cli, "POST", "/v1/backup/thaw", NULL, FREEZE_TIMEOUT_MS, print_thawed,
		      thaw_code);
}
