/* SPDX-License-Identifier: MIT */

/*
 * Adapters and their managers.
 *
 * Nobody is asked who has an interface: that would take a bus, a library and patience. The managers
 * leave in /run what they make of each interface, by its index, and that is read:
 *
 *     /run/systemd/netif/links/N       networkd: ADMIN_STATE, NETWORK_FILE, DNS
 *     /run/NetworkManager/devices/N    NetworkManager: managed, connection-uuid
 *
 * A file of networkd's whose name begins with 10-netplan-, and a connection of NetworkManager's that
 * begins with netplan-, are netplan's; the rest of the name is what netplan's files call the interface.
 * Sources: systemd src/network/networkd-state-file.c; NetworkManager src/core/nm-config.c; netplan
 * src/networkd.c, src/nm.c.
 */

#include "services/adapters.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
	FILE_MAX = 16384, /* bytes that are read of a file */
	ID_DIGITS_MAX = 32,
};

/* Reads up to @size - 1 bytes of a file; false if it is not there. */
static bool read_file(char *buf, size_t size, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return false;
	while (used + 1 < size && (n = read(fd, buf + used, size - 1 - used)) > 0)
		used += (size_t)n;
	buf[used] = '\0';
	return true;
}

/* The value behind "KEY=" at the beginning of a line; false if there is none, or it does not fit. */
static bool find_value(const char *text, const char *key, char *ret_value, size_t size)
{
	size_t length = strlen(key), n;

	for (; text; text = strchr(text, '\n'), text = text ? text + 1 : NULL) {
		if (strncasecmp(text, key, length) != 0 || text[length] != '=')
			continue;
		text += length + 1;
		n = strcspn(text, "\r\n");
		if (n >= size)
			return false;
		memcpy(ret_value, text, n);
		ret_value[n] = '\0';
		return true;
	}
	return false;
}

/* --- finding one */

/* The hexadecimal digits of an id, in lower case; false if there is anything else but separators. */
static bool plain_id(const char *text, char digits[ID_DIGITS_MAX + 1])
{
	size_t n = 0;

	for (; *text; text++) {
		if (strchr("{}-: \n", *text))
			continue;
		if (!isxdigit((unsigned char)*text) || n == ID_DIGITS_MAX)
			return false;
		digits[n++] = (char)tolower((unsigned char)*text);
	}
	digits[n] = '\0';
	return n == 12 || n == 32;
}

static bool file_has_id(const char *path, const char *id)
{
	char text[128], digits[ID_DIGITS_MAX + 1];

	return read_file(text, sizeof(text), path) && plain_id(text, digits) && strcmp(digits, id) == 0;
}

/* Reads adapter @name if it has this id. */
static bool read_adapter(const struct adapters_system *system, const char *name, const char *id,
			 struct adapter *ret_adapter)
{
	struct adapter a = {0};
	char path[PATH_MAX], text[64];
	const char *file = strlen(id) == 12 ? "address" : "device/device_id";

	snprintf(path, sizeof(path), "%s/%s/%s", system->net, name, file);
	if (strlen(name) >= sizeof(a.name) || !file_has_id(path, id))
		return false;
	strcpy(a.name, name);
	snprintf(path, sizeof(path), "%s/%s/ifindex", system->net, name);
	if (!read_file(text, sizeof(text), path) || sscanf(text, "%u", &a.index) != 1)
		return false;
	snprintf(path, sizeof(path), "%s/%s/address", system->net, name);
	if (!read_file(text, sizeof(text), path) || strcspn(text, "\n") != ADAPTER_MAC_SIZE - 1)
		return false;
	memcpy(a.mac, text, ADAPTER_MAC_SIZE - 1);
	*ret_adapter = a;
	return true;
}

static bool has_address(const struct adapter *adapter, const struct adapter_address *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].adapter == adapter->index)
			return true;
	return false;
}

int adapters_find(const struct adapters_system *system, const char *id,
		  const struct adapter_address *list, size_t n, struct adapter *ret_adapter)
{
	char digits[ID_DIGITS_MAX + 1];
	const struct dirent *entry;
	struct adapter found;
	bool any = false;
	DIR *dir;

	if (!plain_id(id, digits))
		return ADAPTERS_NONE;
	dir = opendir(system->net);
	if (!dir)
		return negative_errno();
	while ((entry = readdir(dir))) {
		if (!read_adapter(system, entry->d_name, digits, &found))
			continue;
		if (!any || has_address(&found, list, n))
			*ret_adapter = found;
		any = true;
	}
	(void)closedir(dir);
	return any ? 0 : ADAPTERS_NONE;
}

/* --- who has it */

/* What stands between @before and @after in @text, which is nothing but these; false: it is not so. */
static bool between(const char *text, const char *before, const char *after, char *ret_middle,
		    size_t size)
{
	size_t length = strlen(text), n_before = strlen(before), n_after = strlen(after), n;

	if (length <= n_before + n_after || strncmp(text, before, n_before) != 0 ||
	    strcmp(text + length - n_after, after) != 0)
		return false;
	n = length - n_before - n_after;
	if (n >= size)
		return false;
	memcpy(ret_middle, text + n_before, n);
	ret_middle[n] = '\0';
	return true;
}

static bool link_state(const struct adapters_system *system, unsigned index, char text[FILE_MAX])
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/run/systemd/netif/links/%u", system->root, index);
	return read_file(text, FILE_MAX, path);
}

static bool networkd_has(const struct adapters_system *system, const struct adapter *adapter,
			 struct adapter_owner *owner)
{
	char text[FILE_MAX], state[32], file[PATH_MAX];

	if (!link_state(system, adapter->index, text) ||
	    !find_value(text, "ADMIN_STATE", state, sizeof(state)) ||
	    (strcmp(state, "configured") != 0 && strcmp(state, "configuring") != 0 &&
	     strcmp(state, "failed") != 0))
		return false;
	owner->manager = NET_MANAGER_NETWORKD;
	if (find_value(text, "NETWORK_FILE", file, sizeof(file)) &&
	    between(file, "/run/systemd/network/10-netplan-", ".network", owner->netplan_id,
		    sizeof(owner->netplan_id)))
		owner->manager = NET_MANAGER_NETPLAN;
	return true;
}

/* Whether netplan's connection file @path is for @adapter. */
static bool is_for(const char *path, const struct adapter *adapter)
{
	char text[FILE_MAX], value[ADAPTER_NAME_SIZE];

	return read_file(text, sizeof(text), path) &&
	       ((find_value(text, "interface-name", value, sizeof(value)) &&
		 strcmp(value, adapter->name) == 0) ||
		(find_value(text, "mac-address", value, sizeof(value)) &&
		 strcasecmp(value, adapter->mac) == 0));
}

/* Looks for a connection that netplan has made for NetworkManager. */
static bool find_netplan_connection(const struct adapters_system *system,
				    const struct adapter *adapter, char *ret_id, size_t size)
{
	char folder[PATH_MAX / 2], path[PATH_MAX];
	const struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(folder, sizeof(folder), "%s/run/NetworkManager/system-connections", system->root);
	dir = opendir(folder);
	while (dir && !found && (entry = readdir(dir))) {
		if (!between(entry->d_name, "netplan-", ".nmconnection", ret_id, size))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		found = is_for(path, adapter);
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

static bool networkmanager_has(const struct adapters_system *system, const struct adapter *adapter,
			       struct adapter_owner *owner)
{
	char text[FILE_MAX], managed[16], path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/run/NetworkManager/devices/%u", system->root, adapter->index);
	if (!read_file(text, sizeof(text), path) ||
	    !find_value(text, "managed", managed, sizeof(managed)) || strcmp(managed, "true") != 0)
		return false;
	owner->manager = NET_MANAGER_NETWORKMANAGER;
	if (!find_value(text, "connection-uuid", owner->connection, sizeof(owner->connection)))
		owner->connection[0] = '\0';
	if (find_netplan_connection(system, adapter, owner->netplan_id, sizeof(owner->netplan_id)))
		owner->manager = NET_MANAGER_NETPLAN;
	return true;
}

void adapters_owner(const struct adapters_system *system, const struct adapter *adapter,
		    struct adapter_owner *ret_owner)
{
	*ret_owner = (struct adapter_owner){.manager = NET_MANAGER_NONE};
	if (!networkd_has(system, adapter, ret_owner))
		(void)networkmanager_has(system, adapter, ret_owner);
}

const char *net_manager_name(enum net_manager manager)
{
	switch (manager) {
	case NET_MANAGER_NONE:
		return "none";
	case NET_MANAGER_NETWORKD:
		return "networkd";
	case NET_MANAGER_NETWORKMANAGER:
		return "NetworkManager";
	case NET_MANAGER_NETPLAN:
		return "netplan";
	}
	return "invalid";
}

/* --- name servers */

/* Adds the words of @list that are addresses; what networkd says besides (a port, a name) is not shown. */
static size_t add_words(const char *list, struct kvp_address *servers, size_t n, size_t max)
{
	char word[KVP_ADDRESS_TEXT_SIZE];

	while (*(list += strspn(list, " \t")) && *list != '\n' && n < max) {
		size_t length = strcspn(list, " \t\r\n");

		if (length < sizeof(word)) {
			memcpy(word, list, length);
			word[length] = '\0';
			word[strcspn(word, "%#")] = '\0';
			n += kvp_address_parse(word, &servers[n]) == 0;
		}
		list += length;
	}
	return n;
}

/* The "nameserver" lines of a resolv.conf(5). */
static size_t read_resolv_conf(const char *path, struct kvp_address *servers, size_t max)
{
	static const char word[] = "nameserver";
	char text[FILE_MAX];
	size_t n = 0;

	if (!read_file(text, sizeof(text), path))
		return 0;
	for (const char *line = text; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
		if (strncmp(line, word, sizeof(word) - 1) == 0 && strchr(" \t", line[sizeof(word) - 1]))
			n = add_words(line + sizeof(word) - 1, servers, n, max);
	return n;
}

size_t adapters_dns(const struct adapters_system *system, const struct adapter *adapter,
		    struct kvp_address *servers, size_t max)
{
	char text[FILE_MAX], list[FILE_MAX / 4], path[PATH_MAX];
	size_t n = 0;

	if (link_state(system, adapter->index, text) && find_value(text, "DNS", list, sizeof(list)))
		n = add_words(list, servers, 0, max);
	if (n == 0) {
		/* The real ones, where /etc/resolv.conf has systemd-resolved's own address. */
		snprintf(path, sizeof(path), "%s/run/systemd/resolve/resolv.conf", system->root);
		n = read_resolv_conf(path, servers, max);
	}
	if (n == 0) {
		snprintf(path, sizeof(path), "%s/etc/resolv.conf", system->root);
		n = read_resolv_conf(path, servers, max);
	}
	return n;
}

bool adapters_has_lease(const struct adapters_system *system, const struct adapter *adapter)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/run/systemd/netif/leases/%u", system->root, adapter->index);
	return access(path, F_OK) == 0;
}
