/* SPDX-License-Identifier: MIT */

/*
 * check: one line for a monitor, in the way of Nagios' plugins (base/findings).
 *
 *     OK - connected, last backup application 2 h ago | available=24369954816B;;1301581824 ...
 *
 * The exit codes are theirs and not those of the other verbs: 0 all is well, 1 look at it, 2 act, 3
 * nothing is known. What the daemon has not been asked to do (a service that is off) is no finding.
 */

#include "cli/cli.h"

#include "base/findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	OPTION_BACKUP_AGE,
	TIMEOUT_MS = 10000,
	HOURS_MAX = 24 * 366,
};

static void look_at_host(struct findings *f, const json_t *status)
{
	const json_t *host = json_object_get(status, "host");
	const json_t *memory = json_object_get(status, "memory");
	const json_t *missing = json_object_get(status, "missing_capabilities"), *name;
	size_t i;

	if (strcmp(text_of(host, "state"), "connected") != 0)
		findings_add(f, FINDING_CRITICAL, "no host (%s)",
		     json_object_get(host, "error") ? text_of(host, "error") : text_of(host, "state"));
	if (json_object_get(memory, "given_up"))
		findings_add(f, FINDING_WARNING, "dynamic memory given up: %s", text_of(memory, "given_up"));
	if (json_object_get(memory, "unanswered"))
		findings_add(f, FINDING_WARNING, "the host does not answer for dynamic memory");
	json_array_foreach(missing, i, name)
		findings_add(f, FINDING_WARNING, "missing %.100s", json_string_value(name));
	if (!strcmp(text_of(json_object_get(status, "heartbeat"), "application"), "critical"))
		findings_add(f, FINDING_CRITICAL, "a program here says that it is critical (hvguestctl health)");
}

/* Seconds since an ISO 8601 time in UTC; negative: it cannot be read. */
static double age_of(const char *text)
{
	struct tm tm = {0};

	if (!strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return -1;
	return difftime(time(NULL), timegm(&tm));
}

static void look_at_backup(struct findings *f, const json_t *status, unsigned long max_hours)
{
	const json_t *backup = json_object_get(status, "backup");
	const json_t *last = json_object_get(backup, "last");
	const char *class = text_of(last, "class");
	double age = age_of(text_of(last, "started"));

	if (json_object_get(backup, "problem"))
		findings_add(f, FINDING_WARNING, "backup: %s", text_of(backup, "problem"));
	if (json_object_get(backup, "device_problem"))
		findings_add(f, FINDING_WARNING, "backup: %s", text_of(backup, "device_problem"));
	if (!json_is_object(last)) {
		if (max_hours > 0)
			findings_add(f, FINDING_WARNING, "no backup has been made");
		return;
	}
	if (!strcmp(class, "failed") || !strcmp(class, "crash"))
		findings_add(f, !strcmp(class, "failed") ? FINDING_CRITICAL : FINDING_WARNING, "last backup: %s",
		     text_of(last, "result"));
	if (max_hours > 0 && age > (double)max_hours * 3600)
		findings_add(f, FINDING_WARNING, "last backup %.0f h ago", age / 3600);
}

static void print_findings(const struct findings *f, const json_t *status)
{
	const json_t *last = json_object_get(json_object_get(status, "backup"), "last");
	char all_well[80];

	snprintf(all_well, sizeof(all_well), "connected to the host, last backup: %s",
		 json_is_object(last) ? text_of(last, "class") : "none");
	findings_print(f, all_well);
}

/* Amounts that a monitor draws: 'name'=value[unit];warn;crit. */
static void print_amounts(const json_t *status)
{
	const json_t *memory = json_object_get(status, "memory");
	const json_t *last = json_object_get(json_object_get(status, "backup"), "last");

	printf(" | ballooned=%" JSON_INTEGER_FORMAT "B", number_of(memory, "ballooned_bytes"));
	if (json_object_get(memory, "available_bytes"))
		printf(" available=%" JSON_INTEGER_FORMAT "B;;%" JSON_INTEGER_FORMAT ":",
		       number_of(memory, "available_bytes"), number_of(memory, "floor_bytes") / 2);
	if (json_is_object(last))
		printf(" window=%" JSON_INTEGER_FORMAT "us", number_of(last, "window_us"));
	putchar('\n');
}

/* False, and a message, if the option's value is no number of hours. */
static bool read_hours(const struct cli *cli, unsigned long *ret_hours)
{
	const char *text = cli->values[OPTION_BACKUP_AGE];
	char *end;

	*ret_hours = 0;
	if (!text)
		return true;
	*ret_hours = strtoul(text, &end, 10);
	if (*text >= '1' && *text <= '9' && *end == '\0' && *ret_hours <= HOURS_MAX)
		return true;
	fprintf(stderr, "hvguestctl: --backup-age %s: hours, 1 to %d\n", text, HOURS_MAX);
	return false;
}

int verb_check(const struct cli *cli)
{
	struct findings f = {.n = 0};
	unsigned long hours;
	json_t *status, *json;

	if (!read_hours(cli, &hours))
		return FINDING_UNKNOWN;
	if (ask(&cli->to, "GET", "/v1/status", NULL, TIMEOUT_MS, &status)) {
		puts("UNKNOWN - hvguestd does not answer");
		return FINDING_UNKNOWN;
	}
	look_at_host(&f, status);
	look_at_backup(&f, status, hours);
	if (cli->json) {
		json = findings_json(&f);
		ask_print_json(json);
		json_decref(json);
	} else {
		print_findings(&f, status);
		print_amounts(status);
	}
	json_decref(status);
	return (int)findings_worst(&f);
}
