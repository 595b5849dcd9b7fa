/* SPDX-License-Identifier: MIT */

/*
 * hvhost serve: the lab host.
 *
 * One event loop holds the lab, the guests, the balancer and the API; three workers make
 * backups, and a thread shows to whoever looks (host/show.c).
 */

#include "base/ask.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "base/usage.h"
#include "host/api.h"
#include "host/lvm.h"
#include "host/verbs.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define NS_PER_SECOND UINT64_C(1000000000)

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

static int open_show(struct host *h)
{
	const struct show_config config = {
		.board = balance_board(h->balance),
		.run_dir = h->run_dir,
		.read_group = h->read_group,
		.listen = h->metrics_listen,
	};
	char text[READERS_TEXT_MAX];
	int r = show_new(&config, &h->show, text);

	if (r == 0)
		return EXIT_OK;
	log_error("API: %s", r < 0 ? strerror(-r) : text);
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
	r = api_add_routes(h);
	if (r)
		return fail("API", r);
	return open_show(h);
}

static int open_lab(struct host *h, const char *path)
{
	int r = lab_new(h->base, path, &host_lab_ops, h, &h->lab);

	if (r == LAB_IN_USE) {
		log_error("another lab host listens at %s: stop it, or name another --run-dir", path);
		return EXIT_ERROR;
	}
	return r ? fail_to_listen(path, r) : EXIT_OK;
}

/* The file of limits, if there is one. The exit code. */
static int load_limits(struct host *h)
{
	char error[GUEST_LIMITS_ERROR_MAX];
	struct guest_limits *fresh;

	if (!h->guests_path)
		return EXIT_OK;
	if (guest_limits_load(h->guests_path, error, &fresh)) {
		log_error("%s", error);
		return EXIT_USAGE;
	}
	(void)guest_limits_free(h->guest_limits);
	h->guest_limits = fresh;
	return EXIT_OK;
}

/* Guests that run get their new limits at once; what cannot be is said, and they keep the old. */
static void reload_limits(struct host *h)
{
	const struct seat *seat;
	size_t at = 0;

	if (!h->guests_path || load_limits(h))
		return;
	while ((seat = host_next_seat(h, &at))) {
		const char *name = guest_name(seat->guest);
		struct balancer_limits l = guest_limits_of(h->guest_limits, name, &h->limits,
							   seat->memory_pages);
		int r = balancer_limit(balance_core(h->balance), seat->balance_id, &l,
				       clock_monotonic_ns());

		if (r)
			log_warning("%s: keeps its limits: %s", name, balancer_condition_text(r));
	}
	balance_kick(h->balance);
	log_notice("limits of the guests are read again");
}

static void on_signal(evutil_socket_t number, short what, void *user)
{
	struct host *h = user;

	(void)what;
	if (number == SIGHUP) {
		reload_limits(h);
		return;
	}
	log_notice("ending (%s)", strsignal(number));
	event_base_loopbreak(h->base);
}

static int open_signals(struct host *h)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		h->signals[i] = evsignal_new(h->base, numbers[i], on_signal, h);
		if (!h->signals[i] || event_add(h->signals[i], NULL) < 0)
			return fail("signals", -ENOMEM);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	return EXIT_OK;
}

/* A guest costs a few descriptors, and more of them may be had than a shell gives. */
static void raise_file_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == files.rlim_max)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

/* Snapshots slow down the volumes they are of. */
static void remove_left(struct worker_job *work)
{
	(void)work;
	lvm_remove_left(false);
}

static void ignore(struct job *job)
{
	(void)job;
}

static int start(struct host *h)
{
	char api[256], lab[256];
	int r;

	if (snprintf(api, sizeof(api), "%s/api.sock", h->run_dir) >= (int)sizeof(api) ||
	    snprintf(lab, sizeof(lab), "%s/lab.sock", h->run_dir) >= (int)sizeof(lab))
		return fail(h->run_dir, -ENAMETOOLONG);
	r = load_limits(h);
	if (r)
		return r;
	raise_file_limit();
	h->base = event_base_new();
	if (!h->base)
		return fail("event loop", -ENOMEM);
	r = open_signals(h);
	if (r)
		return r;
	r = balance_new(h->base, &h->settings, &h->balance);
	if (r > 0)
		log_error("--host-memory and --reserve: %s", balancer_condition_text(r));
	if (r)
		return r > 0 ? EXIT_USAGE : fail("balancer", r);
	r = jobs_new(h->base, &h->workers.frozen);
	if (r)
		return fail("worker", r);
	r = jobs_new(h->base, &h->workers.asides);
	if (r)
		return fail("worker", r);
	r = jobs_new(h->base, &h->workers.copies);
	if (r)
		return fail("worker", r);
	h->at_start = (struct job){.work.run = remove_left, .done = ignore};
	r = jobs_submit(h->workers.asides, &h->at_start);
	if (r)
		return fail("worker", r);
	r = open_api(h, api);
	if (r)
		return r;
	r = open_lab(h, lab);
	if (r)
		return r;
	if (host_open_vms(h))
		return EXIT_ERROR;
	log_notice("ready: guests connect to %s", lab);
	host_tell(h, "ready", "socket", lab);
	return EXIT_OK;
}

static void stop(struct host *h)
{
	(void)show_free(h->show);
	(void)httpd_free(h->httpd);
	(void)lab_free(h->lab);
	h->vms = qemu_vms_free(h->vms);
	(void)balance_free(h->balance);
	free(h->seats);
	(void)guest_limits_free(h->guest_limits);
	(void)jobs_free(h->workers.frozen);
	(void)jobs_free(h->workers.asides);
	(void)jobs_free(h->workers.copies);
	for (size_t i = 0; i < h->n_backups; i++)
		(void)backup_free(h->backups[i]);
	for (size_t i = 0; i < h->n_file_copies; i++)
		(void)file_copy_free(h->file_copies[i]);
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
	      "  --host-memory SIZE    for all guests and the reserve together (default: no limit)\n"
	      "  --reserve SIZE        of it, that no guest is given (default: none)\n"
	      "  --guests FILE         limits of single guests; read again at SIGHUP\n"
	      "  --dry-run             decide, and order nothing\n"
	      "  --weight NUMBER       its share when memory is short, 0 to 10000 (default: 5000)\n"
	      "  --buffer PERCENT      of its demand on top of it, 5 to 2000 (default: 20)\n"
	      "  --first-action SEC    leave a guest alone after it connects (default: 5)\n"
	      "  --spacing SEC         between operations that take memory (default: 5)\n"
	      "  --smoothing SEC       time in which a falling demand is believed (default: 30)\n"
	      "  --read-group GROUP    whose members may look, by read.sock (default: root)\n"
	      "  --metrics-listen ADDRESS:PORT\n"
	      "                        let Prometheus, and whoever can reach this, look (default: no TCP)\n"
	      "  --qmp PATH            drive the memory of the QEMU VM whose QMP socket this is, or of all\n"
	      "                        whose sockets come and go in this folder; may be given again\n"
	      "  --qmp-timeout SEC     a QEMU that does not answer for so long is lost (default: 10)\n"
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
	unsigned long number;

	switch (option) {
	case 'r':
		h->run_dir = optarg;
		return true;
	case 's':
		return take_size(optarg, &h->limits.startup_pages);
	case 'n':
		return take_size(optarg, &h->limits.minimum_pages);
	case 'x':
		return take_size(optarg, &h->limits.maximum_pages);
	case 'w':
		return take_size(optarg, &h->window_pfn);
	case 'b':
		if (!take_number(optarg, BALANCER_BUFFER_PERCENT_MAX, &number) ||
		    number < BALANCER_BUFFER_PERCENT_MIN)
			return false;
		h->limits.buffer_percent = number;
		return true;
	case 'W':
		if (!take_number(optarg, BALANCER_WEIGHT_MAX, &number))
			return false;
		h->limits.weight = number;
		return true;
	case 'H':
		return take_size(optarg, &h->settings.budget_pages);
	case 'R':
		return take_size(optarg, &h->settings.reserve_pages);
	case 'G':
		h->guests_path = optarg;
		return true;
	case 'd':
		h->settings.dry_run = true;
		return true;
	case 'f':
		return take_seconds(optarg, &h->settings.first_action_ns);
	case 'p':
		return take_seconds(optarg, &h->settings.shrink_spacing_ns);
	case 'm':
		return take_seconds(optarg, &h->settings.smoothing_ns);
	case 'q':
		if (optarg[0] != '/' || h->n_qmp_paths == QMP_PATHS_MAX)
			return false;
		h->qmp_paths[h->n_qmp_paths++] = optarg;
		return true;
	case 't':
		return take_seconds(optarg, &h->qmp_limit_ns) && h->qmp_limit_ns > 0;
	case 'j':
		h->json = true;
		return true;
	case 'g':
		h->read_group = optarg;
		return true;
	case 'M':
		h->metrics_listen = optarg;
		return strchr(optarg, ':') != NULL;
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
		{"host-memory", required_argument, NULL, 'H'},
		{"reserve", required_argument, NULL, 'R'},
		{"guests", required_argument, NULL, 'G'},
		{"dry-run", no_argument, NULL, 'd'},
		{"weight", required_argument, NULL, 'W'},
		{"first-action", required_argument, NULL, 'f'},
		{"spacing", required_argument, NULL, 'p'},
		{"smoothing", required_argument, NULL, 'm'},
		{"read-group", required_argument, NULL, 'g'},
		{"metrics-listen", required_argument, NULL, 'M'},
		{"qmp", required_argument, NULL, 'q'},
		{"qmp-timeout", required_argument, NULL, 't'},
		{"log-level", required_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const struct balancer_limits *l = &h->limits;
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
	if (!is_ordered(l->minimum_pages, l->startup_pages) ||
	    !is_ordered(l->startup_pages, l->maximum_pages) ||
	    !is_ordered(l->minimum_pages, l->maximum_pages)) {
		fprintf(stderr, "hvhost: not --minimum <= --startup <= --maximum: see %s\n", help);
		return EXIT_USAGE;
	}
	return -1;
}

int verb_serve(int argc, char **argv)
{
	struct host h = {.run_dir = HVHOST_RUN_DIR, .qmp_limit_ns = 10 * NS_PER_SECOND};
	enum log_level level = LOG_LEVEL_NOTICE;
	int r;

	balancer_settings_init(&h.settings);
	balancer_limits_init(&h.limits);
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
