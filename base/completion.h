/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Completion for shells, from a program's table of verbs.
 *
 * The build writes what these print into files that bash and zsh read. The order of the calls is
 * begin, one verb after the other, end; everything is printed to standard output.
 */

struct completion_option {
	const char *name;     /* without the dashes; NULL ends a list */
	const char *argument; /* what its value is called; NULL: it takes none */
	const char *help;
};

struct completion_verb {
	const char *name;
	const char *help;
};

struct completion {
	const char *shell;   /* "bash" or "zsh" */
	const char *program;
	const struct completion_verb *verbs;
	size_t n_verbs;
	const struct completion_option *options; /* before the verb, and behind it */
};

/* Whether there is completion for this shell. */
bool completion_knows(const char *shell);

/* What stands before the verbs. */
void completion_begin(const struct completion *c);

/*
 * A verb, with its own options besides those of all verbs. Of @operands ("get|set GUEST [KEY]", or
 * NULL) words in small letters are offered, for FILE the files that there are, and for GUEST the
 * names that "PROGRAM status --names" prints. A value is offered by the same rules.
 */
void completion_verb(const struct completion *c, const char *name, const char *operands,
		     const struct completion_option *options);

/* And behind them. */
void completion_end(const struct completion *c);
