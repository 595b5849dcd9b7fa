/* SPDX-License-Identifier: MIT */

/*
 * The IP configuration of an adapter: from text, to text, and whether it can be.
 *
 * What a host sends ends up in the configuration of a network manager, so nothing gets through here
 * as text: each item is read into bytes, and what is written later is made of these. An item that
 * cannot be read refuses the whole, and so does, where it is to be set, an address that no machine can
 * have; nothing is guessed or left out, because half of an address list cuts a machine off as surely
 * as none.
 *
 * Servers may be loopback addresses: a guest that has a resolver of its own shows that, and a host
 * gives back to a replica what it was shown.
 */

#include "services/kvp_ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ITEM_SIZE = KVP_ADDRESS_TEXT_SIZE,
	MASK_SIZE = 20,
};

/* The next item of a list, without spaces around it; false at its end. *ret_fits: it is short enough. */
static bool next_item(const char **list, char item[ITEM_SIZE], bool *ret_fits)
{
	const char *p = *list;
	size_t length;

	p += strspn(p, "; \t");
	if (*p == '\0')
		return false;
	length = strcspn(p, ";");
	*list = p + length;
	while (length > 0 && (p[length - 1] == ' ' || p[length - 1] == '\t'))
		length--;
	*ret_fits = length < ITEM_SIZE;
	if (*ret_fits) {
		memcpy(item, p, length);
		item[length] = '\0';
	}
	return true;
}

int kvp_address_parse(const char *text, struct kvp_address *ret_address)
{
	bool is_v6 = strchr(text, ':') != NULL;
	struct kvp_address address = {.family = is_v6 ? KVP_FAMILY_IPV6 : KVP_FAMILY_IPV4};

	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, text, address.bytes) != 1)
		return KVP_IP_INVALID;
	*ret_address = address;
	return 0;
}

void kvp_address_format(const struct kvp_address *address, char ret_text[KVP_ADDRESS_TEXT_SIZE])
{
	int family = address->family == KVP_FAMILY_IPV6 ? AF_INET6 : AF_INET;

	if (!inet_ntop(family, address->bytes, ret_text, KVP_ADDRESS_TEXT_SIZE))
		ret_text[0] = '\0';
}

static bool is_v6(const struct kvp_address *address)
{
	return address->family == KVP_FAMILY_IPV6;
}

static unsigned bits_of(const struct kvp_address *address)
{
	return is_v6(address) ? 128 : 32;
}

/* The four bytes of an IPv4 address as a number. */
static uint32_t number_of(const struct kvp_address *address)
{
	const uint8_t *b = address->bytes;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* "24" or "/24" */
static bool parse_prefix(const char *text, unsigned max, uint8_t *ret_prefix)
{
	unsigned long prefix;

	text += *text == '/';
	if (*text == '\0' || strlen(text) > 3 || text[strspn(text, "0123456789")] != '\0')
		return false;
	prefix = strtoul(text, NULL, 10);
	if (prefix > max)
		return false;
	*ret_prefix = prefix;
	return true;
}

static bool parse_mask(const char *text, const struct kvp_address *address, uint8_t *ret_prefix)
{
	struct kvp_address dotted;
	uint32_t rest;

	if (is_v6(address) || !strchr(text, '.'))
		return parse_prefix(text, bits_of(address), ret_prefix);
	if (kvp_address_parse(text, &dotted) || is_v6(&dotted))
		return false;
	rest = ~number_of(&dotted);
	if ((rest & (rest + 1)) != 0)
		return false;
	*ret_prefix = rest ? __builtin_clz(rest) : 32;
	return true;
}

static int parse_nets(const char *addresses, const char *masks, struct kvp_ip_info *info)
{
	char item[ITEM_SIZE];
	bool fits;

	while (next_item(&addresses, item, &fits)) {
		struct kvp_ip_address *a = &info->addresses[info->n_addresses];

		if (!fits || info->n_addresses == KVP_IP_ADDRESSES_MAX)
			return KVP_IP_INVALID;
		*a = (struct kvp_ip_address){0};
		if (kvp_address_parse(item, &a->address) || !next_item(&masks, item, &fits) || !fits ||
		    !parse_mask(item, &a->address, &a->prefix))
			return KVP_IP_INVALID;
		info->n_addresses++;
	}
	return next_item(&masks, item, &fits) ? KVP_IP_INVALID : 0;
}

static int parse_list(const char *list, struct kvp_address *addresses, size_t max, size_t *ret_n)
{
	char item[ITEM_SIZE];
	size_t n = 0;
	bool fits;

	for (; next_item(&list, item, &fits); n++)
		if (!fits || n == max || kvp_address_parse(item, &addresses[n]))
			return KVP_IP_INVALID;
	*ret_n = n;
	return 0;
}

int kvp_ip_parse(const struct kvp_ip_texts *texts, struct kvp_ip_info *ret_info)
{
	struct kvp_ip_info info = {.family = texts->family, .dhcp = texts->dhcp};

	memcpy(info.adapter, texts->adapter, strnlen(texts->adapter, sizeof(info.adapter) - 1));
	if (parse_nets(texts->addresses, texts->subnets, &info) ||
	    parse_list(texts->gateways, info.gateways, KVP_IP_GATEWAYS_MAX, &info.n_gateways) ||
	    parse_list(texts->dns, info.dns, KVP_IP_DNS_MAX, &info.n_dns))
		return KVP_IP_INVALID;
	*ret_info = info;
	return 0;
}

static bool is_all(const uint8_t *bytes, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

static bool is_loopback(const struct kvp_address *a)
{
	return is_v6(a) ? is_all(a->bytes, 15, 0) && a->bytes[15] == 1 : a->bytes[0] == 127;
}

/* IPv4: 0.0.0.0/8, multicast, reserved, broadcast. IPv6: "::", multicast, an IPv4 address as such. */
static bool is_impossible(const struct kvp_address *a)
{
	if (!is_v6(a))
		return a->family != KVP_FAMILY_IPV4 || a->bytes[0] == 0 || a->bytes[0] >= 224;
	return is_all(a->bytes, 16, 0) || a->bytes[0] == 0xff ||
	       (is_all(a->bytes, 10, 0) && is_all(a->bytes + 10, 2, 0xff));
}

/* Whether all bits behind the prefix are 0 or all are 1: the network itself, and its broadcast. */
static bool is_no_host(const struct kvp_ip_address *a)
{
	uint32_t rest;

	if (is_v6(&a->address) || a->prefix >= 31)
		return false;
	rest = UINT32_MAX >> a->prefix;
	return (number_of(&a->address) & rest) == 0 || (number_of(&a->address) & rest) == rest;
}

/* NULL, or what is wrong. */
static const char *check_addresses(const struct kvp_ip_info *info)
{
	for (size_t i = 0; i < info->n_addresses; i++) {
		const struct kvp_ip_address *a = &info->addresses[i];

		if (is_impossible(&a->address) || is_loopback(&a->address))
			return "an address that no adapter can have";
		if (a->prefix < 1 || a->prefix > bits_of(&a->address))
			return "a subnet mask that is out of range";
		if (is_no_host(a))
			return "an address that is its network's own or its broadcast";
	}
	return NULL;
}

static const char *check_info(const struct kvp_ip_info *info)
{
	const char *why;

	if (info->n_addresses > KVP_IP_ADDRESSES_MAX || info->n_gateways > KVP_IP_GATEWAYS_MAX ||
	    info->n_dns > KVP_IP_DNS_MAX)
		return "too many addresses";
	why = check_addresses(info);
	if (why)
		return why;
	for (size_t i = 0; i < info->n_gateways; i++)
		if (is_impossible(&info->gateways[i]) || is_loopback(&info->gateways[i]))
			return "a gateway that cannot be one";
	for (size_t i = 0; i < info->n_dns; i++)
		if (is_impossible(&info->dns[i]))
			return "a name server that cannot be one";
	return NULL;
}

int kvp_ip_check(const struct kvp_ip_info *info, const char **ret_why)
{
	const char *why = check_info(info);

	if (why && ret_why)
		*ret_why = why;
	return why ? KVP_IP_INVALID : 0;
}

static void mask_text(const struct kvp_ip_address *a, char text[MASK_SIZE])
{
	uint32_t mask;

	if (is_v6(&a->address)) {
		snprintf(text, MASK_SIZE, "/%u", a->prefix);
		return;
	}
	mask = a->prefix == 0 ? 0 : a->prefix >= 32 ? UINT32_MAX : UINT32_MAX << (32 - a->prefix);
	snprintf(text, MASK_SIZE, "%u.%u.%u.%u", mask >> 24, mask >> 16 & 255, mask >> 8 & 255,
		 mask & 255);
}

/* Whether @item and what separates it fits into @list, and that with its NUL into the wire's field. */
static bool has_room(const char *list, size_t size, const char *item)
{
	return strlen(list) + strlen(item) + 3 <= size;
}

/* Each with its ';' behind, as Linux gives gateways and servers. */
static void format_list(const struct kvp_address *addresses, size_t n, char *list, size_t size)
{
	char item[ITEM_SIZE];

	for (size_t i = 0; i < n; i++) {
		kvp_address_format(&addresses[i], item);
		if (!has_room(list, size, item))
			return;
		strcat(strcat(list, item), ";");
	}
}

static void append(char *list, const char *item)
{
	strcat(strcat(list, *list ? ";" : ""), item);
}

void kvp_ip_format(const struct kvp_ip_info *info, struct kvp_ip_texts *ret_texts)
{
	struct kvp_ip_texts *t = ret_texts;
	char address[ITEM_SIZE], mask[MASK_SIZE];

	*t = (struct kvp_ip_texts){.family = info->family, .dhcp = info->dhcp};
	memcpy(t->adapter, info->adapter, strnlen(info->adapter, sizeof(t->adapter) - 1));
	for (size_t i = 0; i < info->n_addresses; i++) {
		kvp_address_format(&info->addresses[i].address, address);
		mask_text(&info->addresses[i], mask);
		if (!has_room(t->addresses, sizeof(t->addresses), address) ||
		    !has_room(t->subnets, sizeof(t->subnets), mask))
			break;
		append(t->addresses, address);
		append(t->subnets, mask);
	}
	format_list(info->gateways, info->n_gateways, t->gateways, sizeof(t->gateways));
	format_list(info->dns, info->n_dns, t->dns, sizeof(t->dns));
}
