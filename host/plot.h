/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stddef.h>

/*
 * A line chart as a file of SVG, that needs nothing else to be shown.
 */

enum {
	PLOT_LINES_MAX = 8,
};

struct plot_line {
	const char *name; /* borrowed */
	const double *x;  /* @n of each; borrowed */
	const double *y;
	size_t n;
};

struct plot {
	const char *title;
	const char *x_label;
	const char *y_label;
	double y_max;      /* what is above is drawn at the edge; 0 = the highest value */
	double y_mark;     /* a line across, for a limit; 0 = none */
	struct plot_line lines[PLOT_LINES_MAX];
	size_t n_lines;
};

/* Writes @path anew. Negative errno. */
_must_check_ int plot_write(const struct plot *plot, const char *path);
