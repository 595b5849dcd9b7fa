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

static int print_service(const json_t *answer)
{
	printf("%s: %s\n", command_text(answer, "service"), command_text(answer, "state"));
	return EXIT_OK;
}

static int change_service(int argc, char **argv, const char *usage, const char *rest)
{
	_cleanup_command_ struct command c = {.usage = usage, .min_words = 2, .max_words = 2};
	_cleanup_free_ char *path = NULL;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	path = command_guest_path(c.words[0], rest);
	if (!path)
		return EXIT_ERROR;
	return command_ask(&c, "POST", path, json_pack("{s:s}", "service", c.words[1]),
			   print_service);
}

int verb_rescind(int argc, char **argv)
{
	return change_service(argc, argv, "rescind GUEST SERVICE [--json]", "/rescind");
}

int verb_offer(int argc, char **argv)
{
	return change_service(argc, argv, "offer GUEST SERVICE [--json]", "/offer");
}

static int print_guest(const json_t *answer)
{
	printf("%s: %s\n", command_text(answer, "name"), command_text(answer, "state"));
	return EXIT_OK;
}

static int change_guest(int argc, char **argv, const char *usage, const char *rest)
{
	_cleanup_command_ struct command c = {.usage = usage, .min_words = 1, .max_words = 1};
	_cleanup_free_ char *path = NULL;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	path = command_guest_path(c.words[0], rest);
	if (!path)
		return EXIT_ERROR;
	return command_ask(&c, "POST", path, NULL, print_guest);
}

int verb_save(int argc, char **argv)
{
	return change_guest(argc, argv, "save GUEST [--json]", "/save");
}

int verb_restore(int argc, char **argv)
{
	return change_guest(argc, argv, "restore GUEST [--json]", "/restore");
}

int verb_move(int argc, char **argv)
{
	return change_guest(argc, argv, "move GUEST [--json]", "/move");
}
