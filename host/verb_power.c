/* SPDX-License-Identifier: MIT */

/*
 * hvhost shutdown, reboot and hibernate.
 *
 * The guest is asked, and its answer waited for: that it accepts says that it has begun, not that it
 * is down. A guest that refuses, has no such request in its version or does not answer in time makes
 * the command fail.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Why it was not accepted, as far as that is known here. */
static void tell_why(const char *state)
{
	if (strcmp(state, "refused") == 0)
		fputs("hvhost: the guest refuses: hvguestd's log says why\n", stderr);
	else if (strcmp(state, "silent") == 0)
		fputs("hvhost: the guest has not answered within a minute: hvhost status shows its "
		      "heartbeat\n", stderr);
	else if (strcmp(state, "lost") == 0)
		fputs("hvhost: the channel was closed before the guest answered: ask again\n", stderr);
}

/* Asks until the guest has answered, or it is known that it will not. */
static int follow_shutdown(const struct command *c, const char *path, const char *kind)
{
	char state[16] = "asked";
	json_t *guest;
	int r;

	while (!strcmp(state, "asked")) {
		r = ask(&c->to, "GET", path, NULL, COMMAND_TIMEOUT_MS, &guest);
		if (r)
			return r;
		snprintf(state, sizeof(state), "%s", command_text(json_object_get(guest, "shutdown"), "state"));
		json_decref(guest);
		usleep(COMMAND_POLL_US);
	}
	if (c->json)
		printf("{\"schema\": 1, \"kind\": \"%s\", \"state\": \"%s\"}\n", kind, state);
	else
		printf("%s: %s\n", kind, state);
	tell_why(state);
	return strcmp(state, "accepted") == 0 ? EXIT_OK : EXIT_ERROR;
}

static int change_power(int argc, char **argv, const char *usage, const char *kind)
{
	const char *reason = NULL;
	bool force = false;
	const struct command_option options[] = {
		{"force", NULL, "whatever in the guest objects to it", .flag = &force},
		{"reason", "TEXT", "for the guest's log", .text = &reason},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = usage,
		.options = options,
		.min_words = 1,
		.max_words = 1,
	};
	_cleanup_free_ char *path = NULL, *guest = NULL;
	json_t *answer;
	int r;

	r = command_parse(&c, argc, argv);
	if (r >= 0)
		return r;
	path = command_guest_path(c.words[0], "/shutdown");
	guest = command_guest_path(c.words[0], "");
	if (!path || !guest)
		return EXIT_ERROR;
	r = ask(&c.to, "POST", path,
		json_pack("{s:s, s:b, s:s*}", "kind", kind, "force", force, "reason", reason),
		COMMAND_TIMEOUT_MS, &answer);
	if (r)
		return r;
	json_decref(answer);
	return follow_shutdown(&c, guest, kind);
}

int verb_shutdown(int argc, char **argv)
{
	return change_power(argc, argv, "shutdown GUEST [--force] [--reason TEXT] [--json]",
			    "poweroff");
}

int verb_reboot(int argc, char **argv)
{
	return change_power(argc, argv, "reboot GUEST [--force] [--reason TEXT] [--json]",
			    "reboot");
}

int verb_hibernate(int argc, char **argv)
{
	return change_power(argc, argv, "hibernate GUEST [--force] [--reason TEXT] [--json]",
			    "hibernate");
}
