/* SPDX-License-Identifier: MIT */

/*
 * hvhost serve: the lab host.
 *
 * One event loop holds the lab, the guests and the API; two workers make the copies of backups.
 * Finished backups are kept for whoever asks what became of them, a bounded number of them.
 */

#include "base/ask.h"
#include "base/httpd.h"
#include "base/log.h"
#include "base/size.h"
#include "base/usage.h"
#include "host/guest.h"
#include "host/verbs.h"
#include "services/shutdown_wire.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define MINIMUM_BYTES (UINT64_C(512) << 20)

enum {
	GUESTS_MAX = 64,
	BACKUPS_MAX = 32,
};

struct host;

/* A guest's place at the host: what the lab's calls come back with. */
struct seat {
	struct host *host;
	struct guest *guest;
};

struct host {
	struct event_base *base;
	const char *run_dir;
	bool json; /* tell what happens on standard output, one JSON object a line */
	struct balancer_settings settings;
	uint64_t window_pfn; /* where memory is added; 0: none is */ /* amounts of 0: by the guest's machine */
	struct lab *lab;
	struct backup_workers workers;
	struct httpd *httpd;
	struct event *signals[2];
	struct seat *seats[GUESTS_MAX];
	size_t n_seats;
	struct backup *backups[BACKUPS_MAX]; /* oldest first */
	size_t n_backups;
	unsigned int last_backup_id;
};

static struct guest *find_guest(const struct host *h, const char *name)
{
	for (size_t i = 0; name && i < h->n_seats; i++)
		if (!strcmp(guest_name(h->seats[i]->guest), name))
			return h->seats[i]->guest;
	return NULL;
}

/* Tells the program that started this one, if it asked for it. */
static void tell(const struct host *h, const char *event, const char *key, const char *value)
{
	json_t *line;

	if (!h->json)
		return;
	line = json_pack("{s:s, s:s}", "event", event, key, value);
	json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	fflush(stdout);
	json_decref(line);
}

/* What the lab tells. */

static struct balancer_settings settings_for(const struct host *h, uint64_t memory_pages)
{
	struct balancer_settings s = h->settings;

	if (s.startup_pages == 0)
		s.startup_pages = memory_pages;
	if (s.maximum_pages > 0 && s.startup_pages > s.maximum_pages)
		s.startup_pages = s.maximum_pages;
	if (s.maximum_pages == 0)
		s.maximum_pages = s.startup_pages;
	if (s.minimum_pages == 0)
		s.minimum_pages = MINIMUM_BYTES / VMBUS_PAGE_SIZE;
	if (s.minimum_pages > s.startup_pages)
		s.minimum_pages = s.startup_pages;
	return s;
}

static enum shm_status on_hello(void *user, struct lab_guest *lab_guest, const char *name,
				uint64_t memory_pages, void **ret_context)
{
	struct host *h = user;
	struct balancer_settings settings = settings_for(h, memory_pages);
	const struct guest_config config = {
		.base = h->base,
		.workers = h->workers,
		.settings = &settings,
		.window_pfn = h->window_pfn,
		.name = name,
		.memory_pages = memory_pages,
		.lab = lab_guest,
	};
	struct seat *seat;

	if (find_guest(h, name))
		return SHM_NAME_TAKEN;
	if (h->n_seats == GUESTS_MAX)
		return SHM_NO_MEMORY;
	seat = calloc(1, sizeof(*seat));
	if (!seat || guest_new(&config, &seat->guest)) {
		free(seat);
		return SHM_NO_MEMORY;
	}

	seat->host = h;
	h->seats[h->n_seats++] = seat;
	log_notice("%s: connected", name);
	tell(h, "connected", "guest", name);
	*ret_context = seat;
	return SHM_OK;
}

static void on_ready(void *context)
{
	struct seat *seat = context;

	guest_offer_all(seat->guest);
}

static void on_open(void *context, const struct vmbus_guid *class_id, struct vmbus_port *take_port)
{
	struct seat *seat = context;

	guest_channel_opened(seat->guest, class_id, take_port);
}

static void on_close(void *context, const struct vmbus_guid *class_id)
{
	struct seat *seat = context;

	guest_channel_closed(seat->guest, class_id);
}

static void on_gone(void *context)
{
	struct seat *seat = context;
	struct host *h = seat->host;

	log_notice("%s: gone", guest_name(seat->guest));
	tell(h, "gone", "guest", guest_name(seat->guest));
	for (size_t i = 0; i < h->n_seats; i++)
		if (h->seats[i] == seat)
			h->seats[i] = h->seats[--h->n_seats];
	(void)guest_free(seat->guest);
	free(seat);
}

static const struct lab_ops lab_ops = {
	.on_hello = on_hello,
	.on_ready = on_ready,
	.on_open = on_open,
	.on_close = on_close,
	.on_gone = on_gone,
};

/* The API. */

/* Answers with @take_body as the schema has it. */
static void reply(struct httpd_request *request, int status, json_t *take_body)
{
	json_t *answer = json_pack("{s:i}", "schema", 1);

	if (!take_body || json_object_update_missing(answer, take_body) < 0) {
		json_decref(answer);
		answer = NULL;
	}
	json_decref(take_body);
	httpd_reply_json(request, status, answer);
}

/* The guest in the path; NULL, and the request is answered, if there is none. */
static struct guest *requested_guest(struct host *h, struct httpd_request *request)
{
	const char *name = httpd_request_param(request, "name");
	struct guest *g = find_guest(h, name);
	char message[160];

	if (!g) {
		snprintf(message, sizeof(message), "no guest '%s' is connected", name);
		httpd_reply_error(request, 404, message, "hvhost status lists the guests");
	}
	return g;
}

static void get_status(struct httpd_request *request, void *user)
{
	struct host *h = user;
	json_t *guests = json_array();

	for (size_t i = 0; i < h->n_seats; i++)
		json_array_append_new(guests, guest_status(h->seats[i]->guest));
	reply(request, 200,
	      json_pack("{s:s, s:s, s:o}", "program", "hvhost", "version", PACKAGE_VERSION,
			"guests", guests));
}

static void get_guest(struct httpd_request *request, void *user)
{
	struct guest *g = requested_guest(user, request);

	if (g)
		reply(request, 200, guest_status(g));
}

static void post_fault(struct httpd_request *request, struct guest *g)
{
	const json_t *name = json_object_get(httpd_request_body(request), "fault");
	enum dynmem_fault fault = json_is_string(name) ? dynmem_fault_named(json_string_value(name))
						       : DYNMEM_FAULT_NONE;

	if (fault == DYNMEM_FAULT_NONE)
		httpd_reply_error(request, 400, "no fault of dynamic memory has this name",
				  "host/dynmem_fault.h lists them");
	else if (guest_memory_fault(guest_memory_of(g), fault))
		httpd_reply_error(request, 409, "the guest's memory is not ready, or being moved",
				  "try again in a moment");
	else
		reply(request, 200, guest_memory_status(guest_memory_of(g)));
}

static void post_memory(struct httpd_request *request, void *user)
{
	struct guest *g = requested_guest(user, request);
	const json_t *assign;

	if (!g)
		return;
	if (json_object_get(httpd_request_body(request), "fault")) {
		post_fault(request, g);
		return;
	}
	assign = json_object_get(httpd_request_body(request), "assign");
	if (json_is_integer(assign) && json_integer_value(assign) > 0) {
		guest_memory_assign(guest_memory_of(g),
				    (uint64_t)json_integer_value(assign) / VMBUS_PAGE_SIZE);
	} else if (json_is_string(assign) && !strcmp(json_string_value(assign), "auto")) {
		guest_memory_assign_by_demand(guest_memory_of(g));
	} else {
		httpd_reply_error(request, 400, "'assign' is neither a number of bytes nor 'auto'",
				  NULL);
		return;
	}
	reply(request, 200, guest_memory_status(guest_memory_of(g)));
}

static void change_service(struct httpd_request *request, struct guest *g,
			   int (*change)(struct guest *g, const char *service), const char *state)
{
	const char *service;

	if (!g)
		return; /* and the request is gone */
	service = json_string_value(json_object_get(httpd_request_body(request), "service"));
	switch (change(g, service ? service : "")) {
	case 0:
		reply(request, 200,
		      json_pack("{s:s, s:s}", "service", service, "state", state));
		break;
	case GUEST_NO_SERVICE:
		httpd_reply_error(request, 400, "there is no such service",
				  "name heartbeat, dynmem or vss");
		break;
	default:
		httpd_reply_error(request, 409, "the channel is not in a state for this",
				  "hvhost status --json shows it");
	}
}

static void post_rescind(struct httpd_request *request, void *user)
{
	change_service(request, requested_guest(user, request), guest_rescind, "rescinded");
}

static void post_offer(struct httpd_request *request, void *user)
{
	change_service(request, requested_guest(user, request), guest_offer, "offered");
}

/* Makes room for one more backup; false if as many are under way as there can be. */
static bool make_room(struct host *h)
{
	if (h->n_backups < BACKUPS_MAX)
		return true;
	for (size_t i = 0; i < h->n_backups; i++) {
		if (!backup_has_ended(h->backups[i]))
			continue;
		(void)backup_free(h->backups[i]);
		h->n_backups--;
		memmove(&h->backups[i], &h->backups[i + 1],
			(h->n_backups - i) * sizeof(h->backups[0]));
		return true;
	}
	return false;
}

static void start_backup(struct host *h, struct guest *g, struct httpd_request *request,
			 struct backup *take_backup)
{
	switch (guest_backup_start(guest_backup_of(g), take_backup)) {
	case 0:
		h->backups[h->n_backups++] = take_backup;
		reply(request, 202, backup_status(take_backup));
		return;
	case GUEST_BACKUP_RUNNING:
		httpd_reply_error(request, 409, "a backup of this guest is under way",
				  "wait for its end");
		break;
	default:
		httpd_reply_error(request, 409, "the guest takes no part in backups",
				  "hvguestctl status in the guest says why");
	}
	(void)backup_free(take_backup);
}

static void post_backup(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct guest *g = requested_guest(h, request);
	struct backup *backup;
	const json_t *body;
	char why[1024];

	if (!g)
		return;
	body = httpd_request_body(request);
	if (!make_room(h)) {
		httpd_reply_error(request, 409, "too many backups are under way", "wait for one");
		return;
	}
	if (backup_new(++h->last_backup_id, guest_name(g), body, &backup)) {
		httpd_reply_error(request, 400,
				  "'images' must be absolute paths of files with different names, "
				  "'directory' and 'since' absolute paths",
				  NULL);
		return;
	}
	if (backup_check(backup, why, sizeof(why))) {
		httpd_reply_error(request, 409, why, NULL);
		(void)backup_free(backup);
		return;
	}
	start_backup(h, g, request, backup);
}

static void reply_shutdown(struct httpd_request *request, struct guest *g, uint32_t flags,
			   const char *text)
{
	switch (guest_shutdown_ask(guest_shutdown_of(g), flags, text)) {
	case 0:
		reply(request, 202, guest_shutdown_status(guest_shutdown_of(g)));
		return;
	case GUEST_SHUTDOWN_RUNNING:
		httpd_reply_error(request, 409, "the guest has not answered the last request yet",
				  "wait for it, a minute at most");
		return;
	case GUEST_SHUTDOWN_UNKNOWN:
		httpd_reply_error(request, 409, "the guest's version of shutdown has no such request",
				  NULL);
		return;
	default:
		httpd_reply_error(request, 409, "the guest takes no requests to go down",
				  "hvguestctl status in the guest says why");
	}
}

static void post_shutdown(struct httpd_request *request, void *user)
{
	struct host *h = user;
	struct guest *g = requested_guest(h, request);
	const json_t *body;
	const char *kind, *text;
	uint32_t flags = 0;

	if (!g)
		return;
	body = httpd_request_body(request);
	kind = json_string_value(json_object_get(body, "kind"));
	text = json_string_value(json_object_get(body, "reason"));
	if (kind && !strcmp(kind, "reboot"))
		flags |= SHUTDOWN_FLAG_RESTART;
	else if (kind && !strcmp(kind, "hibernate"))
		flags |= SHUTDOWN_FLAG_HIBERNATE;
	else if (!kind || strcmp(kind, "poweroff") != 0) {
		httpd_reply_error(request, 400, "'kind' must be poweroff, reboot or hibernate", NULL);
		return;
	}
	if (json_is_true(json_object_get(body, "force")))
		flags |= SHUTDOWN_FLAG_FORCE;
	reply_shutdown(request, g, flags, text ? text : "");
}

static void get_backup(struct httpd_request *request, void *user)
{
	struct host *h = user;
	unsigned long id = strtoul(httpd_request_param(request, "id"), NULL, 10);

	for (size_t i = 0; i < h->n_backups; i++) {
		if (backup_id(h->backups[i]) == id) {
			reply(request, 200, backup_status(h->backups[i]));
			return;
		}
	}
	httpd_reply_error(request, 404, "there is no such backup (any more)", NULL);
}

static const struct {
	const char *method;
	const char *pattern;
	void (*handle)(struct httpd_request *request, void *user);
} routes[] = {
	{"GET", "/v1/status", get_status},
	{"GET", "/v1/guests/{name}", get_guest},
	{"POST", "/v1/guests/{name}/memory", post_memory},
	{"POST", "/v1/guests/{name}/backup", post_backup},
	{"POST", "/v1/guests/{name}/shutdown", post_shutdown},
	{"POST", "/v1/guests/{name}/rescind", post_rescind},
	{"POST", "/v1/guests/{name}/offer", post_offer},
	{"GET", "/v1/backups/{id}", get_backup},
};

/* Start and end. */

static int fail(const char *what, int r)
{
	log_error("%s: %s", what, r < 0 ? strerror(-r) : "failed");
	return EXIT_ERROR;
}

/* Both sockets are in the run directory. */
static int fail_to_listen(const char *path, int r)
{
	log_error("%s cannot be made: %s: make room there, or name another folder by --run-dir", path,
		  strerror(-r));
	return EXIT_ERROR;
}

static int open_api(struct host *h, const char *path)
{
	int r;

	r = httpd_new(h->base, path, 0600, &h->httpd);
	if (r == HTTPD_IN_USE) {
		log_error("another hvhost answers at %s: stop it, or name another --run-dir", path);
		return EXIT_ERROR;
	}
	if (r)
		return fail_to_listen(path, r);
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		r = httpd_route(h->httpd, routes[i].method, routes[i].pattern, routes[i].handle, h);
		if (r)
			return fail("API", r);
	}
	return EXIT_OK;
}

static int open_lab(struct host *h, const char *path)
{
	int r = lab_new(h->base, path, &lab_ops, h, &h->lab);

	if (r == LAB_IN_USE) {
		log_error("another lab host listens at %s: stop it, or name another --run-dir", path);
		return EXIT_ERROR;
	}
	return r ? fail_to_listen(path, r) : EXIT_OK;
}

static void on_signal(evutil_socket_t number, short what, void *user)
{
	struct host *h = user;

	(void)what;
	log_notice("ending (%s)", strsignal(number));
	event_base_loopbreak(h->base);
}

static int open_signals(struct host *h)
{
	static const int numbers[] = {SIGTERM, SIGINT};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		h->signals[i] = evsignal_new(h->base, numbers[i], on_signal, h);
		if (!h->signals[i] || event_add(h->signals[i], NULL) < 0)
			return fail("signals", -ENOMEM);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	return EXIT_OK;
}

static int start(struct host *h)
{
	char api[256], lab[256];
	int r;

	if (snprintf(api, sizeof(api), "%s/api.sock", h->run_dir) >= (int)sizeof(api) ||
	    snprintf(lab, sizeof(lab), "%s/lab.sock", h->run_dir) >= (int)sizeof(lab))
		return fail(h->run_dir, -ENAMETOOLONG);
	h->base = event_base_new();
	if (!h->base)
		return fail("event loop", -ENOMEM);
	r = open_signals(h);
	if (r)
		return r;
	r = jobs_new(h->base, &h->workers.frozen);
	if (r)
		return fail("worker", r);
	r = jobs_new(h->base, &h->workers.copies);
	if (r)
		return fail("worker", r);
	r = open_api(h, api);
	if (r)
		return r;
	r = open_lab(h, lab);
	if (r)
		return r;
	log_notice("ready: guests connect to %s", lab);
	tell(h, "ready", "socket", lab);
	return EXIT_OK;
}

static void stop(struct host *h)
{
	(void)httpd_free(h->httpd);
	(void)lab_free(h->lab);
	(void)jobs_free(h->workers.frozen);
	(void)jobs_free(h->workers.copies);
	for (size_t i = 0; i < h->n_backups; i++)
		(void)backup_free(h->backups[i]);
	for (size_t i = 0; i < sizeof(h->signals) / sizeof(h->signals[0]); i++)
		if (h->signals[i])
			event_free(h->signals[i]);
	if (h->base)
		event_base_free(h->base);
}

static void print_usage(FILE *to)
{
	fputs("Usage: hvhost serve [OPTION...]\n"
	      "Be the host for guests on this machine (hvguestd --lab SOCKET).\n\n"
	      "  --run-dir DIR         folder of lab.sock and api.sock (default: " HVHOST_RUN_DIR ")\n"
	      "  --startup SIZE        memory a guest begins with (default: all of its machine)\n"
	      "  --minimum SIZE        the least it is assigned (default: 512M)\n"
	      "  --maximum SIZE        the most it is assigned (default: startup)\n"
	      "  --window ADDRESS      where memory above startup is added (default: none is)\n"
	      "  --buffer PERCENT      of its demand on top of it, 5 to 2000 (default: 20)\n"
	      "  --first-action SEC    leave a guest alone after it connects (default: 5)\n"
	      "  --spacing SEC         between operations that take memory (default: 5)\n"
	      "  --smoothing SEC       time in which a falling demand is believed (default: 30)\n"
	      "  --log-level LEVEL     error, warning, notice, info (default: notice)\n"
	      "  --json                tell on standard output when ready and who comes and goes\n",
	      to);
}

static bool take_size(const char *text, uint64_t *ret_pages)
{
	uint64_t bytes;

	if (size_parse(text, &bytes) || bytes < VMBUS_PAGE_SIZE)
		return false;
	*ret_pages = bytes / VMBUS_PAGE_SIZE;
	return true;
}

static bool take_number(const char *text, unsigned long max, unsigned long *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*ret_number = strtoul(text, &end, 10);
	return *end == '\0' && *ret_number <= max;
}

static bool take_seconds(const char *text, uint64_t *ret_ns)
{
	unsigned long seconds;

	if (!take_number(text, 3600, &seconds))
		return false;
	*ret_ns = seconds * NS_PER_SECOND;
	return true;
}

static bool take_level(const char *text, enum log_level *ret_level)
{
	static const char *const names[] = {"error", "warning", "notice", "info"};

	for (int i = 0; i < 4; i++) {
		if (!strcmp(text, names[i])) {
			*ret_level = LOG_LEVEL_ERROR + i;
			return true;
		}
	}
	return false;
}

static bool take_option(struct host *h, int option, enum log_level *level)
{
	unsigned long percent;

	switch (option) {
	case 'r':
		h->run_dir = optarg;
		return true;
	case 's':
		return take_size(optarg, &h->settings.startup_pages);
	case 'n':
		return take_size(optarg, &h->settings.minimum_pages);
	case 'x':
		return take_size(optarg, &h->settings.maximum_pages);
	case 'w':
		return take_size(optarg, &h->window_pfn);
	case 'b':
		if (!take_number(optarg, BALANCER_BUFFER_PERCENT_MAX, &percent) ||
		    percent < BALANCER_BUFFER_PERCENT_MIN)
			return false;
		h->settings.buffer_percent = percent;
		return true;
	case 'f':
		return take_seconds(optarg, &h->settings.first_action_ns);
	case 'p':
		return take_seconds(optarg, &h->settings.shrink_spacing_ns);
	case 'm':
		return take_seconds(optarg, &h->settings.smoothing_ns);
	case 'j':
		h->json = true;
		return true;
	case 'l':
		return take_level(optarg, level);
	default:
		return false;
	}
}

/* Of two amounts of which 0 leaves one open. */
static bool is_ordered(uint64_t low_pages, uint64_t high_pages)
{
	return low_pages == 0 || high_pages == 0 || low_pages <= high_pages;
}

/* -1, or the exit code. */
static int parse(struct host *h, int argc, char **argv, enum log_level *level)
{
	static const char help[] = "hvhost serve --help";
	static const struct option options[] = {
		{"run-dir", required_argument, NULL, 'r'},
		{"startup", required_argument, NULL, 's'},
		{"minimum", required_argument, NULL, 'n'},
		{"maximum", required_argument, NULL, 'x'},
		{"window", required_argument, NULL, 'w'},
		{"buffer", required_argument, NULL, 'b'},
		{"first-action", required_argument, NULL, 'f'},
		{"spacing", required_argument, NULL, 'p'},
		{"smoothing", required_argument, NULL, 'm'},
		{"log-level", required_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const struct balancer_settings *s = &h->settings;
	int o, i = 0;

	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", options, &i)) != -1) {
		if (o == 'h') {
			print_usage(stdout);
			return EXIT_OK;
		}
		if (o == ':' || o == '?')
			return usage_complain(o, argv, "hvhost", help);
		if (!take_option(h, o, level)) {
			fprintf(stderr, "hvhost: --%s cannot be '%s': see %s\n", options[i].name,
				optarg, help);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "hvhost: what is '%s'? see %s\n", argv[optind], help);
		return EXIT_USAGE;
	}
	if (!is_ordered(s->minimum_pages, s->startup_pages) ||
	    !is_ordered(s->startup_pages, s->maximum_pages) ||
	    !is_ordered(s->minimum_pages, s->maximum_pages)) {
		fprintf(stderr, "hvhost: not --minimum <= --startup <= --maximum: see %s\n", help);
		return EXIT_USAGE;
	}
	return -1;
}

int verb_serve(int argc, char **argv)
{
	struct host h = {.run_dir = HVHOST_RUN_DIR};
	enum log_level level = LOG_LEVEL_NOTICE;
	int r;

	balancer_settings_init(&h.settings);
	h.settings.first_action_ns = 5 * NS_PER_SECOND;
	r = parse(&h, argc, argv, &level);
	if (r >= 0)
		return r;

	log_open("hvhost", level);
	r = start(&h);
	if (r == EXIT_OK && event_base_dispatch(h.base) < 0)
		r = fail("event loop", -EIO);
	stop(&h);
	return r;
}
