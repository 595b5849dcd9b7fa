/* SPDX-License-Identifier: MIT */

/*
 * What the verbs of hvhost have in common.
 *
 * A verb names its own options in a table, and where their values go; the parser for getopt and the
 * usage text are both made from it, so that they cannot disagree.
 */

#include "host/command.h"

#include "base/usage.h"
#include "host/verbs.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command_option no_options[] = {{0}};

enum {
	OPTIONS_MAX = 16,  /* of one verb */
	OWN_OPTION = 1000, /* what getopt gives for the first of them */
};

static const struct option common_options[] = {
	{"json", no_argument, NULL, 'j'},
	{"run-dir", required_argument, NULL, 'r'},
	{"api", required_argument, NULL, 'a'},
	{"help", no_argument, NULL, 'h'},
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
	char text[40];

	snprintf(text, sizeof(text), "--%s%s%s", name, argument ? " " : "", argument ? argument : "");
	printf("  %-17s %s\n", text, help);
}

static void print_usage(const struct command *c)
{
	printf("Usage: hvhost %s\n\n", c->usage);
	for (const struct command_option *o = own_options(c); o->name; o++)
		print_option(o->name, o->argument, o->help);
	print_option("json", NULL, "the answer as JSON");
	print_option("run-dir", "DIR", "folder of the host's sockets (default: " HVHOST_RUN_DIR ")");
	print_option("api", "SOCKET", "the host's API (default: api.sock in that folder)");
}

int command_usage_error(const struct command *c)
{
	fprintf(stderr, "hvhost: usage: hvhost %s\n", c->usage);
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
		if (asprintf(&c->api, "%s/api.sock", optarg) < 0)
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

	c->to = (struct ask){"hvhost", HVHOST_RUN_DIR "/api.sock", "hvhost serve"};
	make_getopt_table(c, table);
	snprintf(help, sizeof(help), "hvhost %s --help", argv[0]);
	optind = 1;
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		if (o == 'h') {
			print_usage(c);
			return EXIT_OK;
		}
		if (o == ':' || o == '?')
			return usage_complain(o, argv, "hvhost", help);
		if (!take_option(c, o))
			return command_usage_error(c);
	}
	c->words = argv + optind;
	c->n_words = argc - optind;
	if (c->n_words < c->min_words || c->n_words > c->max_words)
		return command_usage_error(c);
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
