/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <termios.h>

/*
 * What only people at a terminal get to see: colours, progress bars, pictures that are drawn over and
 * over. Elsewhere none of it is written.
 */

enum terminal_colour {
	TERMINAL_PLAIN,
	TERMINAL_BOLD,
	TERMINAL_FAINT,
	TERMINAL_GOOD,
	TERMINAL_WARNING,
	TERMINAL_BAD,
};

/*
 * What begins and ends a colour on @to: empty unless that is a terminal that knows them and the
 * environment has no NO_COLOR (https://no-color.org).
 */
const char *terminal_begin(FILE *to, enum terminal_colour colour);
const char *terminal_end(FILE *to, enum terminal_colour colour);

/*
 * Draws "@what [####....] @rest" in place of the last one, on standard error. @total is 0 if it is not
 * known. Nothing unless that is a terminal.
 */
void terminal_progress(const char *what, double done, double total, const char *rest);

/* Takes it away. */
void terminal_progress_end(void);

/* A picture that is drawn again and again, on standard output. */
struct terminal_live {
	bool in_place;   /* over the last one; else one follows the other, for a log */
	bool reads_keys; /* q ends */
	struct termios before;
};

/* @live has to be closed again. */
void terminal_live_open(struct terminal_live *live);
void terminal_live_close(const struct terminal_live *live);

/* Before each picture. */
void terminal_live_draw(const struct terminal_live *live);

/* Waits for the time of one picture; false if the user wants no more. */
bool terminal_live_wait(const struct terminal_live *live, int interval_ms);

/* Lines of the terminal on standard output; 0 if it is none. */
unsigned int terminal_lines(void);
