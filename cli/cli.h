/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/ask.h"
#include "base/completion.h"
#include "base/error.h"
#include "base/size.h"

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>

/*
 * What a verb of hvguestctl is made of. hvguestctl.c has the table of them; each file here has the
 * verbs of one subject.
 */

enum {
	CLI_OPTIONS_MAX = 8, /* of one verb */
};

/* The command line, as a verb sees it; all borrowed. */
struct cli {
	struct ask to;
	bool json;
	int n_operands;
	char *const *operands;
	const char *values[CLI_OPTIONS_MAX]; /* of the verb's options, in its order; NULL: not given,
					      * "" for one that takes no value */
};

struct verb {
	const char *name;
	const char *operands; /* what they are called; NULL: there are none */
	int n_required;       /* operands that must be there */
	int n_most;           /* and that may be */
	const char *help;
	struct completion_option options[CLI_OPTIONS_MAX + 1]; /* up to one without a name */
	int (*run)(const struct cli *cli);              /* returns the exit code */
};

/*
 * Asks for @path, and shows the answer: as it came with --json, else by @print. @code says which
 * exit code the answer means, however it is shown; NULL: any answer is EXIT_OK.
 */
int cli_show(const struct cli *cli, const char *path, void (*print)(const json_t *answer),
	     int (*code)(const json_t *answer));

/* The same with any method, and with @take_body (or NULL), waiting up to @timeout_ms. */
int cli_do(const struct cli *cli, const char *method, const char *path, json_t *take_body,
	   int timeout_ms, void (*print)(const json_t *answer), int (*code)(const json_t *answer));

/* What stands at @key of an answer, as text for people; "-" or 0 if it is missing. */
const char *text_of(const json_t *object, const char *key);
json_int_t number_of(const json_t *object, const char *key);
struct size_text bytes_of(const json_t *object, const char *key);
struct size_text seconds_of(const json_t *object, const char *key);

/* What status says about its memory part. */
void print_memory(const json_t *m);

/* And about file copy. */
void print_fcopy(const json_t *c);

/* What status says about disks. */
void print_disks_status(const json_t *d);

/* The verbs. */
int verb_check(const struct cli *cli);
int verb_top(const struct cli *cli);
int verb_status(const struct cli *cli);
int verb_copies(const struct cli *cli);
int verb_disks(const struct cli *cli);
int verb_freeze(const struct cli *cli);
int verb_health(const struct cli *cli);
int verb_host(const struct cli *cli);
int verb_kvp(const struct cli *cli);
int verb_notify(const struct cli *cli);
int verb_memory(const struct cli *cli);
int verb_metrics(const struct cli *cli);
int verb_plan(const struct cli *cli);
int verb_receipt(const struct cli *cli);
int verb_receipts(const struct cli *cli);
int verb_thaw(const struct cli *cli);
int verb_vmbus(const struct cli *cli);
int verb_watch(const struct cli *cli);
int verb_why(const struct cli *cli);
