/* SPDX-License-Identifier: MIT */

/*
 * A stand-in for systemd-logind on a bus of a test's own: what hvguestd asks of it, with the faults that
 * the real one shows rarely.
 *
 *     login1 DIR [old] [race] [silent] [broken]
 *
 * Calls are appended to DIR/calls. If there is a file DIR/inhibitor, its words "WHAT WHO MODE" are one
 * more inhibitor, beside two that are in nobody's way. "old": a systemd before 246; "race": somebody
 * inhibits between the two questions; "silent": no answer; "broken": it cannot do what it is asked for.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

struct login1 {
	const char *dir;
	bool old, race, silent, broken;
};

static void note(const struct login1 *l, sd_bus_message *call, const char *argument)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/calls", l->dir);
	file = fopen(path, "ae");
	if (!file)
		abort();
	fprintf(file, "%s %s\n", sd_bus_message_get_member(call), argument);
	fclose(file);
}

/* The words of DIR/inhibitor; false if there is none. */
static bool read_inhibitor(const struct login1 *l, char what[32], char who[32], char mode[32])
{
	char path[256];
	FILE *file;
	bool is_there;

	snprintf(path, sizeof(path), "%s/inhibitor", l->dir);
	file = fopen(path, "re");
	is_there = file && fscanf(file, "%31s %31s %31s", what, who, mode) == 3;
	if (file)
		fclose(file);
	return is_there;
}

static int list_inhibitors(sd_bus_message *call, void *user, sd_bus_error *ret_error)
{
	const struct login1 *l = user;
	char what[32], who[32], mode[32];
	sd_bus_message *reply = NULL;
	int r;

	(void)ret_error;
	note(l, call, "");
	if (l->silent)
		return 1;
	r = sd_bus_message_new_method_return(call, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(ssssuu)");
	if (r >= 0)
		r = sd_bus_message_append(reply, "(ssssuu)", "shutdown:sleep", "NetworkManager", "says goodbye",
					  "delay", 0, 1);
	if (r >= 0)
		r = sd_bus_message_append(reply, "(ssssuu)", "idle:handle-lid-switch", "player", "a film", "block",
					  1000, 2);
	if (r >= 0 && read_inhibitor(l, what, who, mode))
		r = sd_bus_message_append(reply, "(ssssuu)", what, who, "half way", mode, 0, 3);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	if (r >= 0)
		r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

static int go(sd_bus_message *call, const struct login1 *l, const char *argument, sd_bus_error *ret_error)
{
	note(l, call, argument);
	if (l->race)
		return sd_bus_error_set(ret_error, SD_BUS_ERROR_ACCESS_DENIED,
					"Access denied to root due to active block inhibitor");
	if (l->broken)
		return sd_bus_error_set(ret_error, "org.freedesktop.login1.SleepVerbNotSupported",
					"Sleep verb not supported");
	return sd_bus_reply_method_return(call, "");
}

static int with_flags(sd_bus_message *call, void *user, sd_bus_error *ret_error)
{
	const struct login1 *l = user;
	char text[32];
	uint64_t flags;

	if (l->old)
		return sd_bus_error_set(ret_error, SD_BUS_ERROR_UNKNOWN_METHOD, "Unknown method");
	if (sd_bus_message_read(call, "t", &flags) < 0)
		return -1;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)flags);
	return go(call, l, text, ret_error);
}

static int without_flags(sd_bus_message *call, void *user, sd_bus_error *ret_error)
{
	int interactive;

	if (sd_bus_message_read(call, "b", &interactive) < 0)
		return -1;
	return go(call, user, interactive ? "true" : "false", ret_error);
}

static const sd_bus_vtable methods[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("ListInhibitors", "", "a(ssssuu)", list_inhibitors, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("PowerOff", "b", "", without_flags, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Reboot", "b", "", without_flags, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Hibernate", "b", "", without_flags, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("PowerOffWithFlags", "t", "", with_flags, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("RebootWithFlags", "t", "", with_flags, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("HibernateWithFlags", "t", "", with_flags, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

int main(int argc, char **argv)
{
	struct login1 l = {.dir = argc > 1 ? argv[1] : "."};
	sd_bus *bus = NULL;
	int r;

	for (int i = 2; i < argc; i++) {
		l.old = l.old || !strcmp(argv[i], "old");
		l.race = l.race || !strcmp(argv[i], "race");
		l.silent = l.silent || !strcmp(argv[i], "silent");
		l.broken = l.broken || !strcmp(argv[i], "broken");
	}
	r = sd_bus_open_system(&bus);
	if (r >= 0)
		r = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/login1",
					     "org.freedesktop.login1.Manager", methods, &l);
	if (r >= 0)
		r = sd_bus_request_name(bus, "org.freedesktop.login1", 0);
	if (r >= 0)
		puts("ready");
	fflush(stdout);
	while (r >= 0) {
		r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, UINT64_MAX);
	}
	fprintf(stderr, "login1: %s\n", strerror(-r));
	return 1;
}
