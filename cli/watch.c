/* SPDX-License-Identifier: MIT */

/*
 * watch: what changes, a line each, as it happens.
 *
 *     09:12:04  host                 connecting -> connected
 *     09:14:31  given to the host    0 B -> 512.0 MiB
 *
 * The daemon says each second how everything is (GET /v1/events); here that is compared with what it
 * said before. What things are at the beginning is shown, too, so that the lines have something to
 * start from. With --json each line is an object, with null for what was before.
 */

#include "cli/cli.h"

#include "base/terminal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	SILENCE_MS = 30000, /* the daemon says something each second */
};

enum kind {
	TEXT,
	BYTES,
};

/* What is watched of an event. */
static const struct watched {
	const char *name;
	const char *path[4]; /* member by member */
	enum kind kind;
} watched[] = {
	{"host", {"host", "state"}, TEXT},
	{"why there is no host", {"host", "error"}, TEXT},
	{"memory", {"memory", "state"}, TEXT},
	{"given to the host", {"memory", "ballooned_bytes"}, BYTES},
	{"added by the host", {"memory", "hot_add", "added_bytes"}, BYTES},
	{"memory given up", {"memory", "given_up"}, TEXT},
	{"backup", {"backup", "phase"}, TEXT},
	{"last backup", {"backup", "last", "started"}, TEXT},
	{"last backup's class", {"backup", "last", "class"}, TEXT},
	{"health", {"heartbeat", "application"}, TEXT},
	{"file that is copied", {"copy", "current", "name"}, TEXT},
};

static const json_t *find(const json_t *event, const struct watched *w)
{
	for (size_t i = 0; i < 4 && w->path[i]; i++)
		event = json_object_get(event, w->path[i]);
	return event;
}

static const char *as_text(const json_t *value, enum kind kind, char text[200])
{
	switch (kind) {
	case TEXT:
		snprintf(text, 200, "%s", json_string_value(value) ? json_string_value(value) : "none");
		break;
	case BYTES:
		snprintf(text, 200, "%s", size_format((uint64_t)json_integer_value(value)).text);
		break;
	}
	return text;
}

struct watch {
	bool json;
	json_t *before; /* the last event; NULL: this is the first */
};

static void tell_json(const char *name, const json_t *before, const json_t *now)
{
	char at[32];
	time_t seconds = time(NULL);
	struct tm tm;
	json_t *line;

	strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &tm));
	line = json_pack("{s:i, s:s, s:s, s:O?, s:O?}", "schema", 1, "at", at, "what", name, "before",
			 before, "now", now);
	ask_print_json_line(line);
	json_decref(line);
}

static void tell(const struct watch *w, const char *name, enum kind kind, const json_t *before,
		 const json_t *now)
{
	char at[16], old[200], new[200];
	time_t seconds = time(NULL);
	struct tm tm;

	if (w->json) {
		tell_json(name, before, now);
		return;
	}
	strftime(at, sizeof(at), "%H:%M:%S", localtime_r(&seconds, &tm));
	printf("%s%s%s  %-20s ", terminal_begin(stdout, TERMINAL_FAINT), at,
	       terminal_end(stdout, TERMINAL_FAINT), name);
	if (w->before)
		printf("%s -> ", as_text(before, kind, old));
	puts(as_text(now, kind, new));
	fflush(stdout);
}

/* At the beginning what is not there is not said. */
static void compare(const struct watch *w, const char *name, enum kind kind, const json_t *before,
		    const json_t *now)
{
	bool is_nothing = !now || json_is_null(now);

	if (w->before ? !json_equal(before ? before : json_null(), now ? now : json_null())
		      : !is_nothing)
		tell(w, name, kind, before, now);
}

/* The channel of this service in an event; NULL: there is none. */
static const json_t *find_channel(const json_t *event, const char *service)
{
	const json_t *channel;
	size_t i;

	json_array_foreach(json_object_get(event, "channels"), i, channel)
		if (!strcmp(text_of(channel, "service"), service))
			return channel;
	return NULL;
}

static void compare_channels(const struct watch *w, const json_t *event)
{
	const json_t *channel;
	size_t i;

	json_array_foreach(json_object_get(event, "channels"), i, channel) {
		const char *service = text_of(channel, "service");
		char name[64];

		snprintf(name, sizeof(name), "channel %.40s", service);
		compare(w, name, TEXT, json_object_get(find_channel(w->before, service), "state"),
			json_object_get(channel, "state"));
	}
}

static bool take_event(void *user, const char *event, const json_t *data)
{
	struct watch *w = user;

	if (strcmp(event, "state") != 0)
		return true;
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		compare(w, watched[i].name, watched[i].kind, find(w->before, &watched[i]),
			find(data, &watched[i]));
	compare_channels(w, data);
	json_decref(w->before);
	w->before = json_deep_copy(data);
	return w->before && !ferror(stdout);
}

int verb_watch(const struct cli *cli)
{
	struct watch w = {.json = cli->json};
	int r = ask_events(&cli->to, "/v1/events", SILENCE_MS, take_event, &w);

	json_decref(w.before);
	return r;
}
