/* SPDX-License-Identifier: MIT */

/*
 * Terminals.
 *
 * A program that is ended in the middle of a live picture must not leave the shell without an echo, so
 * the signals that end one are caught while keys are read, and have the wait end as q does.
 */

#include "base/terminal.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	BAR_WIDTH = 40,
};

static volatile sig_atomic_t interrupted;

static bool has_colours(FILE *to)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(to)) && !(no_colour && *no_colour) && term && strcmp(term, "dumb") != 0;
}

const char *terminal_begin(FILE *to, enum terminal_colour colour)
{
	static const char *const codes[] = {
		[TERMINAL_PLAIN] = "",         [TERMINAL_BOLD] = "\033[1m",
		[TERMINAL_FAINT] = "\033[2m",  [TERMINAL_GOOD] = "\033[32m",
		[TERMINAL_WARNING] = "\033[33m", [TERMINAL_BAD] = "\033[1;31m",
	};

	return has_colours(to) ? codes[colour] : "";
}

const char *terminal_end(FILE *to, enum terminal_colour colour)
{
	return colour != TERMINAL_PLAIN && has_colours(to) ? "\033[0m" : "";
}

void terminal_progress(const char *what, double done, double total, const char *rest)
{
	char bar[BAR_WIDTH + 1];
	double part = total > 0 ? done / total : 0;
	int filled = part >= 1 ? BAR_WIDTH : (int)(part * BAR_WIDTH);

	if (!isatty(STDERR_FILENO))
		return;
	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r\033[K%s [%s] %s", what, bar, rest);
}

void terminal_progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

void terminal_live_open(struct terminal_live *live)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct termios raw;

	*live = (struct terminal_live){.in_place = isatty(STDOUT_FILENO)};
	live->reads_keys = live->in_place && tcgetattr(STDIN_FILENO, &live->before) == 0;
	if (!live->reads_keys)
		return;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	raw = live->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

void terminal_live_close(const struct terminal_live *live)
{
	if (live->reads_keys)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &live->before);
}

void terminal_live_draw(const struct terminal_live *live)
{
	if (live->in_place)
		fputs("\033[H\033[J", stdout);
}

bool terminal_live_wait(const struct terminal_live *live, int interval_ms)
{
	struct pollfd key = {.fd = live->reads_keys ? STDIN_FILENO : -1, .events = POLLIN};
	char c;
	int r = interrupted ? -1 : poll(&key, 1, interval_ms);

	if (r == 0)
		return true;
	return r == 1 && read(STDIN_FILENO, &c, 1) == 1 && c != 'q';
}

unsigned int terminal_lines(void)
{
	struct winsize size;

	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_row : 0;
}
