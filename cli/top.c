/* SPDX-License-Identifier: MIT */

/*
 * top: this machine's memory and channels, live.
 *
 * On a terminal the picture is drawn over and over in place, until Ctrl-C or q; elsewhere each picture
 * follows the last, for a log. With --json each is one line. The daemon is asked as often as a picture
 * is drawn and no more, so that looking costs it next to nothing.
 */

#include "cli/cli.h"

#include "base/cleanup.h"
#include "base/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	OPTION_INTERVAL,
	OPTION_COUNT,
	TIMEOUT_MS = 10000,
	INTERVAL_MAX_S = 3600,
};

static void print_memory_lines(const json_t *status, const json_t *why)
{
	const json_t *memory = json_object_get(status, "memory");
	const json_t *inputs = json_object_get(json_object_get(why, "memory"), "inputs");
	const json_t *report = json_object_get(json_object_get(why, "memory"), "report");

	printf("memory      %s of %s available, %s to be left; %s given to the host\n",
	       bytes_of(inputs, "mem_available_bytes").text, bytes_of(inputs, "mem_total_bytes").text,
	       bytes_of(memory, "floor_bytes").text, bytes_of(memory, "ballooned_bytes").text);
	printf("reported    %s needed (%s)\n", bytes_of(report, "committed_bytes").text,
	       text_of(report, "rule"));
	printf("stalls      some tasks %.1f %%, all tasks %.1f %% of the last ten seconds\n",
	       json_number_value(json_object_get(inputs, "stall_some_avg10_percent")),
	       json_number_value(json_object_get(inputs, "stall_full_avg10_percent")));
}

static void print_channels(const json_t *vmbus)
{
	const json_t *c;
	size_t i;

	printf("\n%-12s %-10s %12s %8s  %s\n", "CHANNEL", "STATE", "REQUESTS", "ERRORS", "LAST");
	json_array_foreach(json_object_get(vmbus, "channels"), i, c)
		printf("%-12s %-10s %12" JSON_INTEGER_FORMAT " %8" JSON_INTEGER_FORMAT "  %s\n",
		       text_of(c, "service"), text_of(c, "state"), number_of(c, "requests"),
		       number_of(c, "errors"),
		       json_object_get(c, "quiet_seconds") ? seconds_of(c, "quiet_seconds").text : "-");
}

static void print_picture(const struct terminal_live *t, const json_t *all)
{
	const json_t *status = json_object_get(all, "status");
	char now[32];
	time_t seconds = time(NULL);
	struct tm tm;

	strftime(now, sizeof(now), "%H:%M:%S", localtime_r(&seconds, &tm));
	terminal_live_draw(t);
	printf("%s  %s, host %s%s\n\n", now, text_of(status, "name"),
	       text_of(json_object_get(status, "host"), "state"), t->reads_keys ? "  (q ends)" : "");
	print_memory_lines(status, json_object_get(all, "why"));
	printf("backup      %s\n", text_of(json_object_get(status, "backup"), "phase"));
	print_channels(json_object_get(all, "vmbus"));
	fflush(stdout);
}

/* All that a picture shows; NULL, and *ret_code, if it cannot be had. */
static json_t *ask_all(const struct cli *cli, int *ret_code)
{
	static const char *const names[] = {"status", "why", "vmbus"};
	json_t *all = json_pack("{s:i}", "schema", 1), *answer;
	char path[32];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "/v1/%s", names[i]);
		*ret_code = ask(&cli->to, "GET", path, NULL, TIMEOUT_MS, &answer);
		if (*ret_code) {
			json_decref(all);
			return NULL;
		}
		json_object_set_new(all, names[i], answer);
	}
	return all;
}

/* False, and a message, if the option has no such value. */
static bool read_number(const struct cli *cli, int option, const char *name, long *ret_number)
{
	const char *text = cli->values[option];
	char *end;

	if (!text)
		return true;
	*ret_number = strtol(text, &end, 10);
	if (*text >= '1' && *text <= '9' && *end == '\0' && *ret_number <= INTERVAL_MAX_S)
		return true;
	fprintf(stderr, "hvguestctl: --%s %s: a number, 1 to %d\n", name, text, INTERVAL_MAX_S);
	return false;
}

int verb_top(const struct cli *cli)
{
	long interval_s = 1, count = 0;
	struct terminal_live t = {0};
	int r = EXIT_OK;

	if (!read_number(cli, OPTION_INTERVAL, "interval", &interval_s) ||
	    !read_number(cli, OPTION_COUNT, "count", &count))
		return EXIT_USAGE;
	if (!cli->json)
		terminal_live_open(&t);
	for (long i = 0; count == 0 || i < count; i++) {
		json_t *all;

		if (i > 0 && !terminal_live_wait(&t, (int)interval_s * 1000))
			break;
		all = ask_all(cli, &r);
		if (!all)
			break;
		if (cli->json)
			ask_print_json_line(all);
		else
			print_picture(&t, all);
		json_decref(all);
	}
	terminal_live_close(&t);
	return r;
}
