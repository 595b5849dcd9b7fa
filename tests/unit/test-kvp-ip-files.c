/* SPDX-License-Identifier: MIT */

/*
 * services/kvp_ip_files.c: each text against a golden file in tests/data/ip, which test-ip-files.sh
 * gives to the real programs. With HVGUEST_GOLDEN=write the files are made anew.
 */

#include "services/kvp_ip_files.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct kvp_ip_target target = {
	.interface = "eth0", .mac = "00:15:5d:01:02:0a", .netplan_id = "eth0"};

/* What hosts set. */
static const struct sample {
	const char *name;
	bool dhcp;
	const char *addresses, *subnets, *gateways, *dns;
} samples[] = {
	{"static", false, "192.0.2.7", "255.255.255.0", "192.0.2.1", "192.0.2.53;198.51.100.53"},
	{"dhcp", true, "", "", "", ""},
	{"both", false, "192.0.2.7;2001:db8::7;fe80::215:5dff:fe01:20a", "/25;/64;/64",
	 "192.0.2.1;fe80::1", "192.0.2.53;2001:db8::53"},
	{"six", false, "2001:db8::7;2001:db8:1::7", "64;48", "2001:db8::1", "2001:db8::53"},
	{"off-link", false, "192.0.2.7;198.51.100.7", "/32;255.255.255.0", "203.0.113.1;198.51.100.1", ""},
	{"dhcp-and-static", true, "192.0.2.7", "24", "192.0.2.1", "192.0.2.53"},
	{"nothing", false, "", "", "192.0.2.1", "192.0.2.53"},
};

enum {
	N_SAMPLES = sizeof(samples) / sizeof(samples[0]),
};

static struct kvp_ip_info info_of(const struct sample *s)
{
	struct kvp_ip_texts texts = {.dhcp = s->dhcp};
	struct kvp_ip_info info;

	snprintf(texts.addresses, sizeof(texts.addresses), "%s", s->addresses);
	snprintf(texts.subnets, sizeof(texts.subnets), "%s", s->subnets);
	snprintf(texts.gateways, sizeof(texts.gateways), "%s", s->gateways);
	snprintf(texts.dns, sizeof(texts.dns), "%s", s->dns);
	cr_assert(eq(int, kvp_ip_parse(&texts, &info), 0));
	cr_assert(eq(int, kvp_ip_check(&info, NULL), 0));
	return info;
}

static const struct {
	const char *suffix;
	int (*make)(const struct kvp_ip_target *target, const struct kvp_ip_info *info, char *buf);
} kinds[] = {
	{"network", kvp_ip_networkd_text},
	{"nmconnection", kvp_ip_keyfile_text},
	{"yaml", kvp_ip_netplan_text},
};

static void compare(const char *name, const char *suffix, const char *text)
{
	const char *srcdir = getenv("srcdir");
	static char golden[KVP_IP_FILE_MAX];
	char path[512];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/tests/data/ip/%s.%s", srcdir ? srcdir : ".", name, suffix);
	f = fopen(path, getenv("HVGUEST_GOLDEN") ? "w" : "r");
	cr_assert(f != NULL, "%s", path);
	if (getenv("HVGUEST_GOLDEN")) {
		fputs(text, f);
		fclose(f);
		return;
	}
	n = fread(golden, 1, sizeof(golden) - 1, f);
	golden[n] = '\0';
	fclose(f);
	cr_expect(strcmp(golden, text) == 0, "%s differs:\n%s", path, text);
}

Test(kvp_ip_files, texts_are_those_of_the_golden_files)
{
	static char text[KVP_IP_FILE_MAX];

	for (size_t i = 0; i < N_SAMPLES; i++) {
		struct kvp_ip_info info = info_of(&samples[i]);

		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
			cr_assert(eq(int, kinds[k].make(&target, &info, text), 0));
			compare(samples[i].name, kinds[k].suffix, text);
		}
	}
}

Test(kvp_ip_files, the_longest_lists_fit)
{
	static struct kvp_ip_info info = {.n_addresses = KVP_IP_ADDRESSES_MAX,
					  .n_gateways = KVP_IP_GATEWAYS_MAX,
					  .n_dns = KVP_IP_DNS_MAX};
	static char text[KVP_IP_FILE_MAX];
	static const struct kvp_address longest = {
		KVP_FAMILY_IPV6, {0x2f, 1, 0x1d, 0xb8, 0x11, 1, 0x11, 1, 0x11, 1, 0x11, 1, 0x11, 1, 0x11, 1}};

	for (size_t i = 0; i < KVP_IP_ADDRESSES_MAX; i++) {
		info.addresses[i] = (struct kvp_ip_address){longest, 128, 0};
		info.dns[i] = longest;
	}
	for (size_t i = 0; i < KVP_IP_GATEWAYS_MAX; i++)
		info.gateways[i] = longest;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		cr_expect(eq(int, kinds[k].make(&target, &info, text), 0));
}

Test(kvp_ip_files, names_that_could_end_a_line_or_a_quote_are_not_written)
{
	static const char *const names[] = {"", "a\nb", "a]b", "a\"b", "a b", "a;b", "a#b", "a/b", "a%n",
					    "a\\b", "\xc3\xa9th", "a-name-of-16-byt", "eth0:1"};
	struct kvp_ip_info info = info_of(&samples[0]);
	static char text[KVP_IP_FILE_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct kvp_ip_target bad = target;

		bad.interface = names[i];
		for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
			cr_expect(eq(int, kinds[k].make(&bad, &info, text), KVP_IP_FILE_UNFIT),
				  "'%s'", names[i]);
		bad = target;
		bad.netplan_id = names[i];
		if (strlen(names[i]) < 16)
			cr_expect(eq(int, kvp_ip_netplan_text(&bad, &info, text), KVP_IP_FILE_UNFIT));
		bad = target;
		bad.mac = names[i];
		cr_expect(eq(int, kvp_ip_keyfile_text(&bad, &info, text), KVP_IP_FILE_UNFIT));
	}
}

Test(kvp_ip_files, an_adapter_always_has_the_same_uuid)
{
	char lower[KVP_IP_UUID_SIZE], upper[KVP_IP_UUID_SIZE];

	kvp_ip_uuid("00:15:5d:01:02:0a", lower);
	kvp_ip_uuid("00:15:5D:01:02:0A", upper);
	cr_expect(eq(str, lower, "68766775-6573-8000-8000-00155d01020a"));
	cr_expect(eq(str, upper, lower));
	kvp_ip_uuid("", lower);
	cr_expect(eq(sz, strlen(lower), KVP_IP_UUID_SIZE - 1));
}
