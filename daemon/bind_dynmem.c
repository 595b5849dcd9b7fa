/* SPDX-License-Identifier: MIT */

/*
 * Dynamic memory, bound to the world.
 *
 * The machine (balloon/dynmem) speaks the protocol and knows which pages the host has; the report
 * (policy/report) says how much there is to give; the pages (daemon/memory_sources) are taken and put back
 * by the worker, because that may take seconds. The worker owns the pages: at most one job is
 * under way, and what is to be known of the pages here comes back with it.
 *
 * Memory is taken in slices. Before each one the guard (daemon/memory_guard) reads the figures anew,
 * so that a request which began when there was plenty ends when there is not: never below the
 * floor, never into stalls, and not at all while a backup holds the file systems. A guard in doubt
 * has the next slice wait for a moment.
 *
 * When the channel is lost the host forgets what it took. The memory stays out of use, unreported,
 * until the next host asks for some, or the administrator releases it. What is under way is ended:
 *
 *     OPEN --close--> DRAINING --(work done, what was given back is in use)--> IDLE --open--> OPEN
 *
 * A channel that opens while the last one is still being drained waits.
 */

#include "daemon/bind_dynmem.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/dynmem_session.h"
#include "daemon/dynmem_status.h"
#include "daemon/memory_guard.h"
#include "daemon/memory_work.h"
#include "memhotplug/align.h"
#include "memhotplug/blocks.h"
#include "vmbus/link.h"

#include <fcntl.h>
#include <string.h>

struct bind_dynmem {
	struct bind_dynmem_context context;
	struct dynmem_config core_config;
	struct dynmem *core;
	uint32_t kept_in; /* where the last hvguestd stopped reading */
	bool resumable;   /* what it left can be gone on with, and that was not done yet */
	struct link *link;
	struct vmbus_port waiting; /* opened, but the last channel is still being drained */
	bool has_waiting;
	bool draining;
	struct event *timer;
	struct event *keeper_died;
	int keeper_fd; /* its pidfd; the client closes its own whenever it likes */
	bool revive_due;
	struct memory_guard *guard;

	const char *problem; /* why no pages can be given; NULL: they can */
	const char *given_up;   /* why the host's last channel was left for good; NULL: it was not */
	const char *unanswered; /* what the host did not answer in time, if the machine counts any */
	struct memory_work work;
	struct memory_sources_stats stats; /* after the last work */
	bool verify_due;
	void (*verified)(void *user, json_t *take_answer);
	void *verified_user;
	bool guard_due;  /* a block of the host's may be online */
	bool hot_add_due;
	bool take_due;   /* wanted_pages, of which taken_pages are had */
	uint64_t wanted_pages;
	uint64_t taken_pages;
	uint64_t slice_from_ns; /* the guard is in doubt: no slice before this */
	bool return_due; /* return_ranges, borrowed from the machine */
	const struct page_range *return_ranges;
	size_t n_return_ranges;
};

static void step(struct bind_dynmem *b);

/* Records the state of now, for a successor: before the host can see anything that follows from it. */
static void commit(struct bind_dynmem *b)
{
	struct dynmem_positions positions = {0};

	if (b->link)
		link_positions(b->link, &positions.in, &positions.out);
	dynmem_commit(b->core, &positions);
}

/* @pages without up to *@less of them, which becomes less by as many. */
static uint64_t take_off(uint64_t pages, uint64_t *less)
{
	uint64_t n = *less < pages ? *less : pages;

	*less -= n;
	return pages - n;
}

/* What the host has: all that is out of use but for what is unreported, which is in the best pages. */
static struct report_ballooned ballooned(const struct bind_dynmem *b)
{
	const struct pages_stats *pages = &b->stats.pages;
	uint64_t unreported = dynmem_unreported(b->core)->pages;
	struct report_ballooned r;

	r.block_pages = take_off(b->stats.blocks.blocks * b->stats.blocks.block_pages, &unreported);
	r.huge_pages = take_off(pages->source[PAGES_HUGE].bytes / DYNMEM_PAGE_SIZE, &unreported);
	r.small_pages = take_off(pages->source[PAGES_SMALL].bytes / DYNMEM_PAGE_SIZE, &unreported);
	return r;
}

static void set_figures(struct bind_dynmem *b)
{
	const struct report_ballooned taken = ballooned(b);
	struct dynmem_status_report figures;

	memory_guard_report(b->guard, &taken, b->take_due, &figures);
	/* It can be given at once, whatever this machine needs. */
	figures.available_pages += dynmem_unreported(b->core)->pages;
	dynmem_set_figures(b->core, &figures);
}

static bool submit(struct bind_dynmem *b, enum work_kind kind)
{
	b->work.kind = kind;
	b->work.running = jobs_submit(b->context.jobs, &b->work.job) == 0;
	if (!b->work.running)
		log_error("memory: the worker takes no work");
	return b->work.running;
}

static void put_back(struct bind_dynmem *b, enum work_kind kind, const struct page_range *ranges,
		     size_t n)
{
	b->work.ranges = ranges;
	b->work.n_ranges = n;
	(void)submit(b, kind);
}

/* @why the host gets less than it wanted; NULL: it gets all. */
static void end_take(struct bind_dynmem *b, const char *why)
{
	b->take_due = false;
	memory_guard_end(b->guard, b->taken_pages, why);
	if (why)
		log_notice("memory: the host asked for %s and gets %s: %s",
			   size_format(b->wanted_pages * DYNMEM_PAGE_SIZE).text,
			   size_format(b->taken_pages * DYNMEM_PAGE_SIZE).text, why);
	(void)!dynmem_complete_take(b->core, NULL, 0, true, clock_monotonic_ns());
}

/* Why no page may be taken, whatever the figures say; NULL: they decide. */
static const char *refusal(const struct bind_dynmem *b)
{
	if (b->problem)
		return b->problem;
	return b->context.is_holding(b->context.backup) ? "a backup holds the file systems" : NULL;
}

static bool submit_slice(struct bind_dynmem *b, uint64_t pages)
{
	uint64_t slice_bytes;

	b->work.want_pages = pages;
	slice_bytes = (pages < PAGES_SLICE ? pages : PAGES_SLICE) * DYNMEM_PAGE_SIZE;
	b->work.reclaim_bytes = 0;
	if (b->work.reclaim && memory_guard_is_tight(b->guard, 2 * slice_bytes))
		b->work.reclaim_bytes = slice_bytes;
	if (memory_work_avoid(&b->work, dynmem_ballooned(b->core), dynmem_unreported(b->core)))
		return false;
	return submit(b, WORK_TAKE);
}

/* False if no more can be taken: the take has ended. */
static bool take_slice(struct bind_dynmem *b)
{
	const struct report_ballooned taken = ballooned(b);
	const char *why = refusal(b);
	struct guard_decision decision;

	if (!why) {
		decision = memory_guard_ask(b->guard, &taken, b->wanted_pages - b->taken_pages);
		if (decision.verdict == GUARD_WAIT) {
			b->slice_from_ns = decision.until_ns;
			return true;
		}
		if (decision.verdict == GUARD_GO && submit_slice(b, decision.pages))
			return true;
		why = decision.verdict == GUARD_STOP ? guard_reason_text(decision.reason)
						     : "the worker takes no work";
	}
	end_take(b, why);
	return false;
}

static void slice_failed(struct bind_dynmem *b, int r)
{
	if (r == -EPERM)
		b->problem = "page frame numbers are hidden without CAP_SYS_ADMIN";
	else if (r < 0)
		log_error("memory: taking pages: %s", strerror(-r));
	end_take(b, r == MEMORY_SOURCES_EXHAUSTED ? "there are no more pages of an allowed kind"
					 : "pages could not be taken");
}

static void slice_taken(struct bind_dynmem *b)
{
	struct memory_work *w = &b->work;
	bool finished;
	int r;

	if (w->result) {
		slice_failed(b, w->result);
		return;
	}

	b->taken_pages += page_ranges_count(w->slice, w->n_slice);
	finished = b->taken_pages >= b->wanted_pages || !b->take_due;
	r = dynmem_complete_take(b->core, w->slice, w->n_slice, finished, clock_monotonic_ns());
	if (finished) {
		b->take_due = false;
		memory_guard_end(b->guard, b->taken_pages, NULL);
	}
	if (!r)
		return;

	if (r != DYNMEM_STALE)
		log_error("memory: a slice of pages is not fit for the host (%d); putting it back", r);
	if (b->take_due)
		end_take(b, "a slice was not fit for the host");
	put_back(b, WORK_UNDO, w->slice, w->n_slice);
}

static void on_keeper_died(evutil_socket_t fd, short what, void *user)
{
	struct bind_dynmem *b = user;

	(void)fd;
	(void)what;
	log_warning("memory: hvguest-keeper is gone; starting another, which takes over what it held");
	b->revive_due = true;
	step(b);
}

static void unwatch_keeper(struct bind_dynmem *b)
{
	if (b->keeper_died)
		event_free(b->keeper_died);
	b->keeper_died = NULL;
	b->keeper_fd = close_fd(b->keeper_fd);
}

/* Waits for the end of the keeper there is now. */
static int watch_keeper(struct bind_dynmem *b)
{
	unwatch_keeper(b);
	b->keeper_fd = fcntl(keeper_client_pid_fd(b->work.keeper), F_DUPFD_CLOEXEC, 3);
	b->keeper_died = event_new(b->context.base, b->keeper_fd, EV_READ, on_keeper_died, b);
	return b->keeper_died && event_add(b->keeper_died, NULL) == 0 ? 0 : -ENOMEM;
}

/*
 * Pages had moved before the new keeper could hold them: this machine uses what the host has. There
 * is no message for that; only a closed channel makes a host forget. What is held becomes unreported.
 */
static void start_anew(struct bind_dynmem *b, uint64_t lost_pages)
{
	struct dynmem_session session;

	log_error("memory: %s that the host has had moved before the new keeper could hold them; "
		  "closing the channel, so that it forgets them",
		  size_format(lost_pages * DYNMEM_PAGE_SIZE).text);
	connection_close_channel(*b->context.connection, b, true);
	commit(b);
	if (dynmem_session_open(&b->core_config, b->context.session, &session)) {
		log_error("memory: what is held cannot be listed: no memory until hvguestd is restarted");
		b->problem = "the new keeper does not say what it holds";
		return;
	}
	(void)dynmem_free(b->core);
	b->core = session.core;
	b->return_due = false;
}

/* Another keeper holds what the last one held. */
static void keeper_revived(struct bind_dynmem *b)
{
	uint64_t lost_pages = b->stats.pages.lost_pages;

	b->revive_due = false;
	if (watch_keeper(b))
		log_error("memory: the end of the keeper cannot be watched: no memory");
	if (lost_pages > 0)
		start_anew(b, lost_pages);
	else
		log_notice("memory: process %d holds everything that was held, where it was",
			   (int)keeper_client_pid(b->work.keeper));
}

static void tell_result(struct bind_dynmem *b)
{
	if (b->work.revived)
		keeper_revived(b);
	if (b->work.result >= 0 || b->work.kind == WORK_TAKE)
		return;
	if (b->work.kind == WORK_REVIVE)
		log_error("memory: no keeper can be started (%s): what the host has is not pinned",
			  strerror(-b->work.result));
	else
		log_error("memory: putting pages back into use: %s; trying again later",
			  strerror(-b->work.result));
}

static json_int_t bytes(uint64_t pages)
{
	return pages * DYNMEM_PAGE_SIZE;
}

static void tell_verified(struct bind_dynmem *b)
{
	json_t *answer = b->work.result == 0 ? dynmem_status_verified(b->core, &b->work) : NULL;

	b->verified(b->verified_user, answer);
	b->verified = NULL;
}

static void work_done(struct job *job)
{
	struct bind_dynmem *b = container_of(job, struct bind_dynmem, work.job);

	b->work.running = false;
	b->stats = b->work.stats;
	tell_result(b);
	switch (b->work.kind) {
	case WORK_TAKE:
		slice_taken(b);
		break;
	case WORK_RETURN:
		b->return_due = false;
		dynmem_complete_return(b->core, clock_monotonic_ns());
		break;
	case WORK_UNDO:
	case WORK_GUARD:
		break;
	case WORK_HOT_ADD:
		b->hot_add_due = false;
		hot_add_finish(b->work.hot_add, b->core);
		break;
	case WORK_REVIVE:
		b->revive_due = false;
		break;
	case WORK_VERIFY:
		tell_verified(b);
		break;
	}
	step(b);
}

static void start_channel(struct bind_dynmem *b, struct vmbus_port *take_port);

/* The worker is idle, and nothing is due: what was under way has ended. */
static void end_drain(struct bind_dynmem *b)
{
	uint64_t unreported = dynmem_unreported(b->core)->pages;

	if (unreported > 0)
		log_notice("memory: the host is gone; what it had, %s, is for the next one (see hvguestctl "
			   "memory release)", size_format(unreported * DYNMEM_PAGE_SIZE).text);
	b->draining = false;
	if (b->has_waiting) {
		b->has_waiting = false;
		start_channel(b, &b->waiting);
	}
}

/* Gives the worker what is due. True if something ended at once, and the machine may go on. */
static bool start_work(struct bind_dynmem *b)
{
	if (b->work.running)
		return false;
	if (b->revive_due)
		(void)submit(b, WORK_REVIVE);
	else if (b->guard_due)
		b->guard_due = !submit(b, WORK_GUARD);
	else if (b->return_due)
		put_back(b, WORK_RETURN, b->return_ranges, b->n_return_ranges);
	else if (b->hot_add_due)
		(void)submit(b, WORK_HOT_ADD);
	else if (b->take_due && clock_monotonic_ns() >= b->slice_from_ns)
		return !take_slice(b);
	else if (b->draining) {
		end_drain(b); /* A channel, or whoever wants to verify, may have waited for it. */
		return true;
	} else if (b->verify_due)
		b->verify_due = !submit(b, WORK_VERIFY);
	return false;
}

static void send_message(struct bind_dynmem *b, const struct dynmem_message *message)
{
	commit(b);
	if (b->link && link_send(b->link, 0, message->bytes, message->size) == LINK_BUSY)
		log_error("memory: a message was made while the last one still waits");
}

/* The handshake has failed: for good, or the host may only be slow. */
static void fail_start(struct bind_dynmem *b, enum dynmem_close_reason reason)
{
	const char *why = dynmem_close_reason_text(reason);
	bool is_final = dynmem_close_is_final(reason);
	struct dynmem_status status;

	dynmem_get_status(b->core, &status);
	if (is_final)
		log_error("memory: closing the channel: %s", why);
	else if (status.unanswered == 1)
		log_warning("memory: %s within 5 s; opening the channel anew, with twice the patience each "
			    "time (said once)", why);
	b->given_up = is_final ? why : NULL;
	b->unanswered = why;
	connection_close_channel(*b->context.connection, b, !is_final);
}

static void perform(struct bind_dynmem *b, const struct dynmem_action *action)
{
	switch (action->type) {
	case DYNMEM_ACTION_SEND:
		send_message(b, action->message);
		break;
	case DYNMEM_ACTION_TAKE_PAGES:
		b->take_due = true;
		b->wanted_pages = action->pages;
		b->taken_pages = 0;
		b->slice_from_ns = 0;
		memory_guard_begin(b->guard, action->pages);
		break;
	case DYNMEM_ACTION_RETURN_PAGES:
		b->return_due = true;
		b->return_ranges = action->ranges;
		b->n_return_ranges = action->n_ranges;
		break;
	case DYNMEM_ACTION_HOT_ADD:
		b->hot_add_due = true;
		hot_add_begin(b->work.hot_add, action);
		break;
	case DYNMEM_ACTION_SAMPLE:
		set_figures(b);
		break;
	case DYNMEM_ACTION_CLOSE_CHANNEL:
		fail_start(b, action->reason);
		break;
	case DYNMEM_ACTION_NOTE:
		log_warning("memory: %s (counted; said once)", dynmem_note_text(action->note));
		break;
	}
}

static bool next_action(struct bind_dynmem *b, struct dynmem_action *ret_action)
{
	if (b->link && link_is_busy(b->link))
		return false;
	return dynmem_next_action(b->core, ret_action) == 0;
}

static uint64_t deadline_ns(const struct bind_dynmem *b)
{
	uint64_t core_ns = dynmem_deadline_ns(b->core);
	bool waits = b->take_due && !b->work.running;

	return waits && b->slice_from_ns < core_ns ? b->slice_from_ns : core_ns;
}

/* Whatever happened: does what follows from it. */
static void step(struct bind_dynmem *b)
{
	struct dynmem_action action;

	dynmem_tick(b->core, clock_monotonic_ns());
	do {
		while (next_action(b, &action))
			perform(b, &action);
	} while (start_work(b));
	timer_set(b->timer, deadline_ns(b));
}

static void on_message(void *user, uint8_t *message, size_t size, uint64_t trans_id)
{
	struct bind_dynmem *b = user;
	int r;

	(void)trans_id;
	r = dynmem_receive(b->core, message, size, clock_monotonic_ns());
	if (r < 0)
		log_error("memory: a message is lost: %s", strerror(-r));
	commit(b);
	step(b);
}

static void on_room(void *user)
{
	step(user);
}

static void on_corrupt(void *user)
{
	struct bind_dynmem *b = user;

	log_error("memory: the ring is corrupt; opening the channel anew");
	connection_close_channel(*b->context.connection, b, true);
}

static void on_gone(void *user)
{
	struct bind_dynmem *b = user;

	log_warning("memory: the host has taken the channel away");
	connection_close_channel(*b->context.connection, b, true);
}

static const struct link_user link_ops = {
	.on_message = on_message,
	.on_room = on_room,
	.on_corrupt = on_corrupt,
	.on_gone = on_gone,
};

static void on_timer(evutil_socket_t fd, short what, void *user)
{
	(void)fd;
	(void)what;
	step(user);
}

static void start_channel(struct bind_dynmem *b, struct vmbus_port *take_port)
{
	if (link_new(b->context.base, take_port, &link_ops, b, &b->link) ||
	    dynmem_open(b->core, clock_monotonic_ns()))
		connection_close_channel(*b->context.connection, b, true);
	else
		timer_set(b->timer, 0);
}

static void open_channel(void *self, struct vmbus_port *take_port)
{
	struct bind_dynmem *b = self;

	b->given_up = NULL;
	if (!b->draining) {
		start_channel(b, take_port);
		return;
	}
	b->waiting = *take_port;
	b->has_waiting = true;
}

/* The host is gone, and has forgotten what it had. */
static void end_channel(struct bind_dynmem *b)
{
	dynmem_close(b->core);
	if (b->take_due && !(b->work.running && b->work.kind == WORK_TAKE))
		end_take(b, "the channel is gone");
	b->take_due = false; /* of a slice that is under way, slice_taken() takes note */
	b->draining = true;
	timer_set(b->timer, 0);
}

/* Goes on with the channel of a dead predecessor, where it was. */
static bool resume_channel(void *self, struct vmbus_port *take_port)
{
	struct bind_dynmem *b = self;
	uint32_t in, out;

	if (!b->resumable || vmbus_channel_resume(&take_port->channel, b->kept_in)) {
		vmbus_port_fini(take_port);
		return false;
	}
	if (link_new(b->context.base, take_port, &link_ops, b, &b->link))
		return false;
	link_positions(b->link, &in, &out);
	dynmem_resume(b->core, out, clock_monotonic_ns());
	b->resumable = false;
	timer_set(b->timer, 0);
	return true;
}

void bind_dynmem_begin(struct bind_dynmem *b)
{
	struct dynmem_status status;

	b->resumable = false;
	dynmem_get_status(b->core, &status);
	if (b->link || status.state == DYNMEM_STATE_CLOSED)
		return;
	end_channel(b);
}

static void close_channel(void *self, const char *why)
{
	struct bind_dynmem *b = self;

	(void)why;
	if (b->has_waiting)
		vmbus_port_fini(&b->waiting);
	b->has_waiting = false;
	b->link = link_free(b->link);
	end_channel(b);
}

static int open_keeper(struct bind_dynmem *b)
{
	if (!b->context.session) {
		b->problem = "dynamic memory is switched off";
		return 0;
	}
	b->work.keeper = session_keeper(b->context.session);
	b->work.sources = session_sources(b->context.session);
	b->problem = session_problem(b->context.session);
	memory_sources_get_stats(b->work.sources, &b->stats);
	if (!b->work.keeper)
		return 0;
	return watch_keeper(b);
}

/* Tells the host how memory would have to be aligned; a size we cannot express stays the default. */
static void read_alignment(uint8_t *alignment)
{
	uint64_t block_bytes;

	if (blocks_read_size(BLOCKS_DIR, &block_bytes) == 0)
		(void)!memhotplug_align_code(block_bytes, alignment);
}

static void on_stall(void *user)
{
	struct bind_dynmem *b = user;

	dynmem_report_soon(b->core, clock_monotonic_ns());
	timer_set(b->timer, 0);
}

static void open_reclaim(struct bind_dynmem *b)
{
	int r = reclaim_new(RECLAIM_PATH, &b->work.reclaim);

	if (r == RECLAIM_UNAVAILABLE)
		log_warning("memory: " RECLAIM_PATH " is not there, nothing is reclaimed in advance: "
			    "it needs Linux 5.19 and cgroup v2");
	else if (r)
		log_warning("memory: " RECLAIM_PATH ": %s: nothing is reclaimed in advance",
			    strerror(-r));
}

static int set_up(struct bind_dynmem *b)
{
	struct dynmem_config *config = &b->core_config;
	struct dynmem_session session;
	int r;

	dynmem_config_init(config);
	r = b->context.session ? hot_add_new(&b->work.hot_add) : 0;
	if (r)
		return r;
	config->can_hot_add = b->work.hot_add && hot_add_is_possible(b->work.hot_add);
	config->capabilities.hot_add = config->can_hot_add;
	read_alignment(&config->capabilities.hot_add_alignment);
	config->first_status_ns = b->context.config->report_delay_ns;
	r = dynmem_session_open(config, b->context.session, &session);
	if (r)
		return r;
	b->core = session.core;
	b->kept_in = session.in;
	b->resumable = session.resumable;
	r = memory_guard_new(b->context.base, b->context.config, on_stall, b, &b->guard);
	if (r)
		return r;
	if (b->context.config->reclaim)
		open_reclaim(b);
	b->timer = event_new(b->context.base, -1, 0, on_timer, b);
	if (!b->timer)
		return -ENOMEM;
	return open_keeper(b);
}

int bind_dynmem_new(const struct bind_dynmem_context *context, struct bind_dynmem **ret_binding)
{
	_cleanup_(cleanup_bind_dynmemp) struct bind_dynmem *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->context = *context;
	b->keeper_fd = -1;
	memory_work_init(&b->work, work_done);
	r = set_up(b);
	if (r)
		return r;

	*ret_binding = steal_ptr(b);
	return 0;
}

struct bind_dynmem *bind_dynmem_free(struct bind_dynmem *b)
{
	if (!b)
		return NULL;
	if (b->verified)
		b->verified(b->verified_user, NULL);
	(void)link_free(b->link);
	if (b->has_waiting)
		vmbus_port_fini(&b->waiting);
	if (b->timer)
		event_free(b->timer);
	(void)memory_guard_free(b->guard);
	(void)reclaim_free(b->work.reclaim);
	unwatch_keeper(b);
	(void)hot_add_free(b->work.hot_add);
	memory_work_fini(&b->work);
	(void)dynmem_free(b->core);
	free(b);
	return NULL;
}

void bind_dynmem_guard_blocks(struct bind_dynmem *b)
{
	if (!b->work.sources || (b->stats.blocks.blocks == 0 && !b->work.running))
		return;
	b->guard_due = true;
	timer_set(b->timer, 0);
}

struct service bind_dynmem_service(struct bind_dynmem *b)
{
	return (struct service){
		.name = "dynmem",
		.class_id = &vmbus_class_dynmem,
		.self = b,
		.open = open_channel,
		.close = close_channel,
		.resume = resume_channel,
	};
}

static json_t *keeper_status(const struct bind_dynmem *b)
{
	return json_pack("{s:I, s:I}", "pid", (json_int_t)keeper_client_pid(b->work.keeper),
			 "overcommit_pages", (json_int_t)b->stats.pages.overcommit_pages);
}

bool bind_dynmem_verify(struct bind_dynmem *b, void (*done)(void *user, json_t *take_answer),
			void *user)
{
	if (b->verified || !b->work.sources)
		return false;
	b->verified = done;
	b->verified_user = user;
	b->verify_due = true;
	timer_set(b->timer, 0);
	return true;
}

json_t *bind_dynmem_release(struct bind_dynmem *b)
{
	uint64_t pages = dynmem_unreported(b->core)->pages;

	if (dynmem_release(b->core))
		return NULL;
	if (pages > 0)
		log_notice("memory: %s of a host that is gone are put back into use",
			   size_format(pages * DYNMEM_PAGE_SIZE).text);
	timer_set(b->timer, 0);
	return json_pack("{s:i, s:I}", "schema", 1, "released_bytes", bytes(pages));
}

json_t *bind_dynmem_status(const struct bind_dynmem *b)
{
	const char *channel = connection_channel_state(*b->context.connection, b);
	bool has_channel = strcmp(channel, "none") != 0;
	struct dynmem_status s;
	char version[16];
	json_t *status;

	dynmem_get_status(b->core, &s);
	snprintf(version, sizeof(version), "%u.%u", s.version >> 16, s.version & 0xffff);
	status = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:I, s:I, s:o, s:o, s:o, s:o}", "channel",
			   channel, "state", dynmem_state_name(s.state), "version",
			   s.version ? version : NULL, "problem", b->problem, "given_up",
			   has_channel ? b->given_up : NULL, "unanswered",
			   has_channel && s.unanswered > 0 ? b->unanswered : NULL,
			   "ballooned_bytes", bytes(s.ballooned_pages),
			   "unreported_bytes", bytes(s.unreported_pages),
			   "pages", dynmem_status_pages(&b->stats), "blocks",
			   memory_sources_blocks_status(&b->stats), "operation",
			   dynmem_status_operation(&s.operation), "counters", dynmem_status_counters(&s.stats));
	if (status && b->work.keeper)
		json_object_set_new(status, "keeper", keeper_status(b));
	if (status && b->work.hot_add)
		json_object_set_new(status, "hot_add", hot_add_status(b->work.hot_add));
	memory_guard_add_status(b->guard, status);
	return status;
}

json_t *bind_dynmem_why(const struct bind_dynmem *b)
{
	json_t *why = memory_guard_why(b->guard);

	if (why)
		json_object_set_new(why, "blocks", memory_sources_blocks_status(&b->stats));
	return why;
}
