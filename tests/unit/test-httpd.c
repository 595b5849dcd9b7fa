/* SPDX-License-Identifier: MIT */

/*
 * base/httpd.c and base/httpc.c end to end: the server and its event loop in one thread, the client
 * in the other, a real Unix socket between them. What the client would never send goes over a
 * plain connection.
 */

#include "base/clock.h"
#include "base/httpc.h"
#include "base/httpd.h"
#include "base/log.h"
#include "base/unixsock.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[64], path[128], look_path[128];
static pthread_t thread;

/* The server thread's own. */
static struct event_base *events;
static struct httpd *httpd;
static struct httpd_request *kept[8];
static size_t n_kept;

static void on_echo(struct httpd_request *request, void *user)
{
	httpd_reply_json(request, 200,
			 json_pack("{s:s?, s:s?, s:O?, s:s}", "name",
				   httpd_request_param(request, "name"), "other",
				   httpd_request_param(request, "nam"), "body",
				   httpd_request_body(request), "user", (const char *)user));
}

static void on_two(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply_json(request, 201, json_pack("[ss]", httpd_request_param(request, "a"),
						 httpd_request_param(request, "b")));
}

static void on_fail(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply_error(request, 409, "it is \"frozen\"", "thaw it");
}

static void on_empty(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply_json(request, 200, NULL);
}

static void on_big(struct httpd_request *request, void *user)
{
	size_t size = 17 * 1024 * 1024;
	char *text = calloc(1, size);

	(void)user;
	memset(text, 'x', size - 1);
	httpd_reply_json(request, 200, json_pack("[s]", text));
	free(text);
}

static void on_keep(struct httpd_request *request, void *user)
{
	(void)user;
	kept[n_kept++] = request;
}

static void answer_kept(void)
{
	while (n_kept > 0)
		httpd_reply_json(kept[--n_kept], 200, json_true());
}

/* Answers what was kept, and then this. */
static void on_release(struct httpd_request *request, void *user)
{
	(void)user;
	answer_kept();
	httpd_reply_json(request, 200, json_true());
}

static struct httpd_stream *stream;
static int n_gone;

static void on_gone(void *user, struct httpd_stream *gone)
{
	(void)user;
	n_gone++;
	stream = httpd_stream_free(gone);
}

static void on_stream(struct httpd_request *request, void *user)
{
	stream = httpd_stream_new(request, "text/event-stream", on_gone, user);
}

/* Sends {n} kilobytes to the stream, and answers how many of them were taken. */
static void on_push(struct httpd_request *request, void *user)
{
	char data[1024];
	int taken = 0;

	(void)user;
	memset(data, 'd', sizeof(data));
	for (int i = atoi(httpd_request_param(request, "n")); i > 0 && stream; i--)
		taken += httpd_stream_send(stream, data, sizeof(data));
	httpd_reply_json(request, 200, json_pack("[ii]", taken, n_gone));
}

static void on_end_stream(struct httpd_request *request, void *user)
{
	(void)user;
	stream = httpd_stream_free(stream);
	httpd_reply(request, 200, "text/plain", "ended\n", 6);
}

static void on_quit(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply_json(request, 200, json_true());
	event_base_loopexit(events, &(struct timeval){.tv_usec = 50000});
}

static void *serve(void *arg)
{
	(void)arg;
	event_base_dispatch(events);
	httpd = httpd_free(httpd);
	answer_kept();
	event_base_free(events);
	return NULL;
}

static void setup(void)
{
	static char user[] = "me";

	snprintf(folder, sizeof(folder), "/tmp/test-httpd-XXXXXX");
	cr_assert(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/api.sock", folder);
	snprintf(look_path, sizeof(look_path), "%s/look.sock", folder);
	signal(SIGPIPE, SIG_IGN);
	events = event_base_new();
	cr_assert(events != NULL);
	cr_assert(eq(int, httpd_new(events, path, 0600, &httpd), 0));
	cr_assert(eq(int, httpd_route(httpd, "POST", "/v1/guests/{name}/echo", on_echo, user), 0));
	cr_assert(eq(int, httpd_route(httpd, "GET", "/v1/guests/{name}/echo", on_echo, user), 0));
	cr_assert(eq(int, httpd_route(httpd, "PUT", "/v1/{a}/x/{b}", on_two, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "GET", "/v1/fail", on_fail, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "GET", "/v1/empty", on_empty, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "GET", "/v1/big", on_big, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "GET", "/v1/keep", on_keep, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "GET", "/v1/release", on_release, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "GET", "/v1/stream", on_stream, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "POST", "/v1/push/{n}", on_push, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "POST", "/v1/end", on_end_stream, NULL), 0));
	cr_assert(eq(int, httpd_route(httpd, "DELETE", "/v1/quit", on_quit, NULL), 0));
	cr_assert(eq(int, httpd_open_read_only(httpd, look_path, 0666), 0));
	cr_assert(eq(int, pthread_create(&thread, NULL, serve, NULL), 0));
}

static void teardown(void)
{
	json_t *json;
	int status;

	cr_assert(eq(int, httpc_call(path, "DELETE", "/v1/quit", NULL, 10000, &status, &json), 0));
	json_decref(json);
	pthread_join(thread, NULL);
	cr_expect(access(path, F_OK) != 0);
	rmdir(folder);
}

TestSuite(httpd, .init = setup, .fini = teardown, .timeout = 60);

static void expect(const char *method, const char *url, const char *body, int status,
		   const char *answer)
{
	json_t *sent = body ? json_loads(body, 0, NULL) : NULL, *got = NULL;
	int got_status = 0, r;
	char *text;

	r = httpc_call(path, method, url, sent, 10000, &got_status, &got);
	text = got ? json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	cr_expect(eq(int, r, 0), "%s %s", method, url);
	cr_expect(eq(int, got_status, status), "%s %s: %s", method, url, text);
	if (answer)
		cr_expect(text && strcmp(text, answer) == 0, "%s %s: %s", method, url, text);
	free(text);
	json_decref(got);
	json_decref(sent);
}

Test(httpd, a_request_finds_its_route_with_parameters_body_and_user)
{
	expect("POST", "/v1/guests/db1/echo", "{\"a\":[1,2]}", 200,
	       "{\"name\":\"db1\",\"other\":null,\"body\":{\"a\":[1,2]},\"user\":\"me\"}");
	expect("GET", "/v1/guests/db1/echo", NULL, 200,
	       "{\"name\":\"db1\",\"other\":null,\"body\":null,\"user\":\"me\"}");
	expect("PUT", "/v1/one/x/two", NULL, 201, "[\"one\",\"two\"]");
}

Test(httpd, a_name_with_any_byte_gets_through_whole)
{
	expect("GET", "/v1/guests/a b\r\nX: %41?#ü/echo", NULL, 200,
	       "{\"name\":\"a b\\r\\nX: %41?#ü\",\"other\":null,\"body\":null,\"user\":\"me\"}");
}

Test(httpd, wrong_paths_are_404_and_wrong_methods_405)
{
	static const char *const paths[] = {
		"/", "/v1", "/v1/", "/v1/guests//echo", "/v1/guests/y", "/v1/guests/y/echo/",
		"/v1/guests/y/echoes", "/v1/guests/y/ech", "/v1/fail/x", "/v2/fail",
	};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		expect("GET", paths[i], NULL, 404,
		       "{\"error\":{\"message\":\"there is nothing at this path\","
		       "\"remedy\":null}}");
	expect("DELETE", "/v1/guests/x/echo", NULL, 405, NULL);
	expect("PATCH", "/v1/fail", NULL, 405, NULL);
}

Test(httpd, errors_have_a_message_and_a_remedy)
{
	expect("GET", "/v1/fail", NULL, 409,
	       "{\"error\":{\"message\":\"it is \\\"frozen\\\"\",\"remedy\":\"thaw it\"}}");
	expect("GET", "/v1/empty", NULL, 500,
	       "{\"error\":{\"message\":\"out of memory\",\"remedy\":null}}");
}

Test(httpd, a_body_over_the_limit_is_413_and_one_below_is_not)
{
	static char body[HTTPD_BODY_MAX + 16];

	memset(body, 'x', sizeof(body));
	memcpy(body, "[\"", 2);
	strcpy(body + HTTPD_BODY_MAX - 2, "\"]");
	expect("POST", "/v1/guests/x/echo", body, 200, NULL);
	body[HTTPD_BODY_MAX - 2] = 'x';
	strcpy(body + HTTPD_BODY_MAX, "\"]");
	expect("POST", "/v1/guests/x/echo", body, 413, NULL);
}

/* Sends @text and reads until the end or until @size - 1 bytes; returns how many. */
static size_t talk(const char *text, char *reply, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd;

	cr_assert(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), 0));
	cr_assert(eq(sz, (size_t)send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text)));
	while ((n = recv(fd, reply + len, size - 1 - len, 0)) > 0)
		len += (size_t)n;
	reply[len] = '\0';
	close(fd);
	return len;
}

Test(httpd, what_is_not_json_or_not_a_path_is_400)
{
	static const char *const requests[] = {
		"POST /v1/guests/x/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
		"Content-Length: 5\r\n\r\n{\"a\":",
		"POST /v1/guests/x/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
		"Content-Length: 13\r\n\r\n{\"a\":1,\"a\":2}",
		"GET /v1/guests/x%00y/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
	};
	char reply[4096];

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		talk(requests[i], reply, sizeof(reply));
		cr_expect(strncmp(reply, "HTTP/1.1 400 ", 13) == 0, "%s", reply);
		cr_expect(strstr(reply, "\"message\"") != NULL, "%s", reply);
	}
	expect("GET", "/v1/fail", NULL, 409, NULL);
}

Test(httpd, a_405_names_the_methods_and_garbage_does_no_harm)
{
	char reply[4096];

	talk("DELETE /v1/guests/x/echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", reply,
	     sizeof(reply));
	cr_expect(strstr(reply, "Allow: POST\r\n") != NULL, "%s", reply);
	cr_expect(strstr(reply, "Allow: GET\r\n") != NULL, "%s", reply);
	talk("\x01\x02 not http\r\n\r\n", reply, sizeof(reply));
	talk("GET /v1/fail HTTP/1.1\r\nConnection: close\r\n\r\n", reply, sizeof(reply));
	expect("GET", "/v1/fail", NULL, 409, NULL);
}

static void *keep(void *arg)
{
	json_t *json = NULL;
	int status = 0;

	if (httpc_call(path, "GET", "/v1/keep", NULL, 10000, &status, &json) == 0)
		*(int *)arg = status;
	json_decref(json);
	return NULL;
}

Test(httpd, an_answer_may_come_later_while_others_are_served)
{
	int status = 0;
	pthread_t client;

	cr_assert(eq(int, pthread_create(&client, NULL, keep, &status), 0));
	expect("GET", "/v1/fail", NULL, 409, NULL);
	usleep(100000);
	expect("GET", "/v1/release", NULL, 200, "true");
	pthread_join(client, NULL);
	cr_expect(eq(int, status, 200));
}

Test(httpd, an_answer_to_a_client_that_hung_up_reaches_nobody)
{
	static const char request[] = "GET /v1/keep HTTP/1.1\r\nHost: h\r\n\r\n";
	int fd;

	cr_assert(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), 0));
	cr_assert(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	usleep(50000);
	close(fd);
	usleep(50000);
	expect("GET", "/v1/release", NULL, 200, "true");
	expect("GET", "/v1/fail", NULL, 409, NULL);
}

Test(httpd, requests_left_open_survive_the_server_and_their_client_sees_the_end)
{
	static const char request[] = "GET /v1/keep HTTP/1.1\r\nHost: h\r\n\r\n";
	int fd;

	/* The rest happens in teardown: the server is freed first, then the request is answered. */
	cr_assert(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), 0));
	cr_assert(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	cr_assert(eq(int, unixsock_connect(path, SOCK_STREAM, 1000, &fd), 0));
	cr_assert(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	usleep(50000);
	close(fd);
	usleep(50000);
}

Test(httpd, a_second_server_is_refused)
{
	struct event_base *other = event_base_new();
	struct httpd *second = NULL;

	cr_expect(eq(int, httpd_new(other, path, 0600, &second), HTTPD_IN_USE));
	cr_expect(second == NULL);
	event_base_free(other);
	expect("GET", "/v1/fail", NULL, 409, NULL);
}

Test(httpd, the_client_has_a_limit_and_a_deadline)
{
	json_t *json = NULL;
	int status = 0;

	cr_expect(eq(int, httpc_call(path, "GET", "/v1/big", NULL, 30000, &status, &json),
		     HTTPC_BAD_REPLY));
	cr_expect(eq(int, httpc_call(path, "GET", "/v1/keep", NULL, 50, &status, &json),
		     HTTPC_TIMED_OUT));
	cr_expect(json == NULL);
}

static void limit_descriptors(rlim_t most)
{
	struct rlimit limit;

	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
	limit.rlim_cur = most < limit.rlim_max ? most : limit.rlim_max;
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &limit), 0));
}

/* From now on this process can open nothing more. */
static void use_up_descriptors(void)
{
	int next = dup(0);

	cr_assert(ge(int, next, 0));
	close(next);
	limit_descriptors(next);
}

static int turns_of(struct event_base *base, uint64_t ms)
{
	uint64_t end_ns = clock_monotonic_ns() + ms * UINT64_C(1000000);
	int turns = 0;

	while (clock_monotonic_ns() < end_ns) {
		(void)event_base_loop(base, EVLOOP_ONCE);
		turns++;
	}
	return turns;
}

static void count(struct httpd_request *request, void *user)
{
	++*(int *)user;
	httpd_reply_json(request, 200, json_true());
}

Test(httpd, a_client_that_cannot_be_let_in_for_want_of_descriptors_waits_and_nothing_spins)
{
	static const char request[] = "GET /count HTTP/1.1\r\nHost: h\r\n\r\n";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), seen = 0;
	uint64_t end_ns = clock_monotonic_ns() + UINT64_C(20000000000);
	struct event_base *base = event_base_new();
	struct httpd *full = NULL;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/full.sock", folder);
	log_open("test", LOG_LEVEL_ERROR);
	cr_assert(eq(int, httpd_new(base, address.sun_path, 0600, &full), 0));
	cr_assert(eq(int, httpd_route(full, "GET", "/count", count, &seen), 0));
	(void)event_base_loop(base, EVLOOP_NONBLOCK);
	use_up_descriptors();
	cr_assert(eq(int, connect(fd, (struct sockaddr *)&address, sizeof(address)), 0));
	cr_assert(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	cr_expect(lt(int, turns_of(base, 1200), 100), "the loop has slept");
	cr_expect(eq(int, seen, 0));

	limit_descriptors(RLIM_INFINITY);
	while (seen == 0 && clock_monotonic_ns() < end_ns)
		(void)event_base_loop(base, EVLOOP_ONCE);
	cr_expect(eq(int, seen, 1), "and is let in later");
	close(fd);
	(void)httpd_free(full);
	event_base_free(base);
}

/* Connects to @socket_path and asks for @what. */
static int ask_for(const char *socket_path, const char *what)
{
	char request[128];
	int fd;

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", what);
	cr_assert(eq(int, unixsock_connect(socket_path, SOCK_STREAM, 1000, &fd), 0));
	cr_assert(send(fd, request, strlen(request), MSG_NOSIGNAL) > 0);
	return fd;
}

/* Reads until @n bytes 'd' have come, or there is no more; how many came. */
static size_t read_data(int fd, size_t n)
{
	char buf[4096];
	size_t got = 0;
	ssize_t r;

	while (got < n && (r = recv(fd, buf, sizeof(buf), 0)) > 0)
		for (ssize_t i = 0; i < r; i++)
			got += buf[i] == 'd';
	return got;
}

Test(httpd, a_stream_goes_on_until_it_is_ended)
{
	int fd = ask_for(path, "/v1/stream");
	char buf[4096];

	usleep(100000);
	expect("POST", "/v1/push/3", NULL, 200, "[3,0]");
	cr_expect(ge(sz, read_data(fd, 3 * 1024), 3 * 1024));
	expect("POST", "/v1/push/1", NULL, 200, "[1,0]");
	cr_expect(ge(sz, read_data(fd, 1024), 1024));
	(void)!httpc_call(path, "POST", "/v1/end", NULL, 10000, &(int){0}, &(json_t *){NULL});
	cr_expect(gt(long, (long)recv(fd, buf, sizeof(buf), 0), 0), "the last chunk");
	expect("POST", "/v1/push/1", NULL, 200, "[0,0]");
	close(fd);
}

Test(httpd, a_stream_whose_client_hangs_up_is_told)
{
	close(ask_for(path, "/v1/stream"));
	usleep(100000);
	expect("POST", "/v1/push/1", NULL, 200, "[0,1]");
}

Test(httpd, a_stream_whose_client_does_not_read_is_left_out_and_bounded)
{
	int fd = ask_for(path, "/v1/stream"), status = 0, taken;
	json_t *json = NULL;

	usleep(100000);
	cr_assert(eq(int, httpc_call(path, "POST", "/v1/push/4000", NULL, 10000, &status, &json), 0));
	taken = (int)json_integer_value(json_array_get(json, 0));
	json_decref(json);
	cr_expect(gt(int, taken, 200));
	cr_expect(lt(int, taken, 1000));
	cr_expect(ge(sz, read_data(fd, (size_t)taken * 1024), (size_t)taken * 1024));
	usleep(100000);
	expect("POST", "/v1/push/1", NULL, 200, "[1,0]");
	close(fd);
}

Test(httpd, a_stream_outlives_neither_its_server_nor_its_handler)
{
	/* The rest happens in teardown. */
	(void)ask_for(path, "/v1/stream");
	usleep(100000);
}

Test(httpd, the_second_socket_is_for_looking_only)
{
	char first[sizeof(path)];

	memcpy(first, path, sizeof(path));
	memcpy(path, look_path, sizeof(path));
	expect("GET", "/v1/fail", NULL, 409, NULL);
	expect("POST", "/v1/guests/x/echo", NULL, 403, NULL);
	expect("DELETE", "/v1/quit", NULL, 403, NULL);
	expect("DELETE", "/v1/nothing", NULL, 404, NULL);
	memcpy(path, first, sizeof(path));
	expect("POST", "/v1/guests/x/echo", NULL, 200, NULL);
}

Test(httpd, a_socket_on_tcp_is_for_looking_only_and_must_have_an_address)
{
	static const char *const bad[] = {"", "1234", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:0",
					  "localhost:80", "[::1]", "127.0.0.1:99999"};
	struct event_base *base = event_base_new();
	struct httpd *server = NULL;
	char where[128];

	snprintf(where, sizeof(where), "%s/tcp.sock", folder);
	cr_assert(eq(int, httpd_new(base, where, 0600, &server), 0));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) && i < 2; i++)
		cr_expect(eq(int, httpd_open_tcp(server, bad[i]), -EINVAL), "%s", bad[i]);
	cr_expect(eq(int, httpd_open_tcp(server, "127.0.0.1:1"), 0));
	cr_expect(eq(int, httpd_open_tcp(server, "127.0.0.1:2"), -ENOSPC), "no more doors");
	server = httpd_free(server);
	for (size_t i = 2; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert(eq(int, httpd_new(base, where, 0600, &server), 0));
		cr_expect(eq(int, httpd_open_tcp(server, bad[i]), -EINVAL), "%s", bad[i]);
		server = httpd_free(server);
	}
	event_base_free(base);
}
