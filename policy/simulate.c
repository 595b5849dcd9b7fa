/* SPDX-License-Identifier: MIT */

/*
 * The simulation.
 *
 * Each second, in this order: every guest's load changes; its memory follows, and its tasks wait for
 * what is missing; then the policy looks, decides, and memory moves. If the guests have more than the
 * host, the rest is absent from all of them alike: the host pages them out, and every guest waits, as
 * it does for its own swapping.
 *
 * All policies start with the same amounts: what each guest needs in the first second and a quarter
 * more, or less in proportion if that is more than 95 % of the host. Only `static` and `foresight` have their own.
 *
 * A recorded guest used what it had and was not available, beside its kernel; that is its load, all of
 * it hot, whatever policy is replayed. What a guest would have used with more memory no recording
 * knows.
 */

#include "policy/simulate.h"

#include "base/amount.h"

#include "policy/floor.h"
#include "policy/waterfill.h"

#include <string.h>

enum {
	MIB = 256, /* pages */
	GIB = 1024 * MIB,
	STEP_MAXIMUM_PAGES = 8 * GIB,
	STEP_LOW_PERMILLE = 120,
	STEP_HIGH_PERMILLE = 500,
	PERMILLE = 1000,
};

struct guest {
	struct fleet_machine machine;            /* FLEET */
	const struct recording_guest *recording; /* RECORDING */
	struct simguest memory;
	uint64_t stalled_us;
	uint64_t last_target_pages;
	int direction;  /* of its target's last change: 1, -1; 0 = none yet */
	uint32_t turns;
};

struct run {
	const struct simulate_settings *settings;
	size_t n;
	struct guest *guests;
	struct contender_guest *contenders;
	struct contender *policy;
	struct simulate_result result;
	uint64_t used_sum; /* of needed and assigned, in MiB and seconds */
	uint64_t last_unmet_s;
	uint64_t sample_stalled_us;
};

static void run_fini(struct run *run)
{
	(void)contender_free(run->policy);
	free(run->guests);
	free(run->contenders);
}
#define _cleanup_run_ _cleanup_(run_fini)

/* Loads. */

/* Guests of even number want much at first, those of odd number after the step. */
static struct fleet_load step_load(size_t i, uint64_t second)
{
	bool high = (second < SIMULATE_STEP_AT_S) == (i % 2 == 0);
	uint64_t pages = (uint64_t)STEP_MAXIMUM_PAGES *
			 (high ? STEP_HIGH_PERMILLE : STEP_LOW_PERMILLE) / PERMILLE;

	return (struct fleet_load){
		.hot_pages = pages + (second * 7 + i) % 64, /* no machine stands quite still */
		.cold_pages = STEP_MAXIMUM_PAGES / 32,
		.file_pages = STEP_MAXIMUM_PAGES / 32,
		.committed_pages = pages * 5 / 4,
		.read_pages = MIB / 4,
	};
}

static struct fleet_load recorded_load(const struct recording_guest *g, uint64_t second)
{
	const struct recording_point *p = recording_at(g, second * 1000);
	const struct floor_rule rule = {.kind = FLOOR_KERNEL};
	const struct memory_figures none = {0};
	uint64_t kernel = 96 * MIB + g->limits.maximum_pages / 64, used, floor;

	if (!p)
		return (struct fleet_load){0};
	used = p->assigned_pages - min_u64(p->available_pages, p->assigned_pages);
	floor = floor_pages(&rule, &none, p->assigned_pages);
	return (struct fleet_load){
		.hot_pages = used - min_u64(used, kernel),
		.committed_pages = p->committed_pages -
				   min_u64(p->committed_pages, p->ballooned_pages + floor),
	};
}

static struct fleet_load load_at(struct run *run, size_t i, uint64_t second)
{
	switch (run->settings->source) {
	case SIMULATE_FLEET:
		return fleet_load_at(&run->guests[i].machine, second);
	case SIMULATE_STEP:
		return step_load(i, second);
	case SIMULATE_RECORDING:
		return recorded_load(run->guests[i].recording, second);
	}
	return (struct fleet_load){0};
}

/* The start. */

static void set_limits(struct run *run, size_t i)
{
	struct guest *g = &run->guests[i];
	struct contender_guest *c = &run->contenders[i];

	c->memory = &g->memory;
	switch (run->settings->source) {
	case SIMULATE_FLEET:
		fleet_machine_init(&g->machine, &run->settings->fleet, (uint32_t)i);
		c->minimum_pages = g->machine.minimum_pages;
		c->maximum_pages = g->machine.maximum_pages;
		break;
	case SIMULATE_STEP:
		c->minimum_pages = STEP_MAXIMUM_PAGES / 16;
		c->maximum_pages = STEP_MAXIMUM_PAGES;
		break;
	case SIMULATE_RECORDING:
		g->recording = recording_guest(run->settings->recording, i);
		c->minimum_pages = g->recording->limits.minimum_pages;
		c->maximum_pages = g->recording->limits.maximum_pages;
		break;
	}
}

static uint64_t needed_for(const struct contender_guest *c, const struct fleet_load *load)
{
	struct simguest g;

	simguest_init(&g, c->maximum_pages, c->maximum_pages, load);
	return simguest_wanted_pages(&g);
}

/* What each will need at most; only `foresight` is told. */
static void find_highest(struct run *run)
{
	for (size_t i = 0; i < run->n; i++) {
		struct contender_guest *c = &run->contenders[i];

		for (uint64_t s = 0; s < run->settings->seconds; s++) {
			struct fleet_load load = load_at(run, i, s);

			c->highest_pages = max_u64(c->highest_pages, needed_for(c, &load));
		}
		c->highest_pages = min_u64(c->highest_pages, c->maximum_pages);
		set_limits(run, i); /* from the start again */
	}
}

/* The amounts that all policies start with. -ENOMEM. */
static int assign_first(struct run *run)
{
	_cleanup_free_ struct waterfill_share *shares = calloc(run->n, sizeof(*shares));
	_cleanup_free_ struct fleet_load *loads = calloc(run->n, sizeof(*loads));

	if (!shares || !loads)
		return -ENOMEM;
	for (size_t i = 0; i < run->n; i++) {
		const struct contender_guest *c = &run->contenders[i];
		struct fleet_machine unchanged = run->guests[i].machine;
		uint64_t needed;

		loads[i] = load_at(run, i, 0);
		run->guests[i].machine = unchanged;
		needed = needed_for(c, &loads[i]) * 5 / 4;
		shares[i] = (struct waterfill_share){
			.low = c->minimum_pages,
			.high = min_u64(max_u64(needed, c->minimum_pages), c->maximum_pages),
			.weight = 1,
		};
	}
	waterfill(shares, run->n, run->settings->host_pages / 20 * 19);
	for (size_t i = 0; i < run->n; i++)
		simguest_init(&run->guests[i].memory, run->contenders[i].maximum_pages,
			      shares[i].pages, &loads[i]);
	return 0;
}

static int start(struct run *run)
{
	const struct simulate_settings *s = run->settings;
	uint64_t minima = 0;
	int r;

	run->n = s->source == SIMULATE_RECORDING ? recording_n_guests(s->recording) : s->n_guests;
	run->result.n_guests = run->n;
	run->guests = calloc(run->n + 1, sizeof(*run->guests));
	run->contenders = calloc(run->n + 1, sizeof(*run->contenders));
	if (!run->guests || !run->contenders)
		return -ENOMEM;
	for (size_t i = 0; i < run->n; i++) {
		set_limits(run, i);
		minima += run->contenders[i].minimum_pages;
	}
	run->result.fits = run->n > 0 && minima <= s->host_pages / 20 * 19;
	if (!run->result.fits)
		return 0;
	if (s->policy == CONTENDER_FORESIGHT)
		find_highest(run);
	r = assign_first(run);
	if (r)
		return r;
	r = contender_new(s->policy, run->contenders, run->n, s->host_pages, &run->policy);
	for (size_t i = 0; i < run->n; i++)
		run->guests[i].last_target_pages = run->contenders[i].target_pages;
	return r;
}

/* A second. */

/* By how much the guests have more than the host, in thousandths of what they have. */
static uint32_t absent_permille(struct run *run, bool counts)
{
	uint64_t sum = 0, over;

	for (size_t i = 0; i < run->n; i++)
		sum += run->guests[i].memory.assigned_pages;
	if (sum <= run->settings->host_pages)
		return 0;
	over = sum - run->settings->host_pages;
	if (counts) {
		run->result.over_seconds++;
		run->result.over_pages_max = max_u64(run->result.over_pages_max, over);
	}
	return (uint32_t)(over * PERMILLE / sum);
}

static void watch_target(struct guest *g, uint64_t target)
{
	int direction = target > g->last_target_pages ? 1 : -1;

	if (target == g->last_target_pages)
		return;
	g->turns += g->direction != 0 && g->direction != direction;
	g->direction = direction;
	g->last_target_pages = target;
}

static void watch(struct run *run, uint64_t second)
{
	bool is_step = run->settings->source == SIMULATE_STEP;

	for (size_t i = 0; i < run->n; i++) {
		struct guest *g = &run->guests[i];

		if (is_step && second < SIMULATE_STEP_AT_S) {
			g->last_target_pages = run->contenders[i].target_pages;
			continue;
		}
		watch_target(g, run->contenders[i].target_pages);
		if (is_step && g->memory.assigned_pages < g->memory.needed_pages)
			run->last_unmet_s = second;
	}
}

static void take_sample(struct run *run, uint64_t second)
{
	struct simulate_result *r = &run->result;
	uint64_t every = run->settings->seconds / SIMULATE_SAMPLES_MAX + 1;
	struct simulate_sample *s = &r->samples[r->n_samples];

	if (second % every != 0 || r->n_samples == SIMULATE_SAMPLES_MAX)
		return;
	*s = (struct simulate_sample){.second = second, .stalled_us = run->sample_stalled_us};
	for (size_t i = 0; i < run->n; i++) {
		s->needed_pages += run->guests[i].memory.needed_pages;
		s->assigned_pages += run->guests[i].memory.assigned_pages;
	}
	run->sample_stalled_us = 0;
	r->n_samples++;
}

static void count(struct run *run, bool counts)
{
	uint64_t used = 0;

	for (size_t i = 0; i < run->n; i++) {
		struct guest *g = &run->guests[i];

		run->sample_stalled_us += g->memory.stalled_us;
		used += min_u64(g->memory.needed_pages, g->memory.assigned_pages);
		if (counts)
			g->stalled_us += g->memory.stalled_us;
	}
	if (counts)
		run->used_sum += used / MIB;
}

static void pass_second(struct run *run, uint64_t second)
{
	bool counts = run->settings->source != SIMULATE_FLEET || second >= SIMULATE_WARM_UP_S;
	uint32_t absent = absent_permille(run, counts);
	uint64_t moved;

	for (size_t i = 0; i < run->n; i++) {
		struct fleet_load load = load_at(run, i, second);

		simguest_step(&run->guests[i].memory, &load, absent);
	}
	count(run, counts);
	take_sample(run, second);
	moved = contender_step(run->policy, second);
	if (counts)
		run->result.moved_pages += moved;
	watch(run, second);
}

/* The end. */

/* Jain, Chiu, Hawe, "A quantitative measure of fairness", 1984: (sum x)^2 / (n sum x^2). */
static uint32_t fairness_permille(const struct run *run, uint64_t seconds)
{
	uint64_t sum = 0, squares = 0;

	for (size_t i = 0; i < run->n; i++) {
		/* the share of the time without waiting, of 10 000 */
		uint64_t x = 10000 - min_u64(run->guests[i].stalled_us / 100 / max_u64(seconds, 1), 10000);

		sum += x;
		squares += x * x;
	}
	return squares > 0 ? (uint32_t)(sum * sum / run->n * PERMILLE / squares) : 0;
}

static void finish(struct run *run)
{
	struct simulate_result *r = &run->result;
	const struct simulate_settings *s = run->settings;
	uint64_t seconds = s->seconds;

	if (s->source == SIMULATE_FLEET)
		seconds -= min_u64(seconds, SIMULATE_WARM_UP_S);
	r->guest_seconds = seconds * run->n;
	for (size_t i = 0; i < run->n; i++) {
		r->stalled_us += run->guests[i].stalled_us;
		r->worst_stalled_us = max_u64(r->worst_stalled_us, run->guests[i].stalled_us);
		if (run->guests[i].turns > r->turns_max)
			r->turns_max = run->guests[i].turns;
	}
	r->fairness_permille = fairness_permille(run, seconds);
	r->used_permille = (uint32_t)(run->used_sum * PERMILLE / max_u64(seconds, 1) /
				      max_u64(s->host_pages / MIB, 1));
	r->converged = s->source == SIMULATE_STEP && run->last_unmet_s + 1 < s->seconds;
	r->convergence_s = run->last_unmet_s >= SIMULATE_STEP_AT_S
				   ? run->last_unmet_s + 1 - SIMULATE_STEP_AT_S
				   : 0;
}

int simulate(const struct simulate_settings *settings, struct simulate_result *ret_result)
{
	_cleanup_run_ struct run run = {.settings = settings};
	int r = start(&run);

	if (r)
		return r;
	if (run.result.fits) {
		for (uint64_t s = 0; s < settings->seconds; s++)
			pass_second(&run, s);
		finish(&run);
	}
	*ret_result = run.result;
	return 0;
}

uint64_t simulate_stall_ppm(const struct simulate_result *result)
{
	return result->guest_seconds > 0 ? result->stalled_us / result->guest_seconds : 0;
}

int simulate_fit(const struct simulate_settings *settings, uint64_t stall_ppm,
		 size_t *ret_n_guests, struct simulate_result *ret_result)
{
	struct simulate_settings s = *settings;
	struct simulate_result best = {0}, result;
	size_t low = 0, high = 1; /* low fits, or is 0; high does not, once it is bounded */
	bool is_bounded = false;
	int r;

	while (low + 1 < high || !is_bounded) {
		s.n_guests = is_bounded ? low + (high - low) / 2 : high;
		r = simulate(&s, &result);
		if (r)
			return r;
		if (result.fits && simulate_stall_ppm(&result) <= stall_ppm) {
			low = s.n_guests;
			best = result;
			is_bounded |= low == SIMULATE_GUESTS_MAX;
			high = is_bounded ? high : min_u64(2 * low, SIMULATE_GUESTS_MAX);
		} else {
			high = s.n_guests;
			is_bounded = true;
		}
	}
	*ret_n_guests = low;
	*ret_result = best;
	return 0;
}
