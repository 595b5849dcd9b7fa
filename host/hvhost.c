/* SPDX-License-Identifier: MIT */

/*
 * hvhost: one program, many verbs.
 *
 * `serve` is the host, and runs until it is told to stop. The others ask a running host by its API,
 * print the answer and end; whatever they start goes on without them.
 */

#include "base/ask.h"
#include "base/nearest.h"
#include "base/output.h"
#include "base/scdoc.h"
#include "host/command.h"
#include "host/verbs.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct verb {
	const char *name;
	const char *help;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{"serve", "be the host for guests on this machine", verb_serve},
	{"status", "show the guests, or one of them", verb_status},
	{"top", "the guests that need memory most, live", verb_top},
	{"watch", "what changes, a line each, as it happens", verb_watch},
	{"check", "one line for a monitor, in the way of Nagios' plugins", verb_check},
	{"metrics", "the host's metrics, as Prometheus reads them", verb_metrics},
	{"backup", "copy disk images of a guest as they are while its file systems stand still", verb_backup},
	{"backups", "show the backups under way and the last ones, with what their guests say of them", verb_backups},
	{"copy", "copy files into a guest", verb_copy},
	{"memory", "assign memory to a guest, by hand or by its demand", verb_memory},
	{"why", "what the balancer decided for a guest, from what, and what would have changed it", verb_why},
	{"balance", "show the balancer, pause it, or let it decide without effect", verb_balance},
	{"reserve", "set memory aside for a guest that is to start", verb_reserve},
	{"record", "write down what the guests report, second by second", verb_record},
	{"replay", "run a recording against policies of memory", verb_replay},
	{"simulate", "compare policies of memory on a fleet that is made up", verb_simulate},
	{"shutdown", "ask a guest to power off", verb_shutdown},
	{"reboot", "ask a guest to restart", verb_reboot},
	{"hibernate", "ask a guest to hibernate", verb_hibernate},
	{"kvp", "read and set the keys that a guest and its host exchange", verb_kvp},
	{"time", "tell a guest the time, right or wrong", verb_time},
	{"rescind", "take a service's channel away from a guest", verb_rescind},
	{"offer", "offer a rescinded channel again", verb_offer},
	{"save", "take all channels away from a guest, as when its machine is saved", verb_save},
	{"restore", "offer a saved guest its channels again", verb_restore},
	{"move", "both at once: what a guest sees of a live migration", verb_move},
};

enum {
	N_VERBS = sizeof(verbs) / sizeof(verbs[0]),
};

const char *verb_help(const char *usage)
{
	size_t n = strcspn(usage, " ");

	for (size_t i = 0; i < N_VERBS; i++)
		if (strlen(verbs[i].name) == n && strncmp(usage, verbs[i].name, n) == 0)
			return verbs[i].help;
	assert(false);
	return "";
}

static void print_help(FILE *to)
{
	fputs("Usage: hvhost VERB [OPTION...]\nThe host's end, for guests on this machine.\n\n", to);
	for (size_t i = 0; i < N_VERBS; i++)
		fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
	fputs("\nhvhost VERB --help tells more.\n"
	      "Exit codes: 0 ok, 1 error, 2 usage, 3 degraded, 5 timed out and thawed by itself.\n",
	      to);
}

/* Has the verb tell of itself; see command_describe(). */
static void describe(const struct verb *v, const char *form)
{
	char option[] = "--describe", name[32], value[16];
	char *argv[] = {name, option, value, NULL};

	snprintf(name, sizeof(name), "%s", v->name);
	snprintf(value, sizeof(value), "%s", form);
	(void)v->run(3, argv);
}

/* For the manual page, as scdoc has it. */
static void print_manual(void)
{
	for (size_t i = 0; i < N_VERBS; i++) {
		printf("*%s*\n\t%c", verbs[i].name, toupper((unsigned char)verbs[i].help[0]));
		scdoc_print(verbs[i].help + 1);
		puts(".\n");
	}
	puts("# OPTIONS OF THE VERBS\n\nEach has *--json*, *--run-dir* _DIR_ and *--api* _SOCKET_, too.\n");
	for (size_t i = 0; i < N_VERBS; i++)
		describe(&verbs[i], "manual");
}

static int print_completion(const char *shell)
{
	struct completion_verb names[N_VERBS];
	const struct completion c = {shell, "hvhost", names, N_VERBS, command_common};

	if (!completion_knows(shell)) {
		fprintf(stderr, "hvhost: --completion %s: bash or zsh\n", shell);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < N_VERBS; i++)
		names[i] = (struct completion_verb){verbs[i].name, verbs[i].help};
	completion_begin(&c);
	for (size_t i = 0; i < N_VERBS; i++)
		describe(&verbs[i], shell);
	completion_end(&c);
	return EXIT_OK;
}

/* One line says that there is no such verb. The exit code. */
static int complain(const char *name)
{
	static const char help[] = "hvhost --help lists them";
	const char *names[N_VERBS + 1] = {NULL}, *meant;

	for (size_t i = 0; i < N_VERBS; i++)
		names[i] = verbs[i].name;
	meant = nearest_word(name, names);
	if (!*name)
		fprintf(stderr, "hvhost: which verb? %s\n", help);
	else if (name[0] == '-')
		fprintf(stderr, "hvhost: %s is no option here, a verb comes first: see hvhost --help\n", name);
	else if (meant)
		fprintf(stderr, "hvhost: no verb '%s': did you mean '%s'? %s\n", name, meant, help);
	else
		fprintf(stderr, "hvhost: no verb '%s': %s\n", name, help);
	return EXIT_USAGE;
}

static int run(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (!strcmp(name, "--help") || !strcmp(name, "help")) {
		print_help(stdout);
		return EXIT_OK;
	}
	if (!strcmp(name, "--manual")) {
		print_manual();
		return EXIT_OK;
	}
	if (!strcmp(name, "--completion"))
		return print_completion(argc > 2 ? argv[2] : "");
	if (!strcmp(name, "--version")) {
		puts("hvhost " PACKAGE_VERSION);
		return EXIT_OK;
	}
	for (size_t i = 0; i < N_VERBS; i++)
		if (!strcmp(name, verbs[i].name))
			return verbs[i].run(argc - 1, argv + 1);
	return complain(name);
}

int main(int argc, char **argv)
{
	return output_end("hvhost", run(argc, argv));
}
