/* SPDX-License-Identifier: MIT */

/*
 * Live backup, bound to the world.
 *
 * The machine (vss/) says when to freeze and to thaw, the plan (fsfreeze/plan) what and in which
 * order, the freezer does it. This file carries between them, and keeps two promises. Before the
 * first file system is frozen everything that the backup needs is open, and the log writes to
 * memory only; from then until the last is thawed nothing here writes to a disk. And whatever ends
 * a freeze (the host, the deadline, a lost channel, a killed freezer), the machine learns of it
 * once and a receipt remains.
 */

#include "daemon/bind_vss.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "daemon/ic_channel.h"
#include "daemon/receipt.h"
#include "fsfreeze/freezer_client.h"
#include "fsfreeze/mounts.h"
#include "vss/vss.h"

#include <cap-ng.h>
#include <string.h>
#include <time.h>

#define RESPAWN_NS UINT64_C(1000000000)

/* What is held from FREEZE to the receipt. */
struct backup {
	bool active;
	uint64_t started_ns;  /* CLOCK_REALTIME */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC, as near as that tells */
	struct mounts *mounts;
	struct freeze_plan *plan;
	int *fds;    /* for each entry of the plan; -1: not opened */
	bool *given; /* for each entry of the plan: the freezer was given it */
};

struct bind_vss {
	struct event_base *base;
	const struct config *config;
	struct connection *const *connection;
	struct ic_channel channel;
	struct vss core;
	struct freezer_client *freezer;
	struct event *freezer_event;
	struct event *respawn;
	struct backup backup;
	const char *problem; /* why no backup can be made; NULL: one can */
	json_t *receipt;
};

static void perform(struct bind_vss *b);

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void set_problem(struct bind_vss *b, const char *problem)
{
	b->problem = problem;
	vss_set_available(&b->core, !problem);
	if (problem)
		log_warning("backup: %s", problem);
}

static void backup_release(struct backup *backup)
{
	for (size_t i = 0; backup->plan && backup->fds && i < backup->plan->n_entries; i++)
		close_fd(backup->fds[i]);
	free(backup->fds);
	free(backup->given);
	backup->plan = freeze_plan_free(backup->plan);
	backup->mounts = mounts_free(backup->mounts);
	*backup = (struct backup){0};
}

/* The backup is over: nothing is frozen any more (or ever was). */
static void finish(struct bind_vss *b, const char *result, bool consistent, bool has_results)
{
	const struct receipt_facts facts = {
		.started_ns = b->backup.started_ns,
		.result = result,
		.consistent = consistent,
		.plan = b->backup.plan,
		.freezer = has_results ? b->freezer : NULL,
		.given = b->backup.given,
	};

	json_decref(b->receipt);
	b->receipt = receipt_new(&facts);
	backup_release(&b->backup);
	log_release();
	if (consistent)
		log_notice("backup: %s", result);
	else
		log_warning("backup: %s", result);
}

static int make_plan(struct bind_vss *b)
{
	struct backup *backup = &b->backup;
	const struct freeze_rules rules = {
		.all = b->config->freeze_all,
		.roots = (const char *const *)b->config->freeze_roots,
		.n_roots = b->config->n_freeze_roots,
	};
	int r;

	r = mounts_new(&backup->mounts);
	if (r)
		return r;
	r = freeze_plan_new(backup->mounts->entries, backup->mounts->n_entries, &rules,
			    &backup->plan);
	if (r)
		return r;

	backup->fds = malloc(backup->plan->n_entries * sizeof(*backup->fds));
	backup->given = calloc(backup->plan->n_entries, sizeof(*backup->given));
	if (!backup->fds || !backup->given)
		return -ENOMEM;
	for (size_t i = 0; i < backup->plan->n_entries; i++)
		backup->fds[i] = -1;
	return 0;
}

/* Opens what is to be frozen; what was unmounted meanwhile needs no freezing. */
static int open_plan(struct backup *backup)
{
	for (size_t i = 0; i < backup->plan->n_entries; i++) {
		const struct freeze_plan_entry *entry = &backup->plan->entries[i];
		int r;

		if (entry->verdict != FREEZE_VERDICT_FREEZE)
			continue;
		r = mounts_open_entry(entry, &backup->fds[i]);
		if (r < 0)
			return r;
		backup->given[i] = r == 0;
	}
	return 0;
}

static int start_freeze(struct bind_vss *b)
{
	struct backup *backup = &b->backup;
	struct freezer_target targets[FREEZE_PLAN_MAX];
	size_t n = 0;

	for (size_t i = 0; i < backup->plan->n_entries; i++) {
		const struct freeze_mount *mount = backup->plan->entries[i].mount;

		if (!backup->given[i])
			continue;
		targets[n++] = (struct freezer_target){
			.target = mount->target,
			.type = mount->type,
			.device = mount->device,
			.mount_id = mount->mount_id,
			.fd = backup->fds[i],
		};
	}
	return freezer_client_freeze(b->freezer, targets, n, b->config->freeze_timeout_ns);
}

/* NULL if the freezer is at work, else why not. */
static const char *try_freeze(struct bind_vss *b)
{
	int r;

	r = make_plan(b);
	if (r == FREEZE_PLAN_TOO_MANY)
		return "there are more than 512 file systems to freeze";
	if (r)
		return r < 0 ? strerror(-r) : "freeze_roots must be absolute paths";
	if (b->backup.plan->n_freeze == 0)
		return "no mounted file system may be frozen: freeze_roots (--freeze-roots) allows none";
	r = open_plan(&b->backup);
	if (r)
		return strerror(-r);

	log_hold();
	r = start_freeze(b);
	switch (r) {
	case 0:
		return NULL;
	case FREEZER_CLIENT_DOWN:
		return "the freezer is not running";
	case FREEZER_CLIENT_UNFINISHED:
		return "the last freeze has not ended";
	case FREEZER_CLIENT_LONG_TARGET:
		return "a mount point's path is too long for the record";
	default:
		return r < 0 ? strerror(-r) : "there are too many file systems to freeze";
	}
}

static void do_freeze(struct bind_vss *b)
{
	const char *why;
	char result[256];

	backup_release(&b->backup);
	b->backup.active = true;
	b->backup.started_ns = realtime_ns();
	b->backup.deadline_ns = clock_monotonic_ns() + b->config->freeze_timeout_ns;
	why = try_freeze(b);
	if (!why)
		return;

	snprintf(result, sizeof(result), "nothing was frozen: %s", why);
	finish(b, result, false, false);
	vss_complete_freeze(&b->core, false, clock_monotonic_ns());
}

static void do_thaw(struct bind_vss *b)
{
	if (b->freezer && freezer_client_is_active(b->freezer))
		freezer_client_thaw(b->freezer);
	else
		vss_complete_thaw(&b->core, true, clock_monotonic_ns());
}

static void do_answer(struct bind_vss *b, const struct vss_action *action)
{
	size_t size;
	uint8_t *message = ic_channel_request(&b->channel, &size);

	if (!message)
		return;
	vss_apply_answer(action, message, size);
	ic_channel_answer(&b->channel, action->status);
}

/* What a host could make us say as often as it likes is said once. */
static void tell_note(const struct bind_vss *b, const struct vss_action *action)
{
	if (action->note == VSS_NOTE_ENDED_EARLY || b->core.stats.notes[action->note] == 1)
		log_notice("backup: %s (%s)", vss_note_name(action->note),
			   vss_reason_name(action->reason));
}

/* Performs what the machine wants done. */
static void perform(struct bind_vss *b)
{
	struct vss_action action;

	while (vss_next_action(&b->core, &action)) {
		switch (action.type) {
		case VSS_ACTION_FREEZE:
			do_freeze(b);
			break;
		case VSS_ACTION_THAW:
			do_thaw(b);
			break;
		case VSS_ACTION_ANSWER:
			do_answer(b, &action);
			break;
		case VSS_ACTION_NOTE:
			tell_note(b, &action);
			break;
		}
	}
}

static void on_failed(struct bind_vss *b, const struct freezer_event *e)
{
	struct freezer_result r = {.target = "a file system"};
	char result[FREEZER_TARGET_SIZE + 128];

	if (e->failed < freezer_client_n_results(b->freezer))
		freezer_client_result(b->freezer, e->failed, &r);
	snprintf(result, sizeof(result), "nothing is frozen: %s could not be frozen: %s", r.target,
		 strerror(e->error));
	finish(b, result, false, true);
	vss_complete_freeze(&b->core, false, clock_monotonic_ns());
}

/* The text and the machine's reason for a thaw that the freezer made. */
static const char *thaw_text(enum freezer_reason reason, enum vss_reason *ret_reason)
{
	*ret_reason = VSS_REASON_FREEZER;
	switch (reason) {
	case FREEZER_REASON_DEADLINE:
		*ret_reason = VSS_REASON_DEADLINE;
		return "thawed at the deadline: the host did not ask for it in time";
	case FREEZER_REASON_SIGNAL:
		return "thawed because the freezer was told to stop by a signal";
	case FREEZER_REASON_ASKED:
		return "thawed as the host asked";
	case FREEZER_REASON_FREEZER_LOST:
		return "thawed by hvguestd because the freezer died";
	case FREEZER_REASON_NONE:
	case FREEZER_REASON_DAEMON_LOST:
	case FREEZER_REASON_FAILED:
	case FREEZER_REASONS:
		break;
	}
	return "thawed for an unknown reason";
}

/* Why the machine wanted the thaw, when it was not the host. */
static const char *asked_text(const struct bind_vss *b)
{
	switch (b->core.thaw_reason) {
	case VSS_REASON_HOST:
		return "thawed as the host asked";
	case VSS_REASON_NEGOTIATE:
		return "thawed because the host started over";
	case VSS_REASON_OVERTAKEN:
		return "thawed because the host asked for something else meanwhile";
	case VSS_REASON_CHANNEL:
		return "thawed because the host or its channel was lost";
	case VSS_REASON_DAEMON_STOP:
		return "thawed because hvguestd stops";
	case VSS_REASON_DEADLINE:
	case VSS_REASON_FREEZER:
	case VSS_REASONS:
		break;
	}
	return "thawed";
}

static void on_thawed(struct bind_vss *b, const struct freezer_event *e)
{
	bool asked = e->reason == FREEZER_REASON_ASKED && b->core.state == VSS_THAWING;
	bool whole = e->n_stuck == 0 && e->n_foreign_thaws == 0 && e->n_pending == 0;
	uint64_t now = clock_monotonic_ns();
	enum vss_reason reason;
	const char *result = thaw_text(e->reason, &reason);

	if (asked)
		result = asked_text(b);
	if (e->n_stuck > 0)
		result = "a file system refuses to be thawed: see the receipt";
	else if (e->n_foreign_thaws > 0)
		result = "somebody else thawed a file system before the host asked";

	finish(b, result, asked && whole && b->core.thaw_reason == VSS_REASON_HOST, true);
	if (asked)
		vss_complete_thaw(&b->core, whole, now);
	else
		vss_thawed_early(&b->core, reason, now);
}

static void on_lost(struct bind_vss *b, const struct freezer_event *e)
{
	enum vss_reason reason;

	if (e->was_frozen) {
		finish(b, thaw_text(FREEZER_REASON_FREEZER_LOST, &reason), false, true);
		vss_thawed_early(&b->core, VSS_REASON_FREEZER, clock_monotonic_ns());
	}
	set_problem(b, "the freezer has died; starting it again");
	timer_set(b->respawn, clock_monotonic_ns());
}

static void on_freezer(evutil_socket_t fd, short what, void *user)
{
	struct bind_vss *b = user;
	struct freezer_event e;

	(void)fd;
	(void)what;
	while (freezer_client_dispatch(b->freezer, &e) == 0) {
		switch (e.type) {
		case FREEZER_EVENT_FROZEN:
			vss_complete_freeze(&b->core, true, clock_monotonic_ns());
			break;
		case FREEZER_EVENT_FAILED:
			on_failed(b, &e);
			break;
		case FREEZER_EVENT_THAWED:
			on_thawed(b, &e);
			break;
		case FREEZER_EVENT_LOST:
			on_lost(b, &e);
			break;
		}
		perform(b);
	}
}

static void on_respawn(evutil_socket_t fd, short what, void *user)
{
	struct bind_vss *b = user;

	(void)fd;
	(void)what;
	if (freezer_client_respawn(b->freezer) == 0) {
		log_notice("backup: the freezer runs again");
		set_problem(b, NULL);
	} else {
		timer_set(b->respawn, clock_monotonic_ns() + RESPAWN_NS);
	}
}

static void on_request(void *self, uint8_t *message, size_t size)
{
	struct bind_vss *b = self;

	vss_receive(&b->core, message, size, clock_monotonic_ns());
	perform(b);
}

static void abort_backup(struct bind_vss *b, enum vss_reason reason)
{
	vss_abort(&b->core, reason, clock_monotonic_ns());
	perform(b);
}

void bind_vss_stop(struct bind_vss *b)
{
	abort_backup(b, VSS_REASON_DAEMON_STOP);
}

static void on_negotiated(void *self)
{
	abort_backup(self, VSS_REASON_NEGOTIATE);
}

static void on_overtaken(void *self)
{
	abort_backup(self, VSS_REASON_OVERTAKEN);
}

static void on_corrupt(void *self)
{
	struct bind_vss *b = self;

	connection_close_channel(*b->connection, b, true);
}

static const struct ic_channel_user channel_ops = {
	.on_request = on_request,
	.on_negotiated = on_negotiated,
	.on_overtaken = on_overtaken,
	.on_corrupt = on_corrupt,
};

/* Says what a predecessor left frozen, and what became of it. */
static void tell_recovered(const struct bind_vss *b)
{
	const struct freezer_result *recovered;
	size_t n;

	recovered = freezer_client_recovered(b->freezer, &n);
	for (size_t i = 0; i < n; i++) {
		const struct freezer_result *r = &recovered[i];

		if (r->state != FREEZER_ENTRY_THAWED)
			log_error("backup: %s was left frozen and cannot be thawed: %s: thaw it by 'fsfreeze -u %s'",
				  r->target, strerror(r->error), r->target);
		else
			log_warning("backup: %s %s", r->target,
				    r->error ? "was in an unfinished backup, and is not frozen"
					     : "was left frozen by a predecessor; it is thawed");
	}
}

static int start_freezer(struct bind_vss *b)
{
	const struct freezer_client_config config = {
		.helper = b->config->freezer,
		.run_dir = b->config->run_dir,
	};
	int r;

	r = freezer_client_new(&config, &b->freezer);
	switch (r) {
	case 0:
		tell_recovered(b);
		return 0;
	case FREEZER_CLIENT_BUSY:
		return BIND_VSS_BUSY;
	case FREEZER_CLIENT_NOT_IN_MEMORY:
		set_problem(b, "no backups: the run directory is not on a tmpfs, where the "
			       "freezer's record must be: name one that is (run_dir, --run-dir)");
		return 0;
	case FREEZER_CLIENT_NO_HELPER:
		set_problem(b, "no backups: the freezer does not start: "
			       "check the helper program (freezer, --freezer)");
		return 0;
	default:
		return r;
	}
}

static int set_up(struct bind_vss *b)
{
	int r = 0;

	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN))
		r = start_freezer(b);
	else
		set_problem(b, "no backups: freezing needs CAP_SYS_ADMIN: run as root");
	if (r)
		return r;
	b->respawn = event_new(b->base, -1, 0, on_respawn, b);
	if (!b->respawn)
		return -ENOMEM;
	if (!b->freezer)
		return 0;

	b->freezer_event = event_new(b->base, freezer_client_fd(b->freezer), EV_READ | EV_PERSIST,
				     on_freezer, b);
	if (!b->freezer_event || event_add(b->freezer_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

int bind_vss_new(struct event_base *base, const struct config *config,
		 struct connection *const *connection, struct bind_vss **ret_binding)
{
	_cleanup_(cleanup_bind_vssp) struct bind_vss *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->base = base;
	b->config = config;
	b->connection = connection;
	vss_init(&b->core);
	ic_channel_init(&b->channel, &ic_service_vss, &channel_ops, b);
	r = set_up(b);
	if (r)
		return r;

	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_vss *bind_vss_free(struct bind_vss *b)
{
	if (!b)
		return NULL;
	ic_channel_close(&b->channel);
	if (b->freezer_event)
		event_free(b->freezer_event);
	if (b->respawn)
		event_free(b->respawn);
	b->freezer = freezer_client_free(b->freezer);
	backup_release(&b->backup);
	log_release();
	json_decref(b->receipt);
	free(b);
	return NULL;
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct bind_vss *b = self;

	if (ic_channel_open(&b->channel, b->base, take_port))
		connection_close_channel(*b->connection, b, true);
}

static void close_channel(void *self, const char *why)
{
	struct bind_vss *b = self;

	(void)why;
	ic_channel_close(&b->channel);
	abort_backup(b, VSS_REASON_CHANNEL);
}

struct service bind_vss_service(struct bind_vss *b)
{
	return (struct service){
		.name = "vss",
		.class_id = &vmbus_class_vss,
		.self = b,
		.open = open_channel,
		.close = close_channel,
	};
}

bool bind_vss_is_holding(const struct bind_vss *b)
{
	return b->backup.active;
}

json_t *bind_vss_status(const struct bind_vss *b)
{
	uint64_t now = clock_monotonic_ns();
	char version[16];
	json_t *status;

	status = json_pack("{s:s, s:s*, s:s, s:s*, s:f, s:I, s:I, s:I, s:i}", "channel",
			   connection_channel_state(*b->connection, b), "version",
			   ic_channel_version(&b->channel, version), "state",
			   vss_state_name(b->core.state), "problem", b->problem,
			   "freeze_timeout_seconds", b->config->freeze_timeout_ns / 1e9, "freezes",
			   (json_int_t)b->core.stats.freezes, "ended_early",
			   (json_int_t)b->core.stats.ended_early, "malformed",
			   (json_int_t)b->channel.ic.stats.malformed, "freezer_pid",
			   b->freezer ? freezer_client_helper_pid(b->freezer) : 0);
	if (status && b->backup.active && b->backup.deadline_ns > now)
		json_object_set_new(status, "remaining_seconds",
				    json_real((b->backup.deadline_ns - now) / 1e9));
	if (status)
		json_object_set_new(status, "last", bind_vss_receipt(b));
	return status;
}

json_t *bind_vss_receipt(const struct bind_vss *b)
{
	return b->receipt ? json_incref(b->receipt) : json_null();
}
