/* SPDX-License-Identifier: MIT */

/*
 * Showing the board.
 *
 * A thread of its own, with an event loop of its own: to write the metrics of four thousand guests
 * takes a while, and nobody's heartbeat should wait for that. It takes nothing from the host's loop
 * but the board, which both read and write without waiting for each other.
 *
 * Events. Whoever listens gets the whole board once, and then each second the guests that have
 * changed, in pieces of a bounded size. The timer runs only while somebody listens. One who does not
 * read what is sent gets nothing until he does, and then the whole board again (base/httpd).
 *
 *     event: host      {"guests", "assigned", "demand", "free", "budget", "missing", ...}, in MiB
 *     event: guests    [[name, assigned, demand, available, target, pressure %, flags, why, stall %,
 *                       why the target], ...]
 *     event: reset     what follows is the whole board
 *     event: gone      [name, ...]
 *     event: backups   {"schema", "backups": [...]}, as GET /v1/backups has it
 *
 * Both reasons are numbers, whose texts are in GET /v1/reasons: of the last decision, and of the one that
 * made the target what it is (0: none did), which stays when others follow within the second.
 *
 * The stall is the share of time in which the guest's tasks wait for memory, as it says itself; -1: it
 * does not. Flags: 1 does not obey, 2 by hand, 4 heartbeat lost, 8 a backup is under way.
 */

#include "host/show.h"

#include "base/clock.h"
#include "base/embed.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/page.h"

#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define PERIOD_NS UINT64_C(1000000000)

enum {
	PIECE_MAX = 64 * 1024, /* bytes of one event */
	QUOTED_MAX = 6 * BALANCER_NAME_MAX + 8,
	FLAG_STUBBORN = 1,
	FLAG_BY_HAND = 2,
	FLAG_LOST = 4,
	FLAG_BACKUP = 8,
};

/* host/page.html, the dashboard; PAGE_HTML is its path, from the Makefile. */
extern const char page_html[], page_html_end[];
EMBED_FILE(page_html, PAGE_HTML);

struct listener {
	LIST_ENTRY(listener) link;
	struct show *show;
	struct httpd_stream *stream;
	bool has_all; /* the whole board; else it is sent next */
	uint64_t backups_hash; /* of what it has of them; 0: nothing */
};

/* What was last sent of a guest; all listeners that have everything have the same. */
struct sent {
	char name[BALANCER_NAME_MAX + 1];
	uint64_t hash;  /* of its line */
	uint32_t round; /* in which it was last there */
};

struct show {
	const struct board *board;
	char *address; /* "ADDRESS:PORT", or NULL */
	pthread_t thread;
	struct event_base *base;
	struct httpd *httpd;
	struct event *timer;
	struct event *end;
	int end_fd;
	LIST_HEAD(, listener) listeners;
	struct sent *sent; /* in the order of names */
	size_t n_sent;
	uint32_t round;
};

/* A line of a guest, for this round. */
struct line {
	char name[BALANCER_NAME_MAX + 1];
	char text[512];
	bool is_new; /* not what was sent last */
};

struct lines {
	struct line *lines;
	size_t n, capacity;
};

static unsigned long long mib(uint64_t pages)
{
	return pages / 256;
}

static unsigned int flags_of(const struct board_guest *g)
{
	const char *backup = g->services.backup;
	bool backs_up = strcmp(backup, "idle") && strcmp(backup, "none") && strcmp(backup, "done") &&
			strcmp(backup, "failed");

	return (g->obeying ? 0 : FLAG_STUBBORN) | (g->manual ? FLAG_BY_HAND : 0) |
	       (strcmp(g->services.heartbeat, "lost") ? 0 : FLAG_LOST) | (backs_up ? FLAG_BACKUP : 0);
}

/* The name as JSON has it inside of a string. */
static const char *quote(const char *name, char quoted[QUOTED_MAX])
{
	size_t n = 0;

	for (; *name && n + 7 < QUOTED_MAX; name++) {
		if (*name == '"' || *name == '\\' || (unsigned char)*name < ' ')
			n += (size_t)snprintf(quoted + n, QUOTED_MAX - n, "\\u%04x", (unsigned char)*name);
		else
			quoted[n++] = *name;
	}
	quoted[n] = '\0';
	return quoted;
}

static const char *stall_text(const struct board_guest *g, char text[24])
{
	if (g->services.stall_centipercent == BOARD_UNKNOWN)
		return "-1";
	snprintf(text, 24, "%.2f", (double)g->services.stall_centipercent / 100);
	return text;
}

static void add_line(void *user, const char *name, const struct board_guest *g)
{
	struct lines *all = user;
	char quoted[QUOTED_MAX], stall[24];
	struct line *line;

	if (all->n == all->capacity) {
		size_t capacity = all->capacity ? 2 * all->capacity : 64;
		struct line *more = reallocarray(all->lines, capacity, sizeof(*more));

		if (!more)
			return;
		all->lines = more;
		all->capacity = capacity;
	}
	line = &all->lines[all->n++];
	snprintf(line->name, sizeof(line->name), "%s", name);
	snprintf(line->text, sizeof(line->text), "[\"%s\",%llu,%llu,%lld,%llu,%u,%u,%u,%s,%u]", quote(name, quoted),
		 mib(g->assigned_pages), mib(g->demand_pages),
		 g->available_pages == UINT64_MAX ? -1LL : (long long)mib(g->available_pages),
		 mib(g->decision.target_pages),
		 balancer_pressure_percent(g->demand_pages, g->assigned_pages), flags_of(g),
		 (unsigned int)g->decision.reason, stall_text(g, stall),
		 (unsigned int)g->decision.target_reason);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->name, ((const struct line *)b)->name);
}

static uint64_t hash_of(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return hash;
}

/* Marks the lines that are new, and keeps what will have been sent. False without memory. */
static bool compare(struct show *s, struct lines *all)
{
	struct sent *now = calloc(all->n + 1, sizeof(*now));
	size_t k = 0;

	if (!now)
		return false;
	for (size_t i = 0; i < all->n; i++) {
		struct line *line = &all->lines[i];

		memcpy(now[i].name, line->name, sizeof(now[i].name));
		now[i].hash = hash_of(line->text);
		while (k < s->n_sent && strcmp(s->sent[k].name, line->name) < 0)
			k++;
		line->is_new = k == s->n_sent || strcmp(s->sent[k].name, line->name) != 0 ||
			       s->sent[k].hash != now[i].hash;
	}
	free(s->sent);
	s->sent = now;
	s->n_sent = all->n;
	return true;
}

/* The names that are in @before and not among the lines any more, as JSON; NULL: none. */
static char *names_gone(const struct sent *before, size_t n_before, const struct lines *all)
{
	char *text = NULL;
	char quoted[QUOTED_MAX];
	size_t size, k = 0, n = 0;
	FILE *to = open_memstream(&text, &size);

	for (size_t i = 0; to && i < n_before; i++) {
		while (k < all->n && strcmp(all->lines[k].name, before[i].name) < 0)
			k++;
		if (k == all->n || strcmp(all->lines[k].name, before[i].name) != 0)
			fprintf(to, "%s\"%s\"", n++ ? "," : "[", quote(before[i].name, quoted));
	}
	if (to) {
		fputs(n ? "]" : "", to);
		(void)fclose(to);
	}
	if (n == 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* False if the listener does not keep up. */
static bool send_event(struct listener *l, const char *event, const char *data, size_t size)
{
	char *text = NULL;
	int n = asprintf(&text, "event: %s\ndata: %.*s\n\n", event, (int)size, data);
	bool sent = n > 0 && httpd_stream_send(l->stream, text, (size_t)n);

	free(n < 0 ? NULL : text);
	return sent;
}

/* The lines, or the new ones of them, in pieces. */
static bool send_lines(struct listener *l, const struct lines *all, bool only_new)
{
	char *piece = malloc(PIECE_MAX);
	size_t n = 0;
	bool ok = piece;

	for (size_t i = 0; ok && i < all->n; i++) {
		const struct line *line = &all->lines[i];

		if (only_new && !line->is_new)
			continue;
		n += (size_t)snprintf(piece + n, PIECE_MAX - n, "%c%s", n ? ',' : '[', line->text);
		if (n + sizeof(line->text) + 2 < PIECE_MAX)
			continue;
		piece[n++] = ']';
		ok = send_event(l, "guests", piece, n);
		n = 0;
	}
	if (ok && n > 0) {
		piece[n++] = ']';
		ok = send_event(l, "guests", piece, n);
	}
	free(piece);
	return ok;
}

/* What there is of backups, if the listener has it not. */
static bool send_backups(struct listener *l, const char *text, uint64_t hash)
{
	if (!text || l->backups_hash == hash)
		return true;
	if (!send_event(l, "backups", text, strlen(text)))
		return false;
	l->backups_hash = hash;
	return true;
}

static void send_round(struct show *s, const struct lines *all, const char *gone)
{
	_cleanup_free_ char *backups = board_get_backups(s->board);
	uint64_t backups_hash = backups ? hash_of(backups) : 0;
	struct board_host h;
	struct listener *l;
	char host[512];
	int n;

	board_get_host(s->board, &h);
	n = snprintf(host, sizeof(host),
		     "{\"guests\":%zu,\"assigned\":%llu,\"demand\":%llu,\"free\":%lld,\"budget\":%llu,"
		     "\"missing\":%llu,\"starving\":%zu,\"stubborn\":%zu,\"paused\":%s,\"dry_run\":%s}",
		     all->n, mib(h.totals.assigned_pages), mib(h.totals.demand_pages),
		     h.totals.free_pages == UINT64_MAX ? -1LL : (long long)mib(h.totals.free_pages),
		     mib(h.totals.budget_pages), mib(h.totals.missing_pages), h.totals.n_starving,
		     h.totals.n_not_obeying, h.paused ? "true" : "false", h.dry_run ? "true" : "false");
	LIST_FOREACH(l, &s->listeners, link) {
		bool had_all = l->has_all;

		l->has_all = send_event(l, "host", host, (size_t)n) &&
			     (had_all || send_event(l, "reset", "{}", 2)) &&
			     send_lines(l, all, had_all) &&
			     (!had_all || !gone || send_event(l, "gone", gone, strlen(gone))) &&
			     send_backups(l, backups, backups_hash);
	}
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct show *s = user;
	struct lines all = {0};
	struct sent *before = NULL;
	size_t n_before = s->n_sent;
	char *gone;

	(void)fd;
	(void)what;
	board_each(s->board, add_line, &all);
	if (all.n > 0)
		qsort(all.lines, all.n, sizeof(all.lines[0]), by_name);
	before = calloc(n_before + 1, sizeof(*before));
	if (before && s->sent)
		memcpy(before, s->sent, n_before * sizeof(*before));
	if (before && compare(s, &all)) {
		gone = names_gone(before, n_before, &all);
		send_round(s, &all, gone);
		free(gone);
	}
	free(before);
	free(all.lines);
	if (!LIST_EMPTY(&s->listeners))
		timer_set(s->timer, clock_monotonic_ns() + PERIOD_NS);
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
	struct show *s = user;
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		httpd_reply_json(request, 500, NULL);
		return;
	}
	l->show = s;
	l->stream = httpd_stream_new(request, "text/event-stream", on_gone, l);
	if (!l->stream) {
		free(l);
		return;
	}
	LIST_INSERT_HEAD(&s->listeners, l, link);
	timer_set(s->timer, clock_monotonic_ns());
}

static void get_metrics(struct httpd_request *request, void *user)
{
	struct show *s = user;

	metrics_reply_with(request, show_write_metrics, (void *)(uintptr_t)s->board);
}

static void get_board(struct httpd_request *request, void *user)
{
	struct show *s = user;

	httpd_reply_json(request, 200, show_board(s->board));
}

static void get_backups(struct httpd_request *request, void *user)
{
	struct show *s = user;
	_cleanup_free_ char *text = board_get_backups(s->board);

	if (text)
		httpd_reply(request, 200, "application/json", text, strlen(text));
	else
		httpd_reply_json(request, 500, NULL);
}

static void get_guest(struct httpd_request *request, void *user)
{
	struct show *s = user;
	json_t *guest = show_guest(s->board, httpd_request_param(request, "name"));

	if (guest)
		httpd_reply_json(request, 200, guest);
	else
		httpd_reply_error(request, 404, "there is no guest of this name",
				  "GET /v1/board lists them");
}

/* One target: whoever asks knows how to reach this host, and what is fleet-wide is Prometheus'. */
static void get_targets(struct httpd_request *request, void *user)
{
	struct show *s = user;
	char host[256] = "";

	(void)gethostname(host, sizeof(host) - 1);
	httpd_reply_json(request, 200,
			 s->address ? json_pack("[{s:[s], s:{s:s, s:s}}]", "targets", s->address, "labels",
						"__meta_hvhost_version", PACKAGE_VERSION, "hvhost", host)
				    : json_array());
}

static void get_page(struct httpd_request *request, void *user)
{
	(void)user;
	httpd_reply(request, 200, "text/html; charset=utf-8", page_html,
		    (size_t)(page_html_end - page_html));
}

/* The texts of the reasons, which events name by their numbers. */
static void get_reasons(struct httpd_request *request, void *user)
{
	json_t *texts = json_array();

	(void)user;
	for (int i = 0; i < BALANCER_N_WHYS; i++)
		json_array_append_new(texts, json_string(balancer_reason_text((enum balancer_reason)i)));
	httpd_reply_json(request, 200, texts);
}

static int add_routes(struct show *s)
{
	static const struct {
		const char *pattern;
		void (*handle)(struct httpd_request *request, void *show);
	} routes[] = {
		{"/", get_page},
		{"/metrics", get_metrics},
		{"/v1/events", get_events},
		{"/v1/board", get_board},
		{"/v1/board/{name}", get_guest},
		{"/v1/backups", get_backups},
		{"/v1/reasons", get_reasons},
		{"/v1/targets", get_targets},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(routes) / sizeof(routes[0]); i++)
		r = httpd_route(s->httpd, "GET", routes[i].pattern, routes[i].handle, s);
	return r ? r : page_add_routes(s->httpd);
}

static void on_end(evutil_socket_t fd, short what, void *user)
{
	struct show *s = user;

	(void)fd;
	(void)what;
	event_base_loopbreak(s->base);
}

/* The thread: all that is done with the server is done here. */
static void *run(void *user)
{
	struct show *s = user;

	(void)event_base_dispatch(s->base);
	s->httpd = httpd_free(s->httpd);
	return NULL;
}

/* Signals are for the host's loop. */
static int start_thread(struct show *s)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&s->thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

/* What does not need the thread. */
static struct show *release(struct show *s)
{
	s->httpd = httpd_free(s->httpd);
	if (s->timer)
		event_free(s->timer);
	if (s->end)
		event_free(s->end);
	(void)close_fd(s->end_fd);
	if (s->base)
		event_base_free(s->base);
	free(s->address);
	free(s->sent);
	free(s);
	return NULL;
}

static int start(struct show *s, const struct show_config *config, char text[READERS_TEXT_MAX])
{
	int r;

	s->address = config->listen ? strdup(config->listen) : NULL;
	s->base = event_base_new();
	s->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!s->base || s->end_fd < 0 || (config->listen && !s->address))
		return -ENOMEM;
	s->timer = event_new(s->base, -1, 0, on_timer, s);
	s->end = event_new(s->base, s->end_fd, EV_READ, on_end, s);
	if (!s->timer || !s->end || event_add(s->end, NULL) < 0)
		return -ENOMEM;
	r = readers_new(s->base, config->run_dir, config->read_group, config->listen, &s->httpd, text);
	if (r == 0)
		r = add_routes(s);
	return r ? r : start_thread(s);
}

int show_new(const struct show_config *config, struct show **ret_show, char text[READERS_TEXT_MAX])
{
	struct show *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->board = config->board;
	s->end_fd = -1;
	LIST_INIT(&s->listeners);
	r = start(s, config, text);
	if (r) {
		(void)release(s);
		return r;
	}
	*ret_show = s;
	return 0;
}

struct show *show_free(struct show *s)
{
	static const uint64_t one = 1;

	if (!s)
		return NULL;
	(void)!write(s->end_fd, &one, sizeof(one));
	pthread_join(s->thread, NULL);
	return release(s);
}
