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
	printf("report      %s\n", text_of(report, "rule"));
	printf("            committed %s, available %s\n", bytes_of(report, "committed_bytes").text,
	       bytes_of(report, "available_bytes").text);
	printf("            need %s: %s\n", bytes_of(report, "need_bytes").text,
	       text_of(report, "need"));
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
