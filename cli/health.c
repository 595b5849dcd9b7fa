/* SPDX-License-Identifier: MIT */

/*
 * hvguestctl health: what programs in this guest say of themselves to the host, and saying it.
 *
 * A program calls `health set critical "the disk is full"` when it is in trouble, and `health set
 * healthy` when it is over. One whose silence is the trouble calls `health set healthy --for 60 --then
 * critical` more often than that.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPTION_SOURCE, /* as in the table of verbs */
	OPTION_FOR,
	OPTION_THEN,
};

static void print_health(const json_t *health)
{
	const json_t *reports = json_object_get(health, "reports"), *report;
	const json_t *backup = json_object_get(health, "backup");
	size_t i;

	printf("%s\n", text_of(health, "state"));
	json_array_foreach(reports, i, report) {
		printf("  %-16s %-9s %s%s\n", text_of(report, "source"), text_of(report, "state"),
		       text_of(report, "text"),
		       json_is_true(json_object_get(report, "expired")) ? " (not heard of since)" : "");
		if (json_object_get(report, "seconds_left"))
			printf("  %-16s for %s, then %s\n", "", seconds_of(report, "seconds_left").text,
			       text_of(report, "then"));
	}
	if (json_object_get(backup, "seconds_left"))
		printf("  a backup holds this machine: %s, %s left\n", text_of(backup, "hold"),
		       seconds_of(backup, "seconds_left").text);
}

static int health_code(const json_t *health)
{
	return strcmp(text_of(health, "state"), "healthy") == 0 ? EXIT_OK : EXIT_DEGRADED;
}

static int usage_error(void)
{
	fputs("hvguestctl: health [set healthy|critical [TEXT]]: see hvguestctl --help\n", stderr);
	return EXIT_USAGE;
}

static int set_health(const struct cli *cli)
{
	const char *text = cli->n_operands > 2 ? cli->operands[2] : NULL;
	json_t *body = json_pack("{s:s, s:s*, s:s*, s:s*}", "state", cli->operands[1], "text", text,
				 "source", cli->values[OPTION_SOURCE], "then", cli->values[OPTION_THEN]);
	const char *ttl = cli->values[OPTION_FOR];
	char *end;

	if (ttl) {
		double seconds = strtod(ttl, &end);

		if (end == ttl || *end != '\0' || json_object_set_new(body, "seconds", json_real(seconds))) {
			fprintf(stderr, "hvguestctl: --for %s: this is no number of seconds\n", ttl);
			json_decref(body);
			return EXIT_USAGE;
		}
	}
	/* That it was said is what counts here, not how the machine is. */
	return cli_do(cli, "PUT", "/v1/health", body, 10000, print_health, NULL);
}

int verb_health(const struct cli *cli)
{
	if (cli->n_operands == 0)
		return cli_show(cli, "/v1/health", print_health, health_code);
	if (cli->n_operands < 2 || strcmp(cli->operands[0], "set") != 0)
		return usage_error();
	return set_health(cli);
}
