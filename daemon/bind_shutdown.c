/* SPDX-License-Identifier: MIT */

/*
 * Shutdown, bound to the world.
 *
 * The host is answered first. A moment later, so that the answer has been read, file systems that
 * are held for a backup are thawed, for a machine that is frozen does not go down; and when nothing
 * is frozen any more the command is started that takes the machine down:
 *
 *     systemd-logind      asked over D-Bus (daemon/logind.h). Whoever inhibits that (a running upgrade,
 *                         say) is respected, unless the host forces it; users who are logged in are not
 *     forced, or without  systemctl poweroff, reboot or hibernate
 *     another init        shutdown -h or -r now; it is not asked to hibernate
 *     configured          the command, with "poweroff", "reboot" or "hibernate", and "force" if it is
 *
 * With a lab host nothing is done unless a command is configured, be it "default" for the first three:
 * the guest is this whole machine, and who tries the lab does not want to lose it.
 *
 * What fails or is inhibited is said, with the words of who failed or objected, and then the host may ask
 * again. What the host asks for while something else is being carried out comes after that; logind's
 * answer is not waited for then.
 */

#include "daemon/bind_shutdown.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "daemon/journal.h"
#include "daemon/ic_channel.h"
#include "daemon/logind.h"
#include "fsfreeze/hook_process.h"
#include "services/shutdown.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_NS     UINT64_C(200000000) /* for the host to read the answer */
#define THAW_CHECK_NS UINT64_C(50000000)

struct bind_shutdown {
	struct event_base *base;
	const struct config *config;
	struct snapshot *snapshot;
	struct ic_channel channel;
	struct shutdown core;
	struct event *timer;
	enum shutdown_kind doing; /* what the process or logind was asked for */
	bool overtaken;           /* by another request, which waits for the end of that */
	struct hook_process process;
	struct event *ended; /* of the process */
	struct logind *logind; /* is being asked; NULL: it is not */
};

static const char *const verbs[] = {
	[SHUTDOWN_POWER_OFF] = "poweroff",
	[SHUTDOWN_REBOOT] = "reboot",
	[SHUTDOWN_HIBERNATE] = "hibernate",
};

static const char *const logind_verbs[] = {
	[SHUTDOWN_POWER_OFF] = "PowerOff",
	[SHUTDOWN_REBOOT] = "Reboot",
	[SHUTDOWN_HIBERNATE] = "Hibernate",
};

static bool is_dry_run(const struct config *config)
{
	return config->lab_socket && !config->shutdown_command && !config->shutdown_by_init;
}

/* It is under way, or will not be. */
static void ended(struct bind_shutdown *b, bool well)
{
	if (well)
		log_notice("shutdown: %s is under way", shutdown_kind_name(b->doing));
	if (b->overtaken) {
		b->overtaken = false;
		timer_set(b->timer, clock_monotonic_ns());
	} else if (!well || b->doing == SHUTDOWN_HIBERNATE) {
		/* A machine that hibernated is here again; one that was inhibited may be asked again. */
		shutdown_ended(&b->core);
	}
}

static void on_ended(evutil_socket_t fd, short what, void *user)
{
	struct bind_shutdown *b = user;
	int status;

	(void)fd;
	(void)what;
	if (!hook_process_reap(&b->process, &status))
		return;
	event_free(b->ended);
	b->ended = NULL;
	if (status != 0)
		log_error("shutdown: the command for %s failed with status %d: %.*s",
			  shutdown_kind_name(b->doing), status,
			  (int)strcspn(b->process.output, "\n"), b->process.output);
	ended(b, status == 0);
}

enum {
	WORD_SIZE = 256,
	WORDS_MAX = 3,
};

static bool has_systemd(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}

/* Where logind was asked and is not there, nobody can inhibit anything; else systemctl has to look. */
#ifdef HAVE_SYSTEMD
static const char unforced[] = "";
#else
static const char unforced[] = "--check-inhibitors=yes"; /* since systemd 248; minds users, too */
#endif

/* The words of the command for the last request; an empty one ends it. */
static void make_command(const struct bind_shutdown *b, char words[WORDS_MAX][WORD_SIZE])
{
	const struct shutdown_request *last = &b->core.last;
	const char *command[WORDS_MAX] = {"/sbin/shutdown",
					  last->kind == SHUTDOWN_REBOOT ? "-r" : "-h", "now"};

	if (b->config->shutdown_command) {
		command[0] = b->config->shutdown_command;
		command[1] = verbs[last->kind];
		command[2] = last->force ? "force" : "";
	} else if (has_systemd()) {
		command[0] = "/bin/systemctl";
		command[1] = verbs[last->kind];
		command[2] = last->force ? "--ignore-inhibitors" : unforced;
	}
	for (size_t i = 0; i < WORDS_MAX; i++)
		snprintf(words[i], WORD_SIZE, "%s", command[i]);
}

static int run_command(struct bind_shutdown *b)
{
	char *environment[] = {
		(char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, NULL};
	char words[WORDS_MAX][WORD_SIZE], *argv[WORDS_MAX + 1] = {NULL};
	int r;

	make_command(b, words);
	for (size_t i = 0; i < WORDS_MAX && words[i][0] != '\0'; i++)
		argv[i] = words[i];
	r = hook_process_start(&b->process, argv, environment);
	if (r)
		return r;
	b->ended = event_new(b->base, b->process.end_fd, EV_READ | EV_PERSIST, on_ended, b);
	if (b->ended && event_add(b->ended, NULL) == 0)
		return 0;
	hook_process_leave(&b->process);
	return -ENOMEM;
}

static void run_or_complain(struct bind_shutdown *b)
{
	int r = run_command(b);

	if (r == 0)
		return;
	log_error("shutdown: the command cannot be run: %s", strerror(-r));
	ended(b, false);
}

static void on_logind(void *user, enum logind_end end, const char *what)
{
	struct bind_shutdown *b = user;
	const char *kind = shutdown_kind_name(b->doing);
	struct logind *l = steal_ptr(b->logind); /* which @what is a part of */

	switch (end) {
	case LOGIND_BEGUN:
		ended(b, true);
		break;
	case LOGIND_ABSENT:
		log_info("shutdown: systemd-logind cannot be asked (%s); using systemctl", what);
		run_or_complain(b);
		break;
	case LOGIND_INHIBITED:
		log_as(EVENT_SHUTDOWN_REFUSED, kind, "shutdown: %s is inhibited by %s: ask again, or force it",
		       kind, what);
		ended(b, false);
		break;
	case LOGIND_FAILED:
		log_as(EVENT_SHUTDOWN_REFUSED, kind, "shutdown: systemd-logind refuses %s: %s", kind, what);
		ended(b, false);
		break;
	}
	(void)logind_free(l);
}

static void go_down(struct bind_shutdown *b)
{
	const struct shutdown_request *last = &b->core.last;

	b->doing = last->kind;
	if (!b->config->shutdown_command && !last->force && has_systemd() &&
	    logind_ask(b->base, logind_verbs[last->kind], on_logind, b, &b->logind) == 0)
		return;
	run_or_complain(b);
}

/* The answer has been read: thaws, then goes down. */
static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct bind_shutdown *b = user;

	(void)fd;
	(void)what;
	if (snapshot_is_holding(b->snapshot)) {
		snapshot_abort(b->snapshot, "thawed because the machine goes down");
		timer_set(b->timer, clock_monotonic_ns() + THAW_CHECK_NS);
		return;
	}
	b->logind = logind_free(b->logind);
	b->overtaken = b->ended;
	if (b->overtaken)
		return;
	if (is_dry_run(b->config)) {
		log_notice("shutdown: nothing is done, because this is a lab; shutdown_command would be run");
		shutdown_ended(&b->core);
		return;
	}
	go_down(b);
}

/* Whether the beginning of a small file has @text. */
static bool file_has(const char *path, const char *text)
{
	char beginning[512];
	FILE *file = fopen(path, "re");
	size_t n = file ? fread(beginning, 1, sizeof(beginning) - 1, file) : 0;

	if (file)
		(void)fclose(file);
	beginning[n] = '\0';
	return strstr(beginning, text);
}

/*
 * As far as that can be told at once: by the kernel, and with swap to be written to. A device that is bound
 * to uio keeps the kernel from it: Linux drivers/hv/vmbus_drv.c.
 */
static bool can_hibernate(const struct config *config)
{
	if (!config->lab_socket)
		return false;
	if (config->shutdown_command)
		return true;
	return has_systemd() && file_has("/sys/power/state", "disk") && file_has("/proc/swaps", "\n/");
}

static void on_request(void *self, uint8_t *message, size_t size)
{
	struct bind_shutdown *b = self;
	const struct ic_version version = b->channel.ic.version;
	const struct shutdown_request *last = &b->core.last;
	int r;

	b->core.can_hibernate = can_hibernate(b->config);
	r = shutdown_receive(&b->core, message, size, version.major, version.minor);

	ic_channel_answer(&b->channel, r == 0 || r == SHUTDOWN_REPEATED ? IC_S_OK : IC_E_FAIL);
	if (r == SHUTDOWN_REPEATED)
		return;
	if (r) {
		log_warning("shutdown: refused what the host asked: %s", shutdown_condition_text(r));
		return;
	}
	log_as(EVENT_SHUTDOWN_ASKED, shutdown_kind_name(last->kind),
	       "shutdown: the host asks for %s%s, reason 0x%08x%s%s", shutdown_kind_name(last->kind),
	       last->force ? ", whoever objects" : "", last->reason, last->text[0] ? ": " : "",
	       last->text);
	timer_set(b->timer, clock_monotonic_ns() + ANSWER_NS);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
};

int bind_shutdown_new(struct event_base *base, const struct config *config,
		      struct connection *const *connection, struct snapshot *snapshot,
		      struct bind_shutdown **ret_binding)
{
	_cleanup_(cleanup_bind_shutdownp) struct bind_shutdown *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->config = config;
	b->snapshot = snapshot;
	ic_channel_init(&b->channel, base, connection, &ic_service_shutdown, &channel_ops, b);
	shutdown_init(&b->core, false);
	hook_process_init(&b->process);
	b->timer = event_new(base, -1, 0, on_timer, b);
	if (!b->timer)
		return -ENOMEM;

	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_shutdown *bind_shutdown_free(struct bind_shutdown *b)
{
	if (!b)
		return NULL;
	ic_channel_fini(&b->channel);
	if (b->ended)
		event_free(b->ended);
	hook_process_leave(&b->process);
	(void)logind_free(b->logind);
	if (b->timer)
		event_free(b->timer);
	free(b);
	return NULL;
}

struct service bind_shutdown_service(struct bind_shutdown *b)
{
	return ic_channel_service(&b->channel);
}

static json_t *last_request(const struct shutdown *core)
{
	const struct shutdown_request *last = &core->last;

	if (!core->has_last)
		return json_null();
	return json_pack("{s:s, s:b, s:I, s:s, s:b}", "kind", shutdown_kind_name(last->kind), "force",
			 last->force, "reason", (json_int_t)last->reason, "text", last->text,
			 "running", core->is_running);
}

json_t *bind_shutdown_status(const struct bind_shutdown *b)
{
	char version[16];

	return json_pack("{s:s, s:s*, s:b, s:I, s:I, s:o}", "channel",
			 ic_channel_state(&b->channel), "version",
			 ic_channel_version(&b->channel, version), "dry_run", is_dry_run(b->config),
			 "requests", (json_int_t)b->core.requests, "refused",
			 (json_int_t)(b->core.refused + b->core.malformed), "last",
			 last_request(&b->core));
}
