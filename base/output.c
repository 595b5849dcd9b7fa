/* SPDX-License-Identifier: MIT */

/*
 * Standard output at its end.
 *
 * What is printed waits in stdio's buffer, so an error may come with the last line, or be long past by
 * then; stdio remembers that there was one, but not which. A reader that has gone away is no error: it
 * ends the program by SIGPIPE.
 */

#include "base/output.h"

#include "base/ask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int output_end(const char *program, int code)
{
	int r = fflush(stdout) != 0 ? errno : 0;

	if (r == 0 && !ferror(stdout))
		return code;
	fprintf(stderr, "%s: standard output cannot be written%s%s\n", program, r ? ": " : "",
		r ? strerror(r) : "");
	return EXIT_ERROR;
}
