/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * Asking a daemon's API on behalf of a command-line program.
 */

/* Exit codes of all programs. */
enum {
	EXIT_OK = 0,
	EXIT_ERROR = 1,
	EXIT_USAGE = 2,
	EXIT_DEGRADED = 3,
	EXIT_NO_HYPERV = 4,
	EXIT_TIMED_OUT = 5,
};

struct ask {
	const char *program; /* what messages begin with */
	const char *socket;  /* of the API */
	const char *daemon;  /* who should be listening there, for the remedy */
};

/*
 * Sends @method @path with @take_body (or NULL) and waits up to @timeout_ms. Returns EXIT_OK and
 * the answer (the caller's to json_decref()), or has printed one line that says what is wrong and
 * what to do about it, and returns the exit code.
 */
_must_check_ int ask(const struct ask *ask, const char *method, const char *path,
		     json_t *take_body, int timeout_ms, json_t **ret_answer);

/* The same for GET and an answer that is no JSON, which is the caller's to free(). */
_must_check_ int ask_text(const struct ask *ask, const char *path, int timeout_ms, char **ret_text);

/*
 * Calls @take for each event of a stream, as httpc_listen() says, until it returns false: EXIT_OK.
 * Else it has printed one line, as above.
 */
_must_check_ int ask_events(const struct ask *ask, const char *path, int timeout_ms,
			    bool (*take)(void *user, const char *event, const json_t *data),
			    void *user);

/*
 * Prints the daemon's metrics; or has them replace the file @textfile, at once and whole, which is
 * how node_exporter's textfile collector takes them. With @as_json one object is printed: the text,
 * or the file and its size. The exit code.
 */
_must_check_ int ask_metrics(const struct ask *ask, const char *textfile, bool as_json,
			     int timeout_ms);

/* Prints @json to standard output, as one line, and sees to it that it is out. */
void ask_print_json_line(const json_t *json);

/* Prints @json to standard output, indented, with a newline. */
void ask_print_json(const json_t *json);
