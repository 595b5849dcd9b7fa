/* SPDX-License-Identifier: MIT */

/*
 * One pass of the balancer over many guests.
 *
 * Every second all guests report; their demands move, so that each pass has something to decide, and
 * the host has four fifths of what they want, so that it has to share. The pass is measured, with the
 * fetching of its orders; half of the orders have ended before the next. The time for each guest at
 * 100 000 beside that at 1 000 shows how it grows.
 */

#include "policy/balancer.h"
#include "tests/bench/bench.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)

enum {
	MIB = 256,
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void add_guests(struct balancer *b, uint32_t n, unsigned int *state)
{
	for (uint32_t i = 0; i < n; i++) {
		struct balancer_limits l;
		char name[24];
		uint32_t id;

		balancer_limits_init(&l);
		l.minimum_pages = 128 * MIB;
		l.startup_pages = 512 * MIB;
		l.maximum_pages = (1024 + (uint64_t)((unsigned int)rand_r(state) % 4096)) * MIB;
		l.weight = 1 + (uint32_t)rand_r(state) % 10000;
		snprintf(name, sizeof(name), "guest-%u", i);
		if (balancer_add(b, name, &l, 0, &id))
			bench_die("balancer_add", 0);
	}
}

static void report_all(struct balancer *b, uint32_t n, uint64_t now, unsigned int *state)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct balancer_report r = {
			.committed_pages = (200 + (uint64_t)((unsigned int)rand_r(state) % 1200)) * MIB,
			.available_pages = (uint64_t)rand_r(state) % MIB,
			.growable_pages = UINT64_MAX,
		};

		(void)balancer_report(b, i, &r, now);
	}
}

/* The orders of a pass; every other is done at once, the rest before the next pass but one. */
static void end_all(struct balancer *b, uint32_t n, uint64_t now, bool all)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct balancer_guest *g = balancer_get(b, i);

		if (g->running == BALANCER_NONE || (!all && i % 2))
			continue;
		(void)balancer_moved(b, i, g->running, g->asked_pages, now);
		(void)balancer_ended(b, i, now);
	}
}

static void measure(uint32_t n, int rounds, struct bench_series *series)
{
	struct balancer_settings s;
	struct balancer_order order;
	struct balancer *b;
	unsigned int state = 1;
	uint64_t now = 0;

	balancer_settings_init(&s);
	s.budget_pages = (uint64_t)n * 780 * MIB;
	s.first_action_ns = 0;
	if (balancer_new(&s, 0, &b))
		bench_die("balancer_new", 0);
	add_guests(b, n, &state);
	for (int i = -2; i < rounds; i++) {
		double start;

		now += SECOND;
		end_all(b, n, now, i % 2);
		report_all(b, n, now + 1, &state);
		start = now_ms();
		balancer_pass(b, now + 2);
		while (balancer_next_order(b, &order) == 0)
			continue;
		if (i >= 0)
			bench_add(series, now_ms() - start);
	}
	balancer_free(b);
}

int main(void)
{
	struct bench_series small = {0}, middle = {0}, large = {0}, per_large = {0}, per_small = {0};
	int rounds = (int)bench_choose(15, 7, 1);

	measure(1000, rounds, &small);
	measure(4000, rounds, &middle);
	bench_print("balancer_pass_4000_ms", &middle, "ms", BENCH_SMALLER);
	measure(100000, rounds, &large);
	bench_print("balancer_pass_100000_ms", &large, "ms", BENCH_SMALLER);
	for (size_t i = 0; i < large.n; i++) {
		bench_add(&per_large, large.samples[i] / 100);
		bench_add(&per_small, small.samples[i]);
	}
	bench_print_ratio("balancer_pass_per_guest_100000_vs_1000", &per_large, &per_small,
			  BENCH_SMALLER);
	return 0;
}
