/* SPDX-License-Identifier: MIT */

/*
 * hvguestd's start and end.
 *
 * The order matters once: whatever a predecessor left frozen is thawed before anything else is
 * opened (recover_first()). The rest is built from the bottom up, and torn down in reverse.
 */

#include "base/ask.h"
#include "base/confine.h"
#include "base/httpd.h"
#include "base/jobs.h"
#include "base/manager.h"
#include "base/output.h"
#include "base/readers.h"
#include "daemon/api.h"
#include "daemon/events.h"
#include "daemon/journal.h"
#include "daemon/lab_host.h"
#include "daemon/metrics.h"
#include "daemon/recover.h"
#include "daemon/reload.h"
#include "daemon/stock_host.h"
#include "daemon/uio_host.h"
#include "daemon/watchdog.h"

#include <event2/event.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READY_PATIENCE_MS 5000

struct daemon {
	struct event_base *base;
	struct config config;
	struct reload *reload;
	struct snapshot *snapshot;
	struct receipts *receipts;
	struct bind_manual *manual;
	struct bind_vss *vss;
	struct jobs *jobs;
	struct session *session;
	struct bind_heartbeat *heartbeat;
	struct bind_shutdown *shutdown;
	struct bind_fcopy *fcopy;
	struct bind_disks *disks;
	struct bind_timesync *timesync;
	struct bind_kvp *kvp; /* NULL: kvp is off */
	struct api_kvp *pools;
	struct bind_dynmem *dynmem;
	struct bind_hotplug *hotplug;
	struct httpd *httpd;
	struct api api;
	struct events *events;
	struct service services[16];
	struct takeover_config takeover;
	struct connection *connection;
	struct watchdog *watchdog; /* NULL: nobody asks */
	struct event *signals[3];
	bool hand_over; /* the session goes on without us */
};

static int fail(const char *what, int r)
{
	log_error("%s: %s", what, r < 0 ? strerror(-r) : "failed");
	return EXIT_ERROR;
}

/*
 * The marked place: what comes behind has these capabilities, as far as they were there, and no others.
 * What is executed gets the same in the unit (NoNewPrivileges=), and elsewhere what the bounding set has:
 * network managers, modprobe, hooks without a runner. docs/THREATS.md has the reasons.
 */
static int give_up_capabilities(void)
{
	static const unsigned keep[] = {
		CAP_SYS_ADMIN,    /* to freeze and thaw; to see physical addresses */
		CAP_SYS_PTRACE,   /* to see the mounts of process 1 and of containers */
		CAP_SYS_RESOURCE, /* a trigger for stalls within half a second */
		CAP_SYS_TIME,     /* to set the clock */
		CAP_SYS_RAWIO,    /* to read the hypervisor's clock by the msr device */
		CAP_IPC_LOCK,     /* to stay in memory */
		CAP_NET_ADMIN,    /* room for all of the kernel's messages about a large DIMM */
		CAP_KILL,         /* to end hooks that have become another user, without a runner */
		CAP_DAC_OVERRIDE, /* files from the host in anybody's folder; mounts in anybody's folder */
		CAP_CHOWN,        /* ... which have the owner that is configured */
		CAP_FOWNER,       /* ... and the mode */
	};
	int r = confine_capabilities(keep, sizeof(keep) / sizeof(keep[0]), false);

	if (r)
		log_error("rights cannot be given up: %s", strerror(-r));
	return r;
}

/* Says what the process may not do, and what still works without it. */
static void look_at_capabilities(struct daemon *d)
{
	if (!confine_has_capability(CAP_SYS_ADMIN))
		d->api.missing[d->api.n_missing++] =
			"CAP_SYS_ADMIN: no file system can be frozen and no memory given to the host; "
			"heartbeat and memory reports still work";
	if (!confine_has_capability(CAP_IPC_LOCK))
		d->api.missing[d->api.n_missing++] =
			"CAP_IPC_LOCK: the freezer cannot lock its memory and pages cannot be pinned; "
			"heartbeat and memory reports still work";
	for (size_t i = 0; i < d->api.n_missing; i++)
		log_warning("missing %s (run as root)", d->api.missing[i]);
}

/* A host that can be spoken to, or the exit code. */
static int look_for_host(const struct config *config)
{
	if (config->lab_socket || access(VMBUS_SYSFS "/devices", F_OK) == 0 ||
	    access(config->vss_device, F_OK) == 0 || access(config->kvp_device, F_OK) == 0 ||
	    (config->n_fcopy_roots > 0 && access(config->fcopy_device, F_OK) == 0))
		return EXIT_OK;
	log_error("this machine is not a Hyper-V guest: "
		  "give --lab SOCKET to work with a lab host (hvhost serve)");
	return EXIT_NO_HYPERV;
}

static int make_run_dir(const struct config *config)
{
	static const char remedy[] = "become root, or name another folder by --run-dir";
	char inside[256];

	if (mkdir(config->run_dir, 0755) < 0 && errno != EEXIST) {
		log_error("%s cannot be made: %m: %s", config->run_dir, remedy);
		return EXIT_ERROR;
	}
	if (snprintf(inside, sizeof(inside), "%s/.", config->run_dir) >= (int)sizeof(inside))
		return fail("run_dir", -ENAMETOOLONG);
	if (access(inside, W_OK | X_OK) < 0) {
		log_error("nothing can be made in %s: %m: %s", config->run_dir, remedy);
		return EXIT_ERROR;
	}
	return EXIT_OK;
}

/* What is in the way in the run directory. */
static int fail_in_run_dir(const struct config *config, const char *what, int r)
{
	log_error("%s cannot be made in %s: %s: make room there, or name another folder by --run-dir",
		  what, config->run_dir, r < 0 ? strerror(-r) : "something else is there");
	return EXIT_ERROR;
}

static bool backup_is_holding(const void *snapshot)
{
	return snapshot_is_holding(snapshot);
}

static int open_for_looking(struct daemon *d)
{
	char text[READERS_TEXT_MAX];

	if (!readers_let_in(d->httpd, d->config.run_dir, d->config.read_group,
			    d->config.metrics_listen, text))
		return EXIT_OK;
	log_error("API: %s", text);
	return EXIT_ERROR;
}

static int open_api(struct daemon *d)
{
	char path[256];
	int r;

	if (snprintf(path, sizeof(path), "%s/api.sock", d->config.run_dir) >= (int)sizeof(path))
		return fail("run_dir", -ENAMETOOLONG);
	r = httpd_new(d->base, path, 0600, &d->httpd);
	if (r == HTTPD_IN_USE) {
		log_error("another hvguestd answers at %s: stop it, or name another --run-dir", path);
		return EXIT_ERROR;
	}
	if (r)
		return fail_in_run_dir(&d->config, "api.sock", r);

	r = open_for_looking(d);
	if (r)
		return r;

	d->api.config = &d->config;
	d->api.connection = &d->connection;
	d->api.heartbeat = d->heartbeat;
	d->api.shutdown = d->shutdown;
	d->api.fcopy = d->fcopy;
	d->api.disks = d->disks;
	d->api.timesync = d->timesync;
	d->api.kvp = d->kvp;
	d->api.pools = d->pools;
	d->api.dynmem = d->dynmem;
	d->api.hotplug = d->hotplug;
	d->api.vss = d->vss;
	d->api.snapshot = d->snapshot;
	d->api.receipts = d->receipts;
	d->api.manual = d->manual;
	r = api_add_routes(&d->api, d->httpd);
	if (r == 0)
		r = metrics_add_route(&d->api, d->httpd);
	if (r == 0)
		r = events_new(d->base, &d->api, d->httpd, &d->events);
	return r ? fail("API", r) : EXIT_OK;
}

/* A lab host offers everything; of a real one's devices only those that were named are taken. */
static bool serves(const struct config *config, enum config_service service)
{
	return config->lab_socket || (config->takeover & service);
}

static bool a_device_is_open(const void *user)
{
	const struct daemon *d = user;

	return bind_vss_has_host(d->vss) || bind_fcopy_has_host(d->fcopy) ||
	       (d->kvp && bind_kvp_has_host(d->kvp));
}

static int open_connection(struct daemon *d, size_t n_services)
{
	int r;

	if (n_services == 0 && d->config.hotplug != HOTADD_OFF)
		log_notice("all VMBus devices stay with the kernel's drivers; memory that is added is "
			   "brought online (hotplug = %s)", hotadd_policy_name(d->config.hotplug));
	takeover_config_init(&d->takeover, d->config.run_dir);
	kept_use_jobs(session_kept(d->session), d->jobs);
	if (d->config.lab_socket)
		r = lab_host_new(d->base, d->config.lab_socket, d->config.name, d->services,
				 n_services, session_kept(d->session), &d->connection);
	else if (n_services == 0)
		r = stock_host_new(a_device_is_open, d, &d->connection);
	else
		r = uio_host_new(d->base, &d->takeover, d->services, n_services, session_kept(d->session),
				 &d->connection);
	if (r)
		return fail("connection", r);
	kept_drop_untaken(session_kept(d->session));
	bind_dynmem_begin(d->dynmem);
	return EXIT_OK;
}

static bool serves_memory(const struct config *config)
{
	return serves(config, CONFIG_DYNMEM) && config->memory;
}

/* Where the kernel has no driver for it nothing has to be taken over. */
static bool serves_fcopy(const struct config *config)
{
	return config->n_fcopy_roots > 0 && !bind_fcopy_wants_device(config);
}

static void on_block_online(void *user)
{
	struct daemon *d = user;

	bind_dynmem_guard_blocks(d->dynmem);
}

/* What a host can see of a backup without asking for a file: after the thaw, when the receipt is there. */
static void publish_receipt(void *self, const json_t *receipt)
{
	struct daemon *d = self;

	bind_kvp_publish(d->kvp, json_object_get(receipt, "keys"));
}

/* With a stock kernel nothing has to be taken over for it. */
static int open_kvp(struct daemon *d)
{
	int r;

	if (!d->config.kvp)
		return 0;
	r = bind_kvp_new(d->base, &d->config, &d->connection, d->snapshot, &d->kvp);
	if (r)
		return r;
	receipts_watch(d->receipts, publish_receipt, d);
	return serves(&d->config, CONFIG_KVP) ? 0 : bind_kvp_use_device(d->kvp);
}

static int open_services(struct daemon *d)
{
	const struct bind_hotplug_context hotplug = {
		.base = d->base,
		.config = &d->config,
		.on_online = on_block_online,
		.user = d,
	};
	const struct bind_dynmem_context context = {
		.base = d->base,
		.config = &d->config,
		.connection = &d->connection,
		.jobs = d->jobs,
		.session = d->session,
		.is_holding = backup_is_holding,
		.backup = d->snapshot,
	};
	size_t n = 0;
	int r;

	r = bind_heartbeat_new(d->base, &d->connection, d->snapshot, &d->heartbeat);
	if (r)
		return fail("heartbeat", r);
	r = bind_shutdown_new(d->base, &d->config, &d->connection, d->snapshot, &d->shutdown);
	if (r)
		return fail("shutdown", r);
	r = bind_timesync_new(d->base, &d->config, &d->connection, &d->timesync);
	if (r)
		return fail("time synchronisation", r);
	r = bind_dynmem_new(&context, &d->dynmem);
	if (r)
		return fail("dynamic memory", r);
	r = bind_vss_new(d->base, &d->config, &d->connection, d->snapshot, &d->vss);
	if (r)
		return fail("backup", r);
	r = bind_manual_new(&d->config, d->snapshot, &d->manual);
	if (r)
		return fail("freezing by hand", r);
	r = bind_hotplug_new(&hotplug, &d->hotplug);
	if (r)
		return fail("hotplug", r);

	r = bind_fcopy_new(d->base, &d->config, &d->connection, d->snapshot, &d->fcopy);
	if (r)
		return fail("file copy", r);
	r = open_kvp(d);
	if (!r)
		r = api_kvp_new(d->base, d->kvp ? bind_kvp_store(d->kvp) : NULL, &d->pools);
	if (r)
		return fail("key-value exchange", r);
	r = bind_disks_new(d->base, &d->config, d->snapshot, &d->disks);
	if (r)
		return fail("disks", r);

	if (serves(&d->config, CONFIG_HEARTBEAT))
		d->services[n++] = bind_heartbeat_service(d->heartbeat);
	if (serves(&d->config, CONFIG_SHUTDOWN))
		d->services[n++] = bind_shutdown_service(d->shutdown);
	if (serves(&d->config, CONFIG_TIMESYNC))
		d->services[n++] = bind_timesync_service(d->timesync);
	if (serves(&d->config, CONFIG_VSS))
		d->services[n++] = bind_vss_service(d->vss);
	if (d->kvp && serves(&d->config, CONFIG_KVP))
		d->services[n++] = bind_kvp_service(d->kvp);
	if (serves_fcopy(&d->config))
		d->services[n++] = bind_fcopy_service(d->fcopy);
	if (serves_memory(&d->config))
		d->services[n++] = bind_dynmem_service(d->dynmem);
	/* With a stock kernel, backup needs nothing to be taken over. */
	if (!serves(&d->config, CONFIG_VSS)) {
		r = bind_vss_use_device(d->vss);
		if (r)
			return fail("backup", r);
	}
	if (bind_fcopy_wants_device(&d->config)) {
		r = bind_fcopy_use_device(d->fcopy);
		if (r)
			return fail("file copy", r);
	}
	d->api.services = d->services;
	d->api.n_services = n;
	return open_connection(d, n);
}

static void on_signal(evutil_socket_t number, short what, void *user)
{
	struct daemon *d = user;

	(void)what;
	d->hand_over = number == SIGUSR2 && session_kept(d->session);
	if (number == SIGUSR2 && !d->hand_over)
		log_notice("there is no session to hand over");
	if (d->hand_over)
		log_as(EVENT_HANDING_OVER, NULL, "handing over to the next hvguestd");
	else
		log_as(EVENT_ENDING, NULL, "ending (%s)", strsignal(number));
	event_base_loopbreak(d->base);
}

static int open_signals(struct daemon *d)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGUSR2};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		d->signals[i] = evsignal_new(d->base, numbers[i], on_signal, d);
		if (!d->signals[i] || event_add(d->signals[i], NULL) < 0)
			return fail("signals", -ENOMEM);
	}
	(void)signal(SIGPIPE, SIG_IGN);
	return EXIT_OK;
}

/* NULL: no memory. */
static struct event_base *make_event_loop(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	/* Otherwise libevent's clock is up to a tick of the kernel's behind: timers come as much early. */
	if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

static int start(struct daemon *d, int argc, char **argv)
{
	int r;

	r = look_for_host(&d->config);
	if (r)
		return r;
	look_at_capabilities(d);
	r = make_run_dir(&d->config);
	if (r)
		return r;

	d->base = make_event_loop();
	if (!d->base)
		return fail("event loop", -ENOMEM);
	r = snapshot_new(d->base, &d->config, &d->snapshot);
	if (r == SNAPSHOT_OTHER_DAEMON) {
		log_error("another hvguestd (or its freezer) has %s: stop it, or name another --run-dir",
			  d->config.run_dir);
		return EXIT_ERROR;
	}
	if (r)
		return fail_in_run_dir(&d->config, "the freezer's record", r);

	r = open_signals(d);
	if (r)
		return r;
	r = reload_new(d->base, argc, argv, &d->config, d->snapshot, &d->reload);
	if (r)
		return fail("reload", r);
	r = receipts_new(d->base, &d->config, &receipts_of_backups, &d->receipts);
	if (r)
		return fail("receipts", r);
	snapshot_keep_receipts(d->snapshot, d->receipts);
	r = jobs_new(d->base, &d->jobs);
	if (r)
		return fail("worker", r);
	r = serves_memory(&d->config) ? session_new(&d->config, &d->session) : 0;
	if (r)
		return fail("session", r);
	r = open_services(d);
	r = r ? r : open_api(d);
	if (r)
		return r;
	r = watchdog_new(d->base, &d->watchdog);
	return r ? fail("watchdog", r) : EXIT_OK;
}

/* @in_order: ends the session; else it goes on without us, if there is one. */
static void stop(struct daemon *d, bool in_order)
{
	/* The loop has ended, so nobody feeds the watchdog any more. */
	(void)!manager_tell("STOPPING=1", 0);
	d->watchdog = watchdog_free(d->watchdog);
	if (d->vss)
		bind_vss_stop(d->vss);
	if (d->snapshot)
		snapshot_stop(d->snapshot);
	d->httpd = httpd_free(d->httpd);
	d->events = events_free(d->events);
	d->connection = connection_free(d->connection);
	d->hotplug = bind_hotplug_free(d->hotplug);
	d->jobs = jobs_free(d->jobs);
	d->dynmem = bind_dynmem_free(d->dynmem);
	d->heartbeat = bind_heartbeat_free(d->heartbeat);
	d->shutdown = bind_shutdown_free(d->shutdown);
	d->fcopy = bind_fcopy_free(d->fcopy);
	d->disks = bind_disks_free(d->disks);
	d->timesync = bind_timesync_free(d->timesync);
	if (d->receipts)
		receipts_watch(d->receipts, NULL, NULL);
	d->kvp = bind_kvp_free(d->kvp);
	d->pools = api_kvp_free(d->pools);
	if (in_order)
		session_end(d->session);
	d->session = session_free(d->session);
	d->vss = bind_vss_free(d->vss);
	d->reload = reload_free(d->reload);
	d->snapshot = snapshot_free(d->snapshot);
	d->manual = bind_manual_free(d->manual);
	d->receipts = receipts_free(d->receipts);
	for (size_t i = 0; i < sizeof(d->signals) / sizeof(d->signals[0]); i++)
		if (d->signals[i])
			event_free(d->signals[i]);
	if (d->base)
		event_base_free(d->base);
	config_fini(&d->config);
}

/*
 * Ends as if killed, but for what is frozen: nothing that closes the channel or frees memory is done,
 * and the keeper finishes what is under way.
 */
static _Noreturn void hand_over(struct daemon *d)
{
	if (d->vss)
		bind_vss_stop(d->vss);
	if (d->snapshot)
		snapshot_stop(d->snapshot);
	(void)httpd_free(d->httpd);
	_exit(EXIT_OK);
}

/* Without a configuration too, in its usual place: nothing may stay frozen for a spelling mistake. */
static void recover(const struct config *config)
{
	struct freezer_result *results;
	size_t n;

	recover_first(config, &results, &n);
	log_open("hvguestd", config ? config->log_level : LOG_LEVEL_INFO);
	recover_tell(results, n);
	free(results);
}

int main(int argc, char **argv)
{
	struct daemon d = {0};
	int r;

	log_open("hvguestd", LOG_LEVEL_INFO);
	r = config_load(argc, argv, &d.config);
	if (r == CONFIG_DONE)
		return output_end("hvguestd", EXIT_OK);
	recover(r ? NULL : &d.config);
	if (r)
		return r == CONFIG_BAD_USAGE ? EXIT_USAGE : EXIT_ERROR;
	if (give_up_capabilities())
		return EXIT_ERROR;

	r = start(&d, argc, argv);
	if (r == EXIT_OK) {
		(void)!manager_tell("READY=1", READY_PATIENCE_MS);
		log_as(EVENT_READY, NULL, "ready as '%s'", d.config.name);
		if (event_base_dispatch(d.base) < 0)
			r = fail("event loop", -EIO);
		if (d.hand_over)
			hand_over(&d);
	}
	stop(&d, r == EXIT_OK);
	return r;
}
