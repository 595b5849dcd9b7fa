/* SPDX-License-Identifier: MIT */

/*
 * host/qemu_memory.c between a real balancer, whose orders come from amounts set by hand, and a QEMU that
 * is made up here. Time goes on from now by what a case says.
 */

#include "base/clock.h"
#include "host/qemu_memory.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define MIB UINT64_C(256) /* in pages */
#define SECOND UINT64_C(1000000000)

struct world {
	struct event_base *base;
	struct balance *balance;
	struct qemu_memory *memory;
	uint64_t now_ns;
	uint64_t updated;
};

static void make(struct world *w, enum qemu_balloon balloon)
{
	struct balancer_settings settings;
	struct qemu_memory_config config = {
		.name = "vm", .balloon = balloon, .boot_pages = 1024 * MIB, .growable_pages = 0,
	};

	balancer_settings_init(&settings);
	settings.first_action_ns = 0;
	settings.shrink_spacing_ns = 0;
	*w = (struct world){.base = event_base_new(), .now_ns = clock_monotonic_ns()};
	cr_assert(eq(int, balance_new(w->base, &settings, &w->balance), 0));
	balancer_limits_init(&config.limits);
	config.limits.minimum_pages = 128 * MIB;
	config.limits.startup_pages = config.limits.maximum_pages = 1024 * MIB;
	config.balance = w->balance;
	cr_assert(eq(int, qemu_memory_new(&config, 1024 * MIB, &w->memory), 0));
}

static void end(struct world *w)
{
	(void)qemu_memory_free(w->memory);
	(void)balance_free(w->balance);
	event_base_free(w->base);
}

/* The guest has @available_mib, of which it should keep 100. */
static void report(struct world *w, uint64_t available_mib)
{
	const struct qemu_report r = {
		.committed_pages = 500 * MIB,
		.available_pages = available_mib * MIB,
		.floor_pages = 100 * MIB,
		.updated = ++w->updated,
	};

	w->now_ns += SECOND / 10;
	qemu_memory_report(w->memory, &r, w->now_ns);
}

static bool is_moving(const struct world *w)
{
	return balancer_get(balance_core(w->balance), qemu_memory_id(w->memory))->running !=
	       BALANCER_NONE;
}

/* By hand; the order comes through the loop. */
static void order(struct world *w, uint64_t mib)
{
	balancer_set_manual(balance_core(w->balance), qemu_memory_id(w->memory), mib * MIB);
	balancer_hurry(balance_core(w->balance));
	balance_kick(w->balance);
	for (int i = 0; i < 1000 && !is_moving(w); i++)
		event_base_loop(w->base, EVLOOP_ONCE);
	cr_assert(is_moving(w));
	w->now_ns = clock_monotonic_ns();
}

/* What QEMU is told now, in MiB; 0: nothing. */
static uint64_t told(struct world *w, bool is_quiet)
{
	uint64_t pages;

	return qemu_memory_next(w->memory, is_quiet, w->now_ns, &pages) ? pages / MIB : 0;
}

static void has(struct world *w, uint64_t mib)
{
	w->now_ns += SECOND / 10;
	qemu_memory_has(w->memory, mib * MIB, w->now_ns);
}

static uint64_t booked_mib(const struct world *w)
{
	return balancer_get(balance_core(w->balance), qemu_memory_id(w->memory))->assigned_pages /
	       MIB;
}

Test(qemu_memory, a_guest_of_virtio_is_asked_for_half_of_what_it_can_spare_at_a_time)
{
	struct world w;

	make(&w, QEMU_BALLOON_VIRTIO);
	report(&w, 500);
	order(&w, 500);
	cr_expect(eq(u64, told(&w, false), 0)); /* the last report is older than the order */
	report(&w, 500);
	cr_expect(eq(u64, told(&w, false), 1024 - 200));
	cr_expect(eq(u64, told(&w, false), 0)); /* on its way */
	has(&w, 900);
	cr_expect(eq(u64, told(&w, false), 0));
	has(&w, 824);
	cr_expect(eq(u64, told(&w, false), 0)); /* no report since */
	report(&w, 300);
	cr_expect(eq(u64, told(&w, true), 824 - 100));
	has(&w, 724);
	report(&w, 101);
	/* There is less than 2 MiB to ask for: the order has ended, with what it has. */
	cr_expect(eq(u64, told(&w, true), 0));
	cr_expect(eq(u64, booked_mib(&w), 724));
	cr_expect(not(is_moving(&w)));
	end(&w);
}

Test(qemu_memory, a_report_that_comes_again_is_none)
{
	struct world w;

	make(&w, QEMU_BALLOON_VIRTIO);
	report(&w, 500);
	w.updated--;
	report(&w, 100);
	cr_expect(eq(u64, balancer_get(balance_core(w.balance), 0)->report.available_pages, 500 * MIB));
	end(&w);
}

Test(qemu_memory, what_a_guest_does_not_give_is_not_asked_for_any_more)
{
	struct world w;

	make(&w, QEMU_BALLOON_VIRTIO);
	report(&w, 500);
	order(&w, 500);
	report(&w, 500);
	cr_expect(eq(u64, told(&w, false), 824));
	has(&w, 1000);
	w.now_ns += 4 * SECOND;
	cr_expect(eq(u64, told(&w, false), 0));
	w.now_ns += 2 * SECOND;
	cr_expect(eq(u64, told(&w, false), 1000));
	cr_expect(eq(u64, booked_mib(&w), 1000));
	cr_expect(eq(u64, told(&w, false), 0));
	end(&w);
}

Test(qemu_memory, memory_is_given_back_all_at_once)
{
	struct world w;

	make(&w, QEMU_BALLOON_VIRTIO);
	has(&w, 600);
	report(&w, 5);
	order(&w, 900);
	cr_expect(eq(u64, told(&w, false), 900));
	has(&w, 900);
	cr_expect(eq(u64, booked_mib(&w), 900));
	cr_expect(not(is_moving(&w)));
	end(&w);
}

Test(qemu_memory, hv_balloon_is_set_only_when_its_guest_is_silent)
{
	struct world w;

	make(&w, QEMU_BALLOON_HV);
	report(&w, 5);
	order(&w, 500);
	cr_expect(eq(u64, told(&w, false), 0));
	cr_expect(eq(u64, told(&w, true), 500)); /* its guest refuses what it cannot give */
	w.now_ns += 59 * SECOND; /* it may be silent for 50 s after its driver has connected */
	cr_expect(eq(u64, told(&w, true), 0));
	cr_expect(is_moving(&w));
	has(&w, 500);
	cr_expect(eq(u64, booked_mib(&w), 500));
	end(&w);
}

Test(qemu_memory, what_others_move_is_booked_too)
{
	struct world w;

	make(&w, QEMU_BALLOON_VIRTIO);
	has(&w, 700);
	cr_expect(eq(u64, booked_mib(&w), 700));
	has(&w, 1000);
	cr_expect(eq(u64, booked_mib(&w), 1000));
	end(&w);
}
