/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_keys.c: keys, their order and their values; texts of os-release and getent.
 */

#include "services/kvp_keys.h"
#include "tests/unit/tree.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

static const char debian[] = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"
			     "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";

/* The keys of @facts; valid until the next call. */
static struct kvp_keys *keys_of(const struct kvp_keys_facts *facts)
{
	static struct kvp_keys keys;

	memset(&keys, 0x55, sizeof(keys));
	kvp_keys_make(facts, &keys);
	return &keys;
}

Test(kvp_keys, keys_order_and_values_are_those_that_hosts_know)
{
	static const struct kvp_address addresses[] = {
		{KVP_FAMILY_IPV4, {192, 0, 2, 7}},
		{KVP_FAMILY_IPV6, {0xfe, 0x80, [15] = 7}},
		{KVP_FAMILY_IPV4, {198, 51, 100, 1}},
		{KVP_FAMILY_IPV6, {0x20, 0x01, 0x0d, 0xb8, [15] = 7}},
	};
	static const struct kvp_keys_facts facts = {
		.host_name = "web1",
		.fqdn = "web1.example.org",
		.os_release = debian,
		.kernel_name = "Linux",
		.kernel_release = "6.1.0-28-amd64",
		.machine = "x86_64",
		.services_version = "3.1",
		.addresses = addresses,
		.n_addresses = 4,
	};
	static const char *const want[KVP_KEYS_N][2] = {
		{"FullyQualifiedDomainName", "web1.example.org"},
		{"IntegrationServicesVersion", "3.1"},
		{"NetworkAddressIPv4", "192.0.2.7;198.51.100.1"},
		{"NetworkAddressIPv6", "fe80::7;2001:db8::7"},
		{"OSBuildNumber", "6.1.0-28-amd64"},
		{"OSName", "Debian GNU/Linux"},
		{"OSMajorVersion", "12"},
		{"OSMinorVersion", ""},
		{"OSVersion", "6.1.0"},
		{"ProcessorArchitecture", "x86_64"},
		{"HostName", "web1"},
	};
	struct kvp_keys *keys = keys_of(&facts);

	for (size_t i = 0; i < KVP_KEYS_N; i++) {
		expect_text(keys->list[i].key, want[i][0]);
		expect_text(keys->list[i].value, want[i][1]);
	}
}

Test(kvp_keys, what_is_not_known_is_empty_or_what_comes_next)
{
	static const struct kvp_keys_facts nothing = {0};
	static const struct kvp_keys_facts some = {
		.host_name = "web1", .os_release = "NAME=\nX=1\n", .kernel_name = "Linux"};
	struct kvp_keys *keys = keys_of(&nothing);

	for (size_t i = 0; i < KVP_KEYS_N; i++)
		cr_expect(eq(str, keys->list[i].value, ""), "key %zu", i);
	keys = keys_of(&some);
	cr_expect(eq(str, keys->list[0].value, "web1"));
	cr_expect(eq(str, keys->list[5].value, "Linux"));
	cr_expect(eq(str, keys->list[6].value, ""));
}

Test(kvp_keys, a_long_list_of_addresses_ends_with_a_whole_one)
{
	static struct kvp_address addresses[300];
	struct kvp_keys_facts facts = {.addresses = addresses};
	const char *last;
	size_t length;

	for (size_t i = 0; i < 300; i++)
		addresses[i] = (struct kvp_address){KVP_FAMILY_IPV4, {10, 1, i / 200, i % 200}};
	/* Each length of list: one address more never makes it too long, or cuts one. */
	for (facts.n_addresses = 0; facts.n_addresses <= 300; facts.n_addresses++) {
		const char *value = keys_of(&facts)->list[2].value;
		struct kvp_address read;

		length = strlen(value);
		cr_assert(le(sz, length, KVP_KEYS_TEXT_MAX));
		if (facts.n_addresses == 0)
			continue;
		last = strrchr(value, ';') ? strrchr(value, ';') + 1 : value;
		cr_assert(eq(int, kvp_address_parse(last, &read), 0), "%s", last);
	}
	cr_expect(gt(sz, length, KVP_KEYS_TEXT_MAX - 16));
}

Test(kvp_keys, values_of_os_release_lose_their_quotes)
{
	static const struct {
		const char *text, *want; /* NULL: there is none */
	} rows[] = {
		{"NAME=Fedora\n", "Fedora"},
		{"NAME=Fedora", "Fedora"},
		{"ID=x\nNAME=\"A \\\"B\\\" \\$1\"\nNAME=second", "A \"B\" $1"},
		{"NAME='a\\b \"c\"'\n", "a\\b \"c\""},
		{"  NAME=Arch \t\r\n", "Arch"},
		{"NAME=\"unterminated\nID=x\n", "unterminated"},
		{"NAME=\"\\", "\\"},
		{"NAME=", ""},
		{"NAME=\n", ""},
		{"PRETTY_NAME=x\n#NAME=y\nNAMES=z\nNAME\n", NULL},
		{"", NULL},
		{"NAME=0123456789abcdefghij\n", "0123456789abcde"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char value[16];
		bool found = kvp_keys_os_release(rows[i].text, "NAME", value, sizeof(value));

		cr_expect(eq(int, found, rows[i].want != NULL), "row %zu", i);
		if (found)
			expect_text(value, rows[i].want);
	}
}

Test(kvp_keys, the_canonical_name_is_the_third_word)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{"192.0.2.7       STREAM web1.example.org\n192.0.2.7       DGRAM  \n",
		 "web1.example.org"},
		{"::1 STREAM a", "a"},
		{"192.0.2.7       STREAM \n192.0.2.7       DGRAM x\n", NULL},
		{"192.0.2.7\n1 2 3\n", NULL},
		{"", NULL},
		{"\n", NULL},
		{"1 STREAM a-name-that-is-longer-than-fits\n", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[20] = "unchanged";
		bool found = kvp_keys_canonical_name(rows[i].text, name, sizeof(name));

		cr_expect(eq(int, found, rows[i].want != NULL), "row %zu", i);
		expect_text(name, found ? rows[i].want : "unchanged");
	}
}
