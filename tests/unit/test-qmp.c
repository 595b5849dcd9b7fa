/* SPDX-License-Identifier: MIT */

/*
 * host/qmp.c against servers that behave as a row says, in the same event loop.
 */

#include "base/unixsock.h"
#include "host/qmp.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
#define LIMIT_NS (200 * MS)  /* for a server that is meant to miss it */
#define LONG_NS  (60000 * MS) /* for one that is not */

static const char greeting[] = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";

/* What a server does. */
struct conduct {
	const char *greets;       /* on connecting; NULL: nothing */
	const char *capabilities; /* to the first command, after its id; NULL: as it should */
	const char *answers;      /* to the second; NULL: as it should; "": nothing */
	bool hangs_up;  /* instead of the second answer */
	bool piecemeal; /* a byte at a time */
	int flood;      /* events before each answer */
};

struct server {
	struct event_base *base;
	struct unixsock sock;
	struct event *listener;
	struct bufferevent *peer;
	struct conduct conduct;
	int commands;
	char last[256];
};

struct client {
	struct qmp *qmp;
	struct event_base *base;
	bool ready, lost, answered;
	bool stop_on_answer;
	char why[80], error[80], event[40];
	int events;
	bool has_value;
};

static char folder[64];

static void setup(void)
{
	snprintf(folder, sizeof(folder), "/tmp/test-qmp-XXXXXX");
	cr_assert(ne(ptr, mkdtemp(folder), NULL));
}

static void teardown(void)
{
	rmdir(folder);
}

TestSuite(qmp, .init = setup, .fini = teardown, .timeout = 120);

static void say(struct server *s, const char *text)
{
	int fd = bufferevent_getfd(s->peer);

	if (!s->conduct.piecemeal) {
		bufferevent_write(s->peer, text, strlen(text));
		return;
	}
	for (; *text; text++)
		cr_assert(eq(int, (int)send(fd, text, 1, 0), 1));
}

static void answer(struct server *s)
{
	char text[128];

	s->commands++;
	for (int i = 0; i < s->conduct.flood; i++)
		say(s, "{\"event\": \"FLOOD\"}\n");
	snprintf(text, sizeof(text), "{\"return\": {\"actual\": 8192}, \"id\": %d}\n", s->commands);
	if (s->commands == 1 && s->conduct.capabilities)
		say(s, s->conduct.capabilities);
	else if (s->commands == 2 && s->conduct.hangs_up)
		shutdown(bufferevent_getfd(s->peer), SHUT_RDWR);
	else if (s->commands == 2 && s->conduct.answers)
		say(s, s->conduct.answers);
	else
		say(s, text);
}

static void on_commands(struct bufferevent *peer, void *user)
{
	struct server *s = user;
	char *line;

	while ((line = evbuffer_readln(bufferevent_get_input(peer), NULL, EVBUFFER_EOL_LF))) {
		snprintf(s->last, sizeof(s->last), "%s", line);
		free(line);
		answer(s);
	}
}

static void on_client(evutil_socket_t fd, short what, void *user)
{
	struct server *s = user;
	int peer = accept(fd, NULL, NULL);

	(void)what;
	cr_assert(ge(int, peer, 0));
	evutil_make_socket_nonblocking(peer);
	s->peer = bufferevent_socket_new(s->base, peer, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(s->peer, on_commands, NULL, NULL, s);
	bufferevent_enable(s->peer, EV_READ | EV_WRITE);
	if (s->conduct.greets)
		say(s, s->conduct.greets);
}

static void start_server(struct server *s, struct event_base *base, const char *name,
			 const struct conduct *conduct)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	*s = (struct server){.base = base, .conduct = *conduct};
	unixsock_init(&s->sock);
	cr_assert(eq(int, unixsock_listen(&s->sock, path, SOCK_STREAM, 0600), 0));
	s->listener = event_new(base, s->sock.fd, EV_READ | EV_PERSIST, on_client, s);
	event_add(s->listener, NULL);
}

static void stop_server(struct server *s)
{
	if (s->peer)
		bufferevent_free(s->peer);
	event_free(s->listener);
	unixsock_fini(&s->sock);
}

static void on_answer(void *user, const json_t *value, const char *error)
{
	struct client *c = user;

	cr_expect(not(c->answered));
	c->answered = true;
	c->has_value = value != NULL;
	snprintf(c->error, sizeof(c->error), "%s", error ? error : "");
	if (c->stop_on_answer)
		event_base_loopbreak(c->base);
}

static void on_ready(void *user)
{
	struct client *c = user;

	c->ready = true;
	cr_expect(eq(int, qmp_ask(c->qmp, "query-balloon", NULL, 0, on_answer, c), 0));
}

static void on_event(void *user, const char *name, const json_t *data)
{
	struct client *c = user;

	(void)data;
	c->events++;
	snprintf(c->event, sizeof(c->event), "%s", name);
}

static void on_lost(void *user, const char *why)
{
	struct client *c = user;

	cr_expect(not(c->lost));
	c->lost = true;
	snprintf(c->why, sizeof(c->why), "%s", why);
	c->qmp = qmp_free(c->qmp);
	event_base_loopbreak(c->base);
}

static const struct qmp_ops ops = {.on_ready = on_ready, .on_event = on_event, .on_lost = on_lost};

static int connect_client(struct client *c, struct event_base *base, const char *name,
			  uint64_t limit_ns)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	*c = (struct client){.base = base};
	return qmp_open(base, path, limit_ns, &ops, c, &c->qmp);
}

static void expect_text(const char *got, const char *wanted, const char *what)
{
	cr_expect(eq(int, strcmp(got, wanted), 0), "%s: '%s' instead of '%s'", what, got, wanted);
}

Test(qmp, a_server_that_behaves_is_understood)
{
	static const struct conduct conducts[] = {
		{.greets = greeting},
		{.greets = greeting, .piecemeal = true},
		{.greets = greeting, .flood = 3000},
		{.greets = "\r\n {\"QMP\":\n{}\n}\n{\"event\": \"EARLY\"}\n"},
	};

	for (size_t i = 0; i < sizeof(conducts) / sizeof(conducts[0]); i++) {
		struct event_base *base = event_base_new();
		struct server server;
		struct client client;

		start_server(&server, base, "s", &conducts[i]);
		cr_assert(eq(int, connect_client(&client, base, "s", LONG_NS), 0));
		client.stop_on_answer = true;
		event_base_dispatch(base);
		cr_expect(client.ready && client.answered && client.has_value, "row %zu", i);
		cr_expect(not(client.lost), "row %zu: %s", i, client.why);
		/* What came before the server was ready is nobody's. */
		cr_expect(eq(int, client.events, conducts[i].flood), "row %zu", i);
		expect_text(server.last, "{\"execute\":\"query-balloon\",\"id\":2}", "command");
		client.qmp = qmp_free(client.qmp);
		stop_server(&server);
		event_base_free(base);
	}
}

Test(qmp, an_error_is_an_answer)
{
	static const struct conduct conduct = {
		.greets = greeting,
		.answers = "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no balloon\"}, \"id\": 2}",
	};
	struct event_base *base = event_base_new();
	struct server server;
	struct client client;

	start_server(&server, base, "s", &conduct);
	cr_assert(eq(int, connect_client(&client, base, "s", LONG_NS), 0));
	client.stop_on_answer = true;
	event_base_dispatch(base);
	cr_expect(not(client.has_value));
	expect_text(client.error, "no balloon", "error");
	client.qmp = qmp_free(client.qmp);
	stop_server(&server);
	event_base_free(base);
}

Test(qmp, a_server_that_does_not_behave_is_lost_and_it_is_said_why)
{
	static const struct {
		const char *what;
		struct conduct conduct;
		uint64_t limit_ns;
		bool ready;
		const char *why;
	} rows[] = {
		{"says nothing", {0}, LIMIT_NS, false, "it does not greet: another client may have it"},
		{"speaks HTTP", {.greets = "HTTP/1.1 400 Bad Request\r\n"}, LONG_NS, false,
		 "what it sends is no QMP"},
		{"greets with something else", {.greets = "{\"event\": \"STOP\"}"}, LONG_NS, false,
		 "it does not greet as QMP does"},
		{"greets twice",
		 {.greets = "{\"QMP\": {}} {\"QMP\": {}}"}, LONG_NS, false, "it greets twice"},
		{"refuses", {.greets = greeting, .capabilities = "{\"error\": {\"desc\": \"no\"}, \"id\": 1}"},
		 LONG_NS, false, "it does not take qmp_capabilities"},
		{"does not take up", {.greets = greeting, .capabilities = ""}, LIMIT_NS, false,
		 "it does not answer in time"},
		{"does not answer", {.greets = greeting, .answers = ""}, LIMIT_NS, true,
		 "it does not answer in time"},
		{"answers something else", {.greets = greeting, .answers = "{\"return\": {}, \"id\": 9}"},
		 LONG_NS, true, "it answers what was not asked"},
		{"answers twice",
		 {.greets = greeting, .answers = "{\"return\": 1, \"id\": 2}{\"return\": 1, \"id\": 2}"},
		 LONG_NS, true, "it answers what was not asked"},
		{"answers without an id", {.greets = greeting, .answers = "{\"return\": {}}"}, LONG_NS,
		 true, "it answers what was not asked"},
		{"answers nonsense", {.greets = greeting, .answers = "{\"return\": }"}, LONG_NS, true,
		 "what it sends is no QMP"},
		{"hangs up", {.greets = greeting, .hangs_up = true}, LONG_NS, true, "it has hung up"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct event_base *base = event_base_new();
		struct server server;
		struct client client;

		start_server(&server, base, "s", &rows[i].conduct);
		cr_assert(eq(int, connect_client(&client, base, "s", rows[i].limit_ns), 0));
		event_base_dispatch(base);
		cr_expect(client.lost, "%s", rows[i].what);
		cr_expect(eq(int, client.ready, rows[i].ready), "%s", rows[i].what);
		cr_expect(eq(int, client.answered, rows[i].ready), "%s", rows[i].what);
		expect_text(client.why, rows[i].why, rows[i].what);
		stop_server(&server);
		event_base_free(base);
	}
}

/* One that hangs, one that sends without end, and one that behaves, all at a time. */
Test(qmp, no_server_keeps_another_waiting)
{
	static const struct conduct conducts[] = {
		{0}, {.greets = greeting, .flood = 200000}, {.greets = greeting},
	};
	static const char *const names[] = {"hangs", "floods", "behaves"};
	struct event_base *base = event_base_new();
	struct server servers[3];
	struct client clients[3];

	for (int i = 0; i < 3; i++) {
		start_server(&servers[i], base, names[i], &conducts[i]);
		cr_assert(eq(int, connect_client(&clients[i], base, names[i], LONG_NS), 0));
	}
	clients[2].stop_on_answer = true;
	event_base_dispatch(base);
	cr_expect(clients[2].answered);
	cr_expect(not(clients[0].ready));
	cr_expect(lt(int, clients[1].events, 200000));
	for (int i = 0; i < 3; i++) {
		clients[i].qmp = qmp_free(clients[i].qmp);
		stop_server(&servers[i]);
	}
	event_base_free(base);
}

Test(qmp, commands_are_refused_where_they_cannot_be_sent)
{
	struct event_base *base = event_base_new();
	static const struct conduct conduct = {.greets = greeting, .answers = ""};
	struct server server;
	struct client client;

	cr_expect(eq(int, connect_client(&client, base, "nobody", LONG_NS), QMP_NOBODY));
	start_server(&server, base, "s", &conduct);
	cr_assert(eq(int, connect_client(&client, base, "s", LONG_NS), 0));
	cr_expect(eq(int, qmp_ask(client.qmp, "query-status", json_object(), 0, NULL, NULL),
		     QMP_NOT_READY));
	while (!client.ready)
		event_base_loop(base, EVLOOP_ONCE);
	for (int i = 1; i < QMP_PENDING_MAX; i++) /* on_ready() has asked one */
		cr_expect(eq(int, qmp_ask(client.qmp, "stop", NULL, 0, NULL, NULL), 0));
	cr_expect(eq(int, qmp_ask(client.qmp, "stop", json_object(), 0, NULL, NULL), QMP_BUSY));
	qmp_give_up(client.qmp, "enough");
	cr_expect(not(client.lost));
	event_base_dispatch(base);
	expect_text(client.why, "enough", "given up");
	cr_expect(client.answered);
	expect_text(client.error, "enough", "pending");
	stop_server(&server);
	event_base_free(base);
}
