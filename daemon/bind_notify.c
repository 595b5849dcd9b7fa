/* SPDX-License-Identifier: MIT */

/*
 * The notify socket in the daemon.
 *
 * Everybody may connect; what that allows is bounded by fsfreeze/notify. Here are the sockets, one
 * for each client's place. A client that does not read is not waited for: what cannot be sent at
 * once ends it. One message is read of a client at a time, so that none of them has the loop for
 * itself.
 */

#include "daemon/bind_notify.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/unixsock.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPT_PAUSE_NS UINT64_C(1000000000)

struct place {
	struct bind_notify *owner;
	int fd; /* -1: free */
	struct event *readable;
};

struct bind_notify {
	struct event_base *base;
	const struct bind_notify_user *ops;
	void *self;
	struct notify core;
	struct unixsock sock;
	struct event *acceptable;
	struct event *timer;
	uint64_t accept_again_ns; /* there were no descriptors; UINT64_MAX: all is well */
	struct place places[NOTIFY_CLIENTS_MAX];
	char why[256];
};

static void perform(struct bind_notify *b);

static void close_place(struct place *p)
{
	if (p->readable)
		event_free(p->readable);
	p->readable = NULL;
	p->fd = close_fd(p->fd);
}

static void client_gone(struct bind_notify *b, size_t i)
{
	close_place(&b->places[i]);
	notify_gone(&b->core, i, clock_monotonic_ns());
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
	struct place *p = user;
	struct bind_notify *b = p->owner;
	size_t i = (size_t)(p - b->places);
	char message[NOTIFY_MESSAGE_MAX];
	ssize_t n = recv(fd, message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		client_gone(b, i);
	else
		notify_receive(&b->core, i, message, (size_t)n, clock_monotonic_ns());
	perform(b);
}

static void do_send(struct bind_notify *b, const struct notify_action *action)
{
	const char *text = action->text;

	if (send(b->places[action->client].fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		client_gone(b, action->client);
}

static void do_failed(struct bind_notify *b, size_t i)
{
	const struct notify_client *c = &b->core.clients[i];

	snprintf(b->why, sizeof(b->why), "%s, which is required, does not hold: %s%s%s", c->name,
		 notify_outcome_name(c->outcome), c->reason[0] ? ": " : "", c->reason);
	b->ops->on_ready(b->self, b->why);
}

static void set_timer(struct bind_notify *b)
{
	uint64_t deadline_ns = notify_deadline_ns(&b->core);

	timer_set(b->timer,
		  b->accept_again_ns < deadline_ns ? b->accept_again_ns : deadline_ns);
}

static void perform(struct bind_notify *b)
{
	struct notify_action action;

	while (notify_next_action(&b->core, &action)) {
		switch (action.type) {
		case NOTIFY_ACTION_SEND:
			do_send(b, &action);
			break;
		case NOTIFY_ACTION_CLOSE:
			client_gone(b, action.client);
			break;
		case NOTIFY_ACTION_DONE:
			b->ops->on_ready(b->self, NULL);
			break;
		case NOTIFY_ACTION_FAILED:
			do_failed(b, action.client);
			break;
		}
	}
	set_timer(b);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct bind_notify *b = user;

	(void)fd;
	(void)what;
	if (b->accept_again_ns <= clock_monotonic_ns()) {
		b->accept_again_ns = UINT64_MAX;
		(void)event_add(b->acceptable, NULL);
	}
	notify_tick(&b->core, clock_monotonic_ns());
	perform(b);
}

/* Without descriptors the next try would come at once, and again. */
static void accept_later(struct bind_notify *b)
{
	(void)event_del(b->acceptable);
	b->accept_again_ns = clock_monotonic_ns() + ACCEPT_PAUSE_NS;
	set_timer(b);
}

static int take_client(struct bind_notify *b, int *fd)
{
	struct ucred who = {0};
	socklen_t size = sizeof(who);
	struct place *p;
	size_t i;
	int r;

	if (getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
		return negative_errno();
	r = notify_add(&b->core, who.uid, clock_monotonic_ns(), &i);
	if (r)
		return r;
	p = &b->places[i];
	p->fd = steal_fd(*fd);
	p->readable = event_new(b->base, p->fd, EV_READ | EV_PERSIST, on_readable, p);
	if (!p->readable || event_add(p->readable, NULL) < 0)
		client_gone(b, i);
	return 0;
}

static void on_acceptable(evutil_socket_t listener, short what, void *user)
{
	static const char full[] = "refused there are too many clients";
	struct bind_notify *b = user;
	_cleanup_close_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			accept_later(b);
		return;
	}
	if (take_client(b, &fd) == NOTIFY_FULL &&
	    send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
	perform(b);
}

void bind_notify_freeze(struct bind_notify *b)
{
	notify_begin(&b->core, clock_monotonic_ns());
	perform(b);
}

void bind_notify_back(struct bind_notify *b, enum notify_end end)
{
	notify_back(&b->core, end);
	perform(b);
}

static int open_socket(struct bind_notify *b, const char *run_dir)
{
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/notify.sock", run_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = unixsock_listen(&b->sock, path, SOCK_SEQPACKET, 0666);
	if (r) {
		log_warning("no program can be told of a freeze: %s cannot be made: %s", path,
			    r < 0 ? strerror(-r) : "somebody else listens there");
		return 0;
	}
	b->acceptable = event_new(b->base, b->sock.fd, EV_READ | EV_PERSIST, on_acceptable, b);
	if (!b->acceptable || event_add(b->acceptable, NULL) < 0)
		return -ENOMEM;
	return 0;
}

int bind_notify_new(struct event_base *base, const struct config *config,
		    const struct bind_notify_user *ops, void *self, struct bind_notify **ret_notify)
{
	_cleanup_(cleanup_bind_notifyp) struct bind_notify *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->ops = ops;
	b->self = self;
	b->accept_again_ns = UINT64_MAX;
	unixsock_init(&b->sock);
	notify_init(&b->core, config->notify_hold_ns);
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		b->places[i] = (struct place){.owner = b, .fd = -1};
	b->timer = event_new(base, -1, 0, on_timer, b);
	if (!b->timer)
		return -ENOMEM;
	r = open_socket(b, config->run_dir);
	if (r)
		return r;

	*ret_notify = steal_ptr(b);
	return 0;
}

struct bind_notify *bind_notify_free(struct bind_notify *b)
{
	if (!b)
		return NULL;
	if (b->acceptable)
		event_free(b->acceptable);
	if (b->timer)
		event_free(b->timer);
	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++)
		close_place(&b->places[i]);
	unixsock_fini(&b->sock);
	free(b);
	return NULL;
}

json_t *bind_notify_report(const struct bind_notify *b)
{
	json_t *report = json_array();

	for (size_t i = 0; i < NOTIFY_CLIENTS_MAX; i++) {
		const struct notify_client *c = &b->core.clients[i];
		uint64_t took = c->answered_ns > c->asked_ns ? c->answered_ns - c->asked_ns : 0;

		if (!c->in_round)
			continue;
		json_array_append_new(
			report, json_pack("{s:s, s:i, s:b, s:s, s:I, s:s*}", "name", c->name, "uid",
					  (int)c->uid, "required", c->required, "outcome",
					  notify_outcome_name(c->outcome), "duration_us",
					  (json_int_t)(took / 1000), "reason",
					  c->reason[0] ? c->reason : NULL));
	}
	return report;
}

size_t bind_notify_count(const struct bind_notify *b)
{
	return notify_count(&b->core);
}

size_t bind_notify_count_failed(const struct bind_notify *b)
{
	return notify_count_failed(&b->core);
}
