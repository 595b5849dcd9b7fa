/* SPDX-License-Identifier: MIT */

/*
 * Holding this machine still.
 *
 *            freeze               hooks hold            FROZEN             thaw
 *      IDLE ---------> PREPARING ------------> FREEZING -------> FROZEN ---------> THAWING
 *       ^                  |                     |   |             |                  |
 *       |                  | a hook failed, thaw |   | thaw        | ended by itself  | THAWED
 *       |                  |              FAILED |   +-> THAWING   |                  |
 *       |                  v                     v                 v                  v
 *       +------------- RETURNING <---------------+-----------------+------------------+
 *         all are back
 *
 * The plan (fsfreeze/plan) says what to freeze and in which order, the freezer does it, hooks and
 * the clients of the notify socket are told before and after; this file carries between them, and keeps two promises. Before the first
 * file system is frozen everything that is needed is open, no hook runs, and the log writes to
 * memory only; from then until the last is thawed nothing here starts a program or writes to a
 * disk. And whatever ends a freeze (whoever asked for it, the deadline, a killed freezer), its user
 * learns of it once and a receipt remains.
 *
 * The user is told as soon as nothing is frozen any more, before the hooks are called back: a host
 * waits for that, and not for hooks. A new freeze that comes meanwhile waits for the end.
 */

#include "daemon/snapshot.h"

#include "base/clock.h"
#include "base/confine.h"
#include "base/jobs.h"
#include "daemon/bind_hooks.h"
#include "daemon/bind_notify.h"
#include "daemon/journal.h"
#include "daemon/freeze_set.h"
#include "daemon/receipt.h"
#include "daemon/receipts.h"
#include "daemon/recover.h"

#include <linux/capability.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define RESPAWN_NS UINT64_C(1000000000)

enum {
	STOP_TIMEOUT_S = 60, /* how long hooks are waited for when the daemon ends */
	WATCHERS_MAX = 4,
	NOTES_MAX = 8,
};

enum phase {
	PHASE_IDLE,
	PHASE_PREPARING,
	PHASE_FREEZING,
	PHASE_FROZEN,
	PHASE_THAWING,
	PHASE_RETURNING,
	PHASES,
};

static const char *const phase_names[] = {
	[PHASE_IDLE] = "idle",         [PHASE_PREPARING] = "preparing",
	[PHASE_FREEZING] = "freezing", [PHASE_FROZEN] = "frozen",
	[PHASE_THAWING] = "thawing",   [PHASE_RETURNING] = "returning",
};
static_assert(sizeof(phase_names) / sizeof(phase_names[0]) == PHASES, "");

#define TO(phase) (1u << PHASE_##phase)

static const uint32_t allowed_phases[] = {
	[PHASE_IDLE] = TO(PREPARING) | TO(RETURNING),
	[PHASE_PREPARING] = TO(FREEZING) | TO(RETURNING),
	[PHASE_FREEZING] = TO(FROZEN) | TO(THAWING) | TO(RETURNING),
	[PHASE_FROZEN] = TO(THAWING) | TO(RETURNING),
	[PHASE_THAWING] = TO(RETURNING),
	[PHASE_RETURNING] = TO(IDLE),
};
static_assert(sizeof(allowed_phases) / sizeof(allowed_phases[0]) == PHASES, "");

/* Who wants the machine held, and for how long. */
struct wish {
	const struct snapshot_user *user; /* NULL: nobody, or it must not be called any more */
	void *self;
	uint64_t timeout_ns;
};

/* What is held from the wish to the receipt. */
struct work {
	uint64_t started_ns;  /* CLOCK_REALTIME */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC, as near as that tells */
	bool counting; /* the deadline is set: something is frozen or about to be */
	struct freeze_set set;
	const char *why_thawed; /* of snapshot_thaw() */
	bool wanted;
	const char *notes[NOTES_MAX]; /* of snapshot_note() */
	size_t n_notes;
	json_t *receipt; /* from the thaw on: all of it but the hooks */
};

struct snapshot {
	struct event_base *base;
	const struct config *config;
	struct freezer_client *freezer;
	struct event *freezer_event;
	struct event *respawn;
	enum phase phase;
	struct bind_hooks *hooks;
	struct bind_notify *notify;
	struct wish now;
	struct wish last; /* of the one that is over but for its hooks */
	struct wish next; /* waits until they are back */
	struct receipts *receipts; /* NULL: nothing is kept */
	struct watcher {
		void (*on_change)(void *self);
		void *self;
	} watchers[WATCHERS_MAX];
	size_t n_watchers;
	struct work work;
	const char *problem; /* why nothing can be frozen; NULL: it can */
	bool holds_cores;
	rlim_t core_limit; /* what it is when nothing is frozen */
};

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void tell_change(struct snapshot *s)
{
	for (size_t i = 0; i < s->n_watchers; i++)
		s->watchers[i].on_change(s->watchers[i].self);
}

static void set_phase(struct snapshot *s, enum phase phase)
{
	bool was_holding = snapshot_is_holding(s);

	assert(allowed_phases[s->phase] & (1u << phase));
	s->phase = phase;
	if (snapshot_is_holding(s) != was_holding)
		tell_change(s);
}

static void set_problem(struct snapshot *s, const char *problem)
{
	s->problem = problem;
	if (problem)
		log_as(EVENT_BACKUP_IMPOSSIBLE, NULL, "backup: %s", problem);
	tell_change(s);
}

/*
 * A core is written before the kernel tells anybody that the process is dead, perhaps to what is frozen,
 * or to a program that writes there. Then nobody would thaw before the deadline. A limit of 1 keeps it
 * from files and from programs (Linux fs/coredump.c, do_coredump()); 0 only from files.
 */
static void hold_cores(struct snapshot *s)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) < 0 || limit.rlim_max < 1)
		return;
	s->core_limit = limit.rlim_cur;
	limit.rlim_cur = 1;
	s->holds_cores = setrlimit(RLIMIT_CORE, &limit) == 0;
}

static void release_cores(struct snapshot *s)
{
	struct rlimit limit;

	if (!s->holds_cores || getrlimit(RLIMIT_CORE, &limit) < 0)
		return;
	limit.rlim_cur = s->core_limit;
	(void)setrlimit(RLIMIT_CORE, &limit);
	s->holds_cores = false;
}

static void work_release(struct work *work)
{
	freeze_set_close(&work->set);
	json_decref(work->receipt);
	*work = (struct work){0};
}

static void begin(struct snapshot *s, const struct wish *wish);

/* There were applications to hold, and all of them did. */
static bool applications_held(const struct snapshot *s)
{
	size_t n = bind_hooks_count(s->hooks) + bind_notify_count(s->notify);

	return n > 0 && bind_hooks_count_failed(s->hooks) + bind_notify_count_failed(s->notify) == 0;
}

/* All hooks are back: the end. */
static void on_back(void *self)
{
	struct snapshot *s = self;
	const struct wish last = s->last;
	struct wish next;

	if (s->phase != PHASE_RETURNING)
		return;
	if (s->work.receipt) {
		receipt_complete(s->work.receipt, bind_hooks_report(s->hooks),
				 bind_notify_report(s->notify), applications_held(s));
		if (s->receipts)
			receipts_add(s->receipts, steal_ptr(s->work.receipt));
	}
	work_release(&s->work);
	if (last.user && last.user->on_over)
		last.user->on_over(last.self);
	set_phase(s, PHASE_IDLE);
	next = s->next;
	s->last = s->next = (struct wish){0};
	if (next.user)
		begin(s, &next);
	else
		tell_change(s);
}

/* Nothing is frozen any more, or ever was: tells the user, and calls the hooks back. */
static void finish(struct snapshot *s, enum snapshot_end end, const char *result, bool whole,
		   bool has_results)
{
	const struct wish was = s->now;
	bool held = end == SNAPSHOT_END_ASKED && whole && s->work.wanted; /* what was frozen at all */
	const struct receipt_facts facts = {
		.requester = was.user ? was.user->name : "hvguestd",
		.started_ns = s->work.started_ns,
		.result = result,
		.failed = end == SNAPSHOT_END_FAILED,
		.consistent = held,
		.plan = s->work.set.plan,
		.freezer = has_results ? s->freezer : NULL,
		.given = s->work.set.given,
		.errors = s->work.set.errors,
		.notes = s->work.notes,
		.n_notes = s->work.n_notes,
	};
	struct snapshot_outcome outcome = {.end = end, .whole = whole, .result = result};

	s->now = (struct wish){0};
	s->last = was;
	s->work.receipt = receipt_new(&facts);
	if (s->work.receipt) {
		outcome.consistent = json_is_true(json_object_get(s->work.receipt, "consistent"));
		outcome.result = json_string_value(json_object_get(s->work.receipt, "result"));
	}
	s->work.counting = false;
	freeze_set_close(&s->work.set);
	release_cores(s);
	log_release();
	log_as(outcome.consistent ? EVENT_BACKUP_CONSISTENT : EVENT_BACKUP_NOT_CONSISTENT,
	       facts.requester, "backup: %s", outcome.result);
	set_phase(s, PHASE_RETURNING);
	if (was.user)
		was.user->on_thawed(was.self, &outcome);
	bind_notify_back(s->notify, held ? NOTIFY_THAW : NOTIFY_ABORT);
	bind_hooks_back(s->hooks, held ? HOOK_THAW : HOOK_ABORT);
}

/* NULL if the freezer is at work, else why not. The plan is made anew: hooks take their time. */
static const char *try_freeze(struct snapshot *s)
{
	const char *why = s->problem ?: freeze_set_plan(&s->work.set, s->config);

	why = why ?: freeze_set_open(&s->work.set);
	if (why)
		return why;
	log_hold();
	hold_cores(s);
	s->work.counting = true;
	s->work.deadline_ns = clock_monotonic_ns() + s->now.timeout_ns;
	return freeze_set_start(&s->work.set, s->freezer, s->now.timeout_ns);
}

static void nothing_frozen(struct snapshot *s, const char *why)
{
	char result[FREEZER_TARGET_SIZE + 160];

	snprintf(result, sizeof(result), "nothing was frozen: %s", why);
	finish(s, SNAPSHOT_END_FAILED, result, false, false);
}

/* All that were to be told of the freeze hold, or one that must does not. */
static void on_clients_ready(void *self, const char *why)
{
	struct snapshot *s = self;

	if (s->phase != PHASE_PREPARING)
		return;
	if (!why) {
		set_phase(s, PHASE_FREEZING);
		why = try_freeze(s);
	}
	if (why)
		nothing_frozen(s, why);
}

/* All hooks hold, or one does not. */
static void on_hooks_ready(void *self, const char *why)
{
	struct snapshot *s = self;

	if (s->phase != PHASE_PREPARING)
		return;
	if (why)
		nothing_frozen(s, why);
	else
		bind_notify_freeze(s->notify);
}

/* Begins, unless it is plain already that nothing can be frozen: then no hook is called. */
static void begin(struct snapshot *s, const struct wish *wish)
{
	char devices[8192];
	const char *why;

	s->now = *wish;
	s->work.started_ns = realtime_ns();
	set_phase(s, PHASE_PREPARING);
	why = s->problem ?: freeze_set_plan(&s->work.set, s->config);
	if (why) {
		nothing_frozen(s, why);
		return;
	}
	freeze_set_devices(&s->work.set, devices, sizeof(devices));
	bind_hooks_freeze(s->hooks, wish->timeout_ns, devices);
}

int snapshot_freeze(struct snapshot *s, const struct snapshot_user *user, void *self,
		    uint64_t timeout_ns)
{
	const struct wish wish = {.user = user, .self = self, .timeout_ns = timeout_ns};

	if (s->phase != PHASE_IDLE && (s->phase != PHASE_RETURNING || s->next.user))
		return SNAPSHOT_IN_USE;
	if (s->phase == PHASE_IDLE)
		begin(s, &wish);
	else
		s->next = wish;
	return 0;
}

/* What waited for its turn is not wanted any more. */
static void cancel_next(struct snapshot *s)
{
	static const struct snapshot_outcome given_up = {
		.end = SNAPSHOT_END_ASKED,
		.whole = true,
		.result = "given up before its turn came",
	};
	const struct wish next = s->next;

	s->next = (struct wish){0};
	if (next.user)
		next.user->on_thawed(next.self, &given_up);
}

void snapshot_thaw(struct snapshot *s, const void *self, const char *why, bool wanted)
{
	if (s->next.user && s->next.self == self) {
		cancel_next(s);
		return;
	}
	if (!s->now.user || s->now.self != self)
		return;
	switch (s->phase) {
	case PHASE_PREPARING:
		finish(s, SNAPSHOT_END_ASKED, why, true, false);
		break;
	case PHASE_FREEZING:
	case PHASE_FROZEN:
		s->work.why_thawed = why;
		s->work.wanted = wanted && s->phase == PHASE_FROZEN;
		set_phase(s, PHASE_THAWING);
		freezer_client_thaw(s->freezer);
		break;
	case PHASE_IDLE:
	case PHASE_THAWING:
	case PHASE_RETURNING:
	case PHASES:
		break;
	}
}

void snapshot_note(struct snapshot *s, const void *self, const char *note)
{
	struct work *work = &s->work;

	if (!s->now.user || s->now.self != self || work->n_notes == NOTES_MAX)
		return;
	for (size_t i = 0; i < work->n_notes; i++)
		if (work->notes[i] == note)
			return;
	work->notes[work->n_notes++] = note;
}

void snapshot_abort(struct snapshot *s, const char *why)
{
	cancel_next(s);
	snapshot_thaw(s, s->now.self, why, false);
}

void snapshot_stop(struct snapshot *s)
{
	struct timeval limit = {.tv_sec = STOP_TIMEOUT_S};
	uint64_t end_ns = clock_monotonic_ns() + (uint64_t)STOP_TIMEOUT_S * 1000000000u;

	s->problem = "hvguestd ends";
	tell_change(s);
	snapshot_abort(s, "thawed because hvguestd stops");
	if (s->phase == PHASE_IDLE)
		return;
	(void)event_base_loopexit(s->base, &limit);
	while (s->phase != PHASE_IDLE && clock_monotonic_ns() < end_ns)
		(void)event_base_loop(s->base, EVLOOP_ONCE);
	if (s->phase != PHASE_IDLE)
		log_error("backup: hooks do not end; the next hvguestd calls back what they hold");
}

static void on_frozen(struct snapshot *s)
{
	if (s->phase != PHASE_FREEZING)
		return;
	set_phase(s, PHASE_FROZEN);
	if (s->now.user)
		s->now.user->on_frozen(s->now.self);
}

/* The first file system that a thread is still freezing, or has just come too late from; false: none. */
static bool find_late(const struct snapshot *s, struct freezer_result *ret_result)
{
	size_t n = freezer_client_n_results(s->freezer);

	for (size_t i = 0; i < n; i++) {
		freezer_client_result(s->freezer, i, ret_result);
		if (ret_result->state == FREEZER_ENTRY_FREEZING ||
		    ret_result->state == FREEZER_ENTRY_THAWING)
			return true;
	}
	return false;
}

static void on_failed(struct snapshot *s, const struct freezer_event *e)
{
	char result[FREEZER_TARGET_SIZE + 128];
	struct freezer_result r;

	if (e->failed < freezer_client_n_results(s->freezer)) {
		freezer_client_result(s->freezer, e->failed, &r);
		snprintf(result, sizeof(result), "nothing is frozen: %s could not be frozen: %s",
			 r.target, strerror(e->error));
	} else if (find_late(s, &r)) {
		snprintf(result, sizeof(result), "nothing is frozen: the kernel had not frozen %s by the "
			 "deadline", r.target);
	} else {
		snprintf(result, sizeof(result), "nothing is frozen: not everything could be frozen: %s",
			 strerror(e->error));
	}
	finish(s, SNAPSHOT_END_FAILED, result, false, true);
}

/* Why and how a thaw that the freezer made by itself came. */
static const char *thaw_text(enum freezer_reason reason, enum snapshot_end *ret_end)
{
	*ret_end = SNAPSHOT_END_FREEZER;
	switch (reason) {
	case FREEZER_REASON_DEADLINE:
		*ret_end = SNAPSHOT_END_DEADLINE;
		return "thawed at the deadline: nobody asked for it in time";
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

static void on_thawed(struct snapshot *s, const struct freezer_event *e)
{
	bool asked = e->reason == FREEZER_REASON_ASKED && s->phase == PHASE_THAWING;
	bool whole = e->n_stuck == 0 && e->n_foreign_thaws == 0 && e->n_pending == 0;
	enum snapshot_end end;
	const char *result = thaw_text(e->reason, &end);

	if (asked) {
		result = s->work.why_thawed;
		end = SNAPSHOT_END_ASKED;
	}
	if (e->n_stuck > 0)
		result = "a file system refuses to be thawed: see the receipt";
	else if (e->n_foreign_thaws > 0)
		result = "somebody else thawed a file system too early";
	finish(s, end, result, whole, true);
}

static void on_lost(struct snapshot *s, const struct freezer_event *e)
{
	enum snapshot_end end;
	const char *result = thaw_text(FREEZER_REASON_FREEZER_LOST, &end);

	if (e->was_frozen)
		finish(s, end, result, false, true);
	set_problem(s, "the freezer has died; starting it again");
	timer_set(s->respawn, clock_monotonic_ns());
}

static void on_freezer(evutil_socket_t fd, short what, void *user)
{
	struct snapshot *s = user;
	struct freezer_event e;

	(void)fd;
	(void)what;
	while (freezer_client_dispatch(s->freezer, &e) == 0) {
		switch (e.type) {
		case FREEZER_EVENT_FROZEN:
			on_frozen(s);
			break;
		case FREEZER_EVENT_FAILED:
			on_failed(s, &e);
			break;
		case FREEZER_EVENT_THAWED:
			on_thawed(s, &e);
			break;
		case FREEZER_EVENT_LOST:
			on_lost(s, &e);
			break;
		}
	}
}

static void on_respawn(evutil_socket_t fd, short what, void *user)
{
	struct snapshot *s = user;

	(void)fd;
	(void)what;
	if (freezer_client_respawn(s->freezer) == 0) {
		log_as(EVENT_BACKUP_POSSIBLE, NULL, "backup: the freezer runs again");
		set_problem(s, NULL);
	} else {
		timer_set(s->respawn, clock_monotonic_ns() + RESPAWN_NS);
	}
}

/* What the first act could not get at, because its freezer was alive still. */
static void tell_recovered(const struct snapshot *s)
{
	const struct freezer_result *recovered;
	size_t n;

	recovered = freezer_client_recovered(s->freezer, &n);
	recover_tell(recovered, n);
}

static int start_freezer(struct snapshot *s)
{
	const struct freezer_client_config config = {
		.helper = s->config->freezer,
		.run_dir = s->config->run_dir,
		.options = (s->config->expedite ? FREEZER_OPTION_EXPEDITE : 0) |
			   (s->config->freeze_strict ? FREEZER_OPTION_STRICT : 0),
		.whose = s->config->freeze_mounts,
	};
	int r;

	r = freezer_client_new(&config, &s->freezer);
	switch (r) {
	case 0:
		tell_recovered(s);
		return 0;
	case FREEZER_CLIENT_BUSY:
		return SNAPSHOT_OTHER_DAEMON;
	case FREEZER_CLIENT_NOT_IN_MEMORY:
		set_problem(s, "no backups: the run directory is not on a tmpfs, where the "
			       "freezer's record must be: name one that is (run_dir, --run-dir)");
		return 0;
	case FREEZER_CLIENT_NO_HELPER:
		set_problem(s, "no backups: the freezer does not start: "
			       "check the helper program (freezer, --freezer)");
		return 0;
	default:
		return r;
	}
}

static int set_up(struct snapshot *s)
{
	int r = 0;

	if (confine_has_capability(CAP_SYS_ADMIN))
		r = start_freezer(s);
	else
		set_problem(s, "no backups: freezing needs CAP_SYS_ADMIN: run as root");
	if (r)
		return r;
	s->respawn = event_new(s->base, -1, 0, on_respawn, s);
	if (!s->respawn)
		return -ENOMEM;
	if (!s->freezer)
		return 0;

	s->freezer_event = event_new(s->base, freezer_client_fd(s->freezer), EV_READ | EV_PERSIST,
				     on_freezer, s);
	if (!s->freezer_event || event_add(s->freezer_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static const struct bind_hooks_user hooks_ops = {
	.on_ready = on_hooks_ready,
	.on_back = on_back,
};

static const struct bind_notify_user notify_ops = {
	.on_ready = on_clients_ready,
};

static int open_hooks(struct snapshot *s)
{
	int r = bind_hooks_new(s->base, s->config, &hooks_ops, s, &s->hooks);

	r = r ?: bind_notify_new(s->base, s->config, &notify_ops, s, &s->notify);
	if (r)
		return r;
	set_phase(s, PHASE_RETURNING);
	if (!bind_hooks_recover(s->hooks))
		set_phase(s, PHASE_IDLE);
	return 0;
}

int snapshot_new(struct event_base *base, const struct config *config,
		 struct snapshot **ret_snapshot)
{
	_cleanup_(cleanup_snapshotp) struct snapshot *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->base = base;
	s->config = config;
	r = set_up(s);
	r = r ?: open_hooks(s);
	if (r)
		return r;

	*ret_snapshot = steal_ptr(s);
	return 0;
}

struct snapshot *snapshot_free(struct snapshot *s)
{
	if (!s)
		return NULL;
	if (s->freezer_event)
		event_free(s->freezer_event);
	if (s->respawn)
		event_free(s->respawn);
	s->freezer = freezer_client_free(s->freezer);
	s->notify = bind_notify_free(s->notify);
	s->hooks = bind_hooks_free(s->hooks);
	work_release(&s->work);
	log_release();
	free(s);
	return NULL;
}

void snapshot_watch(struct snapshot *s, void (*on_change)(void *self), void *self)
{
	assert(s->n_watchers < WATCHERS_MAX);
	s->watchers[s->n_watchers++] = (struct watcher){on_change, self};
}

void snapshot_unwatch(struct snapshot *s, const void *self)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_watchers; i++)
		if (s->watchers[i].self != self)
			s->watchers[n++] = s->watchers[i];
	s->n_watchers = n;
}

void snapshot_keep_receipts(struct snapshot *s, struct receipts *receipts)
{
	s->receipts = receipts;
}

bool snapshot_is_free_for(const struct snapshot *s, const void *self)
{
	bool others = (s->now.user && s->now.self != self) || (s->next.user && s->next.self != self);

	return !s->problem && !others;
}

bool snapshot_is_holding(const struct snapshot *s)
{
	return s->phase != PHASE_IDLE && s->phase != PHASE_RETURNING;
}

enum snapshot_hold snapshot_hold(const struct snapshot *s, uint64_t *ret_left_ns)
{
	static const enum snapshot_hold holds[] = {
		[PHASE_IDLE] = SNAPSHOT_HOLD_NONE,
		[PHASE_PREPARING] = SNAPSHOT_HOLD_PREPARING,
		[PHASE_FREEZING] = SNAPSHOT_HOLD_FROZEN,
		[PHASE_FROZEN] = SNAPSHOT_HOLD_FROZEN,
		[PHASE_THAWING] = SNAPSHOT_HOLD_THAWING,
		[PHASE_RETURNING] = SNAPSHOT_HOLD_NONE,
	};
	uint64_t now = clock_monotonic_ns();

	*ret_left_ns = UINT64_MAX;
	if (s->work.counting)
		*ret_left_ns = s->work.deadline_ns > now ? s->work.deadline_ns - now : 0;
	return holds[s->phase];
}

void snapshot_add_status(const struct snapshot *s, json_t *status)
{
	uint64_t now = clock_monotonic_ns();

	if (s->problem)
		json_object_set_new(status, "problem", json_string(s->problem));
	json_object_set_new(status, "freezer_pid",
			    json_integer(s->freezer ? freezer_client_helper_pid(s->freezer) : 0));
	json_object_set_new(status, "phase", json_string(phase_names[s->phase]));
	if (s->work.counting && s->work.deadline_ns > now)
		json_object_set_new(status, "remaining_seconds",
				    json_real((s->work.deadline_ns - now) / 1e9));
}

/* While it is frozen nothing is read anew: what is held is what was planned. */
json_t *snapshot_plan(const struct snapshot *s)
{
	struct freeze_set set = {0};
	const char *why = s->problem;
	json_t *hooks, *answer;
	char hooks_why[256];

	if (s->work.set.plan)
		return freeze_set_describe(&s->work.set, s->config, why);
	why = freeze_set_plan(&set, s->config) ?: why;
	hooks = bind_hooks_plan(s->hooks, hooks_why, sizeof(hooks_why));
	if (!why && *hooks_why)
		why = hooks_why;
	answer = freeze_set_describe(&set, s->config, why);
	json_object_set_new(answer, "hooks", hooks);
	freeze_set_close(&set);
	return answer;
}
