/* SPDX-License-Identifier: MIT */

/*
 * Choosing memory blocks.
 *
 * A free block goes offline in a fraction of a millisecond; one in use costs the moving of its
 * pages, and may fail after all. Reading the flags of every page tells which is which, but takes
 * longer than offlining does. So one page in each 2 MiB is looked at. Free memory lies in large
 * pieces, and a huge page of a pool covers its 2 MiB, so that one is never missed; of memory of
 * the kernel a single page may be, and then the attempt fails at once and does no harm.
 *
 * Blocks with huge pages of a pool are hopeless by decision: free ones would be taken out of
 * their owner's pool, and ones in use can make Linux 6.12 move pages round in circles within the
 * block while the pool has any to spare.
 *
 * The last blocks of a zone are never taken: a machine without memory that the kernel itself can
 * use stops, whatever the sum of its free pages.
 *
 * Source of the flags: Linux include/uapi/linux/kernel-page-flags.h.
 */

#include "memhotplug/survey.h"

#include <stdlib.h>

enum {
	FLAG_SLAB = 7,
	FLAG_BUDDY = 10, /* free */
	FLAG_HUGE = 17,  /* of a pool */
	FLAG_HWPOISON = 19,
	FLAG_NOPAGE = 20,
	FLAG_OFFLINE = 23, /* a balloon driver of the kernel has it */
	FLAG_PGTABLE = 26,
	FLAG_RESERVED = 32,
};

static const uint64_t hopeless_flags =
	UINT64_C(1) << FLAG_SLAB | UINT64_C(1) << FLAG_HUGE | UINT64_C(1) << FLAG_HWPOISON |
	UINT64_C(1) << FLAG_NOPAGE | UINT64_C(1) << FLAG_OFFLINE | UINT64_C(1) << FLAG_PGTABLE |
	UINT64_C(1) << FLAG_RESERVED;

void survey_init(struct survey *survey, uint64_t block_pages)
{
	uint64_t looks = block_pages / SURVEY_STRIDE;

	*survey = (struct survey){.looks = looks > 0 ? looks : 1};
}

/* The bits of @i in reverse, below @n, which is a power of two. */
static uint32_t reversed(uint32_t i, uint32_t n)
{
	uint32_t result = 0;

	for (; n > 1; n /= 2, i /= 2)
		result = result * 2 + i % 2;
	return result;
}

uint64_t survey_next_page(const struct survey *survey)
{
	/* Not the same place in each: what is laid out regularly would be seen always or never. */
	uint64_t within = survey->looks > 1 ? survey->done * 197 % SURVEY_STRIDE : 0;

	return (uint64_t)reversed(survey->done, survey->looks) * SURVEY_STRIDE + within;
}

static bool is_too_full(const struct survey *survey)
{
	return survey->used > survey->looks / SURVEY_USED_SHARE;
}

bool survey_take(struct survey *survey, uint64_t flags)
{
	survey->done++;
	if (!(flags >> FLAG_BUDDY & 1))
		survey->used++;
	if (flags & hopeless_flags)
		survey->hopeless = true;
	return !survey->hopeless && !is_too_full(survey) && survey->done < survey->looks;
}

bool survey_is_fit(const struct survey *survey)
{
	return survey->done == survey->looks && !survey->hopeless && !is_too_full(survey);
}

/* The lower, the better to be without. */
static int zone_rank(enum block_zone zone)
{
	switch (zone) {
	case BLOCK_ZONE_MOVABLE:
		return 0;
	case BLOCK_ZONE_NORMAL:
		return 1;
	case BLOCK_ZONE_DMA32:
		return 2;
	case BLOCK_ZONE_NONE:
	case BLOCK_ZONE_OTHER:
	case BLOCK_N_ZONES:
		break;
	}
	return 3;
}

static int compare(const void *left, const void *right)
{
	const struct survey_candidate *a = left, *b = right;
	int difference = (a->used > 0) - (b->used > 0);

	if (difference == 0)
		difference = zone_rank(a->zone) - zone_rank(b->zone);
	if (difference == 0)
		difference = (a->used > b->used) - (a->used < b->used);
	if (difference == 0)
		difference = (a->number < b->number) - (a->number > b->number);
	return difference;
}

void survey_order(struct survey_candidate *candidates, size_t n)
{
	if (n > 0)
		qsort(candidates, n, sizeof(candidates[0]), compare);
}

void survey_spare(const struct blocks *blocks, uint64_t ret_spare[BLOCK_N_ZONES])
{
	uint64_t online[BLOCK_N_ZONES] = {0};

	for (size_t i = 0; i < blocks->n; i++)
		if (blocks->list[i].state == BLOCK_ONLINE)
			online[blocks->list[i].zone]++;
	/* Movable memory is not needed by anything that cannot live elsewhere. */
	for (int zone = 0; zone < BLOCK_N_ZONES; zone++) {
		uint64_t kept = zone == BLOCK_ZONE_MOVABLE ? 0 : SURVEY_KEPT_BLOCKS;

		ret_spare[zone] = online[zone] > kept ? online[zone] - kept : 0;
	}
	ret_spare[BLOCK_ZONE_NONE] = 0;
	ret_spare[BLOCK_ZONE_OTHER] = 0;
}
