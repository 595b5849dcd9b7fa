/* SPDX-License-Identifier: MIT */

/*
 * hvhost backups: those under way and the last ones, a line each, with what the guests say of them.
 *
 * That all was copied is known here; that what was copied is consistent is the guest's to say, in the
 * class of its receipt: application, file-system, crash, failed.
 */

#include "base/terminal.h"
#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <string.h>

static enum terminal_colour colour_of(const char *state)
{
	if (!strcmp(state, "done"))
		return TERMINAL_GOOD;
	return strcmp(state, "failed") ? TERMINAL_PLAIN : TERMINAL_BAD;
}

static void print_backup(const json_t *b)
{
	const json_t *receipt = json_object_get(b, "receipt");
	const char *state = command_text(b, "state");
	bool failed = strcmp(state, "failed") == 0;

	printf("%-4s %-16s %-20s %s%-10s%s %9s %10s  %-12s %s\n", command_text(b, "id"),
	       command_text(b, "guest"), command_text(b, "started"), terminal_begin(stdout, colour_of(state)),
	       state, terminal_end(stdout, colour_of(state)), command_seconds(b, "frozen_seconds").text,
	       command_bytes(b, "copied_bytes").text, command_text(receipt, "class"),
	       failed ? command_text(b, "error") : receipt ? command_text(receipt, "result") : "");
}

static void print_backups(const json_t *answer)
{
	const json_t *backup;
	size_t i;

	printf("%s%-4s %-16s %-20s %-10s %9s %10s  %-12s %s%s\n", terminal_begin(stdout, TERMINAL_BOLD), "ID",
	       "GUEST", "STARTED", "STATE", "FROZEN", "COPIED", "CLASS", "WHAT THE GUEST SAYS, OR WHY IT FAILED",
	       terminal_end(stdout, TERMINAL_BOLD));
	json_array_foreach(json_object_get(answer, "backups"), i, backup)
		print_backup(backup);
	if (json_array_size(json_object_get(answer, "backups")) == 0)
		puts("none since the host was started");
}

/* Leaves those of @guest only. */
static void leave(json_t *answer, const char *guest)
{
	json_t *all = json_object_get(answer, "backups");

	for (size_t i = json_array_size(all); i > 0; i--)
		if (strcmp(command_text(json_array_get(all, i - 1), "guest"), guest) != 0)
			json_array_remove(all, i - 1);
}

int verb_backups(int argc, char **argv)
{
	_cleanup_command_ struct command c = {
		.usage = "backups [GUEST] [--json]",
		.max_words = 1,
		.looks = true,
	};
	json_t *answer;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	r = ask(&c.to, "GET", "/v1/backups", NULL, COMMAND_TIMEOUT_MS, &answer);
	if (r)
		return r;
	if (c.n_words)
		leave(answer, c.words[0]);
	if (c.json)
		ask_print_json(answer);
	else
		print_backups(answer);
	json_decref(answer);
	return EXIT_OK;
}
