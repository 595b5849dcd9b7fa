/* SPDX-License-Identifier: MIT */

/*
 * hvhost watch: what changes, a line each, as it happens.
 *
 *     09:12:04  web1             1.0 GiB -> 1.4 GiB: it needs more
 *     09:14:31  web1             backup 3: done, application, frozen for 48 ms
 *
 * The host says each second which guests have changed (GET /v1/events), as the dashboard gets it; here
 * that is compared with what it said before. With --json each line is an object.
 */

#include "base/terminal.h"
#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SILENCE_MS = 30000, /* the host says something each second */
	FLAG_STUBBORN = 1,
	FLAG_LOST = 4,
	FLAG_BACKUP = 8,
};

/* The places in a guest's line. */
enum {
	AT_NAME = 0,
	AT_ASSIGNED = 1,
	AT_TARGET = 4,
	AT_FLAGS = 6,
	AT_TARGET_WHY = 9,
};

struct watch {
	bool json;
	bool begun;       /* the whole board is known; before that nobody is new */
	json_t *reasons;  /* texts, by their numbers */
	json_t *guests;   /* name -> the last line */
	json_t *stale;    /* of a board that is sent anew: those that were not there yet */
	json_t *backups;  /* id -> the last state, and whether it has a receipt */
	const char *guest; /* only this one; NULL: all */
};

static json_int_t number_at(const json_t *line, size_t place)
{
	return json_integer_value(json_array_get(line, place));
}

/* The line of JSON has what @take_more has, too. */
static void tell(const struct watch *w, const char *guest, const char *event, json_t *take_more,
		 enum terminal_colour colour, const char *text)
{
	char at[32];
	time_t seconds = time(NULL);
	struct tm tm;

	if (w->guest && strcmp(w->guest, guest) != 0) {
		json_decref(take_more);
		return;
	}
	if (w->json) {
		json_t *line;

		strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
		line = json_pack("{s:i, s:s, s:s, s:s}", "schema", 1, "at", at, "guest", guest, "event",
				 event);
		json_object_update(line, take_more);
		ask_print_json_line(line);
		json_decref(line);
	} else {
		strftime(at, sizeof(at), "%H:%M:%S", localtime_r(&seconds, &tm));
		printf("%s%s%s  %-16s %s%s%s\n", terminal_begin(stdout, TERMINAL_FAINT), at,
		       terminal_end(stdout, TERMINAL_FAINT), guest, terminal_begin(stdout, colour), text,
		       terminal_end(stdout, colour));
		fflush(stdout);
	}
	json_decref(take_more);
}

static struct size_text mib(json_int_t n)
{
	return size_format((uint64_t)n << 20);
}

static void compare_target(const struct watch *w, const char *name, const json_t *before,
			   const json_t *now)
{
	json_int_t old = number_at(before, AT_TARGET), new = number_at(now, AT_TARGET);
	json_int_t reason = number_at(now, AT_TARGET_WHY); /* 0: an operation ended before its time */
	const char *why = reason ? json_string_value(json_array_get(w->reasons, (size_t)reason)) : NULL;
	char text[200];

	if (old == new)
		return;
	snprintf(text, sizeof(text), "%s -> %s%s%s", mib(old).text, mib(new).text, why ? ": " : "", why ?: "");
	tell(w, name, "target",
	     json_pack("{s:I, s:I, s:s?}", "before_bytes", old << 20, "now_bytes", new << 20, "why", why),
	     TERMINAL_PLAIN, text);
}

static void compare_flags(const struct watch *w, const char *name, json_int_t before, json_int_t now)
{
	static const struct {
		json_int_t flag;
		const char *event, *on, *off;
	} flags[] = {
		{FLAG_STUBBORN, "obeying", "does not do what it is asked", "does what it is asked again"},
		{FLAG_LOST, "heartbeat", "heartbeat lost", "heartbeat is back"},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		bool on = (now & flags[i].flag) != 0;

		if (((before ^ now) & flags[i].flag) != 0)
			tell(w, name, flags[i].event, json_pack("{s:b}", "well", !on),
			     on ? TERMINAL_BAD : TERMINAL_GOOD, on ? flags[i].on : flags[i].off);
	}
}

static void take_guest(struct watch *w, json_t *line)
{
	const char *name = json_string_value(json_array_get(line, AT_NAME));
	const json_t *before = name ? json_object_get(w->guests, name) : NULL;
	char text[64];

	if (!name)
		return;
	if (before) {
		compare_target(w, name, before, line);
		compare_flags(w, name, number_at(before, AT_FLAGS), number_at(line, AT_FLAGS));
	} else if (w->begun) {
		snprintf(text, sizeof(text), "is there, with %s", mib(number_at(line, AT_ASSIGNED)).text);
		tell(w, name, "connected",
		     json_pack("{s:I}", "assigned_bytes", number_at(line, AT_ASSIGNED) << 20), TERMINAL_GOOD,
		     text);
	}
	json_object_del(w->stale, name);
	json_object_set(w->guests, name, line);
}

static void take_gone(struct watch *w, const char *name)
{
	if (json_object_get(w->guests, name))
		tell(w, name, "gone", json_object(), TERMINAL_WARNING, "is gone");
	json_object_del(w->guests, name);
}

/* The board was sent anew: whoever was not in it is gone. */
static void end_of_board(struct watch *w)
{
	const char *name;
	json_t *line;
	void *next;

	json_object_foreach_safe(w->stale, next, name, line)
		take_gone(w, name);
	json_object_clear(w->stale);
}

static void tell_backup(const struct watch *w, const json_t *backup)
{
	const json_t *receipt = json_object_get(backup, "receipt");
	const char *state = command_text(backup, "state");
	bool failed = strcmp(state, "failed") == 0;
	char text[400];
	int n;

	n = snprintf(text, sizeof(text), "backup %s: %s", command_text(backup, "id"), state);
	if (failed)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ": %.200s", command_text(backup, "error"));
	else if (json_is_true(json_object_get(backup, "ended")))
		n += snprintf(text + n, sizeof(text) - (size_t)n, ", frozen for %s",
			      command_seconds(backup, "frozen_seconds").text);
	if (receipt)
		snprintf(text + n, sizeof(text) - (size_t)n, "; its receipt: %.20s", command_text(receipt, "class"));
	tell(w, command_text(backup, "guest"), "backup", json_pack("{s:O}", "backup", backup),
	     failed ? TERMINAL_BAD : TERMINAL_PLAIN, text);
}

static void take_backups(struct watch *w, const json_t *backups)
{
	const json_t *backup;
	bool first = !w->backups;
	size_t i;

	if (first)
		w->backups = json_object();
	for (i = json_array_size(backups); i > 0; i--) {
		const char *id, *before;
		char now[48];

		backup = json_array_get(backups, i - 1);
		id = command_text(backup, "id");
		before = json_string_value(json_object_get(w->backups, id));
		snprintf(now, sizeof(now), "%.30s%s", command_text(backup, "state"),
			 json_object_get(backup, "receipt") ? ", receipt" : "");
		if (!first && (!before || strcmp(before, now) != 0))
			tell_backup(w, backup);
		json_object_set_new(w->backups, id, json_string(now));
	}
}

static bool take_event(void *user, const char *event, const json_t *data)
{
	struct watch *w = user;
	json_t *part;
	size_t i;

	if (!strcmp(event, "reset")) {
		json_object_update(w->stale, w->guests);
	} else if (!strcmp(event, "guests")) {
		json_array_foreach(data, i, part)
			take_guest(w, part);
	} else if (!strcmp(event, "gone")) {
		json_array_foreach(data, i, part)
			take_gone(w, json_string_value(part));
	} else if (!strcmp(event, "backups")) {
		take_backups(w, json_object_get(data, "backups"));
		w->begun = true; /* it comes at the end of the first round */
	} else if (!strcmp(event, "host")) {
		end_of_board(w);
	}
	return !ferror(stdout);
}

int verb_watch(int argc, char **argv)
{
	_cleanup_command_ struct command c = {
		.usage = "watch [GUEST] [--json]",
		.max_words = 1,
		.looks = true,
	};
	struct watch w = {0};
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	r = ask(&c.to, "GET", "/v1/reasons", NULL, COMMAND_TIMEOUT_MS, &w.reasons);
	if (r)
		return r;
	w.json = c.json;
	w.guest = c.n_words ? c.words[0] : NULL;
	w.guests = json_object();
	w.stale = json_object();
	r = ask_events(&c.to, "/v1/events", SILENCE_MS, take_event, &w);
	json_decref(w.reasons);
	json_decref(w.guests);
	json_decref(w.stale);
	json_decref(w.backups);
	return r;
}
