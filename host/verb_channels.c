/* SPDX-License-Identifier: MIT */

/*
 * hvhost rescind and offer: the channel of one service of a guest. hvhost save, restore and move: all
 * of them.
 *
 * SERVICE is the name that hvhost status shows (heartbeat, dynmem, vss, shutdown, ...). Taking a
 * channel away and offering it again is what a real host does to a machine that is saved, restored
 * or moved; save and restore do so with all that a guest has, at whatever it is just doing. The guest itself
 * runs on meanwhile: it is a process of this machine, not a machine of its own.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>

static int print_change(const json_t *answer)
{
	const char *what = json_object_get(answer, "service") ? "service" : "name";

	printf("%s: %s\n", command_text(answer, what), command_text(answer, "state"));
	return EXIT_OK;
}

/* @n_words: 1, the guest; or 2, and a service of it. */
static int change(int argc, char **argv, const char *usage, int n_words, const char *rest)
{
	_cleanup_command_ struct command c = {
		.usage = usage,
		.min_words = n_words,
		.max_words = n_words,
	};
	_cleanup_free_ char *path = NULL;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	path = command_guest_path(c.words[0], rest);
	if (!path)
		return EXIT_ERROR;
	return command_ask(&c, "POST", path,
			   n_words == 2 ? json_pack("{s:s}", "service", c.words[1]) : NULL, print_change);
}

int verb_rescind(int argc, char **argv)
{
	return change(argc, argv, "rescind GUEST SERVICE [--json]", 2, "/rescind");
}

int verb_offer(int argc, char **argv)
{
	return change(argc, argv, "offer GUEST SERVICE [--json]", 2, "/offer");
}

int verb_save(int argc, char **argv)
{
	return change(argc, argv, "save GUEST [--json]", 1, "/save");
}

int verb_restore(int argc, char **argv)
{
	return change(argc, argv, "restore GUEST [--json]", 1, "/restore");
}

int verb_move(int argc, char **argv)
{
	return change(argc, argv, "move GUEST [--json]", 1, "/move");
}
