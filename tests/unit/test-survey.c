/* SPDX-License-Identifier: MIT */

/*
 * memhotplug/survey.c: which blocks are looked at, which are fit, and in which order.
 */

#include "memhotplug/survey.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define BUDDY   (UINT64_C(1) << 10)
#define LRU     (UINT64_C(1) << 5)
#define SLAB    (UINT64_C(1) << 7)
#define HUGETLB (UINT64_C(1) << 17)
#define PGTABLE (UINT64_C(1) << 26)
#define OFFLINE (UINT64_C(1) << 23)

enum {
	BLOCK_PAGES = 32768,
	LOOKS = BLOCK_PAGES / SURVEY_STRIDE,
};

Test(survey, every_two_mebibytes_are_looked_at_once)
{
	static const uint64_t sizes[] = {512, 1024, BLOCK_PAGES, 524288};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		static bool seen[524288 / SURVEY_STRIDE];
		struct survey s;
		bool more = true;

		memset(seen, 0, sizeof(seen));
		survey_init(&s, sizes[i]);
		cr_assert(eq(u64, s.looks, sizes[i] / SURVEY_STRIDE));
		while (more) {
			uint64_t page = survey_next_page(&s);

			cr_assert(lt(u64, page, sizes[i]));
			cr_assert(not(seen[page / SURVEY_STRIDE]));
			seen[page / SURVEY_STRIDE] = true;
			more = survey_take(&s, BUDDY);
		}
		cr_expect(eq(u32, s.done, s.looks));
		cr_expect(survey_is_fit(&s));
	}
}

Test(survey, a_block_smaller_than_a_huge_page_gets_one_look)
{
	struct survey s;

	survey_init(&s, 256);
	cr_expect(eq(u32, s.looks, 1));
	cr_expect(eq(u64, survey_next_page(&s), 0));
	cr_expect(not(survey_take(&s, BUDDY)));
	cr_expect(survey_is_fit(&s));
}

Test(survey, a_block_with_a_little_in_use_is_fit_and_one_with_more_is_not)
{
	for (uint32_t used = 0; used <= LOOKS; used++) {
		struct survey s;
		uint32_t left = used;

		survey_init(&s, BLOCK_PAGES);
		while (survey_take(&s, left > 0 ? LRU : BUDDY))
			left -= left > 0;
		cr_expect(eq(int, survey_is_fit(&s), used <= LOOKS / SURVEY_USED_SHARE), "%u used", used);
		/* One that is full shows itself after an eighth of the looks. */
		cr_expect(used != LOOKS || s.done == LOOKS / SURVEY_USED_SHARE + 1);
	}
}

Test(survey, one_look_at_the_wrong_thing_makes_a_block_hopeless)
{
	static const uint64_t wrong[] = {SLAB, HUGETLB, PGTABLE, OFFLINE, UINT64_C(1) << 19,
					 UINT64_C(1) << 20, UINT64_C(1) << 32};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct survey s;

		survey_init(&s, BLOCK_PAGES);
		cr_assert(survey_take(&s, BUDDY));
		cr_expect(not(survey_take(&s, wrong[i])));
		cr_expect(not(survey_is_fit(&s)));
	}
}

Test(survey, free_blocks_come_first_and_the_kernel_s_last)
{
	static const struct survey_candidate want[] = {
		{90, BLOCK_ZONE_MOVABLE, 0}, {80, BLOCK_ZONE_MOVABLE, 0}, {70, BLOCK_ZONE_NORMAL, 0},
		{20, BLOCK_ZONE_DMA32, 0},   {85, BLOCK_ZONE_MOVABLE, 1}, {86, BLOCK_ZONE_MOVABLE, 2},
		{60, BLOCK_ZONE_NORMAL, 1},
	};
	enum { N = sizeof(want) / sizeof(want[0]) };
	struct survey_candidate got[N];

	for (size_t shift = 0; shift < N; shift++) {
		for (size_t i = 0; i < N; i++)
			got[i] = want[(i * 3 + shift) % N];
		survey_order(got, N);
		for (size_t i = 0; i < N; i++)
			cr_expect(eq(u64, got[i].number, want[i].number), "place %zu", i);
	}
	survey_order(NULL, 0);
}

Test(survey, the_last_blocks_of_the_kernel_s_zones_are_not_to_spare)
{
	struct block list[12] = {0};
	struct blocks blocks = {.block_bytes = UINT64_C(128) << 20, .list = list, .n = 12};
	uint64_t spare[BLOCK_N_ZONES];

	for (size_t i = 0; i < 12; i++)
		list[i] = (struct block){.number = i, .state = BLOCK_ONLINE};
	list[0].zone = BLOCK_ZONE_NONE;
	list[1].zone = BLOCK_ZONE_DMA32;
	list[2].zone = list[3].zone = BLOCK_ZONE_MOVABLE;
	list[4].zone = BLOCK_ZONE_OTHER;
	for (size_t i = 5; i < 12; i++)
		list[i].zone = BLOCK_ZONE_NORMAL;
	list[11].state = BLOCK_OFFLINE;
	list[10].state = BLOCK_UNSETTLED;
	survey_spare(&blocks, spare);
	cr_expect(eq(u64, spare[BLOCK_ZONE_NONE], 0));
	cr_expect(eq(u64, spare[BLOCK_ZONE_OTHER], 0));
	cr_expect(eq(u64, spare[BLOCK_ZONE_DMA32], 0));
	cr_expect(eq(u64, spare[BLOCK_ZONE_MOVABLE], 2));
	cr_expect(eq(u64, spare[BLOCK_ZONE_NORMAL], 3));
}
