/* SPDX-License-Identifier: MIT */

/*
 * hvhost copy.
 *
 * Files are copied one after the other, and the first that fails ends it. Breaking the command off
 * (Ctrl-C) has the guest forget the file that is under way; the command waits until it has, and
 * says so. A second Ctrl-C ends it at once.
 */

#include "base/terminal.h"
#include "host/command.h"
#include "host/verbs.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is wanted of each copy. */
struct wanted {
	bool force, create_path;
	const char *fault, *fault_at;
	json_t *copies; /* what became of them, for --json */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static void catch_interrupts(void)
{
	struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

static void print_progress(const json_t *copy)
{
	double done = json_number_value(json_object_get(copy, "done_bytes"));
	double seconds = json_number_value(json_object_get(copy, "seconds"));
	char rest[96];

	snprintf(rest, sizeof(rest), "%s of %s, %s/s", command_bytes(copy, "done_bytes").text,
		 command_bytes(copy, "total_bytes").text,
		 size_format(seconds > 0 ? (uint64_t)(done / seconds) : 0).text);
	terminal_progress(command_text(copy, "name"), done,
			  json_number_value(json_object_get(copy, "total_bytes")), rest);
}

static int ask_cancel(const struct command *c, const char *id)
{
	_cleanup_free_ char *path = NULL;
	json_t *answer;
	int r;

	if (asprintf(&path, "/v1/copies/%s/cancel", id) < 0)
		return EXIT_ERROR;
	r = ask(&c->to, "POST", path, NULL, COMMAND_TIMEOUT_MS, &answer);
	if (r == EXIT_OK)
		json_decref(answer);
	return r;
}

/* Asks again and again until it has ended. */
static int wait_for_end(const struct command *c, const char *id, json_t **ret_copy)
{
	_cleanup_free_ char *path = NULL;
	bool asked = false;
	json_t *copy;
	int r = asprintf(&path, "/v1/copies/%s", id) < 0 ? EXIT_ERROR : EXIT_OK;

	while (r == EXIT_OK) {
		if (interrupted && !asked) {
			asked = true;
			r = ask_cancel(c, id);
			if (r)
				break;
		}
		r = ask(&c->to, "GET", path, NULL, COMMAND_TIMEOUT_MS, &copy);
		if (r)
			break;
		if (json_is_true(json_object_get(copy, "ended"))) {
			terminal_progress_end();
			*ret_copy = copy;
			return EXIT_OK;
		}
		print_progress(copy);
		json_decref(copy);
		usleep(COMMAND_POLL_US);
	}
	return r;
}

/* The exit code. */
static int tell_end(const struct command *c, struct wanted *w, json_t *take_copy)
{
	bool done = strcmp(command_text(take_copy, "state"), "done") == 0;

	if (!done)
		fprintf(stderr, "hvhost: %s: %s\n", command_text(take_copy, "source"),
			command_text(take_copy, "error"));
	else if (!c->json)
		printf("%s -> %s:%s/%s: %s in %s\n", command_text(take_copy, "source"),
		       command_text(take_copy, "guest"), command_text(take_copy, "directory"),
		       command_text(take_copy, "name"), command_bytes(take_copy, "total_bytes").text,
		       command_seconds(take_copy, "seconds").text);
	json_array_append_new(w->copies, take_copy);
	return done ? EXIT_OK : EXIT_ERROR;
}

/* The body of the request for "FILE:PATH"; NULL, and a line that says why, if that cannot be. */
static json_t *copy_request(const struct wanted *w, char *pair)
{
	char source[PATH_MAX], *path = strstr(pair, ":/"), *name;
	const char *directory;

	if (!path || path == pair) {
		fprintf(stderr, "hvhost: %s: give FILE:PATH, with the absolute path that it gets in the guest\n",
			pair);
		return NULL;
	}
	*path++ = '\0';
	if (!realpath(pair, source)) {
		fprintf(stderr, "hvhost: file %s: %m\n", pair);
		return NULL;
	}
	name = strrchr(path, '/');
	directory = name == path ? "/" : path;
	*name++ = '\0';
	if (*name == '\0')
		name = strrchr(source, '/') + 1; /* PATH is the folder */
	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:s*, s:I}", "source", source, "directory", directory,
			 "name", name, "overwrite", w->force, "create_path", w->create_path, "fault",
			 w->fault, "fault_at",
			 (json_int_t)(w->fault_at ? strtoll(w->fault_at, NULL, 10) : 0));
}

static int copy_one(const struct command *c, struct wanted *w, char *pair)
{
	_cleanup_free_ char *path = command_guest_path(c->words[0], "/copy"), *id = NULL;
	json_t *body = path ? copy_request(w, pair) : NULL, *answer, *copy;
	int r;

	if (!body)
		return EXIT_ERROR;
	r = ask(&c->to, "POST", path, body, COMMAND_TIMEOUT_MS, &answer);
	if (r)
		return r;
	id = strdup(command_text(answer, "id"));
	json_decref(answer);
	r = id ? wait_for_end(c, id, &copy) : EXIT_ERROR;
	return r ? r : tell_end(c, w, copy);
}

int verb_copy(int argc, char **argv)
{
	struct wanted w = {0};
	const struct command_option options[] = {
		{"force", NULL, "replace a file that is there", .flag = &w.force},
		{"create-path", NULL, "make folders that are missing", .flag = &w.create_path},
		{"fault", "NAME", "for tests: do something wrong (host/fcopy_host.c)", .text = &w.fault},
		{"fault-at", "NUMBER", "at this fragment of the file", .text = &w.fault_at},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "copy GUEST FILE:PATH [FILE:PATH...] [--create-path] [--force] [--json]",
		.options = options,
		.min_words = 2,
		.max_words = INT_MAX,
	};
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	w.copies = json_array();
	catch_interrupts();
	r = EXIT_OK;
	for (int i = 1; i < c.n_words && r == EXIT_OK && !interrupted; i++)
		r = copy_one(&c, &w, c.words[i]);
	if (interrupted && r == EXIT_OK)
		r = EXIT_ERROR;
	if (c.json) {
		json_t *answer = json_pack("{s:i, s:O}", "schema", 1, "copies", w.copies);

		ask_print_json(answer);
		json_decref(answer);
	}
	json_decref(w.copies);
	return r;
}
