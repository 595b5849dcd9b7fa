/* SPDX-License-Identifier: MIT */

/*
 * Histograms with fixed bounds, as Prometheus has them.
 *
 * An amount is counted with the first bound that is not below it. What is above all bounds is in the
 * count of all and in the sum only. The bounds do not change while a daemon runs: a query over time
 * compares equal with equal.
 */

#include "base/histogram.h"

#include <assert.h>

void histogram_init(struct histogram *h, const double *bounds, size_t n_bounds)
{
	assert(n_bounds <= HISTOGRAM_BOUNDS_MAX);
	*h = (struct histogram){.bounds = bounds, .n_bounds = n_bounds};
}

void histogram_add(struct histogram *h, double amount)
{
	size_t i = 0;

	while (i < h->n_bounds && amount > h->bounds[i])
		i++;
	if (i < h->n_bounds)
		h->counts[i]++;
	h->count++;
	h->sum += amount;
}

json_t *histogram_to_json(const struct histogram *h)
{
	json_t *le = json_array(), *counts = json_array();

	for (size_t i = 0; i < h->n_bounds; i++) {
		json_array_append_new(le, json_real(h->bounds[i]));
		json_array_append_new(counts, json_integer((json_int_t)h->counts[i]));
	}
	return json_pack("{s:o, s:o, s:I, s:f}", "le", le, "counts", counts, "count",
			 (json_int_t)h->count, "sum", h->sum);
}
