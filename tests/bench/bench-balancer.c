/* SPDX-License-Identifier: MIT */

/*
 * One pass of the balancer over many guests.
 *
 * Every second all guests report; their demands move, so that each pass has something to decide, and
 * the host has four fifths of what they want, so that it has to share. The pass is measured, with the
 * fetching of its orders; half of the orders have ended before the next. The time for each guest at
 * 100 000 beside that at 1 000 shows how it grows.
 *
 *   balancer_pass_N_ms         with N guests
 *   balancer_pass_N_floor_ms   reading once what is known of each guest, and nothing else: no decision
 *                              can take less, if it knows of all of them
 */

#include "policy/balancer.h"
#include "tests/bench/bench.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Every word of what is known of each guest. The sum keeps a compiler from leaving it out. */
static uint64_t read_all(struct balancer *b, uint32_t n)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct balancer_guest *g = balancer_get(b, i);
		uint64_t word;

		for (size_t at = 0; at + sizeof(word) <= sizeof(*g); at += sizeof(word)) {
			memcpy(&word, (const char *)g + at, sizeof(word));
			sum += word;
		}
	}
	return sum;
}

struct growth {
	uint32_t n;
	struct bench_series pass, floor;
};

static void measure(struct growth *growth, int rounds)
{
	struct balancer_settings s;
	struct balancer_order order;
	struct balancer *b;
	unsigned int state = 1;
	uint64_t now = 0, sum = 0;

	balancer_settings_init(&s);
	s.budget_pages = (uint64_t)growth->n * 780 * MIB;
	s.first_action_ns = 0;
	if (balancer_new(&s, 0, &b))
		bench_die("balancer_new", 0);
	add_guests(b, growth->n, &state);
	for (int i = -2; i < rounds; i++) {
		double start, passed;

		now += SECOND;
		end_all(b, growth->n, now, i % 2);
		report_all(b, growth->n, now + 1, &state);
		start = now_ms();
		balancer_pass(b, now + 2);
		while (balancer_next_order(b, &order) == 0)
			continue;
		passed = now_ms();
		sum += read_all(b, growth->n);
		if (i < 0)
			continue;
		bench_add(&growth->pass, passed - start);
		bench_add(&growth->floor, now_ms() - passed);
	}
	if (sum == 0)
		bench_die("guests of whom nothing is known", 0);
	balancer_free(b);
}

int main(void)
{
	static struct growth growth[] = {
		{.n = 100}, {.n = 1000}, {.n = 4000}, {.n = 10000}, {.n = 100000},
	};
	const struct growth *small = &growth[1], *large = &growth[4];
	struct bench_series per_large = {0}, per_small = {0};
	char name[64];

	for (size_t i = 0; i < sizeof(growth) / sizeof(growth[0]); i++) {
		measure(&growth[i], (int)bench_choose(15, 7, 1));
		snprintf(name, sizeof(name), "balancer_pass_%u_ms", growth[i].n);
		bench_print(name, &growth[i].pass, "ms", BENCH_SMALLER);
		snprintf(name, sizeof(name), "balancer_pass_%u_floor_ms", growth[i].n);
		bench_print(name, &growth[i].floor, "ms", BENCH_SMALLER);
	}
	for (size_t i = 0; i < large->pass.n; i++) {
		bench_add(&per_large, large->pass.samples[i] / large->n);
		bench_add(&per_small, small->pass.samples[i] / small->n);
	}
	bench_print_ratio("balancer_pass_per_guest_100000_vs_1000", &per_large, &per_small,
			  BENCH_SMALLER);
	return 0;
}
