/* SPDX-License-Identifier: MIT */

/*
 * The sockets of the API server.
 *
 * evhttp listens and speaks HTTP. A client that cannot be let in because this process has no
 * descriptor left stays in the queue of the socket, and would wake the loop for ever; so the socket
 * is left alone for a while then.
 *
 * A client that says nothing for a minute, or takes that long over a request, is dropped: nobody can
 * hold a descriptor of ours by doing nothing.
 */

#include "base/httpd_door.h"

#include "base/cleanup.h"
#include "base/httpd.h"
#include "base/log.h"

#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	HEADERS_MAX = 16 * 1024,     /* bytes of a request's headers */
	HARD_BODY_MAX = 1024 * 1024, /* bytes after which the connection is dropped */
	IDLE_SECONDS = 60,           /* without a byte either way, likewise */
	ACCEPT_PAUSE_SECONDS = 1,
};

/*
 * The open doors of this process. evhttp keeps the argument of the listener's calls for itself, so
 * this is how an error of the listener finds its door. Each server belongs to one thread; the lock is
 * for those of others.
 */
static LIST_HEAD(, httpd_door) doors = LIST_HEAD_INITIALIZER(doors);
static pthread_mutex_t doors_lock = PTHREAD_MUTEX_INITIALIZER;

void httpd_door_init(struct httpd_door *door, struct httpd *httpd)
{
	*door = (struct httpd_door){.httpd = httpd};
	unixsock_init(&door->sock);
	pthread_mutex_lock(&doors_lock);
	LIST_INSERT_HEAD(&doors, door, in_doors);
	pthread_mutex_unlock(&doors_lock);
}

/* accept() has failed, by errno, and would fail again at once. */
static void on_accept_error(struct evconnlistener *listener, void *evhttp)
{
	static const struct timeval pause = {.tv_sec = ACCEPT_PAUSE_SECONDS};
	struct httpd_door *door;

	pthread_mutex_lock(&doors_lock);
	LIST_FOREACH(door, &doors, in_doors)
		if (door->evhttp == evhttp)
			break;
	pthread_mutex_unlock(&doors_lock);
	if (!door->complained)
		log_warning("%s: no client can be let in (%m): let this process open more files "
			    "(ulimit -n, LimitNOFILE=); trying once a second", door->name);
	door->complained = true;
	(void)evconnlistener_disable(listener);
	(void)event_add(door->pause, &pause);
}

static void on_pause_over(evutil_socket_t fd, short what, void *user)
{
	struct httpd_door *door = user;

	(void)fd;
	(void)what;
	(void)evconnlistener_enable(door->listener);
}

/* On a socket that listens; its descriptor is taken in any case. */
static int serve_on(struct httpd_door *door, struct event_base *events, int take_fd,
		    void (*on_request)(struct evhttp_request *evhttp, void *door))
{
	const ev_uint16_t all = EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
				EVHTTP_REQ_DELETE | EVHTTP_REQ_HEAD | EVHTTP_REQ_OPTIONS |
				EVHTTP_REQ_TRACE | EVHTTP_REQ_PATCH | EVHTTP_REQ_CONNECT;
	const unsigned flags = LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE;
	_cleanup_close_ int fd = take_fd;

	door->evhttp = evhttp_new(events);
	door->pause = event_new(events, -1, 0, on_pause_over, door);
	if (!door->evhttp || !door->pause)
		return -ENOMEM;
	/* What no route knows gets our 405, not evhttp's 501. */
	evhttp_set_allowed_methods(door->evhttp, all);
	evhttp_set_max_headers_size(door->evhttp, HEADERS_MAX);
	evhttp_set_max_body_size(door->evhttp, HARD_BODY_MAX);
	evhttp_set_timeout(door->evhttp, IDLE_SECONDS);
	evhttp_set_gencb(door->evhttp, on_request, door);

	/* It listens already: 0 leaves that as it is. */
	door->listener = evconnlistener_new(events, NULL, NULL, flags, 0, fd);
	if (!door->listener)
		return -ENOMEM;
	fd = -1;
	if (!evhttp_bind_listener(door->evhttp, door->listener)) {
		evconnlistener_free(door->listener);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(door->listener, on_accept_error);
	return 0;
}

int httpd_door_open_unix(struct httpd_door *door, struct event_base *events, const char *path,
			 mode_t mode, void (*on_request)(struct evhttp_request *evhttp, void *door))
{
	int r, fd;

	snprintf(door->name, sizeof(door->name), "%s", path);
	r = unixsock_listen(&door->sock, path, SOCK_STREAM, mode);
	if (r < 0)
		return r;
	if (r == UNIXSOCK_IN_USE)
		return HTTPD_IN_USE;
	fd = door->sock.fd;
	door->sock.fd = -1;
	return serve_on(door, events, fd, on_request);
}

int httpd_door_open_tcp(struct httpd_door *door, struct event_base *events, const char *address,
			void (*on_request)(struct evhttp_request *evhttp, void *door))
{
	struct sockaddr_storage where = {0};
	int size = sizeof(where), one = 1;
	_cleanup_close_ int fd = -1;
	int taken;

	snprintf(door->name, sizeof(door->name), "%s", address);
	if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&where, &size) < 0 ||
	    (where.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&where)->sin6_port
					 : ((struct sockaddr_in *)&where)->sin_port) == 0)
		return -EINVAL;
	fd = socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&where, (socklen_t)size) < 0 || listen(fd, SOMAXCONN) < 0)
		return errno == EADDRINUSE ? HTTPD_IN_USE : -errno;
	taken = fd;
	fd = -1;
	return serve_on(door, events, taken, on_request);
}

void httpd_door_fini(struct httpd_door *door)
{
	if (door->evhttp)
		evhttp_free(door->evhttp);
	if (door->pause)
		event_free(door->pause);
	pthread_mutex_lock(&doors_lock);
	LIST_REMOVE(door, in_doors);
	pthread_mutex_unlock(&doors_lock);
	unixsock_fini(&door->sock);
}
