/* SPDX-License-Identifier: MIT */

/*
 * policy/simulate.c with fleet.c, simguest.c and contenders.c: the model of a guest's memory, the
 * same seed the same result, and what this project claims of its own balancer beside the others.
 */

#include "policy/simulate.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

enum {
	MIB = 256,
	GIB = 1024 * MIB,
};

Test(simulate, a_fleet_is_read_from_text)
{
	static const struct {
		const char *text;
		int result;
		uint32_t diurnal, idle;
	} rows[] = {
		{"diurnal=40,idle=20", 0, 40, 20},
		{"idle=1", 0, 0, 1},
		{"bursty=1,batch=2,leak=3", 0, 0, 0},
		{"", FLEET_MALFORMED, 0, 0},
		{"idle", FLEET_MALFORMED, 0, 0},
		{"idle=", FLEET_MALFORMED, 0, 0},
		{"idle=-1", FLEET_MALFORMED, 0, 0},
		{"idle=1,", FLEET_MALFORMED, 0, 0},
		{"idle=0", FLEET_MALFORMED, 0, 0},
		{"idle=1x", FLEET_MALFORMED, 0, 0},
		{"idle=9999999", FLEET_MALFORMED, 0, 0},
		{"lazy=1", FLEET_MALFORMED, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fleet_spec spec = {0};

		cr_expect(eq(int, fleet_parse(rows[i].text, &spec), rows[i].result), "%s", rows[i].text);
		cr_expect(eq(u32, spec.shares[FLEET_DIURNAL], rows[i].diurnal), "%s", rows[i].text);
		cr_expect(eq(u32, spec.shares[FLEET_IDLE], rows[i].idle), "%s", rows[i].text);
	}
}

Test(simulate, a_machine_of_a_fleet_stays_within_its_maximum_and_is_always_the_same)
{
	struct fleet_spec spec;

	fleet_spec_init(&spec);
	for (uint32_t i = 0; i < 40; i++) {
		struct fleet_machine one, two;

		fleet_machine_init(&one, &spec, i);
		fleet_machine_init(&two, &spec, i);
		for (uint64_t s = 0; s < 20000; s++) {
			struct fleet_load a = fleet_load_at(&one, s), b = fleet_load_at(&two, s);

			cr_assert(memcmp(&a, &b, sizeof(a)) == 0);
			cr_assert(a.hot_pages + a.cold_pages <= one.maximum_pages);
			cr_assert(a.hot_pages > 0);
		}
	}
}

static const struct fleet_load steady = {
	.hot_pages = 1000 * MIB,
	.cold_pages = 100 * MIB,
	.file_pages = 100 * MIB,
	.committed_pages = 1300 * MIB,
};

Test(simulate, a_guest_with_enough_memory_never_waits)
{
	struct simguest g;

	simguest_init(&g, 4 * GIB, 2 * GIB, &steady);
	for (int s = 0; s < 100; s++)
		simguest_step(&g, &steady, 0);
	cr_expect(eq(u64, g.some_us, 0));
	cr_expect(eq(u64, g.refaults, 0));
}

Test(simulate, a_guest_with_too_little_waits_until_it_has_more_and_then_reads_again_what_was_lost)
{
	struct simguest g;
	uint64_t waited;

	simguest_init(&g, 4 * GIB, 2 * GIB, &steady);
	g.assigned_pages = 1 * GIB; /* some 300 MiB too little */
	for (int s = 0; s < 60; s++)
		simguest_step(&g, &steady, 0);
	cr_expect(g.swapped_out_pages > 100 * MIB);
	waited = g.stalled_us;
	cr_expect(waited > 10000, "%lu us", waited); /* in each second, for ever */
	g.assigned_pages = 2 * GIB;
	simguest_step(&g, &steady, 0);
	cr_expect(g.stalled_us > 0);
	for (int s = 0; s < 300; s++)
		simguest_step(&g, &steady, 0);
	cr_expect(eq(u64, g.stalled_us, 0));
	cr_expect(le(u64, g.needed_pages - g.resident_pages, SIMGUEST_TOUCH_S));
}

Test(simulate, memory_that_the_host_has_not_got_makes_guests_wait)
{
	struct simguest g;

	simguest_init(&g, 4 * GIB, 2 * GIB, &steady);
	simguest_step(&g, &steady, 500);
	cr_expect(g.stalled_us > 0);
}

static struct simulate_result run(enum contender_kind policy, enum simulate_source source,
				  size_t n, uint64_t host_gib, uint64_t seconds)
{
	struct simulate_settings s = {
		.policy = policy,
		.source = source,
		.n_guests = n,
		.host_pages = host_gib * GIB,
		.seconds = seconds,
	};
	struct simulate_result r;

	fleet_spec_init(&s.fleet);
	cr_assert(eq(int, simulate(&s, &r), 0));
	return r;
}

Test(simulate, the_same_seed_gives_the_same_result)
{
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		enum contender_kind policy = (enum contender_kind)kind;
		struct simulate_result a = run(policy, SIMULATE_FLEET, 10, 40, 1800);
		struct simulate_result b = run(policy, SIMULATE_FLEET, 10, 40, 1800);

		cr_expect(memcmp(&a, &b, sizeof(a)) == 0, "%s", contender_name(policy));
		cr_expect(eq(int, (int)contender_named(contender_name(policy)), kind));
		cr_expect(strlen(contender_text(policy)) > 10);
	}
	cr_expect(eq(int, (int)contender_named("nobody"), CONTENDER_N_KINDS));
}

Test(simulate, minima_that_do_not_fit_are_not_simulated)
{
	cr_expect(not(run(CONTENDER_HVGUEST, SIMULATE_FLEET, 200, 16, 1000).fits));
	cr_expect(not(run(CONTENDER_HVGUEST, SIMULATE_FLEET, 0, 16, 1000).fits));
}

Test(simulate, the_balancer_never_gives_more_than_the_host_has)
{
	struct simulate_result r = run(CONTENDER_HVGUEST, SIMULATE_FLEET, 36, 96, 7200);

	cr_assert(r.fits);
	cr_expect(eq(u64, r.over_seconds, 0));
	cr_expect(gt(u64, r.moved_pages, 0));
	cr_expect(gt(sz, r.n_samples, 200));
}

Test(simulate, after_a_step_the_balancer_is_there_five_times_sooner_than_mom_and_proxmox)
{
	struct simulate_result ours = run(CONTENDER_HVGUEST, SIMULATE_STEP, 16, 68, 4500);
	struct simulate_result mom = run(CONTENDER_MOM, SIMULATE_STEP, 16, 68, 4500);
	struct simulate_result proxmox = run(CONTENDER_PROXMOX, SIMULATE_STEP, 16, 68, 4500);

	cr_expect(ours.converged && ours.convergence_s > 0);
	cr_expect(ge(u64, mom.convergence_s, 5 * ours.convergence_s));
	cr_expect(ge(u64, proxmox.convergence_s, 5 * ours.convergence_s));
	cr_expect(le(u32, ours.turns_max, 2));
}

Test(simulate, more_guests_fit_than_by_any_of_the_others, .timeout = 300)
{
	struct simulate_settings s = {
		.source = SIMULATE_FLEET,
		.host_pages = 128 * (uint64_t)GIB,
		.seconds = 2 * 3600,
	};
	size_t fit[CONTENDER_N_KINDS];
	struct simulate_result r;

	fleet_spec_init(&s.fleet);
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		s.policy = (enum contender_kind)kind;
		cr_assert(eq(int, simulate_fit(&s, 1000, &fit[kind], &r), 0));
		cr_expect(simulate_stall_ppm(&r) <= 1000);
	}
	cr_expect(ge(sz, fit[CONTENDER_HVGUEST] * 4, fit[CONTENDER_STATIC] * 5));
	for (int kind = CONTENDER_MOM; kind <= CONTENDER_SQUEEZED; kind++)
		cr_expect(ge(sz, fit[CONTENDER_HVGUEST] * 10, fit[kind] * 11), "%s",
			  contender_name((enum contender_kind)kind));
}

Test(simulate, a_recording_is_replayed_by_any_policy)
{
	_cleanup_(cleanup_recordingp) struct recording *recording = NULL;
	struct simulate_settings s = {.source = SIMULATE_RECORDING, .seconds = 601};
	char line[RECORDING_LINE_MAX];

	cr_assert(eq(int, recording_new(&recording), 0));
	cr_assert(eq(int, recording_add_line(recording, line, recording_write_head(line) - 1), 0));
	for (int i = 0; i < 2; i++) {
		struct balancer_limits l;

		balancer_limits_init(&l);
		l.minimum_pages = l.startup_pages = 512 * MIB;
		l.maximum_pages = 4 * GIB;
		cr_assert(eq(int,
			     recording_add_line(recording, line,
						recording_write_limits(line, i ? "b" : "a", &l) - 1),
			     0));
	}
	/* Both have 2 GiB; a's need goes up from 600 MiB to 3 GiB, of which it gets 2; b's is 600 MiB. */
	for (uint64_t t = 0; t <= 600; t++) {
		for (int i = 0; i < 2; i++) {
			uint64_t need = i == 0 && t >= 300 ? 2000 * MIB : 600 * MIB;
			const struct recording_point p = {
				.ms = t * 1000,
				.assigned_pages = 2 * GIB,
				.ballooned_pages = 2 * GIB,
				.committed_pages = 2 * GIB + need + 232 * MIB + 128 * MIB,
				.available_pages = 2 * GIB - need,
			};

			cr_assert(eq(int,
				     recording_add_line(recording, line,
							recording_write_point(line, i ? "b" : "a", &p) - 1),
				     0));
		}
	}
	s.recording = recording;
	s.host_pages = 4 * (uint64_t)GIB;
	for (int kind = 0; kind < CONTENDER_N_KINDS; kind++) {
		struct simulate_result r;

		s.policy = (enum contender_kind)kind;
		cr_assert(eq(int, simulate(&s, &r), 0));
		cr_expect(r.fits, "%s", contender_name(s.policy));
		cr_expect(eq(sz, r.n_guests, 2));
		if (s.policy == CONTENDER_HVGUEST)
			cr_expect(lt(u64, r.stalled_us, 10000000), "%lu", r.stalled_us);
	}
}
