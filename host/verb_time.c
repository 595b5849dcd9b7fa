/* SPDX-License-Identifier: MIT */

/*
 * hvhost time: what a guest is told of the time.
 *
 * Guests are told the right time every five seconds without this. It is for a guest that is to be
 * told at once, and for tests: a host whose clock is wrong, runs at another rate, or whose messages
 * are old. What the guest makes of it is in the guest's own status.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <stdlib.h>

static int print_time(const json_t *time)
{
	const json_int_t syncs = json_integer_value(json_object_get(time, "syncs"));

	printf("time: %s, protocol %s; %" JSON_INTEGER_FORMAT " sent, %" JSON_INTEGER_FORMAT
	       " to set the clock, %" JSON_INTEGER_FORMAT " answered, %" JSON_INTEGER_FORMAT
	       " of them with a failure\n",
	       command_text(time, "state"), command_text(time, "version"),
	       json_integer_value(json_object_get(time, "sent")), syncs,
	       json_integer_value(json_object_get(time, "answered")),
	       json_integer_value(json_object_get(time, "refused")));
	printf("told every %.1f s: wrong by %.6f s, drifting %.3f ppm, %.3f s old\n",
	       json_number_value(json_object_get(time, "period_seconds")),
	       json_number_value(json_object_get(time, "offset_seconds")),
	       json_number_value(json_object_get(time, "drift_ppm")),
	       json_number_value(json_object_get(time, "age_seconds")));
	return EXIT_OK;
}

/* Adds @text to @body as a number, if it was given. False, and *ret_code: it is none. */
static bool add_number(json_t *body, const char *key, const char *option, const char *text, int *ret_code)
{
	char *end;
	double number;

	if (!text)
		return true;
	number = strtod(text, &end);
	if (end != text && *end == '\0' && json_object_set_new(body, key, json_real(number)) == 0)
		return true;
	*ret_code = command_refuse(option, text, "a number");
	return false;
}

int verb_time(int argc, char **argv)
{
	const char *every = NULL, *offset = NULL, *drift = NULL, *age = NULL, *leap = NULL, *stratum = NULL;
	bool step = false, sample = false, probe = false;
	const struct command_option options[] = {
		{"step", NULL, "ask at once for the clock to be set", .flag = &step},
		{"sample", NULL, "send a sample at once", .flag = &sample},
		{"probe", NULL, "send at once what asks for nothing", .flag = &probe},
		{"every", "SECONDS", "between samples (default: 5)", .text = &every},
		{"offset", "SECONDS", "for tests: be so much ahead, or behind", .text = &offset},
		{"drift", "PPM", "for tests: and this much more from now on", .text = &drift},
		{"age", "SECONDS", "for tests: tell what was so long ago", .text = &age},
		{"leap", "0..3", "for tests: NTP's leap indicator", .text = &leap},
		{"stratum", "0..255", "for tests: NTP's stratum", .text = &stratum},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "time GUEST [--step | --sample | --probe] [OPTION...] [--json]",
		.options = options,
		.min_words = 1,
		.max_words = 1,
	};
	_cleanup_free_ char *path = NULL;
	json_t *body;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (step + sample + probe > 1)
		return command_complain(&c, "one of --step, --sample and --probe");
	path = command_guest_path(c.words[0], "/time");
	body = json_object();
	r = EXIT_ERROR;
	if (!path || !add_number(body, "every_seconds", "--every", every, &r) ||
	    !add_number(body, "offset_seconds", "--offset", offset, &r) ||
	    !add_number(body, "drift_ppm", "--drift", drift, &r) ||
	    !add_number(body, "age_seconds", "--age", age, &r) ||
	    !add_number(body, "leap", "--leap", leap, &r) ||
	    !add_number(body, "stratum", "--stratum", stratum, &r)) {
		json_decref(body);
		return r;
	}
	if (step || sample || probe)
		json_object_set_new(body, "send", json_string(step ? "step" : sample ? "sample" : "probe"));
	return command_ask(&c, "POST", path, body, print_time);
}
