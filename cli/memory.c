/* SPDX-License-Identifier: MIT */

/*
 * Memory: what of it the host has, and what to do about it.
 *
 * What a host that is gone had stays out of use: the next one gets it first, and only the
 * administrator knows that there will be none, or that the last one has forgotten it. So it takes
 * a verb to use it again.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum {
	RELEASE_TIMEOUT_MS = 10000,
	VERIFY_TIMEOUT_MS = 60000,
};

void print_memory(const json_t *m)
{
	const json_t *pages = json_object_get(m, "pages");

	printf("memory      %s (channel %s, protocol %s)\n", text_of(m, "state"),
	       text_of(m, "channel"), text_of(m, "version"));
	if (json_object_get(m, "problem"))
		printf("            %s\n", text_of(m, "problem"));
	if (json_object_get(m, "given_up"))
		printf("            given up: %s; restart hvguestd to try again\n", text_of(m, "given_up"));
	if (json_object_get(m, "unanswered"))
		printf("            %s; trying again, with more patience each time\n",
		       text_of(m, "unanswered"));
	if (!pages)
		return;
	printf("            committed %s, available %s, floor %s\n",
	       bytes_of(m, "committed_bytes").text, bytes_of(m, "available_bytes").text,
	       bytes_of(m, "floor_bytes").text);
	printf("            ballooned %s (memory blocks %s, 2 MiB pages %s, 4 KiB pages %s)%s\n",
	       bytes_of(m, "ballooned_bytes").text, bytes_of(pages, "block_bytes").text,
	       bytes_of(pages, "huge_bytes").text, bytes_of(pages, "small_bytes").text,
	       json_is_true(json_object_get(pages, "pinned")) ? "" : ", NOT PINNED");
	if (json_object_get(m, "keeper"))
		printf("            held by hvguest-keeper, process %" JSON_INTEGER_FORMAT
		       "; it has added %" JSON_INTEGER_FORMAT " to vm.nr_overcommit_hugepages\n",
		       number_of(json_object_get(m, "keeper"), "pid"),
		       number_of(json_object_get(m, "keeper"), "overcommit_pages"));
	if (number_of(m, "unreported_bytes") > 0)
		printf("            out of use for the next host %s (memory release puts them back)\n",
		       bytes_of(m, "unreported_bytes").text);
}

static void print_memory_of(const json_t *status)
{
	print_memory(json_object_get(status, "memory"));
}

static void print_released(const json_t *answer)
{
	printf("%s are put back into use.\n", bytes_of(answer, "released_bytes").text);
}

static void print_verified(const json_t *answer)
{
	printf("%s: the host has %s; held %s, looked at %s, moved %s, missing %s\n",
	       json_is_true(json_object_get(answer, "ours")) ? "all ours" : "NOT ALL OURS",
	       bytes_of(answer, "ballooned_bytes").text, bytes_of(answer, "held_bytes").text,
	       bytes_of(answer, "looked_at_bytes").text, bytes_of(answer, "moved_bytes").text,
	       bytes_of(answer, "missing_bytes").text);
}

static int verified_code(const json_t *answer)
{
	return json_is_true(json_object_get(answer, "ours")) ? EXIT_OK : EXIT_DEGRADED;
}

int verb_memory(const struct cli *cli)
{
	if (cli->values[0] && cli->n_operands == 0)
		return cli_do(cli, "POST", "/v1/memory/verify", NULL, VERIFY_TIMEOUT_MS,
			      print_verified, verified_code);
	if (cli->n_operands == 0)
		return cli_show(cli, "/v1/status", print_memory_of, NULL);
	if (!strcmp(cli->operands[0], "release"))
		return cli_do(cli, "POST", "/v1/memory/release", NULL, RELEASE_TIMEOUT_MS,
			      print_released, NULL);
	fprintf(stderr, "hvguestctl: memory has no '%s': see hvguestctl --help\n",
		cli->operands[0]);
	return EXIT_USAGE;
}
