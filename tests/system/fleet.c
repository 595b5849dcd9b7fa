/* SPDX-License-Identifier: MIT */

/*
 * fleet SOCKET N SECONDS [SEED [FIRST]]: N guests in one process, for a lab host to have many, numbered
 * from FIRST on, 0 unless given.
 *
 * Each is a connection of its own, with the real guest's core of dynamic memory on real rings; only
 * the memory that it gives is made up, and what it reports: a demand that wanders around a mean of
 * its own, by the seed. So a host does for each of them all that it does for a guest.
 *
 * Prints "ready" when all of them are set up, and at the end one line of JSON: how many reports were
 * sent and how many pages moved.
 */

#include "balloon/dynmem.h"
#include "base/clock.h"
#include "base/jobs.h"
#include "vmbus/link.h"
#include "vmbus/transport_shm.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define GIB_PAGES     UINT64_C(262144)

struct fleet;

struct member {
	struct fleet *fleet;
	unsigned int number;
	struct transport_shm *transport;
	struct event *event; /* of the transport */
	struct event *timer;
	struct link *link;
	struct dynmem *core;
	bool set_up;
	uint64_t mean_pages, swing_pages, phase_ns, period_ns; /* of its demand */
	uint64_t next_pfn;
};

struct fleet {
	struct event_base *base;
	struct member *members;
	unsigned int n, n_set_up;
	uint64_t memory_pages; /* of each */
	bool failed;
};

static _Noreturn void die(const char *what, int r)
{
	fprintf(stderr, "fleet: %s: %s\n", what, r < 0 ? strerror(-r) : "refused");
	exit(1);
}

/* What this guest needs at the moment, its balloon not counted. */
static uint64_t demand_pages(const struct member *m, uint64_t now_ns)
{
	double turn = (double)((now_ns + m->phase_ns) % m->period_ns) / (double)m->period_ns;

	return m->mean_pages + (uint64_t)((1 + sin(turn * 2 * 3.141592653589793)) / 2 *
					  (double)m->swing_pages);
}

static void sample(struct member *m, uint64_t now_ns)
{
	struct dynmem_status status;
	uint64_t demand = demand_pages(m, now_ns), visible;

	dynmem_get_status(m->core, &status);
	visible = m->fleet->memory_pages - status.ballooned_pages;
	dynmem_set_figures(m->core, &(struct dynmem_status_report){
					    .committed_pages = demand + status.ballooned_pages,
					    .available_pages = visible > demand ? visible - demand : 0,
				    });
}

static void take_pages(struct member *m, uint64_t pages, uint64_t now_ns)
{
	const struct page_range range = {m->next_pfn, pages};

	m->next_pfn += pages;
	if (dynmem_complete_take(m->core, &range, 1, true, now_ns))
		die("taking pages", -ENOMEM);
}

static void act(struct member *m, const struct dynmem_action *action, uint64_t now_ns)
{
	switch (action->type) {
	case DYNMEM_ACTION_SEND:
		if (link_send(m->link, 0, action->message->bytes, action->message->size))
			m->fleet->failed = true;
		break;
	case DYNMEM_ACTION_TAKE_PAGES:
		take_pages(m, action->pages, now_ns);
		break;
	case DYNMEM_ACTION_RETURN_PAGES:
		dynmem_complete_return(m->core, now_ns);
		break;
	case DYNMEM_ACTION_HOT_ADD:
		dynmem_complete_hot_add(m->core, 0, true, now_ns);
		break;
	case DYNMEM_ACTION_SAMPLE:
		sample(m, now_ns);
		break;
	case DYNMEM_ACTION_CLOSE_CHANNEL:
	case DYNMEM_ACTION_NOTE:
		m->fleet->failed = true;
		break;
	}
}

static void note_set_up(struct member *m)
{
	struct dynmem_status status;

	dynmem_get_status(m->core, &status);
	if (m->set_up || status.state != DYNMEM_STATE_READY)
		return;
	m->set_up = true;
	if (++m->fleet->n_set_up == m->fleet->n) {
		puts("ready");
		fflush(stdout);
	}
}

static void step(struct member *m)
{
	uint64_t now_ns = clock_monotonic_ns();
	struct dynmem_action action;

	dynmem_tick(m->core, now_ns);
	while (m->link && !link_is_busy(m->link) && dynmem_next_action(m->core, &action) == 0)
		act(m, &action, now_ns);
	note_set_up(m);
	timer_set(m->timer, dynmem_deadline_ns(m->core));
}

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct member *m = user;

	(void)trans_id;
	if (dynmem_receive(m->core, message, size, clock_monotonic_ns()) < 0)
		die("a message", -ENOMEM);
	step(m);
}

static void on_room(void *user)
{
	step(user);
}

static void on_corrupt(void *user)
{
	struct member *m = user;

	m->fleet->failed = true;
}

static const struct link_user link_ops = {
	.on_message = on_message,
	.on_room = on_room,
	.on_corrupt = on_corrupt,
};

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	step(user);
}

static void on_opened(struct member *m, struct vmbus_port *take_port)
{
	int r = link_new(m->fleet->base, take_port, &link_ops, m, &m->link);

	if (r == 0)
		r = dynmem_open(m->core, clock_monotonic_ns());
	if (r)
		die("a channel", r);
	step(m);
}

static void handle(struct member *m, struct transport_shm_event *event)
{
	switch (event->type) {
	case TRANSPORT_SHM_WELCOME:
	case TRANSPORT_SHM_RESCINDED:
		break;
	case TRANSPORT_SHM_REFUSED:
		die(shm_status_text(event->status), 1);
	case TRANSPORT_SHM_OFFERED:
		if (vmbus_guid_equal(&event->class_id, &vmbus_class_dynmem) &&
		    transport_shm_open(m->transport, event->channel_id))
			die("opening a channel", 1);
		break;
	case TRANSPORT_SHM_OPENED:
		on_opened(m, &event->port);
		break;
	}
}

static void on_transport(evutil_socket_t fd, short what, void *user)
{
	struct member *m = user;
	struct transport_shm_event event;
	int r;

	(void)fd;
	(void)what;
	while ((r = transport_shm_dispatch(m->transport, &event)) == 0)
		handle(m, &event);
	if (r != TRANSPORT_SHM_AGAIN)
		die("the host", r);
}

static uint64_t below(unsigned int *seed, uint64_t limit)
{
	return (uint64_t)rand_r(seed) * limit / ((uint64_t)RAND_MAX + 1);
}

static void start(struct member *m, const char *socket, unsigned int *seed)
{
	struct dynmem_config config;
	char name[32];
	int r;

	snprintf(name, sizeof(name), "vm-%05u", m->number);
	m->mean_pages = GIB_PAGES / 4 + below(seed, GIB_PAGES);
	m->swing_pages = below(seed, GIB_PAGES);
	m->period_ns = (20 + below(seed, 100)) * NS_PER_SECOND;
	m->phase_ns = below(seed, m->period_ns);
	m->next_pfn = GIB_PAGES;
	dynmem_config_init(&config);
	config.first_status_ns = below(seed, NS_PER_SECOND);
	r = dynmem_new(&config, &m->core);
	if (r == 0)
		r = transport_shm_new(socket, name, m->fleet->memory_pages, &m->transport);
	if (r)
		die(name, r);
	m->timer = event_new(m->fleet->base, -1, 0, on_timer, m);
	m->event = event_new(m->fleet->base, transport_shm_fd(m->transport), EV_READ | EV_PERSIST,
			     on_transport, m);
	if (!m->timer || !m->event || event_add(m->event, NULL) < 0)
		die(name, -ENOMEM);
}

static void print_totals(const struct fleet *f)
{
	struct dynmem_stats all = {0};

	for (unsigned int i = 0; i < f->n; i++) {
		struct dynmem_status s;

		dynmem_get_status(f->members[i].core, &s);
		all.status_reports += s.stats.status_reports;
		all.pages_taken += s.stats.pages_taken;
		all.pages_returned += s.stats.pages_returned;
		all.malformed += s.stats.malformed + s.stats.unexpected + s.stats.foreign_pages;
	}
	printf("{\"guests\": %u, \"set_up\": %u, \"reports\": %" PRIu64 ", \"taken_pages\": %" PRIu64
	       ", \"returned_pages\": %" PRIu64 ", \"errors\": %" PRIu64 "}\n",
	       f->n, f->n_set_up, all.status_reports, all.pages_taken, all.pages_returned, all.malformed);
}

static void on_end(evutil_socket_t number, short what, void *user)
{
	(void)number;
	(void)what;
	event_base_loopbreak(user);
}

int main(int argc, char **argv)
{
	const struct timeval limit = {.tv_sec = argc > 3 ? atoi(argv[3]) : 0};
	unsigned int seed = argc > 4 ? (unsigned int)strtoul(argv[4], NULL, 10) : 1;
	unsigned int first = argc > 5 ? (unsigned int)strtoul(argv[5], NULL, 10) : 0;
	struct fleet fleet = {.memory_pages = 4 * GIB_PAGES};
	struct event *term;
	struct rlimit files;

	if (argc < 4 || limit.tv_sec <= 0) {
		fputs("usage: fleet SOCKET N SECONDS [SEED [FIRST]]\n", stderr);
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	fleet.n = (unsigned int)strtoul(argv[2], NULL, 10);
	fleet.base = event_base_new();
	fleet.members = calloc(fleet.n, sizeof(fleet.members[0]));
	if (!fleet.base || !fleet.members)
		die("start", -ENOMEM);
	for (unsigned int i = 0; i < fleet.n; i++) {
		fleet.members[i].fleet = &fleet;
		fleet.members[i].number = first + i;
		start(&fleet.members[i], argv[1], &seed);
		/* The host's queue of connections is short. */
		(void)event_base_loop(fleet.base, EVLOOP_NONBLOCK);
	}

	term = evsignal_new(fleet.base, SIGTERM, on_end, fleet.base);
	if (!term || event_add(term, NULL) < 0 || event_base_loopexit(fleet.base, &limit) < 0)
		die("start", -ENOMEM);
	(void)event_base_dispatch(fleet.base);
	print_totals(&fleet);
	return fleet.failed || fleet.n_set_up < fleet.n;
}
