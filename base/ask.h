/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <jansson.h>

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

/* Prints @json to standard output, indented, with a newline. */
void ask_print_json(const json_t *json);
