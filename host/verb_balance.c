/* SPDX-License-Identifier: MIT */

/*
 * hvhost why and hvhost balance: what the balancer has decided, and holding it.
 *
 * `why` prints the inputs, the rule and what would have changed the outcome, from the numbers that
 * were stored when the decision was made; docs/POLICY.md tells how to read them.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <string.h>

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_amount(const char *what, const json_t *object, const char *key, const char *note)
{
	printf("  %-10s %10s  %s\n", what, command_bytes(object, key).text, note);
}

static void print_conduct(const json_t *why)
{
	const json_t *lies = json_object_get(why, "odd_reports"), *lie, *c;
	size_t i;

	c = json_object_get(why, "counters");
	printf("conduct:\n  %s; refused %lld times, did not obey %lld times; %lld odd reports of %lld\n",
	       json_is_true(json_object_get(why, "obeying")) ? "obeys" : "does not obey",
	       (long long)number(c, "refusals"), (long long)number(c, "disobeyed"),
	       (long long)number(c, "odd_reports"), (long long)number(c, "reports"));
	json_array_foreach(lies, i, lie)
		printf("  its last report: %s\n", json_string_value(lie));
	if (number(why, "shrink_bytes_per_second") > 0)
		printf("  gives %s a second\n", command_bytes(why, "shrink_bytes_per_second").text);
	if (number(why, "grow_bytes_per_second") > 0)
		printf("  takes %s a second\n", command_bytes(why, "grow_bytes_per_second").text);
}

static int print_why(const json_t *why)
{
	const char *change = command_text(json_object_get(why, "would_change"), "text");
	const json_t *limits = json_object_get(why, "limits");

	printf("%s: %s%s\n", command_text(why, "guest"), command_text(why, "why"),
	       json_is_true(json_object_get(why, "dry_run")) ? " (dry run: nothing is ordered)" : "");
	printf("inputs:\n");
	print_amount("assigned", why, "assigned_bytes", "what it has");
	print_amount("demand", why, "demand_bytes", "committed, without its balloon");
	print_amount("believed", why, "believed_bytes", "demand, falling slowly");
	print_amount("host free", why, "host_free_bytes", "that could be given at that moment");
	printf("rule:\n");
	print_amount("wanted", why, "wanted_bytes", "demand and buffer, within its bounds");
	print_amount("goal", why, "goal_bytes", "its share: wanted, or less if the host is short");
	print_amount("floor", why, "floor_bytes", "it keeps this much");
	print_amount("ceiling", why, "ceiling_bytes", "it can have this much");
	print_amount("target", why, "target_bytes", "what it is to have now");
	printf("  %-10s %8lld %%  at rest %lld %%\n", "pressure",
	       (long long)number(why, "pressure_percent"), (long long)number(why, "rest_percent"));
	printf("  limits     startup %s, minimum %s, maximum %s, buffer %lld %%, weight %lld\n",
	       command_bytes(limits, "startup_bytes").text,
	       command_bytes(limits, "minimum_bytes").text,
	       command_bytes(limits, "maximum_bytes").text,
	       (long long)number(limits, "buffer_percent"), (long long)number(limits, "weight"));
	printf("what would have changed it:\n  %s\n", *change ? change : "nothing by itself");
	print_conduct(why);
	return EXIT_OK;
}

int verb_why(int argc, char **argv)
{
	_cleanup_command_ struct command c = {
		.usage = "why GUEST [--json]",
		.min_words = 1,
		.max_words = 1,
	};
	_cleanup_free_ char *path = NULL;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	path = command_guest_path(c.words[0], "/why");
	return path ? command_ask(&c, "GET", path, NULL, print_why) : EXIT_ERROR;
}

static int print_balance(const json_t *b)
{
	const char *state = "balancing";

	if (json_is_true(json_object_get(b, "paused")))
		state = "paused";
	else if (json_is_true(json_object_get(b, "dry_run")))
		state = "dry run: decides, and orders nothing";
	printf("%s, %lld guest%s%s\n", state, (long long)number(b, "guests"),
	       number(b, "guests") == 1 ? "" : "s",
	       json_is_true(json_object_get(b, "short")) ? ", memory is short" : "");
	print_amount("budget", b, "budget_bytes", "the host's memory; - if there is no limit");
	print_amount("reserve", b, "reserve_bytes", "of it, for the host");
	print_amount("assigned", b, "assigned_bytes", "to all guests");
	print_amount("charged", b, "charged_bytes", "that, and what is on its way");
	print_amount("held", b, "held_bytes", "for guests that are to start");
	print_amount("free", b, "free_bytes", "that can be given now");
	print_amount("over", b, "over_bytes", "that guests have beyond the budget");
	print_amount("demand", b, "demand_bytes", "of all guests");
	print_amount("missing", b, "missing_bytes", "that is wanted and not even on its way");
	printf("  %lld starve, %lld do not obey; %lld orders in %lld passes\n",
	       (long long)number(b, "starving"), (long long)number(b, "not_obeying"),
	       (long long)number(b, "orders"), (long long)number(b, "passes"));
	return EXIT_OK;
}

int verb_balance(int argc, char **argv)
{
	_cleanup_command_ struct command c = {
		.usage = "balance pause|resume|dry-run|status [--json]",
		.min_words = 1,
		.max_words = 1,
	};
	static const char *const words[] = {"pause", "resume", "dry-run", "status", NULL};
	json_t *body;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (!strcmp(c.words[0], "status"))
		return command_ask(&c, "GET", "/v1/balance", NULL, print_balance);
	if (!strcmp(c.words[0], "pause"))
		body = json_pack("{s:b}", "paused", 1);
	else if (!strcmp(c.words[0], "resume"))
		body = json_pack("{s:b, s:b}", "paused", 0, "dry_run", 0);
	else if (!strcmp(c.words[0], "dry-run"))
		body = json_pack("{s:b, s:b}", "paused", 0, "dry_run", 1);
	else
		return command_no_such(&c, c.words[0], words);
	return command_ask(&c, "POST", "/v1/balance", body, print_balance);
}
