/* SPDX-License-Identifier: MIT */
#pragma once

#include "memhotplug/blocks.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which memory blocks are worth an attempt to take them offline: cheap looks at page flags, and an
 * order. A page is 4 KiB.
 */

enum {
	SURVEY_STRIDE = 512,    /* pages: one look in each 2 MiB, so that no huge page is missed */
	SURVEY_USED_SHARE = 8,  /* a block of which more than an eighth is in use is left alone */
	SURVEY_KEPT_BLOCKS = 2, /* of each zone, so many always stay online */
};

/* What was seen of one block. */
struct survey {
	uint32_t looks; /* how many make a whole survey; at least 1 */
	uint32_t done;
	uint32_t used;  /* looks that found a page in use */
	bool hopeless;  /* one found memory of the kernel, or a huge page of a pool */
};

/* Begins the survey of a block of @block_pages. */
void survey_init(struct survey *survey, uint64_t block_pages);

/*
 * The page that the next look is to be at, counted from the block's first. Looks are scattered, so
 * that a block in use shows itself early.
 */
uint64_t survey_next_page(const struct survey *survey);

/* Takes what /proc/kpageflags says of that page. False: there is no need for another look. */
bool survey_take(struct survey *survey, uint64_t flags);

/* True if the survey is whole and the block is worth an attempt. */
bool survey_is_fit(const struct survey *survey);

struct survey_candidate {
	uint64_t number; /* of the block */
	enum block_zone zone;
	uint32_t used;   /* looks; 0: it is free as far as was seen */
};

/*
 * Puts the candidates in the order in which to try them: free ones first; then by zone, Movable
 * before Normal before DMA32; then the less used; then the higher ones.
 */
void survey_order(struct survey_candidate *candidates, size_t n);

/*
 * The online blocks of each zone that may be taken: all but SURVEY_KEPT_BLOCKS, and none where
 * there is no telling.
 */
void survey_spare(const struct blocks *blocks, uint64_t ret_spare[BLOCK_N_ZONES]);
