/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"
#include "base/unixsock.h"

#include <stdbool.h>
#include <sys/queue.h>

/*
 * A socket that base/httpd listens on. Nobody else needs this.
 */

struct event;
struct event_base;
struct evconnlistener;
struct evhttp;
struct evhttp_request;
struct httpd;

struct httpd_door {
	LIST_ENTRY(httpd_door) in_doors;
	struct httpd *httpd; /* borrowed */
	struct evhttp *evhttp;
	struct unixsock sock; /* not used on TCP */
	char name[128];       /* for messages */
	bool read_only;       /* nothing but GET and HEAD */
	struct evconnlistener *listener; /* evhttp's */
	struct event *pause; /* nobody can be let in: until the next try */
	bool complained;     /* about that */
};

/* A closed door, which httpd_door_fini() may be given. */
void httpd_door_init(struct httpd_door *door, struct httpd *httpd);

/* Opens it at @path, as httpd_new() says; @on_request gets the door. HTTPD_IN_USE, negative errno. */
_must_check_ int httpd_door_open_unix(struct httpd_door *door, struct event_base *events,
				      const char *path, mode_t mode,
				      void (*on_request)(struct evhttp_request *evhttp, void *door));

/* Opens it at "ADDRESS:PORT", an IPv6 address in brackets. HTTPD_IN_USE, -EINVAL, negative errno. */
_must_check_ int httpd_door_open_tcp(struct httpd_door *door, struct event_base *events,
				     const char *address,
				     void (*on_request)(struct evhttp_request *evhttp, void *door));

/* Drops its connections and closes it. */
void httpd_door_fini(struct httpd_door *door);
