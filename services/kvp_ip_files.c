/* SPDX-License-Identifier: MIT */

/*
 * Texts of network managers' files: systemd.network(5), nm-settings-keyfile(5), netplan(5).
 *
 * Everything variable in them is an address, a number, a MAC address that the kernel gave or a name
 * that has been looked at letter by letter, so nothing can end a line, a quote or a section.
 *
 * A file stands for the whole IP configuration of its adapter, as a host that sends one means it; there
 * is no merging with what was there. How the file comes to win over others is told where it is put
 * (daemon/ip_apply.c).
 */

#include "services/kvp_ip_files.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HEADER \
	"# Written by hvguestd: the host has set the addresses of this adapter (key-value exchange).\n" \
	"# It will be replaced when the host sets them again. Without it, the other files count again.\n"

/* A text that grows up to KVP_IP_FILE_MAX bytes. */
struct text {
	char *buf;
	size_t used;
	bool failed;
};

static void add(struct text *t, const char *format, ...) _printf_(2, 3);

static void add(struct text *t, const char *format, ...)
{
	size_t room = KVP_IP_FILE_MAX - t->used;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->buf + t->used, room, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room)
		t->failed = true;
	else
		t->used += (size_t)n;
}

static void add_address(struct text *t, const char *before, const struct kvp_address *address,
			const char *after)
{
	char text[KVP_ADDRESS_TEXT_SIZE];

	kvp_address_format(address, text);
	add(t, "%s%s%s", before, text, after);
}

bool kvp_ip_is_set(const struct kvp_ip_address *address)
{
	const uint8_t *b = address->address.bytes;

	return address->address.family != KVP_FAMILY_IPV6 || b[0] != 0xfe || (b[1] & 0xc0) != 0x80;
}

/* The next address of @family that is to be set, from index *i on; NULL: there are no more. */
static const struct kvp_ip_address *next_address(const struct kvp_ip_info *info, uint8_t family,
						 size_t *i)
{
	while (*i < info->n_addresses) {
		const struct kvp_ip_address *a = &info->addresses[(*i)++];

		if (a->address.family == family && kvp_ip_is_set(a))
			return a;
	}
	return NULL;
}

static bool has_address(const struct kvp_ip_info *info, uint8_t family)
{
	size_t i = 0;

	return next_address(info, family, &i) != NULL;
}

/* Whether the first @prefix bits are the same. */
static bool is_in(const struct kvp_address *address, const struct kvp_ip_address *net)
{
	for (unsigned bit = 0; bit < net->prefix; bit++)
		if ((address->bytes[bit / 8] ^ net->address.bytes[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

/* Whether @gateway can be reached by one of the addresses, or is link-local. */
static bool is_on_link(const struct kvp_ip_info *info, const struct kvp_address *gateway)
{
	const struct kvp_ip_address as_address = {.address = *gateway}, *a;
	size_t i = 0;

	if (!kvp_ip_is_set(&as_address))
		return true;
	while ((a = next_address(info, gateway->family, &i)))
		if (is_in(gateway, a))
			return true;
	return false;
}

/* Letters that need no quotes in any of the files. Linux lets a name have 15 of nearly any byte. */
static bool is_plain(const char *name, const char *others)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	for (; *name; name++)
		if (!strchr(letters, *name) && !strchr(others, *name))
			return false;
	return true;
}

static bool can_be_written(const struct kvp_ip_target *target)
{
	size_t length = strlen(target->interface);

	return length > 0 && length < 16 && is_plain(target->interface, "._-") &&
	       strlen(target->mac) == 17 && is_plain(target->mac, ":");
}

/*
 * The metric of a gateway's route: that of the manager's choice (0) for the first of its family; each
 * other is worse than the one before, because two routes to everywhere must differ.
 */
static unsigned metric_of(const struct kvp_ip_info *info, size_t gateway)
{
	unsigned n = 0;

	for (size_t i = 0; i < gateway; i++)
		n += info->gateways[i].family == info->gateways[gateway].family;
	return n ? 10000 + n : 0;
}

static int finish(const struct text *t)
{
	return t->failed ? KVP_IP_FILE_UNFIT : 0;
}

/* --- systemd-networkd */

int kvp_ip_networkd_text(const struct kvp_ip_target *target, const struct kvp_ip_info *info,
			 char *buf)
{
	struct text t = {.buf = buf};

	if (!can_be_written(target))
		return KVP_IP_FILE_UNFIT;
	add(&t, HEADER "[Match]\nMACAddress=%s\nName=%s\n\n[Network]\n", target->mac,
	    target->interface);
	add(&t, "DHCP=%s\nIPv6AcceptRA=%s\n", info->dhcp ? "ipv4" : "no",
	    has_address(info, KVP_FAMILY_IPV6) ? "no" : "yes");
	for (size_t i = 0; i < info->n_addresses; i++) {
		if (!kvp_ip_is_set(&info->addresses[i]))
			continue;
		add_address(&t, "Address=", &info->addresses[i].address, "");
		add(&t, "/%u\n", info->addresses[i].prefix);
	}
	for (size_t i = 0; i < info->n_dns; i++)
		add_address(&t, "DNS=", &info->dns[i], "\n");
	for (size_t i = 0; i < info->n_gateways; i++) {
		const struct kvp_address *gateway = &info->gateways[i];

		if (!has_address(info, gateway->family))
			continue;
		add_address(&t, "\n[Route]\nGateway=", gateway, "\n");
		if (metric_of(info, i) > 0)
			add(&t, "Metric=%u\n", metric_of(info, i));
		if (!is_on_link(info, gateway))
			add(&t, "GatewayOnLink=yes\n");
	}
	return finish(&t);
}

/* --- NetworkManager */

/* The gateways of one family: the first is the family's, the others are routes. */
static void add_keyfile_gateways(struct text *t, const struct kvp_ip_info *info, uint8_t family)
{
	unsigned n = 0;

	for (size_t i = 0; i < info->n_gateways; i++) {
		const struct kvp_address *gateway = &info->gateways[i];

		if (gateway->family != family)
			continue;
		if (n++ == 0) {
			add_address(t, "gateway=", gateway, "\n");
			continue;
		}
		add(t, "route%u=%s,", n - 1, family == KVP_FAMILY_IPV6 ? "::/0" : "0.0.0.0/0");
		add_address(t, "", gateway, ",");
		add(t, "%u\n", metric_of(info, i));
	}
}

static void add_keyfile_dns(struct text *t, const struct kvp_ip_info *info, uint8_t family)
{
	bool any = false;

	for (size_t i = 0; i < info->n_dns; i++) {
		if (info->dns[i].family != family)
			continue;
		add_address(t, any ? "" : "dns=", &info->dns[i], ";");
		any = true;
	}
	if (any)
		add(t, "\n");
}

static void add_keyfile_family(struct text *t, const struct kvp_ip_info *info, uint8_t family,
			       const char *method)
{
	const struct kvp_ip_address *a;
	unsigned number = 0;
	size_t i = 0;

	add(t, "method=%s\n", method);
	if (strcmp(method, "disabled") == 0)
		return;
	while ((a = next_address(info, family, &i))) {
		add(t, "address%u=", ++number);
		add_address(t, "", &a->address, "");
		add(t, "/%u\n", a->prefix);
	}
	if (number > 0)
		add_keyfile_gateways(t, info, family);
	add_keyfile_dns(t, info, family);
}

void kvp_ip_uuid(const char *mac, char buf[KVP_IP_UUID_SIZE])
{
	/* Version 8 (of our own making): "hvgues", then the address. */
	size_t n = (size_t)snprintf(buf, KVP_IP_UUID_SIZE, "68766775-6573-8000-8000-");

	for (; *mac && n < KVP_IP_UUID_SIZE - 1; mac++)
		if (*mac != ':')
			buf[n++] = *mac >= 'A' && *mac <= 'F' ? *mac - 'A' + 'a' : *mac;
	while (n < KVP_IP_UUID_SIZE - 1)
		buf[n++] = '0';
	buf[n] = '\0';
}

int kvp_ip_keyfile_text(const struct kvp_ip_target *target, const struct kvp_ip_info *info, char *buf)
{
	bool has_v4 = has_address(info, KVP_FAMILY_IPV4);
	struct text t = {.buf = buf};
	char uuid[KVP_IP_UUID_SIZE];

	if (!can_be_written(target))
		return KVP_IP_FILE_UNFIT;
	kvp_ip_uuid(target->mac, uuid);
	add(&t, HEADER "[connection]\nid=hvguest-%s\nuuid=%s\ntype=ethernet\ninterface-name=%s\n"
		"autoconnect-priority=999\n\n[ethernet]\nmac-address=%s\n",
	    target->interface, uuid, target->interface, target->mac);
	add(&t, "\n[ipv4]\n");
	add_keyfile_family(&t, info, KVP_FAMILY_IPV4,
			   info->dhcp ? "auto" : has_v4 ? "manual" : "disabled");
	add(&t, "\n[ipv6]\n");
	add_keyfile_family(&t, info, KVP_FAMILY_IPV6,
			   has_address(info, KVP_FAMILY_IPV6) ? "manual" : "auto");
	return finish(&t);
}

/* --- netplan */

static void add_netplan_routes(struct text *t, const struct kvp_ip_info *info)
{
	bool any = false;

	for (size_t i = 0; i < info->n_gateways; i++) {
		const struct kvp_address *gateway = &info->gateways[i];

		if (!has_address(info, gateway->family))
			continue;
		if (!any)
			add(t, "      routes:\n");
		any = true;
		add(t, "        - to: \"%s\"\n",
		    gateway->family == KVP_FAMILY_IPV6 ? "::/0" : "0.0.0.0/0");
		add_address(t, "          via: \"", gateway, "\"\n");
		if (metric_of(info, i) > 0)
			add(t, "          metric: %u\n", metric_of(info, i));
		if (!is_on_link(info, gateway))
			add(t, "          on-link: true\n");
	}
}

static void add_netplan_addresses(struct text *t, const struct kvp_ip_info *info)
{
	bool any = false;

	for (size_t i = 0; i < info->n_addresses; i++) {
		if (!kvp_ip_is_set(&info->addresses[i]))
			continue;
		if (!any)
			add(t, "      addresses:\n");
		any = true;
		add_address(t, "        - \"", &info->addresses[i].address, "");
		add(t, "/%u\"\n", info->addresses[i].prefix);
	}
}

int kvp_ip_netplan_text(const struct kvp_ip_target *target, const struct kvp_ip_info *info, char *buf)
{
	struct text t = {.buf = buf};

	if (!can_be_written(target) || !target->netplan_id[0] ||
	    strlen(target->netplan_id) > 64 || !is_plain(target->netplan_id, "._-"))
		return KVP_IP_FILE_UNFIT;
	add(&t, HEADER "network:\n  version: 2\n  ethernets:\n    \"%s\":\n", target->netplan_id);
	add(&t, "      dhcp4: %s\n      dhcp6: false\n      accept-ra: %s\n", info->dhcp ? "true" : "false",
	    has_address(info, KVP_FAMILY_IPV6) ? "false" : "true");
	add_netplan_addresses(&t, info);
	add_netplan_routes(&t, info);
	if (info->n_dns > 0)
		add(&t, "      nameservers:\n        addresses:\n");
	for (size_t i = 0; i < info->n_dns; i++)
		add_address(&t, "          - \"", &info->dns[i], "\"\n");
	return finish(&t);
}
