/* SPDX-License-Identifier: MIT */

/*
 * A line chart.
 *
 * Colours are told apart by those who see few, too, and each line has its own dashes and its name at
 * the side; the text takes the reader's colour scheme. There is no script and nothing is fetched. Text
 * that comes from outside does not get in here: names are those of the program.
 */

#include "host/plot.h"

#include <stdio.h>

enum {
	WIDTH = 860,
	HEIGHT = 460,
	LEFT = 70,
	RIGHT = 690,
	TOP = 40,
	BOTTOM = 400,
	TICKS = 5,
};

static const struct {
	const char *colour;
	const char *dashes;
} styles[PLOT_LINES_MAX] = {
	{"#0072b2", "none"}, {"#56b4e9", "6 3"},  {"#999999", "2 3"},     {"#666666", "8 3 2 3"},
	{"#d55e00", "none"}, {"#e69f00", "6 3"},  {"#009e73", "none"},    {"#cc79a7", "2 3"},
};

struct scale {
	double x_min, x_max, y_max;
};

static struct scale find_scale(const struct plot *p)
{
	struct scale s = {.x_min = 0, .x_max = 1, .y_max = p->y_max};
	int first = 1;

	for (size_t l = 0; l < p->n_lines; l++) {
		for (size_t i = 0; i < p->lines[l].n; i++) {
			double x = p->lines[l].x[i], y = p->lines[l].y[i];

			if (first || x < s.x_min)
				s.x_min = x;
			if (first || x > s.x_max)
				s.x_max = x;
			if (p->y_max <= 0 && y > s.y_max)
				s.y_max = y;
			first = 0;
		}
	}
	if (s.x_max <= s.x_min)
		s.x_max = s.x_min + 1;
	if (s.y_max <= 0)
		s.y_max = 1;
	return s;
}

static double at_x(const struct scale *s, double x)
{
	return LEFT + (x - s->x_min) / (s->x_max - s->x_min) * (RIGHT - LEFT);
}

static double at_y(const struct scale *s, double y)
{
	if (y > s->y_max)
		y = s->y_max;
	return BOTTOM - y / s->y_max * (BOTTOM - TOP);
}

static void write_axes(const struct plot *p, const struct scale *s, FILE *file)
{
	fprintf(file, "<text x=\"%d\" y=\"24\" class=\"t\">%s</text>\n", LEFT, p->title);
	for (int i = 0; i <= TICKS; i++) {
		double x = s->x_min + (s->x_max - s->x_min) * i / TICKS, y = s->y_max * i / TICKS;

		fprintf(file, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"g\"/>\n", LEFT,
			RIGHT, at_y(s, y), at_y(s, y));
		fprintf(file, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 6,
			at_y(s, y) + 4, y);
		fprintf(file, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
			at_x(s, x), BOTTOM + 18, x);
	}
	fprintf(file, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (LEFT + RIGHT) / 2,
		BOTTOM + 42, p->x_label);
	fprintf(file, "<text x=\"16\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 16 %d)\">%s</text>\n",
		(TOP + BOTTOM) / 2, (TOP + BOTTOM) / 2, p->y_label);
	if (p->y_mark > 0)
		fprintf(file, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"m\"/>\n", LEFT,
			RIGHT, at_y(s, p->y_mark), at_y(s, p->y_mark));
}

static void write_line(const struct plot_line *line, size_t number, const struct scale *s, FILE *file)
{
	int y = TOP + 14 + 20 * (int)number;

	fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" points=\"",
		styles[number].colour, styles[number].dashes);
	for (size_t i = 0; i < line->n; i++)
		fprintf(file, "%.1f,%.1f ", at_x(s, line->x[i]), at_y(s, line->y[i]));
	fputs("\"/>\n", file);
	fprintf(file,
		"<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\" "
		"stroke-dasharray=\"%s\"/>\n<text x=\"%d\" y=\"%d\">%s</text>\n",
		RIGHT + 12, RIGHT + 42, y, y, styles[number].colour, styles[number].dashes, RIGHT + 50,
		y + 4, line->name);
}

int plot_write(const struct plot *plot, const char *path)
{
	struct scale s = find_scale(plot);
	FILE *file = fopen(path, "we");
	int failed;

	if (!file)
		return negative_errno();
	fprintf(file,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\" "
		"aria-label=\"%s\">\n<style>text{font:13px sans-serif;fill:#222}.t{font-size:16px}"
		".g{stroke:#8884}.m{stroke:#c00;stroke-dasharray:4 4}"
		"@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>\n",
		WIDTH, HEIGHT, plot->title);
	write_axes(plot, &s, file);
	for (size_t i = 0; i < plot->n_lines && i < PLOT_LINES_MAX; i++)
		write_line(&plot->lines[i], i, &s, file);
	fputs("</svg>\n", file);
	failed = ferror(file);
	if (fclose(file) != 0 || failed)
		return negative_errno();
	return 0;
}
