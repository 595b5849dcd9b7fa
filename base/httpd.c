/* SPDX-License-Identifier: MIT */

/*
 * The API server.
 *
 * libevent's evhttp speaks HTTP; this file adds what an API needs: routes with parameters, JSON in
 * and out, answers that come later than the call, and answers that go on.
 *
 * Doors. A server has the same routes behind each of its sockets (base/httpd_door), but all of them
 * only behind the first: the others let in who wants to look, and refuse what would change something.
 * Who may connect at all is decided by the mode of the socket, in base/unixsock.c; on TCP anybody may.
 *
 * Later answers. A handler may keep its request for minutes, while its client hangs up. A reply to
 * a connection that is gone is evhttp's to deal with: it frees the request. But evhttp_free() would
 * leave our handlers with requests that no longer exist, so the server lists the ones that are
 * open, and httpd_free() cuts them off first.
 *
 * Streams. An answer may go on for as long as its client listens. One that does not read what it is
 * sent is left out of what follows until it does; the server never keeps more for it than a bound.
 *
 * Bodies. evhttp drops connections whose body is over its limit without an answer. So its limit is
 * higher than ours, and what lies between gets a proper 413.
 */

#include "base/httpd.h"
#include "base/httpd_door.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum {
	PARAMS_MAX = 4, /* parameters in one pattern */
	DOORS_MAX = 4,
	HTTP_FORBIDDEN = 403, /* which evhttp has no name for */
	BACKLOG_MAX = 256 * 1024, /* bytes that a stream's client may leave unread */
};

struct route {
	const char *method;
	const char *pattern;
	void (*handle)(struct httpd_request *request, void *user);
	void *user;
};

struct param {
	const char *name; /* in the pattern, up to the closing brace */
	size_t name_len;
	char *value;
};

struct httpd_request {
	struct httpd *httpd;
	struct evhttp_request *evhttp; /* NULL once the server is gone */
	LIST_ENTRY(httpd_request) link;
	struct param params[PARAMS_MAX];
	size_t n_params;
	json_t *body;
};

struct httpd_stream {
	struct evhttp_request *evhttp; /* NULL once the client is gone */
	LIST_ENTRY(httpd_stream) link;
	void (*on_gone)(void *user, struct httpd_stream *stream);
	void *user;
};

struct httpd {
	struct event_base *events;
	struct httpd_door doors[DOORS_MAX];
	size_t n_doors;
	struct route *routes;
	size_t n_routes;
	LIST_HEAD(, httpd_request) requests;
	LIST_HEAD(, httpd_stream) streams;
};

static const struct {
	enum evhttp_cmd_type type;
	const char *name;
} methods[] = {
	{EVHTTP_REQ_GET, "GET"},         {EVHTTP_REQ_POST, "POST"},
	{EVHTTP_REQ_PUT, "PUT"},         {EVHTTP_REQ_DELETE, "DELETE"},
	{EVHTTP_REQ_HEAD, "HEAD"},       {EVHTTP_REQ_OPTIONS, "OPTIONS"},
	{EVHTTP_REQ_TRACE, "TRACE"},     {EVHTTP_REQ_PATCH, "PATCH"},
	{EVHTTP_REQ_CONNECT, "CONNECT"},
};

static const char *method_name(struct evhttp_request *evhttp)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (methods[i].type == evhttp_request_get_command(evhttp))
			return methods[i].name;
	return "";
}

const char *httpd_request_param(const struct httpd_request *request, const char *name)
{
	for (size_t i = 0; i < request->n_params; i++) {
		const struct param *p = &request->params[i];

		if (strlen(name) == p->name_len && memcmp(name, p->name, p->name_len) == 0)
			return p->value;
	}
	return NULL;
}

const char *httpd_request_header(const struct httpd_request *request, const char *name)
{
	return request->evhttp
		       ? evhttp_find_header(evhttp_request_get_input_headers(request->evhttp), name)
		       : NULL;
}

json_t *httpd_request_body(const struct httpd_request *request)
{
	return request->body;
}

static void request_free(struct httpd_request *request)
{
	if (request->evhttp)
		LIST_REMOVE(request, link);
	for (size_t i = 0; i < request->n_params; i++)
		free(request->params[i].value);
	json_decref(request->body);
	free(request);
}

static bool set_header(const struct httpd_request *request, const char *name, const char *value)
{
	return evhttp_add_header(evhttp_request_get_output_headers(request->evhttp), name, value) == 0;
}

/* What every answer says of itself. */
static bool set_headers(const struct httpd_request *request, const char *content_type)
{
	return set_header(request, "Content-Type", content_type) &&
	       set_header(request, "X-Content-Type-Options", "nosniff") &&
	       set_header(request, "Content-Security-Policy",
			  "default-src 'self' 'unsafe-inline'; frame-ancestors 'none'") &&
	       set_header(request, "Cache-Control", "no-store");
}

void httpd_reply(struct httpd_request *request, int status, const char *content_type,
		 const void *body, size_t size)
{
	struct evbuffer *buf = NULL;

	if (request->evhttp)
		buf = evbuffer_new();
	if (buf && evbuffer_add(buf, body, size) == 0 && set_headers(request, content_type))
		evhttp_send_reply(request->evhttp, status, NULL, buf);
	else if (request->evhttp)
		evhttp_send_error(request->evhttp, HTTP_INTERNAL, NULL);
	if (buf)
		evbuffer_free(buf);
	request_free(request);
}

void httpd_reply_json(struct httpd_request *request, int status, json_t *take_body)
{
	static const char no_memory[] =
		"{\"error\":{\"message\":\"out of memory\",\"remedy\":null}}\n";
	_cleanup_free_ char *text = NULL;
	size_t size = 0;

	if (take_body)
		text = json_dumps(take_body, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(take_body);
	if (text) {
		size = strlen(text);
		text[size] = '\n'; /* in place of the NUL: the size is known */
		httpd_reply(request, status, "application/json", text, size + 1);
	} else {
		httpd_reply(request, HTTP_INTERNAL, "application/json", no_memory,
			    sizeof(no_memory) - 1);
	}
}

void httpd_reply_error(struct httpd_request *request, int status, const char *message,
		       const char *remedy)
{
	httpd_reply_json(request, status, json_pack("{s:{s:s,s:s?}}", "error", "message", message,
						    "remedy", remedy));
}

static void on_stream_closed(struct evhttp_connection *connection, void *user)
{
	struct httpd_stream *stream = user;

	(void)connection;
	LIST_REMOVE(stream, link);
	/* evhttp lets go of a request that is not answered to its end; else it is freed with the connection. */
	if (!evhttp_request_get_connection(stream->evhttp))
		evhttp_request_free(stream->evhttp);
	stream->evhttp = NULL;
	stream->on_gone(stream->user, stream);
}

struct httpd_stream *httpd_stream_new(struct httpd_request *request, const char *content_type,
				      void (*on_gone)(void *user, struct httpd_stream *stream),
				      void *user)
{
	struct httpd_stream *stream = request->evhttp ? calloc(1, sizeof(*stream)) : NULL;

	if (!stream || !set_headers(request, content_type)) {
		free(stream);
		httpd_reply_json(request, HTTP_INTERNAL, NULL);
		return NULL;
	}
	*stream = (struct httpd_stream){.evhttp = request->evhttp, .on_gone = on_gone, .user = user};
	LIST_INSERT_HEAD(&request->httpd->streams, stream, link);
	evhttp_connection_set_closecb(evhttp_request_get_connection(stream->evhttp),
				      on_stream_closed, stream);
	evhttp_send_reply_start(stream->evhttp, HTTP_OK, NULL);
	request_free(request);
	return stream;
}

bool httpd_stream_send(struct httpd_stream *stream, const void *data, size_t size)
{
	struct evhttp_connection *connection;
	struct evbuffer *buf;
	size_t unread;

	if (!stream->evhttp)
		return false;
	connection = evhttp_request_get_connection(stream->evhttp);
	unread = evbuffer_get_length(
		bufferevent_get_output(evhttp_connection_get_bufferevent(connection)));
	buf = unread + size <= BACKLOG_MAX ? evbuffer_new() : NULL;
	if (!buf)
		return false;
	if (evbuffer_add(buf, data, size) == 0)
		evhttp_send_reply_chunk(stream->evhttp, buf);
	evbuffer_free(buf);
	return true;
}

struct httpd_stream *httpd_stream_free(struct httpd_stream *stream)
{
	if (stream && stream->evhttp) {
		LIST_REMOVE(stream, link);
		evhttp_connection_set_closecb(evhttp_request_get_connection(stream->evhttp), NULL,
					      NULL);
		evhttp_send_reply_end(stream->evhttp);
	}
	free(stream);
	return NULL;
}

/* One word or parameter of @path, which begins with its slash. */
static size_t segment_len(const char *path)
{
	return strcspn(path + 1, "/");
}

static bool is_param(const char *segment)
{
	return segment[1] == '{';
}

static bool pattern_matches(const char *pattern, const char *path)
{
	while (*pattern == '/' && *path == '/') {
		size_t pattern_len = segment_len(pattern), path_len = segment_len(path);

		if (is_param(pattern) ? path_len == 0
				      : path_len != pattern_len ||
						memcmp(pattern, path, path_len + 1) != 0)
			return false;
		pattern += 1 + pattern_len;
		path += 1 + path_len;
	}
	return *pattern == '\0' && *path == '\0';
}

/* Decodes %XX. Returns 400 if there is a NUL in it, 500 without memory, 0 if good. */
static int decode(const char *encoded, size_t len, char **ret_text)
{
	_cleanup_free_ char *copy = strndup(encoded, len), *text = NULL;
	size_t size;

	if (copy)
		text = evhttp_uridecode(copy, 0, &size);
	if (!text)
		return HTTP_INTERNAL;
	if (strlen(text) != size)
		return HTTP_BADREQUEST;
	*ret_text = steal_ptr(text);
	return 0;
}

/* For a pattern that matches. 0 or the status of the refusal, as decode(). */
static int collect_params(struct httpd_request *request, const char *pattern, const char *path)
{
	int status;

	for (; *pattern; pattern += 1 + segment_len(pattern), path += 1 + segment_len(path)) {
		struct param *p = &request->params[request->n_params];

		if (!is_param(pattern))
			continue;
		status = decode(path + 1, segment_len(path), &p->value);
		if (status)
			return status;
		p->name = pattern + 2;
		p->name_len = segment_len(pattern) - 2;
		request->n_params++;
	}
	return 0;
}

/* 0 and the route, or the status of the refusal. */
static int find_route(const struct httpd *httpd, struct evhttp_request *evhttp,
		      const char *path, const struct route **ret_route)
{
	const char *method = method_name(evhttp);
	bool path_known = false;

	for (size_t i = 0; i < httpd->n_routes; i++) {
		const struct route *route = &httpd->routes[i];

		if (!pattern_matches(route->pattern, path))
			continue;
		path_known = true;
		if (strcmp(route->method, method) == 0 ||
		    (!strcmp(method, "HEAD") && !strcmp(route->method, "GET"))) {
			*ret_route = route;
			return 0;
		}
		evhttp_add_header(evhttp_request_get_output_headers(evhttp), "Allow",
				  route->method);
	}
	return path_known ? HTTP_BADMETHOD : HTTP_NOTFOUND;
}

/* Parses the body, if there is one. 0 or the status of the refusal. */
static int read_body(struct httpd_request *request, json_error_t *ret_error)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(request->evhttp);
	size_t len = evbuffer_get_length(in);
	const unsigned char *data;

	if (len == 0)
		return 0;
	if (len > HTTPD_BODY_MAX) {
		snprintf(ret_error->text, sizeof(ret_error->text), "the body is over %d bytes",
			 HTTPD_BODY_MAX);
		return HTTP_ENTITYTOOLARGE;
	}
	data = evbuffer_pullup(in, -1);
	if (!data)
		return HTTP_INTERNAL;
	request->body = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, ret_error);
	return request->body ? 0 : HTTP_BADREQUEST;
}

static void refuse(struct httpd_request *request, int status, const char *why)
{
	switch (status) {
	case HTTP_NOTFOUND:
		httpd_reply_error(request, status, "there is nothing at this path", NULL);
		break;
	case HTTP_BADMETHOD:
		httpd_reply_error(request, status, "this path does not know that method",
				  "use one that the header Allow names");
		break;
	case HTTP_FORBIDDEN:
		httpd_reply_error(request, status, "this socket is for looking only",
				  "use api.sock, as root");
		break;
	case HTTP_ENTITYTOOLARGE:
		httpd_reply_error(request, status, why, "send less");
		break;
	case HTTP_BADREQUEST:
		httpd_reply_error(request, status, why, "send JSON in UTF-8 and encode the path");
		break;
	default:
		httpd_reply_json(request, status, NULL);
		break;
	}
}

/* HEAD is answered as GET; evhttp leaves the body out. */
static bool only_looks(struct evhttp_request *evhttp)
{
	enum evhttp_cmd_type type = evhttp_request_get_command(evhttp);

	return type == EVHTTP_REQ_GET || type == EVHTTP_REQ_HEAD;
}

static void dispatch(const struct httpd_door *door, struct httpd_request *request)
{
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request->evhttp));
	json_error_t error = {.text = "the path cannot be decoded"};
	const struct route *route;
	int status;

	status = find_route(door->httpd, request->evhttp, path ? path : "", &route);
	if (status == 0 && door->read_only && !only_looks(request->evhttp))
		status = HTTP_FORBIDDEN;
	if (status == 0)
		status = collect_params(request, route->pattern, path);
	if (status == 0)
		status = read_body(request, &error);
	if (status == 0)
		route->handle(request, route->user);
	else
		refuse(request, status, error.text);
}

static void on_request(struct evhttp_request *evhttp, void *user)
{
	struct httpd_door *door = user;
	struct httpd_request *request = calloc(1, sizeof(*request));

	if (!request) {
		evhttp_send_error(evhttp, HTTP_INTERNAL, NULL);
		return;
	}
	door->complained = false;
	request->httpd = door->httpd;
	request->evhttp = evhttp;
	LIST_INSERT_HEAD(&door->httpd->requests, request, link);
	dispatch(door, request);
}

static bool sigpipe_is_ignored(void)
{
	struct sigaction action;

	return sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* The next door, closed. -ENOSPC. */
static int add_door(struct httpd *httpd, bool read_only, struct httpd_door **ret_door)
{
	struct httpd_door *door = &httpd->doors[httpd->n_doors];

	if (httpd->n_doors == DOORS_MAX)
		return -ENOSPC;
	httpd_door_init(door, httpd);
	door->read_only = read_only;
	httpd->n_doors++;
	*ret_door = door;
	return 0;
}

int httpd_new(struct event_base *events, const char *path, mode_t mode, struct httpd **ret_httpd)
{
	_cleanup_(cleanup_httpdp) struct httpd *httpd = NULL;
	struct httpd_door *door;
	int r;

	assert(sigpipe_is_ignored());
	httpd = calloc(1, sizeof(*httpd));
	if (!httpd)
		return -ENOMEM;
	httpd->events = events;
	LIST_INIT(&httpd->requests);
	LIST_INIT(&httpd->streams);
	r = add_door(httpd, false, &door);
	if (r == 0)
		r = httpd_door_open_unix(door, events, path, mode, on_request);
	if (r)
		return r;

	*ret_httpd = steal_ptr(httpd);
	return 0;
}

int httpd_open_read_only(struct httpd *httpd, const char *path, mode_t mode)
{
	struct httpd_door *door;
	int r = add_door(httpd, true, &door);

	return r ? r : httpd_door_open_unix(door, httpd->events, path, mode, on_request);
}

int httpd_open_tcp(struct httpd *httpd, const char *address)
{
	struct httpd_door *door;
	int r = add_door(httpd, true, &door);

	return r ? r : httpd_door_open_tcp(door, httpd->events, address, on_request);
}

struct httpd *httpd_free(struct httpd *httpd)
{
	struct httpd_request *request;
	struct httpd_stream *stream;

	if (!httpd)
		return NULL;

	while ((stream = LIST_FIRST(&httpd->streams))) {
		struct evhttp_connection *connection = evhttp_request_get_connection(stream->evhttp);

		evhttp_connection_set_closecb(connection, NULL, NULL);
		on_stream_closed(connection, stream);
	}
	while ((request = LIST_FIRST(&httpd->requests))) {
		LIST_REMOVE(request, link);
		/* Those that still have a connection are freed with it. */
		if (!evhttp_request_get_connection(request->evhttp))
			evhttp_request_free(request->evhttp);
		request->evhttp = NULL;
	}
	for (size_t i = 0; i < httpd->n_doors; i++)
		httpd_door_fini(&httpd->doors[i]);
	free(httpd->routes);
	free(httpd);
	return NULL;
}

static void check_pattern(const char *pattern)
{
	size_t n_params = 0;

	assert(*pattern == '/');
	for (; *pattern; pattern += 1 + segment_len(pattern)) {
		assert(!is_param(pattern) || pattern[segment_len(pattern)] == '}');
		n_params += is_param(pattern);
	}
	assert(n_params <= PARAMS_MAX);
	(void)n_params;
}

int httpd_route(struct httpd *httpd, const char *method, const char *pattern,
		void (*handle)(struct httpd_request *request, void *user), void *user)
{
	struct route *routes;

	check_pattern(pattern);
	routes = reallocarray(httpd->routes, httpd->n_routes + 1, sizeof(*routes));
	if (!routes)
		return -ENOMEM;

	httpd->routes = routes;
	httpd->routes[httpd->n_routes++] = (struct route){
		.method = method, .pattern = pattern, .handle = handle, .user = user};
	return 0;
}
