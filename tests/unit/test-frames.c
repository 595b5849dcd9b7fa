/* SPDX-License-Identifier: MIT */

/*
 * balloon/frames.c, by example and against a plain table under random additions.
 */

#include "balloon/frames.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

Test(frames, a_number_leads_to_its_chunk_and_unit)
{
	struct frame batch[] = {{30, 1, 0}, {10, 1, 1}, {20, 1, 2}}, later[] = {{15, 2, 0}};
	struct frames frames;
	size_t at;

	frames_init(&frames);
	cr_expect(eq(sz, frames_find(&frames, 0), 0));
	cr_assert(eq(int, frames_add(&frames, batch, 3), 0));
	cr_assert(eq(int, frames_add(&frames, later, 1), 0));
	at = frames_find(&frames, 11);
	cr_assert(eq(sz, at, 1));
	cr_expect(eq(u32, frames.entries[at].chunk, 2));
	at = frames_find(&frames, 20);
	cr_expect(eq(u64, frames.entries[at].number, 20));
	cr_expect(eq(u32, frames.entries[at].unit, 2));
	cr_expect(eq(sz, frames_find(&frames, 31), frames.n));
	frames_fini(&frames);
}

Test(frames, a_number_cannot_be_in_the_index_twice_and_the_refusal_changes_nothing)
{
	struct frame batch[] = {{10, 1, 0}, {20, 1, 1}};
	struct frame known[] = {{5, 2, 0}, {20, 2, 1}}, twice[] = {{7, 2, 0}, {7, 2, 1}};
	struct frames frames;

	frames_init(&frames);
	cr_assert(eq(int, frames_add(&frames, batch, 2), 0));
	cr_expect(eq(int, frames_add(&frames, known, 2), FRAMES_KNOWN));
	cr_expect(eq(int, frames_add(&frames, twice, 2), FRAMES_KNOWN));
	cr_expect(eq(sz, frames.n, 2));
	cr_expect(eq(int, frames_add(&frames, known, 0), 0));
	frames_fini(&frames);
}

enum {
	UNIVERSE = 4096,
	BATCH = 64,
	STEPS = 200,
};

Test(frames, agrees_with_a_table_under_random_batches)
{
	unsigned int seed = 20260102;
	bool model[UNIVERSE] = {0};
	struct frames frames;

	frames_init(&frames);
	for (uint32_t step = 0; step < STEPS; step++) {
		struct frame batch[BATCH];
		bool clash = false;
		size_t n = 1 + rand_r(&seed) % BATCH;
		int r;

		for (size_t i = 0; i < n; i++) {
			batch[i] = (struct frame){rand_r(&seed) % UNIVERSE, step, i};
			clash |= model[batch[i].number];
			for (size_t j = 0; j < i; j++)
				clash |= batch[j].number == batch[i].number;
		}
		r = frames_add(&frames, batch, n);
		cr_assert(eq(int, r, clash ? FRAMES_KNOWN : 0));
		for (size_t i = 0; r == 0 && i < n; i++)
			model[batch[i].number] = true;
		for (size_t i = 1; i < frames.n; i++)
			cr_assert(lt(u64, frames.entries[i - 1].number, frames.entries[i].number));
	}
	for (uint64_t number = 0; number < UNIVERSE; number++) {
		size_t at = frames_find(&frames, number);
		bool found = at < frames.n && frames.entries[at].number == number;

		cr_assert(eq(int, found, model[number]));
	}
	frames_fini(&frames);
}
