/* SPDX-License-Identifier: MIT */

/*
 * What the verbs of hvhost have in common.
 *
 * A verb names its own options in a table, and where their values go; the parser for getopt, the usage
 * text, the manual and what shells complete by are made from it, so that they cannot disagree. The
 * table is the verb's own and on its stack, so the latter two are had by running the verb, with an
 * option that has it tell of itself and end.
 */

#include "host/command.h"

#include "base/nearest.h"
#include "base/scdoc.h"
#include "base/usage.h"
#include "host/verbs.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command_option no_options[] = {{0}};

enum {
	OPTIONS_MAX = 16,  /* of one verb */
	OWN_OPTION = 1000, /* what getopt gives for the first of them */
	HELP_COLUMN = 18,  /* of the usage: characters of the option and its argument */
};

static const struct option common_options[] = {
	{"json", no_argument, NULL, 'j'},
	{"run-dir", required_argument, NULL, 'r'},
	{"api", required_argument, NULL, 'a'},
	{"help", no_argument, NULL, 'h'},
	{"describe", required_argument, NULL, 'd'}, /* main()'s */
};

const struct completion_option command_common[] = {
	{"json", NULL, "the answer as JSON"},
	{"run-dir", "DIR", "folder of the host's sockets (default: " HVHOST_RUN_DIR ")"},
	{"api", "SOCKET", "the host's API (default: api.sock or read.sock in that folder)"},
	{"help", NULL, "what else there is"},
	{0},
};

enum {
	N_COMMON = sizeof(common_options) / sizeof(common_options[0]),
};

static const struct command_option *own_options(const struct command *c)
{
	return c->options ? c->options : no_options;
}

static void print_option(const char *name, const char *argument, const char *help)
{
	char text[80];

	snprintf(text, sizeof(text), "--%s%s%s", name, argument ? " " : "", argument ? argument : "");
	if (strlen(text) > HELP_COLUMN) {
		printf("  %s\n", text);
		text[0] = '\0';
	}
	printf("  %-*s %s\n", HELP_COLUMN, text, help);
}

static void print_usage(const struct command *c)
{
	const char *help = verb_help(c->usage);

	printf("Usage: hvhost %s\n%c%s.\n\n", c->usage, toupper((unsigned char)help[0]), help + 1);
	for (const struct command_option *o = own_options(c); o->name; o++)
		print_option(o->name, o->argument, o->help);
	for (const struct completion_option *o = command_common; o->name; o++)
		print_option(o->name, o->argument, o->help);
	if (c->looks)
		puts("\nIt asks read.sock, which the members of --read-group may, too.");
}

static void print_manual(const char *usage, const struct completion_option *options)
{
	fputs("*hvhost* ", stdout);
	scdoc_print(usage);
	puts("\n");
	for (; options->name; options++) {
		printf("\t*--%s* ", options->name);
		scdoc_print(options->argument ? options->argument : "");
		fputs("\n\t\t", stdout);
		scdoc_print(options->help);
		puts("\n");
	}
}

void command_describe(const char *form, const char *usage, const struct completion_option *options)
{
	const struct completion c = {.shell = form, .program = "hvhost", .options = command_common};
	char verb[32];

	if (strcmp(form, "manual") == 0) {
		print_manual(usage, options);
		return;
	}
	snprintf(verb, sizeof(verb), "%.*s", (int)strcspn(usage, " "), usage);
	completion_verb(&c, verb, usage + strcspn(usage, " "), options);
}

static void describe(const struct command *c, const char *form)
{
	struct completion_option options[OPTIONS_MAX + 1] = {0};
	size_t n = 0;

	for (const struct command_option *o = own_options(c); o->name && n < OPTIONS_MAX; o++)
		options[n++] = (struct completion_option){o->name, o->argument, o->help};
	command_describe(form, c->usage, options);
}

int command_no_such(const struct command *c, const char *word, const char *const words[])
{
	const char *meant = nearest_word(word, words);

	if (meant)
		fprintf(stderr, "hvhost: what is '%s'? did you mean '%s'? usage: hvhost %s\n", word, meant,
			c->usage);
	else
		fprintf(stderr, "hvhost: what is '%s'? usage: hvhost %s\n", word, c->usage);
	return EXIT_USAGE;
}

int command_complain(const struct command *c, const char *what)
{
	fprintf(stderr, "hvhost: %s: hvhost %s\n", what, c->usage);
	return EXIT_USAGE;
}

int command_refuse(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "hvhost: %s %s: this is not %s\n", option, value, wanted);
	return EXIT_USAGE;
}

static void make_getopt_table(const struct command *c, struct option table[])
{
	const struct command_option *own = own_options(c);
	size_t n = 0;

	for (size_t i = 0; i < N_COMMON; i++)
		table[n++] = common_options[i];
	for (int i = 0; own[i].name && i < OPTIONS_MAX; i++)
		table[n++] = (struct option){
			.name = own[i].name,
			.has_arg = own[i].argument ? required_argument : no_argument,
			.val = OWN_OPTION + i,
		};
	table[n] = (struct option){0};
}

static bool take_own(const struct command_option *o, const char *value)
{
	if (o->flag) {
		*o->flag = true;
	} else if (o->text) {
		*o->text = value;
	} else {
		if (o->texts->n == COMMAND_TEXTS_MAX)
			return false;
		o->texts->texts[o->texts->n++] = value;
	}
	return true;
}

static bool take_option(struct command *c, int option)
{
	switch (option) {
	case 'j':
		c->json = true;
		return true;
	case 'a':
		c->to.socket = optarg;
		return true;
	case 'r':
		free(c->api);
		if (asprintf(&c->api, "%s/%s", optarg, c->looks ? "read.sock" : "api.sock") < 0)
			c->api = NULL;
		c->to.socket = c->api;
		return c->api != NULL;
	default:
		return take_own(&own_options(c)[option - OWN_OPTION], optarg);
	}
}

int command_parse(struct command *c, int argc, char **argv)
{
	struct option table[N_COMMON + OPTIONS_MAX + 1];
	char help[32];
	int o;

	c->to = (struct ask){"hvhost", c->looks ? HVHOST_RUN_DIR "/read.sock" : HVHOST_RUN_DIR "/api.sock",
			     "hvhost serve"};
	make_getopt_table(c, table);
	snprintf(help, sizeof(help), "hvhost %s --help", argv[0]);
	optind = 1;
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		if (o == 'h') {
			print_usage(c);
			return EXIT_OK;
		}
		if (o == 'd') {
			describe(c, optarg);
			return EXIT_OK;
		}
		if (o == ':' || o == '?')
			return usage_complain(o, argv, "hvhost", help);
		if (!take_option(c, o))
			return command_complain(c, "too many of one option");
	}
	c->words = argv + optind;
	c->n_words = argc - optind;
	if (c->n_words < c->min_words)
		return command_complain(c, "something is missing");
	if (c->n_words > c->max_words) {
		fprintf(stderr, "hvhost: what is '%s'? usage: hvhost %s\n", c->words[c->max_words],
			c->usage);
		return EXIT_USAGE;
	}
	return -1;
}

void command_fini(struct command *c)
{
	free(c->api);
	c->api = NULL;
}

int command_ask(struct command *c, const char *method, const char *path, json_t *take_body,
		int (*print)(const json_t *answer))
{
	json_t *answer;
	int r;

	r = ask(&c->to, method, path, take_body, COMMAND_TIMEOUT_MS, &answer);
	if (r)
		return r;
	if (c->json)
		ask_print_json(answer);
	else
		r = print(answer);
	json_decref(answer);
	return r;
}

char *command_guest_path(const char *name, const char *rest)
{
	char *path;

	if (!*name || strchr(name, '/')) {
		fprintf(stderr, "hvhost: '%s' is no guest's name: hvhost status lists the guests\n",
			name);
		return NULL;
	}
	if (asprintf(&path, "/v1/guests/%s%s", name, rest) < 0) {
		fputs("hvhost: no memory\n", stderr);
		return NULL;
	}
	return path;
}

const char *command_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

struct size_text command_bytes(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? size_format(json_integer_value(value))
				      : (struct size_text){"-"};
}

struct size_text command_seconds(const json_t *object, const char *key)
{
	return duration_format(json_number_value(json_object_get(object, key)) * 1e9);
}
