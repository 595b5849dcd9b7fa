/* SPDX-License-Identifier: MIT */

/*
 * The command line of hvhost serve.
 *
 * One table names every option, what it takes and what takes it; the parser, the help, the manual and
 * what shells complete by are driven by it.
 */

#include "host/serve_options.h"

#include "base/ask.h"
#include "base/size.h"
#include "base/usage.h"
#include "host/command.h"
#include "host/verbs.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SECOND UINT64_C(1000000000)

static const char usage[] = "serve [OPTION...]";

/* Values. */

static bool take_size(const char *text, uint64_t *ret_pages)
{
	uint64_t bytes;

	if (size_parse(text, &bytes) || bytes < VMBUS_PAGE_SIZE)
		return false;
	*ret_pages = bytes / VMBUS_PAGE_SIZE;
	return true;
}

static bool take_number(const char *text, unsigned long max, unsigned long *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*ret_number = strtoul(text, &end, 10);
	return *end == '\0' && *ret_number <= max;
}

static bool take_seconds(const char *text, uint64_t *ret_ns)
{
	unsigned long seconds;

	if (!take_number(text, 3600, &seconds))
		return false;
	*ret_ns = seconds * NS_PER_SECOND;
	return true;
}

/* Options. */

static bool set_run_dir(struct host *h, const char *value)
{
	h->run_dir = value;
	return true;
}

static bool set_startup(struct host *h, const char *value)
{
	return take_size(value, &h->limits.startup_pages);
}

static bool set_minimum(struct host *h, const char *value)
{
	return take_size(value, &h->limits.minimum_pages);
}

static bool set_maximum(struct host *h, const char *value)
{
	return take_size(value, &h->limits.maximum_pages);
}

static bool set_window(struct host *h, const char *value)
{
	return take_size(value, &h->window_pfn);
}

static bool set_host_memory(struct host *h, const char *value)
{
	return take_size(value, &h->settings.budget_pages);
}

static bool set_reserve(struct host *h, const char *value)
{
	return take_size(value, &h->settings.reserve_pages);
}

static bool set_guests(struct host *h, const char *value)
{
	h->guests_path = value;
	return true;
}

static bool set_dry_run(struct host *h, const char *value)
{
	(void)value;
	h->settings.dry_run = true;
	return true;
}

static bool set_weight(struct host *h, const char *value)
{
	unsigned long number;

	if (!take_number(value, BALANCER_WEIGHT_MAX, &number))
		return false;
	h->limits.weight = number;
	return true;
}

static bool set_buffer(struct host *h, const char *value)
{
	unsigned long number;

	if (!take_number(value, BALANCER_BUFFER_PERCENT_MAX, &number) ||
	    number < BALANCER_BUFFER_PERCENT_MIN)
		return false;
	h->limits.buffer_percent = number;
	return true;
}

static bool set_first_action(struct host *h, const char *value)
{
	return take_seconds(value, &h->settings.first_action_ns);
}

static bool set_spacing(struct host *h, const char *value)
{
	return take_seconds(value, &h->settings.shrink_spacing_ns);
}

static bool set_smoothing(struct host *h, const char *value)
{
	return take_seconds(value, &h->settings.smoothing_ns);
}

static bool set_read_group(struct host *h, const char *value)
{
	h->read_group = value;
	return true;
}

static bool set_metrics_listen(struct host *h, const char *value)
{
	h->metrics_listen = value;
	return strchr(value, ':') != NULL;
}

static bool add_qmp(struct host *h, const char *value)
{
	if (value[0] != '/' || h->n_qmp_paths == QMP_PATHS_MAX)
		return false;
	h->qmp_paths[h->n_qmp_paths++] = value;
	return true;
}

static bool set_qmp_timeout(struct host *h, const char *value)
{
	return take_seconds(value, &h->qmp_limit_ns) && h->qmp_limit_ns > 0;
}

static bool set_log_level(struct host *h, const char *value)
{
	static const char *const names[] = {"error", "warning", "notice", "info"};

	for (int i = 0; i < 4; i++) {
		if (!strcmp(value, names[i])) {
			h->log_level = LOG_LEVEL_ERROR + i;
			return true;
		}
	}
	return false;
}

static bool set_json(struct host *h, const char *value)
{
	(void)value;
	h->json = true;
	return true;
}

static const struct serve_option {
	const char *name, *argument, *help;
	bool (*set)(struct host *h, const char *value);
	const char *wanted; /* what a value has to be */
} options[] = {
	{"run-dir", "DIR", "folder of lab.sock and api.sock (default: " HVHOST_RUN_DIR ")", set_run_dir, NULL},
	{"startup", "SIZE", "memory a guest begins with (default: all of its machine)", set_startup,
	 "a size like 2G"},
	{"minimum", "SIZE", "the least it is assigned (default: 512M)", set_minimum, "a size like 512M"},
	{"maximum", "SIZE", "the most it is assigned (default: startup)", set_maximum, "a size like 8G"},
	{"window", "ADDRESS", "where memory above startup is added (default: none is)", set_window,
	 "an address like 32G"},
	{"host-memory", "SIZE", "for all guests and the reserve together (default: no limit)",
	 set_host_memory, "a size like 64G"},
	{"reserve", "SIZE", "of it, that no guest is given (default: none)", set_reserve, "a size like 2G"},
	{"guests", "FILE", "limits of single guests; read again at SIGHUP", set_guests, NULL},
	{"dry-run", NULL, "decide, and order nothing", set_dry_run, NULL},
	{"weight", "NUMBER", "its share when memory is short, 0 to 10000 (default: 5000)", set_weight,
	 "0 to 10000"},
	{"buffer", "PERCENT", "of its demand on top of it, 5 to 2000 (default: 20)", set_buffer,
	 "5 to 2000"},
	{"first-action", "SECONDS", "leave a guest alone after it connects (default: 5)", set_first_action,
	 "0 to 3600"},
	{"spacing", "SECONDS", "between operations that take memory (default: 5)", set_spacing,
	 "0 to 3600"},
	{"smoothing", "SECONDS", "time in which a falling demand is believed (default: 30)", set_smoothing,
	 "0 to 3600"},
	{"read-group", "GROUP", "whose members may look, by read.sock (default: root)", set_read_group,
	 NULL},
	{"metrics-listen", "ADDRESS:PORT",
	 "let Prometheus, browsers and whoever can reach this, look (default: no TCP)", set_metrics_listen,
	 "ADDRESS:PORT, like 127.0.0.1:9901"},
	{"qmp", "PATH",
	 "drive the memory of the QEMU VM whose QMP socket this is, or of all whose sockets come and go "
	 "in this folder; may be given again",
	 add_qmp, "an absolute path, one of 16 at most"},
	{"qmp-timeout", "SECONDS", "a QEMU that does not answer for so long is lost (default: 10)",
	 set_qmp_timeout, "1 to 3600"},
	{"log-level", "error|warning|notice|info", "how much is logged (default: notice)", set_log_level,
	 "error, warning, notice or info"},
	{"json", NULL, "tell on standard output when ready and who comes and goes", set_json, NULL},
};

enum {
	N_OPTIONS = sizeof(options) / sizeof(options[0]),
	OPTION_HELP = N_OPTIONS,
	OPTION_DESCRIBE,
};

static void print_help(void)
{
	printf("Usage: hvhost %s\nBe the host for guests on this machine (hvguestd --lab SOCKET), and for "
	       "VMs of QEMU.\n\n", usage);
	for (size_t i = 0; i < N_OPTIONS; i++)
		printf("  --%s%s%s\n        %s\n", options[i].name, options[i].argument ? " " : "",
		       options[i].argument ? options[i].argument : "", options[i].help);
}

static void describe(const char *form)
{
	struct completion_option list[N_OPTIONS + 1] = {0};
	size_t n = 0;

	/* Those that all verbs have are not this one's own. */
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (strcmp(options[i].name, "run-dir") != 0 && strcmp(options[i].name, "json") != 0)
			list[n++] = (struct completion_option){options[i].name, options[i].argument,
							       options[i].help};
	command_describe(form, usage, list);
}

static int refuse(size_t i, const char *value)
{
	fprintf(stderr, "hvhost: --%s cannot be '%s'%s%s: see hvhost serve --help\n", options[i].name, value,
		options[i].wanted ? ", but " : "", options[i].wanted ? options[i].wanted : "");
	return EXIT_USAGE;
}

static void make_getopt_table(struct option table[N_OPTIONS + 3])
{
	for (int i = 0; i < N_OPTIONS; i++)
		table[i] = (struct option){
			.name = options[i].name,
			.has_arg = options[i].argument ? required_argument : no_argument,
			.val = i,
		};
	table[N_OPTIONS] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	table[N_OPTIONS + 1] = (struct option){"describe", required_argument, NULL, OPTION_DESCRIBE};
	table[N_OPTIONS + 2] = (struct option){0};
}

/* Of two amounts of which 0 leaves one open. */
static bool is_ordered(uint64_t low_pages, uint64_t high_pages)
{
	return low_pages == 0 || high_pages == 0 || low_pages <= high_pages;
}

/* What the options say together. -1, or the exit code. */
static int check(const struct balancer_limits *l)
{
	if (is_ordered(l->minimum_pages, l->startup_pages) &&
	    is_ordered(l->startup_pages, l->maximum_pages) &&
	    is_ordered(l->minimum_pages, l->maximum_pages))
		return -1;
	fputs("hvhost: not --minimum <= --startup <= --maximum: see hvhost serve --help\n", stderr);
	return EXIT_USAGE;
}

int serve_options_parse(struct host *h, int argc, char **argv)
{
	static const char help[] = "hvhost serve --help";
	struct option table[N_OPTIONS + 3];
	int o;

	make_getopt_table(table);
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":", table, NULL)) != -1) {
		if (o == OPTION_HELP || o == OPTION_DESCRIBE) {
			if (o == OPTION_HELP)
				print_help();
			else
				describe(optarg);
			return EXIT_OK;
		}
		if (o == ':' || o == '?')
			return usage_complain(o, argv, "hvhost", help);
		if (!options[o].set(h, optarg))
			return refuse((size_t)o, optarg);
	}
	if (optind < argc) {
		fprintf(stderr, "hvhost: what is '%s'? see %s\n", argv[optind], help);
		return EXIT_USAGE;
	}
	return check(&h->limits);
}
