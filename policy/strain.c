/* SPDX-License-Identifier: MIT */

/*
 * Strain.
 *
 * How much memory is in use says nothing about how much would be. Two counters of the kernel do. A
 * refault is a page of the working set that had been dropped for want of room: with a page more it
 * would have stayed. So the refaults of the last half minute are what is lacking, page for page
 * (Linux mm/workingset.c has the reasoning). And tasks that wait for memory (PSI) show that something
 * is lacking, though not how much; so that share is in proportion to the waiting.
 *
 *     refault share    decays with 30 s, and grows by each refault; a quarter of the memory at most
 *     stall share      a quarter of the memory times the share of time in which tasks waited; it
 *                      rises at once and decays with 10 s
 *     target share     integrates the waiting above the target: a second of it is half of the memory.
 *                      Below the target it falls, without any waiting by a two-hundredth of the
 *                      memory each second. At most all of the memory.
 *
 * The first two are for the rule "workingset", the third for "psi". Rising has to be fast because
 * somebody waits; falling has to be slow, or a host that takes what is not asked for any more would
 * make the waiting that has just ended begin anew.
 *
 * A group that is at its own limit waits, and memory from the host would not help. Of such a look
 * nothing is added.
 */

#include "policy/strain.h"

#include "base/amount.h"

#define US_PER_SECOND UINT64_C(1000000)
#define NS_PER_US     UINT64_C(1000)
#define PASSED_MAX_US (UINT64_C(3600) * US_PER_SECOND) /* longer than that nothing is remembered */
#define PAGES_MAX     (UINT64_C(1) << 40)              /* 4 PiB: keeps every product below 2^64 */

enum {
	REFAULT_S = 30,
	STALL_S = 10,
	SHARE = 4,        /* of the memory: 1 / SHARE at most for refaults, and for stalls */
	TARGET_RISE = 2,  /* a second of waiting above the target: 1 / TARGET_RISE of the memory */
	TARGET_FALL = 200, /* a second without waiting: 1 / TARGET_FALL of it */
	PERCENT = 100,
	LIMIT_SHARE = 32, /* a group with less than that left of its limit is at its limit */
};

void strain_config_init(struct strain_config *config)
{
	*config = (struct strain_config){.target_percent = 1, .page_pages = 1};
}

void strain_init(struct strain *strain, const struct strain_config *config)
{
	*strain = (struct strain){.config = *config};
}

static struct strain_seen seen_of(uint64_t passed_ns, uint64_t stalled_us, uint64_t refaults)
{
	uint64_t passed_us = min_u64(passed_ns / NS_PER_US, PASSED_MAX_US);

	return (struct strain_seen){
		.passed_us = passed_us,
		.stalled_us = min_u64(stalled_us, passed_us),
		.refaults = refaults,
	};
}

struct strain_seen strain_between(const struct memory_figures *now,
				  const struct memory_figures *before, uint64_t passed_ns)
{
	uint64_t stalled_us = 0;

	if (now->has_stalls && before->has_stalls)
		stalled_us = sub_u64(now->some.total_us, before->some.total_us);
	return seen_of(passed_ns, stalled_us, sub_u64(now->refaults, before->refaults));
}

struct strain_seen strain_of_group(const struct memory_group *now, const struct memory_group *before,
				   uint64_t passed_ns)
{
	struct strain_seen seen;
	uint64_t stalled_us = 0;

	if (now->has_stalls && before->has_stalls)
		stalled_us = sub_u64(now->some.total_us, before->some.total_us);
	seen = seen_of(passed_ns, stalled_us, sub_u64(now->refaults, before->refaults));
	seen.at_limit = now->limit_bytes != UINT64_MAX &&
			now->current_bytes >= now->limit_bytes - now->limit_bytes / LIMIT_SHARE;
	return seen;
}

/* What is left of @pages. */
static uint64_t decay(uint64_t pages, uint64_t passed_us, uint64_t seconds)
{
	uint64_t passed_ms = passed_us / 1000, time_constant_ms = seconds * 1000;

	return pages * time_constant_ms / (time_constant_ms + passed_ms);
}

static void follow_target(struct strain *s, const struct strain_seen *seen, uint64_t memory)
{
	uint64_t target_us = seen->passed_us * s->config.target_percent / PERCENT;
	uint64_t over_us = sub_u64(seen->stalled_us, target_us);
	uint64_t under_us = sub_u64(target_us, seen->stalled_us);
	/* In hundredths of the target, so that nothing overflows whatever has passed. */
	uint64_t under_percent = target_us > 0 ? under_us * PERCENT / target_us : 0;

	s->target_pages += memory / TARGET_RISE * over_us / US_PER_SECOND;
	s->target_pages = sub_u64(s->target_pages, memory / TARGET_FALL * under_percent / PERCENT *
							    (seen->passed_us / 1000) / 1000);
	s->target_pages = min_u64(s->target_pages, memory);
}

void strain_observe(struct strain *s, const struct strain_seen *seen, uint64_t in_use_pages)
{
	uint64_t memory = min_u64(in_use_pages, PAGES_MAX), part = memory / SHARE;
	struct strain_seen counts = *seen;

	s->seen = *seen;
	if (counts.at_limit)
		counts.stalled_us = counts.refaults = 0;
	if (counts.passed_us == 0)
		return;

	s->refault_pages = decay(s->refault_pages, counts.passed_us, REFAULT_S) +
			   min_u64(counts.refaults, PAGES_MAX) * s->config.page_pages;
	s->refault_pages = min_u64(s->refault_pages, part);
	s->stall_pages = decay(s->stall_pages, counts.passed_us, STALL_S);
	/* By thousandths of the time: exact enough, and small. */
	s->stall_pages = max_u64(s->stall_pages,
			     part * (counts.stalled_us * 1000 / counts.passed_us) / 1000);
	s->stall_pages = min_u64(s->stall_pages, part);
	follow_target(s, &counts, memory);
}
