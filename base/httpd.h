/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * A small JSON API over HTTP/1.1 on Unix sockets, and on TCP for those who only look. Everything runs
 * in the thread of the event loop.
 */

struct event_base;
struct httpd;
struct httpd_request;
struct httpd_stream;

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
 * Opens another socket of the same server: for looking only, so that what is not GET gets a 403. The
 * first is as httpd_new() says; the second is "ADDRESS:PORT", an IPv6 address in brackets.
 * HTTPD_IN_USE, -EINVAL for what is no address, -ENOSPC if there are three already, negative errno.
 */
_must_check_ int httpd_open_read_only(struct httpd *httpd, const char *path, mode_t mode);
_must_check_ int httpd_open_tcp(struct httpd *httpd, const char *address);

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

/* The value of a header; NULL if there is none. Borrowed until the reply. */
const char *httpd_request_header(const struct httpd_request *request, const char *name);

/* The body, borrowed until the reply; NULL if there was none. */
json_t *httpd_request_body(const struct httpd_request *request);

/* Answers with @status and @size bytes of @body, which are copied. */
void httpd_reply(struct httpd_request *request, int status, const char *content_type,
		 const void *body, size_t size);

/*
 * Answers with 200 and what httpd_stream_send() gets, until httpd_stream_free(). @on_gone is called
 * when the client has hung up or the server ends; the stream has still to be freed then. NULL, and
 * the request is answered with 500, without memory.
 */
struct httpd_stream *httpd_stream_new(struct httpd_request *request, const char *content_type,
				      void (*on_gone)(void *user, struct httpd_stream *stream),
				      void *user);

/* Sends @size bytes, or leaves them out: false if the client has not read enough of the last ones. */
bool httpd_stream_send(struct httpd_stream *stream, const void *data, size_t size);

/* Ends the answer, unless the client is gone. Takes NULL; returns NULL. */
struct httpd_stream *httpd_stream_free(struct httpd_stream *stream);
DEFINE_CLEANUP(httpd_stream)

/* Answers with @status and @take_body (which may be NULL only if memory ran out: then 500). */
void httpd_reply_json(struct httpd_request *request, int status, json_t *take_body);

/*
 * Answers with @status and {"error": {"message": ..., "remedy": ...}}: what is wrong, and what the
 * reader can do about it (NULL if there is nothing).
 */
void httpd_reply_error(struct httpd_request *request, int status, const char *message,
		       const char *remedy);
