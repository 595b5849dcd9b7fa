/* SPDX-License-Identifier: MIT */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How often which amounts have come.
 */

enum {
	HISTOGRAM_BOUNDS_MAX = 16,
};

struct histogram {
	const double *bounds; /* rising, the largest that still belongs to its count */
	size_t n_bounds;
	uint64_t counts[HISTOGRAM_BOUNDS_MAX]; /* of the amounts up to each, and above the one before */
	uint64_t count;                        /* of all, those above the last bound too */
	double sum;
};

/* Empty; @bounds are borrowed, HISTOGRAM_BOUNDS_MAX of them at most. */
void histogram_init(struct histogram *h, const double *bounds, size_t n_bounds);

/* Counts @amount under the first bound that is not below it. */
void histogram_add(struct histogram *h, double amount);

/* {"le": the bounds, "counts", "count", "sum"} */
json_t *histogram_to_json(const struct histogram *h);
