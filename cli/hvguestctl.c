/* SPDX-License-Identifier: MIT */

/*
 * hvguestctl: asks hvguestd, and shows the answer to people or, with --json, to programs.
 *
 * It knows nothing of the daemon but its API. A verb asks one path; its printer turns the answer
 * into text. The JSON is passed on as it came, so its schema is the API's.
 */

#include "base/ask.h"
#include "base/size.h"
#include "base/usage.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_API "/run/hvguest/api.sock"

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static json_int_t number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static struct size_text bytes_of(const json_t *object, const char *key)
{
	return size_format(number_of(object, key));
}

/* A duration that the API gives in seconds. */
static struct size_text seconds_of(const json_t *object, const char *key)
{
	return duration_format(json_number_value(json_object_get(object, key)) * 1e9);
}

/* No backup is nothing wrong. */
static int receipt_code(const json_t *receipt)
{
	return json_is_false(json_object_get(receipt, "consistent")) ? EXIT_DEGRADED : EXIT_OK;
}

static void print_receipt(const json_t *receipt)
{
	const json_t *list = json_object_get(receipt, "file_systems"), *fs;
	size_t i;

	if (!json_object_get(receipt, "result")) {
		puts("No backup has been made since hvguestd started.");
		return;
	}
	printf("backup at %s: %s\n", text_of(receipt, "started"), text_of(receipt, "result"));
	printf("  consistent: %s, frozen for %s\n",
	       json_is_true(json_object_get(receipt, "consistent")) ? "yes" : "no",
	       seconds_of(receipt, "frozen_seconds").text);
	printf("  %-28s %-8s %-12s %10s %10s  %s\n", "MOUNT", "TYPE", "RESULT", "FREEZE", "THAW",
	       "WHY");
	json_array_foreach(list, i, fs) {
		bool frozen = json_is_number(json_object_get(fs, "freeze_seconds"));

		printf("  %-28s %-8s %-12s %10s %10s  %s\n", text_of(fs, "target"),
		       text_of(fs, "type"), text_of(fs, "state"),
		       frozen ? seconds_of(fs, "freeze_seconds").text : "-",
		       frozen ? seconds_of(fs, "thaw_seconds").text : "-", text_of(fs, "reason"));
	}
}

static void print_memory(const json_t *m)
{
	const json_t *pages = json_object_get(m, "pages");

	printf("memory      %s (channel %s, protocol %s)\n", text_of(m, "state"),
	       text_of(m, "channel"), text_of(m, "version"));
	if (!pages)
		return;
	printf("            committed %s, available %s, floor %s\n",
	       bytes_of(m, "committed_bytes").text, bytes_of(m, "available_bytes").text,
	       bytes_of(m, "floor_bytes").text);
	printf("            ballooned %s (2 MiB pages %s, 4 KiB pages %s)%s\n",
	       bytes_of(m, "ballooned_bytes").text, bytes_of(pages, "huge_bytes").text,
	       bytes_of(pages, "small_bytes").text,
	       json_is_true(json_object_get(pages, "pinned")) ? "" : ", NOT PINNED");
}

static void print_backup(const json_t *b)
{
	printf("backup      %s (channel %s, protocol %s)\n", text_of(b, "state"),
	       text_of(b, "channel"), text_of(b, "version"));
	if (json_object_get(b, "problem"))
		printf("            %s\n", text_of(b, "problem"));
	if (json_object_get(b, "remaining_seconds"))
		printf("            thaws by itself in %s\n", seconds_of(b, "remaining_seconds").text);
	if (json_is_object(json_object_get(b, "last")))
		printf("            last: %s\n", text_of(json_object_get(b, "last"), "result"));
}

static int status_code(const json_t *status)
{
	const json_t *host = json_object_get(status, "host");

	return strcmp(text_of(host, "state"), "connected") == 0 ? EXIT_OK : EXIT_DEGRADED;
}

static void print_status(const json_t *status)
{
	const json_t *host = json_object_get(status, "host");
	const json_t *heartbeat = json_object_get(status, "heartbeat");
	const json_t *list = json_object_get(status, "missing_capabilities"), *name;
	size_t i;

	printf("guest       %s, hvguestd %s\n", text_of(status, "name"), text_of(status, "version"));
	printf("host        %s at %s%s%s\n", text_of(host, "state"),
	       json_object_get(host, "socket") ? text_of(host, "socket") : "VMBus",
	       json_object_get(host, "error") ? ": " : "",
	       json_object_get(host, "error") ? text_of(host, "error") : "");
	json_array_foreach(list, i, name)
		printf("missing     %s\n", json_string_value(name));
	printf("heartbeat   %" JSON_INTEGER_FORMAT " answered (channel %s, protocol %s)\n",
	       number_of(heartbeat, "answered"), text_of(heartbeat, "channel"),
	       text_of(heartbeat, "version"));
	print_memory(json_object_get(status, "memory"));
	print_backup(json_object_get(status, "backup"));
}

/* A number of bytes or of things that a device may not have. */
static struct size_text maybe(const json_t *object, const char *key, bool is_bytes)
{
	struct size_text text = {"-"};

	if (!json_object_get(object, key))
		return text;
	if (is_bytes)
		return bytes_of(object, key);
	snprintf(text.text, sizeof(text.text), "%" JSON_INTEGER_FORMAT, number_of(object, key));
	return text;
}

static void print_vmbus(const json_t *answer)
{
	const json_t *devices = json_object_get(answer, "devices"), *d;
	const json_t *channels = json_object_get(answer, "channels"), *c;
	size_t i;

	if (json_array_size(devices) > 0)
		printf("%-14s %-36s %-16s %4s %10s %8s %8s %10s  %s\n", "CLASS", "INSTANCE", "DRIVER",
		       "UIO", "RING", "IN", "OUT", "INTERRUPTS", "HVGUESTD");
	json_array_foreach(devices, i, d)
		printf("%-14s %-36s %-16s %4s %10s %8s %8s %10s  %s\n", text_of(d, "class"),
		       text_of(d, "instance"), text_of(d, "driver"), maybe(d, "uio", false).text,
		       maybe(d, "ring_bytes", true).text, maybe(d, "in_bytes", true).text,
		       maybe(d, "out_bytes", true).text, maybe(d, "interrupts", false).text,
		       text_of(d, "service_state"));
	json_array_foreach(channels, i, c)
		printf("channel     %s: %s\n", text_of(c, "service"), text_of(c, "state"));
}

/* A list is an answer, whatever is in it. */
static int vmbus_code(const json_t *answer)
{
	(void)answer;
	return EXIT_OK;
}

struct verb {
	const char *name;
	const char *path;
	const char *help;
	void (*print)(const json_t *answer);
	int (*code)(const json_t *answer); /* the exit code, however the answer is shown */
};

static const struct verb verbs[] = {
	{"status", "/v1/status", "what the daemon does and sees; exit code 3 without a host",
	 print_status, status_code},
	{"receipt", "/v1/backup/last",
	 "the last backup, file system by file system; exit code 3 if it was not consistent",
	 print_receipt, receipt_code},
	{"vmbus", "/v1/vmbus", "every VMBus device: its driver, its rings, what hvguestd makes of it",
	 print_vmbus, vmbus_code},
};

enum {
	N_VERBS = sizeof(verbs) / sizeof(verbs[0]),
};

static void print_help(FILE *to)
{
	fputs("Usage: hvguestctl [OPTION...] VERB\nAsks hvguestd.\n\n", to);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
	fputs("\n  --json         the answer as JSON\n"
	      "  --api SOCKET   the daemon's API (default: " DEFAULT_API ")\n"
	      "  --help, --version\n\n"
	      "Exit codes: 0 ok, 1 error, 2 usage, 3 degraded.\n",
	      to);
}

/* NULL, and one line says why, if the arguments are not one verb. */
static const struct verb *find_verb(int n, char **arguments)
{
	static const char help[] = "hvguestctl --help lists them";

	for (size_t i = 0; i < N_VERBS && n == 1; i++)
		if (!strcmp(arguments[0], verbs[i].name))
			return &verbs[i];
	if (n == 0)
		fprintf(stderr, "hvguestctl: which verb? %s\n", help);
	else if (n == 1)
		fprintf(stderr, "hvguestctl: no verb '%s': %s\n", arguments[0], help);
	else
		fprintf(stderr, "hvguestctl: one verb at a time, not '%s' too: %s\n", arguments[1],
			help);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},    {"api", required_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},    {"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	struct ask to = {.program = "hvguestctl", .socket = DEFAULT_API, .daemon = "hvguestd"};
	const struct verb *verb;
	bool json = false;
	json_t *answer;
	int o, r;

	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (o) {
		case 'j':
			json = true;
			break;
		case 'a':
			to.socket = optarg;
			break;
		case 'h':
			print_help(stdout);
			return EXIT_OK;
		case 'v':
			puts("hvguestctl " PACKAGE_VERSION);
			return EXIT_OK;
		default:
			return usage_complain(o, argv, "hvguestctl", "hvguestctl --help");
		}
	}
	verb = find_verb(argc - optind, argv + optind);
	if (!verb)
		return EXIT_USAGE;

	r = ask(&to, "GET", verb->path, NULL, 10000, &answer);
	if (r)
		return r;
	if (json)
		ask_print_json(answer);
	else
		verb->print(answer);
	r = verb->code(answer);
	json_decref(answer);
	return r;
}
