/* SPDX-License-Identifier: MIT */

/*
 * hvhost memory: a guest's memory, by hand or by its demand.
 *
 * The answer is what the host has decided, not what has happened yet: pages move over the seconds
 * that follow, and hvhost status shows how far they are. An amount outside of the guest's limits is
 * not an error; it is said that the limit holds.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <string.h>

static int print_memory(const json_t *memory)
{
	const json_t *asked = json_object_get(memory, "by_hand_bytes");
	json_int_t by_hand = json_integer_value(asked);

	printf("assigned %s, target %s (%s)\n", command_bytes(memory, "assigned_bytes").text,
	       command_bytes(memory, "target_bytes").text, command_text(memory, "why"));
	if (asked && by_hand < json_integer_value(json_object_get(memory, "minimum_bytes")))
		printf("%s is below the guest's minimum: it keeps %s\n", size_format(by_hand).text,
		       command_bytes(memory, "minimum_bytes").text);
	if (by_hand > json_integer_value(json_object_get(memory, "maximum_bytes")))
		printf("%s is above the guest's maximum: it gets %s at most\n",
		       size_format(by_hand).text, command_bytes(memory, "maximum_bytes").text);
	return EXIT_OK;
}

int verb_memory(int argc, char **argv)
{
	const char *assign = NULL, *fault = NULL;
	const struct command_option options[] = {
		{"assign", "SIZE", "this much, within its limits; auto: by its demand", .text = &assign},
		{"fault", "NAME", "do something wrong, for tests", .text = &fault},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "memory GUEST --assign SIZE|auto | --fault NAME [--json]",
		.options = options,
		.min_words = 1,
		.max_words = 1,
	};
	_cleanup_free_ char *path = NULL;
	json_t *body = NULL;
	uint64_t bytes;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (!assign == !fault)
		return command_complain(&c, assign ? "--assign or --fault, not both" : "--assign is missing");
	if (fault)
		body = json_pack("{s:s}", "fault", fault);
	else if (!strcmp(assign, "auto"))
		body = json_pack("{s:s}", "assign", "auto");
	else if (size_parse(assign, &bytes) == 0 && bytes <= INT64_MAX)
		body = json_pack("{s:I}", "assign", (json_int_t)bytes);
	else
		return command_refuse("--assign", assign, "a size like 512M or 2G, nor 'auto'");

	path = command_guest_path(c.words[0], "/memory");
	if (!path) {
		json_decref(body);
		return EXIT_ERROR;
	}
	return command_ask(&c, "POST", path, body, print_memory);
}
