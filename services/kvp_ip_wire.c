/* SPDX-License-Identifier: MIT */

/*
 * Addresses on the wire.
 *
 * There are two forms. Up to version 4.0 all are texts, and the body begins right behind the pool, at
 * an odd place that no other message has. Since version 5.0 they are binary, in arrays of fixed size
 * with counts in front, behind the usual padding. The message is as long in both.
 *
 *     offset  size  text form                     offset  size  binary form
 *          2   256  adapter                            4    24  six counts
 *        258     1  family                            28   256  adapter
 *        259     1  DHCP                             284     4  family, DHCP, padding
 *        260  2048  addresses                        288  1280  addresses, IPv4 and IPv6
 *       2308  2048  subnets                         1568   512  masks of IPv4, prefixes of IPv6
 *       4356  1024  gateways                        2080   100  gateways
 *       5380  2048  DNS servers                     2180  1280  DNS servers
 *                                                   3460   256  origins of the addresses
 */

#include "services/kvp_ip_wire.h"

#include "base/bytes.h"
#include "base/utf16.h"
#include "services/kvp_wire.h"

#include <assert.h>
#include <string.h>

enum {
	/* Fields of the text form of addresses, in units. Source: Linux uapi/linux/hyperv.h. */
	ADAPTER_UNITS = 128,
	LIST_UNITS = 1024,
	GATEWAYS_UNITS = 512,
	TEXT_BODY_OFFSET = 2,
	/* Arrays of the binary form. Source: OpenVMM kvp.rs, MessageIpAddressInfoBinary. */
	BINARY_ADDRESSES = 64,
	BINARY_GATEWAYS = 5,
	BINARY_DNS = 64,
	BINARY_BODY_SIZE = 3712,
};
static_assert(TEXT_BODY_OFFSET + 2 * ADAPTER_UNITS + 2 + 3 * 2 * LIST_UNITS + 2 * GATEWAYS_UNITS ==
		      KVP_IP_MESSAGE_SIZE, "struct hv_kvp_ip_msg");
static_assert(6 * 4 + 2 * ADAPTER_UNITS + 4 + BINARY_ADDRESSES * (4 + 16 + 4 + 4) +
		      BINARY_GATEWAYS * (4 + 16) + BINARY_DNS * (4 + 16) +
		      2 * BINARY_ADDRESSES * 2 == BINARY_BODY_SIZE, "MessageIpAddressInfoBinary");
static_assert((int)KVP_IP_ADDRESSES_MAX >= 2 * BINARY_ADDRESSES, "");
static_assert((int)KVP_IP_GATEWAYS_MAX >= 2 * BINARY_GATEWAYS, "");
static_assert((int)KVP_IP_DNS_MAX >= 2 * BINARY_DNS, "");

/* What is shown in logs and compared with names of this machine is printable ASCII. */
static bool is_adapter(const char *text)
{
	if (!*text)
		return false;
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static void get_list(struct bytes_reader *r, size_t units, char *ret_text, size_t text_size, int *fault)
{
	const uint8_t *field = bytes_get_direct(r, 2 * units);

	if (!field)
		*fault = KVP_FAULT_TRUNCATED;
	else if (utf16_to_utf8(field, 2 * units, 0, ret_text, text_size) && *fault == 0)
		*fault = KVP_FAULT_ADDRESS;
}

static int get_ip_text(struct bytes_reader *r, struct kvp_ip_info *ret_ip)
{
	struct kvp_ip_texts t = {0};
	int fault = 0;

	get_list(r, ADAPTER_UNITS, t.adapter, sizeof(t.adapter), &fault);
	t.family = bytes_get_u8(r);
	t.dhcp = bytes_get_u8(r) != 0;
	get_list(r, LIST_UNITS, t.addresses, sizeof(t.addresses), &fault);
	get_list(r, LIST_UNITS, t.subnets, sizeof(t.subnets), &fault);
	get_list(r, GATEWAYS_UNITS, t.gateways, sizeof(t.gateways), &fault);
	get_list(r, LIST_UNITS, t.dns, sizeof(t.dns), &fault);
	if (fault)
		return fault;
	return is_adapter(t.adapter) && kvp_ip_parse(&t, ret_ip) == 0 ? 0 : KVP_FAULT_ADDRESS;
}

/* An array of @size addresses on the wire, of which the first @n count. */
static void get_addresses(struct bytes_reader *r, uint8_t family, size_t n, size_t size,
			  struct kvp_address *addresses, size_t *n_addresses)
{
	size_t length = family == KVP_FAMILY_IPV4 ? 4 : 16;

	for (size_t i = 0; i < size; i++) {
		const uint8_t *bytes = bytes_get_direct(r, length);
		struct kvp_address *a;

		if (!bytes || i >= n)
			continue;
		a = &addresses[(*n_addresses)++];
		*a = (struct kvp_address){.family = family};
		memcpy(a->bytes, bytes, length);
	}
}

/* How many of each there are. */
struct binary_counts {
	uint32_t ipv4, ipv6, gateways4, gateways6, dns4, dns6;
};

static struct binary_counts get_counts(struct bytes_reader *r)
{
	struct binary_counts n;

	n.ipv4 = bytes_get_u32(r);
	n.ipv6 = bytes_get_u32(r);
	n.gateways4 = bytes_get_u32(r);
	n.gateways6 = bytes_get_u32(r);
	n.dns4 = bytes_get_u32(r);
	n.dns6 = bytes_get_u32(r);
	return n;
}

static bool counts_fit(const struct binary_counts *n)
{
	return n->ipv4 <= BINARY_ADDRESSES && n->ipv6 <= BINARY_ADDRESSES &&
	       n->gateways4 <= BINARY_GATEWAYS && n->gateways6 <= BINARY_GATEWAYS &&
	       n->dns4 <= BINARY_DNS && n->dns6 <= BINARY_DNS;
}

/* False if the mask is no run of ones. */
static bool mask_to_prefix(const uint8_t mask[4], uint8_t *ret_prefix)
{
	uint32_t bits = (uint32_t)mask[0] << 24 | (uint32_t)mask[1] << 16 | (uint32_t)mask[2] << 8 |
			mask[3];

	for (*ret_prefix = 0; bits & 0x80000000u; bits <<= 1)
		(*ret_prefix)++;
	return bits == 0;
}

static void prefix_to_mask(uint8_t prefix, uint8_t ret_mask[4])
{
	uint32_t bits = prefix ? UINT32_MAX << (32 - prefix) : 0;

	assert(prefix <= 32);
	for (int i = 0; i < 4; i++)
		ret_mask[i] = (uint8_t)(bits >> (24 - 8 * i));
}

/* The masks and prefixes of the addresses, IPv4 first. */
static bool get_prefixes(struct bytes_reader *r, const struct binary_counts *n,
			 struct kvp_ip_address *addresses)
{
	bool ok = true;

	for (size_t i = 0; i < BINARY_ADDRESSES; i++) {
		const uint8_t *mask = bytes_get_direct(r, 4);

		if (mask && i < n->ipv4 && !mask_to_prefix(mask, &addresses[i].prefix))
			ok = false;
	}
	for (size_t i = 0; i < BINARY_ADDRESSES; i++) {
		uint32_t prefix = bytes_get_u32(r);

		if (i >= n->ipv6)
			continue;
		ok = ok && prefix <= 128;
		addresses[n->ipv4 + i].prefix = (uint8_t)prefix;
	}
	return ok;
}

static int get_ip_binary(struct bytes_reader *r, struct kvp_ip_info *ret_ip)
{
	struct binary_counts n = get_counts(r);
	struct kvp_address addresses[2 * BINARY_ADDRESSES];
	struct kvp_ip_info *ip = ret_ip;
	int fault = 0;
	bool ok;

	*ip = (struct kvp_ip_info){0};
	if (!bytes_reader_ok(r))
		return KVP_FAULT_TRUNCATED;
	if (!counts_fit(&n))
		return KVP_FAULT_ADDRESS;
	get_list(r, ADAPTER_UNITS, ip->adapter, sizeof(ip->adapter), &fault);
	ip->family = bytes_get_u8(r);
	ip->dhcp = bytes_get_u8(r) != 0;
	bytes_skip(r, 2);
	get_addresses(r, KVP_FAMILY_IPV4, n.ipv4, BINARY_ADDRESSES, addresses, &ip->n_addresses);
	get_addresses(r, KVP_FAMILY_IPV6, n.ipv6, BINARY_ADDRESSES, addresses, &ip->n_addresses);
	for (size_t i = 0; i < ip->n_addresses; i++)
		ip->addresses[i].address = addresses[i];
	ok = get_prefixes(r, &n, ip->addresses);
	get_addresses(r, KVP_FAMILY_IPV4, n.gateways4, BINARY_GATEWAYS, ip->gateways, &ip->n_gateways);
	get_addresses(r, KVP_FAMILY_IPV6, n.gateways6, BINARY_GATEWAYS, ip->gateways, &ip->n_gateways);
	get_addresses(r, KVP_FAMILY_IPV4, n.dns4, BINARY_DNS, ip->dns, &ip->n_dns);
	get_addresses(r, KVP_FAMILY_IPV6, n.dns6, BINARY_DNS, ip->dns, &ip->n_dns);
	for (size_t i = 0; i < 2 * BINARY_ADDRESSES; i++) {
		uint16_t origin = bytes_get_u16(r);

		if (i < ip->n_addresses)
			ip->addresses[i].origin = origin <= KVP_ORIGIN_STATIC ? origin : 0;
	}
	if (!bytes_reader_ok(r))
		return KVP_FAULT_TRUNCATED;
	return fault == 0 && ok && is_adapter(ip->adapter) ? 0 : KVP_FAULT_ADDRESS;
}

int kvp_ip_decode(const void *message, size_t size, bool binary_ip, struct kvp_ip_info *ret_ip)
{
	struct bytes_reader r;

	if (size < KVP_IP_MESSAGE_SIZE)
		return KVP_FAULT_TRUNCATED;
	bytes_reader_init(&r, message, size);
	bytes_skip(&r, binary_ip ? KVP_HEADER_SIZE : TEXT_BODY_OFFSET);
	return binary_ip ? get_ip_binary(&r, ret_ip) : get_ip_text(&r, ret_ip);
}

static void put_list(struct bytes_writer *w, size_t units, const char *text)
{
	uint8_t field[2 * LIST_UNITS] = {0};
	size_t size;
	int r = utf8_to_utf16(text, UTF16_REPLACE | UTF16_CUT, field, 2 * units, &size);

	assert(r == 0);
	bytes_put(w, field, 2 * units);
}

static void put_ip_text(struct bytes_writer *w, const struct kvp_ip_info *ip)
{
	struct kvp_ip_texts t;

	kvp_ip_format(ip, &t);
	put_list(w, ADAPTER_UNITS, t.adapter);
	bytes_put_u8(w, t.family);
	bytes_put_u8(w, t.dhcp);
	put_list(w, LIST_UNITS, t.addresses);
	put_list(w, LIST_UNITS, t.subnets);
	put_list(w, GATEWAYS_UNITS, t.gateways);
	put_list(w, LIST_UNITS, t.dns);
}

static uint32_t count_of(const struct kvp_address *a, size_t n, uint8_t family, uint32_t max)
{
	uint32_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += a[i].family == family && count < max;
	return count;
}

/* The first @size of the family, and zeros. */
static void put_addresses(struct bytes_writer *w, const struct kvp_address *a, size_t n, uint8_t family,
			  size_t size)
{
	size_t length = family == KVP_FAMILY_IPV4 ? 4 : 16, done = 0;

	for (size_t i = 0; i < n && done < size; i++) {
		if (a[i].family != family)
			continue;
		bytes_put(w, a[i].bytes, length);
		done++;
	}
	bytes_put_zeros(w, length * (size - done));
}

/* The prefixes of the family; masks for IPv4. */
static void put_prefixes(struct bytes_writer *w, const struct kvp_ip_info *ip, uint8_t family)
{
	uint8_t mask[4];
	size_t done = 0;

	for (size_t i = 0; i < ip->n_addresses && done < BINARY_ADDRESSES; i++) {
		if (ip->addresses[i].address.family != family)
			continue;
		if (family == KVP_FAMILY_IPV4) {
			prefix_to_mask(ip->addresses[i].prefix, mask);
			bytes_put(w, mask, sizeof(mask));
		} else {
			bytes_put_u32(w, ip->addresses[i].prefix);
		}
		done++;
	}
	bytes_put_zeros(w, 4 * (BINARY_ADDRESSES - done));
}

/* All of IPv4, directly followed by those of IPv6. */
static void put_origins(struct bytes_writer *w, const struct kvp_ip_info *ip)
{
	static const uint8_t families[] = {KVP_FAMILY_IPV4, KVP_FAMILY_IPV6};
	size_t all = 0;

	for (size_t f = 0; f < 2; f++) {
		size_t done = 0;

		for (size_t i = 0; i < ip->n_addresses && done < BINARY_ADDRESSES; i++) {
			if (ip->addresses[i].address.family != families[f])
				continue;
			bytes_put_u16(w, ip->addresses[i].origin);
			done++;
		}
		all += done;
	}
	bytes_put_zeros(w, 2 * (2 * BINARY_ADDRESSES - all));
}

static void put_ip_binary(struct bytes_writer *w, const struct kvp_ip_info *ip)
{
	struct kvp_address a[KVP_IP_ADDRESSES_MAX];
	size_t n = ip->n_addresses;

	for (size_t i = 0; i < n; i++)
		a[i] = ip->addresses[i].address;
	bytes_put_u32(w, count_of(a, n, KVP_FAMILY_IPV4, BINARY_ADDRESSES));
	bytes_put_u32(w, count_of(a, n, KVP_FAMILY_IPV6, BINARY_ADDRESSES));
	bytes_put_u32(w, count_of(ip->gateways, ip->n_gateways, KVP_FAMILY_IPV4, BINARY_GATEWAYS));
	bytes_put_u32(w, count_of(ip->gateways, ip->n_gateways, KVP_FAMILY_IPV6, BINARY_GATEWAYS));
	bytes_put_u32(w, count_of(ip->dns, ip->n_dns, KVP_FAMILY_IPV4, BINARY_DNS));
	bytes_put_u32(w, count_of(ip->dns, ip->n_dns, KVP_FAMILY_IPV6, BINARY_DNS));
	put_list(w, ADAPTER_UNITS, ip->adapter);
	bytes_put_u8(w, ip->family);
	bytes_put_u8(w, ip->dhcp);
	bytes_put_zeros(w, 2);
	put_addresses(w, a, n, KVP_FAMILY_IPV4, BINARY_ADDRESSES);
	put_addresses(w, a, n, KVP_FAMILY_IPV6, BINARY_ADDRESSES);
	put_prefixes(w, ip, KVP_FAMILY_IPV4);
	put_prefixes(w, ip, KVP_FAMILY_IPV6);
	put_addresses(w, ip->gateways, ip->n_gateways, KVP_FAMILY_IPV4, BINARY_GATEWAYS);
	put_addresses(w, ip->gateways, ip->n_gateways, KVP_FAMILY_IPV6, BINARY_GATEWAYS);
	put_addresses(w, ip->dns, ip->n_dns, KVP_FAMILY_IPV4, BINARY_DNS);
	put_addresses(w, ip->dns, ip->n_dns, KVP_FAMILY_IPV6, BINARY_DNS);
	put_origins(w, ip);
}

void kvp_encode_ip(void *message, size_t size, bool binary_ip, const struct kvp_ip_info *ip)
{
	size_t offset = binary_ip ? KVP_HEADER_SIZE : TEXT_BODY_OFFSET;
	struct bytes_writer w;

	assert(size >= KVP_IP_MESSAGE_SIZE);
	bytes_writer_init(&w, (uint8_t *)message + offset, size - offset);
	if (binary_ip)
		put_ip_binary(&w, ip);
	else
		put_ip_text(&w, ip);
	assert(bytes_writer_ok(&w));
}

