/* SPDX-License-Identifier: MIT */

/*
 * The automatic keys.
 *
 *     FullyQualifiedDomainName    the canonical name; while that is not known, the host name
 *     IntegrationServicesVersion  as the kernel says it
 *     NetworkAddressIPv4          all addresses, ';' in between
 *     NetworkAddressIPv6          likewise, link-local ones included, without a scope
 *     OSBuildNumber               the kernel's release
 *     OSName                      NAME of os-release; without one, the kernel's name
 *     OSMajorVersion              VERSION_ID of os-release, whole
 *     OSMinorVersion              nothing
 *     OSVersion                   the kernel's release up to the first '-': hosts expect x.y.z
 *     ProcessorArchitecture       the machine's name
 *     HostName                    the host name
 *
 * Names, order and contents are those of Linux tools/hv/hv_kvp_daemon.c, which hosts and the tools of
 * their administrators know; HostName comes after them, because that daemon has no such key and hosts
 * find keys by their number. Where the Linux daemon puts the text of an error into a value, nothing is
 * put here, or what is known.
 */

#include "services/kvp_keys.h"

#include <stdio.h>
#include <string.h>

enum {
	NAME_SIZE = 256,
};

/* The place behind "NAME=" at the beginning of a line of @text, or NULL. */
static const char *find_line(const char *text, const char *name)
{
	size_t length = strlen(name);

	while (text && *text) {
		text += strspn(text, " \t");
		if (strncmp(text, name, length) == 0 && text[length] == '=')
			return text + length + 1;
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return NULL;
}

bool kvp_keys_os_release(const char *text, const char *name, char *ret_value, size_t size)
{
	const char *p = find_line(text, name);
	char quote = '\0';
	size_t n = 0;

	if (!p)
		return false;
	if (*p == '"' || *p == '\'')
		quote = *p++;
	for (; *p && *p != '\n' && *p != quote && n + 1 < size; p++) {
		if (*p == '\\' && quote != '\'' && p[1] && p[1] != '\n')
			p++;
		ret_value[n++] = *p;
	}
	while (!quote && n > 0 && strchr(" \t\r", ret_value[n - 1]))
		n--;
	ret_value[n] = '\0';
	return true;
}

bool kvp_keys_canonical_name(const char *output, char *ret_name, size_t size)
{
	size_t length = 0;

	output += strspn(output, " \t");
	for (int word = 0; word < 2; word++) {
		output += strcspn(output, " \t\n");
		output += strspn(output, " \t");
	}
	length = strcspn(output, " \t\n");
	if (length == 0 || length >= size)
		return false;
	memcpy(ret_name, output, length);
	ret_name[length] = '\0';
	return true;
}

static void put_addresses(const struct kvp_keys_facts *facts, uint8_t family, char *value)
{
	char text[KVP_ADDRESS_TEXT_SIZE];
	size_t used = 0;

	value[0] = '\0';
	for (size_t i = 0; i < facts->n_addresses; i++) {
		size_t length;

		if (facts->addresses[i].family != family)
			continue;
		kvp_address_format(&facts->addresses[i], text);
		length = strlen(text);
		if (used + length + 1 > KVP_KEYS_TEXT_MAX)
			return;
		if (used > 0)
			value[used++] = ';';
		memcpy(value + used, text, length + 1);
		used += length;
	}
}

static void put(struct kvp_key_value *entry, const char *text)
{
	snprintf(entry->value, sizeof(entry->value), "%s", text ? text : "");
}

static void put_os(struct kvp_key_value *entry, const struct kvp_keys_facts *facts, const char *name,
		   const char *otherwise)
{
	char value[NAME_SIZE];

	if (facts->os_release && kvp_keys_os_release(facts->os_release, name, value, sizeof(value)) &&
	    value[0])
		put(entry, value);
	else
		put(entry, otherwise);
}

void kvp_keys_make(const struct kvp_keys_facts *facts, struct kvp_keys *ret_keys)
{
	static const char *const names[KVP_KEYS_N] = {
		"FullyQualifiedDomainName", "IntegrationServicesVersion", "NetworkAddressIPv4",
		"NetworkAddressIPv6",	    "OSBuildNumber",		  "OSName",
		"OSMajorVersion",	    "OSMinorVersion",		  "OSVersion",
		"ProcessorArchitecture",    "HostName",
	};
	struct kvp_key_value *list = ret_keys->list;

	for (size_t i = 0; i < KVP_KEYS_N; i++)
		list[i].key = names[i];
	put(&list[0], facts->fqdn ? facts->fqdn : facts->host_name);
	put(&list[1], facts->services_version);
	put_addresses(facts, KVP_FAMILY_IPV4, list[2].value);
	put_addresses(facts, KVP_FAMILY_IPV6, list[3].value);
	put(&list[4], facts->kernel_release);
	put_os(&list[5], facts, "NAME", facts->kernel_name);
	put_os(&list[6], facts, "VERSION_ID", NULL);
	put(&list[7], NULL);
	put(&list[8], facts->kernel_release);
	list[8].value[strcspn(list[8].value, "-")] = '\0';
	put(&list[9], facts->machine);
	put(&list[10], facts->host_name);
}
