/* SPDX-License-Identifier: MIT */

/*
 * A QMP client.
 *
 *     GREETING --greeting--> NEGOTIATING --qmp_capabilities--> READY
 *         any of them --hang-up, nonsense, time limit, qmp_give_up()--> LOST
 *
 * A server takes one client at a time: the next one is connected by the kernel and hears nothing
 * until the first has gone, which looks like one that hangs. So the greeting has a time limit as every
 * answer has. A server that did not answer in time is given up as a whole: its answer may come yet,
 * and what it has done meanwhile is not known.
 *
 * Losing is done by the timer and nowhere else, so that nothing is called back from within a call,
 * and no function finds its object gone on return. Each turn of the loop reads one piece, however much
 * a server sends, so it cannot keep the others waiting.
 */

#include "host/qmp.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/unixsock.h"
#include "host/qmp_reader.h"
#include "host/qmp_wire.h"

#include <event2/buffer.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
	PIECE_MAX = 16 * 1024,   /* read at a time */
	UNSENT_MAX = 256 * 1024, /* bytes that the server does not take */
};

enum qmp_state {
	QMP_STATE_GREETING,
	QMP_STATE_NEGOTIATING,
	QMP_STATE_READY,
	QMP_STATE_LOST,
};

struct qmp_pending {
	uint64_t id; /* 0: free */
	uint64_t deadline_ns;
	qmp_done *done;
	void *user;
};

struct qmp {
	enum qmp_state state;
	const struct qmp_ops *ops;
	void *user;
	uint64_t limit_ns;
	uint64_t greeting_deadline_ns;
	int fd;
	struct event *readable;
	struct event *writable;
	struct event *timer;
	struct evbuffer *unsent;
	struct qmp_reader reader;
	uint64_t last_id;
	struct qmp_pending pending[QMP_PENDING_MAX];
	const char *why; /* it is lost */
};

static void lose(struct qmp *q, const char *why)
{
	if (q->state == QMP_STATE_LOST)
		return;
	q->state = QMP_STATE_LOST;
	q->why = why;
	(void)event_del(q->readable);
	(void)event_del(q->writable);
	timer_set(q->timer, 0);
}

static void set_timer(struct qmp *q)
{
	uint64_t first_ns = q->state == QMP_STATE_GREETING ? q->greeting_deadline_ns : UINT64_MAX;

	if (q->state == QMP_STATE_LOST)
		return;
	for (size_t i = 0; i < QMP_PENDING_MAX; i++)
		if (q->pending[i].id && q->pending[i].deadline_ns < first_ns)
			first_ns = q->pending[i].deadline_ns;
	timer_set(q->timer, first_ns);
}

static struct qmp_pending *pending_of(struct qmp *q, uint64_t id)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++)
		if (q->pending[i].id == id)
			return &q->pending[i];
	return NULL;
}

/* Sends what there is; waits for room for the rest. */
static void send_unsent(struct qmp *q)
{
	while (evbuffer_get_length(q->unsent) > 0) {
		size_t size = evbuffer_get_contiguous_space(q->unsent);
		ssize_t n = send(q->fd, evbuffer_pullup(q->unsent, (ev_ssize_t)size), size,
				 MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			lose(q, "it has hung up");
			return;
		}
		if (n < 0) {
			(void)event_add(q->writable, NULL);
			return;
		}
		(void)evbuffer_drain(q->unsent, (size_t)n);
	}
}

static int put_command(struct qmp *q, const char *command, json_t *take_arguments,
		       uint64_t limit_ns, qmp_done *done, void *user)
{
	struct qmp_pending *pending = pending_of(q, 0);
	_cleanup_free_ char *line = NULL;

	if (!pending || evbuffer_get_length(q->unsent) > UNSENT_MAX) {
		json_decref(take_arguments);
		return QMP_BUSY;
	}
	line = qmp_wire_command(command, take_arguments, q->last_id + 1);
	if (!line || evbuffer_add(q->unsent, line, strlen(line)) < 0)
		return -ENOMEM;
	*pending = (struct qmp_pending){
		.id = ++q->last_id,
		.deadline_ns = clock_monotonic_ns() + (limit_ns ? limit_ns : q->limit_ns),
		.done = done,
		.user = user,
	};
	send_unsent(q);
	set_timer(q);
	return 0;
}

static void on_negotiated(void *user, const json_t *value, const char *error)
{
	struct qmp *q = user;

	(void)error;
	if (!value) {
		lose(q, "it does not take qmp_capabilities");
		return;
	}
	q->state = QMP_STATE_READY;
	q->ops->on_ready(q->user);
}

static void take_greeting(struct qmp *q)
{
	if (q->state != QMP_STATE_GREETING) {
		lose(q, "it greets twice");
		return;
	}
	q->state = QMP_STATE_NEGOTIATING;
	if (put_command(q, "qmp_capabilities", NULL, 0, on_negotiated, q))
		lose(q, "no memory");
}

static void take_answer(struct qmp *q, const struct qmp_message *m)
{
	struct qmp_pending *pending = m->has_id && m->id ? pending_of(q, m->id) : NULL;
	struct qmp_pending answered;

	/* We send nothing that cannot be understood, so an answer to nothing is of no QMP server. */
	if (!pending) {
		lose(q, "it answers what was not asked");
		return;
	}
	answered = *pending;
	pending->id = 0;
	set_timer(q);
	if (answered.done)
		answered.done(answered.user, m->value, m->kind == QMP_ERROR ? m->text : NULL);
}

static void take_message(struct qmp *q, const struct qmp_message *m)
{
	if (m->kind == QMP_GREETING)
		take_greeting(q);
	else if (q->state == QMP_STATE_GREETING)
		lose(q, "it does not greet as QMP does");
	else if (m->kind != QMP_EVENT)
		take_answer(q, m);
	else if (q->state == QMP_STATE_READY)
		q->ops->on_event(q->user, m->name, m->value);
}

/* The next whole message, if there is one. False: there is none now. */
static bool take_next(struct qmp *q)
{
	struct qmp_message message;
	const char *text;
	size_t size;
	int r = qmp_reader_next(&q->reader, &text, &size);

	if (r == QMP_READER_MORE)
		return false;
	if (r || qmp_wire_parse(text, size, &message)) {
		lose(q, "what it sends is no QMP");
		return false;
	}
	take_message(q, &message);
	qmp_message_fini(&message);
	return true;
}

static void take_all(struct qmp *q)
{
	while (q->state != QMP_STATE_LOST && take_next(q))
		;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	char piece[PIECE_MAX];
	struct qmp *q = user;
	ssize_t n = recv(fd, piece, sizeof(piece), 0);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		lose(q, "it has hung up");
	else if (qmp_reader_put(&q->reader, piece, (size_t)n))
		lose(q, "a message of it is too long");
	else
		take_all(q);
}

static void on_writable(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	send_unsent(user);
}

/* Tells everybody who waits, then the owner, who may free the client in that. */
static void tell_lost(struct qmp *q)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++) {
		struct qmp_pending pending = q->pending[i];

		q->pending[i].id = 0;
		if (pending.id && pending.done && pending.done != on_negotiated)
			pending.done(pending.user, NULL, q->why);
	}
	q->ops->on_lost(q->user, q->why);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct qmp *q = user;
	uint64_t now = clock_monotonic_ns();

	(void)fd;
	(void)what;
	if (q->state == QMP_STATE_LOST) {
		tell_lost(q);
		return;
	}
	if (q->state == QMP_STATE_GREETING && now >= q->greeting_deadline_ns)
		lose(q, "it does not greet: another client may have it");
	for (size_t i = 0; i < QMP_PENDING_MAX; i++)
		if (q->pending[i].id && now >= q->pending[i].deadline_ns)
			lose(q, "it does not answer in time");
	set_timer(q);
}

static int connect_to(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int r = unixsock_connect(path, SOCK_STREAM, 0, &fd);

	if (r == UNIXSOCK_NOBODY)
		return QMP_NOBODY;
	if (r == UNIXSOCK_DENIED)
		return QMP_DENIED;
	if (r == UNIXSOCK_TIMED_OUT)
		return QMP_BUSY;
	if (r)
		return r;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return negative_errno();
	*ret_fd = steal_fd(fd);
	return 0;
}

int qmp_open(struct event_base *base, const char *path, uint64_t limit_ns,
	     const struct qmp_ops *ops, void *user, struct qmp **ret_qmp)
{
	_cleanup_(cleanup_qmpp) struct qmp *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	q->ops = ops;
	q->user = user;
	q->limit_ns = limit_ns;
	q->greeting_deadline_ns = clock_monotonic_ns() + limit_ns;
	q->fd = -1;
	qmp_reader_init(&q->reader);
	r = connect_to(path, &q->fd);
	if (r)
		return r;
	q->unsent = evbuffer_new();
	q->readable = event_new(base, q->fd, EV_READ | EV_PERSIST, on_readable, q);
	q->writable = event_new(base, q->fd, EV_WRITE, on_writable, q);
	q->timer = event_new(base, -1, 0, on_timer, q);
	if (!q->unsent || !q->readable || !q->writable || !q->timer ||
	    event_add(q->readable, NULL) < 0)
		return -ENOMEM;
	set_timer(q);

	*ret_qmp = steal_ptr(q);
	return 0;
}

struct qmp *qmp_free(struct qmp *q)
{
	if (!q)
		return NULL;
	if (q->readable)
		event_free(q->readable);
	if (q->writable)
		event_free(q->writable);
	if (q->timer)
		event_free(q->timer);
	if (q->unsent)
		evbuffer_free(q->unsent);
	qmp_reader_fini(&q->reader);
	close_fd(q->fd);
	free(q);
	return NULL;
}

int qmp_ask(struct qmp *q, const char *command, json_t *take_arguments, uint64_t limit_ns,
	    qmp_done *done, void *user)
{
	if (q->state != QMP_STATE_READY) {
		json_decref(take_arguments);
		return QMP_NOT_READY;
	}
	return put_command(q, command, take_arguments, limit_ns, done, user);
}

void qmp_forget(struct qmp *q, const void *user)
{
	for (size_t i = 0; i < QMP_PENDING_MAX; i++)
		if (q->pending[i].user == user)
			q->pending[i].done = NULL;
}

void qmp_give_up(struct qmp *q, const char *why)
{
	lose(q, why);
}
