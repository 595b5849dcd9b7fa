/* SPDX-License-Identifier: MIT */

/*
 * The guard of this machine's memory.
 *
 * The floor says how much there is to give. It cannot say that the machine suffers: one that
 * thrashes has its working set read again and again, and MemAvailable may look fine. The kernel
 * measures for how long tasks wait for memory; when they do, nothing more is taken, and nothing for
 * a while after, so that what was given so far can settle.
 *
 * There is a catch. Taking memory is itself a task that waits for memory, when the kernel has to
 * make some free first, and it is counted with the others. So waiting that was measured while a
 * slice was taken proves nothing; it raises a doubt. In doubt nothing is taken for a moment, and the
 * machine is looked at while it is by itself:
 *
 *     before a request's first slice    doubt if the last ten seconds had more stalls than allowed
 *     before every other                doubt if tasks waited while the slice before was taken, or
 *                                       pages were read again that had been dropped too early
 *     in doubt                          wait for look_ns; go on if the stalls then are allowed, else
 *                                       stop, and give nothing for recover_ns
 *
 * A kernel that does not measure stalls leaves the floor, and the task that it kills.
 */

#include "policy/guard.h"

enum {
	US_PER_LOOK_MIN = 1,
	DOUBT_US = 10000,     /* of waiting, while a slice was taken */
	DOUBT_REFAULTS = 256, /* pages that had to be read again meanwhile */
	STALL_PERCENT = 10,
	CENTIPERCENT = 100,
};

#define NS_PER_SECOND UINT64_C(1000000000)

static const struct {
	const char *name;
	const char *text;
} reasons[] = {
	[GUARD_PLENTY] = {"plenty", "all that was asked for is available"},
	[GUARD_FLOOR] = {"floor", "no more is available above the floor"},
	[GUARD_STALLED] = {"stalled", "tasks wait for memory"},
	[GUARD_OOM] = {"oom", "the kernel has killed a task for want of memory"},
	[GUARD_RECOVERS] = {"recovers", "memory was short a moment ago"},
};

void guard_config_init(struct guard_config *config)
{
	*config = (struct guard_config){
		.stall_percent = STALL_PERCENT,
		.look_ns = NS_PER_SECOND / 10,
		.recover_ns = 60 * NS_PER_SECOND,
	};
}

void guard_init(struct guard *guard, const struct guard_config *config)
{
	*guard = (struct guard){.config = *config};
}

void guard_begin(struct guard *guard)
{
	guard->has_request = false;
	guard->looking = false;
}

static struct guard_decision stop(struct guard *guard, enum guard_reason reason)
{
	guard->looking = false;
	guard->stops[reason]++;
	return (struct guard_decision){.verdict = GUARD_STOP, .reason = reason};
}

static struct guard_decision stop_and_recover(struct guard *guard, enum guard_reason reason,
					      uint64_t now_ns)
{
	guard->recovers_until_ns = now_ns + guard->config.recover_ns;
	return stop(guard, reason);
}

static struct guard_decision wait(const struct guard *guard)
{
	return (struct guard_decision){
		.verdict = GUARD_WAIT,
		.reason = GUARD_STALLED,
		.until_ns = guard->look_began_ns + guard->config.look_ns,
	};
}

static struct guard_decision go(struct guard *guard, const struct memory_figures *figures,
				uint64_t may_give_pages, uint64_t want_pages)
{
	guard->stall_us = figures->some.total_us;
	guard->refaults = figures->refaults;
	if (may_give_pages == 0)
		return stop(guard, GUARD_FLOOR);
	if (may_give_pages >= want_pages)
		return (struct guard_decision){.verdict = GUARD_GO, .pages = want_pages};
	return (struct guard_decision){
		.verdict = GUARD_GO,
		.reason = GUARD_FLOOR,
		.pages = may_give_pages,
	};
}

/* Whether the stalls so far are a reason to look closer. */
static bool is_doubtful(const struct guard *guard, const struct memory_figures *figures,
			bool is_first)
{
	if (guard->config.stall_percent == 0 || !figures->has_stalls)
		return false;
	if (is_first)
		return figures->some.avg10_centipercent >
		       guard->config.stall_percent * CENTIPERCENT;
	return figures->some.total_us - guard->stall_us > DOUBT_US ||
	       figures->refaults - guard->refaults > DOUBT_REFAULTS;
}

/* The share of time since the look began in which tasks waited. */
static uint32_t stalled_percent(const struct guard *guard, const struct memory_figures *figures,
				uint64_t now_ns)
{
	uint64_t passed_us = (now_ns - guard->look_began_ns) / 1000;
	uint64_t stalled_us = figures->some.total_us - guard->stall_us;

	if (passed_us < US_PER_LOOK_MIN)
		passed_us = US_PER_LOOK_MIN;
	return stalled_us >= passed_us ? 100 : stalled_us * 100 / passed_us;
}

struct guard_decision guard_ask(struct guard *guard, const struct memory_figures *figures,
				uint64_t may_give_pages, uint64_t want_pages, uint64_t now_ns)
{
	bool is_first = !guard->has_request;

	if (is_first)
		guard->oom_kills = figures->oom_kills;
	guard->has_request = true;
	if (now_ns < guard->recovers_until_ns)
		return stop(guard, GUARD_RECOVERS);
	if (figures->oom_kills > guard->oom_kills)
		return stop_and_recover(guard, GUARD_OOM, now_ns);

	if (guard->looking) {
		if (now_ns - guard->look_began_ns < guard->config.look_ns)
			return wait(guard);
		guard->looking = false;
		guard->seen_percent = stalled_percent(guard, figures, now_ns);
		if (guard->seen_percent > guard->config.stall_percent)
			return stop_and_recover(guard, GUARD_STALLED, now_ns);
	} else if (is_doubtful(guard, figures, is_first)) {
		guard->looking = true;
		guard->look_began_ns = now_ns;
		guard->stall_us = figures->some.total_us;
		return wait(guard);
	}
	return go(guard, figures, may_give_pages, want_pages);
}

const char *guard_reason_name(enum guard_reason reason)
{
	return reasons[reason].name;
}

const char *guard_reason_text(enum guard_reason reason)
{
	return reasons[reason].text;
}
