/* SPDX-License-Identifier: MIT */

/*
 * hvhost top: the guests that need memory most, live.
 *
 * On a terminal the picture is drawn over and over in place, as many guests as fit, until Ctrl-C or q;
 * elsewhere each picture follows the last, for a log. With --json each is one line, with all guests.
 * What is asked is answered by the thread that shows (host/show), so looking costs the host nothing.
 */

#include "base/terminal.h"
#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	NUMBER_MAX = 3600,
	ROWS_ELSEWHERE = 20, /* if nothing says how many fit */
	LINES_ABOVE = 5,     /* of a picture, that are no guests */
};

/* By what the table is in order; the largest is first, but of names. */
static const struct order {
	const char *name;
	const char *key;
} orders[] = {
	{"pressure", "pressure_percent"}, {"stall", "stall_percent"},
	{"assigned", "assigned_bytes"},   {"demand", "demand_bytes"},
	{"name", NULL},
};

enum {
	N_ORDERS = sizeof(orders) / sizeof(orders[0]),
};

struct top {
	const char *interval, *count, *rows, *sort;
	unsigned long interval_s, n, n_rows;
	const struct order *order;
};

static bool take_number(const char *text, unsigned long *ret_number)
{
	char *end;

	if (!text)
		return true;
	*ret_number = strtoul(text, &end, 10);
	return *text >= '1' && *text <= '9' && *end == '\0' && *ret_number <= NUMBER_MAX;
}

/* -1, or the exit code. */
static int take_options(struct top *t)
{
	static const char wanted[] = "a number, 1 to 3600";

	t->interval_s = 1;
	if (!take_number(t->interval, &t->interval_s))
		return command_refuse("--interval", t->interval, wanted);
	if (!take_number(t->count, &t->n))
		return command_refuse("--count", t->count, wanted);
	if (!take_number(t->rows, &t->n_rows))
		return command_refuse("--rows", t->rows, wanted);
	t->order = orders;
	for (size_t i = 0; t->sort && i < N_ORDERS; i++, t->order++)
		if (!strcmp(t->sort, orders[i].name))
			return -1;
	return t->sort ? command_refuse("--sort", t->sort, "pressure, stall, assigned, demand or name") : -1;
}

static int compare(const void *a, const void *b, void *order)
{
	const struct order *o = order;
	const json_t *const *x = a, *const *y = b;
	double p = o->key ? json_number_value(json_object_get(*x, o->key)) : 0;
	double q = o->key ? json_number_value(json_object_get(*y, o->key)) : 0;

	if (p < q || p > q)
		return p < q ? 1 : -1;
	return strcmp(command_text(*x, "name"), command_text(*y, "name"));
}

static enum terminal_colour colour_of(double value, double warning, double bad)
{
	return value > bad ? TERMINAL_BAD : value > warning ? TERMINAL_WARNING : TERMINAL_PLAIN;
}

/* A cell of @width, its colour around the text and not the blanks' concern. */
static void print_cell(enum terminal_colour colour, int width, const char *text)
{
	printf("%s%*s%s ", terminal_begin(stdout, colour), width, text, terminal_end(stdout, colour));
}

static void print_guest(const json_t *g)
{
	double pressure = json_number_value(json_object_get(g, "pressure_percent"));
	const json_t *stall = json_object_get(g, "stall_percent");
	bool lost = strcmp(command_text(g, "heartbeat"), "lost") == 0;
	char text[32];

	printf("%-20s ", command_text(g, "name"));
	snprintf(text, sizeof(text), "%.0f %%", pressure);
	print_cell(colour_of(pressure, 80, 100), 8, text);
	print_cell(TERMINAL_PLAIN, 10, command_bytes(g, "assigned_bytes").text);
	print_cell(TERMINAL_PLAIN, 10, command_bytes(g, "demand_bytes").text);
	print_cell(TERMINAL_PLAIN, 10, command_bytes(g, "available_bytes").text);
	snprintf(text, sizeof(text), "%.1f %%", json_number_value(stall));
	print_cell(colour_of(json_number_value(stall), 1, 10), 8, stall ? text : "-");
	print_cell(lost ? TERMINAL_BAD : TERMINAL_PLAIN, -9, command_text(g, "heartbeat"));
	print_cell(TERMINAL_PLAIN, -8, command_text(g, "backup"));
	printf(" %s%s%s%s\n", json_is_false(json_object_get(g, "obeying")) ? "does not obey; " : "",
	       terminal_begin(stdout, TERMINAL_FAINT), command_text(g, "why"),
	       terminal_end(stdout, TERMINAL_FAINT));
}

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_host(const json_t *host, bool reads_keys)
{
	enum terminal_colour starving = number(host, "starving") > 0 ? TERMINAL_BAD : TERMINAL_PLAIN;
	char now[16];
	time_t seconds = time(NULL);
	struct tm tm;

	strftime(now, sizeof(now), "%H:%M:%S", localtime_r(&seconds, &tm));
	printf("%s  %lld guest%s, %s%s\n", now, (long long)number(host, "guests"),
	       number(host, "guests") == 1 ? "" : "s",
	       json_is_true(json_object_get(host, "paused"))    ? "paused: nothing is moved"
	       : json_is_true(json_object_get(host, "dry_run")) ? "dry run: nothing is moved"
								: "balancing",
	       reads_keys ? "  (q ends)" : "");
	printf("assigned %s, demand %s, ", command_bytes(host, "assigned_bytes").text,
	       command_bytes(host, "demand_bytes").text);
	if (json_is_integer(json_object_get(host, "budget_bytes")))
		printf("free %s of %s\n", command_bytes(host, "free_bytes").text,
		       command_bytes(host, "budget_bytes").text);
	else
		puts("no limit");
	printf("missing %s, %s%lld starve%s, %lld do not obey\n\n",
	       command_bytes(host, "missing_bytes").text, terminal_begin(stdout, starving),
	       (long long)number(host, "starving"), terminal_end(stdout, starving),
	       (long long)number(host, "not_obeying"));
}

/* As many guests as there is room for, in order. */
static void print_guests(const struct top *t, const json_t *guests)
{
	size_t n = json_array_size(guests), rows = t->n_rows, lines = terminal_lines();
	const json_t **sorted = calloc(n + 1, sizeof(*sorted));

	if (!sorted)
		return;
	for (size_t i = 0; i < n; i++)
		sorted[i] = json_array_get(guests, i);
	qsort_r(sorted, n, sizeof(*sorted), compare, (void *)(uintptr_t)t->order);
	if (rows == 0)
		rows = lines > LINES_ABOVE + 2 ? lines - LINES_ABOVE - 1 : ROWS_ELSEWHERE;
	printf("%s%-20s %8s %10s %10s %10s %8s %-9s %-8s  %s%s\n", terminal_begin(stdout, TERMINAL_BOLD),
	       "GUEST", "PRESSURE", "ASSIGNED", "DEMAND", "AVAILABLE", "STALL", "HEARTBEAT", "BACKUP", "WHY",
	       terminal_end(stdout, TERMINAL_BOLD));
	for (size_t i = 0; i < n && i < rows; i++)
		print_guest(sorted[i]);
	free(sorted);
}

/* The exit code. */
static int draw(struct top *t, const struct command *c, const struct terminal_live *live)
{
	json_t *board;
	int r = ask(&c->to, "GET", "/v1/board", NULL, COMMAND_TIMEOUT_MS, &board);

	if (r)
		return r;
	if (c->json) {
		ask_print_json_line(board);
	} else {
		terminal_live_draw(live);
		print_host(json_object_get(board, "host"), live->reads_keys);
		print_guests(t, json_object_get(board, "guests"));
		fflush(stdout);
	}
	json_decref(board);
	return EXIT_OK;
}

int verb_top(int argc, char **argv)
{
	struct top t = {0};
	const struct command_option options[] = {
		{"interval", "SECONDS", "between two pictures (default: 1)", .text = &t.interval},
		{"count", "N", "how many (default: until Ctrl-C or q)", .text = &t.count},
		{"rows", "N", "guests in a picture (default: what fits)", .text = &t.rows},
		{"sort", "pressure|stall|assigned|demand|name", "what comes first (default: pressure)",
		 .text = &t.sort},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "top [--interval SECONDS] [--count N] [--rows N] [--sort KEY] [--json]",
		.options = options,
		.looks = true,
	};
	struct terminal_live live = {0};
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	r = take_options(&t);
	if (r >= 0)
		return r;
	if (!c.json)
		terminal_live_open(&live);
	r = EXIT_OK;
	for (unsigned long i = 0; r == EXIT_OK && (t.n == 0 || i < t.n); i++) {
		if (i > 0 && !terminal_live_wait(&live, (int)t.interval_s * 1000))
			break;
		r = draw(&t, &c, &live);
	}
	terminal_live_close(&live);
	return r;
}
