/* SPDX-License-Identifier: MIT */

/*
 * Status: what the daemon does and sees.
 *
 * A line or two for each service. A daemon without a host, or without a host that gives and takes
 * memory, is degraded, not broken: it answers, and the exit code says so.
 */

#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void print_hotplug(const json_t *h)
{
	const json_t *kernel = json_object_get(h, "kernel_balloon");

	printf("hotplug     policy %s, memory blocks of %s; added %" JSON_INTEGER_FORMAT
	       ", brought online %" JSON_INTEGER_FORMAT ", failed %" JSON_INTEGER_FORMAT "\n",
	       text_of(h, "policy"), bytes_of(h, "block_bytes").text, number_of(h, "added"),
	       number_of(h, "onlined"), number_of(h, "failed"));
	if (json_object_get(h, "problem"))
		printf("            %s\n", text_of(h, "problem"));
	if (json_object_get(h, "last_failure"))
		printf("            last trouble: %s\n", text_of(h, "last_failure"));
	if (json_object_get(kernel, "added_bytes"))
		printf("            hv_balloon: %s; ballooned %s, added %s of which online %s\n",
		       text_of(kernel, "state"), bytes_of(kernel, "ballooned_bytes").text,
		       bytes_of(kernel, "added_bytes").text, bytes_of(kernel, "onlined_bytes").text);
	else if (kernel && json_object_get(kernel, "problem"))
		printf("            hv_balloon: %s\n", text_of(kernel, "problem"));
}

static void print_backup(const json_t *b)
{
	printf("backup      %s (channel %s, protocol %s)\n", text_of(b, "state"),
	       text_of(b, "channel"), text_of(b, "version"));
	if (json_object_get(b, "problem"))
		printf("            %s\n", text_of(b, "problem"));
	if (json_object_get(b, "device_problem"))
		printf("            %s\n", text_of(b, "device_problem"));
	if (json_object_get(b, "remaining_seconds"))
		printf("            thaws by itself in %s\n", seconds_of(b, "remaining_seconds").text);
	if (json_is_object(json_object_get(b, "last")))
		printf("            last: %s\n", text_of(json_object_get(b, "last"), "result"));
}

static void print_shutdown(const json_t *s)
{
	const json_t *last = json_object_get(s, "last");

	printf("shutdown    channel %s, protocol %s%s\n", text_of(s, "channel"), text_of(s, "version"),
	       json_is_true(json_object_get(s, "dry_run")) ? "; nothing would be done, this is a lab" : "");
	if (json_is_object(last))
		printf("            the host asked for %s%s: %s\n", text_of(last, "kind"),
		       json_is_true(json_object_get(last, "running")) ? ", under way" : "",
		       text_of(last, "text"));
}

static void print_time(const json_t *t)
{
	const json_t *last = json_object_get(t, "last");
	double offset = json_number_value(json_object_get(last, "offset_seconds"));
	bool is_kept = json_is_true(json_object_get(t, "synchronized"));
	bool has_keeper = json_object_get(t, "keeper");

	printf("time        mode %s (channel %s, protocol %s); clock %s %s\n", text_of(t, "mode"),
	       text_of(t, "channel"), text_of(t, "version"),
	       has_keeper && !is_kept ? "not yet kept by" : "kept by",
	       has_keeper ? text_of(t, "keeper") : is_kept ? "somebody" : "nobody");
	if (json_is_true(json_object_get(t, "kernel_clock")))
		puts("            the kernel has the host's clock, as /dev/ptp_hyperv: chronyd can read it there");
	if (!json_is_object(last))
		return;
	printf("            %s ago the host was %.6f s %s: %s\n", seconds_of(last, "seconds_ago").text,
	       offset < 0 ? -offset : offset, offset < 0 ? "behind" : "ahead", text_of(last, "action"));
	if (json_object_get(last, "skipped"))
		printf("            not followed: %s\n", text_of(last, "skipped"));
}

static void print_kvp(const json_t *k)
{
	const json_t *keys = json_object_get(k, "keys");

	if (!json_is_object(k)) {
		puts("kvp         off (kvp = no)");
		return;
	}
	printf("kvp         channel %s, protocol %s; keys for the host %" JSON_INTEGER_FORMAT
	       ", from it %" JSON_INTEGER_FORMAT "\n",
	       text_of(k, "channel"), text_of(k, "version"),
	       number_of(keys, "guest") + number_of(keys, "auto"),
	       number_of(keys, "external") + number_of(keys, "auto-external"));
	if (json_object_get(k, "problem"))
		printf("            %s\n", text_of(k, "problem"));
	if (json_object_get(k, "device_problem"))
		printf("            %s\n", text_of(k, "device_problem"));
}

static int status_code(const json_t *status)
{
	const json_t *host = json_object_get(status, "host");
	bool connected = strcmp(text_of(host, "state"), "connected") == 0;
	const json_t *memory = json_object_get(status, "memory");
	bool is_served = !json_object_get(memory, "given_up") && !json_object_get(memory, "unanswered");

	return connected && is_served ? EXIT_OK : EXIT_DEGRADED;
}

static void print_status(const json_t *status)
{
	const json_t *host = json_object_get(status, "host");
	const json_t *heartbeat = json_object_get(status, "heartbeat");
	const json_t *list = json_object_get(status, "missing_capabilities"), *name;
	size_t i;

	printf("guest       %s, hvguestd %s\n", text_of(status, "name"), text_of(status, "version"));
	printf("host        %s at %s%s%s\n", text_of(host, "state"),
	       json_object_get(host, "socket") ? text_of(host, "socket") : "VMBus",
	       json_object_get(host, "error") ? ": " : "",
	       json_object_get(host, "error") ? text_of(host, "error") : "");
	json_array_foreach(list, i, name)
		printf("missing     %s\n", json_string_value(name));
	printf("heartbeat   %" JSON_INTEGER_FORMAT " answered (channel %s, protocol %s), %s\n",
	       number_of(heartbeat, "answered"), text_of(heartbeat, "channel"),
	       text_of(heartbeat, "version"), text_of(heartbeat, "application"));
	print_shutdown(json_object_get(status, "shutdown"));
	print_time(json_object_get(status, "time"));
	print_memory(json_object_get(status, "memory"));
	print_hotplug(json_object_get(status, "hotplug"));
	print_backup(json_object_get(status, "backup"));
	print_fcopy(json_object_get(status, "copy"));
	print_kvp(json_object_get(status, "kvp"));
	print_disks_status(json_object_get(status, "disks"));
}

int verb_status(const struct cli *cli)
{
	return cli_show(cli, "/v1/status", print_status, status_code);
}
