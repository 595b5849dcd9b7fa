/* SPDX-License-Identifier: MIT */

/*
 * Wrong command lines.
 *
 * getopt_long() can complain by itself, but in a line of its own that begins with however the
 * program was called, and without a remedy. Here it is one line, the same from every program.
 * getopt_long() has gone past a long option and past the last letter of short ones when it
 * refuses; that is enough to tell what it was, but for a letter in the middle of others.
 */

#include "base/usage.h"

#include "base/ask.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

int usage_complain(int refused, char *const argv[], const char *program, const char *help)
{
	const char *what = refused == ':' ? "needs a value" : "is no option here";
	const char *last = argv[optind - 1];

	if (strncmp(last, "--", 2) == 0)
		fprintf(stderr, "%s: %.*s %s: see %s\n", program, (int)strcspn(last, "="), last,
			what, help);
	else
		fprintf(stderr, "%s: -%c %s: see %s\n", program, optopt, what, help);
	return EXIT_USAGE;
}
