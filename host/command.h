/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/ask.h"
#include "base/cleanup.h"
#include "base/completion.h"
#include "base/size.h"

#include <stdbool.h>

/*
 * What the verbs of hvhost that ask a running host have in common: their options, their question
 * and how the answer is shown.
 */

enum {
	COMMAND_TIMEOUT_MS = 10000,
	COMMAND_POLL_US = 50000, /* between two questions about something that goes on */
	COMMAND_TEXTS_MAX = 64,
};

/* The values of an option that may be given again; borrowed from the command line. */
struct command_texts {
	const char *texts[COMMAND_TEXTS_MAX];
	int n;
};

/* An option of one verb; one of the three fields says where its value goes. */
struct command_option {
	const char *name;     /* without the dashes; NULL ends a list of them */
	const char *argument; /* what it takes, for the usage; NULL with a flag */
	const char *help;
	bool *flag;
	const char **text;
	struct command_texts *texts;
};

/* A verb's command line. */
struct command {
	const char *usage;                    /* what follows "hvhost " */
	const struct command_option *options; /* beside those that all verbs have; or NULL */
	int min_words, max_words;             /* how many arguments that are no options it takes */
	bool looks;                           /* changes nothing: read.sock serves it */
	/* Filled by command_parse(): */
	struct ask to;
	bool json;
	char **words;
	int n_words;
	char *api; /* owns to.socket, if it was derived from --run-dir */
};

/* What all verbs have, for completion. */
extern const struct completion_option command_common[];

/*
 * Tells main() of a verb instead of running it: its part of what shells complete by, or of the manual.
 * A verb finds "--describe FORM" on its command line, with @form "bash", "zsh" or "manual".
 */
void command_describe(const char *form, const char *usage, const struct completion_option *options);

/* Frees what parsing made; not the command line's own texts. */
void command_fini(struct command *c);
#define _cleanup_command_ __attribute__((cleanup(command_fini)))

/* Fills @c from the command line, whose argv[0] is the verb. -1, or the exit code. */
_must_check_ int command_parse(struct command *c, int argc, char **argv);

/* Says that @word is none of @words, which NULL ends, and which one may be meant. The exit code. */
_must_check_ int command_no_such(const struct command *c, const char *word, const char *const words[]);

/* Says @what is missing or too much, and how the verb is used. The exit code. */
_must_check_ int command_complain(const struct command *c, const char *what);

/* Says that the value of @option is not what is wanted. The exit code. */
_must_check_ int command_refuse(const char *option, const char *value, const char *wanted);

/* Asks, and prints the answer: as JSON, or by @print, which returns the exit code. */
_must_check_ int command_ask(struct command *c, const char *method, const char *path,
			     json_t *take_body, int (*print)(const json_t *answer));

/* "/v1/guests/NAME" and what follows, to be freed; NULL, and a message, if that cannot be. */
char *command_guest_path(const char *name, const char *rest);

/* A member as text; "-" if it is not there. */
const char *command_text(const json_t *object, const char *key);
struct size_text command_bytes(const json_t *object, const char *key);
struct size_text command_seconds(const json_t *object, const char *key);
