/* SPDX-License-Identifier: MIT */

/*
 * Key-value pairs: what host and guest tell each other.
 *
 * kvp watch asks for a list, waits until the daemon has something newer, asks again, and shows
 * what is different. So what changes twice between two lists is shown once, and nothing is missed.
 *
 * A slash in a key is not one of the path; the client has a byte for that.
 */

#include "cli/cli.h"

#include "base/httpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TIMEOUT_MS = 60000, /* a change waits for the disk, and for the end of a freeze */
	PATH_SIZE = 1024,
	OPTION_POOL = 0, /* of the verb's options */
};

static const char *pool_of(const struct cli *cli, const char *otherwise)
{
	return cli->values[OPTION_POOL] ? cli->values[OPTION_POOL] : otherwise;
}

/* /v1/kvp/POOL/KEY; @key NULL: /v1/kvp/POOL; both NULL: /v1/kvp. False: no key can be so. */
static bool make_path(char path[PATH_SIZE], const char *pool, const char *key)
{
	int n = snprintf(path, PATH_SIZE, "/v1/kvp%s%s%s", pool ? "/" : "", pool ? pool : "",
			 key ? "/" : "");

	if (n >= PATH_SIZE || (key && (*key == '\0' || strlen(key) >= (size_t)(PATH_SIZE - n))))
		return false;
	for (; key && *key; key++)
		path[n++] = *key == '/' ? HTTPC_SLASH[0] : *key;
	path[n] = '\0';
	return true;
}

static int complain(const char *what)
{
	fprintf(stderr, "hvguestctl kvp: %s\n", what);
	return EXIT_USAGE;
}

/* --- one answer --- */

static void print_entry(const char *pool, const json_t *entry)
{
	printf("%-14s %s = %s\n", pool, text_of(entry, "key"), text_of(entry, "value"));
}

static void print_pool(const json_t *pool)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(pool, "entries"), i, entry)
		print_entry(text_of(pool, "pool"), entry);
}

/* One pool, or all of them. */
static void print_list(const json_t *answer)
{
	const json_t *pools = json_object_get(answer, "pools"), *pool;
	size_t i;

	json_array_foreach(pools, i, pool)
		print_pool(pool);
	if (!pools)
		print_pool(answer);
	if (json_is_string(json_object_get(answer, "trouble")))
		fprintf(stderr, "hvguestctl: %s\n", text_of(answer, "trouble"));
}

static void print_value(const json_t *answer)
{
	puts(text_of(answer, "value"));
}

static void print_nothing(const json_t *answer)
{
	(void)answer;
}

static int list(const struct cli *cli)
{
	char path[PATH_SIZE];

	if (cli->n_operands != 1)
		return complain("list takes no key: hvguestctl --help");
	if (!make_path(path, pool_of(cli, NULL), NULL))
		return complain("there is no such pool");
	return cli_do(cli, "GET", path, NULL, TIMEOUT_MS, print_list, NULL);
}

static int get(const struct cli *cli)
{
	char path[PATH_SIZE];

	if (cli->n_operands != 2)
		return complain("get takes a key: hvguestctl --help");
	if (!make_path(path, pool_of(cli, "guest"), cli->operands[1]))
		return complain("a key is text of 1 to 255 UTF-16 units");
	return cli_do(cli, "GET", path, NULL, TIMEOUT_MS, print_value, NULL);
}

static int set(const struct cli *cli)
{
	char path[PATH_SIZE];
	json_t *value;

	if (cli->n_operands != 3)
		return complain("set takes a key and a value: hvguestctl --help");
	if (!make_path(path, pool_of(cli, "guest"), cli->operands[1]))
		return complain("a key is text of 1 to 255 UTF-16 units");
	value = json_string(cli->operands[2]);
	if (!value)
		return complain("the value is no UTF-8");
	return cli_do(cli, "PUT", path, json_pack("{s:o}", "value", value), TIMEOUT_MS, print_nothing,
		      NULL);
}

static int del(const struct cli *cli)
{
	char path[PATH_SIZE];

	if (cli->n_operands != 2)
		return complain("del takes a key: hvguestctl --help");
	if (!make_path(path, pool_of(cli, "guest"), cli->operands[1]))
		return complain("a key is text of 1 to 255 UTF-16 units");
	return cli_do(cli, "DELETE", path, NULL, TIMEOUT_MS, print_nothing, NULL);
}

/* --- watch --- */

static void show_change(const struct cli *cli, const char *pool, const char *key, const json_t *value)
{
	if (cli->json) {
		json_t *line = json_pack("{s:s, s:s, s:O?}", "pool", pool, "key", key, "value", value);

		if (!value)
			json_object_set_new(line, "value", json_null());
		json_dumpf(line, stdout, JSON_COMPACT);
		puts("");
		json_decref(line);
	} else if (value) {
		printf("%-14s %s = %s\n", pool, key, json_string_value(value));
	} else {
		printf("%-14s %s removed\n", pool, key);
	}
}

/* Adds the entries of @pool as an object, by key; of several with one key the first counts. */
static void add_by_key(json_t *all, const json_t *pool)
{
	json_t *keys = json_object(), *entry;
	size_t i;

	json_array_foreach(json_object_get(pool, "entries"), i, entry)
		if (!json_object_get(keys, text_of(entry, "key")))
			json_object_set(keys, text_of(entry, "key"), json_object_get(entry, "value"));
	json_object_set_new(all, text_of(pool, "pool"), keys);
}

/* The answer is all pools or one. */
static json_t *by_key(const json_t *answer)
{
	const json_t *pools = json_object_get(answer, "pools"), *pool;
	json_t *all = json_object();
	size_t i;

	json_array_foreach(pools, i, pool)
		add_by_key(all, pool);
	if (!pools)
		add_by_key(all, answer);
	return all;
}

static void show_changes(const struct cli *cli, const char *pool, json_t *before, json_t *after)
{
	const char *key;
	json_t *value;

	json_object_foreach(after, key, value)
		if (!json_equal(value, json_object_get(before, key)))
			show_change(cli, pool, key, value);
	json_object_foreach(before, key, value)
		if (!json_object_get(after, key))
			show_change(cli, pool, key, NULL);
}

/* What there is now, compared with *@before, which it replaces. */
static int look(const struct cli *cli, const char *path, json_t **before, json_int_t *ret_version)
{
	json_t *answer, *after, *keys;
	const char *pool;
	int r;

	r = ask(&cli->to, "GET", path, NULL, TIMEOUT_MS, &answer);
	if (r)
		return r;
	*ret_version = number_of(answer, "version");
	after = by_key(answer);
	json_decref(answer);
	json_object_foreach(after, pool, keys)
		if (*before)
			show_changes(cli, pool, json_object_get(*before, pool), keys);
	if (!*before && !cli->json)
		fprintf(stderr, "hvguestctl: watching; Ctrl-C ends it\n");
	json_decref(*before);
	*before = after;
	return 0;
}

static int watch(const struct cli *cli)
{
	char path[PATH_SIZE], changes[64];
	json_t *before = NULL, *answer;
	json_int_t version = 0;
	int r;

	if (cli->n_operands != 1)
		return complain("watch takes no key: hvguestctl --help");
	if (!make_path(path, pool_of(cli, NULL), NULL))
		return complain("there is no such pool");
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	while ((r = look(cli, path, &before, &version)) == 0) {
		snprintf(changes, sizeof(changes), "/v1/kvp-changes/%" JSON_INTEGER_FORMAT, version);
		r = ask(&cli->to, "GET", changes, NULL, TIMEOUT_MS, &answer);
		if (r)
			break;
		json_decref(answer);
	}
	json_decref(before);
	return r;
}

int verb_kvp(const struct cli *cli)
{
	static const struct {
		const char *name;
		int (*run)(const struct cli *cli);
	} whats[] = {{"get", get}, {"set", set}, {"del", del}, {"list", list}, {"watch", watch}};

	for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++)
		if (strcmp(cli->operands[0], whats[i].name) == 0)
			return whats[i].run(cli);
	return complain("get, set, del, list or watch: hvguestctl --help");
}

/* --- host --- */

/* What hosts tell, as they call it. Source: Microsoft, Hyper-V data exchange, guest parameters. */
static const struct {
	const char *key;
	const char *name;
} told[] = {
	{"HostName", "host"},
	{"PhysicalHostName", "physical host"},
	{"PhysicalHostNameFullyQualified", "its full name"},
	{"VirtualMachineName", "virtual machine"},
	{"VirtualMachineDynamicMemoryBalancingEnabled", "dynamic memory"},
	{"VirtualMachineId", "its id"},
	{"HostingSystemEditionId", "host edition"},
	{"HostingSystemNestedLevel", "nested level"},
	{"HostingSystemOsMajor", "host major version"},
	{"HostingSystemOsMinor", "host minor version"},
	{"HostingSystemProcessorArchitecture", "host architecture"},
	{"HostingSystemProcessorIdleStateMax", "host idle states"},
	{"HostingSystemProcessorThrottleMax", "host throttle"},
};

static const char *name_of(const char *key)
{
	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
		if (strcmp(told[i].key, key) == 0)
			return told[i].name;
	return NULL;
}

/* For people: one of them is a number that stands for an answer. */
static const char *value_of(const json_t *entry)
{
	const char *value = text_of(entry, "value");

	if (strcmp(text_of(entry, "key"), "VirtualMachineDynamicMemoryBalancingEnabled") != 0)
		return value;
	return strcmp(value, "1") == 0 ? "on" : "off";
}

/* The well-known ones first, then whatever else there is. */
static void print_host(const json_t *answer)
{
	const json_t *entries = json_object_get(answer, "entries"), *entry;
	size_t i;

	for (size_t known = 0; known < sizeof(told) / sizeof(told[0]); known++)
		json_array_foreach(entries, i, entry)
			if (strcmp(text_of(entry, "key"), told[known].key) == 0)
				printf("%-20s %s\n", told[known].name, value_of(entry));
	json_array_foreach(entries, i, entry)
		if (!name_of(text_of(entry, "key")))
			printf("%-20s %s\n", text_of(entry, "key"), text_of(entry, "value"));
	if (json_array_size(entries) == 0)
		puts("the host has told nothing");
}

static int host_code(const json_t *answer)
{
	return json_array_size(json_object_get(answer, "entries")) > 0 ? EXIT_OK : EXIT_DEGRADED;
}

int verb_host(const struct cli *cli)
{
	return cli_do(cli, "GET", "/v1/kvp/auto-external", NULL, TIMEOUT_MS, print_host, host_code);
}
