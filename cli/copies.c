/* SPDX-License-Identifier: MIT */

/*
 * Copies: the files that the host has put into this machine.
 *
 * What is shown of each is what it takes to check it: where it is, its size and its SHA-256, when
 * it came and from whom. The last one that did not arrive is shown with the reason.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

void print_fcopy(const json_t *c)
{
	const json_t *roots = json_object_get(c, "roots"), *root;
	size_t i;

	if (!json_is_true(json_object_get(c, "enabled"))) {
		printf("file copy   off: %s\n", text_of(c, "why"));
		return;
	}
	printf("file copy   %s (channel %s, protocol %s); %" JSON_INTEGER_FORMAT " copied, into",
	       text_of(c, "state"), text_of(c, "channel"), text_of(c, "version"), number_of(c, "copied"));
	json_array_foreach(roots, i, root)
		printf(" %s", json_string_value(root));
	puts("");
	if (json_object_get(c, "device_problem"))
		printf("            %s\n", text_of(c, "device_problem"));
	if (json_object_get(c, "path"))
		printf("            %s: %s of %s%s\n", text_of(c, "path"), bytes_of(c, "done_bytes").text,
		       bytes_of(c, "total_bytes").text,
		       json_is_true(json_object_get(c, "waits_for_thaw")) ? ", waits for the thaw" : "");
}

static void print_failure(const json_t *f)
{
	printf("not copied  %s: %s%s%s (%s, from the %s)\n", text_of(f, "path"), text_of(f, "result"),
	       *text_of(f, "why") ? ": " : "", text_of(f, "why"), text_of(f, "started"),
	       text_of(f, "requester"));
}

static void print_copies(const json_t *answer)
{
	const json_t *copy;
	size_t i;

	if (json_array_size(json_object_get(answer, "copies")) == 0)
		puts("No file has been copied.");
	json_array_foreach(json_object_get(answer, "copies"), i, copy)
		printf("%s  %s  %s in %s, from the %s\n  sha256 %s\n", text_of(copy, "started"),
		       text_of(copy, "path"), bytes_of(copy, "bytes").text,
		       seconds_of(copy, "seconds").text, text_of(copy, "requester"),
		       text_of(copy, "sha256"));
	if (json_is_object(json_object_get(answer, "last_failure")))
		print_failure(json_object_get(answer, "last_failure"));
}

int verb_copies(const struct cli *cli)
{
	return cli_show(cli, "/v1/copies", print_copies, NULL);
}
