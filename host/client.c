/* SPDX-License-Identifier: MIT */

/*
 * The verbs of hvhost that ask a running host.
 *
 * They share their options: where the API is, and whether the answer is for a program. A backup
 * takes as long as its copies do, so it is started by one request and followed by others; breaking
 * the command off does not break the backup off, which ends by itself in any case.
 */

#include "base/ask.h"
#include "base/cleanup.h"
#include "base/size.h"
#include "base/usage.h"
#include "host/verbs.h"

#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TIMEOUT_MS = 10000,
	POLL_US = 50000,
	IMAGES_MAX = 64,
	PROGRESS_WIDTH = 40,
};

/* What the command line said; every verb takes some of it. */
struct arguments {
	struct ask to;
	char *api; /* owns to.socket when it was derived from --run-dir */
	bool json;
	const char *positional[3];
	int n_positional;
	const char *assign;
	const char *fault;
	const char *directory;
	const char *since;
	bool keep_base, verify, no_snapshot;
	bool force;
	const char *reason;
	const char *images[IMAGES_MAX];
	int n_images;
};

enum {
	TAKES_BACKUP = 1,
	TAKES_MEMORY = 2,
	TAKES_POWER = 4,
};

static const struct option all_options[] = {
	{"json", no_argument, NULL, 'j'},         {"api", required_argument, NULL, 'a'},
	{"run-dir", required_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'},
	{"fault", required_argument, NULL, 'u'},
	{"assign", required_argument, NULL, 'm'}, {"image", required_argument, NULL, 'i'},
	{"to", required_argument, NULL, 't'},     {"since", required_argument, NULL, 's'},
	{"keep-base", no_argument, NULL, 'k'},    {"verify", no_argument, NULL, 'v'},
	{"no-snapshot", no_argument, NULL, 'n'},  {"force", no_argument, NULL, 'f'},
	{"reason", required_argument, NULL, 'w'}, {NULL, 0, NULL, 0},
};

static void print_usage(const char *usage, int takes)
{
	printf("Usage: hvhost %s\n\n"
	       "  --json          the answer as JSON\n"
	       "  --run-dir DIR   folder of the host's sockets (default: " HVHOST_RUN_DIR ")\n"
	       "  --api SOCKET    the host's API (default: api.sock in that folder)\n",
	       usage);
	if (takes & TAKES_POWER)
		puts("  --force         whatever in the guest objects to it\n"
		     "  --reason TEXT   for the guest's log");
	if (takes & TAKES_BACKUP)
		puts("  --image FILE    an image to copy; may be given again\n"
		     "  --to DIR        where the copies go, each under its image's name\n"
		     "  --verify        read back what was written\n"
		     "  --keep-base     keep a snapshot beside each image, for the next backup's --since\n"
		     "  --since DIR     copy only what has changed since the backup in DIR; keeps a base\n"
		     "  --no-snapshot   copy while the guest is frozen, even if a snapshot could be made");
}

static int usage_error(const char *usage)
{
	fprintf(stderr, "hvhost: usage: hvhost %s\n", usage);
	return EXIT_USAGE;
}

static int refuse_value(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "hvhost: %s %s: this is not %s\n", option, value, wanted);
	return EXIT_USAGE;
}

static bool take_option(struct arguments *a, int option, int takes)
{
	switch (option) {
	case 'j':
		a->json = true;
		return true;
	case 'a':
		a->to.socket = optarg;
		return true;
	case 'r':
		free(a->api);
		if (asprintf(&a->api, "%s/api.sock", optarg) < 0)
			a->api = NULL;
		a->to.socket = a->api;
		return a->api != NULL;
	case 'm':
		a->assign = optarg;
		return takes & TAKES_MEMORY;
	case 'u':
		a->fault = optarg;
		return takes & TAKES_MEMORY;
	case 't':
		a->directory = optarg;
		return takes & TAKES_BACKUP;
	case 's':
		a->since = optarg;
		return takes & TAKES_BACKUP;
	case 'k':
		a->keep_base = true;
		return takes & TAKES_BACKUP;
	case 'v':
		a->verify = true;
		return takes & TAKES_BACKUP;
	case 'n':
		a->no_snapshot = true;
		return takes & TAKES_BACKUP;
	case 'f':
		a->force = true;
		return takes & TAKES_POWER;
	case 'w':
		a->reason = optarg;
		return takes & TAKES_POWER;
	case 'i':
		if (a->n_images == IMAGES_MAX)
			return false;
		a->images[a->n_images++] = optarg;
		return takes & TAKES_BACKUP;
	default:
		return false;
	}
}

/* -1 and the arguments, or the exit code. */
static int parse(int argc, char **argv, const char *usage, int takes, int min, int max,
		 struct arguments *a)
{
	char help[32];
	int o;

	*a = (struct arguments){
		.to = {"hvhost", HVHOST_RUN_DIR "/api.sock", "hvhost serve"},
	};
	snprintf(help, sizeof(help), "hvhost %s --help", argv[0]);
	optind = 1;
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", all_options, NULL)) != -1) {
		if (o == 'h') {
			print_usage(usage, takes);
			return EXIT_OK;
		}
		if (o == ':' || o == '?')
			return usage_complain(o, argv, "hvhost", help);
		if (!take_option(a, o, takes))
			return usage_error(usage);
	}
	a->n_positional = argc - optind;
	if (a->n_positional < min || a->n_positional > max)
		return usage_error(usage);
	for (int i = 0; i < a->n_positional; i++)
		a->positional[i] = argv[optind + i];
	return -1;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static struct size_text bytes_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? size_format(json_integer_value(value))
				      : (struct size_text){"-"};
}

static struct size_text seconds_of(const json_t *object, const char *key)
{
	return duration_format(json_number_value(json_object_get(object, key)) * 1e9);
}

/* Asks and prints, as JSON or by @print. */
static int ask_and_print(struct arguments *a, const char *method, const char *path,
			 json_t *take_body, int (*print)(const json_t *answer))
{
	json_t *answer;
	int r;

	r = ask(&a->to, method, path, take_body, TIMEOUT_MS, &answer);
	if (r)
		return r;
	if (a->json)
		ask_print_json(answer);
	else
		r = print(answer);
	json_decref(answer);
	return r;
}

/* "/v1/guests/NAME" and what follows; NULL, and a message, if that cannot be. */
static char *guest_path(const char *name, const char *rest)
{
	char *path;

	if (!*name || strchr(name, '/')) {
		fprintf(stderr, "hvhost: '%s' is no guest's name: hvhost status lists the guests\n",
			name);
		return NULL;
	}
	if (asprintf(&path, "/v1/guests/%s%s", name, rest) < 0) {
		fputs("hvhost: no memory\n", stderr);
		return NULL;
	}
	return path;
}

static void print_guest_line(const json_t *guest)
{
	const json_t *memory = json_object_get(guest, "memory");
	char pressure[16] = "-";

	if (json_is_integer(json_object_get(memory, "pressure_percent")))
		snprintf(pressure, sizeof(pressure), "%d %%",
			 (int)json_integer_value(json_object_get(memory, "pressure_percent")));
	printf("%-16s %-9s %10s %10s %10s %8s %10s  %s\n", text_of(guest, "name"),
	       text_of(json_object_get(guest, "heartbeat"), "state"),
	       bytes_of(memory, "assigned_bytes").text, bytes_of(memory, "demand_bytes").text,
	       bytes_of(memory, "available_bytes").text, pressure,
	       bytes_of(memory, "ballooned_bytes").text,
	       text_of(json_object_get(guest, "backup"), "state"));
}

static int print_status(const json_t *status)
{
	const json_t *guests = json_object_get(status, "guests"), *guest;
	size_t i;

	printf("%-16s %-9s %10s %10s %10s %8s %10s  %s\n", "GUEST", "HEARTBEAT", "ASSIGNED",
	       "DEMAND", "AVAILABLE", "PRESSURE", "BALLOONED", "BACKUP");
	if (!guests)
		print_guest_line(status);
	json_array_foreach(guests, i, guest)
		print_guest_line(guest);
	return EXIT_OK;
}

int verb_status(int argc, char **argv)
{
	static const char usage[] = "status [GUEST] [--json]";
	_cleanup_free_ char *path = NULL, *api = NULL;
	struct arguments a;
	int r = parse(argc, argv, usage, 0, 0, 1, &a);

	api = a.api;
	if (r >= 0)
		return r;
	if (a.n_positional == 0)
		return ask_and_print(&a, "GET", "/v1/status", NULL, print_status);
	path = guest_path(a.positional[0], "");
	return path ? ask_and_print(&a, "GET", path, NULL, print_status) : EXIT_ERROR;
}

static int print_memory(const json_t *memory)
{
	const json_t *asked = json_object_get(memory, "by_hand_bytes");
	json_int_t by_hand = json_integer_value(asked);

	printf("assigned %s, target %s (%s)\n", bytes_of(memory, "assigned_bytes").text,
	       bytes_of(memory, "target_bytes").text, text_of(memory, "why"));
	if (asked && by_hand < json_integer_value(json_object_get(memory, "minimum_bytes")))
		printf("%s is below the guest's minimum: it keeps %s\n", size_format(by_hand).text,
		       bytes_of(memory, "minimum_bytes").text);
	if (by_hand > json_integer_value(json_object_get(memory, "maximum_bytes")))
		printf("%s is above the guest's maximum: it gets %s at most\n",
		       size_format(by_hand).text, bytes_of(memory, "maximum_bytes").text);
	return EXIT_OK;
}

int verb_memory(int argc, char **argv)
{
	static const char usage[] = "memory GUEST --assign SIZE|auto | --fault NAME [--json]";
	_cleanup_free_ char *path = NULL, *api = NULL;
	json_t *body = NULL;
	struct arguments a;
	uint64_t bytes;
	int r = parse(argc, argv, usage, TAKES_MEMORY, 1, 1, &a);

	api = a.api;
	if (r >= 0)
		return r;
	if (!a.assign == !a.fault)
		return usage_error(usage);
	if (a.fault)
		body = json_pack("{s:s}", "fault", a.fault);
	else if (!strcmp(a.assign, "auto"))
		body = json_pack("{s:s}", "assign", "auto");
	else if (size_parse(a.assign, &bytes) == 0 && bytes <= INT64_MAX)
		body = json_pack("{s:I}", "assign", (json_int_t)bytes);
	else
		return refuse_value("--assign", a.assign, "a size like 512M or 2G, nor 'auto'");

	path = guest_path(a.positional[0], "/memory");
	if (!path) {
		json_decref(body);
		return EXIT_ERROR;
	}
	return ask_and_print(&a, "POST", path, body, print_memory);
}

/* Asks until the guest has answered, or it is known that it will not. */
static int follow_shutdown(const struct arguments *a, const char *path, const char *kind)
{
	char state[16] = "asked";
	json_t *guest;
	int r;

	while (!strcmp(state, "asked")) {
		r = ask(&a->to, "GET", path, NULL, TIMEOUT_MS, &guest);
		if (r)
			return r;
		snprintf(state, sizeof(state), "%s", text_of(json_object_get(guest, "shutdown"), "state"));
		json_decref(guest);
		usleep(POLL_US);
	}
	if (a->json)
		printf("{\"schema\": 1, \"kind\": \"%s\", \"state\": \"%s\"}\n", kind, state);
	else
		printf("%s: %s\n", kind, state);
	return strcmp(state, "accepted") == 0 ? EXIT_OK : EXIT_ERROR;
}

static int change_power(int argc, char **argv, const char *kind)
{
	_cleanup_free_ char *path = NULL, *guest = NULL, *api = NULL;
	struct arguments a;
	char usage[80];
	json_t *answer;
	int r;

	snprintf(usage, sizeof(usage), "%s GUEST [--force] [--reason TEXT] [--json]", argv[0]);
	r = parse(argc, argv, usage, TAKES_POWER, 1, 1, &a);
	api = a.api;
	if (r >= 0)
		return r;
	path = guest_path(a.positional[0], "/shutdown");
	guest = guest_path(a.positional[0], "");
	if (!path || !guest)
		return EXIT_ERROR;
	r = ask(&a.to, "POST", path,
		json_pack("{s:s, s:b, s:s*}", "kind", kind, "force", a.force, "reason", a.reason),
		TIMEOUT_MS, &answer);
	if (r)
		return r;
	json_decref(answer);
	return follow_shutdown(&a, guest, kind);
}

int verb_shutdown(int argc, char **argv)
{
	return change_power(argc, argv, "poweroff");
}

int verb_reboot(int argc, char **argv)
{
	return change_power(argc, argv, "reboot");
}

int verb_hibernate(int argc, char **argv)
{
	return change_power(argc, argv, "hibernate");
}

static int print_service(const json_t *answer)
{
	printf("%s: %s\n", text_of(answer, "service"), text_of(answer, "state"));
	return EXIT_OK;
}

static int change_service(int argc, char **argv, const char *usage, const char *rest)
{
	_cleanup_free_ char *path = NULL, *api = NULL;
	struct arguments a;
	int r = parse(argc, argv, usage, 0, 2, 2, &a);

	api = a.api;
	if (r >= 0)
		return r;
	path = guest_path(a.positional[0], rest);
	if (!path)
		return EXIT_ERROR;
	return ask_and_print(&a, "POST", path, json_pack("{s:s}", "service", a.positional[1]),
			     print_service);
}

int verb_rescind(int argc, char **argv)
{
	return change_service(argc, argv, "rescind GUEST heartbeat|dynmem|vss|shutdown [--json]", "/rescind");
}

int verb_offer(int argc, char **argv)
{
	return change_service(argc, argv, "offer GUEST heartbeat|dynmem|vss|shutdown [--json]", "/offer");
}

static void print_image(const json_t *image)
{
	printf("  %s -> %s: %s%s, %s of %s in %s%s\n", text_of(image, "source"),
	       text_of(image, "target"), text_of(image, "method"),
	       json_is_true(json_object_get(image, "incremental")) ? ", what has changed" : "",
	       bytes_of(image, "data_bytes").text, bytes_of(image, "bytes").text,
	       seconds_of(image, "seconds").text,
	       json_is_true(json_object_get(image, "verified")) ? ", verified" : "");
	if (json_object_get(image, "full_why"))
		printf("    copied in full: %s\n", text_of(image, "full_why"));
}

/* A line that is drawn over and over, on a terminal. */
static void print_progress(const json_t *backup, bool is_last)
{
	double total = json_number_value(json_object_get(backup, "total_bytes"));
	double done = json_number_value(json_object_get(backup, "done_bytes"));
	char bar[PROGRESS_WIDTH + 1];
	int filled = total > 0 ? (int)(done / total * PROGRESS_WIDTH) : 0;

	if (!isatty(STDERR_FILENO))
		return;
	for (int i = 0; i < PROGRESS_WIDTH; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[PROGRESS_WIDTH] = '\0';
	if (is_last)
		fputs("\r\033[K", stderr);
	else
		fprintf(stderr, "\r\033[K%-10s [%s] %s of %s", text_of(backup, "state"), bar,
			bytes_of(backup, "done_bytes").text, bytes_of(backup, "total_bytes").text);
}

static int print_backup(const json_t *backup)
{
	const json_t *images = json_object_get(backup, "images"), *image;
	size_t i;

	printf("backup %s of %s: %s\n", text_of(backup, "id"), text_of(backup, "guest"),
	       text_of(backup, "state"));
	if (json_object_get(backup, "error"))
		printf("  %s\n", text_of(backup, "error"));
	printf("  freeze answered in %s, frozen for %s, thaw answered in %s\n",
	       seconds_of(backup, "freeze_seconds").text, seconds_of(backup, "frozen_seconds").text,
	       seconds_of(backup, "thaw_seconds").text);
	json_array_foreach(images, i, image)
		print_image(image);
	return EXIT_OK;
}

/* The exit code of a backup that has ended. */
static int backup_exit_code(const json_t *backup)
{
	if (!strcmp(text_of(backup, "state"), "done"))
		return EXIT_OK;
	return json_is_true(json_object_get(backup, "thawed_by_itself")) ? EXIT_TIMED_OUT : EXIT_ERROR;
}

/* Asks again and again until the backup has ended. */
static int follow_backup(struct arguments *a, const char *id)
{
	_cleanup_free_ char *path = NULL;
	json_t *backup;
	int r;

	if (asprintf(&path, "/v1/backups/%s", id) < 0)
		return EXIT_ERROR;
	for (;;) {
		r = ask(&a->to, "GET", path, NULL, TIMEOUT_MS, &backup);
		if (r)
			return r;
		if (json_is_true(json_object_get(backup, "ended")))
			break;
		print_progress(backup, false);
		json_decref(backup);
		usleep(POLL_US);
	}

	print_progress(backup, true);
	if (a->json)
		ask_print_json(backup);
	else
		(void)print_backup(backup);
	r = backup_exit_code(backup);
	if (r)
		fprintf(stderr, "hvhost: the backup failed: %s\n", text_of(backup, "error"));
	json_decref(backup);
	return r;
}

/* The host may run in another folder, so it is given absolute paths. */
static json_t *absolute_paths(const struct arguments *a)
{
	json_t *images = json_array();
	char path[PATH_MAX];

	for (int i = 0; i < a->n_images; i++) {
		if (!realpath(a->images[i], path)) {
			fprintf(stderr, "hvhost: image %s: %m\n", a->images[i]);
			json_decref(images);
			return NULL;
		}
		json_array_append_new(images, json_string(path));
	}
	return images;
}

static json_t *backup_request(const struct arguments *a)
{
	char directory[PATH_MAX], since[PATH_MAX];
	json_t *images;

	if (!realpath(a->directory, directory)) {
		fprintf(stderr, "hvhost: directory %s: %m\n", a->directory);
		return NULL;
	}
	if (a->since && !realpath(a->since, since)) {
		fprintf(stderr, "hvhost: directory %s: %m\n", a->since);
		return NULL;
	}
	images = absolute_paths(a);
	return images ? json_pack("{s:o, s:s, s:s*, s:b, s:b, s:b}", "images", images, "directory",
				  directory, "since", a->since ? since : NULL, "keep_base",
				  a->keep_base, "verify", a->verify, "no_snapshot", a->no_snapshot)
		      : NULL;
}

int verb_backup(int argc, char **argv)
{
	static const char usage[] =
		"backup GUEST --image FILE [--image FILE...] --to DIR [--since DIR] [--keep-base] [--verify] "
		"[--no-snapshot] [--json]";
	_cleanup_free_ char *path = NULL, *api = NULL, *id = NULL;
	json_t *body, *answer;
	struct arguments a;
	int r = parse(argc, argv, usage, TAKES_BACKUP, 1, 1, &a);

	api = a.api;
	if (r >= 0)
		return r;
	if (a.n_images == 0 || !a.directory)
		return usage_error(usage);
	path = guest_path(a.positional[0], "/backup");
	body = path ? backup_request(&a) : NULL;
	if (!body)
		return EXIT_ERROR;

	r = ask(&a.to, "POST", path, body, TIMEOUT_MS, &answer);
	if (r)
		return r;
	id = strdup(text_of(answer, "id"));
	json_decref(answer);
	return id ? follow_backup(&a, id) : EXIT_ERROR;
}
