/* SPDX-License-Identifier: MIT */

/*
 * An index of page frames.
 *
 * The host names pages by frame number, and may name them in any order and in any pieces. Memory
 * taken as 4 KiB pages can be a million frames; so the way from a number to its place is a
 * bisection in one sorted array, and a whole slice of new frames is merged in one pass. Entries
 * are taken out by the owner, who walks the array anyway when something was freed.
 */

#include "balloon/frames.h"

#include <stdlib.h>

void frames_init(struct frames *frames)
{
	*frames = (struct frames){0};
}

void frames_fini(struct frames *frames)
{
	free(frames->entries);
	frames_init(frames);
}

size_t frames_find(const struct frames *frames, uint64_t number)
{
	size_t low = 0, high = frames->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (frames->entries[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int compare_number(const void *a, const void *b)
{
	const struct frame *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static int reserve(struct frames *frames, size_t n)
{
	size_t capacity = frames->capacity;
	struct frame *entries;

	if (n <= capacity)
		return 0;

	while (capacity < n)
		capacity = capacity ? 2 * capacity : 64;
	entries = reallocarray(frames->entries, capacity, sizeof(*entries));
	if (!entries)
		return -ENOMEM;

	frames->entries = entries;
	frames->capacity = capacity;
	return 0;
}

int frames_add(struct frames *frames, struct frame *batch, size_t n)
{
	size_t in_index = frames->n, in_batch = n, to = frames->n + n;
	int r;

	if (n == 0)
		return 0;
	qsort(batch, n, sizeof(*batch), compare_number);
	for (size_t i = 0; i < n; i++) {
		size_t at = frames_find(frames, batch[i].number);

		if (at < frames->n && frames->entries[at].number == batch[i].number)
			return FRAMES_KNOWN;
		if (i > 0 && batch[i - 1].number == batch[i].number)
			return FRAMES_KNOWN;
	}
	r = reserve(frames, to);
	if (r)
		return r;

	/* Merge from the back, so that nothing is overwritten before it has been moved. */
	while (in_batch > 0) {
		if (in_index > 0 && frames->entries[in_index - 1].number > batch[in_batch - 1].number)
			frames->entries[--to] = frames->entries[--in_index];
		else
			frames->entries[--to] = batch[--in_batch];
	}
	frames->n += n;
	return 0;
}
