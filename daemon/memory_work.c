/* SPDX-License-Identifier: MIT */

/*
 * Work on memory, in the worker's thread.
 *
 * A keeper that has died is replaced here, before or in the middle of whatever is to be done: the
 * next one gets the memory and the channel from our copies of the descriptors, and what the last one
 * had not finished is asked for again. That is right for a return, which changes nothing when it is
 * done twice, and for a take, whose pages nobody was told of.
 */

#include "daemon/memory_work.h"

#include "base/container.h"

#include <stdlib.h>
#include <string.h>

static int list_held(struct memory_work *work)
{
	free(work->held);
	work->held = NULL;
	work->n_held = 0;
	return memory_sources_list(work->sources, &work->held, &work->n_held);
}

/* Everything that is held, and whether it is where it was. */
static int verify(struct memory_work *work)
{
	int r;

	work->done_pages = work->moved_pages = 0;
	if (work->keeper) {
		r = keeper_client_verify(work->keeper, &work->done_pages, &work->moved_pages);
		if (r)
			return r == KEEPER_CLIENT_LOST ? MEMORY_SOURCES_LOST : r;
	}
	return list_held(work);
}

static int ask_sources(struct memory_work *work)
{
	switch (work->kind) {
	case WORK_TAKE:
		return memory_sources_take(work->sources, work->want_pages, work->avoid,
					   work->n_avoid, work->slice, &work->n_slice);
	case WORK_RETURN:
	case WORK_UNDO:
		return memory_sources_return(work->sources, work->ranges, work->n_ranges,
					     &work->done_pages);
	case WORK_GUARD:
		memory_sources_guard(work->sources);
		return 0;
	case WORK_VERIFY:
		return verify(work);
	case WORK_HOT_ADD:
		hot_add_run(work->hot_add);
		return 0;
	case WORK_REVIVE:
		break;
	}
	return MEMORY_SOURCES_LOST;
}

/*
 * A keeper that died may have taken a slice and not have said so: its successor holds it, and it is in
 * nobody's books. Then it is the slice. A slice of no ranges: there is no such.
 */
static int find_untold_slice(struct memory_work *work)
{
	struct rangeset held, known, untold;
	int r;

	rangeset_init(&held, SIZE_MAX);
	rangeset_init(&known, SIZE_MAX);
	rangeset_init(&untold, KEEPER_RANGES_MAX);
	work->n_slice = 0;
	r = list_held(work);
	if (!r)
		r = rangeset_add(&held, work->held, work->n_held);
	if (!r)
		r = rangeset_add(&known, work->avoid, work->n_avoid);
	if (!r)
		r = rangeset_add_difference(&untold, &held, &known);
	if (!r) {
		work->n_slice = untold.n_ranges;
		if (untold.n_ranges > 0)
			memcpy(work->slice, untold.ranges, untold.n_ranges * sizeof(work->slice[0]));
	}
	rangeset_fini(&held);
	rangeset_fini(&known);
	rangeset_fini(&untold);
	return r > 0 ? -EIO : r;
}

static int work_with_keeper(struct memory_work *work)
{
	int r = ask_sources(work);

	if (r != MEMORY_SOURCES_LOST)
		return r;
	r = keeper_client_revive(work->keeper);
	work->revived = r == 0;
	if (r || work->kind == WORK_REVIVE)
		return r > 0 ? -ECHILD : r;
	if (work->kind == WORK_TAKE) {
		r = find_untold_slice(work);
		if (r || work->n_slice > 0)
			return r;
	}
	r = ask_sources(work);
	return r == MEMORY_SOURCES_LOST ? -ECHILD : r;
}

static void run_work(struct worker_job *job)
{
	struct memory_work *work = container_of(job, struct memory_work, job.work);

	if (work->kind == WORK_TAKE && work->reclaim_bytes > 0)
		(void)!reclaim_ask(work->reclaim, work->reclaim_bytes);
	work->revived = false;
	work->result = work_with_keeper(work);
	memory_sources_get_stats(work->sources, &work->stats);
	work->lost_pages = work->revived ? work->stats.pages.lost_pages : 0;
	if (work->lost_pages > 0)
		work->list_result = list_held(work);
}

void memory_work_init(struct memory_work *work, void (*done)(struct job *job))
{
	work->job.work.run = run_work;
	work->job.done = done;
}

void memory_work_fini(struct memory_work *work)
{
	free(work->avoid);
	free(work->held);
	work->avoid = work->held = NULL;
}

int memory_work_avoid(struct memory_work *work, const struct rangeset *one,
		      const struct rangeset *other)
{
	const struct rangeset *sets[] = {one, other};
	size_t n = one->n_ranges + other->n_ranges, at = 0;
	struct page_range *avoid;

	avoid = reallocarray(work->avoid, n + 1, sizeof(*avoid));
	if (!avoid)
		return -ENOMEM;
	work->avoid = avoid;
	for (size_t i = 0; i < 2; i++)
		for (size_t j = 0; j < sets[i]->n_ranges; j++)
			avoid[at++] = sets[i]->ranges[j];
	return page_ranges_normalize(avoid, n, &work->n_avoid) == 0 ? 0 : -EINVAL;
}
