/* SPDX-License-Identifier: MIT */

/*
 * hvhost reserve: memory for a guest that is to start.
 *
 * A VM has all of its memory from its start, so others have to give it before. The host sets aside
 * what they give, until the guest has started or the time is over; --wait returns when all of it is
 * there, so that a script can start the VM then. The host goes on if the command is broken off.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print_reservation(const json_t *reservation)
{
	printf("%s: %s of %s are set aside%s\n", command_text(reservation, "name"),
	       command_bytes(reservation, "held_bytes").text, command_bytes(reservation, "bytes").text,
	       json_is_true(json_object_get(reservation, "complete")) ? "" : "; others are asked for the rest");
	return EXIT_OK;
}

static int print_cancelled(const json_t *answer)
{
	(void)answer;
	puts("nothing is set aside any more");
	return EXIT_OK;
}

/* Until all of it is there; the host says so if it has given up before. */
static int wait_for(struct command *c, const char *path)
{
	json_t *reservation;
	bool complete;
	int r;

	for (;;) {
		r = ask(&c->to, "GET", path, NULL, COMMAND_TIMEOUT_MS, &reservation);
		if (r)
			return r;
		complete = json_is_true(json_object_get(reservation, "complete"));
		json_decref(reservation);
		if (complete)
			return command_ask(c, "GET", path, NULL, print_reservation);
		usleep(COMMAND_POLL_US);
	}
}

/* The host's answer is shown in the end only, if it is waited for. */
static int reserve(struct command *c, const char *path, json_t *take_body, bool wait)
{
	json_t *answer;
	int r;

	if (!wait)
		return command_ask(c, "POST", "/v1/reservations", take_body, print_reservation);
	r = ask(&c->to, "POST", "/v1/reservations", take_body, COMMAND_TIMEOUT_MS, &answer);
	if (r)
		return r;
	json_decref(answer);
	return wait_for(c, path);
}

int verb_reserve(int argc, char **argv)
{
	const char *seconds_text = NULL;
	bool wait = false, cancel = false;
	const struct command_option options[] = {
		{"seconds", "N", "for so long, up to 3600 (default: 60)", .text = &seconds_text},
		{"wait", NULL, "until all of it is set aside", .flag = &wait},
		{"cancel", NULL, "it is not needed any more", .flag = &cancel},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "reserve GUEST [SIZE [--seconds N]] [--wait] | GUEST --cancel [--json]",
		.options = options,
		.min_words = 1,
		.max_words = 2,
	};
	_cleanup_free_ char *path = NULL;
	unsigned long seconds = 60;
	uint64_t bytes;
	char *end;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (cancel && (wait || c.n_words == 2))
		return command_complain(&c, "--cancel goes with a guest's name only");
	if (seconds_text && c.n_words == 1)
		return command_complain(&c, "--seconds goes with a SIZE");
	if (!*c.words[0] || strchr(c.words[0], '/') || asprintf(&path, "/v1/reservations/%s", c.words[0]) < 0)
		return command_refuse("reserve", c.words[0], "a guest's name");
	if (cancel)
		return command_ask(&c, "DELETE", path, NULL, print_cancelled);
	if (c.n_words == 1)
		return wait ? wait_for(&c, path) : command_ask(&c, "GET", path, NULL, print_reservation);

	if (size_parse(c.words[1], &bytes) || bytes > INT64_MAX)
		return command_refuse("reserve", c.words[1], "a size like 512M or 2G");
	if (seconds_text)
		seconds = strtoul(seconds_text, &end, 10);
	if (seconds_text && (*seconds_text < '1' || *seconds_text > '9' || *end || seconds > 3600))
		return command_refuse("--seconds", seconds_text, "a number from 1 to 3600");
	return reserve(&c, path, json_pack("{s:s, s:I, s:I}", "name", c.words[0], "bytes", (json_int_t)bytes,
					   "seconds", (json_int_t)seconds), wait);
}
