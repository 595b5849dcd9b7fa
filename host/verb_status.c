/* SPDX-License-Identifier: MIT */

/*
 * hvhost status: the guests, a line each.
 *
 * The line has what an administrator looks at first: does it answer, and are its programs well ("ok!":
 * one is not), what does it have, what does it need, is a backup holding it, and for how long. All that the host knows of a guest, service by service, is in the
 * JSON of --json.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <string.h>

/* "ok", or "ok!" if programs in the guest are in trouble. */
static const char *heartbeat_text(const json_t *heartbeat, char buf[16])
{
	snprintf(buf, 16, "%s%s", command_text(heartbeat, "state"),
		 strcmp(command_text(heartbeat, "application"), "critical") == 0 ? "!" : "");
	return buf;
}

/* What holds the guest: a backup of this host, or another one that the guest tells of. */
static const char *backup_text(const json_t *guest, char buf[48])
{
	const json_t *heartbeat = json_object_get(guest, "heartbeat");

	if (json_object_get(heartbeat, "hold_seconds_left"))
		snprintf(buf, 48, "%s, %.0f s left", command_text(heartbeat, "hold"),
			 json_number_value(json_object_get(heartbeat, "hold_seconds_left")));
	else
		snprintf(buf, 48, "%s", command_text(json_object_get(guest, "backup"), "state"));
	return buf;
}

static void print_guest_line(const json_t *guest)
{
	const json_t *memory = json_object_get(guest, "memory");
	const json_t *qemu = json_object_get(guest, "qemu");
	char pressure[16] = "-", heartbeat[16], backup[48];

	if (json_is_integer(json_object_get(memory, "pressure_percent")))
		snprintf(pressure, sizeof(pressure), "%d %%",
			 (int)json_integer_value(json_object_get(memory, "pressure_percent")));
	printf("%-16s %-9s %10s %10s %10s %8s %10s  %s%s\n", command_text(guest, "name"),
	       qemu ? command_text(qemu, "state")
	            : heartbeat_text(json_object_get(guest, "heartbeat"), heartbeat),
	       command_bytes(memory, "assigned_bytes").text, command_bytes(memory, "demand_bytes").text,
	       command_bytes(memory, "available_bytes").text, pressure,
	       command_bytes(memory, "ballooned_bytes").text,
	       backup_text(guest, backup),
	       json_is_true(json_object_get(guest, "saved")) ? ", saved" : "");
}

static int print_status(const json_t *status)
{
	const json_t *guests = json_object_get(status, "guests"), *guest;
	size_t i;

	printf("%-16s %-9s %10s %10s %10s %8s %10s  %s\n", "GUEST", "HEARTBEAT", "ASSIGNED",
	       "DEMAND", "AVAILABLE", "PRESSURE", "BALLOONED", "BACKUP");
	if (!guests)
		print_guest_line(status);
	json_array_foreach(guests, i, guest)
		print_guest_line(guest);
	if (guests && json_array_size(guests) == 0)
		puts("no guest yet: hvguestd --lab joins the lab of this host, hvhost serve --qmp finds QEMU's VMs");
	return EXIT_OK;
}

static int print_names(const json_t *status)
{
	const json_t *guest;
	size_t i;

	json_array_foreach(json_object_get(status, "guests"), i, guest)
		puts(command_text(guest, "name"));
	return EXIT_OK;
}

int verb_status(int argc, char **argv)
{
	bool names = false;
	const struct command_option options[] = {
		{"names", NULL, "only the names, one a line", .flag = &names},
		{0},
	};
	_cleanup_command_ struct command c = {
		.usage = "status [GUEST] [--names] [--json]",
		.options = options,
		.max_words = 1,
	};
	_cleanup_free_ char *path = NULL;
	int r = command_parse(&c, argc, argv);

	if (r >= 0)
		return r;
	if (c.n_words == 0)
		return command_ask(&c, "GET", "/v1/status", NULL, names ? print_names : print_status);
	path = command_guest_path(c.words[0], "");
	return path ? command_ask(&c, "GET", path, NULL, print_status) : EXIT_ERROR;
}
