/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <jansson.h>
#include <sys/types.h>

/*
 * A small JSON API over HTTP/1.1 on a Unix socket. Everything runs in the thread of the event loop.
 */

struct event_base;
struct httpd;
struct httpd_request;

enum {
	HTTPD_BODY_MAX = 64 * 1024, /* bytes of a request's body */
};

/* The condition of httpd_new(). */
enum {
	HTTPD_IN_USE = 1, /* somebody listens on this socket */
};

/*
 * Listens at @path with permissions @mode. A socket nobody listens on any more is replaced; the
 * folder is made with mode 0755 if only that is missing. @events must outlive the server. The
 * program must ignore SIGPIPE, which libevent raises when a client hangs up before its answer.
 * HTTPD_IN_USE, negative errno.
 */
_must_check_ int httpd_new(struct event_base *events, const char *path, mode_t mode,
			   struct httpd **ret_httpd);

/*
 * Stops listening, removes the socket and drops the connections. Requests that were not answered
 * yet stay valid until their httpd_reply_*(), which then reaches nobody. Takes NULL; returns NULL.
 */
struct httpd *httpd_free(struct httpd *httpd);
DEFINE_CLEANUP(httpd)

/*
 * Calls @handle for @method ("GET", "POST", "PUT", "DELETE") on paths like @pattern, which is made
 * of words and parameters: "/v1/guests/{name}/backup". Both strings are borrowed for the server's
 * lifetime. Every call of @handle leads to exactly one httpd_reply_*(), at once or at any time
 * later. -ENOMEM.
 */
_must_check_ int httpd_route(struct httpd *httpd, const char *method, const char *pattern,
			     void (*handle)(struct httpd_request *request, void *user),
			     void *user);

/*
 * What the path has in place of {name}, decoded, borrowed until the reply; NULL if the pattern has
 * no such parameter.
 */
const char *httpd_request_param(const struct httpd_request *request, const char *name);

/* The body, borrowed until the reply; NULL if there was none. */
json_t *httpd_request_body(const struct httpd_request *request);

/* Answers with @status and @take_body (which may be NULL only if memory ran out: then 500). */
void httpd_reply_json(struct httpd_request *request, int status, json_t *take_body);

/*
 * Answers with @status and {"error": {"message": ..., "remedy": ...}}: what is wrong, and what the
 * reader can do about it (NULL if there is nothing).
 */
void httpd_reply_error(struct httpd_request *request, int status, const char *message,
		       const char *remedy);
