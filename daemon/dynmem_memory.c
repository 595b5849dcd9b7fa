/* SPDX-License-Identifier: MIT */

/*
 * The memory of dynamic memory: taken out of use and put back.
 *
 * The worker does it, because it may take seconds, and owns the pages: at most one job is under way, and
 * what is to be known of the pages comes back with it.
 *
 * Memory is taken in slices. Before each one the guard (daemon/memory_guard) reads the figures anew,
 * so that a request which began when there was plenty ends when there is not: never below the
 * floor, never into stalls, and not at all while a backup holds the file systems. A guard in doubt
 * has the next slice wait for a moment.
 *
 * The keeper's end is watched. Another one takes over what it held before anything else is done; if pages
 * had moved by then, the host must forget what it has.
 */

#include "daemon/dynmem_binding.h"

#include "base/clock.h"
#include "base/container.h"
#include "base/log.h"
#include "base/size.h"
#include "daemon/dynmem_status.h"
#include "daemon/journal.h"

#include <fcntl.h>
#include <string.h>

/* @pages without up to *@less of them, which becomes less by as many. */
static uint64_t take_off(uint64_t pages, uint64_t *less)
{
	uint64_t n = *less < pages ? *less : pages;

	*less -= n;
	return pages - n;
}

struct report_ballooned dynmem_memory_ballooned(const struct bind_dynmem *b)
{
	const struct pages_stats *pages = &b->stats.pages;
	uint64_t unreported = dynmem_unreported(b->core)->pages;
	struct report_ballooned r;

	r.block_pages = take_off(b->stats.blocks.blocks * b->stats.blocks.block_pages, &unreported);
	r.huge_pages = take_off(pages->source[PAGES_HUGE].bytes / DYNMEM_PAGE_SIZE, &unreported);
	r.small_pages = take_off(pages->source[PAGES_SMALL].bytes / DYNMEM_PAGE_SIZE, &unreported);
	return r;
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

void dynmem_memory_begin_take(struct bind_dynmem *b, uint64_t pages)
{
	b->take_due = true;
	b->wanted_pages = pages;
	b->taken_pages = 0;
	b->slice_from_ns = 0;
	memory_guard_begin(b->guard, pages);
}

void dynmem_memory_end_take(struct bind_dynmem *b, const char *why)
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
	const struct report_ballooned taken = dynmem_memory_ballooned(b);
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
	dynmem_memory_end_take(b, why);
	return false;
}

static void slice_failed(struct bind_dynmem *b, int r)
{
	if (r == -EPERM)
		b->problem = "page frame numbers are hidden without CAP_SYS_ADMIN";
	else if (r < 0)
		log_error("memory: taking pages: %s", strerror(-r));
	dynmem_memory_end_take(b, r == MEMORY_SOURCES_EXHAUSTED
					  ? "there are no more pages of an allowed kind"
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
		dynmem_memory_end_take(b, "a slice was not fit for the host");
	put_back(b, WORK_UNDO, w->slice, w->n_slice);
}

static void on_keeper_died(evutil_socket_t fd, short what, void *user)
{
	struct bind_dynmem *b = user;

	(void)fd;
	(void)what;
	log_as(EVENT_KEEPER_LOST, NULL,
	       "memory: hvguest-keeper is gone; starting another, which takes over what it held");
	b->revive_due = true;
	bind_dynmem_step(b);
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
static void start_anew(struct bind_dynmem *b)
{
	const struct memory_work *w = &b->work;
	struct dynmem_session session;

	log_as(EVENT_MEMORY_MOVED, NULL,
	       "memory: %s that the host has had moved before the new keeper could hold them; "
	       "closing the channel, so that it forgets them",
	       size_format(w->lost_pages * DYNMEM_PAGE_SIZE).text);
	connection_close_channel(*b->context.connection, b, true);
	bind_dynmem_commit(b);
	if (w->list_result ||
	    dynmem_session_open(&b->core_config, b->context.session, w->held, w->n_held, &session)) {
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
	b->revive_due = false;
	if (watch_keeper(b))
		log_error("memory: the end of the keeper cannot be watched: no memory");
	if (b->work.lost_pages > 0)
		start_anew(b);
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
	bind_dynmem_step(b);
}

bool dynmem_memory_work(struct bind_dynmem *b)
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
		dynmem_channel_end_drain(b); /* A channel, or whoever wants to verify, may have waited for it. */
		return true;
	} else if (b->verify_due)
		b->verify_due = !submit(b, WORK_VERIFY);
	return false;
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

int dynmem_memory_open(struct bind_dynmem *b)
{
	memory_work_init(&b->work, work_done);
	if (b->context.config->reclaim)
		open_reclaim(b);
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

void dynmem_memory_close(struct bind_dynmem *b)
{
	unwatch_keeper(b);
	(void)reclaim_free(b->work.reclaim);
	memory_work_fini(&b->work);
}
