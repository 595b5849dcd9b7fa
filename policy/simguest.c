/* SPDX-License-Identifier: MIT */

/*
 * The memory of a simulated guest.
 *
 * needed     kernel (96 MiB and a 64th of the maximum) + hot private memory + hot files
 * room       assigned, less what the kernel keeps free (16 MiB and a 128th), less what the host has
 *            not got
 * resident   what of the needed is in memory; cold private memory has what is left, and then files
 *            that were read once
 *
 * Each hot page is used about once in 10 s. One that is not resident has to be read: tasks wait, and
 * it is resident then, if there is room; if there is none, another one had to go, so the waiting goes
 * on. Memory that is taken is taken from pages that nobody misses first. Cold pages that are pushed
 * out cost their writing, which nobody waits for.
 *
 * A read moves 8 pages (Linux's default read-around of swap, vm.page-cluster = 3) in 0.11 ms, which is
 * what a synchronous access of a fast disk took where this project was measured: 13.75 us for a page.
 * That is short; with a slower disk each policy waits longer, and those that cause more faults more so.
 *
 * Memory is taken at 1 GiB/s and given at 8 GiB/s, between what was measured for 4 KiB pages (2 and 8
 * GiB/s with memory to spare, less without) and for huge pages (10 and 400).
 */

#include "policy/simguest.h"

#include "base/amount.h"

enum {
	MIB = 256, /* pages */
	KERNEL_PAGES = 96 * MIB,
	KERNEL_SHARE = 64,
	KEPT_PAGES = 16 * MIB,
	KEPT_SHARE = 128,
	SECOND_US = 1000000,
	SWAP_KB = 8 << 20,
};

static uint64_t kernel_pages(const struct simguest *g)
{
	return KERNEL_PAGES + g->maximum_pages / KERNEL_SHARE;
}

static uint64_t kept_pages(const struct simguest *g)
{
	return KEPT_PAGES + g->assigned_pages / KEPT_SHARE;
}

uint64_t simguest_wanted_pages(const struct simguest *g)
{
	return g->needed_pages + KEPT_PAGES + g->needed_pages / KEPT_SHARE;
}

/* Of what is resident beside the kernel, what is private and hot. */
static uint64_t hot_resident(const struct simguest *g)
{
	uint64_t all = g->load.hot_pages + g->load.file_pages;

	return all > 0 ? sub_u64(g->resident_pages, kernel_pages(g)) * g->load.hot_pages / all : 0;
}

static void take_load(struct simguest *g, const struct fleet_load *load, uint64_t room)
{
	uint64_t missing = g->needed_pages - g->resident_pages, was = g->needed_pages;
	uint64_t resident;

	g->load = *load;
	g->needed_pages = kernel_pages(g) + load->hot_pages + load->file_pages;
	/* What is new is made in memory; of what is no longer needed a part was missing. */
	if (g->needed_pages < was)
		missing = missing * g->needed_pages / was;
	resident = g->needed_pages - missing;
	if (resident > room)
		g->swapped_out_pages += resident - room;
	g->resident_pages = min_u64(resident, room);
}

static void share_rest(struct simguest *g, uint64_t room)
{
	uint64_t rest = room - g->resident_pages;
	uint64_t cold = min_u64(g->load.cold_pages, rest);

	g->swapped_out_pages += sub_u64(g->cold_pages, cold);
	g->cold_pages = cold;
	g->cache_pages = min_u64(g->cache_pages + g->load.read_pages, rest - cold);
}

static void fault(struct simguest *g, uint64_t room)
{
	uint64_t touched = (g->needed_pages - g->resident_pages) / SIMGUEST_TOUCH_S;

	touched = min_u64(touched, SECOND_US * UINT64_C(1000) / SIMGUEST_FAULT_NS);
	g->refaults += touched;
	g->stalled_us = touched * SIMGUEST_FAULT_NS / 1000;
	g->some_us += g->stalled_us;
	g->full_us += g->stalled_us / 2;
	/* Without room each page that is read pushes out another. */
	g->swapped_out_pages += sub_u64(g->resident_pages + touched, room) / 2;
	g->resident_pages = min_u64(g->resident_pages + touched, room);
}

void simguest_step(struct simguest *g, const struct fleet_load *load, uint32_t absent_permille)
{
	uint64_t room = sub_u64(g->assigned_pages, kept_pages(g)) * (1000 - absent_permille) / 1000;

	take_load(g, load, room);
	fault(g, room);
	share_rest(g, room);
}

void simguest_init(struct simguest *g, uint64_t maximum_pages, uint64_t assigned_pages,
		   const struct fleet_load *load)
{
	*g = (struct simguest){.maximum_pages = maximum_pages, .assigned_pages = assigned_pages};
	simguest_step(g, load, 0);
	/* Whatever waiting that was is before the start. */
	g->stalled_us = g->some_us = g->full_us = g->refaults = g->swapped_out_pages = 0;
}

void simguest_figures(const struct simguest *g, struct memory_figures *ret_figures)
{
	uint64_t hot = hot_resident(g);
	uint64_t file = sub_u64(sub_u64(g->resident_pages, kernel_pages(g)), hot);
	uint64_t used = kernel_pages(g) + hot + g->cold_pages;
	uint64_t swapped = (g->load.hot_pages - min_u64(hot, g->load.hot_pages)) +
			   (g->load.cold_pages - g->cold_pages);

	*ret_figures = (struct memory_figures){
		.total_kb = g->maximum_pages * 4,
		.free_kb = sub_u64(g->assigned_pages, used + file + g->cache_pages) * 4,
		/* All of the page cache counts as available, that which is needed too: so Linux says. */
		.available_kb = sub_u64(g->assigned_pages, used + kept_pages(g)) * 4,
		.committed_kb = g->load.committed_pages * 4,
		.active_file_kb = file * 4,
		.swap_total_kb = SWAP_KB,
		.swap_free_kb = sub_u64(SWAP_KB, swapped * 4),
		.swapped_out_pages = g->swapped_out_pages,
		.refaults = g->refaults,
		.has_stalls = true,
		.some = {.total_us = g->some_us},
		.full = {.total_us = g->full_us},
	};
}
