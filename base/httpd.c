/* SPDX-License-Identifier: MIT */

/*
 * The API server.
 *
 * libevent's evhttp speaks HTTP; this file adds what an API on a Unix socket needs: routes with
 * parameters, JSON in and out, and answers that come later than the call.
 *
 * Later answers. A handler may keep its request for minutes, while its client hangs up. A reply to
 * a connection that is gone is evhttp's to deal with: it frees the request. But evhttp_free() would
 * leave our handlers with requests that no longer exist, so the server lists the ones that are
 * open, and httpd_free() cuts them off first.
 *
 * Bodies. evhttp drops connections whose body is over its limit without an answer. So its limit is
 * higher than ours, and what lies between gets a proper 413.
 *
 * Who may connect at all is decided by the mode of the socket, in base/unixsock.c.
 *
 * A client that cannot be let in because this process has no descriptor left stays in the queue of
 * the socket, and would wake the loop for ever. So the socket is left alone for a while.
 */

#include "base/httpd.h"
#include "base/log.h"
#include "base/unixsock.h"

#include <assert.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum {
	PARAMS_MAX = 4,              /* parameters in one pattern */
	HEADERS_MAX = 16 * 1024,     /* bytes of a request's headers */
	HARD_BODY_MAX = 1024 * 1024, /* bytes after which the connection is dropped */
	ACCEPT_PAUSE_SECONDS = 1,
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
	struct evhttp_request *evhttp; /* NULL once the server is gone */
	LIST_ENTRY(httpd_request) link;
	struct param params[PARAMS_MAX];
	size_t n_params;
	json_t *body;
};

struct httpd {
	LIST_ENTRY(httpd) in_servers;
	struct evhttp *evhttp;
	struct unixsock sock;
	struct evconnlistener *listener; /* evhttp's */
	struct event *pause; /* nobody can be let in: until the next try */
	bool complained;     /* about that */
	struct route *routes;
	size_t n_routes;
	LIST_HEAD(, httpd_request) requests;
};

/*
 * The servers of this process, which has one event loop. evhttp keeps the argument of the listener's
 * calls for itself, so this is how an error of the listener finds its server.
 */
static LIST_HEAD(, httpd) servers = LIST_HEAD_INITIALIZER(servers);

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

/* Hands @text to evhttp, if there is still a connection, and ends the request. */
static void reply_text(struct httpd_request *request, int status, const char *text)
{
	struct evbuffer *buf = NULL;

	if (request->evhttp)
		buf = evbuffer_new();
	if (buf && evbuffer_add_printf(buf, "%s\n", text) >= 0 &&
	    evhttp_add_header(evhttp_request_get_output_headers(request->evhttp), "Content-Type",
			      "application/json") == 0)
		evhttp_send_reply(request->evhttp, status, NULL, buf);
	else if (request->evhttp)
		evhttp_send_error(request->evhttp, HTTP_INTERNAL, NULL);
	if (buf)
		evbuffer_free(buf);
	request_free(request);
}

void httpd_reply_json(struct httpd_request *request, int status, json_t *take_body)
{
	_cleanup_free_ char *text = NULL;

	if (take_body)
		text = json_dumps(take_body, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(take_body);
	if (text)
		reply_text(request, status, text);
	else
		reply_text(request, HTTP_INTERNAL,
			   "{\"error\":{\"message\":\"out of memory\",\"remedy\":null}}");
}

void httpd_reply_error(struct httpd_request *request, int status, const char *message,
		       const char *remedy)
{
	httpd_reply_json(request, status, json_pack("{s:{s:s,s:s?}}", "error", "message", message,
						    "remedy", remedy));
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
		if (strcmp(route->method, method) == 0) {
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

static void dispatch(const struct httpd *httpd, struct httpd_request *request)
{
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request->evhttp));
	json_error_t error = {.text = "the path cannot be decoded"};
	const struct route *route;
	int status;

	status = find_route(httpd, request->evhttp, path ? path : "", &route);
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
	struct httpd *httpd = user;
	struct httpd_request *request = calloc(1, sizeof(*request));

	if (!request) {
		evhttp_send_error(evhttp, HTTP_INTERNAL, NULL);
		return;
	}
	httpd->complained = false;
	request->evhttp = evhttp;
	LIST_INSERT_HEAD(&httpd->requests, request, link);
	dispatch(httpd, request);
}

/* accept() has failed, by errno, and would fail again at once. */
static void on_accept_error(struct evconnlistener *listener, void *evhttp)
{
	static const struct timeval pause = {.tv_sec = ACCEPT_PAUSE_SECONDS};
	struct httpd *httpd;

	LIST_FOREACH(httpd, &servers, in_servers)
		if (httpd->evhttp == evhttp)
			break;
	if (!httpd->complained)
		log_warning("%s: no client can be let in (%m): let this process open more files "
			    "(ulimit -n, LimitNOFILE=); trying once a second", httpd->sock.path);
	httpd->complained = true;
	(void)evconnlistener_disable(listener);
	(void)event_add(httpd->pause, &pause);
}

static void on_pause_over(evutil_socket_t fd, short what, void *user)
{
	struct httpd *httpd = user;

	(void)fd;
	(void)what;
	(void)evconnlistener_enable(httpd->listener);
}

/* Takes the socket's descriptor. */
static int listen_on(struct httpd *httpd, struct event_base *events)
{
	const unsigned flags = LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE;

	httpd->pause = event_new(events, -1, 0, on_pause_over, httpd);
	if (!httpd->pause)
		return -ENOMEM;
	/* It listens already: 0 leaves that as it is. */
	httpd->listener = evconnlistener_new(events, NULL, NULL, flags, 0, httpd->sock.fd);
	if (!httpd->listener)
		return -ENOMEM;
	httpd->sock.fd = -1;
	if (!evhttp_bind_listener(httpd->evhttp, httpd->listener)) {
		evconnlistener_free(httpd->listener);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(httpd->listener, on_accept_error);
	return 0;
}

static int start_evhttp(struct httpd *httpd, struct event_base *events)
{
	unsigned int all = 0;

	httpd->evhttp = evhttp_new(events);
	if (!httpd->evhttp)
		return -ENOMEM;
	/* What no route knows gets our 405, not evhttp's 501. */
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		all |= methods[i].type;
	evhttp_set_allowed_methods(httpd->evhttp, (ev_uint16_t)all);
	evhttp_set_max_headers_size(httpd->evhttp, HEADERS_MAX);
	evhttp_set_max_body_size(httpd->evhttp, HARD_BODY_MAX);
	evhttp_set_gencb(httpd->evhttp, on_request, httpd);

	return listen_on(httpd, events);
}

static bool sigpipe_is_ignored(void)
{
	struct sigaction action;

	return sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

int httpd_new(struct event_base *events, const char *path, mode_t mode, struct httpd **ret_httpd)
{
	_cleanup_(cleanup_httpdp) struct httpd *httpd = NULL;
	int r;

	assert(sigpipe_is_ignored());
	httpd = calloc(1, sizeof(*httpd));
	if (!httpd)
		return -ENOMEM;
	LIST_INIT(&httpd->requests);
	LIST_INSERT_HEAD(&servers, httpd, in_servers);
	unixsock_init(&httpd->sock);

	r = unixsock_listen(&httpd->sock, path, SOCK_STREAM, mode);
	if (r < 0)
		return r;
	if (r == UNIXSOCK_IN_USE)
		return HTTPD_IN_USE;
	r = start_evhttp(httpd, events);
	if (r < 0)
		return r;

	*ret_httpd = steal_ptr(httpd);
	return 0;
}

struct httpd *httpd_free(struct httpd *httpd)
{
	struct httpd_request *request;

	if (!httpd)
		return NULL;

	while ((request = LIST_FIRST(&httpd->requests))) {
		LIST_REMOVE(request, link);
		/* Those that still have a connection are freed with it. */
		if (!evhttp_request_get_connection(request->evhttp))
			evhttp_request_free(request->evhttp);
		request->evhttp = NULL;
	}
	if (httpd->evhttp)
		evhttp_free(httpd->evhttp);
	if (httpd->pause)
		event_free(httpd->pause);
	LIST_REMOVE(httpd, in_servers);
	unixsock_fini(&httpd->sock);
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
