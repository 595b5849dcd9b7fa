/* SPDX-License-Identifier: MIT */

/*
 * The API client: one request, one connection, one answer.
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

static int make_request(struct buffer *b, const char *method, const char *path, json_t *body)
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
	buffer_add(b, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
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

static int parse_response(const struct buffer *b, int *ret_status, json_t **ret_json)
{
	const char *length;
	char *body, *end;
	json_t *json;
	int status;

	body = b->len > 0 ? strstr(b->data, "\r\n\r\n") : NULL;
	if (!body || sscanf(b->data, "HTTP/1.%*1[01] %3d ", &status) != 1)
		return HTTPC_BAD_REPLY;
	*body = '\0';
	body += 4;

	if (find_header(b->data, "Transfer-Encoding"))
		return HTTPC_BAD_REPLY;
	length = find_header(b->data, "Content-Length");
	if (length && (strtoull(length, &end, 10) != (size_t)(b->data + b->len - body) ||
		       (*end != '\0' && *end != '\r')))
		return HTTPC_BAD_REPLY;
	json = json_loadb(body, (size_t)(b->data + b->len - body), JSON_DECODE_ANY, NULL);
	if (!json)
		return HTTPC_BAD_REPLY;

	*ret_status = status;
	*ret_json = json;
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

int httpc_call(const char *socket_path, const char *method, const char *path, json_t *body,
	       int timeout_ms, int *ret_status, json_t **ret_json)
{
	uint64_t deadline_ns = clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
	_cleanup_(buffer_fini) struct buffer request = {0};
	_cleanup_(buffer_fini) struct buffer response = {0};
	_cleanup_close_ int fd = -1;
	int r;

	r = make_request(&request, method, path, body);
	if (r)
		return r;
	r = connect_to(socket_path, timeout_ms, &fd);
	if (r)
		return r;
	r = send_all(fd, &request, deadline_ns);
	if (r)
		return r;
	r = receive_all(fd, &response, deadline_ns);
	if (r)
		return r;
	return parse_response(&response, ret_status, ret_json);
}
