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
#include "host/api.h"
#include "host/lvm.h"
#include "host/serve_options.h"
#include "host/verbs.h"

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
	log_error("%s cannot be made: %s: %s, or name another folder by --run-dir", path, strerror(-r),
		  r == -EACCES ? "become root" : "make room there");
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

static struct guest_kvp *find_kvp(void *user, const char *name)
{
	struct guest *guest = host_find_guest(user, name);

	return guest ? guest_kvp_of(guest) : NULL;
}

static int open_backups(struct host *h)
{
	const struct backups_config config = {
		.base = h->base,
		.board = balance_board(h->balance),
		.find_kvp = find_kvp,
		.user = h,
	};
	int r;

	r = jobs_new(h->base, &h->workers.frozen);
	if (r == 0)
		r = jobs_new(h->base, &h->workers.asides);
	if (r == 0)
		r = jobs_new(h->base, &h->workers.copies);
	if (r)
		return fail("worker", r);
	r = backups_new(&config, &h->backups);
	return r ? fail("backups", r) : EXIT_OK;
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
	r = open_backups(h);
	if (r)
		return r;
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
	(void)backups_free(h->backups);
	for (size_t i = 0; i < h->n_file_copies; i++)
		(void)file_copy_free(h->file_copies[i]);
	for (size_t i = 0; i < sizeof(h->signals) / sizeof(h->signals[0]); i++)
		if (h->signals[i])
			event_free(h->signals[i]);
	if (h->base)
		event_base_free(h->base);
}

int verb_serve(int argc, char **argv)
{
	struct host h = {.run_dir = HVHOST_RUN_DIR, .qmp_limit_ns = 10 * NS_PER_SECOND,
			 .log_level = LOG_LEVEL_NOTICE};
	int r;

	balancer_settings_init(&h.settings);
	balancer_limits_init(&h.limits);
	h.settings.first_action_ns = 5 * NS_PER_SECOND;
	r = serve_options_parse(&h, argc, argv);
	if (r >= 0)
		return r;

	log_open("hvhost", h.log_level);
	r = start(&h);
	if (r == EXIT_OK && event_base_dispatch(h.base) < 0)
		r = fail("event loop", -EIO);
	stop(&h);
	return r;
}
