/* SPDX-License-Identifier: MIT */

/*
 * base/httpc.c against a listener that answers whatever a row says. The good cases are in
 * test-httpd.c, with the real server.
 */

#include "base/httpc.h"
#include "base/unixsock.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct server {
	struct unixsock sock;
	const char *answer;
	char request[4096];
};

/* Accepts one connection, reads one request, answers, hangs up. */
static void *answer_once(void *arg)
{
	struct server *server = arg;
	struct pollfd p = {.fd = server->sock.fd, .events = POLLIN};
	int fd;

	if (poll(&p, 1, 10000) != 1)
		return NULL;
	fd = accept(server->sock.fd, NULL, NULL);
	if (recv(fd, server->request, sizeof(server->request) - 1, 0) >= 0)
		send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

static char folder[64], path[128];

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/test-httpc-XXXXXX");
	cr_assert(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/s", folder);
}

static void teardown(void)
{
	rmdir(folder);
}

TestSuite(httpc, .init = setup, .fini = teardown, .timeout = 60);

static int call(const char *answer, int *ret_status, char *request)
{
	struct server server = {.answer = answer};
	pthread_t thread;
	json_t *json = NULL;
	int r;

	cr_assert(eq(int, unixsock_listen(&server.sock, path, SOCK_STREAM, 0600), 0));
	cr_assert(eq(int, pthread_create(&thread, NULL, answer_once, &server), 0));
	r = httpc_call(path, "GET", "/a b", NULL, 5000, ret_status, &json);
	pthread_join(thread, NULL);
	unixsock_fini(&server.sock);
	json_decref(json);
	if (request)
		strcpy(request, server.request);
	return r;
}

Test(httpc, only_whole_http_answers_with_json_are_taken)
{
	static const struct {
		const char *answer;
		int result, status;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 0, 200},
		{"HTTP/1.0 404 Not Found\r\n\r\n{}", 0, 404},
		{"HTTP/1.1 200 OK\r\ncontent-length:4\r\nX: y\r\n\r\nnull", 0, 200},
		{"", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\n", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\n\r\n", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		 HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 200 OK\r\n\r\n<html>", HTTPC_BAD_REPLY, 0},
		{"HTTP/2 200 OK\r\n\r\n{}", HTTPC_BAD_REPLY, 0},
		{"HTTP/1.1 abc\r\n\r\n{}", HTTPC_BAD_REPLY, 0},
		{"SSH-2.0-OpenSSH\r\n\r\n", HTTPC_BAD_REPLY, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int status = 0;

		cr_expect(eq(int, call(rows[i].answer, &status, NULL), rows[i].result), "row %zu",
			  i);
		cr_expect(eq(int, status, rows[i].status), "row %zu", i);
	}
}

Test(httpc, the_request_is_plain_http_with_an_encoded_path)
{
	char request[4096];
	int status;

	cr_assert(eq(int, call("HTTP/1.1 200 OK\r\n\r\n{}", &status, request), 0));
	cr_expect(eq(str, request, "GET /a%20b HTTP/1.1\r\nHost: localhost\r\n"
				   "Connection: close\r\nContent-Length: 0\r\n\r\n"));
}

/* Notes what is heard, in short, until it is "end". */
static bool hear(void *user, const char *event, const json_t *data)
{
	char *heard = user;
	size_t n = strlen(heard);

	snprintf(heard + n, 256 - n, "%s=%lld ", event,
		 json_is_integer(data) ? (long long)json_integer_value(data) : -1LL);
	return strcmp(event, "end") != 0;
}

Test(httpc, events_are_heard_until_one_has_enough_or_they_end)
{
	static const char head[] = "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
	static const struct {
		const char *head, *events, *heard;
		int result;
	} rows[] = {
		{head, "event: a\ndata: 1\n\nevent: end\ndata: 2\n\nevent: b\ndata: 3\n\n", "a=1 end=2 ", 0},
		{head, "event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", "a=1 b=2 ", HTTPC_ENDED},
		{head, "event: a\ndata: 1\n\nevent: b\nda", "a=1 ", HTTPC_ENDED},
		{head, "data: 1\n\n: a remark\n\nevent: a\ndata: {}\n\n", "=1 a=-1 ", HTTPC_ENDED},
		{head, "event: a\ndata: {nonsense\n\nevent: b\ndata: 4\n\n", "b=4 ", HTTPC_ENDED},
		{head, "", "", HTTPC_ENDED},
		{"HTTP/1.1 404 Not Found\r\n\r\n", "event: a\ndata: 1\n\n", "", HTTPC_BAD_REPLY},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "event: a\ndata: 1\n\n", "",
		 HTTPC_BAD_REPLY},
		{"HTTP/1.1 200", "", "", HTTPC_ENDED},
		{"SSH-2.0\r\n\r\n", "", "", HTTPC_BAD_REPLY},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char answer[512], heard[256] = "";
		struct server server = {.answer = answer};
		pthread_t thread;
		int r;

		snprintf(answer, sizeof(answer), "%s%s", rows[i].head, rows[i].events);
		cr_assert(eq(int, unixsock_listen(&server.sock, path, SOCK_STREAM, 0600), 0));
		cr_assert(eq(int, pthread_create(&thread, NULL, answer_once, &server), 0));
		r = httpc_listen(path, "/v1/events", 5000, hear, heard);
		pthread_join(thread, NULL);
		unixsock_fini(&server.sock);
		cr_expect(eq(int, r, rows[i].result), "row %zu", i);
		cr_expect(eq(str, (char *)heard, (char *)(uintptr_t)rows[i].heard), "row %zu", i);
	}
}

Test(httpc, a_text_is_taken_as_it_is)
{
	struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n# x\n"};
	pthread_t thread;
	char *text = NULL;
	int status = 0;

	cr_assert(eq(int, unixsock_listen(&server.sock, path, SOCK_STREAM, 0600), 0));
	cr_assert(eq(int, pthread_create(&thread, NULL, answer_once, &server), 0));
	cr_expect(eq(int, httpc_get_text(path, "/metrics", 5000, &status, &text), 0));
	pthread_join(thread, NULL);
	unixsock_fini(&server.sock);
	cr_expect(eq(int, status, 200));
	cr_assert(text != NULL);
	cr_expect(eq(str, text, "# x\n"));
	free(text);
}

Test(httpc, without_a_daemon_and_without_permission_it_says_so)
{
	struct unixsock sock;
	json_t *json;
	int status;

	cr_expect(eq(int, httpc_call(path, "GET", "/", NULL, 1000, &status, &json),
		     HTTPC_NO_DAEMON));
	if (geteuid() != 0)
		return;
	cr_assert(eq(int, unixsock_listen(&sock, path, SOCK_STREAM, 0600), 0));
	cr_assert(seteuid(65534) == 0);
	cr_expect(eq(int, httpc_call(path, "GET", "/", NULL, 1000, &status, &json),
		     HTTPC_DENIED));
	cr_assert(seteuid(0) == 0);
	unixsock_fini(&sock);
}
