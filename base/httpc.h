/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * The client's end of base/httpd.h, for command-line programs.
 */

enum {
	HTTPC_RESPONSE_MAX = 16 * 1024 * 1024, /* bytes of an answer with its headers */
};

#define HTTPC_SLASH "\001" /* in a path: a '/' that does not separate */

/* The conditions of these functions. */
enum {
	HTTPC_NO_DAEMON = 1, /* nobody listens on the socket */
	HTTPC_DENIED,        /* we may not connect to it */
	HTTPC_TIMED_OUT,
	HTTPC_BAD_REPLY,     /* the answer ended early, is too long, or is not HTTP with JSON in it */
	HTTPC_ENDED,         /* events: the daemon has ended them */
};

/*
 * Sends one request to the daemon at @socket_path and waits up to @timeout_ms for its answer.
 * @path is plain text: bytes that a URL cannot hold are encoded here, and '/' separates. @body
 * stays the caller's and may be NULL. *ret_json is the caller's to json_decref(); an answer of
 * the daemon with any status is a success of this function.
 * HTTPC_NO_DAEMON, HTTPC_DENIED, HTTPC_TIMED_OUT, HTTPC_BAD_REPLY, negative errno.
 */
_must_check_ int httpc_call(const char *socket_path, const char *method, const char *path,
			    json_t *body, int timeout_ms, int *ret_status, json_t **ret_json);

/*
 * The same for GET and an answer that is no JSON: *ret_text is the caller's to free().
 */
_must_check_ int httpc_get_text(const char *socket_path, const char *path, int timeout_ms,
				int *ret_status, char **ret_text);

/*
 * Calls @take for each event of a stream (text/event-stream) with its name and its data, which are
 * borrowed for the call, until it returns false: then 0. Nothing may be silent for @timeout_ms.
 * The conditions above, HTTPC_ENDED, negative errno.
 */
_must_check_ int httpc_listen(const char *socket_path, const char *path, int timeout_ms,
			      bool (*take)(void *user, const char *event, const json_t *data),
			      void *user);
