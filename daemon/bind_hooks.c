/* SPDX-License-Identifier: MIT */

/*
 * Hooks in the daemon.
 *
 * The sequence (fsfreeze/hook_sequence) says what to run, fsfreeze/hook_process runs it, and the
 * record (fsfreeze/hook_record) knows at any time what would have to be called back if this process
 * ended now. A hook whose command cannot be recorded is not run.
 *
 * Where there is a runner (hook_runner), each run is asked of it, and never of this process instead: a
 * hook that cannot do what it is there for is worse than one that is not run.
 *
 * Nothing is run between the first FREEZE and the last THAW of file systems: the snapshot asks for
 * one hook after the other before, and for the way back after.
 */

#include "daemon/bind_hooks.h"

#include "base/clock.h"
#include "base/jobs.h"
#include "base/log.h"
#include "daemon/journal.h"
#include "fsfreeze/hook_list.h"
#include "fsfreeze/hook_process.h"
#include "fsfreeze/hook_record.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
	ENV_MAX = 10,
	ENV_TEXT_MAX = 64,
	DEVICES_MAX = 8192,
};

/* What one run has written. */
struct output {
	char *text; /* NULL: nothing */
	uint64_t n_dropped;
};

struct bind_hooks {
	struct event_base *base;
	const struct config *config;
	const struct bind_hooks_user *ops;
	void *self;
	struct hook_list list;
	struct hook_sequence sequence;
	struct output freeze_output[HOOKS_MAX];
	struct output back_output[HOOKS_MAX];
	struct hook_process process;
	struct event *exit_event;
	struct event *output_event;
	struct event *timer;
	size_t running; /* index of the hook that the process belongs to */
	enum hook_event event;
	uint64_t timeout_ns;
	char devices[DEVICES_MAX];
	char refusal[256]; /* why the last one that was not run was not */
	char why[512];
};

static void perform(struct bind_hooks *h);

static void forget_outputs(struct bind_hooks *h)
{
	for (size_t i = 0; i < HOOKS_MAX; i++) {
		free(h->freeze_output[i].text);
		free(h->back_output[i].text);
		h->freeze_output[i] = h->back_output[i] = (struct output){0};
	}
}

static const char *complain_of(int r)
{
	return r == HOOK_LIST_TOO_MANY ? "there are more than 64 hooks" : strerror(-r);
}

/* Keeps what the run has written, as text that JSON can hold. */
static void keep_output(struct bind_hooks *h)
{
	struct output *o = h->event == HOOK_FREEZE ? &h->freeze_output[h->running]
						   : &h->back_output[h->running];
	struct hook_process *p = &h->process;

	o->n_dropped = p->n_dropped;
	if (p->n_output == 0)
		return;
	for (size_t i = 0; i < p->n_output; i++)
		if ((unsigned char)p->output[i] >= 0x7f ||
		    ((unsigned char)p->output[i] < ' ' && p->output[i] != '\n' &&
		     p->output[i] != '\t'))
			p->output[i] = '?';
	o->text = strndup(p->output, p->n_output);
}

static void drop_events(struct bind_hooks *h)
{
	if (h->exit_event)
		event_free(h->exit_event);
	if (h->output_event)
		event_free(h->output_event);
	h->exit_event = h->output_event = NULL;
}

static void on_output(evutil_socket_t fd, short what, void *user)
{
	struct bind_hooks *h = user;

	(void)what;
	hook_process_read(&h->process);
	if (h->process.output_fd != fd) {
		event_free(h->output_event);
		h->output_event = NULL;
	}
}

static int write_record(struct bind_hooks *h)
{
	struct hook_trace trace = {0};
	int r;

	/* Who is being called back is so to the end, whatever becomes of this process. */
	if (h->event == HOOK_FREEZE)
		trace.pid = h->process.pid;
	if (trace.pid)
		trace.start_time = hook_process_start_time(trace.pid);
	r = hook_record_write(h->config->run_dir, &h->list, h->sequence.items, &trace);
	if (r)
		log_error("hooks: the record in %s cannot be written: %s: make room there",
			  h->config->run_dir, strerror(-r));
	return r;
}

static void refuse(struct bind_hooks *h, const char *why)
{
	const char *name = h->list.hooks[h->running].name;

	snprintf(h->refusal, sizeof(h->refusal), "%s", why);
	log_as(EVENT_HOOK_NOT_RUN, name, "hooks: %s is not run: %s", name, why);
	hook_sequence_not_started(&h->sequence, clock_monotonic_ns());
}

static void on_exit_of(evutil_socket_t fd, short what, void *user)
{
	struct bind_hooks *h = user;
	int status;

	(void)fd;
	(void)what;
	if (!hook_process_reap(&h->process, &status)) {
		/* Its runner has said which process it is. */
		(void)write_record(h);
		return;
	}
	drop_events(h);
	if (h->process.not_started) {
		refuse(h, strerror(h->process.not_started));
	} else {
		if (h->process.lost_runner)
			log_error("hooks: the runner of %s has ended before it: journalctl -u 'hvguest-hook@*'",
				  h->list.hooks[h->running].name);
		keep_output(h);
		hook_sequence_exited(&h->sequence, status, clock_monotonic_ns());
	}
	perform(h);
}

static int watch(struct bind_hooks *h)
{
	h->exit_event = event_new(h->base, h->process.end_fd, EV_READ | EV_PERSIST, on_exit_of, h);
	h->output_event = event_new(h->base, h->process.output_fd, EV_READ | EV_PERSIST, on_output,
				    h);
	if (!h->exit_event || event_add(h->exit_event, NULL) < 0 || !h->output_event ||
	    event_add(h->output_event, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static int start(struct bind_hooks *h, const struct hook *hook, enum hook_event event)
{
	char texts[2][ENV_TEXT_MAX], name[280], devices[DEVICES_MAX + ENV_TEXT_MAX];
	char run_dir[PATH_MAX];
	char *envp[ENV_MAX] = {
		(char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		(char[]){"LANG=C.UTF-8"},
		(char[]){"HOME=/"},
		texts[0],
		texts[1],
		name,
		devices,
		run_dir,
	};

	snprintf(texts[0], sizeof(texts[0]), "HVGUEST_EVENT=%s", hook_event_name(event));
	snprintf(texts[1], sizeof(texts[1]), "HVGUEST_FREEZE_TIMEOUT=%llu",
		 (unsigned long long)(h->timeout_ns / 1000000000u));
	snprintf(devices, sizeof(devices), "HVGUEST_FREEZE_DEVICES=%s", h->devices);
	snprintf(run_dir, sizeof(run_dir), "HVGUEST_RUN_DIR=%.4000s", h->config->run_dir);
	snprintf(name, sizeof(name), "HVGUEST_HOOK=%s", hook->name);
	if (!h->config->hook_runner)
		return hook_process_start(&h->process, hook->commands[event].argv, envp);
	return hook_process_ask(&h->process, h->config->hook_runner, hook->commands[event].argv, envp,
				event == HOOK_FREEZE);
}

static void explain_no_runner(const struct config *config, char *text, size_t size)
{
	snprintf(text, size, "nobody runs hooks at %s: systemctl start hvguest-hook.socket",
		 config->hook_runner);
}

static void refuse_start(struct bind_hooks *h, int r)
{
	char text[192];

	if (r == HOOK_PROCESS_NO_RUNNER)
		explain_no_runner(h->config, text, sizeof(text));
	refuse(h, r == HOOK_PROCESS_NO_RUNNER ? text : strerror(-r));
}

static void do_run(struct bind_hooks *h, size_t i, enum hook_event event)
{
	const struct hook *hook = &h->list.hooks[i];
	int r;

	h->running = i;
	h->event = event;
	hook_process_init(&h->process);
	if (hook->refused) {
		refuse(h, hook->refused);
		return;
	}
	/* On the way back the record names the hook still; see there. */
	r = event == HOOK_FREEZE ? write_record(h) : 0;
	r = r ?: start(h, hook, event);
	if (r) {
		refuse_start(h, r);
		return;
	}
	/* If a runner has it, it is not known yet whether it was started. */
	if (h->process.pid)
		(void)write_record(h);
	r = watch(h);
	if (r) {
		drop_events(h);
		hook_process_kill(&h->process, SIGKILL);
		hook_process_leave(&h->process);
		hook_sequence_exited(&h->sequence, 128 + SIGKILL, clock_monotonic_ns());
	}
}

static void tell_end(struct bind_hooks *h, size_t i, const struct hook_run *r)
{
	const char *name = h->list.hooks[i].name, *event = hook_event_name(r->event);

	switch (r->outcome) {
	case HOOK_FAILED:
		log_as(EVENT_HOOK_FAILED, name, "hooks: %s %s failed: %s %d", name, event,
		       r->status > 128 ? "signal" : "exit status",
		       r->status > 128 ? r->status - 128 : r->status);
		break;
	case HOOK_TIMED_OUT:
	case HOOK_STUCK:
		log_as(EVENT_HOOK_FAILED, name, "hooks: %s %s took too long and was %s", name, event,
		       r->outcome == HOOK_STUCK ? "left alone: it cannot be killed" : "ended");
		break;
	case HOOK_NOT_RUN:
	case HOOK_RUNNING:
	case HOOK_OK:
	case HOOK_CANCELLED:
	case HOOK_NOT_STARTED:
	case HOOK_OUTCOMES:
		break;
	}
}

static void do_failed(struct bind_hooks *h, size_t i)
{
	const struct hook_run *r = &h->sequence.items[i].freeze;
	const struct hook *hook = &h->list.hooks[i];

	if (r->outcome == HOOK_NOT_STARTED)
		snprintf(h->why, sizeof(h->why), "the hook %s could not be run: %s", hook->name,
			 h->refusal);
	else if (r->outcome == HOOK_FAILED)
		snprintf(h->why, sizeof(h->why), "the hook %s failed with status %d", hook->name,
			 r->status);
	else
		snprintf(h->why, sizeof(h->why), "the hook %s took too long", hook->name);
	h->ops->on_ready(h->self, h->why);
}

static void do_back(struct bind_hooks *h)
{
	(void)write_record(h);
	for (size_t i = 0; i < h->sequence.n_items; i++) {
		tell_end(h, i, &h->sequence.items[i].freeze);
		tell_end(h, i, &h->sequence.items[i].back);
	}
	h->ops->on_back(h->self);
}

static void perform(struct bind_hooks *h)
{
	struct hook_action action;

	while (hook_sequence_next_action(&h->sequence, &action)) {
		switch (action.type) {
		case HOOK_ACTION_RUN:
			do_run(h, action.hook, action.event);
			break;
		case HOOK_ACTION_TERM:
			hook_process_kill(&h->process, SIGTERM);
			break;
		case HOOK_ACTION_KILL:
			hook_process_kill(&h->process, SIGKILL);
			break;
		case HOOK_ACTION_LEAVE:
			drop_events(h);
			hook_process_read(&h->process);
			keep_output(h);
			hook_process_leave(&h->process);
			break;
		case HOOK_ACTION_READY:
			h->ops->on_ready(h->self, NULL);
			break;
		case HOOK_ACTION_FAILED:
			do_failed(h, action.hook);
			break;
		case HOOK_ACTION_BACK:
			do_back(h);
			break;
		}
	}
	timer_set(h->timer, hook_sequence_deadline_ns(&h->sequence));
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	struct bind_hooks *h = user;

	(void)fd;
	(void)what;
	hook_sequence_tick(&h->sequence, clock_monotonic_ns());
	perform(h);
}

static void make_items(const struct bind_hooks *h, struct hook_item items[HOOKS_MAX])
{
	for (size_t i = 0; i < h->list.n; i++) {
		const struct hook *hook = &h->list.hooks[i];

		items[i] = (struct hook_item){
			.optional = hook->optional,
			.limit_ns = hook->limit_ns ?: h->config->hook_timeout_ns,
		};
		for (size_t e = 0; e < HOOK_EVENTS; e++)
			items[i].can[e] = hook->commands[e].argv[0] != NULL || hook->refused;
	}
}

static void begin_list(struct bind_hooks *h)
{
	forget_outputs(h);
	hook_list_fini(&h->list);
	hook_sequence_init(&h->sequence);
}

/* Fills @list; false, and @why, if that is not possible: then it is empty. */
static bool find_hooks(const struct config *config, struct hook_list *list, char *why, size_t size)
{
	const struct hook_places places = {
		.folder = config->hook_dir,
		.layouts = config->hook_layouts,
		.root = "",
	};
	int r = hook_list_find(list, &places);

	if (r == 0)
		return true;
	snprintf(why, size, "the hooks in %s cannot be listed: %s", places.folder, complain_of(r));
	hook_list_fini(list);
	return false;
}

void bind_hooks_freeze(struct bind_hooks *h, uint64_t timeout_ns, const char *devices)
{
	struct hook_item items[HOOKS_MAX];

	begin_list(h);
	h->timeout_ns = timeout_ns;
	snprintf(h->devices, sizeof(h->devices), "%s", devices);
	if (!find_hooks(h->config, &h->list, h->why, sizeof(h->why))) {
		h->ops->on_ready(h->self, h->why);
		h->ops->on_back(h->self);
		return;
	}
	make_items(h, items);
	hook_sequence_begin(&h->sequence, items, h->list.n, h->config->prepare_timeout_ns,
			    clock_monotonic_ns());
	perform(h);
}

void bind_hooks_back(struct bind_hooks *h, enum hook_event event)
{
	if (h->sequence.state == HOOKS_IDLE) {
		h->ops->on_back(h->self);
		return;
	}
	hook_sequence_back(&h->sequence, event, clock_monotonic_ns());
	perform(h);
}

/*
 * A hook that was in the middle of FREEZE when its daemon died is ended before it is called back; a runner
 * has done so by now.
 */
static void end_leftover(const struct hook_trace *trace)
{
	if (trace->pid > 1 && trace->start_time &&
	    hook_process_start_time(trace->pid) == trace->start_time) {
		log_warning("hooks: a hook of a predecessor runs still (pid %d); it is ended",
			    (int)trace->pid);
		(void)kill(-trace->pid, SIGKILL);
	}
}

bool bind_hooks_recover(struct bind_hooks *h)
{
	struct hook_item items[HOOKS_MAX];
	struct hook_trace trace;
	int r;

	begin_list(h);
	r = hook_record_read(h->config->run_dir, &h->list, &trace);
	if (r) {
		log_error("hooks: the record in %s cannot be read: %s", h->config->run_dir,
			  strerror(-r));
		hook_list_fini(&h->list);
	}
	if (h->list.n == 0)
		return false;
	log_warning("hooks: a predecessor has not called back %zu of them; calling them with abort",
		    h->list.n);
	end_leftover(&trace);
	make_items(h, items);
	hook_sequence_recover(&h->sequence, items, h->list.n, clock_monotonic_ns());
	perform(h);
	return true;
}

int bind_hooks_new(struct event_base *base, const struct config *config,
		   const struct bind_hooks_user *ops, void *self, struct bind_hooks **ret_hooks)
{
	_cleanup_(cleanup_bind_hooksp) struct bind_hooks *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->base = base;
	h->config = config;
	h->ops = ops;
	h->self = self;
	hook_list_init(&h->list);
	hook_sequence_init(&h->sequence);
	hook_process_init(&h->process);
	h->timer = event_new(base, -1, 0, on_timer, h);
	if (!h->timer)
		return -ENOMEM;

	*ret_hooks = steal_ptr(h);
	return 0;
}

struct bind_hooks *bind_hooks_free(struct bind_hooks *h)
{
	if (!h)
		return NULL;
	drop_events(h);
	if (h->timer)
		event_free(h->timer);
	hook_process_leave(&h->process);
	forget_outputs(h);
	hook_list_fini(&h->list);
	free(h);
	return NULL;
}

json_t *bind_hooks_plan(const struct bind_hooks *h, char *why, size_t size)
{
	_cleanup_free_ struct hook_list *list = calloc(1, sizeof(*list));
	json_t *plan = json_array();

	why[0] = '\0';
	if (!list || !find_hooks(h->config, list, why, size))
		return plan;
	for (size_t i = 0; i < list->n; i++) {
		const struct hook *hook = &list->hooks[i];
		uint64_t limit_ns = hook->limit_ns ?: h->config->hook_timeout_ns;

		if (hook->refused && !hook->optional && !*why)
			snprintf(why, size, "the hook %s could not be run: %s", hook->name,
				 hook->refused);
		json_array_append_new(plan, json_pack("{s:s, s:s, s:b, s:f, s:s*}", "name",
						      hook->name, "layout", hook->layout, "optional",
						      hook->optional, "timeout_seconds",
						      limit_ns / 1e9, "refused", hook->refused));
	}
	if (list->n > 0 && !*why && h->config->hook_runner && access(h->config->hook_runner, F_OK) < 0)
		explain_no_runner(h->config, why, size);
	hook_list_fini(list);
	return plan;
}

static json_t *run_report(const struct hook_run *r, const struct output *o)
{
	json_t *run = json_pack("{s:s, s:s, s:i, s:s*}", "event", hook_event_name(r->event),
				"outcome", hook_outcome_name(r->outcome), "status", r->status,
				"output", o->text);

	if (run && r->ended_ns)
		json_object_set_new(run, "duration_us",
				    json_integer((r->ended_ns - r->started_ns) / 1000));
	if (run && o->n_dropped)
		json_object_set_new(run, "output_bytes_dropped",
				    json_integer((json_int_t)o->n_dropped));
	return run;
}

json_t *bind_hooks_report(const struct bind_hooks *h)
{
	json_t *report = json_array();

	for (size_t i = 0; i < h->sequence.n_items; i++) {
		const struct hook_item *item = &h->sequence.items[i];
		const struct hook *hook = &h->list.hooks[i];
		json_t *runs = json_array();

		if (item->freeze.outcome != HOOK_NOT_RUN)
			json_array_append_new(runs, run_report(&item->freeze, &h->freeze_output[i]));
		if (item->back.outcome != HOOK_NOT_RUN)
			json_array_append_new(runs, run_report(&item->back, &h->back_output[i]));
		json_array_append_new(
			report, json_pack("{s:s, s:s, s:b, s:s*, s:o}", "name", hook->name, "layout",
					  hook->layout, "optional", hook->optional, "refused",
					  hook->refused, "runs", runs));
	}
	return report;
}

size_t bind_hooks_count(const struct bind_hooks *h)
{
	return h->sequence.n_items;
}

size_t bind_hooks_count_failed(const struct bind_hooks *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->sequence.n_items; i++) {
		const struct hook_item *item = &h->sequence.items[i];

		n += (item->can[HOOK_FREEZE] && item->freeze.outcome != HOOK_OK) ||
		     (item->back.outcome != HOOK_NOT_RUN && item->back.outcome != HOOK_OK);
	}
	return n;
}
