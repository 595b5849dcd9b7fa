/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_ip.c: which lists are read, which refuse the whole, and what comes back as texts.
 */

#include "services/kvp_ip.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

static int parse(const char *addresses, const char *masks, const char *gateways, const char *dns,
		 struct kvp_ip_info *info)
{
	struct kvp_ip_texts texts = {.family = 3, .dhcp = true, .adapter = "x"};

	snprintf(texts.addresses, sizeof(texts.addresses), "%s", addresses);
	snprintf(texts.subnets, sizeof(texts.subnets), "%s", masks);
	snprintf(texts.gateways, sizeof(texts.gateways), "%s", gateways);
	snprintf(texts.dns, sizeof(texts.dns), "%s", dns);
	return kvp_ip_parse(&texts, info);
}

Test(kvp_ip, lists_come_back_as_the_stock_daemon_gives_them)
{
	struct kvp_ip_texts texts;
	struct kvp_ip_info info;

	cr_assert(eq(int, parse(" 192.0.2.7;198.51.100.1 ; 2001:DB8::7;", "255.255.255.0;/25;64",
				"192.0.2.1;;2001:db8::1", "192.0.2.53; ::1;", &info), 0));
	kvp_ip_format(&info, &texts);
	cr_expect(eq(str, texts.addresses, "192.0.2.7;198.51.100.1;2001:db8::7"));
	cr_expect(eq(str, texts.subnets, "255.255.255.0;255.255.255.128;/64"));
	cr_expect(eq(str, texts.gateways, "192.0.2.1;2001:db8::1;"));
	cr_expect(eq(str, texts.dns, "192.0.2.53;::1;"));
	cr_expect(eq(str, texts.adapter, "x"));
	cr_expect(texts.dhcp && texts.family == 3);
	cr_expect(eq(sz, info.n_addresses, 3));
}

Test(kvp_ip, every_mask_without_gaps_is_a_prefix)
{
	for (unsigned prefix = 0; prefix <= 32; prefix++) {
		uint32_t mask = prefix ? UINT32_MAX << (32 - prefix) : 0;
		struct kvp_ip_texts texts;
		struct kvp_ip_info info;
		char dotted[KVP_ADDRESS_TEXT_SIZE];

		snprintf(dotted, sizeof(dotted), "%u.%u.%u.%u", mask >> 24, mask >> 16 & 255,
			 mask >> 8 & 255, mask & 255);
		cr_assert(eq(int, parse("203.0.113.90", dotted, "", "", &info), 0), "/%u", prefix);
		cr_expect(eq(u8, info.addresses[0].prefix, prefix));
		kvp_ip_format(&info, &texts);
		cr_expect(eq(str, texts.subnets, dotted));
	}
}

Test(kvp_ip, what_cannot_be_read_refuses_the_whole_and_changes_nothing)
{
	static const struct {
		const char *addresses, *masks, *gateways, *dns;
	} rows[] = {
		{"192.0.2.7", "", "", ""},
		{"192.0.2.7;192.0.2.8", "255.255.255.0", "", ""},
		{"192.0.2.7", "255.255.255.0;255.0.0.0", "", ""},
		{"192.0.2.7", "255.0.255.0", "", ""},
		{"192.0.2.7", "0.255.255.255", "", ""},
		{"192.0.2.7", "/33", "", ""},
		{"192.0.2.7", "4294967320", "", ""},
		{"192.0.2.7", "24x", "", ""},
		{"192.0.2.7", "-8", "", ""},
		{"192.0.2.7", "/", "", ""},
		{"192.0.2.7", "ffff::", "", ""},
		{"2001:db8::7", "255.255.255.0", "", ""},
		{"2001:db8::7", "129", "", ""},
		{"192.0.2.256", "24", "", ""},
		{"192.0.2", "24", "", ""},
		{"192.0.2.7 x", "24", "", ""},
		{"192.0.2.7\nDNS=x", "24", "", ""},
		{"fe80::1%eth0", "64", "", ""},
		{"2001:0db8:0000:0000:0000:0000:0000:0000:0000:0001:0002", "64", "", ""},
		{"192.0.2.7", "24", "gateway", ""},
		{"192.0.2.7", "24", "", "dns.example"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kvp_ip_info info, before;

		memset(&info, 0x55, sizeof(info));
		before = info;
		cr_expect(eq(int, parse(rows[i].addresses, rows[i].masks, rows[i].gateways, rows[i].dns,
					&info), KVP_IP_INVALID), "row %zu", i);
		cr_expect(eq(int, memcmp(&info, &before, sizeof(info)), 0), "row %zu", i);
	}
}

Test(kvp_ip, more_than_fit_are_refused)
{
	char list[KVP_IP_LIST_SIZE] = "", masks[KVP_IP_LIST_SIZE] = "";
	struct kvp_ip_info info;

	for (int i = 0; i < KVP_IP_ADDRESSES_MAX; i++) {
		strcat(list, "1.1.1.1;");
		strcat(masks, "9;");
	}
	cr_assert(eq(int, parse(list, masks, "", list, &info), 0));
	cr_expect(eq(sz, info.n_addresses, KVP_IP_ADDRESSES_MAX));
	list[strlen(list) - 1] = '\0'; /* room for one that is shorter */
	memcpy(list, "::;::;::", 8);
	strcat(masks, "9");
	cr_expect(eq(int, parse(list, masks, "", "", &info), KVP_IP_INVALID));
	cr_expect(eq(int, parse("", "", "", list, &info), KVP_IP_INVALID));
}

Test(kvp_ip, what_no_machine_can_have_is_not_set)
{
	static const struct {
		const char *address, *mask, *gateway, *dns;
		int r;
	} rows[] = {
		{"192.0.2.7", "24", "192.0.2.1", "127.0.0.53", 0},
		{"2001:db8::", "64", "fe80::1", "::1", 0},
		{"192.0.2.0", "31", "", "", 0}, /* the smallest networks have no broadcast */
		{"192.0.2.255", "32", "", "", 0},
		{"192.0.2.0", "24", "", "", KVP_IP_INVALID},   /* the network */
		{"192.0.2.255", "24", "", "", KVP_IP_INVALID}, /* its broadcast */
		{"192.0.2.7", "0.0.0.0", "", "", KVP_IP_INVALID},
		{"2001:db8::7", "0", "", "", KVP_IP_INVALID},
		{"127.0.0.1", "8", "", "", KVP_IP_INVALID},
		{"0.0.0.1", "8", "", "", KVP_IP_INVALID},
		{"224.0.0.1", "24", "", "", KVP_IP_INVALID},
		{"255.255.255.255", "32", "", "", KVP_IP_INVALID},
		{"::", "64", "", "", KVP_IP_INVALID},
		{"::1", "128", "", "", KVP_IP_INVALID},
		{"ff02::1", "64", "", "", KVP_IP_INVALID},
		{"::ffff:192.0.2.1", "96", "", "", KVP_IP_INVALID},
		{"192.0.2.7", "24", "0.0.0.0", "", KVP_IP_INVALID},
		{"192.0.2.7", "24", "127.0.0.1", "", KVP_IP_INVALID},
		{"192.0.2.7", "24", "", "255.255.255.255", KVP_IP_INVALID},
		{"192.0.2.7", "24", "", "::", KVP_IP_INVALID},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *why = NULL;
		struct kvp_ip_info info;

		cr_assert(eq(int, parse(rows[i].address, rows[i].mask, rows[i].gateway, rows[i].dns,
					&info), 0), "row %zu", i);
		cr_expect(eq(int, kvp_ip_check(&info, &why), rows[i].r), "row %zu", i);
		cr_expect(eq(int, why != NULL, rows[i].r != 0), "row %zu", i);
	}
}

Test(kvp_ip, counts_and_prefixes_of_the_binary_form_are_bounded)
{
	static struct kvp_ip_info info;

	info.n_gateways = KVP_IP_GATEWAYS_MAX + 1;
	cr_expect(eq(int, kvp_ip_check(&info, NULL), KVP_IP_INVALID));
	info = (struct kvp_ip_info){.n_addresses = KVP_IP_ADDRESSES_MAX + 1};
	cr_expect(eq(int, kvp_ip_check(&info, NULL), KVP_IP_INVALID));
	info = (struct kvp_ip_info){.n_dns = SIZE_MAX};
	cr_expect(eq(int, kvp_ip_check(&info, NULL), KVP_IP_INVALID));

	info = (struct kvp_ip_info){
		.n_addresses = 1,
		.addresses = {{{KVP_FAMILY_IPV4, {192, 0, 2, 7}}, 32, 0}},
	};
	cr_expect(eq(int, kvp_ip_check(&info, NULL), 0));
	info.addresses[0].prefix = 33;
	cr_expect(eq(int, kvp_ip_check(&info, NULL), KVP_IP_INVALID));
	info.addresses[0].prefix = 24;
	info.addresses[0].address.family = KVP_FAMILY_NONE;
	cr_expect(eq(int, kvp_ip_check(&info, NULL), KVP_IP_INVALID));
}

Test(kvp_ip, text_that_does_not_fit_ends_with_a_whole_item)
{
	static struct kvp_ip_info info = {.n_addresses = 64, .n_gateways = 5, .n_dns = 64};
	struct kvp_ip_texts texts;
	size_t addresses = 1, masks = 1;

	for (size_t i = 0; i < 64; i++) {
		info.addresses[i] = (struct kvp_ip_address){
			{KVP_FAMILY_IPV6, {0x20, 1, 0xd, 0xb8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, i}}, 64, 0};
		info.dns[i] = info.addresses[i].address;
	}
	for (size_t i = 0; i < 5; i++)
		info.gateways[i] = info.addresses[i].address;
	kvp_ip_format(&info, &texts);
	for (const char *p = texts.addresses; (p = strchr(p, ';')); p++)
		addresses++;
	for (const char *p = texts.subnets; (p = strchr(p, ';')); p++)
		masks++;
	cr_expect(eq(sz, addresses, masks));
	cr_expect(eq(sz, addresses, 1024 / 33)); /* "2001:db8:101:101:101:101:101:100;" */
	cr_expect(eq(chr, texts.dns[strlen(texts.dns) - 1], ';'));
	cr_expect(lt(sz, strlen(texts.dns), sizeof(texts.dns)));
}
