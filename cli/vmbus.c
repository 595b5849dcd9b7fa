/* SPDX-License-Identifier: MIT */

/*
 * VMBus: every device, its driver, its rings, and what hvguestd makes of it.
 *
 * A device that hvguestd does not have is listed as well. What a device lacks, because nobody has
 * opened it for example, is a dash. A list is an answer, whatever is in it.
 */

#include "cli/cli.h"

#include <stdio.h>

/* A number of bytes or of things that a device may not have. */
static struct size_text maybe(const json_t *object, const char *key, bool is_bytes)
{
	struct size_text text = {"-"};

	if (!json_object_get(object, key))
		return text;
	if (is_bytes)
		return bytes_of(object, key);
	snprintf(text.text, sizeof(text.text), "%" JSON_INTEGER_FORMAT, number_of(object, key));
	return text;
}

static void print_vmbus(const json_t *answer)
{
	const json_t *devices = json_object_get(answer, "devices"), *d;
	const json_t *channels = json_object_get(answer, "channels"), *c;
	size_t i;

	if (json_array_size(devices) > 0)
		printf("%-14s %-36s %-16s %4s %10s %8s %8s %10s  %s\n", "CLASS", "INSTANCE", "DRIVER",
		       "UIO", "RING", "IN", "OUT", "INTERRUPTS", "HVGUESTD");
	json_array_foreach(devices, i, d)
		printf("%-14s %-36s %-16s %4s %10s %8s %8s %10s  %s\n", text_of(d, "class"),
		       text_of(d, "instance"), text_of(d, "driver"), maybe(d, "uio", false).text,
		       maybe(d, "ring_bytes", true).text, maybe(d, "in_bytes", true).text,
		       maybe(d, "out_bytes", true).text, maybe(d, "interrupts", false).text,
		       text_of(d, "service_state"));
	json_array_foreach(devices, i, d)
		if (number_of(d, "buffer_bytes") > 0)
			printf("memory      %s: the kernel keeps %s for it besides its rings\n",
			       text_of(d, "class"), bytes_of(d, "buffer_bytes").text);
	if (json_is_true(json_object_get(answer, "blocks_hibernation")))
		puts("hibernation blocked: uio_hv_generic, which has a device, cannot suspend");
	json_array_foreach(channels, i, c)
		printf("channel     %s: %s\n", text_of(c, "service"), text_of(c, "state"));
}

int verb_vmbus(const struct cli *cli)
{
	return cli_show(cli, "/v1/vmbus", print_vmbus, NULL);
}
