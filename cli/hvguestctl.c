/* SPDX-License-Identifier: MIT */

/*
 * hvguestctl: asks hvguestd, and shows the answer to people or, with --json, to programs.
 *
 * It knows nothing of the daemon but its API. One table names every verb with its operands and
 * options; the command line's parser and the help text are both driven by it. Options may stand
 * before the verb or after it, and what follows "--" are operands.
 */

#include "cli/cli.h"

#include "base/nearest.h"
#include "base/output.h"
#include "base/scdoc.h"
#include "base/usage.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_API  "/run/hvguest/api.sock"
#define READ_API     "/run/hvguest/read.sock"

static const struct verb verbs[] = {
	{
		.name = "status",
		.help = "what the daemon does and sees; exit code 3 without a host, or if "
			"dynamic memory was given up",
		.run = verb_status,
	},
	{
		.name = "check",
		.help = "one line for a monitor, in the way of Nagios' plugins; exit codes 0 ok, 1 warning, 2 "
			"critical, 3 unknown",
		.options = {{"backup-age", "HOURS", "warn if the last backup is older, or there is none"}},
		.run = verb_check,
	},
	{
		.name = "top",
		.help = "memory and channels, live",
		.options = {{"interval", "SECONDS", "between two pictures (default: 1)"},
			    {"count", "N", "how many (default: until Ctrl-C or q)"}},
		.run = verb_top,
	},
	{
		.name = "watch",
		.help = "what changes, a line each, as it happens: the host, memory, backups, health, channels",
		.run = verb_watch,
	},
	{
		.name = "metrics",
		.help = "the daemon's metrics, as Prometheus reads them",
		.options = {{"textfile", "FILE", "write them there, whole or not at all, for node_exporter's "
						 "textfile collector"}},
		.run = verb_metrics,
	},
	{
		.name = "plan",
		.help = "what a backup would freeze now and in which order, and why not the rest; exit "
			"code 3 if something cannot be frozen, 1 if nothing would be",
		.run = verb_plan,
	},
	{
		.name = "receipt",
		.operands = "[N]",
		.n_most = 1,
		.help = "the last backup (or the one N - 1 before it); exit code 3 if it was not consistent",
		.run = verb_receipt,
	},
	{
		.name = "receipts",
		.help = "the receipts that are kept, newest first",
		.run = verb_receipts,
	},
	{
		.name = "copies",
		.help = "the files that the host has copied into this machine, newest first",
		.run = verb_copies,
	},
	{
		.name = "disks",
		.operands = "[grow DISK]",
		.n_most = 2,
		.help = "what is on the disks and what could grow into space that the host has added; "
			"grow: let it; exit code 3 if there is space and a reason not to take it",
		.run = verb_disks,
	},
	{
		.name = "freeze",
		.help = "call the hooks and freeze, for a backup without a host; ends when all is frozen",
		.options = {{"deadline", "SECONDS", "when it thaws by itself"}},
		.run = verb_freeze,
	},
	{
		.name = "thaw",
		.help = "thaw; exit code 0: the copy taken meanwhile is consistent, 5: it had thawed by itself",
		.run = verb_thaw,
	},
	{
		.name = "notify",
		.operands = "-- COMMAND...",
		.n_required = 1,
		.n_most = 64,
		.help = "stay, and run COMMAND with freeze before a freeze and with thaw or abort after",
		.options = {{"name", "NAME", "as the receipt names it"},
			    {"hold", "SECONDS", "how long COMMAND may take (default: 10)"},
			    {"required", NULL, "no freeze without it; only root's"}},
		.run = verb_notify,
	},
	{
		.name = "memory",
		.operands = "[release]",
		.n_most = 1,
		.help = "what the host has; release: use again what a host that is gone had",
		.options = {{"verify", NULL, "look at every page that the host has: exit code 3 if one is "
					     "not ours any more"}},
		.run = verb_memory,
	},
	{
		.name = "health",
		.operands = "[set healthy|critical [TEXT]]",
		.n_most = 3,
		.help = "how the programs here say that they are, which the host is told; exit code 3 if one "
			"is critical. set: say it",
		.options = {{"source", "NAME", "who says it (default: default)"},
			    {"for", "SECONDS", "how long it holds (default: until something else is said)"},
			    {"then", "healthy|critical", "what it is after that (default: healthy)"}},
		.run = verb_health,
	},
	{
		.name = "kvp",
		.operands = "get|set|del|list|watch [KEY [VALUE]]",
		.n_required = 1,
		.n_most = 3,
		.help = "key-value pairs, which host and guest tell each other; set and del end when "
			"they are on the disk",
		.options = {{"pool", "POOL", "external, guest, auto, auto-external or auto-internal "
					     "(default: guest; of list and watch: all)"}},
		.run = verb_kvp,
	},
	{
		.name = "host",
		.help = "what the host has told about itself and this machine; exit code 3 if nothing",
		.run = verb_host,
	},
	{
		.name = "vmbus",
		.help = "every VMBus device: its driver, its rings, what hvguestd makes of it",
		.run = verb_vmbus,
	},
	{
		.name = "why",
		.help = "the numbers behind the last memory report and the host's last request",
		.run = verb_why,
	},
};

enum {
	N_VERBS = sizeof(verbs) / sizeof(verbs[0]),

	/* Those of all verbs; a verb's own are numbered from 0. */
	OPTION_JSON = CLI_OPTIONS_MAX,
	OPTION_API,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_COMPLETION,
	OPTION_MANUAL,
	N_OPTIONS,
};

static const struct option common_options[] = {
	{"json", no_argument, NULL, OPTION_JSON},
	{"api", required_argument, NULL, OPTION_API},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"completion", required_argument, NULL, OPTION_COMPLETION}, /* for the build */
	{"manual", no_argument, NULL, OPTION_MANUAL},                 /* likewise */
	{NULL, 0, NULL, 0},
};

static void print_options(const struct verb *v, const char *margin)
{
	for (const struct completion_option *o = v->options; o->name; o++)
		printf("%s--%s%s%s: %s\n", margin, o->name, o->argument ? " " : "",
		       o->argument ? o->argument : "", o->help);
}

static void print_common(void)
{
	puts("\n  --json         the answer as JSON\n"
	     "  --api SOCKET   the daemon's API (default: " DEFAULT_API ", or read.sock there)\n"
	     "  --help, --version\n\n"
	     "Exit codes: 0 ok, 1 error, 2 usage, 3 degraded, 5 timed out and thawed by itself.");
}

static void print_help(void)
{
	puts("Usage: hvguestctl [OPTION...] VERB [OPERAND...]\nAsks hvguestd.\n");
	for (size_t i = 0; i < N_VERBS; i++) {
		const struct verb *v = &verbs[i];
		char call[64];

		snprintf(call, sizeof(call), "%s%s%s", v->name, v->operands ? " " : "",
			 v->operands ? v->operands : "");
		printf("  %-12s %s\n", call, v->help);
		print_options(v, "    ");
	}
	print_common();
}

static void print_verb_help(const struct verb *v)
{
	printf("Usage: hvguestctl %s [OPTION...]%s%s\n%c%s.\n", v->name, v->operands ? " " : "",
	       v->operands ? v->operands : "", toupper((unsigned char)v->help[0]), v->help + 1);
	if (v->options->name)
		puts("");
	print_options(v, "  ");
	print_common();
}

/* The verbs, for the manual page, as scdoc has it. */
static void print_manual(void)
{
	for (size_t i = 0; i < N_VERBS; i++) {
		const struct verb *v = &verbs[i];

		printf("*%s* ", v->name);
		scdoc_print(v->operands ? v->operands : "");
		printf("\n\t%c", toupper((unsigned char)v->help[0]));
		scdoc_print(v->help + 1);
		puts(".\n");
		for (const struct completion_option *o = v->options; o->name; o++) {
			printf("\t*--%s* ", o->name);
			scdoc_print(o->argument ? o->argument : "");
			fputs("\n\t\t", stdout);
			scdoc_print(o->help);
			puts("\n");
		}
	}
}

static int print_completion(const char *shell)
{
	static const struct completion_option options[] = {
		{"json", NULL, "the answer as JSON"},
		{"api", "SOCKET", "the daemon's API"},
		{"help", NULL, "how to use it"},
		{"version", NULL, "which one this is"},
		{0},
	};
	struct completion_verb names[N_VERBS];
	struct completion c = {shell, "hvguestctl", names, N_VERBS, options};

	if (!completion_knows(shell)) {
		fprintf(stderr, "hvguestctl: --completion %s: bash or zsh\n", shell);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < N_VERBS; i++)
		names[i] = (struct completion_verb){verbs[i].name, verbs[i].help};
	completion_begin(&c);
	for (size_t i = 0; i < N_VERBS; i++)
		completion_verb(&c, verbs[i].name, verbs[i].operands, verbs[i].options);
	completion_end(&c);
	return EXIT_OK;
}

/* The options of all verbs and, if there is one yet, of this verb. */
static void list_options(const struct verb *verb, struct option *options)
{
	size_t n = 0;

	for (; verb && verb->options[n].name; n++)
		options[n] = (struct option){
			.name = verb->options[n].name,
			.has_arg = verb->options[n].argument ? required_argument : no_argument,
			.val = n,
		};
	memcpy(options + n, common_options, sizeof(common_options));
}

/* False, and *ret_code, if this ends the program. @verb: NULL: none was named yet. */
static bool take_option(struct cli *cli, const struct verb *verb, int o, char **argv, int *ret_code)
{
	switch (o) {
	case OPTION_JSON:
		cli->json = true;
		return true;
	case OPTION_API:
		cli->to.socket = optarg;
		return true;
	case OPTION_HELP:
		if (verb)
			print_verb_help(verb);
		else
			print_help();
		*ret_code = EXIT_OK;
		return false;
	case OPTION_VERSION:
		puts("hvguestctl " PACKAGE_VERSION);
		*ret_code = EXIT_OK;
		return false;
	case OPTION_MANUAL:
		print_manual();
		*ret_code = EXIT_OK;
		return false;
	case OPTION_COMPLETION:
		*ret_code = print_completion(optarg);
		return false;
	case ':':
	case '?':
		*ret_code = usage_complain(o, argv, "hvguestctl", "hvguestctl --help");
		return false;
	default:
		cli->values[o] = optarg ? optarg : "";
		return true;
	}
}

/* Reads options up to @order: "+:" stops at the first operand, ":" reads them all. */
static bool take_options(struct cli *cli, const struct verb *verb, const char *order, int argc,
			 char **argv, int *ret_code)
{
	struct option options[N_OPTIONS + 1] = {0};
	int o;

	list_options(verb, options);
	opterr = 0;
	while ((o = getopt_long(argc, argv, order, options, NULL)) != -1)
		if (!take_option(cli, verb, o, argv, ret_code))
			return false;
	return true;
}

/* NULL, and one line says why, if there is no such verb. @name may be NULL: none was given. */
static const struct verb *find_verb(const char *name)
{
	static const char help[] = "hvguestctl --help lists them";
	const char *names[N_VERBS + 1] = {NULL}, *meant;

	for (size_t i = 0; i < N_VERBS && name; i++)
		if (!strcmp(name, verbs[i].name))
			return &verbs[i];
	for (size_t i = 0; i < N_VERBS; i++)
		names[i] = verbs[i].name;
	meant = name ? nearest_word(name, names) : NULL;
	if (meant)
		fprintf(stderr, "hvguestctl: no verb '%s': did you mean '%s'? %s\n", name, meant, help);
	else if (name)
		fprintf(stderr, "hvguestctl: no verb '%s': %s\n", name, help);
	else
		fprintf(stderr, "hvguestctl: which verb? %s\n", help);
	return NULL;
}

/* False, and *ret_code, if the number of operands is not the verb's. */
static bool count_operands(const struct cli *cli, const struct verb *verb, int *ret_code)
{
	if (cli->n_operands >= verb->n_required && cli->n_operands <= verb->n_most)
		return true;
	if (cli->n_operands < verb->n_required)
		fprintf(stderr, "hvguestctl: %s needs %s: see hvguestctl --help\n", verb->name,
			verb->operands);
	else
		fprintf(stderr, "hvguestctl: one verb at a time, not '%s' too: see hvguestctl --help\n",
			cli->operands[verb->n_most]);
	*ret_code = EXIT_USAGE;
	return false;
}

/* Root's API; for those who may only look, the one for that. */
static const char *default_socket(void)
{
	bool is_denied = access(DEFAULT_API, W_OK) < 0 && errno == EACCES;

	return is_denied && access(READ_API, W_OK) == 0 ? READ_API : DEFAULT_API;
}

static int run(int argc, char **argv)
{
	struct cli cli = {
		.to = {.program = "hvguestctl", .socket = default_socket(), .daemon = "hvguestd"},
	};
	const struct verb *verb;
	int r;

	if (!take_options(&cli, NULL, "+:", argc, argv, &r))
		return r;
	verb = find_verb(argv[optind]);
	if (!verb)
		return EXIT_USAGE;

	argc -= optind;
	argv += optind;
	optind = 0; /* glibc: begin anew, with another order */
	if (!take_options(&cli, verb, ":", argc, argv, &r))
		return r;
	cli.operands = argv + optind;
	cli.n_operands = argc - optind;
	if (!count_operands(&cli, verb, &r))
		return r;
	return verb->run(&cli);
}

int main(int argc, char **argv)
{
	return output_end("hvguestctl", run(argc, argv));
}
