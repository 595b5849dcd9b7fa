/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Which page frame is where: an index of frames of one size, sorted by number.
 */

struct frame {
	uint64_t number; /* page frame number, in units of the index's frame size */
	uint32_t chunk;  /* whose it is */
	uint32_t unit;   /* which one of that chunk's */
};

/* The condition of frames_add(). */
enum {
	FRAMES_KNOWN = 1, /* a frame is named twice, or is in the index already */
};

struct frames {
	struct frame *entries;
	size_t n;
	size_t capacity;
};

void frames_init(struct frames *frames);
void frames_fini(struct frames *frames);

/*
 * Adds @n frames in any order; sorts @batch. All or nothing. Linear in the size of the index.
 * FRAMES_KNOWN, -ENOMEM.
 */
_must_check_ int frames_add(struct frames *frames, struct frame *batch, size_t n);

/* Position of the first frame whose number is @number or higher; frames->n if there is none. */
size_t frames_find(const struct frames *frames, uint64_t number);
