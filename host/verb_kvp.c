/* SPDX-License-Identifier: MIT */

/*
 * hvhost kvp: the keys that a guest and its host have for each other.
 *
 * What the host sets goes to the pool external; what a guest has to say is in guest and auto. A host
 * has no way to be told of a change, so watch lists the pools again and again and shows what has
 * become different: a change back and forth between two lists is not seen.
 */

#include "host/command.h"
#include "host/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TIMEOUT_S = 60,
	TIMEOUT_MAX_S = 600,
	INTERVAL_MAX_S = 3600,
	MARGIN_MS = 5000, /* the host's own answer comes after the guest's time is over */
};

static const char *const shown_pools[] = {"external", "guest", "auto", "auto-external"};

struct kvp_arguments {
	struct command c;
	const char *pool, *timeout, *interval;
	struct command_texts addresses, gateways, dns;
	bool dhcp;
	unsigned int timeout_s, interval_s;
	char *path;
};

static bool take_seconds(const char *text, unsigned int max, unsigned int *ret_seconds)
{
	unsigned long seconds;
	char *end;

	if (!text)
		return true;
	if (*text < '0' || *text > '9')
		return false;
	seconds = strtoul(text, &end, 10);
	if (*end || seconds < 1 || seconds > max)
		return false;
	*ret_seconds = (unsigned int)seconds;
	return true;
}

/* Asks; the answer, or the exit code. */
static int question(struct kvp_arguments *a, json_t *take_body, json_t **ret_answer)
{
	json_object_set_new(take_body, "timeout_seconds", json_integer(a->timeout_s));
	return ask(&a->c.to, "POST", a->path, take_body, (int)a->timeout_s * 1000 + MARGIN_MS,
		   ret_answer);
}

static int about_key(struct kvp_arguments *a, const char *what, const char *default_pool)
{
	json_t *answer;
	int r;

	r = question(a, json_pack("{s:s, s:s, s:s, s:s*}", "do", what, "pool",
				  a->pool ? a->pool : default_pool, "key", a->c.words[2], "value",
				  a->c.n_words > 3 ? a->c.words[3] : NULL),
		     &answer);
	if (r)
		return r;
	if (a->c.json)
		ask_print_json(answer);
	else if (!strcmp(what, "get"))
		puts(command_text(answer, "value"));
	json_decref(answer);
	return EXIT_OK;
}

static int kvp_get(struct kvp_arguments *a)
{
	return about_key(a, "get", "guest");
}

static int kvp_set(struct kvp_arguments *a)
{
	return about_key(a, "set", "external");
}

static int kvp_delete(struct kvp_arguments *a)
{
	return about_key(a, "delete", "external");
}

/* Appends the entries of one pool, each with its pool. */
static int list_pool(struct kvp_arguments *a, const char *pool, json_t *entries)
{
	json_t *answer, *entry;
	size_t i;
	int r;

	r = question(a, json_pack("{s:s, s:s}", "do", "list", "pool", pool), &answer);
	if (r)
		return r;
	json_array_foreach(json_object_get(answer, "entries"), i, entry) {
		json_t *line = json_pack("{s:s}", "pool", pool);

		json_object_update(line, entry);
		json_array_append_new(entries, line);
	}
	json_decref(answer);
	return EXIT_OK;
}

/* The entries of the pool that was named, or of all; NULL, and the exit code. */
static json_t *list_all(struct kvp_arguments *a, int *ret_code)
{
	json_t *entries = json_array();

	*ret_code = EXIT_OK;
	if (a->pool)
		*ret_code = list_pool(a, a->pool, entries);
	for (size_t i = 0; !a->pool && i < 4 && *ret_code == EXIT_OK; i++)
		*ret_code = list_pool(a, shown_pools[i], entries);
	if (*ret_code == EXIT_OK)
		return entries;
	json_decref(entries);
	return NULL;
}

static void print_entry(const char *mark, const json_t *entry)
{
	printf("%s%-13s  %s = %s\n", mark, command_text(entry, "pool"), command_text(entry, "key"),
	       command_text(entry, "value"));
}

static int kvp_list(struct kvp_arguments *a)
{
	int r;
	json_t *entries = list_all(a, &r), *entry;
	size_t i;

	if (!entries)
		return r;
	if (a->c.json) {
		json_t *answer = json_pack("{s:i, s:O}", "schema", 1, "entries", entries);

		ask_print_json(answer);
		json_decref(answer);
	} else {
		json_array_foreach(entries, i, entry)
			print_entry("", entry);
	}
	json_decref(entries);
	return EXIT_OK;
}

static void tell_change(const struct kvp_arguments *a, const char *event, const char *mark,
			const json_t *entry)
{
	json_t *line;

	if (!a->c.json) {
		print_entry(mark, entry);
	} else {
		line = json_pack("{s:i, s:s, s:O, s:O, s:O}", "schema", 1, "event", event, "pool",
				 json_object_get(entry, "pool"), "key", json_object_get(entry, "key"),
				 "value", json_object_get(entry, "value"));
		json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		putchar('\n');
		json_decref(line);
	}
}

/* The entries by pool and key. */
static json_t *by_key(json_t *take_entries)
{
	json_t *map = json_object(), *entry;
	char name[2 * 2048];
	size_t i;

	json_array_foreach(take_entries, i, entry) {
		snprintf(name, sizeof(name), "%s/%s", command_text(entry, "pool"),
			 command_text(entry, "key"));
		json_object_set(map, name, entry);
	}
	json_decref(take_entries);
	return map;
}

/* Shows how @now differs from @before. */
static void tell_changes(const struct kvp_arguments *a, json_t *before, json_t *now)
{
	const char *name;
	json_t *entry;

	json_object_foreach(now, name, entry) {
		const json_t *old = json_object_get(before, name);

		if (!old)
			tell_change(a, "added", "+ ", entry);
		else if (!json_equal(old, entry))
			tell_change(a, "changed", "~ ", entry);
	}
	json_object_foreach(before, name, entry)
		if (!json_object_get(now, name))
			tell_change(a, "removed", "- ", entry);
	fflush(stdout);
}

/* Until it is interrupted, or the guest cannot be asked any more. */
static int kvp_watch(struct kvp_arguments *a)
{
	json_t *before = json_object();
	int r;

	for (;;) {
		json_t *entries = list_all(a, &r), *now;

		if (!entries)
			break;
		now = by_key(entries);
		tell_changes(a, before, now);
		json_decref(before);
		before = now;
		if (ferror(stdout))
			break;
		sleep(a->interval_s);
	}
	json_decref(before);
	return r;
}

static json_t *texts_json(const struct command_texts *texts)
{
	json_t *list = json_array();

	for (int i = 0; i < texts->n; i++)
		json_array_append_new(list, json_string(texts->texts[i]));
	return list;
}

static void print_addresses(const char *name, const json_t *list)
{
	const json_t *text;
	size_t i;

	json_array_foreach(list, i, text)
		printf("%-8s %s\n", name, json_string_value(text));
}

static int kvp_get_ip(struct kvp_arguments *a)
{
	json_t *answer;
	int r;

	r = question(a, json_pack("{s:s, s:s}", "do", "get-ip", "adapter", a->c.words[2]), &answer);
	if (r)
		return r;
	if (a->c.json) {
		ask_print_json(answer);
	} else {
		print_addresses("address", json_object_get(answer, "addresses"));
		print_addresses("gateway", json_object_get(answer, "gateways"));
		print_addresses("dns", json_object_get(answer, "dns"));
		printf("dhcp     %s\n", json_is_true(json_object_get(answer, "dhcp")) ? "yes" : "no");
	}
	json_decref(answer);
	return EXIT_OK;
}

static int kvp_set_ip(struct kvp_arguments *a)
{
	json_t *answer;
	int r;

	r = question(a, json_pack("{s:s, s:s, s:o, s:o, s:o, s:b}", "do", "set-ip", "adapter",
				  a->c.words[2], "addresses", texts_json(&a->addresses), "gateways",
				  texts_json(&a->gateways), "dns", texts_json(&a->dns), "dhcp", a->dhcp),
		     &answer);
	if (r)
		return r;
	if (a->c.json)
		ask_print_json(answer);
	json_decref(answer);
	return EXIT_OK;
}

static const struct {
	const char *name;
	int words; /* with the name and the guest */
	int (*run)(struct kvp_arguments *a);
} verbs[] = {
	{"get", 3, kvp_get},   {"set", 4, kvp_set},         {"del", 3, kvp_delete},
	{"list", 2, kvp_list}, {"watch", 2, kvp_watch},     {"get-ip", 3, kvp_get_ip},
	{"set-ip", 3, kvp_set_ip},
};

static int run(struct kvp_arguments *a)
{
	const char *names[sizeof(verbs) / sizeof(verbs[0]) + 1] = {NULL};

	if (!take_seconds(a->timeout, TIMEOUT_MAX_S, &a->timeout_s))
		return command_refuse("--timeout", a->timeout, "a number of seconds from 1 to 600");
	if (!take_seconds(a->interval, INTERVAL_MAX_S, &a->interval_s))
		return command_refuse("--interval", a->interval, "a number of seconds from 1 to 3600");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		names[i] = verbs[i].name;
		if (strcmp(a->c.words[0], verbs[i].name) != 0)
			continue;
		if (a->c.n_words != verbs[i].words)
			return command_complain(&a->c, a->c.n_words < verbs[i].words ? "something is missing"
										     : "too many words");
		a->path = command_guest_path(a->c.words[1], "/kvp");
		return a->path ? verbs[i].run(a) : EXIT_ERROR;
	}
	return command_no_such(&a->c, a->c.words[0], names);
}

int verb_kvp(int argc, char **argv)
{
	struct kvp_arguments a = {.timeout_s = TIMEOUT_S, .interval_s = 1};
	const struct command_option options[] = {
		{"pool", "POOL", "external, guest, auto or auto-external (default: by the verb)",
		 .text = &a.pool},
		{"timeout", "SEC", "how long the guest may take (default: 60)", .text = &a.timeout},
		{"interval", "SEC", "watch: between two looks (default: 1)", .text = &a.interval},
		{"address", "IP/PREFIX", "set-ip: an address; may be given again",
		 .texts = &a.addresses},
		{"gateway", "IP", "set-ip: a gateway; may be given again", .texts = &a.gateways},
		{"dns", "IP", "set-ip: a name server; may be given again", .texts = &a.dns},
		{"dhcp", NULL, "set-ip: IPv4 by DHCP", .flag = &a.dhcp},
		{0},
	};
	int r;

	a.c = (struct command){
		.usage = "kvp get|set|del|list|watch|get-ip|set-ip GUEST [KEY [VALUE] | ADAPTER] [--json]",
		.options = options,
		.min_words = 2,
		.max_words = 4,
	};
	r = command_parse(&a.c, argc, argv);
	if (r < 0)
		r = run(&a);
	free(a.path);
	command_fini(&a.c);
	return r;
}
