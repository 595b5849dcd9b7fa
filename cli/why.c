/* SPDX-License-Identifier: MIT */

/*
 * Why: the numbers behind what the daemon told the host, and behind what it gave.
 *
 * Each line is an input, a rule or an outcome, so that the sum can be done again by hand. The last
 * request is shown with what would have changed it.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void print_inputs(const json_t *inputs)
{
	printf("inputs      MemTotal %s, MemFree %s, MemAvailable %s\n",
	       bytes_of(inputs, "mem_total_bytes").text, bytes_of(inputs, "mem_free_bytes").text,
	       bytes_of(inputs, "mem_available_bytes").text);
	printf("            Committed_AS %s, Active(file) %s, swap %s of which %s is free\n",
	       bytes_of(inputs, "committed_as_bytes").text,
	       bytes_of(inputs, "active_file_bytes").text, bytes_of(inputs, "swap_total_bytes").text,
	       bytes_of(inputs, "swap_free_bytes").text);
	if (json_object_get(inputs, "stall_some_avg10_percent"))
		printf("            tasks waited for memory for %.2f %% of the last 10 s, all of them for "
		       "%.2f %%\n",
		       json_number_value(json_object_get(inputs, "stall_some_avg10_percent")),
		       json_number_value(json_object_get(inputs, "stall_full_avg10_percent")));
	else
		puts("            this kernel does not measure for how long tasks wait for memory");
}

static void print_request(const json_t *request)
{
	if (!json_is_object(request)) {
		puts("request     the host has not asked for memory yet");
		return;
	}
	printf("request     the host asked for %s and got %s%s: %s\n",
	       bytes_of(request, "asked_bytes").text, bytes_of(request, "given_bytes").text,
	       json_is_true(json_object_get(request, "running")) ? " so far" : "",
	       text_of(request, "why"));
	printf("            tasks may wait for %" JSON_INTEGER_FORMAT
	       " %% of the time (stall_limit); when last looked at it was %" JSON_INTEGER_FORMAT " %%\n",
	       number_of(request, "stall_limit_percent"), number_of(request, "stall_seen_percent"));
}

static void print_blocks(const json_t *b)
{
	printf("source      %s\n", json_object_get(b, "reason") ? text_of(b, "reason")
							     : "nothing was taken yet");
	if (json_object_get(b, "problem"))
		printf("            no memory blocks: %s\n", text_of(b, "problem"));
	if (number_of(b, "taken") > 0)
		printf("            memory blocks of %s: %" JSON_INTEGER_FORMAT " held, %" JSON_INTEGER_FORMAT
		       " ever taken, %" JSON_INTEGER_FORMAT " refused, %" JSON_INTEGER_FORMAT
		       " gave no memory in time\n",
		       bytes_of(b, "block_bytes").text, number_of(b, "held"), number_of(b, "taken"),
		       number_of(b, "refused"), number_of(b, "timed_out"));
	if (json_object_get(b, "last_failure"))
		printf("            the last one that failed: %s\n", text_of(b, "last_failure"));
}

static void print_group(const json_t *group)
{
	if (!json_is_object(group))
		return;
	if (!json_is_true(json_object_get(group, "is_there")))
		printf("            (the group %s is not there: of the whole machine)\n",
		       text_of(group, "path"));
	else
		printf("            (by the group %s, which has %s%s)\n", text_of(group, "path"),
		       bytes_of(group, "current_bytes").text,
		       json_is_true(json_object_get(group, "at_limit"))
			       ? " and is at its own limit: more memory of the host would not help it"
			       : "");
}

static void print_suffered(const json_t *suffered)
{
	printf("suffered    in the %.1f s before the report: tasks waited for memory for %.2f %% of the time, "
	       "%" JSON_INTEGER_FORMAT " pages were read again\n",
	       json_number_value(json_object_get(suffered, "seconds")),
	       json_number_value(json_object_get(suffered, "stalled_percent")),
	       number_of(suffered, "refaults"));
	print_group(json_object_get(suffered, "group"));
}

/* The sum, a term in a line. */
static void print_terms(const json_t *report)
{
	const json_t *term;
	size_t i;

	printf("report      rule '%s': %s\n", text_of(report, "rule"), text_of(report, "formula"));
	json_array_foreach(json_object_get(report, "terms"), i, term)
		printf("            %c %10s  %s\n", i == 0 ? ' ' : '+', bytes_of(term, "bytes").text,
		       text_of(term, "text"));
	printf("            = %10s  committed; available is %s\n",
	       bytes_of(report, "committed_bytes").text, bytes_of(report, "available_bytes").text);
	printf("            need: %s\n", text_of(report, "need"));
}

static void print_otherwise(const json_t *report)
{
	const json_t *otherwise = json_object_get(report, "otherwise"), *value;
	json_t *rules = json_object_get(otherwise, "by_rule");
	const char *name;

	json_object_foreach(rules, name, value)
		if (strcmp(name, text_of(report, "rule")) != 0)
			printf("otherwise   report = %s would say %s\n", name,
			       bytes_of(rules, name).text);
	printf("            a need begins below %s available, or when all tasks wait for %" JSON_INTEGER_FORMAT
	       " %% of the time\n",
	       bytes_of(otherwise, "need_below_available_bytes").text,
	       number_of(otherwise, "need_from_full_stall_percent"));
	if (!strcmp(text_of(report, "rule"), "psi"))
		printf("            the target share grows while tasks wait for more than %" JSON_INTEGER_FORMAT
		       " %% of the time (stall_target), and falls while they wait for less\n",
		       number_of(json_object_get(report, "suffered"), "stall_target_percent"));
}

static void print_why(const json_t *answer)
{
	const json_t *memory = json_object_get(answer, "memory");
	const json_t *report = json_object_get(memory, "report");
	const json_t *floor = json_object_get(memory, "floor");

	print_inputs(json_object_get(memory, "inputs"));
	printf("floor       %s, by the rule '%s': %s\n", bytes_of(floor, "bytes").text,
	       text_of(floor, "rule"), text_of(floor, "text"));
	printf("            %s could be given, available less floor; a lower floor would give more\n",
	       bytes_of(floor, "may_give_bytes").text);
	print_suffered(json_object_get(report, "suffered"));
	print_terms(report);
	print_otherwise(report);
	printf("            %" JSON_INTEGER_FORMAT " reports were made at once, because tasks began to wait%s\n",
	       number_of(report, "urgent"),
	       json_is_true(json_object_get(report, "sees_stalls"))
		       ? ""
		       : "; this kernel does not tell when they do");
	print_request(json_object_get(memory, "last_request"));
	print_blocks(json_object_get(memory, "blocks"));
}

int verb_why(const struct cli *cli)
{
	return cli_show(cli, "/v1/why", print_why, NULL);
}
