/* SPDX-License-Identifier: MIT */

/*
 * hvhost check and metrics: the host, for those who watch it.
 *
 * check prints one line as Nagios' plugins do, with their exit codes: 0 all is well, 1 look at it, 2
 * act, 3 nothing is known (base/findings). Guests are counted, and the first ones named. metrics prints
 * what Prometheus would be given, or writes it to a file for node_exporter.
 */

#include "base/findings.h"
#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <string.h>

enum {
	NAMES_MAX = 3, /* of guests that are named */
};

/* Guests of whom something is to be said. */
struct crowd {
	size_t n;
	char names[96];
};

static void add_to(struct crowd *crowd, const json_t *guest)
{
	size_t used = strlen(crowd->names);

	if (crowd->n++ < NAMES_MAX)
		snprintf(crowd->names + used, sizeof(crowd->names) - used, "%s%.28s", used ? ", " : "",
			 command_text(guest, "name"));
}

static void tell(struct findings *f, enum finding_level level, const struct crowd *crowd,
		 const char *what)
{
	if (crowd->n > 0)
		findings_add(f, level, "%zu guest%s %s (%s%s)", crowd->n, crowd->n == 1 ? "" : "s", what,
			     crowd->names, crowd->n > NAMES_MAX ? ", ..." : "");
}

static void look_at_guests(struct findings *f, const json_t *guests)
{
	struct crowd lost = {0}, starving = {0}, stubborn = {0};
	const json_t *guest;
	size_t i;

	json_array_foreach(guests, i, guest) {
		if (!strcmp(command_text(guest, "heartbeat"), "lost"))
			add_to(&lost, guest);
		if (json_integer_value(json_object_get(guest, "pressure_percent")) > 100)
			add_to(&starving, guest);
		if (json_is_false(json_object_get(guest, "obeying")))
			add_to(&stubborn, guest);
	}
	tell(f, FINDING_CRITICAL, &lost, "without a heartbeat");
	tell(f, FINDING_WARNING, &starving, "with less memory than needed");
	tell(f, FINDING_WARNING, &stubborn, "that do not do what they are asked");
}

static void look_at_host(struct findings *f, const json_t *host)
{
	if (json_is_true(json_object_get(host, "paused")))
		findings_add(f, FINDING_WARNING, "the balancer is paused (hvhost balance resume)");
	if (json_is_true(json_object_get(host, "dry_run")))
		findings_add(f, FINDING_WARNING, "the balancer orders nothing: dry run (hvhost balance resume)");
	if (json_integer_value(json_object_get(host, "missing_bytes")) > 0)
		findings_add(f, FINDING_WARNING, "memory is short by %s",
			     command_bytes(host, "missing_bytes").text);
}

/* Of each guest its last backup: they come the newest first. */
static void look_at_backups(struct findings *f, const json_t *backups)
{
	struct crowd failed = {0};
	json_t *seen = json_object();
	const json_t *backup;
	size_t i;

	json_array_foreach(backups, i, backup) {
		const char *guest = command_text(backup, "guest");

		if (!json_is_true(json_object_get(backup, "ended")) || json_object_get(seen, guest))
			continue;
		json_object_set_new(seen, guest, json_true());
		if (!strcmp(command_text(backup, "state"), "failed")) {
			json_t *named = json_pack("{s:s}", "name", guest);

			add_to(&failed, named);
			json_decref(named);
		}
	}
	json_decref(seen);
	tell(f, FINDING_WARNING, &failed, "whose last backup failed");
}

static void print_amounts(const json_t *host)
{
	static const struct {
		const char *name, *key, *unit;
	} amounts[] = {
		{"guests", "guests", ""},           {"assigned", "assigned_bytes", "B"},
		{"demand", "demand_bytes", "B"},    {"free", "free_bytes", "B"},
		{"missing", "missing_bytes", "B"},  {"starving", "starving", ""},
		{"not_obeying", "not_obeying", ""},
	};

	fputs(" |", stdout);
	for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
		const json_t *value = json_object_get(host, amounts[i].key);

		if (json_is_integer(value))
			printf(" %s=%" JSON_INTEGER_FORMAT "%s", amounts[i].name, json_integer_value(value),
			       amounts[i].unit);
	}
	putchar('\n');
}

static void print_check(const struct command *c, const struct findings *f, const json_t *host)
{
	char all_well[80];
	json_t *json;

	if (c->json) {
		json = findings_json(f);
		ask_print_json(json);
		json_decref(json);
		return;
	}
	snprintf(all_well, sizeof(all_well), "%" JSON_INTEGER_FORMAT " guest%s",
		 json_integer_value(json_object_get(host, "guests")),
		 json_integer_value(json_object_get(host, "guests")) == 1 ? "" : "s");
	findings_print(f, all_well);
	print_amounts(host);
}

static int unknown(const struct command *c)
{
	struct findings f = {.n = 0};

	findings_add(&f, FINDING_UNKNOWN, "hvhost serve does not answer");
	if (c->json) {
		print_check(c, &f, NULL);
	} else {
		findings_print(&f, "");
		putchar('\n');
	}
	return FINDING_UNKNOWN;
}

int verb_check(int argc, char **argv)
{
	_cleanup_command_ struct command c = {.usage = "check [--json]", .looks = true};
	struct findings f = {.n = 0};
	json_t *board, *backups;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r == EXIT_USAGE ? (int)FINDING_UNKNOWN : r;
	if (ask(&c.to, "GET", "/v1/board", NULL, COMMAND_TIMEOUT_MS, &board))
		return unknown(&c);
	if (ask(&c.to, "GET", "/v1/backups", NULL, COMMAND_TIMEOUT_MS, &backups)) {
		json_decref(board);
		return unknown(&c);
	}
	look_at_guests(&f, json_object_get(board, "guests"));
	look_at_host(&f, json_object_get(board, "host"));
	look_at_backups(&f, json_object_get(backups, "backups"));
	print_check(&c, &f, json_object_get(board, "host"));
	json_decref(board);
	json_decref(backups);
	return (int)findings_worst(&f);
}

int verb_metrics(int argc, char **argv)
{
	const char *textfile = NULL;
	const struct command_option options[] = {
		{"textfile", "FILE", "write them there, whole or not at all, for node_exporter's textfile collector",
		 .text = &textfile},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "metrics [--textfile FILE] [--json]",
		.options = options,
		.looks = true,
	};
	int r = command_parse(&c, argc, argv);

	return r >= 0 ? r : ask_metrics(&c.to, textfile, c.json, COMMAND_TIMEOUT_MS);
}
