/* SPDX-License-Identifier: MIT */

/*
 * Live state.
 *
 * Each second whoever listens is sent everything that the daemon does and sees:
 *
 *     event: state     what GET /v1/status has, and "why", "pressure", "channels", "receipts"
 *
 * It is made from what is in memory, as an answer to a question is, so it goes on while file systems
 * are frozen; and once for all listeners. The timer runs only while somebody listens. One who does not
 * read what is sent is left out until it does (base/httpd).
 */

#include "daemon/events.h"

#include "base/clock.h"
#include "base/embed.h"
#include "base/jobs.h"
#include "base/page.h"
#include "daemon/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define PERIOD_NS UINT64_C(1000000000)

/* daemon/page.html; PAGE_HTML is its path, from the Makefile. */
extern const char page_html[], page_html_end[];
EMBED_FILE(page_html, PAGE_HTML);

struct listener {
	LIST_ENTRY(listener) link;
	struct httpd_stream *stream;
};

struct events {
	struct api *api;
	struct event *timer;
	LIST_HEAD(, listener) listeners;
};

/* As one event; NULL without memory. */
static char *make_event(struct api *api)
{
	json_t *facts = metrics_facts(api);
	_cleanup_free_ char *data = json_dumps(facts, JSON_COMPACT | JSON_PRESERVE_ORDER);
	char *text = NULL;

	json_decref(facts);
	if (!data || asprintf(&text, "event: state\ndata: %s\n\n", data) < 0)
		return NULL;
	return text;
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct events *events = user;
	_cleanup_free_ char *text = NULL;
	struct listener *l;

	(void)fd;
	(void)what;
	if (LIST_EMPTY(&events->listeners))
		return;
	text = make_event(events->api);
	LIST_FOREACH(l, &events->listeners, link)
		if (text)
			(void)httpd_stream_send(l->stream, text, strlen(text));
	timer_set(events->timer, clock_monotonic_ns() + PERIOD_NS);
}

static void on_gone(void *user, struct httpd_stream *stream)
{
	struct listener *l = user;

	(void)httpd_stream_free(stream);
	LIST_REMOVE(l, link);
	free(l);
}

static void get_events(struct httpd_request *request, void *user)
{
	struct events *events = user;
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		httpd_reply_json(request, 500, NULL);
		return;
	}
	l->stream = httpd_stream_new(request, "text/event-stream", on_gone, l);
	if (!l->stream) {
		free(l);
		return;
	}
	LIST_INSERT_HEAD(&events->listeners, l, link);
	timer_set(events->timer, clock_monotonic_ns());
}

static void get_page(struct httpd_request *request, void *user)
{
	const struct events *events = user;

	if (events->api->config->page)
		httpd_reply(request, 200, "text/html; charset=utf-8", page_html,
			    (size_t)(page_html_end - page_html));
	else
		httpd_reply_error(request, 404, "the page is off",
				  "page = yes in [api] turns it on; GET /v1/status says the same");
}

int events_new(struct event_base *base, struct api *api, struct httpd *httpd,
	       struct events **ret_events)
{
	_cleanup_(cleanup_eventsp) struct events *events = calloc(1, sizeof(*events));
	int r;

	if (!events)
		return -ENOMEM;
	events->api = api;
	LIST_INIT(&events->listeners);
	events->timer = event_new(base, -1, 0, on_timer, events);
	if (!events->timer)
		return -ENOMEM;
	r = httpd_route(httpd, "GET", "/v1/events", get_events, events);
	if (r == 0)
		r = httpd_route(httpd, "GET", "/", get_page, events);
	if (r == 0)
		r = page_add_routes(httpd);
	if (r)
		return r;
	*ret_events = steal_ptr(events);
	return 0;
}

struct events *events_free(struct events *events)
{
	if (!events)
		return NULL;
	if (events->timer)
		event_free(events->timer);
	free(events);
	return NULL;
}
