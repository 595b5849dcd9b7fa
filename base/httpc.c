/* SPDX-License-Identifier: MIT */

/*
 * The API client: one request, one connection, one answer, or events until somebody has enough.
 *
 * A command-line program has nothing else to do while it waits, so this blocks, with one deadline
 * over everything. It asks for "Connection: close" and reads to the end. An answer that carries a
 * Content-Length must have exactly that many bytes, so a daemon that died in the middle is
 * noticed; other transfer encodings are refused, because base/httpd.c does not send them.
 *
 * The path is encoded here. Names of guests come from the command line, and a blank or a newline in
 * one must not become a part of the request's syntax.
 */

#include "base/httpc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/unixsock.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

struct buffer {
	char *data; /* NUL-terminated once it is not NULL */
	size_t len;
	size_t size;
	bool failed; /* memory ran out in buffer_add(); sticky */
};

static void buffer_fini(struct buffer *b)
{
	free(b->data);
}

/* Makes room for @more bytes and a NUL. */
static int buffer_reserve(struct buffer *b, size_t more)
{
	size_t size = b->size ? b->size : 4096;
	char *data;

	while (size - b->len <= more)
		size *= 2;
	if (size == b->size)
		return 0;
	data = realloc(b->data, size);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->size = size;
	return 0;
}

static void buffer_add(struct buffer *b, const char *text)
{
	size_t len = strlen(text);

	if (b->failed || buffer_reserve(b, len) < 0) {
		b->failed = true;
		return;
	}
	memcpy(b->data + b->len, text, len + 1);
	b->len += len;
}

static void buffer_add_path(struct buffer *b, const char *path)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~/";

	for (; *path; path++) {
		char text[4] = {*path, '\0'};

		if (*path == HTTPC_SLASH[0])
			snprintf(text, sizeof(text), "%%2F");
		else if (!strchr(plain, *path))
			snprintf(text, sizeof(text), "%%%02X", (unsigned char)*path);
		buffer_add(b, text);
	}
}

/* @version: 1.1; or 1.0, with which the server sends what it has as it is. */
static int make_request(struct buffer *b, const char *method, const char *path, json_t *body,
			const char *version)
{
	_cleanup_free_ char *text = NULL;
	char length[64];

	if (body) {
		text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
		if (!text)
			return -ENOMEM;
	}
	snprintf(length, sizeof(length), "Content-Length: %zu\r\n\r\n", text ? strlen(text) : 0);

	buffer_add(b, method);
	buffer_add(b, " ");
	buffer_add_path(b, path);
	buffer_add(b, " HTTP/");
	buffer_add(b, version);
	buffer_add(b, "\r\nHost: localhost\r\nConnection: close\r\n");
	buffer_add(b, length);
	buffer_add(b, text ? text : "");
	return b->failed ? -ENOMEM : 0;
}

/* 0 once @fd is ready for @events; HTTPC_TIMED_OUT. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = events};
	uint64_t now = clock_monotonic_ns();
	int r;

	do {
		if (now >= deadline_ns)
			return HTTPC_TIMED_OUT;
		r = poll(&p, 1, (int)((deadline_ns - now + 999999) / 1000000));
		now = clock_monotonic_ns();
	} while (r == 0 || (r < 0 && errno == EINTR));
	return r < 0 ? negative_errno() : 0;
}

static int send_all(int fd, const struct buffer *b, uint64_t deadline_ns)
{
	size_t sent = 0;
	ssize_t n;
	int r;

	while (sent < b->len) {
		r = wait_for(fd, POLLOUT, deadline_ns);
		if (r)
			return r;
		n = send(fd, b->data + sent, b->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return 0; /* it may have answered already, with a refusal */
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return negative_errno();
		sent += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Reads until the end of the connection. */
static int receive_all(int fd, struct buffer *b, uint64_t deadline_ns)
{
	ssize_t n;
	int r;

	for (;;) {
		r = buffer_reserve(b, 4096);
		if (r < 0)
			return r;
		r = wait_for(fd, POLLIN, deadline_ns);
		if (r)
			return r;
		n = recv(fd, b->data + b->len, b->size - b->len - 1, MSG_DONTWAIT);
		if (n < 0 && errno == ECONNRESET)
			n = 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return negative_errno();
		b->len += n > 0 ? (size_t)n : 0;
		b->data[b->len] = '\0';
		if (n == 0)
			return 0;
		if (b->len > HTTPC_RESPONSE_MAX)
			return HTTPC_BAD_REPLY;
	}
}

/* Looks for "@name: value" in the header lines; NULL if it is not there. */
static const char *find_header(const char *headers, const char *name)
{
	size_t len = strlen(name);
	const char *line = headers;

	while ((line = strstr(line, "\r\n"))) {
		line += 2;
		if (strncasecmp(line, name, len) == 0 && line[len] == ':')
			return line + len + 1;
	}
	return NULL;
}

/* Finds the status, and the body, which is borrowed from @b; its head ends with a NUL then. */
static int split_response(const struct buffer *b, int *ret_status, char **ret_body)
{
	char *body = b->len > 0 ? strstr(b->data, "\r\n\r\n") : NULL;

	if (!body || sscanf(b->data, "HTTP/1.%*1[01] %3d ", ret_status) != 1)
		return HTTPC_BAD_REPLY;
	*body = '\0';
	*ret_body = body + 4;
	return 0;
}

/* The same for a whole answer. */
static int split_whole(const struct buffer *b, int *ret_status, char **ret_body)
{
	const char *length;
	char *end;
	int r = split_response(b, ret_status, ret_body);

	if (r)
		return r;
	if (find_header(b->data, "Transfer-Encoding"))
		return HTTPC_BAD_REPLY;
	length = find_header(b->data, "Content-Length");
	if (length && (strtoull(length, &end, 10) != (size_t)(b->data + b->len - *ret_body) ||
		       (*end != '\0' && *end != '\r')))
		return HTTPC_BAD_REPLY;
	return 0;
}

static int connect_to(const char *socket_path, int timeout_ms, int *ret_fd)
{
	int r = unixsock_connect(socket_path, SOCK_STREAM, timeout_ms, ret_fd);

	if (r == UNIXSOCK_NOBODY)
		return HTTPC_NO_DAEMON;
	if (r == UNIXSOCK_DENIED)
		return HTTPC_DENIED;
	if (r == UNIXSOCK_TIMED_OUT)
		return HTTPC_TIMED_OUT;
	return r;
}

/* Sends a request and reads its answer to the end. */
static int exchange(const char *socket_path, const struct buffer *request, int timeout_ms,
		    struct buffer *response)
{
	uint64_t deadline_ns = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
	_cleanup_close_ int fd = -1;
	int r;

	r = connect_to(socket_path, timeout_ms, &fd);
	if (r)
		return r;
	r = send_all(fd, request, deadline_ns);
	return r ? r : receive_all(fd, response, deadline_ns);
}

int httpc_call(const char *socket_path, const char *method, const char *path, json_t *body,
	       int timeout_ms, int *ret_status, json_t **ret_json)
{
	_cleanup_(buffer_fini) struct buffer request = {0};
	_cleanup_(buffer_fini) struct buffer response = {0};
	char *text;
	json_t *json;
	int status, r;

	r = make_request(&request, method, path, body, "1.1");
	if (r)
		return r;
	r = exchange(socket_path, &request, timeout_ms, &response);
	if (r)
		return r;
	r = split_whole(&response, &status, &text);
	if (r)
		return r;
	json = json_loadb(text, (size_t)(response.data + response.len - text), JSON_DECODE_ANY, NULL);
	if (!json)
		return HTTPC_BAD_REPLY;
	*ret_status = status;
	*ret_json = json;
	return 0;
}

int httpc_get_text(const char *socket_path, const char *path, int timeout_ms, int *ret_status,
		   char **ret_text)
{
	_cleanup_(buffer_fini) struct buffer request = {0};
	_cleanup_(buffer_fini) struct buffer response = {0};
	char *text;
	int r;

	r = make_request(&request, "GET", path, NULL, "1.1");
	if (r)
		return r;
	r = exchange(socket_path, &request, timeout_ms, &response);
	if (r)
		return r;
	r = split_whole(&response, ret_status, &text);
	if (r)
		return r;
	text = strdup(text);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}

/* Takes the whole events at the front of @b away, and gives them to @take. False: it wants no more. */
static bool take_events(struct buffer *b, bool (*take)(void *user, const char *event, const json_t *data),
			void *user)
{
	char *end, *at = b->data;
	bool more = true;

	while (more && (end = strstr(at, "\n\n"))) {
		const char *event = "", *data = NULL;
		char *line, *save = NULL;
		json_t *json;

		*end = '\0';
		for (line = strtok_r(at, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			if (!strncmp(line, "event: ", 7))
				event = line + 7;
			else if (!strncmp(line, "data: ", 6))
				data = line + 6;
		}
		json = data ? json_loads(data, JSON_DECODE_ANY, NULL) : NULL;
		if (json)
			more = take(user, event, json);
		json_decref(json);
		at = end + 2;
	}
	b->len -= (size_t)(at - b->data);
	memmove(b->data, at, b->len + 1);
	return more;
}

/* Reads what has come. HTTPC_ENDED at the end of the connection. */
static int receive_some(int fd, struct buffer *b, int timeout_ms)
{
	uint64_t deadline_ns = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
	ssize_t n;
	int r;

	if (b->len > HTTPC_RESPONSE_MAX)
		return HTTPC_BAD_REPLY;
	r = buffer_reserve(b, 4096);
	if (r == 0)
		r = wait_for(fd, POLLIN, deadline_ns);
	if (r)
		return r;
	n = recv(fd, b->data + b->len, b->size - b->len - 1, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return HTTPC_ENDED;
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return negative_errno();
	b->len += n > 0 ? (size_t)n : 0;
	b->data[b->len] = '\0';
	return 0;
}

/* Reads the head of an answer that goes on, and takes it away from @b. */
static int receive_head(int fd, struct buffer *b, int timeout_ms)
{
	int status = 0, r = 0;
	char *body;

	while (r == 0 && !(b->len > 0 && strstr(b->data, "\r\n\r\n")))
		r = receive_some(fd, b, timeout_ms);
	if (r)
		return r;
	r = split_response(b, &status, &body);
	if (r)
		return r;
	if (status != 200 || find_header(b->data, "Transfer-Encoding"))
		return HTTPC_BAD_REPLY;
	b->len -= (size_t)(body - b->data);
	memmove(b->data, body, b->len + 1);
	return 0;
}

int httpc_listen(const char *socket_path, const char *path, int timeout_ms,
		 bool (*take)(void *user, const char *event, const json_t *data), void *user)
{
	_cleanup_(buffer_fini) struct buffer request = {0};
	_cleanup_(buffer_fini) struct buffer response = {0};
	_cleanup_close_ int fd = -1;
	int r;

	r = make_request(&request, "GET", path, NULL, "1.0");
	if (r)
		return r;
	r = connect_to(socket_path, timeout_ms, &fd);
	if (r)
		return r;
	r = send_all(fd, &request, clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000u);
	if (r == 0)
		r = receive_head(fd, &response, timeout_ms);
	while (r == 0 && take_events(&response, take, user))
		r = receive_some(fd, &response, timeout_ms);
	return r;
}
