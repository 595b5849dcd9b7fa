/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * What a test's code has logged: standard error goes to a file from logged_init() on.
 */

static FILE *logged_file;

static inline void logged_init(enum log_level level)
{
	logged_file = tmpfile();
	cr_assert(ne(ptr, logged_file, NULL));
	cr_assert(eq(int, dup2(fileno(logged_file), STDERR_FILENO), STDERR_FILENO));
	log_open("test", level);
}

/* How many lines have @part in them. */
static inline int logged_lines(const char *part)
{
	char line[512];
	int n = 0;

	/* The file's position is that of standard error, too. */
	rewind(logged_file);
	while (fgets(line, sizeof(line), logged_file))
		n += strstr(line, part) != NULL;
	return n;
}
