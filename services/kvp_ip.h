/* SPDX-License-Identifier: MIT */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The addresses of a network adapter, as hosts ask for them and set them.
 */

/* Bits of kvp_ip_info.family. Source: Linux include/uapi/linux/hyperv.h, ADDR_FAMILY_*. */
enum {
	KVP_FAMILY_NONE = 0,
	KVP_FAMILY_IPV4 = 1,
	KVP_FAMILY_IPV6 = 2,
};

/* Where an address comes from; binary form only. Source: OpenVMM kvp.rs. */
enum kvp_origin {
	KVP_ORIGIN_UNKNOWN = 0,
	KVP_ORIGIN_OTHER = 1,  /* DHCP, for instance */
	KVP_ORIGIN_STATIC = 2,
};

enum {
	KVP_IP_ADAPTER_SIZE = 129, /* bytes of text with its NUL */
	KVP_IP_ADDRESSES_MAX = 128,
	KVP_IP_GATEWAYS_MAX = 32,
	KVP_IP_DNS_MAX = 128,
};

/* One address in network order; IPv4 has the first four bytes. */
struct kvp_address {
	uint8_t family; /* KVP_FAMILY_IPV4 or KVP_FAMILY_IPV6 */
	uint8_t bytes[16];
};

struct kvp_ip_info {
	/* GET_IP: a MAC address, "00:15:5D:..."; SET_IP: a GUID with or without braces. Printable ASCII. */
	char adapter[KVP_IP_ADAPTER_SIZE];
	uint8_t family; /* KVP_FAMILY_* */
	bool dhcp;      /* IPv4 is by DHCP */
	size_t n_addresses;
	struct kvp_ip_address {
		struct kvp_address address;
		uint8_t prefix; /* bits of its network: at most 32 or 128 */
		uint8_t origin; /* enum kvp_origin */
	} addresses[KVP_IP_ADDRESSES_MAX];
	size_t n_gateways;
	struct kvp_address gateways[KVP_IP_GATEWAYS_MAX];
	size_t n_dns;
	struct kvp_address dns[KVP_IP_DNS_MAX];
};

/*
 * The same as texts, as it is on the wire up to version 4.0 and on the kernel's device: lists with
 * semicolons in between. A subnet is a mask ("255.255.255.0") or, for IPv6, a prefix ("/64").
 */
enum {
	KVP_IP_LIST_SIZE = 1025,        /* bytes with the NUL; on the wire 1024 units */
	KVP_IP_GATEWAYS_SIZE = 513,
};

struct kvp_ip_texts {
	char adapter[KVP_IP_ADAPTER_SIZE];
	uint8_t family;
	bool dhcp;
	char addresses[KVP_IP_LIST_SIZE];
	char subnets[KVP_IP_LIST_SIZE];
	char gateways[KVP_IP_GATEWAYS_SIZE];
	char dns[KVP_IP_LIST_SIZE];
};

enum {
	KVP_IP_INVALID = 1, /* no address, no subnet, not one subnet for each address, or too many */
};

/*
 * Whether a machine can have these addresses and reach these gateways and servers: counts and prefixes
 * in range, nothing unspecified, multicast, reserved or (but for a server) loopback, no address that
 * is its network's own or its broadcast. What is set has to pass it, whichever form it came in.
 * KVP_IP_INVALID; @ret_why, not NULL, is then a static text for people.
 */
_must_check_ int kvp_ip_check(const struct kvp_ip_info *info, const char **ret_why);

/* KVP_IP_INVALID. Spaces around an address and empty elements are passed over. */
_must_check_ int kvp_ip_parse(const struct kvp_ip_texts *texts, struct kvp_ip_info *ret_info);

/* What does not fit any more is left out, whole addresses with their subnets. */
void kvp_ip_format(const struct kvp_ip_info *info, struct kvp_ip_texts *ret_texts);

/* "192.0.2.1", "2001:db8::1"; @ret_text has room for KVP_ADDRESS_TEXT_SIZE bytes. */
enum {
	KVP_ADDRESS_TEXT_SIZE = 46,
};
void kvp_address_format(const struct kvp_address *address, char ret_text[KVP_ADDRESS_TEXT_SIZE]);
_must_check_ int kvp_address_parse(const char *text, struct kvp_address *ret_address);
